import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { Refusal } from '../../errors/refusal.ts';
import { isThere } from '../../files/read-if-there.ts';
import { channelHistory, channelNames } from '../../store/channels.ts';
import { checkLog } from '../../store/log-reader.ts';
import { openStateWhenFree } from '../../store/state.ts';
import { withdrawnReason } from '../../store/withdrawals.ts';
import { readCertificatesFile } from '../../trust/certificates-file.ts';
import { defaultPolicy } from '../../trust/policy.ts';
import { verifySnapshot } from '../../trust/snapshot-check.ts';
import type { Finding } from './finding.ts';
import { identityAt } from './store-look.ts';

/** Reading the log takes no more than this share of the time. */
const SHARE = 20;

/**
 * Looks at what a state has on record: its log, and every snapshot that its channels ever had. None of it is moved: a state
 * without the snapshot that counts would offer nothing, and its server refuses by itself what does not verify.
 */
export class RecordsLook {
  readonly #state: string;
  /** SHA-256 of snapshots and seals as they were seen first, by channel and counter. */
  readonly #seen = new Map<string, string>();
  /** What the log's files were when it was found whole. */
  #logMark = '';
  /** When it may be read again; of `performance.now()`. */
  #logDue = 0;
  /** Sentences that were told, by path. */
  readonly #told = new Map<string, string>();

  constructor(state: string) {
    this.#state = state;
  }

  /** Paths of what was told and is not right yet. */
  get standing(): ReadonlySet<string> {
    return new Set(this.#told.keys());
  }

  /** What is wrong and was not told yet. @param now milliseconds since 1970. @throws IoError */
  async look(now: number): Promise<readonly Finding[]> {
    const wrong = new Map<string, string>();
    for (const channel of await channelNames(this.#state)) {
      const why = await this.#channelFault(channel);
      if (why !== undefined) wrong.set(`channels/${channel}`, why);
    }
    const mark = await this.#markOfLog();
    // All of it is read: a long log that grows all the time is not read all the time.
    if (mark !== this.#logMark && performance.now() >= this.#logDue) {
      const began = performance.now();
      const why = await this.#logFault(now);
      this.#logDue = performance.now() + (performance.now() - began) * SHARE;
      if (why === undefined) this.#logMark = mark;
      else wrong.set('log', why);
    }
    if (wrong.size > 0) await this.#confirm(wrong, now);
    // Not looked at this time: what was told of it stands.
    const log = this.#told.get('log');
    if (log !== undefined && mark !== this.#logMark && !wrong.has('log')) wrong.set('log', log);
    const findings = [...wrong].filter(([path, why]) => this.#told.get(path) !== why);
    for (const path of this.#told.keys()) if (!wrong.has(path)) this.#told.delete(path);
    for (const [path, why] of findings) this.#told.set(path, why);
    return findings.map(([path, why]) => ({
      path,
      release: undefined,
      kind: 'changed' as const,
      why,
      movedTo: undefined,
      held: false,
    }));
  }

  /** A writer may have been at work: what it leaves is looked at, and nothing in between. */
  async #confirm(wrong: Map<string, string>, now: number): Promise<void> {
    const state = await openStateWhenFree(this.#state);
    try {
      for (const path of [...wrong.keys()]) {
        const channel = path.slice('channels/'.length);
        const why = path === 'log' ? await this.#logFault(now) : await this.#channelFault(channel);
        if (why === undefined) wrong.delete(path);
        else wrong.set(path, why);
      }
    } finally {
      await state.release();
    }
  }

  async #channelFault(channel: string): Promise<string | undefined> {
    try {
      const history = await channelHistory(this.#state, channel);
      const current = history.at(-1);
      for (const { snapshot, bytes, seal } of history) {
        const key = `${channel} ${snapshot.counter}`;
        const digest = createHash('sha256').update(bytes).update(seal).digest('hex');
        const before = this.#seen.get(key);
        if (before !== undefined && before !== digest)
          return `Snapshot ${snapshot.counter} of channel ${channel} was changed.`;
        this.#seen.set(key, digest);
      }
      for (const key of this.#seen.keys()) {
        const counter = Number(key.split(' ')[1]);
        if (!key.startsWith(`${channel} `) || history.some(({ snapshot }) => snapshot.counter === counter))
          continue;
        return `Snapshot ${counter} of channel ${channel} is missing: it was there, and was taken away.`;
      }
      if (!current) return undefined;
      const signers = await readCertificatesFile(join(this.#state, 'anchors', 'snapshot.crt'));
      const { issued, releases } = current.snapshot;
      await verifySnapshot(channel, current.bytes, current.seal, signers, defaultPolicy(issued), issued);
      for (const { release } of releases) {
        if (await isThere(join(this.#state, 'releases', release))) continue;
        if (await withdrawnReason(this.#state, release)) continue;
        if (await isThere(join(this.#state, 'quarantine', release, 'release'))) continue;
        return `Channel ${channel} names ${release}, and its folder is gone.`;
      }
      return undefined;
    } catch (error) {
      if (error instanceof Refusal) return error.message;
      throw error;
    }
  }

  async #logFault(now: number): Promise<string | undefined> {
    try {
      await checkLog({ state: this.#state, now, allowWaiting: true });
      return undefined;
    } catch (error) {
      // No log yet, or none that a key has signed: a mirror's, for one.
      if (error instanceof Refusal && ['absent', 'no-verdict'].includes(error.code)) return undefined;
      if (error instanceof Refusal) return error.message;
      throw error;
    }
  }

  async #markOfLog(): Promise<string> {
    const marks: string[] = [];
    for (const name of ['name', 'entries', 'offsets', 'hashes', 'checkpoint']) {
      const found = await identityAt(join(this.#state, 'log', name));
      marks.push(found ? Object.values(found.identity).join(' ') : 'absent');
    }
    return marks.join('\n');
  }
}
