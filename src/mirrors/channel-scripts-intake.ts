import { createHash } from 'node:crypto';
import { Refusal } from '../errors/refusal.ts';
import type { Manifest } from '../formats/records/manifest.ts';
import {
  type BatchScript,
  decodeScriptBatch,
  MAX_BATCH,
  scriptFile,
} from '../formats/records/script-batch.ts';
import { SEAL } from '../formats/records/seal-names.ts';
import { startsOf } from '../machines/assignment.ts';
import { ChannelScripts } from '../machines/channel-scripts.ts';
import { decodeRules } from '../machines/machine-record.ts';
import { MAX_RECORD } from '../store/backend.ts';
import { recordsOf } from '../store/folder-backend.ts';
import { keepBatch, keepSealed } from '../store/script-batches.ts';
import { decodeOr } from '../trust/check.ts';
import { SCRIPT_NAMES, verifyMachineScript } from '../trust/machine-script-check.ts';
import type { PolicyFile } from '../trust/policy-file.ts';
import { manifestNamedIn } from '../trust/script-lines.ts';
import type { TrustRoots } from '../trust/trust-roots.ts';

/** Reads one record of an upstream by its key in a state. @throws Refusal `absent`, `too-large`. */
export type ReadRecord = (key: string, limit: number) => Promise<Uint8Array>;

/** What an upstream's snapshot says of machines. */
export interface UpstreamBatch {
  readonly sha256: string;
  readonly batch: Uint8Array;
  readonly rules: Uint8Array;
  readonly scripts: readonly UpstreamScript[];
  /** What scripts start, by release: SHA-256 of its manifest, lower-case hex. */
  readonly kept: ReadonlyMap<string, string>;
  readonly of: ChannelScripts;
}

interface UpstreamScript extends BatchScript {
  readonly bytes: Uint8Array;
  readonly seal: Uint8Array;
}

/** Bytes of a script or its seal. */
const MAX_SCRIPT = 1024 * 1024;

/**
 * Reads the batch that a verified snapshot names: everything in it is bound to the snapshot by its digest, but the seals,
 * which `verifyBatch` judges.
 *
 * @throws Refusal `absent`, `drifted`, `malformed`, `mixed-releases`, `too-large`.
 */
export async function readUpstreamBatch(
  channel: string,
  sha256: string,
  read: ReadRecord,
): Promise<UpstreamBatch> {
  const batchBytes = await byContent(read, `scripts/${sha256}.batch`, sha256, MAX_BATCH);
  const batch = decodeOr(`the batch of scripts of ${channel}`, () => decodeScriptBatch(batchBytes));
  if (batch.channel !== channel)
    throw new Refusal('mixed-releases', `The snapshot of ${channel} names the scripts of ${batch.channel}.`, {
      channel,
    });
  const rules = await byContent(read, `scripts/${batch.rules}.machines`, batch.rules, MAX_RECORD);
  const decoded = decodeOr(`the rules of ${channel}`, () => decodeRules(rules));
  const scripts: UpstreamScript[] = [];
  const kept = new Map<string, string>();
  for (const script of batch.scripts) {
    const { loader, release } = script;
    const file = scriptFile(script);
    const bytes = await byContent(read, file, script.sha256, MAX_SCRIPT);
    scripts.push({ ...script, bytes, seal: await read(file + SEAL.openpgp, MAX_SCRIPT) });
    const manifest = release === undefined ? undefined : manifestNamedIn(SCRIPT_NAMES[loader], bytes);
    if (release !== undefined && manifest !== undefined) kept.set(release, manifest);
  }
  return { sha256, batch: batchBytes, rules, scripts, kept, of: new ChannelScripts(batch, decoded) };
}

/** A release that scripts may start, and what it was judged by. */
export interface StartedRelease {
  readonly manifest: Manifest;
  /** Lower-case hex. */
  readonly manifestSha256: string;
  readonly roots: TrustRoots;
}

/**
 * Judges each script as its loader will.
 *
 * @param releases by name: what the channel names, and what its scripts start beside that.
 * @throws Refusal for the first script that no loader would take, or that starts what it is not for.
 */
export async function verifyBatch(
  { scripts, of }: UpstreamBatch,
  releases: ReadonlyMap<string, StartedRelease>,
  roots: TrustRoots,
  policy: PolicyFile,
  now: number,
): Promise<void> {
  for (const script of scripts) {
    const { loader, bytes, seal, release = '' } = script;
    const boots = of.bootsOf(script);
    const starts = boots === undefined || boots === 'release' ? releases.get(release) : startsOf(boots);
    if (boots === undefined || starts === undefined)
      throw new Refusal('no-verdict', `Nothing says what a script of ${of.channel} is for.`, {
        script: script.sha256,
      });
    const { own } = typeof starts === 'string' ? roots : starts.roots;
    await verifyMachineScript({ loader, bytes, seal, starts }, own, policy.at(now, now), now);
  }
}

/** Keeps what was verified: nothing counts before a snapshot names it. The state is the caller's. */
export async function keepUpstreamBatch(
  state: string,
  { batch, rules, scripts }: UpstreamBatch,
): Promise<void> {
  const records = recordsOf(state);
  for (const { loader, sha256, bytes, seal } of scripts)
    await keepSealed(records, loader, sha256, { bytes, seal });
  await keepBatch(records, batch, rules);
}

async function byContent(read: ReadRecord, key: string, sha256: string, limit: number): Promise<Uint8Array> {
  const bytes = await read(key, limit);
  if (createHash('sha256').update(bytes).digest('hex') === sha256) return bytes;
  throw new Refusal('drifted', `${key} is not what its name says: it was changed.`, { path: key });
}
