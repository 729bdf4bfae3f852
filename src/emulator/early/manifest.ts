import { Refusal } from '../../errors/refusal.ts';
import { bytesContent } from '../../files/measure.ts';
import { decodeDetachedCms } from '../../formats/asn1/cms.ts';
import { decodeDetachedOpenpgp } from '../../formats/openpgp/openpgp-signature.ts';
import { timeOf } from '../../formats/records/lines.ts';
import {
  decodeManifest,
  MAX_MANIFEST,
  type Manifest,
  type ManifestFile,
} from '../../formats/records/manifest.ts';
import {
  decodePolicyFloor,
  POLICY_FLOOR_PATH,
  type PolicyFloor,
} from '../../formats/records/policy-floor.ts';
import { RECORD, SEAL } from '../../formats/records/seal-names.ts';
import { splitCommandLine } from '../../formats/script/cmdline.ts';
import { type Check, type CheckName, decodeOr, prepare } from '../../trust/check.ts';
import { movedClock, raisedClock } from '../../trust/clock.ts';
import { cmsCheck, leafRules } from '../../trust/cms-check.ts';
import { demandCommandLine, MANIFEST_WORD } from '../../trust/command-line.ts';
import { demandArchitecture, demandFresh, NO_FLOOR } from '../../trust/freshness.ts';
import { openpgpCheck } from '../../trust/openpgp-check.ts';
import { digestCheck } from '../../trust/plain-checks.ts';
import type { Policy } from '../../trust/policy.ts';
import { verify } from '../../trust/verify.ts';
import type { InitramfsTree } from '../initramfs-tree.ts';
import type { EarlyKeys } from './keys.ts';

export interface ManifestSource {
  readonly cmdline: string;
  /** `uname -m`. */
  readonly arch: string;
  readonly floor: PolicyFloor;
  readonly keys: EarlyKeys;
  readonly policy: Policy;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** What the time server of the policy floor says, milliseconds since 1970; undefined where it said nothing. */
  readonly claim?: number | undefined;
  /** Fetches a record of the release, at most `limit` bytes. */
  fetch(name: string, limit: number): Promise<Uint8Array>;
}

/** A manifest that this machine holds everything else against. */
export interface EnforcedManifest {
  readonly manifest: Manifest;
  /** Who signed it. */
  readonly signer: string;
  readonly rootfs: ManifestFile | undefined;
  /** Days until best-before where they are few; negative where it is past. */
  readonly daysLeft: number | undefined;
  /** What it was judged by: the machine's clock, or what the policy floor and its time server made of that. */
  readonly now: number;
  /** The time server's claim lay behind best-before, and the clock went no further than that. */
  readonly cut: boolean;
}

/** The policy floor of an initramfs; where it holds none, there is none. */
export function readPolicyFloor(initramfs: InitramfsTree): PolicyFloor {
  if (!initramfs.exists(POLICY_FLOOR_PATH)) return NO_FLOOR;
  return decodeOr(`/${POLICY_FLOOR_PATH}`, () => decodePolicyFloor(initramfs.read(POLICY_FLOOR_PATH)));
}

/**
 * What early userspace does before anything else (DESIGN §5). Undefined where the policy floor requires none, and the
 * command line names none or the initramfs holds no key for records: nobody on that machine verifies its command line.
 */
export async function enforceManifest(source: ManifestSource): Promise<EnforcedManifest | undefined> {
  const named = namedManifest(source.cmdline);
  const required = source.floor.require.includes('manifest');
  // An initramfs without keys for records, as archiso makes it, has nobody who would ask.
  if (!required && !source.keys.canVerifyManifest) return undefined;
  if (named === undefined) {
    if (!required) return undefined;
    throw new Refusal(
      'wrong-command-line',
      `The command line names no manifest; this machine requires one.`,
      {
        word: MANIFEST_WORD,
      },
    );
  }
  const { keys, policy, floor } = source;
  // 1. The record, and a seal for each kind of key that this initramfs holds.
  const record = await source.fetch(RECORD.manifest, MAX_MANIFEST);
  // Nobody has verified that best-before yet; where its seals do not hold, nothing that was judged by it counts.
  const claim = floor.ntp === undefined ? undefined : source.claim;
  const { now, cut } = movedClock(raisedClock(source.now, floor), claim, statedBestBefore(record));
  const checks: Check[] = [digestCheck(RECORD.manifest, named, 'the command line')];
  if (keys.hasManifest) {
    const name = RECORD.manifest + SEAL.cms;
    const rules = leafRules(keys.manifest(), keys.ca());
    const seal = await source.fetch(name, SEAL_LIMIT);
    const signers = () => decodeDetachedCms(seal).signers;
    checks.push(soleCheck('cms', name, signers, () => cmsCheck(name, seal, rules, policy, now)));
  }
  if (keys.hasManifestKeyring && !decidesByCms(floor, keys)) {
    const name = RECORD.manifest + SEAL.openpgp;
    const keyring = keys.manifestKeyring();
    const seal = await source.fetch(name, SEAL_LIMIT);
    const signers = () => decodeDetachedOpenpgp(seal);
    checks.push(soleCheck('openpgp', name, signers, () => openpgpCheck(name, seal, keyring, policy, now)));
  }
  // The digest alone came with the command line, which nobody here has verified.
  if (checks.length === 1) {
    throw new Refusal('absent', 'The initramfs holds no key that could verify release.manifest.', {
      path: RECORD.manifest,
    });
  }
  const { evidence } = await verify(RECORD.manifest, bytesContent(record), checks);
  // 2. What it says: of itself, of this machine, of the command line.
  const manifest = decodeOr(RECORD.manifest, () => decodeManifest(record));
  const daysLeft = demandFresh(manifest, floor, now);
  demandArchitecture(manifest, source.arch);
  demandCommandLine(source.cmdline, manifest, named);
  return {
    manifest,
    signer: evidence.at(-1)?.signer ?? '',
    rootfs: manifest.files.find(({ role }) => role === 'rootfs'),
    daysLeft,
    now,
    cut,
  };
}

/** The first line that may be one, as a shell reads it, which drops NUL. */
function statedBestBefore(record: Uint8Array): number | undefined {
  const lines = Buffer.from(record).toString('latin1').replaceAll('\0', '').split('\n').slice(0, -1);
  const key = 'best-before ';
  return timeOf(lines.find((line) => line.startsWith(key))?.slice(key.length) ?? '');
}

/** A policy that requires CMS and not OpenPGP has said which seal decides; no word of CMS is ever left out. */
function decidesByCms({ require }: PolicyFloor, keys: EarlyKeys): boolean {
  return keys.hasManifest && require.includes('cms') && !require.includes('openpgp');
}

const SEAL_LIMIT = 64 * 1024;

/**
 * A check of a seal by one signer. Of several, openssl and gpg report in ways that a shell cannot tell apart
 * for certain, so the verifier in the initramfs takes exactly one, and so does this one.
 */
function soleCheck(
  name: CheckName,
  what: string,
  signers: () => readonly unknown[],
  check: () => Check,
): Check {
  return prepare(name, () => {
    if (decodeOr(what, signers).length > 1) {
      throw new Refusal('malformed', `${what} is by more than one signer.`, { path: what });
    }
    return check();
  });
}

/** The first digest that the command line names; that there is no second one is checked with the rest of it. */
export function namedManifest(cmdline: string): string | undefined {
  const word = splitCommandLine(cmdline).find((candidate) => candidate.startsWith(`${MANIFEST_WORD}=`));
  return word?.slice(MANIFEST_WORD.length + 1);
}
