import { readFile } from 'node:fs/promises';
import { Refusal } from '../errors/refusal.ts';
import { unreadable } from '../errors/unreadable.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { type Checkpoint, decodeCheckpointFile } from '../formats/records/checkpoint.ts';
import {
  consistencyRanges,
  hashesToStore,
  isConsistent,
  joinNodes,
  leafHash,
  leftOf,
  nodesOf,
  type Range,
} from '../formats/records/merkle.ts';
import { decodeOr } from '../trust/check.ts';
import { verifyCheckpoint } from '../trust/checkpoint-check.ts';
import type { Policy } from '../trust/policy.ts';
import { readCheckpoint, readLogName, readSealList } from './log-files.ts';
import { logOf } from './log-of.ts';
import { namesCheckpoint } from './log-restored.ts';
import type { FoundEntry, LogStore } from './log-store.ts';

export interface LogAudit {
  readonly log: string;
  /** Entries, those that wait among them. */
  readonly size: number;
  /** Of the last so many no checkpoint says anything yet: they wait for a signature. */
  readonly waiting: number;
  readonly checkpoint: Checkpoint;
  /** The checkpoint that the auditor had kept, where one was given. */
  readonly since: Checkpoint | undefined;
  /** Bytes of an entry that was being written when the log was read, or when its writer was killed. */
  readonly torn: number;
}

/**
 * Reads a log from its first byte to its last and holds it against its own records, its checkpoint, and one that
 * the auditor kept. Believes none of what is stored but the entries, which are hashed anew.
 *
 * @param signers certificates of the log's key.
 * @param since path of a checkpoint file. Its seal is not asked: it counts because the auditor kept it, and a false
 *   one can only raise an alarm.
 * @param allowWaiting entries that wait for a signature are counted, and no reason to refuse. Nobody vouches for them:
 *   whoever may write to the state can have put back an older checkpoint, and changed what was signed once.
 * @throws Refusal with the index of the first entry that something is wrong with.
 */
export async function auditLog(
  state: string | LogStore,
  signers: readonly Certificate[],
  policy: Policy,
  since?: string,
  allowWaiting = false,
): Promise<LogAudit> {
  const store = logOf(state);
  const log = await readLogName(store);
  // 1. The checkpoint before the entries: those that come in meanwhile are then more, not fewer.
  const found = await readCheckpoint(store);
  const recorded = await store.recorded();
  const tree = new AuditedTree();
  const restored: { readonly index: number; readonly origin: string }[] = [];
  // 2. Every entry is canonical, in its place, not earlier than the last, and the one that was recorded.
  const lists = new SealLists(store);
  const scanned = store.scan(0, async (one) => {
    const { index, entry } = one;
    await recorded.demand(one, tree.add(one));
    if (entry.act === 'restore-state') restored.push({ index, origin: entry.origin ?? '' });
    if (entry.seals !== undefined) await lists.demand(index, entry.seals);
  });
  // Whatever ended it: what an earlier entry names comes first.
  await scanned.catch(() => {});
  await lists.demandAll();
  const { torn } = await scanned;
  // 3. None was taken from the end.
  await recorded.demandNoMore(tree.size);
  // 4. The log is a continuation of what the auditor saw before.
  const kept = since === undefined ? undefined : await readKept(since);
  if (kept) demandContinued(kept, log, tree, restored);
  // 5. The checkpoint is this log's, by its key, and its root is that of these entries.
  if (!found) {
    throw new Refusal(
      'no-verdict',
      `The log has ${tree.size} entries and no checkpoint yet: nothing signed vouches for entry 0 and those after it.`,
      { index: 0, size: tree.size },
    );
  }
  const checkpoint = await verifyCheckpoint(found.file, signers, policy);
  demandLog(checkpoint, log, 'Its checkpoint');
  const { size } = checkpoint;
  if (size > tree.size) {
    throw new Refusal(
      'rolled-back',
      `The checkpoint is over ${size} entries, and the log has ${tree.size}: entry ${tree.size} and those after it were taken away.`,
      { index: tree.size, size: tree.size, checkpoint: size },
    );
  }
  if (!tree.hasRoot(checkpoint)) {
    const first = kept && kept.size < size ? kept.size : 0;
    throw new Refusal(
      'drifted',
      `Among entries ${first} to ${size - 1} one or more are not those that the checkpoint was signed over: changed, with all records of it.`,
      { index: first, size },
    );
  }
  // 6. It is over all of them, or the rest is told apart.
  const waiting = tree.size - size;
  if (waiting > 0 && !allowWaiting) {
    throw new Refusal(
      'no-verdict',
      `Entry ${size} and those after it wait for a signature, so nothing signed vouches for them: "bootseal log sign", or the next act that has the key.`,
      { index: size, size: tree.size, waiting },
    );
  }
  return { log, size: tree.size, waiting, checkpoint, since: kept, torn };
}

async function readKept(path: string): Promise<Checkpoint> {
  const bytes = await readFile(path).catch((error: unknown) => {
    throw unreadable(path, error);
  });
  return decodeOr(path, () => decodeCheckpointFile(bytes)).checkpoint;
}

function demandLog({ log }: Checkpoint, name: string, what: string): void {
  if (log === name) return;
  throw new Refusal('mixed-releases', `${what} is of log ${log}, and this is log ${name}.`, { log, name });
}

function demandContinued(
  kept: Checkpoint,
  log: string,
  tree: AuditedTree,
  restored: readonly { readonly index: number; readonly origin: string }[],
): void {
  demandLog(kept, log, 'The checkpoint that was kept');
  if (kept.size > tree.size) {
    throw new Refusal(
      'rolled-back',
      `The log once had ${kept.size} entries and now has ${tree.size}: entry ${tree.size} and those after it were taken away.`,
      { index: tree.size, size: tree.size, known: kept.size },
    );
  }
  if (tree.continues(kept)) return;
  // It says so itself, which proves nothing: its key holder could have said it to hide something.
  const told = restored.find(({ index, origin }) => index < kept.size || namesCheckpoint(origin, kept));
  if (told) {
    throw new Refusal(
      'drifted',
      `Entries from ${told.index} on are not those that the log had when the kept checkpoint was made: entry ${told.index} says that the log was restored from a backup. Ask its operator what was lost, and keep the checkpoint of now.`,
      { index: told.index, known: kept.size },
    );
  }
  throw new Refusal(
    'drifted',
    `Among entries 0 to ${kept.size - 1} one or more are not those that the log had when the kept checkpoint was made.`,
    { index: 0, known: kept.size },
  );
}

/** Lists of seals that are read at a time. */
const MOST_LISTS = 16;

/** The lists of seals that entries name, in their order; the next entries are read while they are on their way. */
class SealLists {
  readonly #log: LogStore;
  readonly #coming: { readonly index: number; readonly list: Promise<Uint8Array | undefined> }[] = [];

  constructor(log: LogStore) {
    this.#log = log;
  }

  /** Throws `drifted` for this entry or one before it. */
  async demand(index: number, sha256: string): Promise<void> {
    const list = readSealList(this.#log, sha256);
    // Told once it is this one's turn.
    list.catch(() => {});
    this.#coming.push({ index, list });
    if (this.#coming.length >= MOST_LISTS) await this.#demandFirst();
  }

  async demandAll(): Promise<void> {
    while (this.#coming.length > 0) await this.#demandFirst();
  }

  async #demandFirst(): Promise<void> {
    const first = this.#coming.shift();
    if (!first || (await first.list)) return;
    const { index } = first;
    throw new Refusal(
      'drifted',
      `The list of seals that entry ${index} of the log names is gone or changed.`,
      { index },
    );
  }
}

/** The tree over the entries as they are. */
class AuditedTree {
  readonly #hashes: Uint8Array[] = [];
  size = 0;

  /** Answers the hashes that follow from an entry. */
  add({ index, bytes }: FoundEntry): readonly Uint8Array[] {
    const left = leftOf(index).map((position) => this.#at(position));
    const hashes = hashesToStore(leafHash(bytes), left);
    for (const hash of hashes) this.#hashes.push(hash);
    this.size = index + 1;
    return hashes;
  }

  hasRoot({ size, root }: Checkpoint): boolean {
    return Buffer.from(this.#hash({ from: 0, to: size })).toString('hex') === root;
  }

  /** By a proof of consistency (RFC 9162 §2.1.4), as anybody else would be given one. */
  continues({ size, root }: Checkpoint): boolean {
    const path = consistencyRanges(size, this.size).map((range) => this.#hash(range));
    const newer = { size: this.size, root: this.#hash({ from: 0, to: this.size }) };
    return isConsistent({ size, root: Buffer.from(root, 'hex') }, newer, path);
  }

  #hash(range: Range): Uint8Array {
    return joinNodes(nodesOf(range).map((position) => this.#at(position)));
  }

  #at(position: number): Uint8Array {
    const hash = this.#hashes[position];
    if (!hash) throw new RangeError(`no hash at ${position}`);
    return hash;
  }
}
