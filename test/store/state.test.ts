import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { IoError } from '../../src/errors/io.ts';
import { UsageError } from '../../src/errors/usage.ts';
import { demandState, openExistingState, openState } from '../../src/store/state.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { refused } from '../trust/judge.ts';
import { publishTo, putAway, releaseOf, store } from './states.ts';

const folder = await temporaryFolder();
let states = 0;
const newState = () => join(folder, `state-${++states}`);

/** Everything in a state, with its permission bits. */
async function modes(state: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const entry of await readdir(state, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const bits = ((await stat(path)).mode & 0o777).toString(8);
    found.set(path.slice(state.length + 1), `${entry.isDirectory() ? 'folder' : 'file'} ${bits}`);
  }
  return found;
}

for (const umask of [0, 0o077]) {
  it(`under umask ${umask.toString(8).padStart(3, '0')} every folder and file has its own mode`, async () => {
    const state = newState();
    const before = process.umask(umask);
    try {
      const opened = await openState(state);
      await publishTo(state, releaseOf(1));
      await store(state, releaseOf(2));
      await putAway(state, releaseOf(2));
      await opened.release();
    } finally {
      process.umask(before);
    }
    const found = await modes(state);
    const odd = [...found].filter(
      ([name, mode]) =>
        !(/^(private|lock$)/.test(name) ? / [67]00$/ : /^(folder 755|file 644|file 444)$/).test(mode),
    );
    assert.deepEqual(odd, []);
    assert.equal(found.get('releases/arch/2026.11.01/boot/vmlinuz'), 'file 444');
    assert.equal(found.get('channels/stable/1/snapshot'), 'file 444');
    assert.equal(((await stat(state)).mode & 0o777).toString(8), '755');
  });
}

it('a second writer is an I/O fault, not a verdict', async () => {
  const state = newState();
  const opened = await openState(state);
  await assert.rejects(
    openState(state),
    (error) => error instanceof IoError && /is writing to/.test(error.message),
  );
  await opened.release();
  await (await openState(state)).release();
});

it('has a format, and one that is newer is refused by reading and by writing', async () => {
  const state = newState();
  await (await openState(state)).release();
  assert.equal(await readFile(join(state, 'format'), 'utf8'), '1\n');
  await writeFile(join(state, 'format'), '2\n');
  const newer = refused('malformed', /has format 2, and this Bootseal knows 1/);
  await assert.rejects(openState(state), newer);
  await assert.rejects(demandState(state), newer);
  for (const text of ['', '1', '0\n', '01\n', 'one\n', '1\n1\n']) {
    await writeFile(join(state, 'format'), text);
    await assert.rejects(openState(state), refused('malformed', /format/), JSON.stringify(text));
  }
});

it('a folder of something else gets no file of ours', async () => {
  const state = newState();
  await mkdir(join(state, 'releases'), { recursive: true });
  await assert.rejects(openState(state), /^UsageError: .*holds files and no "format"/);
  assert.deepEqual(await readdir(state), ['releases']);
});

it('a folder that is empty, or was left right after the lock was made, becomes a state', async () => {
  const state = newState();
  await mkdir(join(state, 'lost+found'), { recursive: true });
  await writeFile(join(state, 'lock'), '999999999\n');
  await (await openState(state)).release();
  assert.equal(existsSync(join(state, 'channels')), true);
});

it('what only changes a state makes none', async () => {
  const state = newState();
  await assert.rejects(openExistingState(state), UsageError);
  assert.equal(existsSync(state), false);
});

it('the lock is free again where opening fails', async () => {
  const state = newState();
  await (await openState(state)).release();
  await writeFile(join(state, 'private/journal.json'), 'no journal');
  await assert.rejects(openState(state), refused('malformed', /journal\.json is not as it was written/));
  await assert.rejects(openState(state), refused('malformed', /journal\.json/));
});
