import assert from 'node:assert/strict';
import { cp, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { FolderTree } from '../../src/files/folder-tree.ts';
import { takeIn } from '../../src/mirrors/intake.ts';
import type { IntakeTerms } from '../../src/mirrors/intake-terms.ts';
import { snapshotSigners } from '../../src/mirrors/upstream.ts';
import { renewChannel, rollbackChannel, showChannel } from '../../src/publish/channel.ts';
import { publish } from '../../src/publish/publish.ts';
import { withdrawRelease } from '../../src/publish/withdraw.ts';
import { readChannel } from '../../src/store/channels.ts';
import { readWaiting } from '../../src/store/log-waiting.ts';
import { originOf, readProvenance } from '../../src/store/provenance.ts';
import { readTrustRoots } from '../../src/trust/trust-roots.ts';
import { failed, misused } from '../fixtures/failed.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';
import { KERNEL, ROOTFS } from '../fixtures/release.ts';
import { makeUpstream } from '../fixtures/upstream.ts';

const folder = await temporaryFolder();
const upstream = await makeUpstream(join(folder, 'upstream'));
await upstream.publish('2026.11.01');
await upstream.publish('2026.11.02', { now: NOW + 60_000 });
const LATER = NOW + 120_000;

let mirrors = 0;
async function terms(change: Partial<IntakeTerms> = {}): Promise<IntakeTerms> {
  return {
    state: join(folder, `mirror-${++mirrors}`),
    roots: await readTrustRoots(upstream.anchors),
    snapshotSigners: await snapshotSigners(upstream.anchors, undefined),
    origin: 'https://upstream.example/',
    now: LATER,
    ...change,
  };
}

/** The upstream's snapshot with this counter. */
async function snapshotOf(counter: number, state = upstream.state) {
  const at = join(state, 'channels/stable', String(counter));
  const [bytes, seal] = await Promise.all(
    ['snapshot', 'snapshot.cms.sig'].map((name) => readFile(join(at, name))),
  );
  assert.ok(bytes && seal);
  return { channel: 'stable', bytes, seal };
}

const treesOf = (...versions: string[]) =>
  new Map(
    versions.map((version) => [
      `arch/${version}`,
      new FolderTree(join(upstream.state, `releases/arch/${version}`)),
    ]),
  );

it('a snapshot and its release come in: the bytes, the seal and the counter of the upstream', async () => {
  const to = await terms();
  const snapshot = await snapshotOf(2);
  const result = await takeIn(to, { snapshot, trees: treesOf('2026.11.02') });
  assert.equal(result.refusal, undefined);
  assert.deepEqual(
    result.rows.map(({ release, outcome }) => [release, outcome]),
    [['arch/2026.11.02', 'stored']],
  );
  const stored = await readChannel(to.state, 'stable');
  assert.deepEqual(stored && Buffer.from(stored.bytes), snapshot.bytes);
  assert.equal(stored?.snapshot.counter, 2);
  for (const path of [KERNEL, ROOTFS, `${ROOTFS}.sig`, 'release.manifest', 'boot.ipxe.sig']) {
    assert.deepEqual(
      await readFile(join(to.state, 'releases/arch/2026.11.02', path)),
      await readFile(join(upstream.state, 'releases/arch/2026.11.02', path)),
    );
  }
  // Its own readers take it, and nobody made a key.
  assert.equal((await showChannel({ ...to, channel: 'stable' })).refusal, undefined);
  assert.deepEqual(await readdir(join(to.state, 'private')), []);
  // On record: where it came from, and an entry that waits for whoever has a key.
  assert.equal(originOf(await readProvenance(to.state, 'arch/2026.11.02')).origin, to.origin);
  const entries: string[] = [];
  await readWaiting(to.state, ({ act, release, counter, origin }) =>
    entries.push([act, release, counter, origin].join(' ')),
  );
  assert.deepEqual(entries, [`pull arch/2026.11.02 2 ${to.origin}`]);
  // Again: nothing is new, nothing is read, nothing is logged.
  const again = await takeIn(to, { snapshot, trees: new Map() });
  assert.deepEqual([again.moved, again.rows[0]?.outcome, again.refusal], [false, 'kept', undefined]);
  assert.equal((await readWaiting(to.state)).count, 1);
});

it('an older snapshot is refused, however fresh it is, and the channel stays', async () => {
  const to = await terms();
  await takeIn(to, { snapshot: await snapshotOf(2), trees: treesOf('2026.11.02') });
  await assert.rejects(
    takeIn(to, { snapshot: await snapshotOf(1), trees: treesOf('2026.11.01') }),
    failed('rolled-back', /has counter 1; 2 was seen before/),
  );
  assert.equal((await readChannel(to.state, 'stable'))?.snapshot.counter, 2);
  await assert.rejects(readdir(join(to.state, 'releases/arch/2026.11.01')));
  assert.match(
    await readFile(join(to.state, 'log/entries'), 'utf8'),
    /^act refuse$[\s\S]*^refusal rolled-back$/m,
  );
});

it('a snapshot that ended, by another key or of another channel is refused', async () => {
  const snapshot = await snapshotOf(2);
  const trees = treesOf('2026.11.02');
  await assert.rejects(
    takeIn(await terms({ now: NOW + 8 * 86_400_000 }), { snapshot, trees }),
    failed('stale', /expired on 2026-11-08/),
  );
  await assert.rejects(
    takeIn(await terms(), { snapshot: { ...snapshot, channel: 'testing' }, trees }),
    failed('mixed-releases', /of stable stands in the place of testing/),
  );
  const other = await makeUpstream(join(folder, 'other'));
  const theirs = await snapshotSigners(other.anchors, undefined);
  await assert.rejects(
    takeIn(await terms({ snapshotSigners: theirs }), { snapshot, trees }),
    failed('untrusted-signer'),
  );
});

it('what the upstream went back to on purpose is followed; an older serial without that word is not', async () => {
  const site = await makeUpstream(join(folder, 'back'));
  await site.publish('2026.11.01');
  await site.publish('2026.11.02', { now: NOW + 1000 });
  const { state, anchors, keys } = site;
  const given = { channel: 'stable', state, anchors, snapshotKey: keys };
  await rollbackChannel({ ...given, release: 'arch/2026.11.01', now: NOW + 2000 });
  await renewChannel({ ...given, now: NOW + 3000 });
  const treeOf = (version: string) =>
    new Map([[`arch/${version}`, new FolderTree(join(state, `releases/arch/${version}`))]]);
  const to = await terms({
    roots: await readTrustRoots(anchors),
    snapshotSigners: await snapshotSigners(anchors, undefined),
  });
  await takeIn(to, { snapshot: await snapshotOf(2, state), trees: treeOf('2026.11.02') });
  // The renewal says no more that it went back; who saw the step before knows.
  await assert.rejects(
    takeIn(to, { snapshot: await snapshotOf(4, state), trees: treeOf('2026.11.01') }),
    failed('rolled-back', /say --back-to arch\/2026\.11\.01/),
  );
  const back = await takeIn(to, { snapshot: await snapshotOf(3, state), trees: treeOf('2026.11.01') });
  assert.deepEqual([back.refusal, back.snapshot?.releases[0]?.rollbackFrom], [undefined, 'arch/2026.11.02']);
  const renewed = await takeIn(to, { snapshot: await snapshotOf(4, state), trees: new Map() });
  assert.deepEqual([renewed.refusal, renewed.moved, renewed.snapshot?.counter], [undefined, true, 4]);
  // Who never saw it is told how to follow.
  const late = { ...to, state: join(folder, 'late') };
  await takeIn(late, { snapshot: await snapshotOf(2, state), trees: treeOf('2026.11.02') });
  const told = await takeIn(
    { ...late, back: ['arch/2026.11.01'] },
    { snapshot: await snapshotOf(4, state), trees: treeOf('2026.11.01') },
  );
  assert.deepEqual([told.refusal, told.moved], [undefined, true]);
});

it('one flipped byte, and nothing is kept', async () => {
  for (const path of [ROOTFS, `${ROOTFS}.sig`, 'boot.ipxe', 'release.manifest.cms.sig']) {
    const to = await terms();
    const tree = join(folder, `flipped-${mirrors}`);
    await cp(join(upstream.state, 'releases/arch/2026.11.02'), tree, { recursive: true });
    const bytes = await readFile(join(tree, path));
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    await writeFile(join(tree, path), bytes, { flag: 'r+' });
    const result = await takeIn(to, {
      snapshot: await snapshotOf(2),
      trees: new Map([['arch/2026.11.02', new FolderTree(tree)]]),
    });
    assert.equal(result.rows[0]?.outcome, 'refused', path);
    assert.ok(result.refusal, path);
    assert.deepEqual(await readdir(join(to.state, 'releases')), [], path);
    assert.equal(await readChannel(to.state, 'stable'), undefined, path);
    assert.equal((await readWaiting(to.state)).count, 1, path);
  }
});

it('somebody else’s release under this name, and one that nobody brought, are refused', async () => {
  const to = await terms();
  const snapshot = await snapshotOf(2);
  const older = new FolderTree(join(upstream.state, 'releases/arch/2026.11.01'));
  const mixed = await takeIn(to, { snapshot, trees: new Map([['arch/2026.11.02', older]]) });
  assert.match(mixed.refusal?.message ?? '', /not what was named: it is arch\/2026\.11\.01/);
  assert.equal(mixed.refusal?.code, 'mixed-releases');
  const none = await takeIn(to, { snapshot, trees: new Map() });
  assert.equal(none.refusal?.code, 'absent');
});

it('a release alone comes in, and no channel moves', async () => {
  const to = await terms();
  const result = await takeIn(to, { trees: treesOf('2026.11.01') });
  assert.deepEqual(
    [result.refusal, result.snapshot, result.rows[0]?.outcome],
    [undefined, undefined, 'stored'],
  );
  assert.ok((await readdir(join(to.state, 'releases/arch/2026.11.01'))).includes('release.manifest'));
});

it('what this site withdrew stays out, whatever the upstream names', async () => {
  const to = await terms();
  await takeIn(to, { trees: treesOf('2026.11.02') });
  await withdrawRelease({ ...to, release: 'arch/2026.11.02', reason: 'It loses data.', cutRunning: false });
  await assert.rejects(
    takeIn(to, { snapshot: await snapshotOf(2), trees: new Map() }),
    failed('withdrawn', /It loses data/),
  );
});

it('a state that moves its own channels, or follows another, is no mirror of this one', async () => {
  const own = join(folder, 'own');
  const tree = await upstream.seal('2026.11.03');
  await publish({ tree, channel: 'stable', state: own, anchors: upstream.anchors, now: NOW, rsaBits: 2048 });
  const snapshot = await snapshotOf(2);
  await assert.rejects(
    takeIn(await terms({ state: own }), { snapshot, trees: new Map() }),
    misused(/moves its channels by a key of its own/),
  );
  const to = await terms();
  await takeIn(to, { snapshot, trees: treesOf('2026.11.02') });
  const other = await makeUpstream(join(folder, 'third'));
  await assert.rejects(
    takeIn(
      { ...to, snapshotSigners: await snapshotSigners(other.anchors, undefined) },
      { snapshot, trees: new Map() },
    ),
    misused(/follows another upstream/),
  );
});
