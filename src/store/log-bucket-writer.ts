import { randomBytes } from 'node:crypto';
import { Refusal } from '../errors/refusal.ts';
import { encodeCheckpoint, encodeCheckpointFile } from '../formats/records/checkpoint.ts';
import { encodeLogEntry, type LogEntry } from '../formats/records/log-entry.ts';
import { MerkleFrontier } from '../formats/records/merkle-frontier.ts';
import { decodeOr } from '../trust/check.ts';
import {
  entryKey,
  findEnd,
  isEnd,
  nodesKey,
  nodesRecord,
  notAsRecorded,
  readEntry,
  readFrontier,
} from './log-bucket-objects.ts';
import {
  demandPlace,
  findLogName,
  LOG_FILES,
  type LogHome,
  logKey,
  nameTakenAway,
  notCheckpointed,
  readCheckpoint,
  readLogName,
  type StoredCheckpoint,
} from './log-files.ts';
import type { FoundEntry, LogWriter, MakeEntry, SignCheckpoint } from './log-store.ts';

const HEAD = logKey(LOG_FILES.checkpoint);

/**
 * The log of a bucket, opened by one of its writers: nothing keeps others out. Who takes the next index first has appended,
 * the other one has the index after it; who moves the head first has signed, the other one signs anew. Opening and
 * appending ask for objects in the number of the size's binary digits; signing reads all that no checkpoint covers yet.
 */
export class BucketLogWriter implements LogWriter {
  readonly #home: LogHome;
  readonly #name: string;
  /** The head as it was last seen. */
  #head: StoredCheckpoint | undefined;
  /** True once we moved it: what the store knows it by now was not told. */
  #moved = false;
  /** Entries that a head was over which we saw or wrote: none is over fewer from then on. */
  #floor = 0;
  /** Over all entries that are known, the last one verified. */
  #tree = MerkleFrontier.EMPTY;
  /**
   * Over the first so many, each of which was read and is what was recorded of it: from the head on, whose root these nodes
   * have. The same object as `#tree` where nothing is left out between them.
   */
  #verified = MerkleFrontier.EMPTY;
  #last: LogEntry | undefined;

  private constructor(home: LogHome, name: string) {
    this.#home = home;
    this.#name = name;
  }

  static async open(home: LogHome): Promise<BucketLogWriter> {
    const [named, head] = await Promise.all([findLogName(home), readCheckpoint(home)]);
    const writer = new BucketLogWriter(home, named ?? (await beginLog(home)));
    await writer.#open(head);
    return writer;
  }

  get size(): number {
    return this.#tree.size;
  }

  async append(make: MakeEntry): Promise<LogEntry> {
    for (;;) {
      const index = this.#tree.size;
      const entry = make(index, this.#last);
      const bytes = decodeOr('The log entry', () => encodeLogEntry(entry));
      if (await this.#home.records.putIfAbsent(entryKey(index), bytes)) {
        await this.#grow({ index, entry, bytes }, true);
        return entry;
      }
      await this.#follow();
    }
  }

  async writeCheckpoint(sign: SignCheckpoint): Promise<void> {
    await this.#verifyAll();
    if (this.#moved) await this.#followHead();
    for (;;) {
      const { size, root } = this.#tree;
      if (!this.#last) throw new RangeError('a log without entries has no checkpoint');
      const bytes = encodeCheckpoint({ log: this.#name, size, root, time: this.#last.time });
      const file = encodeCheckpointFile(bytes, await sign(bytes));
      if (await this.#home.records.compareAndSwap(HEAD, this.#head?.version, file)) {
        this.#moved = true;
        this.#floor = size;
        return;
      }
      await this.#followHead();
      // Somebody else signed over ours, too, and it is what we know.
      if (this.#signed >= size) return;
    }
  }

  async close(): Promise<void> {}

  /** Entries that the head is over. */
  get #signed(): number {
    return this.#head?.file.checkpoint.size ?? 0;
  }

  async #open(head: StoredCheckpoint | undefined): Promise<void> {
    this.#head = head;
    const signed = this.#signed;
    this.#floor = signed;
    const size = await findEnd(this.#home, signed);
    const before = Math.max(0, size - 1);
    this.#tree = await readFrontier(this.#home, before);
    const headed = signed < before ? await readFrontier(this.#home, signed) : this.#tree;
    this.#verified = headed;
    // The last entry, which may lack its nodes.
    if (size > 0) await this.#follow();
    this.#demandHead(this.#head, signed === size ? this.#tree : headed);
    while (!(await isEnd(this.#home, this.#tree.size))) await this.#follow();
  }

  /** The log still is what its checkpoint says. Otherwise the next one would put our name to a change. */
  #demandHead(head: StoredCheckpoint | undefined, tree: MerkleFrontier): void {
    if (!head) return;
    const { log, size, root } = head.file.checkpoint;
    if (log === this.#name && root === tree.root) return;
    throw notCheckpointed(this.#home, size, this.#tree.size);
  }

  /** Goes on to the next entry, which somebody else has appended. */
  async #follow(): Promise<void> {
    const index = this.#tree.size;
    const found = await readEntry(this.#home, index);
    if (!found)
      throw new Refusal('drifted', `Entry ${index} of the log was taken away while it was read.`, { index });
    await this.#grow(found, false);
  }

  async #grow(found: FoundEntry, isOurs: boolean): Promise<void> {
    demandPlace(found.entry, found.index, this.#last);
    const before = this.#tree;
    const { frontier, hashes } = before.grow(found.bytes);
    await this.#keepNodes(found.index, Buffer.concat(hashes), isOurs);
    this.#tree = frontier;
    if (this.#verified === before) this.#verified = frontier;
    this.#last = found.entry;
  }

  /** What follows from an entry is recorded beside it, whoever does so. */
  async #keepNodes(index: number, hashes: Uint8Array, isOurs: boolean): Promise<void> {
    const { records } = this.#home;
    const key = nodesKey(index);
    if (isOurs && (await records.putIfAbsent(key, hashes))) return;
    let stored = await nodesRecord(this.#home, index);
    if (!stored) {
      // Its writer has died, or has not come to it yet.
      if (await records.putIfAbsent(key, hashes)) return;
      stored = await nodesRecord(this.#home, index);
    }
    if (!stored || Buffer.compare(stored.bytes, hashes) !== 0) throw notAsRecorded(index);
  }

  /** No checkpoint of ours is over an entry that was not read, or is not what was recorded of it. */
  async #verifyAll(): Promise<void> {
    if (this.#verified === this.#tree) return;
    const known = this.#tree;
    this.#tree = this.#verified;
    this.#last = undefined;
    while (this.#tree.size < known.size) await this.#follow();
    if (this.#tree.root !== known.root) throw notAsRecorded(known.size - 1);
  }

  /** Takes the head that somebody else has written meanwhile for what it is, if it continues what is known. */
  async #followHead(): Promise<void> {
    const head = await readCheckpoint(this.#home);
    const size = head?.file.checkpoint.size ?? 0;
    if (size < this.#floor)
      throw new Refusal(
        'drifted',
        `The checkpoint of the log in ${this.#home.where} went back from ${this.#floor} entries to ${size}, which no writer does; "bootseal log check" tells more.`,
        { size, known: this.#floor },
      );
    while (this.#tree.size < size) await this.#follow();
    const { size: known } = this.#tree;
    this.#demandHead(head, size === known ? this.#tree : await readFrontier(this.#home, size));
    this.#head = head;
    this.#floor = size;
    this.#moved = false;
  }
}

/** A name first: whoever finds entries finds the name of their log. */
async function beginLog(home: LogHome): Promise<string> {
  const { records } = home;
  if ((await records.facts(entryKey(0))) || (await records.facts(HEAD))) {
    // Somebody else may have begun it meanwhile.
    const name = await findLogName(home);
    if (name !== undefined) return name;
    throw nameTakenAway(home);
  }
  const drawn = randomBytes(16).toString('hex');
  const key = logKey(LOG_FILES.name);
  return (await records.putIfAbsent(key, Buffer.from(`${drawn}\n`))) ? drawn : readLogName(home);
}
