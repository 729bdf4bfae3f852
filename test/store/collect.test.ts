import assert from 'node:assert/strict';
import { existsSync, lstatSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { link, mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { UsageError } from '../../src/errors/usage.ts';
import { collectObjects } from '../../src/store/collect.ts';
import { objectPath } from '../../src/store/release-store.ts';
import { openState } from '../../src/store/state.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';
import { refused } from '../trust/judge.ts';
import { bringBack, copyOf, publishTo, putAway, releaseOf, sha256, store } from './states.ts';

const DAY = 86_400_000;
const folder = await temporaryFolder();
const ORIGINAL = join(folder, 'original');
await (await openState(ORIGINAL)).release();
for (const number of [1, 2, 3]) await publishTo(ORIGINAL, releaseOf(number));
await putAway(ORIGINAL, releaseOf(2));
age(ORIGINAL, NOW);

const kernel = (release: string) => sha256(`kernel of ${release}`);

/** As if every object had been written then. */
function age(state: string, time: number): void {
  const objects = join(state, 'objects');
  for (const entry of readdirSync(objects, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) utimesSync(join(entry.parentPath, entry.name), time / 1000, time / 1000);
  }
}

let copies = 0;
/** A state out of which somebody took the first release. */
function without(release = releaseOf(1)): string {
  const state = copyOf(ORIGINAL, join(folder, `copy-${++copies}`));
  rmSync(join(state, 'releases', release), { recursive: true, force: true });
  return state;
}

it('deletes what nothing refers to, seven days after it was marked', async () => {
  const state = without();
  const first = await collectObjects({ state, now: NOW });
  assert.deepEqual([first.marked.length, first.deleted.length], [3, 0]);
  assert.ok(existsSync(objectPath(state, kernel(releaseOf(1)))));
  const early = await collectObjects({ state, now: NOW + 7 * DAY - 1000 });
  assert.deepEqual([early.marked.length, early.waiting.length, early.deleted.length], [0, 3, 0]);
  const late = await collectObjects({ state, now: NOW + 7 * DAY });
  assert.equal(late.deleted.length, 3);
  assert.equal(existsSync(objectPath(state, kernel(releaseOf(1)))), false);
  const next = await collectObjects({ state, now: NOW + 30 * DAY });
  assert.deepEqual(next, { marked: [], waiting: [], open: [], deleted: [] });
  // What is in service, and what is in quarantine, has all that it had.
  for (const place of [`releases/${releaseOf(3)}`, `quarantine/${releaseOf(2)}/release`])
    assert.match(readFileSync(join(state, place, 'boot/vmlinuz'), 'utf8'), /^kernel of /);
  await bringBack(state, releaseOf(2));
});

it('a dry run says the same and changes nothing', async () => {
  const state = without();
  const before = readdirSync(state, { recursive: true });
  assert.equal((await collectObjects({ state, now: NOW, dryRun: true })).marked.length, 3);
  assert.deepEqual(readdirSync(state, { recursive: true }), before);
  await collectObjects({ state, now: NOW });
  assert.equal((await collectObjects({ state, now: NOW + 8 * DAY, dryRun: true })).deleted.length, 3);
  assert.ok(existsSync(objectPath(state, kernel(releaseOf(1)))));
});

it('what is wanted again meanwhile stays', async () => {
  const state = without();
  await collectObjects({ state, now: NOW });
  const object = objectPath(state, kernel(releaseOf(1)));
  await mkdir(join(state, 'releases/arch/again'));
  await link(object, join(state, 'releases/arch/again/vmlinuz'));
  assert.equal((await collectObjects({ state, now: NOW + 8 * DAY })).deleted.length, 2);
  assert.ok(existsSync(object));
  // Nobody's again: its seven days begin anew.
  rmSync(join(state, 'releases/arch/again'), { recursive: true });
  const marked = await collectObjects({ state, now: NOW + 9 * DAY });
  assert.deepEqual([marked.marked.length, marked.deleted.length], [1, 0]);
});

it('what a process has open stays until it is closed', async () => {
  const state = without();
  await collectObjects({ state, now: NOW });
  const handle = await open(objectPath(state, kernel(releaseOf(1))), 'r');
  try {
    const found = await collectObjects({ state, now: NOW + 8 * DAY });
    assert.deepEqual(
      [found.open.map(({ sha256: one }) => one), found.deleted.length],
      [[kernel(releaseOf(1))], 2],
    );
  } finally {
    await handle.close();
  }
  assert.equal((await collectObjects({ state, now: NOW + 9 * DAY })).deleted.length, 1);
});

it('what a killed publisher left half-made does not hold objects for ever', async () => {
  const state = without();
  const draft = join(state, 'releases/arch/.bootseal-0123456789abcdef.tmp');
  await mkdir(draft);
  await link(objectPath(state, kernel(releaseOf(1))), join(draft, 'vmlinuz'));
  assert.equal((await collectObjects({ state, now: NOW })).marked.length, 3);
  assert.equal(existsSync(draft), false);
});

it('marks that are not ours are refused, and nothing is deleted by them', async () => {
  const state = without();
  await writeFile(
    join(state, 'collect.json'),
    `{"marked":{"${kernel(releaseOf(1))}":"2020-01-01T00:00:00Z"}}`,
  );
  await assert.rejects(collectObjects({ state, now: NOW }), refused('malformed', /collect\.json/));
  assert.ok(existsSync(objectPath(state, kernel(releaseOf(1)))));
});

it('a folder without a state is a mistake, and stays as it is', async () => {
  const empty = join(folder, 'empty');
  await mkdir(empty);
  await assert.rejects(collectObjects({ state: empty, now: NOW }), UsageError);
  assert.deepEqual(readdirSync(empty), []);
});

it('a publisher writes anew what is nobody’s and older than six days, and takes what is younger or in use', async () => {
  const shared = 'a kernel that two releases have';
  const inode = (state: string) => lstatSync(objectPath(state, sha256(shared))).ino;
  for (const [days, nobodys, anew] of [
    [5, true, false],
    [7, true, true],
    [7, false, false],
  ] as const) {
    const state = copyOf(ORIGINAL, join(folder, `copy-${++copies}`));
    await store(state, releaseOf(7), shared);
    age(state, NOW - days * DAY);
    if (nobodys) rmSync(join(state, 'releases', releaseOf(7)), { recursive: true, force: true });
    const before = inode(state);
    await store(state, releaseOf(8), shared);
    assert.equal(inode(state) !== before, anew, `${days} days, nobody's: ${nobodys}`);
    assert.equal(lstatSync(join(state, 'releases', releaseOf(8), 'boot/vmlinuz')).ino, inode(state));
  }
});

it('a release that has lost a file gets it back, and one that has lost its manifest is not "there already"', async () => {
  const state = copyOf(ORIGINAL, join(folder, `copy-${++copies}`));
  assert.equal(await store(state, releaseOf(3)), false);
  rmSync(join(state, 'releases', releaseOf(3), 'boot'), { recursive: true });
  assert.equal(await store(state, releaseOf(3)), false);
  for (const path of ['boot/vmlinuz', 'boot/vmlinuz.sig'])
    assert.deepEqual(
      readFileSync(join(state, 'releases', releaseOf(3), path)),
      readFileSync(join(ORIGINAL, 'releases', releaseOf(3), path)),
    );
  const kernelOf = join(state, 'releases', releaseOf(3), 'boot/vmlinuz');
  rmSync(kernelOf);
  writeFileSync(kernelOf, 'shorter');
  await assert.rejects(store(state, releaseOf(3)), refused('drifted', /has lost its boot\/vmlinuz/));
  rmSync(join(state, 'releases', releaseOf(1), 'release.manifest'));
  await assert.rejects(store(state, releaseOf(1)), refused('drifted', /has lost its release\.manifest/));
  rmSync(join(state, 'releases', releaseOf(1), 'boot'), { recursive: true });
  writeFileSync(join(state, 'releases', releaseOf(1), 'release.manifest'), 'another');
  await assert.rejects(store(state, releaseOf(1)), refused('mixed-releases'));
});
