import { basename, extname } from 'node:path';
import { writeFolderAtomically } from '../files/atomic-folder.ts';
import { encodeArmor } from '../formats/asn1/armor.ts';
import { encodeRevokedList, encodeTrustedList } from '../formats/openpgp/trust-list.ts';
import { isoSeconds } from '../formats/records/lines.ts';
import { type KeyringPolicyName, keyringPolicy } from '../trust/keyring-rules.ts';
import { dropCounts } from './drop-counts.ts';
import { readKeyringSource } from './keyring-files.ts';
import { demandKeyringName, voaPlace } from './keyring-names.ts';
import { type Curation, curate } from './web-of-trust.ts';

export interface KeyringOptions {
  /** Keyring files, binary or armored, or folders of them. `-trusted` and `-revoked` beside them count. */
  readonly sources: readonly string[];
  /** Milliseconds since 1970: the time that keys, signatures and algorithms are judged at. */
  readonly at: number;
  /** Until when SHA-1 counts in certifications by others. */
  readonly policy?: KeyringPolicyName;
  /** Trusted keys that must certify one user id of a certificate; 3, as in pacman and GnuPG. */
  readonly marginals?: number;
}

export interface KeyringBuildOptions extends KeyringOptions {
  /** A folder that does not exist yet. */
  readonly out: string;
  /** Of the files in it; default: the first source's. */
  readonly name?: string;
  /** `OS/PURPOSE/CONTEXT` in the VOA tree; default: `NAME/image/netboot`. */
  readonly voa?: string;
}

export interface KeyringReport extends Curation {
  readonly at: number;
  readonly policy: KeyringPolicyName;
  readonly marginals: number;
  readonly sources: readonly {
    readonly path: string;
    readonly certificates: number;
    /** Trusted keys that it lists; undefined: it has no list, so each certificate in it stands for itself. */
    readonly trusted: number | undefined;
    readonly revoked: number;
  }[];
  /** Files of folders that are no keyrings by their names. */
  readonly passedOver: readonly string[];
}

export interface KeyringBuild extends KeyringReport {
  readonly name: string;
  /** Below `out`; empty where nothing was kept, and nothing written. */
  readonly files: readonly string[];
}

const MARGINALS = 3;

/** Judges a keyring and writes nothing. Throws a `Refusal` where it cannot be judged as a whole. */
export async function checkKeyring(options: KeyringOptions): Promise<KeyringReport> {
  const { at, policy = 'default', marginals = MARGINALS } = options;
  const read = [];
  for (const path of options.sources) read.push(await readKeyringSource(path));
  const sources = read.map(({ source }) => source);
  return {
    at,
    policy,
    marginals,
    sources: sources.map(({ name, certificates, trusted, revoked }) => ({
      path: name,
      certificates: certificates.length,
      trusted: trusted?.length,
      revoked: revoked.length,
    })),
    passedOver: read.flatMap(({ passedOver }) => passedOver),
    ...curate(sources, { at, policy: keyringPolicy(policy, at), marginals }),
  };
}

/**
 * Judges keyrings and writes what is kept as a flat list, into a folder that appears whole or not at all.
 * Where nothing is kept, nothing is written: an empty keyring only looks like one.
 */
export async function buildKeyring(options: KeyringBuildOptions): Promise<KeyringBuild> {
  const name = options.name ?? defaultName(options.sources[0] ?? '');
  demandKeyringName(name);
  const place = voaPlace(options.voa ?? `${name}/image/netboot`);
  const report = await checkKeyring(options);
  if (report.kept.length === 0) return { ...report, name, files: [] };
  const files = keyringFiles(name, place, report);
  await writeFolderAtomically(options.out, files);
  return { ...report, name, files: [...files.keys()] };
}

/**
 * The VOA tree follows UAPI.11, "File Hierarchy for the Verification of OS Artifacts", version 1: its
 * openpgp technology holds one armored certificate a file, named after the lower-case fingerprint.
 * https://uapi-group.org/specifications/specs/file_hierarchy_for_the_verification_of_os_artifacts/
 */
function keyringFiles(name: string, place: string, report: KeyringReport): Map<string, Uint8Array> {
  const { kept, revoked } = report;
  const files = new Map<string, Uint8Array>([
    [`${name}.gpg`, Buffer.concat(kept.map(({ certificate }) => certificate))],
    // pacman-key makes every key on this list valid; 3 keeps those that vouched for nobody from doing so there.
    [
      `${name}-trusted`,
      encodeTrustedList(
        kept.map(({ fingerprint, basis }) => ({ fingerprint, level: basis === 'trusted' ? 4 : 3 })),
      ),
    ],
    [`${name}-revoked`, encodeRevokedList(revoked)],
    ['report.json', Buffer.from(`${JSON.stringify(keyringJson(report), undefined, 2)}\n`)],
  ]);
  for (const { fingerprint, certificate } of kept) {
    const armored = Buffer.from(encodeArmor('PUBLIC KEY BLOCK', certificate));
    files.set(`voa/${place}/openpgp/${fingerprint}.openpgp`, armored);
  }
  return files;
}

/** The report for machines. It depends on the sources and the options alone. */
export function keyringJson(report: KeyringReport): object {
  return {
    at: isoSeconds(report.at),
    policy: report.policy,
    marginals: report.marginals,
    sources: report.sources,
    passedOver: report.passedOver,
    introducers: report.introducers,
    absent: report.absent,
    counts: { kept: report.kept.length, dropped: Object.fromEntries(dropCounts(report)) },
    kept: report.kept.map(({ certificate: _, until, ...rest }) => ({
      ...rest,
      until: until === undefined ? undefined : isoSeconds(until),
    })),
    dropped: report.dropped,
  };
}

/** `archlinux` of `/usr/share/keyrings/archlinux.gpg`. */
function defaultName(source: string): string {
  return basename(source, extname(source)).toLowerCase();
}
