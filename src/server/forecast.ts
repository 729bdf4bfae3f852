import type { Certificate } from '../formats/asn1/x509.ts';
import { fingerprint } from '../trust/chain.ts';
import { type DatedCertificate, Endings, type StatusItem } from '../trust/endings.ts';
import { type TreeKeys, treeKeysOf } from '../trust/tree-keys.ts';
import type { ServableRelease } from '../trust/verified-release.ts';
import type { OfferedLoader } from './loader-files.ts';
import type { Offering } from './offering.ts';

/** Something of what a server offers that ends by the clock: what stops that day, for whom, what to do before. */
export type ForecastItem = Omit<StatusItem, 'inUse'>;

export interface ForecastSources {
  readonly offering: Offering;
  readonly loaders?: ReadonlyMap<string, OfferedLoader>;
  /** The server's own certificate, where it has one. */
  readonly tls?: DatedCertificate | undefined;
}

/** Digits of a digest that name a certificate. */
const ID_DIGITS = 16;

/** Records of a verified release never change, and reading its seals takes a while. */
const known = new WeakMap<ServableRelease, TreeKeys>();

/**
 * What ends when of that which is offered, the first to end first, what never ends last. It is what a server knows
 * without any key: the anchors that its releases were verified with, the certificates that their seals carry, their
 * best-before, its channels' snapshots and the leaves that their machines' scripts are signed by, the CAs that its loaders trust.
 *
 * @param now milliseconds since 1970.
 */
export function forecast({ offering, loaders, tls }: ForecastSources, now: number): readonly ForecastItem[] {
  const found = new Endings();
  const releases = [...new Set(offering.releases.map(({ release }) => release))];
  const keys = releases.map(keysOf);
  const anchors = new Set(releases.flatMap(({ roots }) => [roots.own, ...roots.others]));
  for (const one of anchors) found.anchors(one, keys);
  for (const one of keys) found.release(one);
  for (const [name, { snapshot, seal }] of offering.channels)
    found.channel(name, snapshot, seal, offering.snapshotKeys ?? []);
  for (const [name, signers] of offering.scriptSigners ?? [])
    for (const signer of signers) found.certificate('scripts', signer, name);
  const cas = [...anchors].flatMap(({ ca }) => ca);
  for (const loader of loaders?.values() ?? []) addLoader(found, loader, cas);
  if (tls) found.certificate('tls', tls, undefined, true);
  return found.items(now).flatMap(({ inUse, ...item }) => (inUse ? [item] : []));
}

function keysOf(release: ServableRelease): TreeKeys {
  const keys = known.get(release) ?? treeKeysOf(release.manifest, release.records);
  known.set(release, keys);
  return keys;
}

/** An iPXE ends with the last of the CAs that it trusts; a GRUB image knows no dates. */
function addLoader(found: Endings, { name, sha256, report }: OfferedLoader, cas: readonly Certificate[]) {
  const { imgverify, ownRoot, roots } = report?.image.ipxe ?? {};
  if (!imgverify || ownRoot || !roots?.length) return;
  const trusted = roots.map((root) => cas.find((ca) => fingerprint(ca) === root));
  // One that is none of ours has dates that nobody here knows.
  const held = trusted.filter((ca) => ca !== undefined);
  if (held.length < trusted.length) return;
  const ending = {
    kind: 'loader',
    name,
    id: sha256.slice(0, ID_DIGITS),
    begins: Math.min(...held.map(({ notBefore }) => notBefore)),
    ends: Math.max(...held.map(({ notAfter }) => notAfter)),
  } as const;
  for (const { commonName } of held) found.add(ending, commonName);
}
