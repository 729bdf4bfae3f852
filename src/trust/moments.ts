import { Malformed } from '../errors/malformed.ts';
import { decodeDetachedCms } from '../formats/asn1/cms.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { decodeDetachedOpenpgp } from '../formats/openpgp/openpgp-signature.ts';
import { isSealName } from '../formats/records/seal-names.ts';
import type { Anchors } from './anchors.ts';
import { IPXE_MARGIN } from './cms-check.ts';
import { SIGNATURE_SKEW } from './openpgp-check.ts';
import type { Policy } from './policy.ts';
import type { ServableRelease } from './verified-release.ts';

/**
 * The next moment at which something that a release was accepted by may begin or end: a certificate, a key, a
 * signature, best-before, a date of the policy. It says when to judge again, never what comes of it, so one moment too
 * many does no harm.
 *
 * @param now milliseconds since 1970.
 * @returns milliseconds since 1970; undefined: nothing ends.
 */
export function nextMoment(release: ServableRelease, policy: Policy, now: number): number | undefined {
  return nextOf(moments(release, policy), now);
}

/** The same of a policy alone: what it takes now it may not take from then on. */
export function nextPolicyMoment(policy: Policy, now: number): number | undefined {
  return nextOf(ofPolicy(policy), now);
}

function nextOf(times: Iterable<number>, now: number): number | undefined {
  let next: number | undefined;
  for (const time of times) {
    // What holds up to a moment ends one millisecond later; what is from a moment on begins with it.
    for (const at of [time, time + 1]) if (at > now && (next === undefined || at < next)) next = at;
  }
  return next;
}

function* moments({ manifest, records, roots }: ServableRelease, policy: Policy): Iterable<number> {
  yield manifest.bestBefore;
  for (const anchors of [roots.own, ...roots.others]) yield* ofAnchors(anchors);
  for (const [path, bytes] of records) yield* ofSeal(path, bytes);
  yield* ofPolicy(policy);
}

function* ofAnchors({ ca, codesign, manifest, openpgp }: Anchors): Iterable<number> {
  for (const certificate of [...ca, ...codesign, ...manifest]) yield* ofCertificate(certificate);
  for (const { keys } of Object.values(openpgp).flat()) {
    for (const { key, expires } of keys) {
      yield key.created;
      if (expires !== undefined) yield expires;
    }
  }
}

function* ofCertificate({ notBefore, notAfter }: Certificate): Iterable<number> {
  for (const margin of [0, IPXE_MARGIN]) {
    yield notBefore - margin;
    yield notAfter + margin;
  }
}

/** A script's seal has the name of an OpenPGP one, and is a CMS. */
function* ofSeal(path: string, bytes: Uint8Array): Iterable<number> {
  if (!isSealName(path)) return;
  const cms = attempt(() => decodeDetachedCms(bytes));
  if (cms) {
    for (const certificate of cms.certificates) yield* ofCertificate(certificate);
    return;
  }
  for (const { created, expiresAfter } of attempt(() => decodeDetachedOpenpgp(bytes)) ?? []) {
    if (created === undefined) continue;
    yield created - SIGNATURE_SKEW;
    if (expiresAfter) yield created + expiresAfter * 1000;
  }
}

function* ofPolicy({ hashCutoff, rsaBits, pins, revoked }: Policy): Iterable<number> {
  for (const cutoff of Object.values(hashCutoff)) if (cutoff !== undefined) yield cutoff;
  yield rsaBits.since;
  for (const { until } of pins) yield until;
  for (const { since } of revoked) yield since;
}

function attempt<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch (error) {
    if (error instanceof Malformed) return undefined;
    throw error;
  }
}
