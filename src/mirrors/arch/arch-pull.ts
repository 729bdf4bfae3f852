import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Refusal } from '../../errors/refusal.ts';
import { unreadable } from '../../errors/unreadable.ts';
import { UsageError } from '../../errors/usage.ts';
import { writeFileAtomically } from '../../files/atomic-file.ts';
import { makeFolders } from '../../files/make-folders.ts';
import { fileContent } from '../../files/measure.ts';
import { lstatIfThere, statIfThere } from '../../files/read-if-there.ts';
import { isoSeconds } from '../../formats/records/lines.ts';
import { isSafeSegment } from '../../formats/records/safe-path.ts';
import { readAnchorFolder } from '../../trust/anchor-folder.ts';
import { decodeKeyring } from '../../trust/anchors.ts';
import type { ArchAnchors } from '../../trust/arch-seals.ts';
import { readPolicyFileOr } from '../../trust/given-policy.ts';
import { type Verified, verify } from '../../trust/verify.ts';
import { download } from '../download.ts';
import { MirrorPool, type PulledMirror, worstOf } from '../mirror-pool.ts';
import { openSource } from '../open-source.ts';
import { RateLimit } from '../rate-limit.ts';
import { Staging } from '../staging.ts';
import { type ArchFloor, demandNewRoot, demandNotBelow, raiseFloor, readFloor } from './arch-floor.ts';
import {
  type ArchFile,
  type ArchRelease,
  type ArchRow,
  type ArchTerms,
  readRelease,
} from './arch-release.ts';
import { ArchSource } from './arch-source.ts';
import { placeTree } from './arch-tree.ts';
import { demandPast, isArchVersion } from './arch-version.ts';

export interface ArchPullOptions {
  /** Where it is fetched from: see `openSource`. All are asked, several are tried in turn. */
  readonly sources: readonly string[];
  /** A folder that gets `VERSION/` (the tree), `VERSION.json` (the record) and the floor; made where it does not exist. */
  readonly out: string;
  /** A folder with Arch's codesigning CA as `ca.crt`, perhaps `codesign.crt`, perhaps a keyring as `pubring.gpg`. */
  readonly anchors?: string;
  /** Curated OpenPGP keyrings: the `NAME.gpg` that `keyring build` wrote. */
  readonly keyrings?: readonly string[];
  /** A policy file (TOML). */
  readonly policy?: string;
  /** A version in the place of the latest. */
  readonly version?: string;
  /** What promotions call this kind of release; default `netboot`. */
  readonly kind?: string;
  /** Milliseconds since 1970 at which certificates, keys and algorithms are judged, on the operator's word; default `now`. */
  readonly at?: number;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Bytes that a root image may have; default 4 GiB. */
  readonly maxRoot?: number;
  readonly parallel?: number;
  /** Bytes a second. */
  readonly limitRate?: number;
  readonly allowPrivate?: boolean;
  readonly tlsCa?: Uint8Array;
  readonly stallMs?: number;
  readonly pauseMs?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
  readonly onNote?: (text: string) => void;
}

/** What lies beside the tree as `VERSION.json`. */
export interface ArchRecord {
  readonly format: 1;
  readonly version: string;
  readonly sources: readonly string[];
  readonly pulled: string;
  readonly judgedAt: string;
  /** That time is not the clock's: somebody said it. */
  readonly onWord: boolean;
  readonly files: readonly ArchRow[];
  readonly lists: ArchRelease['lists'];
}

export interface ArchPullResult {
  readonly refusal: Refusal | undefined;
  readonly version: string | undefined;
  /** `here`: it was here before, and nothing was fetched. */
  readonly outcome: 'pulled' | 'here' | undefined;
  /** The tree. */
  readonly folder: string | undefined;
  readonly record: ArchRecord | undefined;
  readonly mirrors: readonly PulledMirror[];
  /** Bytes that mirrors sent, and bytes that an earlier pull had left. */
  readonly fetched: number;
  readonly resumed: number;
}

const ROUNDS = 3;

/**
 * Fetches the netboot tree of one of Arch's releases through mirrors that nobody trusts: which version is asked once; then
 * sums and seals, and what they say without the files; then the files, each judged as it arrives; then the tree appears
 * with all of it. Nothing goes back behind a version that was here.
 *
 * @throws UsageError, IoError; Refusal where anchors, policy or floor cannot be read. What a mirror does is in the result.
 */
export async function pullArch(options: ArchPullOptions): Promise<ArchPullResult> {
  const { now, at = now, out, version, kind = 'netboot' } = options;
  if (version !== undefined && !isArchVersion(version))
    throw new UsageError(`${JSON.stringify(version)} is no version of Arch's; write one as 2026.11.01.`);
  if (!isSafeSegment(kind)) throw new UsageError(`${JSON.stringify(kind)} is no kind of release.`);
  const policy = (await readPolicyFileOr(options.policy)).at(at, now);
  if (policy.openpgpThreshold > 1)
    throw new UsageError(
      'The policy asks for several OpenPGP signatures, and Arch makes one at most: name another policy for this.',
    );
  const terms = { anchors: await readArchAnchors(options), policy, at };
  await makeFolders(out);
  const folder = join(out, 'incoming');
  const staging = await Staging.open(folder, out);
  const sources: ArchSource[] = [];
  try {
    const floor = await readFloor(out);
    const { stallMs = 30_000, limitRate, allowPrivate = false, tlsCa } = options;
    const web = {
      ...{ allowPrivate, stallTimeoutMs: stallMs, connectTimeoutMs: stallMs },
      ...(tlsCa === undefined ? {} : { ca: tlsCa }),
    };
    for (const place of options.sources) {
      const inner = await openSource(place, web, { staging: folder, limitRate, stallMs });
      const here = !/^[A-Za-z0-9.-]+:/.test(place) && (await statIfThere(place))?.isDirectory();
      sources.push(new ArchSource(inner, kind, here ? resolve(place) : undefined));
    }
    const result = await new ArchPull(options, terms, floor, staging, new MirrorPool(sources)).run();
    if (!result.refusal) await staging.empty();
    return result;
  } finally {
    for (const source of sources) await source.close();
    await staging.close();
  }
}

async function readArchAnchors({ anchors, keyrings = [] }: ArchPullOptions): Promise<ArchAnchors> {
  if (anchors === undefined && keyrings.length === 0)
    throw new UsageError(
      'Say what to start from: --anchors DIR with the codesigning CA of Arch, --keyring FILE, or both.',
    );
  const found = anchors === undefined ? undefined : await readAnchorFolder(anchors);
  const rings = [];
  for (const path of keyrings) {
    const bytes = await readFile(path).catch((error: unknown) => {
      throw unreadable(path, error);
    });
    rings.push(...decodeKeyring(path, bytes));
  }
  const { ca = [], codesign = [], openpgp } = found ?? {};
  return { ca, codesign, openpgp: [...(openpgp?.payload ?? []), ...rings] };
}

class ArchPull {
  readonly #options: ArchPullOptions;
  readonly #terms: ArchTerms;
  readonly #floor: ArchFloor;
  readonly #staging: Staging;
  readonly #pool: MirrorPool<ArchSource>;
  readonly #limit: RateLimit;
  #fetched = 0;
  #resumed = 0;
  #done = 0;
  #total = 0;

  constructor(
    options: ArchPullOptions,
    terms: ArchTerms,
    floor: ArchFloor,
    staging: Staging,
    pool: MirrorPool<ArchSource>,
  ) {
    this.#options = options;
    this.#terms = terms;
    this.#floor = floor;
    this.#staging = staging;
    this.#pool = pool;
    this.#limit = new RateLimit(options.limitRate);
  }

  async run(): Promise<ArchPullResult> {
    const refusals: Refusal[] = [];
    try {
      // The newest that any mirror names and that holds: whoever names one that does not exist keeps nobody back.
      for (const version of await this.#versions()) {
        try {
          return await this.#version(version);
        } catch (error) {
          if (!(error instanceof Refusal)) throw error;
          refusals.push(error);
          this.#note(`${version}: ${error.message}`);
        }
      }
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      refusals.push(error);
    }
    const refusal =
      worstOf(refusals) ?? new Refusal('unreachable', 'No mirror was named that could be asked.', {});
    return {
      ...this.#sums(),
      refusal,
      version: undefined,
      outcome: undefined,
      folder: undefined,
      record: undefined,
    };
  }

  /** What mirrors call the latest, the newest first. Nobody signs that: it is a word, and is held against the floor. */
  async #versions(): Promise<readonly string[]> {
    const { version: wanted, now } = this.#options;
    if (wanted !== undefined) {
      demandNotBelow(this.#floor, wanted, '--release');
      return [wanted];
    }
    const refusals: Refusal[] = [];
    const named = await Promise.all(
      this.#pool.sources.map(async (source) => {
        try {
          const version = await source.latest();
          demandPast(source.name, version, now);
          demandNotBelow(this.#floor, version, source.name);
          return [{ source, version }];
        } catch (error) {
          if (!(error instanceof Refusal)) throw error;
          refusals.push(error);
          this.#note(`${source.name}: ${error.message}`);
          // Old is no lie.
          if (error.code === 'rolled-back') {
            this.#pool.behind(source);
            this.#pool.fault(source, error);
          } else if (error.code === 'unreachable' || error.code === 'absent')
            this.#pool.fault(source, error, true);
          else this.#pool.drop(source, error);
          return [];
        }
      }),
    );
    const all = named.flat();
    const versions = [...new Set(all.map(({ version }) => version))].sort().reverse();
    const [newest] = versions;
    if (newest === undefined)
      throw worstOf(refusals) ?? new Refusal('unreachable', 'No mirror was named that could be asked.', {});
    for (const { source, version } of all) if (version !== newest) this.#pool.behind(source);
    return versions;
  }

  async #version(version: string): Promise<ArchPullResult> {
    const { out, now } = this.#options;
    const folder = join(out, version);
    const done = { refusal: undefined, version, folder };
    if (await lstatIfThere(folder)) return { ...done, ...this.#sums(), outcome: 'here', record: undefined };
    const release = await this.#release(version);
    const placed = new Map<string, string>();
    const rows = await this.#files(release, placed);
    const root = rows.find(({ path }) => path === release.root.path)?.sha256 ?? '';
    demandNewRoot(this.#floor, version, root);
    const record: ArchRecord = {
      ...{ format: 1, version, sources: this.#pool.sources.map(({ origin }) => origin) },
      ...{ pulled: isoSeconds(now), judgedAt: isoSeconds(this.#terms.at) },
      ...{ onWord: this.#options.at !== undefined, files: [...rows, ...release.plain], lists: release.lists },
    };
    const text = Buffer.from(`${JSON.stringify(record, undefined, 2)}\n`);
    await writeFileAtomically(`${folder}.json`, text);
    await raiseFloor(out, this.#floor, version, root);
    await placeTree(folder, placed, release.small);
    return { ...done, ...this.#sums(), outcome: 'pulled', record };
  }

  /**
   * Sums and seals from every mirror that has this version. Two that both hold and differ are two releases under one
   * name, and nobody here can tell which is Arch's.
   */
  async #release(version: string): Promise<ArchRelease> {
    const { maxRoot = 4 * 1024 ** 3 } = this.#options;
    const refusals: Refusal[] = [];
    let first: { readonly source: ArchSource; readonly release: ArchRelease } | undefined;
    for (const source of this.#pool.sources) {
      let release: ArchRelease;
      try {
        await source.locate(version);
        release = await readRelease(source, version, this.#terms, maxRoot);
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        refusals.push(error);
        this.#pool.judge(source, error);
        this.#note(`${source.name}: ${error.message}`);
        continue;
      }
      first ??= { source, release };
      if (release.id !== first.release.id)
        throw new Refusal(
          'mixed-releases',
          `${first.source.name} and ${source.name} have two releases ${version}, and both hold: ask Arch which one it is.`,
          { version },
        );
    }
    if (first) return first.release;
    throw (
      worstOf(refusals) ??
      new Refusal('unreachable', `No mirror is left that could be asked for ${version}.`, {})
    );
  }

  /** @param placed gets where each file lies. */
  async #files({ files }: ArchRelease, placed: Map<string, string>): Promise<ArchRow[]> {
    const waiting = [...files];
    this.#total = files.reduce((sum, { size }) => sum + size, 0);
    this.#done = 0;
    this.#count(0);
    const rows = new Map<string, ArchRow>();
    const faults: unknown[] = [];
    const work = async () => {
      for (let file = waiting.shift(); file && faults.length === 0; file = waiting.shift()) {
        const { path } = file;
        await this.#file(file, placed).then(
          (row) => rows.set(path, row),
          (error: unknown) => faults.push(error),
        );
      }
    };
    await Promise.all(Array.from({ length: Math.max(1, this.#options.parallel ?? 4) }, work));
    if (faults.length > 0) throw faults[0];
    return files.flatMap(({ path }) => rows.get(path) ?? []);
  }

  async #file(file: ArchFile, placed: Map<string, string>): Promise<ArchRow> {
    const { path, id: sha256, limit: size } = file;
    const { pauseMs = 1000, signal } = this.#options;
    let verified: Verified | undefined;
    const judge = async (place: string) => {
      verified = undefined;
      verified = await verify(
        path,
        fileContent(place),
        file.checks.map(({ check }) => check),
      );
    };
    // A pull before this one had it whole, by these very seals; the clock has moved since.
    const there = await this.#staging.whole(sha256);
    if (there !== undefined) {
      await judge(there);
      this.#count(file.size);
      placed.set(path, there);
      return rowOf(file, verified);
    }
    const {
      path: place,
      fetched,
      resumed,
    } = await download(
      { key: path, size, sha256, judge },
      {
        ...{ staging: this.#staging, pool: this.#pool, limit: this.#limit },
        ...{ rounds: ROUNDS, pauseMs, signal },
        onOctets: (octets) => this.#count(octets),
      },
    );
    this.#fetched += fetched;
    this.#resumed += resumed;
    placed.set(path, place);
    return rowOf(file, verified);
  }

  #sums(): Pick<ArchPullResult, 'mirrors' | 'fetched' | 'resumed'> {
    return { mirrors: this.#pool.rows, fetched: this.#fetched, resumed: this.#resumed };
  }

  #count(octets: number): void {
    this.#done += octets;
    this.#options.onProgress?.(this.#done, Math.max(this.#total, this.#done));
  }

  #note(text: string): void {
    this.#options.onNote?.(text);
  }
}

function rowOf({ path, checks, unjudged }: ArchFile, verified: Verified | undefined): ArchRow {
  // No silence: what did not end in "verified" has failed.
  if (!verified) throw new Refusal('no-verdict', `Nothing vouches for ${path}.`, { path });
  const { size, sha256, evidence } = verified;
  const by = evidence.map(({ signer, remark }, index) => ({
    ...{ seal: checks[index]?.seal ?? '', signer },
    ...(remark === undefined ? {} : { remark }),
  }));
  return { path, size, sha256, by, unjudged, signed: true };
}
