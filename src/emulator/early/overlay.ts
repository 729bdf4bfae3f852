import { Refusal } from '../../errors/refusal.ts';
import { isoSeconds } from '../../formats/records/lines.ts';
import { ROOT_MODES, type RootMode } from '../../formats/records/policy-floor.ts';
import { isVlan, lastValue, splitCommandLine } from '../../formats/script/cmdline.ts';
import { raisedClock } from '../../trust/clock.ts';
import { cmsCheck, leafRules } from '../../trust/cms-check.ts';
import { day } from '../../trust/policy.ts';
import type { EarlyOptions, EarlyVerdict } from './contract.ts';
import { EarlyKeys } from './keys.ts';
import { type EnforcedManifest, readPolicyFloor } from './manifest.ts';
import { OVERLAY_INIT } from './parameters.ts';
import { Reporter } from './report.ts';
import { refused, Userspace } from './userspace.ts';

/**
 * The overlay's own init (`early-userspace/init`), which uses nothing of the initramfs that it rides on: its own
 * anchors, its own policy floor, and the root image that the manifest lists. No word of the command line asks for a
 * check here, and none can leave one out. Blocks come by HTTP, where the real one reads them over NBD.
 */
export async function runOverlay(options: EarlyOptions): Promise<EarlyVerdict> {
  const lines: string[] = [];
  const heard: EarlyOptions = {
    ...options,
    onEvent(event) {
      if (event.kind === 'console') lines.push(event.text);
      options.onEvent?.(event);
    },
  };
  const network: Network = {};
  const verdict = await run(heard, network);
  const { refusal, mode } = verdict;
  const { server, release } = network;
  // Who has no network tells nobody.
  if (refusal && server !== undefined) {
    const known = release === undefined ? {} : { release, root: mode };
    await new Reporter(heard, server).refused(refusal, known, lines);
  }
  return verdict;
}

/** What a report needs, once it is known: where it goes, and which release was verified. */
interface Network {
  server?: string;
  release?: string;
}

async function run(options: EarlyOptions, network: Network): Promise<EarlyVerdict> {
  const { initramfs, policy, now } = options;
  let mode: 'ram' | 'verity' = 'verity';
  let path = '';
  let stage: 'manifest' | 'image' = 'manifest';
  try {
    if (initramfs.stat(OVERLAY_INIT)?.kind !== 'file') {
      throw new Refusal(
        'absent',
        `The command line starts ${OVERLAY_INIT}, and no initrd holds it: the overlay was not loaded.`,
        { path: OVERLAY_INIT },
      );
    }
    demandVlan(options.cmdline);
    const floor = readPolicyFloor(initramfs);
    mode = floor.mode ?? mode;
    const early = new Userspace(options, EarlyKeys.ofOverlay(initramfs), 'bootseal-early');
    network.server = early.server;
    // Nothing is judged by a clock that is surely wrong.
    early.now = raisedClock(now, floor);
    if (early.now !== now)
      early.print(
        `The clock said ${isoSeconds(now)}, which is before this overlay was issued; it is set to ${isoSeconds(early.now)}.`,
      );
    const claim = floor.ntp === undefined ? undefined : await askTime(floor.ntp, early, options);
    // A kind of seal that must be looked at, and nothing here that could.
    if (floor.require.includes('openpgp')) early.keys.manifestKeyring();
    // 1. The manifest, which it never does without.
    const enforced = await early.manifest({ ...floor, require: ['manifest', ...floor.require] }, claim);
    if (enforced) follow(enforced, early);
    stage = 'image';
    const { manifest, rootfs } = enforced ?? {};
    if (manifest) network.release = manifest.release;
    if (!rootfs) {
      throw new Refusal('absent', `${manifest?.release} lists no root image.`, {
        release: manifest?.release ?? '',
      });
    }
    path = rootfs.path;
    // 2. The root image that it lists.
    mode = wantedMode(options.cmdline) ?? mode;
    if (mode === 'verity') return await reported(early.verity(enforced, floor), options, early);
    const seal = `${path}.cms.sig`;
    const { keys } = early;
    const cms = (bytes: Uint8Array) =>
      cmsCheck(seal, bytes, leafRules(keys.codesign(), keys.ca()), policy, early.now);
    const checks = floor.require.includes('cms') ? [await early.sidecar('cms', seal, cms)] : [];
    return await reported(early.ram(path, checks, enforced, true), options, early);
  } catch (error) {
    return refused(error, options, { mode, path, stage });
  }
}

/** A word that the signed manifest leaves free: both modes verify every byte. Throws a `Refusal` for another mode. */
function wantedMode(cmdline: string): RootMode | undefined {
  const word = lastValue(splitCommandLine(cmdline), 'bootseal.mode');
  const mode = ROOT_MODES.find((known) => known === word);
  if (word === undefined || mode !== undefined) return mode;
  throw new Refusal('malformed', `The mode ${word} is none that this overlay knows.`, { mode: word });
}

/** A root that was verified is entered once the server knows, and no other. */
async function reported(
  pending: Promise<EarlyVerdict>,
  options: EarlyOptions,
  early: Userspace,
): Promise<EarlyVerdict> {
  const verdict = await pending;
  if (verdict.refusal || !verdict.verified) return verdict;
  try {
    const { release } = verdict.manifest ?? {};
    if (release === undefined) throw new TypeError('an overlay starts nothing without a manifest');
    await new Reporter(options, early.server).verified({ release, root: verdict.mode }, (text) =>
      early.print(text),
    );
    return verdict;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    early.print(`ERROR: ${error.message}`);
    return { ...verdict, refusal: error, verified: undefined };
  }
}

/** Which VLAN the server is on: read, as its address is, before anybody has judged the line. */
function demandVlan(cmdline: string): void {
  const named = splitCommandLine(cmdline).filter((word) => word.startsWith('vlan='));
  if (named.every((word) => isVlan(word.slice('vlan='.length)))) return;
  throw new Refusal('wrong-command-line', 'vlan= names no VLAN: that is a number from 1 to 4094.', {});
}

/** Says what the time server said; a claim that is no later than the clock counts for nothing. */
async function askTime(host: string, early: Userspace, options: EarlyOptions): Promise<number | undefined> {
  const claim = await options.askTime?.(host);
  const server = `The time server ${host}`;
  if (claim === undefined)
    early.print(
      `WARNING: ${server} ${options.askTime ? 'did not answer' : 'is nobody that this machine could ask'}; the clock stays as it is.`,
    );
  else
    early.print(
      claim > early.now
        ? `${server} says ${isoSeconds(claim)}.`
        : `${server} says ${isoSeconds(claim)}, which is no later than this machine's clock, and counts for nothing.`,
    );
  return claim;
}

/** The clock goes on from what the manifest was judged by. */
function follow({ now, cut, manifest }: EnforcedManifest, early: Userspace): void {
  if (now !== early.now) early.print(`The clock is set forward to ${isoSeconds(now)}.`);
  early.now = now;
  if (cut)
    early.print(
      `WARNING: The time server's clock is past ${day(manifest.bestBefore)}, before which ${manifest.release} is best; this machine's goes no further than that.`,
    );
}
