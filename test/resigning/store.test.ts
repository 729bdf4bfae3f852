import assert from 'node:assert/strict';
import { existsSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { Refusal } from '../../src/errors/refusal.ts';
import { UsageError } from '../../src/errors/usage.ts';
import { decodeManifest } from '../../src/formats/records/manifest.ts';
import { rotateKeys } from '../../src/operations/keys-rotate.ts';
import { restoreRelease } from '../../src/resigning/restore.ts';
import { type ResignStoreRequest, resignStore } from '../../src/resigning/store.ts';
import { readChannel } from '../../src/store/channels.ts';
import { readLogEntries } from '../../src/store/log-proof.ts';
import { readProvenance } from '../../src/store/provenance.ts';
import { writeWithdrawal } from '../../src/store/withdrawals.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { readyKeyPair } from '../fixtures/ready-keys.ts';
import { refused } from '../trust/judge.ts';
import { addReleases, CHANNEL, copyStore, dyingKeys, faultOf, LATER, lost, snapshotOf } from './stores.ts';

const DAY = 86_400_000;
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'), { kind: 'p256' });
const other = await makeKeys(join(folder, 'other'), { kind: 'p256' });
const store = join(folder, 'store');
const IDS = ['lab/2026.11.01', 'lab/2026.11.02', 'lab/2026.11.03', 'plain/2026.11.01'];
const NAMED = 'lab/2026.11.03';
await addReleases(store, join(folder, 'trees'), keys, [
  ...IDS.map((release) => ({ release, named: release === NAMED })),
  { release: 'fetched/2026.11.01', origin: 'https://mirror.example/' },
  { release: 'url/2026.11.01', url: 'http://10.0.0.1:8080' },
]);

let count = 0;
const fresh = () => copyStore(store, join(folder, `state-${++count}`));
const resign = (state: string, more: Partial<ResignStoreRequest> = {}) =>
  resignStore({ state, keys, now: LATER, rsaBits: 2048, ...more });
const manifestOf = (state: string, release: string) =>
  decodeManifest(readFileSync(join(state, 'releases', release, 'release.manifest')));
const acts = async (state: string) => {
  const found: string[] = [];
  await readLogEntries(state, ({ entry }) => void found.push(`${entry.act} ${entry.release}`));
  return found;
};

it('signs every release anew: later dates, the same serial, the same payload files, and the channel follows', async () => {
  const state = fresh();
  const before = snapshotOf(state);
  const kernel = join(state, 'releases', NAMED, 'vmlinuz');
  const { ino, ctimeMs, nlink } = statSync(kernel);
  const old = manifestOf(state, NAMED);
  const { rows, stopped } = await resign(state);
  assert.equal(stopped, undefined);
  assert.deepEqual(
    rows.map(({ release, outcome }) => `${release} ${outcome}`),
    [...IDS, 'fetched/2026.11.01', 'url/2026.11.01']
      .sort()
      .map((release) => `${release} ${release.startsWith('fetched') ? 'countersigned' : 'resigned'}`),
  );
  const manifest = manifestOf(state, NAMED);
  assert.deepEqual(manifest, { ...old, issued: LATER, bestBefore: LATER + 90 * DAY });
  // A server that has it open sees no change: it compares these before and after each response.
  const now = statSync(kernel);
  assert.deepEqual([now.ino, now.ctimeMs, now.nlink], [ino, ctimeMs, nlink]);
  assert.equal((await readChannel(state, CHANNEL))?.snapshot.counter, 2);
  assert.equal(await faultOf(state, [keys], LATER), undefined);
  assert.deepEqual(lost(before, state), []);
  assert.equal(
    existsSync(join(state, 'resign.json')) || existsSync(join(state, 'private/journal.json')),
    false,
  );
  const record = await readProvenance(state, NAMED);
  assert.deepEqual([record?.ingests.length, record?.resigned.length], [1, 1]);
  assert.equal(record?.resigned[0]?.from, record?.ingests[0]?.manifest);
  const earlier = join(state, 'provenance', NAMED, 'earlier', record?.ingests[0]?.manifest ?? '');
  assert.deepEqual(decodeManifest(readFileSync(join(earlier, 'release.manifest'))), old);
  assert.equal((await acts(state)).filter((act) => act === `resign ${NAMED}`).length, 2);
});

it('with the same dates finds everything as it shall be, and writes nothing', async () => {
  const state = fresh();
  await resign(state);
  const before = snapshotOf(state);
  const { rows } = await resign(state, { issued: LATER, now: LATER + DAY });
  assert.deepEqual(new Set(rows.map(({ outcome }) => outcome)), new Set(['kept']));
  assert.deepEqual(snapshotOf(state), before);
});

it('a dry run says what would change and changes nothing', async () => {
  const state = fresh();
  const before = snapshotOf(state);
  const { rows } = await resign(state, { dryRun: true });
  const named = rows.find(({ release }) => release === NAMED);
  assert.deepEqual(named?.changes, [
    ...['boot.ipxe', 'boot.ipxe.sig', 'grub.cfg', 'grub.cfg.sig'],
    ...['release.manifest', 'release.manifest.cms.sig', 'release.manifest.sig'],
    // The payload is as it was, and so are the sums of the folders that it lies in.
    ...['SHA256SUMS', 'SHA256SUMS.gpg'],
  ]);
  assert.deepEqual([named?.outcome, named?.channels], ['resigned', [CHANNEL]]);
  const wrong = await resign(state, { dryRun: true, keys: other });
  assert.deepEqual(new Set(wrong.rows.map(({ outcome }) => outcome)), new Set(['quarantined']));
  assert.deepEqual(snapshotOf(state), before);
});

it('another command line is signed with the same payload; what no manifest may say touches nothing', async () => {
  const state = fresh();
  const only = ['lab/2026.11.01'];
  const { rows } = await resign(state, { only, cmdline: 'quiet splash' });
  assert.deepEqual(
    rows.map(({ outcome }) => outcome),
    ['resigned'],
  );
  assert.deepEqual(manifestOf(state, 'lab/2026.11.01').cmdline, ['quiet', 'splash']);
  assert.match(readFileSync(join(state, 'releases/lab/2026.11.01/boot.ipxe'), 'latin1'), / quiet splash /);
  const before = snapshotOf(state);
  const bad = await resign(state, { cmdline: 'init=/bin/sh' });
  const locals = bad.rows.filter(({ origin }) => origin.origin === 'local');
  assert.deepEqual(
    new Set(locals.map(({ outcome, refusal }) => `${outcome} ${refusal?.code}`)),
    new Set(['refused malformed']),
  );
  assert.deepEqual(lost(before, state), []);
  assert.equal(await faultOf(state, [keys], LATER), undefined);
});

it('a script goes on naming the server that it was sealed for', async () => {
  const state = fresh();
  await resign(state, { only: ['url/2026.11.01'] });
  const script = readFileSync(join(state, 'releases/url/2026.11.01/boot.ipxe'), 'latin1');
  assert.match(script, /http:\/\/10\.0\.0\.1:8080\/releases\/url/);
});

it('a release gets another name: seals for iPXE by it, the channel with it, the old name on record', async () => {
  const state = fresh();
  const before = snapshotOf(state);
  const { rows } = await resign(state, { only: [NAMED], release: 'lab/2026.11.03-final' });
  assert.equal(rows[0]?.outcome, 'resigned');
  assert.ok(rows[0]?.changes.includes('vmlinuz.ipxe.sig'));
  assert.equal(existsSync(join(state, 'releases', NAMED)), false);
  assert.equal(manifestOf(state, 'lab/2026.11.03-final').serial, 2026110300);
  assert.equal((await readChannel(state, CHANNEL))?.snapshot.releases[0]?.release, 'lab/2026.11.03-final');
  assert.equal((await readProvenance(state, 'lab/2026.11.03-final'))?.resigned[0]?.renamed, NAMED);
  assert.equal(await faultOf(state, [keys], LATER), undefined);
  assert.deepEqual(lost(before, state), []);
  const taken = resign(state, { only: ['lab/2026.11.01'], release: 'lab/2026.11.02' });
  await assert.rejects(taken, refused('mixed-releases', /already/));
});

it('a signer that does not answer at the start: nothing is begun', async () => {
  const state = fresh();
  const before = snapshotOf(state);
  const dead = await dyingKeys(keys, join(folder, `dead-${count}`), 0);
  await assert.rejects(resign(state, { keys: dead }), refused('unreachable', /the token is gone/));
  assert.deepEqual(snapshotOf(state), before);
});

it('one that goes away in the middle stops the batch; the same command goes on, and takes back what was put away', async () => {
  const state = fresh();
  const before = snapshotOf(state);
  // One trial, one countersignature, one manifest.
  const dying = await dyingKeys(keys, join(folder, `dying-${count}`), 3);
  const { rows, left, stopped } = await resign(state, { keys: dying });
  assert.deepEqual(
    rows.map(({ outcome }) => outcome),
    ['countersigned', 'resigned', 'quarantined'],
  );
  assert.deepEqual([left, stopped?.code], [3, 'unreachable']);
  const away = join(state, 'quarantine/lab/2026.11.02');
  assert.match(readFileSync(join(away, 'reason.json'), 'utf8'), /the token is gone/);
  await assert.rejects(resign(state, { cmdline: 'quiet' }), refused('mixed-releases', /has not ended/));

  const again = await resign(state, { now: LATER + DAY });
  assert.deepEqual(
    again.rows.map(({ outcome }) => outcome),
    ['kept', 'kept', ...Array(4).fill('resigned')],
  );
  // All by the dates of the first half.
  assert.ok(
    again.rows.every(
      ({ release, origin }) => origin.origin !== 'local' || manifestOf(state, release).issued === LATER,
    ),
  );
  assert.equal(existsSync(away), false);
  assert.equal(await faultOf(state, [keys], LATER), undefined);
  assert.deepEqual(lost(before, state), []);
  const log = await acts(state);
  assert.deepEqual(
    log.filter((act) => act.endsWith('lab/2026.11.02')),
    ['quarantine', 'restore', 'resign'].map((act) => `${act} lab/2026.11.02`),
  );
});

it('a release that a channel names stays in service, marked, while its seals hold; the right keys take the mark off', async () => {
  const state = fresh();
  const only = [NAMED];
  const { rows } = await resign(state, { keys: other, anchors: [keys], only });
  assert.deepEqual(
    rows.map(({ outcome, held }) => [outcome, held]),
    [['quarantined', true]],
  );
  assert.equal(existsSync(join(state, 'quarantine', NAMED, 'reason.json')), true);
  assert.equal(await faultOf(state, [keys], LATER), undefined);
  const again = await resign(state, { only });
  assert.equal(again.rows[0]?.outcome, 'resigned');
  assert.equal(existsSync(join(state, 'quarantine', NAMED)), false);
  assert.deepEqual(
    await acts(state),
    ['quarantine', 'resign', 'resign', 'restore'].map((act) => `${act} ${NAMED}`),
  );
});

it('takes a release back as it is, where its seals hold, and not where they do not', async () => {
  const state = fresh();
  const release = 'lab/2026.11.01';
  await resign(state, { keys: other, only: [release] });
  const request = { state, release, now: LATER };
  await assert.rejects(restoreRelease({ ...request, anchors: [other] }), refused('untrusted-signer'));
  const row = await restoreRelease({ ...request, anchors: [keys] });
  assert.deepEqual([row.outcome, manifestOf(state, release).issued], ['restored', NOW]);
  await assert.rejects(
    restoreRelease({ ...request, anchors: [keys] }),
    (error) => error instanceof UsageError && /not in quarantine/.test(error.message),
  );
});

it('payload that is not what its manifest lists is quarantined with all that lies beside it', async () => {
  const state = fresh();
  const release = 'plain/2026.11.01';
  const kernel = join(state, 'releases', release, 'vmlinuz');
  renameSync(kernel, `${kernel}.aside`);
  writeFileSync(kernel, 'shorter');
  const { rows } = await resign(state, { only: [release] });
  assert.deepEqual([rows[0]?.outcome, rows[0]?.refusal?.code], ['quarantined', 'drifted']);
  assert.equal(existsSync(join(state, 'quarantine', release, 'release/vmlinuz.aside')), true);
});

it('keys that follow by a chain of maps sign, and the record says on whose word', async () => {
  const state = fresh();
  const [mid, last] = [join(folder, 'mid'), join(folder, 'last')];
  await rotateKeys({
    keys,
    out: mid,
    only: ['manifest', 'boot'],
    now: NOW + 1000,
    rsaBits: 2048,
    makeKeyPair: readyKeyPair,
  });
  await rotateKeys({
    keys: mid,
    out: last,
    only: ['manifest', 'boot'],
    now: NOW + 2000,
    rsaBits: 2048,
    makeKeyPair: readyKeyPair,
  });
  const only = ['lab/2026.11.01'];
  const maps = [mid, last].map((at) => join(at, 'anchors/successors'));
  const given = { keys: last, anchors: [keys, mid], only };
  const short = await resign(state, { ...given, successors: [maps[1] ?? ''], dryRun: true });
  assert.equal(short.rows[0]?.refusal?.code, 'absent');
  const { rows } = await resign(state, { ...given, successors: maps });
  assert.deepEqual([rows[0]?.outcome, rows[0]?.key], ['resigned', 'mapped']);
  const record = await readProvenance(state, 'lab/2026.11.01');
  assert.deepEqual(
    record?.resigned[0]?.steps.map(({ kind }) => kind),
    ['manifest', 'manifest', 'boot', 'boot'],
  );
  assert.equal(await faultOf(state, [last, mid, keys], LATER), undefined);
});

it('a record of provenance that somebody wrote into: the release is not touched', async () => {
  const state = fresh();
  const path = join(state, 'provenance/fetched/2026.11.01/record.json');
  writeFileSync(path, readFileSync(path, 'utf8').replace('https://mirror.example/', 'local '));
  const before = snapshotOf(state);
  const { rows } = await resign(state, { only: ['fetched/2026.11.01'] });
  assert.deepEqual([rows[0]?.outcome, rows[0]?.refusal instanceof Refusal], ['refused', true]);
  assert.deepEqual(snapshotOf(state), before);
});

it('a withdrawn release is signed by nobody again, and the others are; that is no fault unless it was asked for', async () => {
  const state = fresh();
  await writeWithdrawal(state, {
    release: 'lab/2026.11.01',
    manifest: '',
    time: NOW,
    reason: 'It eats disks.',
    now: false,
  });
  const before = manifestOf(state, 'lab/2026.11.01');
  const { rows } = await resign(state);
  const row = rows.find(({ release }) => release === 'lab/2026.11.01');
  assert.deepEqual([row?.outcome, row?.refusal?.code], ['withdrawn', 'withdrawn']);
  const { rows: asked } = await resign(state, { only: ['lab/2026.11.01'] });
  assert.deepEqual([asked[0]?.outcome, asked[0]?.refusal?.code], ['refused', 'withdrawn']);
  assert.deepEqual(manifestOf(state, 'lab/2026.11.01'), before);
  assert.equal(rows.filter(({ outcome }) => outcome === 'resigned').length, rows.length - 2);
});
