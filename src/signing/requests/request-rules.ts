import { createHash, type KeyObject } from 'node:crypto';
import { basename } from 'node:path';
import { Refusal } from '../../errors/refusal.ts';
import type { Certificate } from '../../formats/asn1/x509.ts';
import { encodeChecksums } from '../../formats/records/checksums.ts';
import type { Manifest } from '../../formats/records/manifest.ts';
import { checksumPath, otherBootIpxe, RECORD, VERITY } from '../../formats/records/seal-names.ts';
import type { SigningRequest } from '../../formats/records/signing-request.ts';
import { sumsOf } from '../../formats/records/sums.ts';
import { encodeRootHash } from '../../formats/verity/dm-verity.ts';
import { isGrubConfigOf } from '../../scripts/grub-config.ts';
import { lintGrubConfig } from '../../scripts/grub-lint.ts';
import { lintScript } from '../../scripts/lint.ts';
import { keyMaterial } from '../../trust/key-material.ts';
import { manifestNamedIn, refusedLine } from '../../trust/script-lines.ts';
import { leafOrder } from '../keys/release-leaf.ts';
import { type KeyName, OPENPGP_KEY_NAMES, OWN_LEAVES, payloadSeals, recordSeals } from '../seal-keys.ts';
import { isIssuedBy } from '../seal-plan.ts';
import { byOpenpgpKey, type LoaderSignatories, rootOf, type Signatories } from '../signatories.ts';
import type { OtherCa } from '../site-plans.ts';
import { isScript } from './request-files.ts';

/**
 * What a request may say. Both sides hold it to this: whoever signs, since it came from a machine that builds, and
 * whoever attaches, since it was carried about.
 */

/** A seal that a release has: beside which file, and by which key. */
export interface SealPlace {
  readonly of: string;
  readonly by: KeyName;
}

/** Every seal of a release, by its path. A hash tree has none: nobody loads it. */
export function sealPlaces(
  { files }: Manifest,
  records: readonly { readonly path: string }[],
  ids: readonly string[],
): Map<string, SealPlace> {
  const places = new Map<string, SealPlace>();
  const put = (of: string, seals: Readonly<Record<string, KeyName>>) => {
    for (const [suffix, by] of Object.entries(seals)) places.set(of + suffix, { of, by });
  };
  for (const { role, path } of files) if (role !== 'hashtree') put(path, payloadSeals(ids));
  for (const { path } of records) put(path, recordSeals(path));
  return places;
}

/** A record is written into the tree: under any other name it would replace what the tree holds. */
export function demandRecords(
  name: string,
  manifest: Manifest,
  manifestSha256: string,
  records: readonly { readonly path: string; readonly bytes: Uint8Array }[],
  ids: readonly string[],
): void {
  // Whatever follows from the manifest has no other content, and a checksum has no seal that would say so.
  const { files, verity } = manifest;
  const follows = new Map<string, Uint8Array>();
  for (const { role, path, sha512 } of files) {
    if (role !== 'rootfs') continue;
    follows.set(checksumPath(path), Buffer.from(encodeChecksums([{ name: basename(path), digest: sha512 }])));
  }
  for (const { path, rootHash } of verity) {
    follows.set(path + VERITY.rootHash, encodeRootHash(Buffer.from(rootHash, 'hex')));
  }
  for (const { path, bytes } of sumsOf(manifest, manifestSha256)) follows.set(path, bytes);
  const expected = new Set([...Object.values(RECORD), ...ids.map(otherBootIpxe), ...follows.keys()]);
  for (const { path, bytes } of records) {
    if (!expected.delete(path)) {
      throw malformed(name, `brings ${path}, which is no record of such a release`, { path });
    }
    const only = follows.get(path);
    if (only && Buffer.compare(only, bytes) !== 0) {
      throw malformed(name, `brings a ${path} that is not of its manifest`, { path });
    }
  }
  const [missing] = expected;
  if (missing !== undefined) throw new Refusal('absent', `${name} brings no ${missing}.`, { path: missing });
}

/**
 * A script is read before it is signed: it boots this release with the manifest's command line, and starts nothing that
 * it did not verify. Whoever holds a script key chooses what machines run, so nobody signs one unread.
 */
export function demandScripts(
  name: string,
  manifest: Manifest,
  manifestSha256: string,
  records: readonly { readonly path: string; readonly bytes: Uint8Array }[],
): void {
  for (const { path, bytes } of records) {
    if (!isScript(path)) continue;
    const [finding] =
      path === RECORD.grubCfg ? lintGrubConfig(bytes) : lintScript(bytes, { signers: [manifest.release] });
    if (finding) {
      throw new Refusal(
        'unsafe-script',
        `${name} asks for ${path} to be signed, and its line ${finding.line} is not safe: ${finding.message}`,
        { path, line: finding.line, rule: finding.rule },
      );
    }
    if (manifestNamedIn(path, bytes) === manifestSha256) continue;
    throw new Refusal(
      'mixed-releases',
      `${name} asks for ${path} to be signed, which does not boot ${manifest.release} and nothing else.`,
      { path },
    );
  }
  const line = refusedLine(
    new Map(records.map(({ path, bytes }) => [path, bytes])),
    manifest,
    manifestSha256,
  );
  if (line)
    throw new Refusal(
      line.code,
      `${name} asks for a script that nobody may sign: ${line.message}`,
      line.facts,
    );
  const grubCfg = records.find(({ path }) => path === RECORD.grubCfg)?.bytes;
  if (!grubCfg || isGrubConfigOf(grubCfg, manifest, manifestSha256)) return;
  throw new Refusal(
    'unsafe-script',
    `${name} asks for ${RECORD.grubCfg} to be signed, and it is not what this Bootseal makes of its manifest; where another version made the request, use one version on both sides.`,
    { path: RECORD.grubCfg },
  );
}

/**
 * A key signs payload, or scripts, or records: a request that names one for two of them would have it sign both.
 * A CA signs none of these.
 */
export function demandOnePurpose(name: string, own: Signatories, others: readonly OtherCa[]): void {
  const loaders = [{ suffix: '', of: own as LoaderSignatories }].concat(
    others.map(({ id, signatories: of }) => ({ suffix: `-${id}`, of })),
  );
  const keys: (readonly [string, KeyObject | undefined])[] = [
    ...OWN_LEAVES.map((key) => [key, own[key].key.object] as const),
    ...loaders.flatMap(({ suffix, of: { ca, above, boot } }) => [
      [`boot${suffix}`, boot.key.object] as const,
      ...[ca, ...above].map((certificate, at) => [`ca${at || ''}${suffix}`, certificate.key.object] as const),
    ]),
    ...byOpenpgpKey(own.openpgp).map(([key, { object }]) => [key, object] as const),
  ];
  const taken = new Map<string, string>();
  for (const [key, object] of keys) {
    const bytes = object && keyMaterial(object);
    const before = bytes === undefined ? undefined : taken.get(bytes);
    if (before !== undefined && !(before.startsWith('ca') && key.startsWith('ca'))) {
      throw new Refusal('wrong-purpose', `${name} names one key as ${before} and as ${key}.`, { key });
    }
    if (bytes !== undefined) taken.set(bytes, key);
  }
}

/** The certificates are those of one site: they belong together, and another CA goes by its own digest. */
export function demandCertificates(
  name: string,
  { certificates }: SigningRequest,
  own: Signatories,
  others: readonly OtherCa[],
): void {
  for (const { id, signatories } of others) {
    if (sha256(rootOf(signatories).raw).slice(0, 16) === id) continue;
    throw malformed(name, `brings another CA than it says as ca-${id}`, { key: `ca-${id}` });
  }
  const links = [
    ...OWN_LEAVES.map((key): Link => [key, own[key], own.ca]),
    ...linksOf('', own),
    ...others.flatMap(({ id, signatories }) => linksOf(`-${id}`, signatories)),
  ];
  const known = new Set(['ca', ...others.map(({ id }) => `ca-${id}`), ...links.map(([key]) => key)]);
  const strange = certificates.find(({ key }) => !known.has(key))?.key;
  if (strange !== undefined) {
    throw malformed(name, `brings a certificate ${strange}, and no CA to it`, { key: strange });
  }
  for (const [key, certificate, issuer] of links) {
    if (isIssuedBy(certificate, issuer)) continue;
    throw new Refusal(
      'untrusted-signer',
      `The certificate ${key} in ${name} was not issued by ${issuer.commonName}, which is its CA.`,
      { key },
    );
  }
}

/** A certificate, and who issued it. */
type Link = readonly [key: string, certificate: Certificate, issuer: Certificate];

/** The boot leaf, and each CA under the one above it; a root issued itself, and names none that could be missing. */
function linksOf(suffix: string, { ca, above, boot }: LoaderSignatories): Link[] {
  const upwards = [ca, ...above];
  return [
    [`boot${suffix}`, boot, ca],
    ...above.map((issuer, at): Link => [`ca.${at + 1}${suffix}`, upwards[at] ?? ca, issuer]),
  ];
}

/** A tree that lacks a seal is not sealed; what stands in it besides is none of this request's business. */
export function demandSeals(
  name: string,
  places: ReadonlyMap<string, SealPlace>,
  { kept, signatures, texts }: SigningRequest,
): void {
  const missing = new Set(places.keys());
  for (const { path } of kept) {
    if (!missing.delete(path)) throw malformed(name, `counts on ${path}, which is no seal of it`, { path });
  }
  for (const { path, suffix } of [...signatures, ...texts]) missing.delete(path + suffix);
  const [first] = missing;
  if (first === undefined) return;
  throw new Refusal('absent', `${name} neither asks for ${first} nor counts on one that stands.`, {
    path: first,
  });
}

/** Every key that a signature is by must be one that the request brings, and of the right algorithm. */
export function demandKeys(
  name: string,
  { leaves, signatures, texts }: SigningRequest,
  own: Signatories,
  others: readonly OtherCa[],
): void {
  const known = new Map<string, 'rsa' | 'p256'>(OPENPGP_KEY_NAMES.map((key) => [key, 'rsa']));
  for (const key of [...OWN_LEAVES, 'boot'] as const) known.set(key, kindOf(own[key]));
  for (const { id, signatories: of } of others) known.set(`boot-${id}`, kindOf(of.boot));
  for (const { key, kind } of leaves) known.set(key, kind);
  for (const { key, algorithm, path, suffix } of [...signatures, ...texts]) {
    if (known.get(key) === algorithm.split('-')[0]) continue;
    throw malformed(name, `asks for ${path}${suffix} by a ${key} that it does not bring`, { key });
  }
}

/** Bits of an RSA modulus: below, anybody makes such signatures; above, nobody has the time to make the key. */
const LEAST_RSA = 2048;
const MOST_RSA = 8192;
/** Milliseconds between issue and best-before. The leaf's end is all that stops a replay, and a builder writes both. */
const LONGEST = 366 * 86_400_000;

/**
 * What a CA is asked to issue is a release leaf and nothing more: a longer one would boot this release when it
 * should long have ended.
 */
export function demandLeaves(
  name: string,
  { leaves, signatures }: SigningRequest,
  { release, issued, bestBefore }: Manifest,
  signatories: Signatories,
  others: readonly OtherCa[],
): void {
  const cas = new Map([['leaf', signatories.ca]]);
  for (const { id, signatories: of } of others) cas.set(`leaf-${id}`, of.ca);
  for (const { key, kind, bits, notBefore, notAfter } of leaves) {
    const fail = (why: string) => malformed(name, `orders a ${key} ${why}`, { key });
    const ca = cas.get(key);
    if (!ca || !signatures.some((asked) => asked.key === key)) throw fail('for nothing that it asks');
    if (kind !== kindOf(ca)) throw fail(`of another kind than ${ca.commonName}`);
    if (kind === 'rsa' && bits > MOST_RSA) throw fail(`of ${bits} bits; ${MOST_RSA} are the most`);
    if (kind === 'rsa' && bits < LEAST_RSA) {
      throw new Refusal(
        'weak-algorithm',
        `${name} orders a ${key} of ${bits} bits; ${LEAST_RSA} are the least.`,
        { key, bits },
      );
    }
    if (bestBefore - issued > LONGEST)
      throw fail('for a release that is best before a day more than a year after its issue');
    const longest = leafOrder(ca, { release, issued, bestBefore });
    if (notBefore < longest.notBefore || notBefore > issued)
      throw fail(`that does not begin with ${release}`);
    if (notAfter > longest.notAfter || notAfter < Math.min(bestBefore, ca.notAfter)) {
      throw fail(`that does not end with ${release}`);
    }
  }
}

function kindOf({ key }: Certificate): 'rsa' | 'p256' {
  return key.type === 'rsa' ? 'rsa' : 'p256';
}

function malformed(name: string, why: string, facts: Readonly<Record<string, string>>): Refusal {
  return new Refusal('malformed', `${name} ${why}.`, facts);
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
