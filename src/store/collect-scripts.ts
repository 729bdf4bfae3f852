import { z } from 'zod';
import {
  type BatchScript,
  decodeScriptBatch,
  type ScriptBatch,
  scriptFile,
} from '../formats/records/script-batch.ts';
import { SEAL } from '../formats/records/seal-names.ts';
import { decodeOr } from '../trust/check.ts';
import { ArmedBoots } from './armed-boots.ts';
import type { StoreBackend } from './backend.ts';
import { channelNames, readChannel } from './channels.ts';
import { COLLECT_AFTER } from './collect-after.ts';
import { recordsOf } from './folder-backend.ts';
import { readBatch } from './script-batches.ts';
import { demandState, openExistingState } from './state.ts';
import { encodeStateJson, isStateTime, readStateJson, stateTime } from './state-json.ts';

/**
 * Frees the scripts that machines got by name when a channel was elsewhere: what a batch lists that no channel's snapshot
 * names any more. In two steps, as objects are (collect.ts): a batch is marked, and seven days later it goes, if no channel
 * came back to it. Scripts that start no release stay (a disk's own, a menu): a machine that was armed gets those without
 * any batch, and there are few. What was signed and never made part of a batch stays, too: it waits for a channel to move.
 */

const KEY = 'collect-scripts.json';
const SHA256 = /^[0-9a-f]{64}$/;
const MARKS = z.strictObject({
  'bootseal-collect-scripts': z.literal(1),
  /** Batches that no channel names, and since when that is known; by digest. */
  marked: z.record(z.string().regex(SHA256), z.string().refine(isStateTime)),
});

export interface UnusedBatch {
  /** Of the batch. */
  readonly sha256: string;
  readonly channel: string;
  /** When it was marked; milliseconds since 1970. */
  readonly since: number;
}

export interface CollectedScripts {
  readonly marked: readonly UnusedBatch[];
  /** Marked before, and not seven days ago. */
  readonly waiting: readonly UnusedBatch[];
  /** Gone, or would be. */
  readonly deleted: readonly UnusedBatch[];
  /** Scripts that went with those. */
  readonly scripts: number;
}

/** @throws UsageError for a folder that holds no state; IoError, `Refusal` for what cannot be understood. */
export async function collectScripts({
  state: folder,
  dryRun = false,
  now,
}: {
  readonly state: string;
  /** Says what would happen, and changes nothing. */
  readonly dryRun?: boolean;
  /** Milliseconds since 1970. */
  readonly now: number;
}): Promise<CollectedScripts> {
  if (dryRun) {
    await demandState(folder);
    return (await sort(folder, now)).found;
  }
  const state = await openExistingState(folder);
  try {
    const { found, keys } = await sort(folder, now);
    const records = recordsOf(folder);
    for (const key of keys) await records.remove(key);
    const left = [...found.marked, ...found.waiting];
    const marked = Object.fromEntries(left.map(({ sha256, since }) => [sha256, stateTime(since)]));
    await records.put(KEY, encodeStateJson(MARKS.parse({ 'bootseal-collect-scripts': 1, marked })));
    return found;
  } finally {
    await state.release();
  }
}

async function sort(
  state: string,
  now: number,
): Promise<{ readonly found: CollectedScripts; readonly keys: readonly string[] }> {
  const records = recordsOf(state);
  const marks = (await readStateJson(records, KEY, MARKS))?.value.marked ?? {};
  const current = await currentBatches(state);
  const [kept, due]: [ScriptBatch[], (UnusedBatch & { readonly batch: ScriptBatch })[]] = [[], []];
  const [marked, waiting]: [UnusedBatch[], UnusedBatch[]] = [[], []];
  for (const sha256 of await batchesOf(records)) {
    const bytes = await readBatch(records, sha256);
    const batch = decodeOr(`scripts/${sha256}.batch`, () => decodeScriptBatch(bytes));
    const since = Date.parse(marks[sha256] ?? '');
    const unused = { sha256, channel: batch.channel, since: Number.isNaN(since) ? now : since };
    if (!current.has(sha256) && now - unused.since >= COLLECT_AFTER) {
      due.push({ ...unused, batch });
      continue;
    }
    kept.push(batch);
    if (!current.has(sha256)) (Number.isNaN(since) ? marked : waiting).push(unused);
  }
  const needed = new Set(kept.flatMap(({ scripts }) => scripts.map(scriptFile)));
  for (const { arming } of await new ArmedBoots(records).all())
    needed.add(scriptFile({ loader: arming.loader, sha256: arming.script }));
  const rules = new Set(kept.map((batch) => batch.rules));
  const gone = (script: BatchScript) => script.release !== undefined && !needed.has(scriptFile(script));
  const files = new Set(due.flatMap(({ batch }) => batch.scripts.filter(gone).map(scriptFile)));
  const keys = [
    ...[...files].flatMap((file) => [file, file + SEAL.openpgp]),
    ...due
      .filter(({ batch }) => !rules.has(batch.rules))
      .map(({ batch }) => `scripts/${batch.rules}.machines`),
    // Last: where this is cut short, the batch still says what goes with it.
    ...due.map(({ sha256 }) => `scripts/${sha256}.batch`),
  ];
  const deleted = due.map(({ batch: _, ...unused }) => unused);
  return { found: { marked, waiting, deleted, scripts: files.size }, keys };
}

/** Of every channel, the one that its snapshot names. */
async function currentBatches(state: string): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  for (const channel of await channelNames(state)) {
    const { scripts } = (await readChannel(state, channel))?.snapshot ?? {};
    if (scripts !== undefined) found.add(scripts);
  }
  return found;
}

async function batchesOf(records: StoreBackend): Promise<string[]> {
  return (await records.list('scripts')).flatMap((name) => /^([0-9a-f]{64})\.batch$/.exec(name)?.[1] ?? []);
}
