import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { IoError } from '../../errors/io.ts';
import { Refusal } from '../../errors/refusal.ts';
import type { FileIdentity } from '../../files/file-identity.ts';
import { type MeasureOptions, measureFile } from '../../files/measure.ts';
import { logActs } from '../../publish/log-act.ts';
import { type DriftedFile, quarantineFile } from '../../store/drifted-files.ts';
import { type ExpectedRelease, expectedContents } from '../../store/expected-contents.ts';
import type { Act } from '../../store/log.ts';
import { originOf, readProvenance } from '../../store/provenance.ts';
import { quarantineRelease, readQuarantined, takeBack } from '../../store/quarantine.ts';
import { openStateWhenFree } from '../../store/state.ts';
import type { Fault, Finding } from './finding.ts';
import { identityAt, isSame, type StoreLook, type Suspicion } from './store-look.ts';

/** Milliseconds. */
const REMOVAL_MS = 200;
/** Files that are put away while the state is held. */
const AT_ONCE = 50;
/** Entries of the log for those; the last of them speaks for the rest. */
const LOGGED = 10;
/** Characters of a mark. */
const MOST = 4000;

/** What a file turned out to hold. */
interface Read {
  readonly sha256: string;
  readonly identity: FileIdentity | undefined;
}

export interface JudgeOptions {
  readonly state: string;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** Signs the log's checkpoint: see `logActs`. */
  readonly snapshotKey?: string | undefined;
  readonly onFinding: (finding: Finding) => void;
  /** Told what could not be read: a disk's fault is no drift. */
  readonly onFault: (fault: Fault) => void;
}

/**
 * Turns suspicions into findings, and puts away what is found. A suspicion counts only where it still holds while nobody
 * else writes to the state: whoever publishes, signs anew or collects has its lock, and is never found in the middle.
 */
export class DriftJudge {
  readonly #options: JudgeOptions;
  readonly #look: StoreLook;
  /** Told already, by path; what is right again may be told anew. */
  readonly #told = new Map<string, string>();
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: JudgeOptions, look: StoreLook) {
    this.#options = options;
    this.#look = look;
  }

  /** Paths of what was told and is not right yet. */
  get standing(): ReadonlySet<string> {
    return new Set(this.#told.keys());
  }

  /** Reads what has to be read, and acts on what is wrong. @throws IoError where the state cannot be written. */
  async judge(suspicions: readonly Suspicion[], options: MeasureOptions = {}): Promise<void> {
    const wrong: (Suspicion & { readonly read: Read | undefined })[] = [];
    // Links to one file are read once.
    const digests = new Map<string, string>();
    for (const one of suspicions) {
      if (one.kind !== 'content') {
        if (this.#told.get(one.path) !== one.kind) wrong.push({ ...one, read: undefined });
        continue;
      }
      const read = await this.#read(one, options, digests);
      if (read === 'right' || read === 'unknown') continue;
      wrong.push({ ...one, read });
    }
    // An operator who removes a release does so file by file: then it is gone, and lacks nothing.
    if (wrong.some(({ kind, release }) => kind === 'missing' && release !== undefined))
      await sleep(REMOVAL_MS);
    // In parts: whoever waits for the state is not kept waiting for a storm to end.
    for (let at = 0; at < wrong.length; at += AT_ONCE) {
      const some = wrong.slice(at, at + AT_ONCE);
      await this.#oneAtATime(() => this.#act(some));
    }
  }

  /** Forgets what was told of paths that are no longer suspicious. */
  settle(suspicions: readonly Suspicion[]): void {
    const still = new Set(suspicions.map(({ path }) => path));
    for (const path of this.#told.keys()) if (!still.has(path)) this.#told.delete(path);
  }

  /** A file, read whole. `unknown`: it could not be read, or changed or went away meanwhile, and is looked at again. */
  async #read(
    { path, expected }: Suspicion,
    options: MeasureOptions,
    digests: Map<string, string>,
  ): Promise<Read | 'right' | 'unknown'> {
    const { state, onFault } = this.#options;
    try {
      const there = await identityAt(join(state, path));
      const known = there?.isFile ? digests.get(keyOf(there.identity)) : undefined;
      if (there && known !== undefined && known !== expected)
        return { sha256: known, identity: there.identity };
      if (there && known !== undefined) {
        this.#look.accept(path, there.identity);
        return 'right';
      }
      const { answers, identity } = await measureFile(
        join(state, path),
        [{ kind: 'digest', hash: 'sha256' }],
        options,
      );
      const sha256 = Buffer.from(answers[0] as Uint8Array).toString('hex');
      digests.set(keyOf(identity), sha256);
      if (sha256 !== expected) return { sha256, identity };
      this.#look.accept(path, identity);
      return 'right';
    } catch (error) {
      if (error instanceof Refusal && error.code === 'unsafe-path')
        return { sha256: '', identity: undefined };
      if (error instanceof Refusal) return 'unknown';
      if (!(error instanceof IoError)) throw error;
      onFault({ path, error });
      return 'unknown';
    }
  }

  async #oneAtATime<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(work, work);
    this.#turn = mine.catch(() => {});
    return mine;
  }

  async #act(wrong: readonly (Suspicion & { readonly read: Read | undefined })[]): Promise<void> {
    const { state: folder, onFinding, onFault } = this.#options;
    const state = await openStateWhenFree(folder);
    const findings: Finding[] = [];
    let faults = 0;
    try {
      const expected = await expectedContents(folder);
      for (const one of wrong) {
        try {
          const finding = await this.#confirm(one, expected);
          if (finding) findings.push(finding);
        } catch (error) {
          // What cannot be put away keeps nothing else in its place. It is suspicious still, and tried again.
          if (!(error instanceof IoError)) throw error;
          faults += 1;
          if (faults <= LOGGED) onFault({ path: one.path, error });
        }
      }
      if (findings.length > 0) await this.#record(findings, expected);
    } finally {
      await state.release();
      // Also where the disk failed in the middle: what was moved is told.
      for (const finding of findings) {
        // What was changed is missing now, which needs no second word.
        if (finding.kind !== 'extra') this.#told.set(finding.path, 'missing');
        onFinding(finding);
      }
    }
  }

  /** Nobody else writes now: what still is so is so. */
  async #confirm(
    { path, kind, release, read }: Suspicion & { readonly read: Read | undefined },
    expected: ReadonlyMap<string, ExpectedRelease>,
  ): Promise<Finding | undefined> {
    const { state, clock } = this.#options;
    const now = await identityAt(join(state, path));
    const contents = release === undefined ? undefined : expected.get(release);
    if (release !== undefined && !contents) return undefined;
    const within = release === undefined ? '' : path.slice(`releases/${release}/`.length);
    const wanted = contents ? contents.files.get(within)?.sha256 : objectDigest(path);
    const place = release === undefined ? path : `${within} of ${release}`;
    const put = (file: DriftedFile) => quarantineFile(state, file, clock());
    if (kind === 'missing') {
      const needed = contents
        ? wanted !== undefined
        : [...expected.values()].some(({ files }) =>
            [...files.values()].some(({ sha256 }) => sha256 === wanted),
          );
      if (now || !needed) return undefined;
      const why = `${place} is missing: it was there, and was taken away.`;
      return { path, release, kind, why, movedTo: undefined, held: false };
    }
    if (!now) return undefined;
    if (kind === 'extra') {
      if (wanted !== undefined || (contents && !contents.complete)) return undefined;
      const why = `${place} belongs to nothing that the state was given.`;
      const movedTo = await put({ path, kind, expected: '', found: '', message: why });
      return { path, release, kind, why, movedTo, held: false };
    }
    // It is what was read, and that is not what belongs there.
    const same = read?.identity === undefined ? !now.isFile : isSame(read.identity, now.identity);
    const moved = read?.identity !== undefined && !same && isMoved(read.identity, now.identity);
    if ((!same && !moved) || wanted === undefined || read?.sha256 === wanted) return undefined;
    const why = now.isFile
      ? `${place} was changed: it is not what was verified.`
      : `${place} was replaced by something that is no file.`;
    const found = read?.sha256 ?? '';
    const movedTo = await put({ path, kind: 'changed', expected: wanted, found, message: why });
    return { path, release, kind: 'changed', why, movedTo, held: false };
  }

  /** Marks the releases that lost a file, and puts all of it into the log. */
  async #record(findings: Finding[], expected: ReadonlyMap<string, ExpectedRelease>): Promise<void> {
    const { state, clock, snapshotKey } = this.#options;
    const time = clock();
    const acts: Act[] = [];
    for (const [at, finding] of findings.entries()) {
      const { path, release, kind, why } = finding;
      const refusal = new Refusal('drifted', why, { path });
      const manifest = (release && expected.get(release)?.manifest) || undefined;
      const within = release === undefined ? path : path.slice(`releases/${release}/`.length);
      const sha256 =
        release === undefined ? objectDigest(path) : expected.get(release)?.files.get(within)?.sha256;
      const mark = release === undefined ? undefined : await readQuarantined(state, release);
      // Whoever begins anew finds again what is missing since long; an object is, where its release's file is.
      if (kind === 'missing' && (release === undefined || tellsOf(mark?.message, within, release))) {
        findings[at] = { ...finding, held: mark?.held === true };
        continue;
      }
      acts.push({
        time,
        act: 'quarantine',
        release,
        manifest,
        refusal,
        ...(sha256 === undefined ? {} : { file: { sha256, path: within } }),
      });
      if (release === undefined || kind === 'extra') continue;
      findings[at] = { ...finding, held: true };
      const ours = mark?.command === takesBack(state);
      // Somebody else's mark says more than ours would; our own says all that was found, as long as it can be read.
      if (mark && (!ours || tellsOf(mark.message, within, release) || mark.message.length > MOST)) continue;
      const { origin } = originOf(await readProvenance(state, release));
      const message = mark ? `${mark.message} ${why}` : why;
      const reason = { release, manifest: manifest ?? '', origin, code: 'drifted', message };
      await quarantineRelease(state, { ...reason, command: takesBack(state) }, time, true);
    }
    if (acts.length === 0) return;
    const [last] = acts.slice(LOGGED - 1);
    const more = acts.length - LOGGED;
    const summed = last && {
      ...last,
      refusal: new Refusal('drifted', `${last.refusal?.message} So it is with ${more} more files.`),
    };
    try {
      await logActs(state, more > 0 && summed ? [...acts.slice(0, LOGGED - 1), summed] : acts, snapshotKey);
    } catch (error) {
      // The log may be what was changed: nothing is added to it then, and the files tell.
      if (!(error instanceof Refusal)) throw error;
      this.#options.onFault({ path: 'log', error });
    }
  }

  /**
   * Takes the mark off releases that are whole again, after everything was read.
   *
   * @param releases those with nothing wrong.
   */
  async restore(releases: Iterable<string>): Promise<readonly string[]> {
    const { state: folder, clock, snapshotKey } = this.#options;
    const marked: string[] = [];
    for (const release of releases) if (await isOurMark(folder, release)) marked.push(release);
    if (marked.length === 0) return [];
    return this.#oneAtATime(async () => {
      const state = await openStateWhenFree(folder);
      try {
        const expected = await expectedContents(folder);
        const whole = marked.filter((release) => expected.has(release));
        const acts = whole.map((release): Act => {
          const manifest = expected.get(release)?.manifest || undefined;
          return { time: clock(), act: 'restore', release, manifest };
        });
        if (acts.length > 0) await logActs(folder, acts, snapshotKey);
        for (const release of whole) await takeBack(folder, release, clock());
        return whole;
      } finally {
        await state.release();
      }
    });
  }
}

function keyOf(identity: FileIdentity): string {
  return Object.values(identity).join(' ');
}

/** Whether a mark tells of a file: of this one, and not of one whose name begins or ends so. */
function tellsOf(message: string | undefined, within: string, release: string): boolean {
  return ` ${message}`.includes(` ${within} of ${release} `);
}

async function isOurMark(state: string, release: string): Promise<boolean> {
  const mark = await readQuarantined(state, release);
  return mark?.held === true && mark.code === 'drifted' && mark.command === takesBack(state);
}

/** What takes the mark off once the files are right again. */
function takesBack(state: string): string {
  return `bootseal state watch --once --state ${state}`;
}

/** The same file, of which another link was taken away meanwhile. */
function isMoved(before: FileIdentity, now: FileIdentity): boolean {
  return (['dev', 'ino', 'size', 'mtimeNs'] as const).every((key) => before[key] === now[key]);
}

function objectDigest(path: string): string | undefined {
  const [, start, rest] = /^objects\/sha256\/([0-9a-f]{2})\/([0-9a-f]{62})$/.exec(path) ?? [];
  return start === undefined ? undefined : `${start}${rest}`;
}
