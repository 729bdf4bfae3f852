import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import type { Tree } from '../files/tree.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import type { BatchScript } from '../formats/records/script-batch.ts';
import { type ChannelRelease, defaultRelease } from '../formats/records/snapshot.ts';
import { startsOf } from '../machines/assignment.ts';
import type { ChannelScripts } from '../machines/channel-scripts.ts';
import { channelNames, readChannel, type StoredSnapshot } from '../store/channels.ts';
import { recordsOf } from '../store/folder-backend.ts';
import { isBucketState } from '../store/s3/location.ts';
import { shelfOf } from '../store/shelf-of.ts';
import { readScript } from '../store/signed-scripts.ts';
import { demandState } from '../store/state.ts';
import { stateMark } from '../store/state-mark.ts';
import { policyFor } from '../store/state-policy.ts';
import { withdrawnReason, withdrawnRefusal } from '../store/withdrawals.ts';
import { SCRIPT_NAMES } from '../trust/machine-script-check.ts';
import { defaultPolicy } from '../trust/policy.ts';
import { DEFAULT_POLICY_FILE, type PolicyFile } from '../trust/policy-file.ts';
import { manifestNamedIn } from '../trust/script-lines.ts';
import { verifySnapshot } from '../trust/snapshot-check.ts';
import { type AnchorFolders, fittingRoots, readTrustRoots } from '../trust/trust-roots.ts';
import type { ServableRelease } from '../trust/verified-release.ts';
import { type RecordsVerdict, Verifier } from '../trust/verifier.ts';
import { HeldRelease } from './held-release.ts';
import type { OfferedMachines, Offering, OfferingSource } from './offering.ts';
import { ScriptSigners } from './script-signers.ts';
import { snapshotSigners } from './snapshot-signers.ts';
import { StateScripts } from './state-scripts.ts';

export interface StateSourceOptions {
  readonly state: string;
  /** Whose release is the entry; default: the only channel there is. */
  readonly channel?: string | undefined;
  /** Several while a CA is being replaced: each release is judged by those it was sealed for. */
  readonly anchors: AnchorFolders;
  /** A policy file, which must say what the state's own says. */
  readonly policy?: string | undefined;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  readonly onProgress?: ((path: string, bytes: number, size: number) => void) | undefined;
  /** Told what is not offered, or not as its channel says, and why. */
  readonly onRefused: (channel: string, refusal: Refusal) => void;
}

/**
 * The releases of every channel, for whatever architecture, each verified before it is offered, and the channels'
 * snapshots. What has no say in which machine asks is of one release: that of the channel for x86_64, else its first.
 */
export function stateSource(options: StateSourceOptions): OfferingSource {
  return new StateSource(options);
}

class StateSource implements OfferingSource {
  readonly #options: StateSourceOptions;
  /** By the manifest's SHA-256. What was verified stays so: its files are pinned, and one that drifts is not served. */
  readonly #known = new Map<string, HeldRelease>();
  readonly #scripts: StateScripts;
  readonly #scriptSigners: ScriptSigners;
  /** What each channel names; the channel that it began with stays the entry, however many come beside it. */
  #channels = new Map<string, StoredSnapshot>();
  #entry: string | undefined;
  #verifier: Verifier | undefined;
  #mark: string | undefined;
  #policy: string | undefined;
  /** What the operator gave to this process, once the state was found to say the same. */
  #given: PolicyFile | undefined;
  /** By channel and architecture. */
  #offered = new Map<string, HeldRelease>();

  constructor(options: StateSourceOptions) {
    this.#options = options;
    this.#entry = options.channel;
    this.#scripts = new StateScripts(recordsOf(options.state));
    this.#scriptSigners = new ScriptSigners(recordsOf(options.state));
  }

  async load(): Promise<Offering> {
    // Before anything is read: what changes meanwhile is seen the next time.
    this.#mark = await stateMark(this.#options.state);
    try {
      return await this.#load();
    } catch (error) {
      // A verdict stays what it is until the state changes; what this machine could not do is tried again.
      if (!(error instanceof Refusal)) this.#mark = undefined;
      throw error;
    }
  }

  async #load(): Promise<Offering> {
    const { state, anchors, clock, onRefused } = this.#options;
    // Whoever starts a server before anything was published is told so, and not of the first file that is missing.
    if (!this.#verifier) await demandState(state);
    // 1. The policy, and what was withdrawn, for all that is held: whatever comes of the channels, these end boots.
    const warnings: string[] = [];
    const roots = await readTrustRoots(anchors);
    const judgedBy = await this.#judgedBy(warnings);
    const verifier = new Verifier(roots, judgedBy, clock);
    const samePolicy = this.#policy === judgedBy.canonical;
    this.#verifier = verifier;
    this.#policy = judgedBy.canonical;
    for (const held of this.#known.values()) {
      await held.judge(verifier);
      await this.#withdrawIfTold(held);
    }
    // 2. What each channel names now. One that is refused stays at what it named before, and keeps nobody else.
    const names = await channelNames(state);
    // The certificate comes with the first channel.
    const snapshotKeys = names.length === 0 ? [] : await snapshotSigners(state, anchors, warnings);
    const channels = await this.#verified(verifier, names, snapshotKeys, warnings);
    const entryName = this.#entryOf(channels);
    const offered = new Map<string, HeldRelease>();
    for (const [name, { snapshot }] of channels) {
      const main = defaultRelease(snapshot);
      for (const named of snapshot.releases) {
        const key = offeredKey(name, named);
        try {
          const one = await this.#held(named, verifier, samePolicy);
          await this.#withdrawIfTold(one);
          offered.set(key, one);
        } catch (error) {
          if (!(error instanceof Refusal)) throw error;
          const before = this.#offered.get(key);
          if (!before && name === entryName && named === main) throw error;
          this.#options.onRefused(name, error);
          const whose = snapshot.releases.length === 1 ? name : `${name} for ${named.arch}`;
          const what = before
            ? `${whose} stays at ${before.release.release}, since what it names now is refused`
            : `${whose} is not offered`;
          warnings.push(`${what}: ${error.message}`);
          if (before) offered.set(key, before);
        }
      }
      if (!snapshot.releases.some((named) => offered.has(offeredKey(name, named)))) channels.delete(name);
    }
    const ofEntry = channels.get(entryName);
    const entry = ofEntry && offered.get(offeredKey(entryName, defaultRelease(ofEntry.snapshot)));
    if (!entry) throw new Refusal('no-verdict', `Nothing vouches for what ${entryName} names.`, {});
    const byArch = new Map(
      ofEntry.snapshot.releases.flatMap((named) => {
        const held = offered.get(offeredKey(entryName, named));
        return held ? [[named.arch, held] as const] : [];
      }),
    );
    this.#channels = channels;
    this.#offered = offered;
    this.#entry = entryName;
    const scripts = await this.#scripts.read(channels);
    for (const [name, one] of scripts) {
      if (one instanceof Refusal) {
        onRefused(name, one);
        warnings.push(`no machine boots: the scripts that ${name} names are refused: ${one.message}`);
      } else await this.#holdPinned(one, offered, verifier, samePolicy, warnings);
    }
    const machines = this.#machines(entryName, channels, offered, scripts);
    const scriptSigners = await this.#scriptSigners.read(channels, scripts);
    const wanted = new Set(offered.values());
    const former = [...this.#known.values()].filter((one) => !wanted.has(one));
    const releases = [entry, ...[...wanted].filter((one) => one !== entry)];
    return { entry, byArch, releases, former, channels, snapshotKeys, scriptSigners, machines, warnings };
  }

  /** Releases that machines are kept at, whatever their channel names. */
  async #holdPinned(
    one: ChannelScripts,
    offered: Map<string, HeldRelease>,
    verifier: Verifier,
    samePolicy: boolean,
    warnings: string[],
  ): Promise<void> {
    for (const { release, arch, loader, sha256 } of one.scripts) {
      if (release === undefined || arch === undefined) continue;
      if ([...offered.values()].some((held) => held.release.release === release)) continue;
      try {
        const { bytes } = await readScript(recordsOf(this.#options.state), loader, sha256);
        const manifest = manifestNamedIn(SCRIPT_NAMES[loader], bytes);
        if (manifest === undefined) throw new Refusal('mixed-releases', 'its script names no manifest.', {});
        const named = { arch, release, manifest, serial: 0, bestBefore: 0, rollbackFrom: undefined };
        const held = await this.#held(named, verifier, samePolicy);
        await this.#withdrawIfTold(held);
        // No channel has a slash in its name.
        offered.set(`kept/${release}`, held);
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        warnings.push(
          `${release}, which machines of ${one.channel} are kept at, is not offered: ${error.message}`,
        );
      }
    }
  }

  #machines(
    entry: string,
    channels: ReadonlyMap<string, StoredSnapshot>,
    offered: ReadonlyMap<string, HeldRelease>,
    scripts: ReadonlyMap<string, ChannelScripts | Refusal>,
  ): OfferedMachines {
    const all = [...offered.values()];
    const byChannel = new Map(
      [...channels].map(([name, { snapshot }]) => [
        name,
        new Map(
          snapshot.releases.flatMap((named) => {
            const held = offered.get(offeredKey(name, named));
            return held ? [[named.arch, held] as const] : [];
          }),
        ),
      ]),
    );
    /** What says what a script is for, and of which release it is. */
    const judging = (channel: string, script: BatchScript) => {
      const of = scripts.get(channel);
      const boots = of && !(of instanceof Refusal) ? of.bootsOf(script) : undefined;
      const verifier = this.#verifier;
      if (!verifier || boots === undefined) return undefined;
      const held = all.find(
        ({ release }) => release.release === script.release && release.manifest.arch === script.arch,
      );
      return { boots, held, verifier };
    };
    return {
      entry,
      channels: byChannel,
      scripts,
      load: (channel, script) => {
        const by = judging(channel, script);
        if (!by) throw new Refusal('no-verdict', 'Nothing says what this script is for.', {});
        const { boots, held, verifier } = by;
        return this.#scripts.load(script, boots === 'release' ? boots : startsOf(boots), held, verifier);
      },
      known: (channel, script) => {
        const by = judging(channel, script);
        return by && this.#scripts.known(script, by.held, by.verifier);
      },
    };
  }

  /** The policy of the state. Where the operator gave one, too, that one stays, whatever the state says later. */
  async #judgedBy(warnings: string[]): Promise<PolicyFile> {
    const { state, policy } = this.#options;
    try {
      const judgedBy = await policyFor(state, policy);
      if (policy !== undefined) this.#given = judgedBy;
      return judgedBy;
    } catch (error) {
      if (!this.#given || !(error instanceof UsageError)) throw error;
      warnings.push(`the policy that this server was started with counts: ${error.message}`);
      return this.#given;
    }
  }

  async #withdrawIfTold(one: HeldRelease): Promise<void> {
    const withdrawal = await withdrawnReason(this.#options.state, one.release.release);
    if (withdrawal) one.withdraw(withdrawnRefusal(withdrawal), withdrawal.now);
  }

  async changed(): Promise<boolean> {
    return (await stateMark(this.#options.state)) !== this.#mark;
  }

  async judge(release: HeldRelease): Promise<boolean> {
    return this.#verifier ? release.judge(this.#verifier) : false;
  }

  /** The channels whose snapshots are by the snapshot key. One that has ended says so to mirrors; here it is a warning. */
  async #verified(
    { now }: Verifier,
    names: readonly string[],
    signers: readonly Certificate[],
    warnings: string[],
  ): Promise<Map<string, StoredSnapshot>> {
    const { state, onRefused } = this.#options;
    const channels = new Map<string, StoredSnapshot>();
    let refused: Refusal | undefined;
    for (const name of names) {
      try {
        const stored = await readChannel(state, name);
        if (!stored) continue;
        const { bytes, seal, snapshot } = stored;
        // As of its own time: the server holds the release, and needs no word on how fresh the channel is.
        await verifySnapshot(name, bytes, seal, signers, defaultPolicy(now), snapshot.issued);
        demandForward(this.#channels.get(name), stored);
        channels.set(name, stored);
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        const before = this.#channels.get(name);
        if (!before && name === this.#entry) throw error;
        refused ??= error;
        onRefused(name, error);
        warnings.push(`the snapshot of ${name} is refused: ${error.message}`);
        if (before) channels.set(name, before);
      }
    }
    // Not as if there were none.
    if (channels.size === 0 && refused) throw refused;
    return channels;
  }

  async #held(
    { release: id, manifest }: ChannelRelease,
    verifier: Verifier,
    samePolicy: boolean,
  ): Promise<HeldRelease> {
    const known = this.#known.get(manifest);
    // Another policy may ask for seals that were not looked at before; nothing else makes reading it again worth while.
    if (known && (samePolicy || !known.refusal)) return known;
    const { state, clock, onProgress } = this.#options;
    const tree = shelfOf(state).tree(id, onProgress ? { onProgress } : {});
    const judged = judgingOf(state);
    const fitting = verifier.by(await fittingRoots(tree, verifier.roots));
    let { release, refusal, manifestSha256, manifest: listed } = await judged(fitting, tree);
    if (!release && known) return known;
    // What ended since it was published: no machine starts it, and those that run keep their root. It is what the
    // snapshot names, by a key that no release is sealed with; that it held together is judged as of its sealing.
    if (!release && refusal && ENDED.has(refusal.code)) {
      listed ??= (await fitting.verifyRecords(tree)).manifest;
      const then = new Verifier(fitting.roots, DEFAULT_POLICY_FILE, clock, listed?.issued ?? verifier.now);
      ({ release, manifestSha256 } = await judged(then, tree));
    }
    if (!release) throw refusal;
    if (manifestSha256 !== manifest) {
      throw new Refusal('mixed-releases', `${id} in ${state} is not the one that its channel names.`, {
        release: id,
      });
    }
    const held = await HeldRelease.of(release, verifier);
    this.#known.set(manifest, held);
    return held;
  }

  /** Asked before any release is read: a misspelt name shall not cost a pass over every image. */
  #entryOf(channels: ReadonlyMap<string, StoredSnapshot>): string {
    const { state } = this.#options;
    const chosen = this.#entry;
    const names = [...channels.keys()];
    const [only, ...others] = names;
    if (only === undefined) {
      throw new UsageError(`${state} has no channel yet: "bootseal publish" makes one.`);
    }
    if (chosen !== undefined && !channels.has(chosen)) {
      throw new UsageError(`There is no channel ${chosen} in ${state}; there are ${names.join(', ')}.`);
    }
    if (chosen !== undefined) return chosen;
    if (others.length === 0) return only;
    throw new UsageError(`${state} has several channels; name one with --channel: ${names.join(', ')}.`);
  }
}

interface JudgedTree extends RecordsVerdict {
  readonly release: ServableRelease | undefined;
}

/** The payload of a folder is read at once; what is in a bucket is promised until somebody asks for it. */
function judgingOf(state: string): (verifier: Verifier, tree: Tree) => Promise<JudgedTree> {
  return isBucketState(state)
    ? (verifier, tree) => verifier.promise(tree)
    : (verifier, tree) => verifier.verify(tree);
}

/** What points to a snapshot bears no seal: who has seen a newer one knows better. */
function demandForward(before: StoredSnapshot | undefined, { snapshot }: StoredSnapshot): void {
  const { channel, counter } = snapshot;
  if (!before || counter >= before.snapshot.counter) return;
  throw new Refusal(
    'rolled-back',
    `Channel ${channel} went back from snapshot ${before.snapshot.counter} to ${counter}, which no act of ours does: a rollback is a new snapshot.`,
    { channel, counter, current: before.snapshot.counter },
  );
}

/** No channel has a blank in its name. */
function offeredKey(channel: string, { arch }: ChannelRelease): string {
  return `${channel} ${arch}`;
}

/** Refusals that time, or the policy, brings about a release that was good when it was published. */
const ENDED: ReadonlySet<string> = new Set([
  'expired',
  'stale',
  'revoked',
  'weak-algorithm',
  'not-yet-valid',
]);
