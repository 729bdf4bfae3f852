import { decodeDetachedCms } from '../formats/asn1/cms.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { defaultRelease, type Snapshot } from '../formats/records/snapshot.ts';
import type { Anchors, OpenpgpPurpose } from './anchors.ts';
import { fingerprint } from './chain.ts';
import { decodeOr } from './check.ts';
import type { OpenpgpCertificate } from './openpgp-certificate.ts';
import { isSignedBy, type TreeKeys } from './tree-keys.ts';

/** Kinds of what ends by the clock. */
export const STATUS_KINDS = [
  'ca',
  'codesign',
  'boot',
  'manifest',
  'release',
  'openpgp',
  'openpgp-script',
  'openpgp-manifest',
  'snapshot key',
  'best-before',
  'snapshot',
  /** What the scripts of a channel's machines are signed by. */
  'scripts',
  /** A loader that trusts one CA. */
  'loader',
  /** The certificate of a server itself. */
  'tls',
] as const;

export type StatusKind = (typeof STATUS_KINDS)[number];

/** A thing with an end. */
export interface Ending {
  readonly kind: StatusKind;
  /** A common name, a user id, a release, a channel. */
  readonly name: string;
  /** 16 hex digits: of the certificate's SHA-256, of the OpenPGP key's fingerprint; of the manifest's SHA-256. */
  readonly id: string;
  /** Milliseconds since 1970. */
  readonly begins: number;
  /** Undefined: never. */
  readonly ends: number | undefined;
}

/** The same, as it is to be judged at a time. */
export interface StatusItem extends Ending {
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

/** What is to be known of a certificate, whoever issued it, to say when it ends. */
export type DatedCertificate = Pick<Certificate, 'commonName' | 'notBefore' | 'notAfter' | 'raw'>;

const DAY = 86_400_000;
/** Ends nearer than that are due, where nobody says otherwise. */
export const WARN_DAYS = 30;
/** What lives for days only, as a channel's snapshot, is due in the last part of its life. */
const LAST_PART = 3;

const OPENPGP_KINDS: Readonly<Record<OpenpgpPurpose, StatusKind>> = {
  payload: 'openpgp',
  script: 'openpgp-script',
  manifest: 'openpgp-manifest',
};

/** What ends by the clock, as it is being found: the same certificate may turn up in many places. */
export class Endings {
  readonly #found = new Map<string, Ending & { usedBy: Set<string>; inUse: boolean }>();

  /** @param user a release or channel that needs it. */
  add(ending: Ending, user?: string, inUse = user !== undefined): void {
    // Two channels may name one release, and each has a snapshot of its own.
    const key = `${ending.kind} ${ending.id}${ending.kind === 'snapshot' ? ` ${ending.name}` : ''}`;
    const known = this.#found.get(key) ?? { ...ending, usedBy: new Set<string>(), inUse: false };
    if (user !== undefined) known.usedBy.add(user);
    known.inUse ||= inUse;
    this.#found.set(key, known);
  }

  certificate(kind: StatusKind, certificate: DatedCertificate, user?: string, inUse?: boolean): void {
    const { commonName: name, notBefore: begins, notAfter: ends } = certificate;
    this.add({ kind, name, id: fingerprint(certificate).slice(0, 16), begins, ends }, user, inUse);
  }

  /**
   * What loaders and initramfs images hold. The first of a file is what is sealed with next; of the others those count
   * that something given was signed by.
   */
  anchors({ ca, codesign, manifest, openpgp }: Anchors, trees: readonly TreeKeys[]): void {
    for (const certificate of ca) this.certificate('ca', certificate, undefined, true);
    for (const [kind, leaves] of [
      ['codesign', codesign],
      ['manifest', manifest],
    ] as const) {
      for (const [index, leaf] of leaves.entries()) {
        this.certificate(kind, leaf, undefined, index === 0);
        for (const { release, [kind]: signers } of trees) {
          if (signers.some((info) => isSignedBy(info, leaf))) this.certificate(kind, leaf, release);
        }
      }
    }
    for (const [purpose, certificates] of Object.entries(openpgp) as [
      OpenpgpPurpose,
      readonly OpenpgpCertificate[],
    ][])
      this.#keyring(purpose, certificates, trees);
  }

  #keyring(
    purpose: OpenpgpPurpose,
    certificates: readonly OpenpgpCertificate[],
    trees: readonly TreeKeys[],
  ): void {
    for (const [index, { primary, userIds, keys }] of certificates.entries()) {
      for (const { key, expires, maySign } of keys) {
        if (!maySign) continue;
        const ending = {
          kind: OPENPGP_KINDS[purpose],
          name: userIds[0] ?? primary.keyId,
          id: key.keyId,
          begins: key.created,
          ends: expires,
        };
        this.add(ending, undefined, index === 0);
        for (const { release, openpgp: signers } of trees) {
          if (signers[purpose].includes(key.keyId)) this.add(ending, release);
        }
      }
    }
  }

  /** A release: its best-before, and the certificates that its seals carry. */
  release({ release, issued, bestBefore, manifestSha256, cas, boot, leaves }: TreeKeys): void {
    const id = manifestSha256.slice(0, 16);
    this.add({ kind: 'best-before', name: release, id, begins: issued, ends: bestBefore }, release);
    for (const certificate of cas) this.certificate('ca', certificate, release);
    for (const certificate of boot) this.certificate('boot', certificate, release);
    for (const certificate of leaves) this.certificate('release', certificate, release);
  }

  /** A channel: its snapshot, and which of the keys has signed that. @throws Refusal `malformed`. */
  channel(name: string, snapshot: Snapshot, seal: Uint8Array, keys: readonly Certificate[]): void {
    const { issued: begins, expires: ends } = snapshot;
    const id = defaultRelease(snapshot).manifest.slice(0, 16);
    this.add({ kind: 'snapshot', name, id, begins, ends }, name);
    const { signers } = decodeOr(`the snapshot of ${name}`, () => decodeDetachedCms(seal));
    for (const key of keys) {
      if (signers.some((info) => isSignedBy(info, key))) this.certificate('snapshot key', key, name);
    }
  }

  /**
   * As of a time: the first to end comes first, what never ends last.
   *
   * @param now milliseconds since 1970.
   */
  items(now: number, warnDays = WARN_DAYS): StatusItem[] {
    const items = [...this.#found.values()].map((ending): StatusItem => {
      const { begins, ends, inUse } = ending;
      const usedBy = [...ending.usedBy].sort();
      const left = ends === undefined ? undefined : ends - now;
      const notice =
        ends === undefined ? 0 : Math.min(warnDays * DAY, Math.max(0, ends - begins) / LAST_PART);
      return {
        ...ending,
        usedBy,
        daysLeft: left === undefined ? undefined : Math.floor(left / DAY),
        effect: EFFECT[ending.kind](usedBy, ending.name),
        inUse,
        due: inUse && (begins > now || (left !== undefined && left <= notice)),
      };
    });
    const end = ({ ends }: Ending) => ends ?? Number.POSITIVE_INFINITY;
    return items.sort((a, b) => (end(a) === end(b) ? order(a, b) : end(a) - end(b)));
  }
}

function order(a: Ending, b: Ending): number {
  return `${a.kind} ${a.name} ${a.id}` < `${b.kind} ${b.name} ${b.id}` ? -1 : 1;
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
  scripts: (usedBy) =>
    `iPXE refuses the scripts of machines that ${list(usedBy, 'a channel')} names: each machine that gets one of its own stops before its kernel, until "bootseal machines apply", or a keyholder, has signed them anew.`,
  loader: (usedBy, name) =>
    `${name} starts nothing more, since it trusts ${list(usedBy)} and that has ended: machines that load it stop before their first script, until it is built with a CA that stands and laid in its place.`,
  tls: (_, name) =>
    `whoever asks this server over HTTPS as ${name} refuses its certificate, loaders and browsers alike, until it is given a new one; HTTP, TFTP and NBD go on.`,
};

function list(names: readonly string[], none = 'every release sealed with it'): string {
  const [first] = names;
  if (first === undefined) return none;
  return names.length === 1 ? first : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
}
