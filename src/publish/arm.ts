import { createHash, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { startsOverlay } from '../emulator/early/parameters.ts';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { isThere } from '../files/read-if-there.ts';
import { claimedMac, claimedUuid } from '../formats/net/machine-claims.ts';
import { type AfterOnce, type Arming, LONGEST_ARMING } from '../formats/records/armed-boot.ts';
import { armedFolder } from '../formats/records/armed-folder.ts';
import { linuxOf, type Manifest } from '../formats/records/manifest.ts';
import { RECORD } from '../formats/records/seal-names.ts';
import { namesRelease } from '../formats/records/snapshot.ts';
import { BootOnce } from '../machines/boot-once.ts';
import { releaseSite } from '../release/release-site.ts';
import { compileBootScript } from '../scripts/compile.ts';
import { compileGrubConfig } from '../scripts/grub-config.ts';
import { compileGrubLocalDisk, compileLocalDisk } from '../scripts/local-disk.ts';
import { sealedAddress } from '../scripts/sealed-address.ts';
import type { ServerAddress } from '../scripts/server-address.ts';
import { armingLeaf } from '../signing/keys/arming-leaf.ts';
import type { MakeKeyPair } from '../signing/keys/key-pair.ts';
import { accessOf, type KeyAccess } from '../signing/keys/passphrase.ts';
import { readScriptKeys, sealScript } from '../signing/keys/script-keys.ts';
import { readSealingKeys } from '../signing/keys/sealing-keys.ts';
import type { SnapshotKey } from '../signing/keys/snapshot-key.ts';
import { sealRecord, sealRecordOpenpgp } from '../signing/seal-record.ts';
import { armingAct, disarmingAct } from '../store/armed-acts.ts';
import { ArmedBoots, type StoredArming } from '../store/armed-boots.ts';
import { channelNames, readChannel } from '../store/channels.ts';
import { recordsOf } from '../store/folder-backend.ts';
import { keepSealed } from '../store/script-batches.ts';
import { keepScript } from '../store/signed-scripts.ts';
import { demandState, openStateWhenFree } from '../store/state.ts';
import { policyFor } from '../store/state-policy.ts';
import { demandNotWithdrawn } from '../store/withdrawals.ts';
import { verifyArmedScript } from '../trust/armed-script-check.ts';
import type { PolicyFile } from '../trust/policy-file.ts';
import { type AnchorFolders, readTrustRoots } from '../trust/trust-roots.ts';
import type { VerifiedRelease } from '../trust/verified-release.ts';
import { earlyUserspaceOf } from './gate-early.ts';
import { logAct } from './log-act.ts';
import { siteTransport } from './site-transport.ts';
import { demandUnchanged, judgeStored } from './stored-release.ts';

export interface ArmOptions extends KeyAccess {
  /** The STATE folder. */
  readonly state: string;
  /** In any spelling that loaders and people use. */
  readonly mac: string;
  readonly uuid?: string | undefined;
  /** `NAME/VERSION`, published in the state. */
  readonly release: string;
  /** Each fills a free parameter of the release. */
  readonly words: readonly string[];
  /** Milliseconds; at most 24 hours. */
  readonly lasts: number;
  readonly afterwards: AfterOnce;
  readonly loader: 'ipxe' | 'grub';
  /** What the release must lead to. */
  readonly anchors: AnchorFolders;
  /** An `init` folder with the key of the CA, or a day's folder of `keys delegate`. */
  readonly keys: string;
  /** Where machines will find the server; undefined: where the release's own scripts do. */
  readonly server?: ServerAddress | undefined;
  /** Who arms: for the log. */
  readonly by: string;
  /** Signs the log; default: the state's own. */
  readonly snapshotKey?: string | SnapshotKey | undefined;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Overrides the RSA modulus length of the leaf. */
  readonly rsaBits?: number | undefined;
  readonly makeKeyPair?: MakeKeyPair | undefined;
  /** 64 random bits in hex; default: of this machine. */
  readonly newId?: (() => string) | undefined;
}

export interface ArmedMachine {
  readonly arming: Arming;
  /** What the operator should know, though it is armed. */
  readonly warnings: readonly string[];
}

/** The free parameter by which early userspace is told which arming started it. */
const ONCE = { name: 'bootseal.once', type: 'hex 16' } as const;
/** What an overlay reports with; one without it would start and never say so. */
const REPORTER = '/bootseal/report';

/**
 * Arms a machine: its next boot, and that one alone, is of this release, by a script that is signed now and ends with the
 * arming. The only act that arms. An earlier arming of the machine is taken back.
 *
 * @throws UsageError, Refusal, IoError; nothing is armed then.
 */
export async function armMachine(options: ArmOptions): Promise<ArmedMachine> {
  const { state: folder, release: id, now, loader } = options;
  const mac = demandMac(options.mac);
  const uuid = options.uuid === undefined ? undefined : demandUuid(options.uuid);
  const armed = Math.floor(now / 1000) * 1000;
  const ends = armed + Math.floor(options.lasts / 1000) * 1000;
  if (!(ends > armed && ends - armed <= LONGEST_ARMING))
    throw new UsageError('A machine is armed for at most 24 hours, and for at least a second.');
  // 1. The release, verified anew: what is signed here starts it unasked.
  await demandState(folder);
  const policy = await policyFor(folder);
  demandLoader(loader, policy);
  await demandNotWithdrawn(folder, id);
  const judged = await judgeStored(folder, id, await readTrustRoots(options.anchors), policy, now);
  if (judged instanceof Refusal) throw judged;
  const { release } = judged.verdict;
  // 2. What will consume it.
  const { name } = ONCE;
  if (options.words.some((word) => word.startsWith(`${name}=`)))
    throw new UsageError(`${name} is given by arming itself, and by no word.`);
  const arming = {
    id: options.newId?.() ?? randomBytes(8).toString('hex'),
    mac,
    uuid,
    loader,
    release: id,
    manifest: release.manifestSha256,
    armed,
    ends,
    by: options.by,
    afterwards: options.afterwards,
    leaves: (await reports(release)) ? undefined : leavesOf(release.manifest),
  };
  if (loader === 'grub' && arming.leaves)
    throw new UsageError(`${id} reports no boot, and what GRUB fetches is not counted: arm it for iPXE.`);
  const words = arming.leaves ? options.words : [...options.words, `${name}=${arming.id}`];
  // 3. The script, compiled here from facts, and linted.
  const bytes = Buffer.from(scriptOf(options, release, arming, words), 'latin1');
  const seal = await sealOf(options, bytes, ends);
  const whole = { ...arming, words };
  await verifyArmedScript(whole, { bytes, seal }, release, policy.at(now, now), now);
  // 4. On record in the log, then in force.
  const state = await openStateWhenFree(folder);
  try {
    await demandNotWithdrawn(folder, id);
    await demandUnchanged(folder, release);
    await policyFor(folder, undefined, policy);
    const records = recordsOf(folder);
    const script = await keepScript(records, loader, { bytes, seal });
    const complete: Arming = { ...whole, script };
    if (complete.afterwards === 'local') await keepLocalDisk(options, mac);
    const kept = new ArmedBoots(records);
    const before = await kept.newest(mac);
    if (before?.arming.id === complete.id)
      throw new UsageError(`${mac} was armed as ${complete.id} before, and no arming counts twice.`);
    await logAct(folder, armingAct(complete, now), options.snapshotKey);
    if (before && !before.consumed)
      await kept.consume(before, { id: before.arming.id, how: 'cancelled', time: armed });
    await kept.add(complete);
    return { arming: complete, warnings: await warningsOf(folder, complete) };
  } finally {
    await state.release();
  }
}

export interface DisarmOptions {
  readonly state: string;
  readonly mac: string;
  readonly by: string;
  readonly snapshotKey?: string | SnapshotKey | undefined;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/**
 * Takes an arming back, or ends what followed one: the machine boots what it usually does. Needs no key. Answers what was
 * there; undefined where there was nothing to take back.
 */
export async function disarmMachine(options: DisarmOptions): Promise<StoredArming | undefined> {
  const { by, snapshotKey, now } = options;
  const mac = demandMac(options.mac);
  const state = await openStateWhenFree(options.state);
  try {
    const kept = new ArmedBoots(recordsOf(state.folder));
    // What takes something back is done first: a log that cannot be written keeps nothing armed.
    const before = await new BootOnce(kept, () => now).cancel(mac);
    if (before) await logAct(state.folder, disarmingAct(before.arming, by, now), snapshotKey);
    return before;
  } finally {
    await state.release();
  }
}

/** The newest arming of every machine. */
export async function listArmed(state: string): Promise<StoredArming[]> {
  await demandState(state);
  return new ArmedBoots(recordsOf(state)).all();
}

/** @throws UsageError */
function demandMac(text: string): string {
  const mac = claimedMac(text);
  if (mac !== undefined) return mac;
  throw new UsageError(`${JSON.stringify(text)} is no card's address; write 52:54:00:12:34:56.`);
}

function demandUuid(text: string): string {
  const uuid = claimedUuid(text);
  if (uuid !== undefined) return uuid;
  throw new UsageError(`${JSON.stringify(text)} is no UUID of a machine.`);
}

/** GRUB knows no dates: what is signed for it once, it takes for ever. */
function demandLoader(loader: 'ipxe' | 'grub', policy: PolicyFile): void {
  if (loader === 'ipxe' || policy.machines.armedByGrub) return;
  throw new UsageError(
    'GRUB knows no dates, so that a script which is armed for it can be replayed for ever; the policy of this state must say armed_by_grub = true in [machines].',
  );
}

/** Whether early userspace of this release reports its boot, and goes on only when it was consumed. */
async function reports(release: VerifiedRelease): Promise<boolean> {
  const { manifest } = release;
  const free = manifest.free.some(({ name, type }) => name === ONCE.name && type === ONCE.type);
  if (!free || !startsOverlay(linuxOf(manifest).cmdline.join(' '))) return false;
  const transport = siteTransport(releaseSite(release, new Map()));
  const url = (path: string) => `http://release.invalid/releases/${release.release}/${path}`;
  const { initramfs } = await earlyUserspaceOf(manifest, transport, url)();
  return initramfs.stat(REPORTER)?.kind === 'file';
}

/** All that a machine cannot start without. */
function leavesOf({ files }: Manifest): string[] {
  return files.filter(({ role }) => ['kernel', 'initrd', 'overlay'].includes(role)).map(({ path }) => path);
}

function scriptOf(
  { server: given, loader }: ArmOptions,
  { manifest, manifestSha256, records }: VerifiedRelease,
  { mac, id, leaves }: Pick<Arming, 'mac' | 'id' | 'leaves'>,
  words: readonly string[],
): string {
  if (manifest.moduleCmdline !== undefined && loader === 'ipxe')
    throw new UsageError(`${manifest.release} starts by GRUB alone, and cannot be armed for iPXE.`);
  const server = given ?? sealedAddress(records.get(RECORD.bootIpxe), records.get(RECORD.grubCfg));
  const common = { manifest, manifestSha256, words, machines: [{ macs: [mac] }] };
  if (loader === 'grub') return compileGrubConfig({ ...common, server: server.grub });
  return compileBootScript({
    ...common,
    server: server.script,
    ...(leaves ? { through: armedFolder(mac, id) } : {}),
  });
}

async function sealOf(options: ArmOptions, bytes: Uint8Array, ends: number): Promise<Uint8Array> {
  const { keys, now, loader, rsaBits, makeKeyPair } = options;
  const access = accessOf(options);
  if (loader === 'grub') {
    const { openpgp } = await readSealingKeys(keys, now, undefined, access);
    return sealRecordOpenpgp(bytes, openpgp.script, Math.floor(now / 1000) * 1000);
  }
  const { signer, chain } = await armingLeaf({ ...access, keys, now, ends, rsaBits, makeKeyPair });
  return sealRecord(bytes, signer, chain);
}

/** What the machine boots afterwards is signed now, too, for it alone: later nobody need be there. */
async function keepLocalDisk(
  { state, keys, loader, now, ...options }: ArmOptions,
  mac: string,
): Promise<void> {
  // A day's folder of `keys delegate` holds one leaf, which ends with the day.
  if (!(await isThere(join(keys, 'anchors', 'codesign.crt'))))
    throw new UsageError(
      `${keys} holds no key for scripts that lasts, and the machine's local disk would need one: arm it with --then usual.`,
    );
  const machines = [{ macs: [mac] }];
  const text = loader === 'ipxe' ? compileLocalDisk({ machines }) : compileGrubLocalDisk({ machines });
  const bytes = Buffer.from(text, 'latin1');
  const seal = await sealScript(await readScriptKeys(keys, now, accessOf(options)), loader, bytes, now);
  if (!seal) throw new UsageError(`${keys} holds no key that signs scripts for ${loader}.`);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  await keepSealed(recordsOf(state), loader, sha256, { bytes, seal });
}

async function warningsOf(state: string, { release, leaves }: Arming): Promise<string[]> {
  const warnings: string[] = [];
  const named = await Promise.all(
    (await channelNames(state)).map(async (name) => {
      const current = await readChannel(state, name);
      return current !== undefined && namesRelease(current.snapshot, release);
    }),
  );
  if (!named.includes(true))
    warnings.push(
      `no channel names ${release}: a server offers it to nobody, and the machine boots as usual`,
    );
  if (leaves)
    warnings.push(
      `${release} does not report its boots: this one counts as begun when its kernel and initrds have left whole`,
    );
  return warnings;
}
