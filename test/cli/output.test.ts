import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { asNobody } from '../files/nobody.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { run, start } from './command.ts';
import { runHere } from './here.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const folder = await temporaryFolder();

/** Runs a command in a shell, where `$B` is it. */
function shell(line: string): Promise<{ code: number; err: string }> {
  return ended(inShell(line));
}

/** The same, with a standard output whose reader has gone before it begins. */
async function unread(line: string): Promise<{ code: number; err: string }> {
  const child = inShell(`read -r go; ${line}`);
  child.stdout.destroy();
  await once(child.stdout, 'close');
  child.stdin.end('go\n');
  return ended(child);
}

function inShell(line: string) {
  return spawn('bash', ['-c', line], {
    cwd: folder,
    env: { ...process.env, B: `${process.execPath} ${MAIN}` },
  });
}

async function ended(child: ReturnType<typeof inShell>): Promise<{ code: number; err: string }> {
  let err = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  const [code] = await once(child, 'close');
  return { code, err };
}

describe('standard output that takes nothing is a fault, in one sentence', () => {
  for (const [what, line, code, says] of [
    ['a full disk, for a program', '$B loaders --json >/dev/full', 3, /the disk is full \(ENOSPC\)/],
    ['a full disk, for people', '$B loaders >/dev/full', 3, /the disk is full \(ENOSPC\)/],
    ['a full disk, for a usage error', '$B frobnicate --json >/dev/full', 3, /the disk is full \(ENOSPC\)/],
  ] as const) {
    it(what, async () => {
      const said = await shell(line);
      assert.equal(said.code, code);
      assert.match(said.err, says);
      assert.doesNotMatch(said.err, /\n\s+at |node:internal/);
    });
  }

  it('a closed pipe, for a program', async () => {
    const said = await unread('$B loaders --json');
    assert.equal(said.code, 3);
    assert.match(said.err, /nobody reads it any more \(EPIPE\)\.\n$/);
    assert.doesNotMatch(said.err, /\n\s+at |node:internal/);
  });

  it('but who reads a table no further has read enough', async () => {
    assert.deepEqual(await unread('$B loaders'), { code: 0, err: '' });
  });

  it('and an error stream that takes nothing keeps nobody from ending as he should', async () => {
    assert.equal((await shell('$B frobnicate 2>/dev/full')).code, 2);
  });
});

it('a name that cannot be looked at is an I/O error, not a name that is not there', async () => {
  const locked = join(folder, 'locked');
  await mkdir(join(locked, 'tree'), { recursive: true });
  await chmod(locked, 0o000);
  const said = await asNobody(folder, () => runHere(['seal', `${locked}/tree`, '--keys', folder, '--json']));
  await chmod(locked, 0o700);
  assert.equal(said.code, 3, said.err);
  assert.match(said.err, /tree cannot be read: permission is denied \(EACCES\)\.$/m);
  assert.match((JSON.parse(said.out) as { error: string }).error, /permission is denied/);
});

it('a killed init leaves unfinished keys, which the next one removes and tells of', async () => {
  const place = join(folder, 'place');
  await mkdir(place);
  // Keys that must be made anew take long enough to be in the middle of it.
  const killed = start(['init', 'keys'], { cwd: place, env: { BOOTSEAL_READY_KEYS: '' } });
  await killed.until('err', /making the codesign key/);
  killed.signal('SIGKILL');
  await killed.ended;
  const [draft = ''] = await readdir(place);
  assert.match(draft, /^\.bootseal-keys-.*\.tmp$/);
  const { code, err } = await run(['init', 'keys', '--ecdsa'], { cwd: place });
  assert.equal(code, 0, err);
  assert.ok(err.includes(`removed ${join(place, draft)}: unfinished keys of a command that was killed`), err);
  assert.deepEqual(await readdir(place), ['keys']);
});
