import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { Refusal, type RefusalCode } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { MAX_PE } from '../formats/efi/pe-write.ts';
import type { Manifest, ManifestFile } from '../formats/records/manifest.ts';
import { checksumPath, otherIpxeSeal, SEAL, UKI, VERITY } from '../formats/records/seal-names.ts';
import { demandChannelName } from '../publish/channel-move.ts';
import { isBucketState } from '../store/s3/location.ts';
import { openState } from '../store/state.ts';
import { policyFor } from '../store/state-policy.ts';
import type { PolicyFile } from '../trust/policy-file.ts';
import { type AnchorFolders, fittingRoots, idOf, readTrustRoots } from '../trust/trust-roots.ts';
import { Verifier } from '../trust/verifier.ts';
import { readUpstreamBatch, type UpstreamBatch } from './channel-scripts-intake.ts';
import { demandNamed, holds, judgeTree, namedReleases, takeJudged } from './intake.ts';
import { recordRefusal } from './intake-log.ts';
import type { IntakeResult, IntakeTerms, JudgedTree, NamedRelease } from './intake-terms.ts';
import { MirrorPool, type PulledMirror, worstOf } from './mirror-pool.ts';
import { LEAST_RATE, type MirrorSource } from './mirror-source.ts';
import { MirrorTree } from './mirror-tree.ts';
import { openSource } from './open-source.ts';
import { type PayloadOptions, PulledPayload } from './pulled-payload.ts';
import { Staging } from './staging.ts';
import { demandFollows, type JudgedSnapshot, judgeSnapshot, snapshotSigners } from './upstream.ts';

export interface PullOptions extends PayloadOptions {
  /** The mirror's own STATE; made where it does not exist. */
  readonly state: string;
  readonly channel: string;
  /** Where it is fetched from: see `openSource`. Several are tried in turn. */
  readonly sources: readonly string[];
  /** What releases must lead to; several while a CA is being replaced. */
  readonly anchors: AnchorFolders;
  /** A PEM file; default: `snapshot.crt` among the first anchors. */
  readonly snapshotCertificate?: string;
  /** Releases that the channel may go back to though its snapshot does not say that it does. */
  readonly back?: readonly string[];
  /** Redirects may lead to this machine and to private networks. */
  readonly allowPrivate?: boolean;
  /** Certificates (PEM) that TLS trusts in the place of the system's. */
  readonly tlsCa?: Uint8Array;
  /** Where files lie until they are whole; default: `incoming` in the STATE folder. */
  readonly staging?: string;
  /** Signs the log's checkpoint, where there is a key. */
  readonly snapshotKey?: string;
  /** Milliseconds without enough bytes after which a mirror is too slow; default 30 000. */
  readonly stallMs?: number;
  /** Milliseconds since 1970. */
  readonly now: number;
}

export interface PullResult extends IntakeResult {
  readonly mirrors: readonly PulledMirror[];
  /** Of the payload: files that had to be brought here, and what they took. */
  readonly files: number;
  /** Bytes that mirrors sent, of payload. */
  readonly fetched: number;
  /** Bytes that an earlier pull had left, of files that were not whole. */
  readonly resumed: number;
}

/** Of what others have, too: no fault of whoever holds the bytes, where nobody has better ones. */
const OF_TIME: ReadonlySet<RefusalCode> = new Set([
  'expired',
  'not-yet-valid',
  'stale',
  'revoked',
  'weak-algorithm',
]);

/**
 * Follows a channel of an upstream, through mirrors that nobody trusts. The snapshot first; of each release the manifest
 * and what is small; then its files, from whichever mirror gives the bytes that were signed; then the gate; and what has
 * passed appears at once, as it is. Nothing that is here goes back, and what was fetched before is not fetched again.
 *
 * @throws UsageError, IoError; a `Refusal` where no mirror has a snapshot that holds.
 */
export async function pull(options: PullOptions): Promise<PullResult> {
  const { state, channel, now, anchors, snapshotKey } = options;
  demandChannelName(channel);
  const roots = await readTrustRoots(anchors);
  const [first = ''] = typeof anchors === 'string' ? [anchors] : anchors;
  const signers = await snapshotSigners(first, options.snapshotCertificate);
  const folder = stagingFolder(options);
  await demandFollows(state, signers);
  // A new state has its shape before anything is put into it.
  await (await openState(state)).release();
  const policy = await policyFor(state);
  const staging = await Staging.open(folder, state);
  const sources: MirrorSource[] = [];
  try {
    const { stallMs = 30_000, limitRate, allowPrivate = false, tlsCa } = options;
    const web = {
      ...{ allowPrivate, stallTimeoutMs: stallMs, connectTimeoutMs: stallMs },
      minimumOctets: Math.max(1, Math.round((LEAST_RATE * stallMs) / 1000)),
      ...(tlsCa === undefined ? {} : { ca: tlsCa }),
    };
    for (const place of options.sources)
      sources.push(await openSource(place, web, { staging: folder, limitRate, stallMs }));
    const terms: IntakeTerms = {
      ...{ state, roots, snapshotSigners: signers, now },
      origin: sources[0]?.origin ?? '',
      ...(options.back ? { back: options.back } : {}),
      ...(snapshotKey === undefined ? {} : { snapshotKey }),
    };
    const result = await new Pull(options, terms, policy, staging, new MirrorPool(sources)).run();
    if (!result.refusal) await staging.empty();
    return result;
  } finally {
    for (const source of sources) await source.close();
    await staging.close();
  }
}

function stagingFolder({ state, staging }: PullOptions): string {
  if (staging !== undefined) return staging;
  if (!isBucketState(state)) return join(state, 'incoming');
  throw new UsageError(
    `${state} is in a bucket: name a folder of this machine where files lie until they are whole with --staging DIR.`,
  );
}

class Pull {
  readonly #options: PullOptions;
  #terms: IntakeTerms;
  readonly #policy: PolicyFile;
  readonly #staging: Staging;
  readonly #pool: MirrorPool;
  readonly #payload: PulledPayload;

  constructor(
    options: PullOptions,
    terms: IntakeTerms,
    policy: PolicyFile,
    staging: Staging,
    pool: MirrorPool,
  ) {
    this.#options = options;
    this.#terms = terms;
    this.#policy = policy;
    this.#staging = staging;
    this.#pool = pool;
    this.#payload = new PulledPayload(options, staging, pool);
  }

  async run(): Promise<PullResult> {
    const { state, channel } = this.#options;
    try {
      const snapshot = await this.#snapshot();
      const batch = await this.#batch(snapshot);
      const judged = new Map<string, JudgedTree>();
      for (const named of namedReleases([], snapshot, batch)) {
        if (await holds(state, named)) continue;
        judged.set(named.release, await this.#release(named, snapshot));
      }
      const result = await takeJudged(this.#terms, this.#policy, { snapshot, batch, judged });
      const { files, fetched, resumed } = this.#payload;
      return { ...result, mirrors: this.#pool.rows, files, fetched, resumed };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      // That nobody answers says nothing about what is here or there.
      if (error.code !== 'unreachable') await recordRefusal(this.#terms, channel, error);
      const nothing = { rows: [], snapshot: undefined, moved: false, files: 0, fetched: 0, resumed: 0 };
      return { ...nothing, refusal: error, mirrors: this.#pool.rows };
    }
  }

  /** Every mirror is asked: of the snapshots that hold the newest counts, so that one which lags keeps nobody back. */
  async #snapshot(): Promise<JudgedSnapshot> {
    const { channel } = this.#options;
    const refusals: Refusal[] = [];
    const asked = await Promise.all(
      this.#pool.sources.map(async (source) => {
        try {
          const judged = await judgeSnapshot(this.#terms, { channel, ...(await source.snapshot(channel)) });
          return { source, judged };
        } catch (error) {
          if (!(error instanceof Refusal)) throw error;
          const refusal = error.code === 'absent' ? noChannel(source, channel, error) : error;
          refusals.push(refusal);
          // Old is no lie, nor is what has not come yet: such a mirror may have the files all the same.
          if (['rolled-back', 'stale', 'absent'].includes(refusal.code)) {
            this.#pool.behind(source);
            this.#pool.fault(source, refusal);
          } else if (refusal.code === 'unreachable') this.#pool.fault(source, refusal, true);
          else this.#pool.drop(source, refusal);
          this.#note(`${source.name}: ${refusal.message}`);
          return undefined;
        }
      }),
    );
    const good = asked.filter((one) => one !== undefined);
    const newest = good.sort((a, b) => b.judged.snapshot.counter - a.judged.snapshot.counter)[0];
    if (!newest)
      throw worstOf(refusals) ?? new Refusal('unreachable', 'No mirror was named that could be asked.', {});
    for (const { source, judged } of good) {
      if (judged.snapshot.counter < newest.judged.snapshot.counter) this.#pool.behind(source);
      else if (Buffer.compare(judged.bytes, newest.judged.bytes) !== 0)
        throw new Refusal(
          'mixed-releases',
          `${source.name} and ${newest.source.name} have two snapshots of ${channel} with counter ${judged.snapshot.counter}, both signed by its key: ask the upstream.`,
          { counter: judged.snapshot.counter },
        );
    }
    this.#terms = { ...this.#terms, origin: newest.source.origin };
    return newest.judged;
  }

  async #batch({ channel, snapshot: { scripts } }: JudgedSnapshot): Promise<UpstreamBatch | undefined> {
    if (scripts === undefined) return undefined;
    return this.#pool.first('its scripts', (source) =>
      readUpstreamBatch(channel, scripts, (key, limit) => source.read(key, limit)),
    );
  }

  /**
   * Records and seals of one release are one mirror's, so that one which changed any of them is known by that; files come
   * from all of them.
   */
  async #release(named: NamedRelease, snapshot: JudgedSnapshot): Promise<JudgedTree> {
    const refusals: Refusal[] = [];
    let judged: JudgedTree | undefined;
    // A seal that was let end, or says that it is of a weak kind, is easily had: the others may have the right one.
    const old: { readonly source: MirrorSource; readonly judged: JudgedTree; readonly refusal: Refusal }[] =
      [];
    for (const source of this.#pool.sources) {
      try {
        judged = await this.#releaseFrom(source, named, snapshot);
        const { refusal, verdict } = judged;
        // What the gate says of a release that is what was named, it would say of any mirror's.
        if (!refusal || verdict?.release) {
          for (const one of old) this.#judge(one.source, one.refusal);
          return judged;
        }
        if (OF_TIME.has(refusal.code)) old.push({ source, judged, refusal });
        else {
          refusals.push(refusal);
          this.#judge(source, refusal);
        }
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        refusals.push(error);
        // Files that no mirror has are not this one's fault.
        if (this.#pool.isActive(source)) this.#judge(source, error);
      }
    }
    const [first] = old;
    if (first) return first.judged;
    const refusal =
      worstOf(refusals) ??
      new Refusal('unreachable', `No mirror is left that could be asked for ${named.release}.`, {});
    return { ...(judged ?? { gates: [], verdict: undefined }), release: undefined, refusal };
  }

  #judge(source: MirrorSource, refusal: Refusal): void {
    this.#pool.judge(source, refusal);
    this.#note(`${source.name}: ${refusal.message}`);
  }

  async #releaseFrom(
    source: MirrorSource,
    named: NamedRelease,
    snapshot: JudgedSnapshot,
  ): Promise<JudgedTree> {
    const { roots, now } = this.#terms;
    const tree = new MirrorTree(source, named.release, roots);
    // 1. The manifest and the scripts, before anything large is asked for.
    const fitting = await fittingRoots(tree, roots);
    const found = await new Verifier(fitting, this.#policy, () => now).verifyRecords(tree);
    const { manifest, manifestSha256, refusal } = found;
    if (refusal && OF_TIME.has(refusal.code))
      return { release: undefined, gates: [], refusal, verdict: undefined };
    if (refusal || !manifest)
      throw refusal ?? new Refusal('no-verdict', `Nothing vouches for ${named.release}.`, {});
    demandNamed({ manifest, manifestSha256 }, named);
    // 2. What else is small.
    const others = fitting.others.map((anchors) => otherIpxeSeal(idOf(anchors)));
    const seals = manifest.files.flatMap((file) => sealsOf(file, manifest, others));
    const reading = async () => {
      for (let path = seals.shift(); path !== undefined; path = seals.shift()) await readIfThere(tree, path);
    };
    await Promise.all(Array.from({ length: this.#options.parallel ?? 4 }, reading));
    if ((await tree.list('')).includes(UKI)) {
      const bytes = await tree.read(UKI, MAX_PE);
      const sha256 = createHash('sha256').update(bytes).digest('hex');
      tree.place(UKI, await this.#staging.put({ sha256, size: bytes.length }, bytes));
    }
    // 3. The files.
    await this.#payload.fetch(tree, manifest);
    // 4. Every seal of every file, and the gate.
    const judge = () =>
      judgeTree(this.#terms, this.#policy, tree, named, snapshot.highest.get(manifest.arch));
    const judged = await judge();
    if (!judged.refusal || judged.verdict?.release || !(await this.#payload.forgetRotten(manifest)))
      return judged;
    await this.#payload.fetch(tree, manifest);
    return judge();
  }

  #note(text: string): void {
    this.#options.onNote?.(text);
  }
}

/** Said of the mirror as it was named, since where a snapshot lies differs from one kind of mirror to the next. */
function noChannel(source: MirrorSource, channel: string, { facts }: Refusal): Refusal {
  return new Refusal(
    'absent',
    `${source.name} has no channel ${channel}: is that its name, and is this the folder that has "channels" in it?`,
    { ...facts, channel },
  );
}

/** What stands beside a file of a release. */
function sealsOf(
  { path, role }: ManifestFile,
  { verity }: Manifest,
  others: readonly string[],
): readonly string[] {
  if (role === 'hashtree') return [];
  const rootHash = verity.some((line) => line.path === path) ? path + VERITY.rootHash : undefined;
  return [
    ...[SEAL.ipxe, SEAL.cms, SEAL.openpgp, ...others].map((suffix) => path + suffix),
    ...(role === 'rootfs' ? [checksumPath(path)] : []),
    ...(rootHash === undefined ? [] : [rootHash, rootHash + VERITY.seal]),
  ];
}

/** Whether it has to be there the verifier says. */
async function readIfThere(tree: MirrorTree, path: string): Promise<void> {
  try {
    await tree.read(path, 1024 * 1024);
  } catch (error) {
    if (!(error instanceof Refusal && error.code === 'absent')) throw error;
  }
}
