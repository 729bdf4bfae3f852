import { join } from 'node:path';
import { UsageError } from '../errors/usage.ts';
import { isThere } from '../files/read-if-there.ts';
import { decodeDetachedCms } from '../formats/asn1/cms.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { ISSUING_CA } from '../signing/keys/key-folder.ts';
import { OPENPGP_KEYS, type OpenpgpKeyName } from '../signing/seal-keys.ts';
import { channelNames, readChannel } from '../store/channels.ts';
import { readAnchorFile, readAnchorFolder } from '../trust/anchor-folder.ts';
import { decodeCertificates, type OpenpgpPurpose } from '../trust/anchors.ts';
import { fingerprint } from '../trust/chain.ts';
import { decodeOr } from '../trust/check.ts';
import type { OpenpgpCertificate } from '../trust/openpgp-certificate.ts';
import { isSignedBy, readTreeKeys, type TreeKeys } from '../trust/tree-keys.ts';

export interface KeysStatusOptions {
  /**
   * `anchors/` folders, or the `init` folders around them; several while a CA is being replaced. None: what the state
   * itself holds and what the seals of its releases carry.
   */
  readonly anchors: readonly string[];
  /** Sealed trees. */
  readonly trees?: readonly string[];
  /** A STATE folder: the releases that its channels point at, and the channels themselves. */
  readonly state?: string;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Ends nearer than that are due; 30. */
  readonly warnDays?: number;
}

export type StatusKind =
  | 'ca'
  | 'codesign'
  | 'boot'
  | 'manifest'
  | 'release'
  | OpenpgpKeyName
  | 'snapshot key'
  | 'best-before'
  | 'snapshot';

export interface StatusItem {
  readonly kind: StatusKind;
  /** A common name, a user id, a release, a channel. */
  readonly name: string;
  /** 16 hex digits: of the certificate's SHA-256, of the OpenPGP key's fingerprint; of the manifest's SHA-256. */
  readonly id: string;
  /** Milliseconds since 1970. */
  readonly begins: number;
  /** Undefined: never. */
  readonly ends: number | undefined;
  /** Whole days until the end; negative: since then. */
  readonly daysLeft: number | undefined;
  /** Releases and channels that need it, of those that were given. */
  readonly usedBy: readonly string[];
  /** What stops on the day it ends, for whom, and what to do before. */
  readonly effect: string;
  /** True where something that was given, or that is sealed from now on, needs it. */
  readonly inUse: boolean;
  /** In use, and ended, about to end or not begun. */
  readonly due: boolean;
}

export interface KeysStatus {
  /** The first to end comes first, what never ends last. */
  readonly items: readonly StatusItem[];
  /** The first of those in use that is still to end. */
  readonly next: StatusItem | undefined;
  readonly due: readonly StatusItem[];
  /** True: there were no anchors, so the keys of early userspace and GRUB are not among the items. */
  readonly seenOnly: boolean;
}

const DAY = 86_400_000;
const WARN_DAYS = 30;
/** What lives for days only, as a channel's snapshot, is due in the last part of its life. */
const LAST_PART = 3;

/**
 * Every key and certificate that the given trees, releases and loaders depend on, and what ends with each. An
 * inventory: it reads what seals say of their signers and verifies none of them.
 *
 * @throws Refusal where a tree or folder is not what it should be.
 */
export async function keysStatus(options: KeysStatusOptions): Promise<KeysStatus> {
  const found = new Inventory();
  const trees = await treesOf(options);
  const anchors = [...options.anchors];
  if (anchors.length === 0 && options.state !== undefined && (await holdsAnchors(options.state)))
    anchors.push(options.state);
  for (const folder of anchors) await addAnchors(found, folder, trees);
  for (const tree of trees) addTree(found, tree);
  if (options.state !== undefined) await addChannels(found, options.state);
  const { now, warnDays = WARN_DAYS } = options;
  const items = found.items(now, warnDays);
  return {
    items,
    next: items.find(({ inUse, ends }) => inUse && ends !== undefined && ends >= now),
    due: items.filter(({ due }) => due),
    seenOnly: anchors.length === 0,
  };
}

/** A thing with an end, as it is being found: the same certificate may turn up in many places. */
interface Entry {
  readonly kind: StatusKind;
  readonly name: string;
  readonly id: string;
  readonly begins: number;
  readonly ends: number | undefined;
}

class Inventory {
  readonly #found = new Map<string, Entry & { usedBy: Set<string>; inUse: boolean }>();

  /** @param user a release or channel that needs it. */
  add(entry: Entry, user?: string, inUse = user !== undefined): void {
    const key = `${entry.kind} ${entry.id}`;
    const known = this.#found.get(key) ?? { ...entry, usedBy: new Set<string>(), inUse: false };
    if (user !== undefined) known.usedBy.add(user);
    known.inUse ||= inUse;
    this.#found.set(key, known);
  }

  certificate(kind: StatusKind, certificate: Certificate, user?: string, inUse?: boolean): void {
    const { commonName: name, notBefore: begins, notAfter: ends } = certificate;
    this.add({ kind, name, id: fingerprint(certificate).slice(0, 16), begins, ends }, user, inUse);
  }

  items(now: number, warnDays: number): StatusItem[] {
    const items = [...this.#found.values()].map((entry): StatusItem => {
      const { begins, ends, inUse } = entry;
      const usedBy = [...entry.usedBy].sort();
      const left = ends === undefined ? undefined : ends - now;
      const notice =
        ends === undefined ? 0 : Math.min(warnDays * DAY, Math.max(0, ends - begins) / LAST_PART);
      return {
        ...entry,
        usedBy,
        daysLeft: left === undefined ? undefined : Math.floor(left / DAY),
        effect: EFFECT[entry.kind](usedBy, entry.name),
        inUse,
        due: inUse && (begins > now || (left !== undefined && left <= notice)),
      };
    });
    const end = ({ ends }: StatusItem) => ends ?? Number.POSITIVE_INFINITY;
    return items.sort((a, b) => (end(a) === end(b) ? order(a, b) : end(a) - end(b)));
  }
}

function order(a: StatusItem, b: StatusItem): number {
  return `${a.kind} ${a.name} ${a.id}` < `${b.kind} ${b.name} ${b.id}` ? -1 : 1;
}

/** A state knows its snapshot key, and the anchors of its releases where somebody has put them there. */
function holdsAnchors(state: string): Promise<boolean> {
  return isThere(join(state, 'anchors', 'ca.crt'));
}

/** Of the trees and the channels' releases, each once. */
async function treesOf({ trees = [], state }: KeysStatusOptions): Promise<TreeKeys[]> {
  const paths = new Set(trees);
  if (state !== undefined) {
    for (const channel of await channelNames(state)) {
      const current = await readChannel(state, channel);
      if (current) paths.add(join(state, 'releases', current.snapshot.release));
    }
  }
  return Promise.all([...paths].map(readTreeKeys));
}

/**
 * What loaders, initramfs images and readers of channels hold. The first of a file is what is sealed with next;
 * of the others those count that something given was signed by.
 */
async function addAnchors(found: Inventory, folder: string, trees: readonly TreeKeys[]): Promise<void> {
  const { ca, codesign, manifest, openpgp } = await readAnchorFolder(folder);
  for (const certificate of ca) found.certificate('ca', certificate, undefined, true);
  const issuing = await readAnchorFile(folder, ISSUING_CA);
  for (const certificate of issuing ? decodeCertificates(ISSUING_CA, issuing) : [])
    found.certificate('ca', certificate, undefined, true);
  for (const [kind, leaves] of [
    ['codesign', codesign],
    ['manifest', manifest],
  ] as const) {
    for (const [index, leaf] of leaves.entries()) {
      found.certificate(kind, leaf, undefined, index === 0);
      for (const { release, [kind]: signers } of trees) {
        if (signers.some((info) => isSignedBy(info, leaf))) found.certificate(kind, leaf, release);
      }
    }
  }
  const boot = await readAnchorFile(folder, 'boot.crt');
  for (const leaf of boot ? decodeCertificates('boot.crt', boot) : []) {
    found.certificate('boot', leaf, undefined, true);
  }
  for (const [kind, purpose] of Object.entries(OPENPGP_KEYS) as [OpenpgpKeyName, OpenpgpPurpose][])
    addKeyring(found, kind, openpgp[purpose], trees);
  const snapshot = await readAnchorFile(folder, 'snapshot.crt');
  const [own] = snapshot ? decodeCertificates('snapshot.crt', snapshot) : [];
  // Where a channel is signed by another key, this one is nobody's yet.
  if (own) found.certificate('snapshot key', own, undefined, false);
}

function addKeyring(
  found: Inventory,
  kind: OpenpgpKeyName,
  certificates: readonly OpenpgpCertificate[],
  trees: readonly TreeKeys[],
): void {
  for (const [index, { primary, userIds, keys }] of certificates.entries()) {
    for (const { key, expires, maySign } of keys) {
      if (!maySign) continue;
      const entry = {
        kind,
        name: userIds[0] ?? primary.keyId,
        id: key.keyId,
        begins: key.created,
        ends: expires,
      } as const;
      found.add(entry, undefined, index === 0);
      for (const { release, openpgp: signers } of trees) {
        if (signers[OPENPGP_KEYS[kind]].includes(key.keyId)) found.add(entry, release);
      }
    }
  }
}

function addTree(found: Inventory, tree: TreeKeys): void {
  const { release, issued, bestBefore, manifestSha256 } = tree;
  const id = manifestSha256.slice(0, 16);
  found.add({ kind: 'best-before', name: release, id, begins: issued, ends: bestBefore }, release);
  for (const certificate of tree.cas) found.certificate('ca', certificate, release);
  for (const certificate of tree.boot) found.certificate('boot', certificate, release);
  for (const certificate of tree.leaves) found.certificate('release', certificate, release);
}

async function addChannels(found: Inventory, state: string): Promise<void> {
  const bytes = await readAnchorFile(state, 'snapshot.crt');
  const keys = bytes ? decodeCertificates('snapshot.crt', bytes) : [];
  const names = await channelNames(state);
  if (names.length === 0) {
    throw new UsageError(`There is no channel in ${state}: "bootseal publish" makes one.`);
  }
  for (const channel of names) {
    const current = await readChannel(state, channel);
    if (!current) continue;
    const { manifest, issued, expires } = current.snapshot;
    const id = manifest.slice(0, 16);
    found.add({ kind: 'snapshot', name: channel, id, begins: issued, ends: expires }, channel);
    const { signers } = decodeOr(`the snapshot of ${channel}`, () => decodeDetachedCms(current.seal));
    for (const key of keys) {
      if (signers.some((info) => isSignedBy(info, key))) found.certificate('snapshot key', key, channel);
    }
  }
}

/** What stops on the day something ends, for whom, and what to do before: in plain words, one sentence each. */
const EFFECT: Readonly<Record<StatusKind, (usedBy: readonly string[], name: string) => string>> = {
  ca: () =>
    'iPXE refuses everything under this CA, and early userspace every .cms.sig: no machine whose loader trusts it starts any release of this site until it has a loader with a new CA ("bootseal keys rotate --only ca").',
  codesign: (usedBy) =>
    `archiso's early userspace, and an overlay in mode ram, refuse the root image of ${list(usedBy)}: machines stop after the kernel, before the root file system, until a release is sealed with a new codesign leaf whose certificate stands in its initramfs as /codesign.crt.`,
  boot: (usedBy) =>
    `iPXE refuses boot.ipxe of ${list(usedBy)}: no machine with an iPXE that verifies starts any release of this site until boot.ipxe is sealed anew with a new boot leaf.`,
  manifest: (usedBy) =>
    `early userspace refuses the manifest of ${list(usedBy)}, and bootseal publishes and serves it no more: machines with an overlay stop after the kernel, until its records are signed by a new manifest leaf that their overlay holds as /bootseal/manifest.crt.`,
  release: (usedBy) =>
    `iPXE refuses kernel and initrds of ${list(usedBy)}: no machine with an iPXE that verifies starts it until it is sealed anew, or a newer release takes its place.`,
  openpgp: (usedBy) =>
    `early userspace (gpg) refuses the root image of ${list(usedBy)}, and bootseal publishes and serves it no more, until it is sealed with a key that the initramfs holds; GRUB, which knows no expiry, goes on.`,
  'openpgp-script': (usedBy) =>
    `bootseal publishes and serves ${list(usedBy)} no more, until grub.cfg is signed by a key that the GRUB images hold; GRUB, which knows no expiry, goes on.`,
  'openpgp-manifest': (usedBy) =>
    `early userspace with gpg refuses the manifest of ${list(usedBy)}, and bootseal publishes and serves it no more, until it is signed by a key that the overlay holds as /bootseal/manifest.gpg.`,
  'snapshot key': (usedBy) =>
    `mirrors and whoever else follows ${list(usedBy, 'a channel that it signs')} refuse its snapshots until they hold a new snapshot.crt; machines boot on.`,
  'best-before': (_, name) =>
    `bootseal serves ${name} no more, and machines with a Bootseal overlay refuse it, until it is sealed anew or a newer release takes its place; iPXE, GRUB and archiso as it is know no best-before and go on.`,
  snapshot: (_, name) =>
    `mirrors and whoever else follows ${name} take it for stale until "bootseal channel renew ${name}"; machines boot on.`,
};

function list(names: readonly string[], none = 'every release sealed with it'): string {
  const [first] = names;
  if (first === undefined) return none;
  return names.length === 1 ? first : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
}
