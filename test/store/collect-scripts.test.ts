import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { encodeScriptBatch, type ScriptBatch } from '../../src/formats/records/script-batch.ts';
import { encodeSnapshot } from '../../src/formats/records/snapshot.ts';
import { ArmedBoots } from '../../src/store/armed-boots.ts';
import { moveChannel, nextCounter } from '../../src/store/channels.ts';
import { collectScripts } from '../../src/store/collect-scripts.ts';
import { recordsOf } from '../../src/store/folder-backend.ts';
import { keepBatch, keepSealed } from '../../src/store/script-batches.ts';
import { openState } from '../../src/store/state.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';
import { CHANNEL, releaseOf, sha256, snapshotOf } from './states.ts';

const DAY = 86_400_000;
const folder = await temporaryFolder();
const state = join(folder, 'state');
await (await openState(state)).release();
const records = recordsOf(state);

/** Moves the channel to scripts of these texts; one of `local` starts no release. */
async function move(texts: readonly string[], rules = 'rules'): Promise<string> {
  const scripts: ScriptBatch['scripts'][number][] = [];
  for (const [at, text] of texts.entries()) {
    const bytes = Buffer.from(text);
    await keepSealed(records, 'ipxe', sha256(bytes), { bytes, seal: Buffer.from(`seal of ${text}`) });
    const release = text === 'local' ? undefined : releaseOf(1);
    const key = String(at).padStart(16, '0');
    scripts.push({ key, arch: undefined, loader: 'ipxe', sha256: sha256(bytes), release });
  }
  const rulesBytes = Buffer.from(rules);
  const batch = encodeScriptBatch({ channel: CHANNEL, since: NOW, rules: sha256(rulesBytes), scripts });
  const name = await keepBatch(records, batch, rulesBytes);
  const counter = await nextCounter(state, CHANNEL);
  const snapshot = { ...snapshotOf(counter, releaseOf(1)).snapshot, scripts: name };
  await moveChannel(state, { snapshot, bytes: encodeSnapshot(snapshot), seal: Buffer.from('seal') });
  return name;
}

const there = () => readdirSync(join(state, 'scripts')).sort();
const files = (texts: readonly string[]) =>
  texts.flatMap((text) => [`${sha256(text)}.ipxe`, `${sha256(text)}.ipxe.sig`]);

it('what no channel names any more goes seven days after it was marked, and nothing else', async () => {
  const first = await move(['one', 'two', 'local'], 'old rules');
  const second = await move(['two', 'three']);
  const third = await move(['two', 'four']);
  // Signed, and part of no batch yet.
  await keepSealed(records, 'grub', sha256('waits'), { bytes: Buffer.from('waits'), seal: Buffer.from('x') });
  const all = there();
  const dry = await collectScripts({ state, now: NOW, dryRun: true });
  assert.deepEqual([dry.marked.length, dry.deleted.length], [2, 0]);
  const marked = await collectScripts({ state, now: NOW });
  assert.deepEqual(marked.marked.map((one) => one.sha256).sort(), [first, second].sort());
  const early = await collectScripts({ state, now: NOW + 7 * DAY - 1000 });
  assert.deepEqual([early.waiting.length, early.deleted.length, there()], [2, 0, all]);
  const late = await collectScripts({ state, now: NOW + 7 * DAY });
  assert.deepEqual([late.deleted.length, late.scripts], [2, 2]);
  assert.deepEqual(
    there(),
    [
      `${third}.batch`,
      `${sha256('rules')}.machines`,
      ...files(['two', 'four', 'local']),
      `${sha256('waits')}.cfg`,
      `${sha256('waits')}.cfg.sig`,
    ].sort(),
  );
  const next = await collectScripts({ state, now: NOW + 30 * DAY });
  assert.deepEqual(next, { marked: [], waiting: [], deleted: [], scripts: 0 });
});

it('a channel that comes back to its scripts keeps them, and so does a machine that is armed', async () => {
  const before = await move(['five', 'six']);
  await move(['seven']);
  await collectScripts({ state, now: NOW });
  await move(['five', 'six']);
  const back = await collectScripts({ state, now: NOW + 8 * DAY });
  assert.ok(!back.deleted.some((one) => one.sha256 === before));
  assert.ok(files(['five', 'six']).every((file) => there().includes(file)));
  const arming = {
    id: '0123456789abcdef',
    mac: '52:54:00:12:34:56',
    loader: 'ipxe',
    release: releaseOf(1),
    manifest: sha256('manifest'),
    script: sha256('five'),
    words: [],
    armed: NOW,
    ends: NOW + 3_600_000,
    by: 'test',
    afterwards: 'local',
  } as const;
  await new ArmedBoots(records).add(arming);
  await move(['eight']);
  await collectScripts({ state, now: NOW + 9 * DAY });
  await collectScripts({ state, now: NOW + 17 * DAY });
  assert.deepEqual(
    files(['five', 'six']).filter((file) => there().includes(file)),
    files(['five']),
  );
});
