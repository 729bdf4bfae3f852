import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { IoError } from '../errors/io.ts';
import { type ExpectedRelease, expectedContents } from '../store/expected-contents.ts';
import { storedReleases } from '../store/quarantine.ts';
import { demandState } from '../store/state.ts';
import { DriftJudge } from './sentinel/drift-judge.ts';
import type { Fault, Finding } from './sentinel/finding.ts';
import { FolderWatch } from './sentinel/folder-watch.ts';
import { RecordsLook } from './sentinel/records-look.ts';
import { identityAt, type Scope, StoreLook, withTwins } from './sentinel/store-look.ts';
import { type ScrubRound, scrubOnce } from './sentinel/store-scrub.ts';

export type { Fault, Finding } from './sentinel/finding.ts';

export interface SentinelOptions {
  readonly state: string;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** Bytes a second that a scrub reads; default: 32 MiB of one that goes on, as fast as it goes of one alone. */
  readonly rate?: number;
  /** Signs the log's checkpoint: a folder as `init` makes it; default: the state's own key, where it can be read. */
  readonly snapshotKey?: string;
  readonly onFinding: (finding: Finding) => void;
  readonly onFault: (fault: Fault) => void;
  /** What an operator should know, one sentence. */
  readonly onNote?: (note: string) => void;
  readonly signal?: AbortSignal;
}

export interface ScrubResult extends ScrubRound {
  /** Releases whose mark was taken off: all that they lost is there again. */
  readonly restored: readonly string[];
}

const RATE = 32 * 1024 * 1024;
/** Milliseconds. Events come in crowds. */
const SETTLE_MS = 50;
/** Between two looks at all of it: for what the kernel does not tell, and where it tells nothing. */
const LOOK_MS = 10_000;
const POLL_MS = 1000;
/** A look takes no more than this share of the time. */
const SHARE = 20;
/** From the end of a round to the next. */
const PAUSE_MS = 3_600_000;

/**
 * Reads a whole store once, and puts away what is not what the state was given.
 *
 * @returns undefined where the signal ended it.
 * @throws UsageError for a folder that holds no state; Refusal, IoError.
 */
export async function scrubStore(options: SentinelOptions): Promise<ScrubResult | undefined> {
  await demandState(options.state);
  const work = new Work(options);
  await work.lookAtAll();
  const signal = options.signal ?? new AbortController().signal;
  const round = await work.scrub(options.rate, signal, false);
  if (!round) return undefined;
  await work.lookAtAll();
  return { ...round, restored: await work.restore() };
}

/** A store that is looked after. */
export interface Sentinel {
  /** Resolves when everything was looked at once and the kernel watches. */
  readonly ready: Promise<void>;
  /** Resolves when it has ended; rejects where it could not go on. */
  readonly ended: Promise<void>;
}

/**
 * Watches a store and reads it again and again at a set rate, until the signal ends it. Everything else goes on meanwhile:
 * it takes the state's lock only to put something away.
 *
 * @throws UsageError for a folder that holds no state.
 */
export async function startSentinel(options: SentinelOptions): Promise<Sentinel> {
  await demandState(options.state);
  const signal = options.signal ?? new AbortController().signal;
  const work = new Work(options);
  let onReady: () => void = () => {};
  const looked = new Promise<void>((resolve) => {
    onReady = resolve;
  });
  const ended = Promise.all([work.watch(signal, onReady), work.scrubs(options.rate ?? RATE, signal)]).then(
    () => {},
  );
  const ready = Promise.race([looked, ended]);
  ready.catch(() => {});
  return { ready, ended };
}

class Work {
  readonly #options: SentinelOptions;
  readonly #look: StoreLook;
  readonly #records: RecordsLook;
  readonly #judge: DriftJudge;
  #contents: { readonly mark: string; readonly of: ReadonlyMap<string, ExpectedRelease> } | undefined;

  constructor(options: SentinelOptions) {
    this.#options = options;
    this.#look = new StoreLook(options.state);
    this.#records = new RecordsLook(options.state);
    this.#judge = new DriftJudge(options, this.#look);
  }

  /** Looks at everything, records included. */
  async lookAtAll(): Promise<void> {
    await this.#lookAt('all');
    await this.#lookAtRecords();
  }

  async #lookAt(scope: Scope): Promise<void> {
    const suspicions = await this.#look.look(await this.contents(), scope);
    if (scope === 'all') this.#judge.settle(suspicions);
    await this.#judge.judge(withTwins(suspicions, await this.contents()));
  }

  async #lookAtRecords(): Promise<void> {
    const { clock, onFinding } = this.#options;
    for (const finding of await this.#records.look(clock())) onFinding(finding);
  }

  /** What releases are made of; read anew when the log has grown or a release came, went, or has another manifest. */
  async contents(): Promise<ReadonlyMap<string, ExpectedRelease>> {
    const { state } = this.#options;
    const releases = await storedReleases(state);
    const paths = ['log/entries', ...releases.map((release) => `releases/${release}/release.manifest`)];
    const marks: string[] = [];
    for (const path of paths) {
      const found = await identityAt(join(state, path));
      marks.push(`${path} ${found ? Object.values(found.identity).join(' ') : 'absent'}`);
    }
    const mark = marks.join('\n');
    if (this.#contents?.mark !== mark) this.#contents = { mark, of: await expectedContents(state) };
    return this.#contents.of;
  }

  scrub(rate: number | undefined, signal: AbortSignal, resume: boolean): Promise<ScrubRound | undefined> {
    const { state, clock } = this.#options;
    const contents = () => this.contents();
    return scrubOnce({ state, judge: this.#judge, contents, rate, clock, signal, resume });
  }

  /** Takes the mark off what is whole again, after a round that read everything. */
  async restore(): Promise<readonly string[]> {
    const bad = this.#judge.standing;
    const whole = [...(await this.contents()).keys()].filter(
      (release) => ![...bad].some((path) => path.startsWith(`releases/${release}/`)),
    );
    return this.#judge.restore(whole);
  }

  async scrubs(rate: number, signal: AbortSignal): Promise<void> {
    const { state, onNote, onFault } = this.#options;
    while (!signal.aborted) {
      let round: ScrubRound | undefined;
      let restored: readonly string[] = [];
      try {
        round = await this.scrub(rate, signal, true);
        if (!round) return;
        restored = await this.restore();
      } catch (error) {
        if (!(error instanceof IoError)) throw error;
        onFault({ path: state, error });
        await pause(LOOK_MS, signal);
        continue;
      }
      onNote?.(`Everything was read: ${round.files} files, ${round.bytes} bytes.`);
      for (const release of restored) onNote?.(`${release} is whole again, and no longer held.`);
      await pause(PAUSE_MS, signal);
    }
  }

  async watch(signal: AbortSignal, onReady: () => void): Promise<void> {
    const { state, onNote, onFault } = this.#options;
    const changed = new Set<string>();
    let wake: () => void = () => {};
    const watch = new FolderWatch(
      state,
      (folder) => {
        changed.add(folder);
        wake();
      },
      (why) =>
        onNote?.(
          `The kernel does not tell of every change: ${why}; all files are looked at every second instead.`,
        ),
    );
    signal.addEventListener('abort', () => wake(), { once: true });
    try {
      let last = Number.NEGATIVE_INFINITY;
      let took = 0;
      while (!signal.aborted) {
        const pauseFor = Math.max(watch.complete ? LOOK_MS : POLL_MS, took * SHARE);
        const due = last + pauseFor - performance.now();
        if (changed.size === 0 && due > 0) {
          const woken = new Promise<void>((resolve) => {
            wake = resolve;
          });
          const ended = new AbortController();
          await Promise.race([woken, pause(due, ended.signal)]);
          ended.abort();
          if (changed.size > 0) await pause(SETTLE_MS, signal);
          if (signal.aborted) break;
        }
        const folders = [...changed];
        changed.clear();
        try {
          const whole = performance.now() - last >= pauseFor;
          if (whole || folders.some(isStructure)) await watch.cover(WATCHED);
          const began = performance.now();
          if (whole) await this.lookAtAll();
          else {
            await this.#lookAt(scopeOf(folders, (await this.contents()).keys()));
            if (folders.some(isRecords)) await this.#lookAtRecords();
          }
          if (whole) [last, took] = [performance.now(), performance.now() - began];
        } catch (error) {
          if (!(error instanceof IoError)) throw error;
          onFault({ path: state, error });
          // Whatever it was, what the kernel told of has not been looked at.
          for (const folder of folders) changed.add(folder);
          await pause(POLL_MS, signal);
        }
        onReady();
      }
    } finally {
      watch.end();
    }
  }
}

const WATCHED = ['objects/sha256', 'releases', 'channels', 'log'] as const;

/** What a change in some folders asks to be looked at. @param stored every release. */
function scopeOf(folders: readonly string[], stored: Iterable<string>): Scope {
  const prefixes = new Set<string>();
  const releases = new Set<string>();
  const ids = [...stored];
  for (const folder of folders) {
    if (isRecords(folder)) continue;
    const [top, one = '', two = ''] = folder.split('/');
    if (top === 'releases' && two !== '') releases.add(`${one}/${two}`);
    else if (top === 'releases') for (const id of ids) if (id.startsWith(one)) releases.add(id);
    if (top !== 'objects') continue;
    // A folder of objects that has just come may hold some already.
    if (two === '') return 'all';
    prefixes.add(two);
  }
  return { prefixes, releases };
}

function isRecords(folder: string): boolean {
  return folder.startsWith('channels') || folder === 'log';
}

/** Whether folders may have come or gone in it. */
function isStructure(folder: string): boolean {
  return !/^objects\/sha256\/./.test(folder);
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(Math.max(0, ms), undefined, { signal }).catch(() => {});
}
