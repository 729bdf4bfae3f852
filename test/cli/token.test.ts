import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { promisify } from 'node:util';
import { publish } from '../../src/publish/publish.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { sampleTree, sealFixture } from '../fixtures/release.ts';
import { run } from './command.ts';
import { runHere } from './here.ts';

const shell = promisify(execFile);
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const state = join(folder, 'state');
const tree = await sampleTree(join(folder, 'tree'), keys);
await sealFixture(tree, keys);
await publish({
  channel: 'stable',
  state,
  anchors: join(keys, 'anchors'),
  now: NOW,
  snapshotKey: keys,
  tree,
});

const token = (...words: string[]) => runHere(['token', ...words, '--state', state]);
const listed = async () =>
  JSON.parse((await token('list', '--json')).out).tokens as Record<string, unknown>[];

it('prints a token once, keeps its digest alone, and records that it was made', async () => {
  const { code, out, err } = await token(
    'add',
    'ops',
    '--scope',
    'read',
    '--scope',
    'arm',
    '--expires',
    '90d',
  );
  assert.equal(code, 0);
  assert.match(out, /^bst_[A-Za-z0-9_-]{43}\n$/);
  assert.match(err, /^ops may read, arm, until 20\d\d-/);
  const path = join(state, 'tokens');
  assert.equal((await stat(path)).mode & 0o777, 0o640);
  const kept = await readFile(path, 'utf8');
  assert.ok(!kept.includes(out.slice(4, 40)));
  // sha256sum is the judge of what is kept.
  const { stdout } = await shell('sh', ['-c', 'printf %s "$1" | sha256sum', 'sh', out.trim()]);
  assert.ok(kept.includes(stdout.slice(0, 64)));
  const [first] = await listed();
  assert.deepEqual(
    [first?.name, first?.scopes, first?.ended, Object.keys(first ?? {}).length],
    ['ops', ['read', 'arm'], false, 5],
  );
  const log = await runHere(['log', 'show', '--state', state]);
  assert.match(log.out, /token .*token ops made, for read, arm, until 20\d\d-/);
  assert.ok(!log.out.includes(out.slice(4, 40)));
});

it('prints it in the one object of --json, and never twice the same', async () => {
  const made = async (name: string) =>
    JSON.parse((await token('add', name, '--scope', 'withdraw', '--scope', 'read', '--json')).out);
  const [one, other] = [await made('one'), await made('other')];
  assert.deepEqual([one.name, one.scopes, one.ends], ['one', ['read', 'withdraw'], null]);
  assert.match(one.token, /^bst_[A-Za-z0-9_-]{43}$/);
  assert.notEqual(one.token, other.token);
});

it('revokes: the name is free again, and the log says so', async () => {
  assert.deepEqual(await token('revoke', 'other'), { code: 0, out: 'other is revoked.\n', err: '' });
  assert.ok(!(await listed()).some(({ name }) => name === 'other'));
  const { code, err } = await token('revoke', 'other');
  assert.deepEqual([code, /There is no token other/.test(err)], [2, true]);
  assert.match((await runHere(['log', 'show', '--state', state])).out, /token other revoked/);
  assert.equal((await token('add', 'other', '--scope', 'read', '--expires', '2199-01-01')).code, 0);
  const check = await runHere(['log', 'check', '--state', state, '--allow-waiting']);
  assert.equal(check.code, 0, check.err);
});

it('refuses what cannot be meant, and makes nothing', async () => {
  const before = await readFile(join(state, 'tokens'));
  for (const [words, why] of [
    [['add', 'ops', '--scope', 'read'], /already/],
    [['add', 'x'], /--scope/],
    [['add', 'x', '--scope', 'admin'], /read, arm, assign, channels, withdraw/],
    [['add', 'X y', '--scope', 'read'], /small letters/],
    [['add', '../x', '--scope', 'read'], /small letters/],
    [['add', 'x', '--scope', 'read', '--expires', 'never'], /a time is/],
    [['add', 'x', '--scope', 'read', '--expires', '0d'], /a time is/],
    [['add', 'x', '--scope', 'read', '--expires', '2001-01-01'], /has passed/],
    [['add', 'x', '--scope', 'read', '--quiet'], /printed once/],
  ] as const) {
    const { code, out, err } = await token(...words);
    assert.deepEqual([code, out], [2, ''], words.join(' '));
    assert.match(err, why);
  }
  assert.deepEqual(await readFile(join(state, 'tokens')), before);
  assert.equal((await runHere(['token', 'list', '--state', folder])).code, 2);
});

it('revokes also where the log cannot be written, and says that it could not', async () => {
  const entries = join(state, 'log/entries');
  const { size } = await stat(entries);
  const before = await readFile(entries);
  await truncate(entries, size - 200);
  const { code, out, err } = await token('revoke', 'one');
  assert.equal(code, 1, err);
  assert.equal(out, 'one is revoked.\n');
  assert.match(err, /log/);
  assert.ok(!(await listed()).some(({ name }) => name === 'one'));
  // Nothing is made that is not on record.
  assert.equal((await token('add', 'late', '--scope', 'read')).code, 1);
  assert.ok(!(await listed()).some(({ name }) => name === 'late'));
  await writeFile(entries, before);
});

it('is one of two that two people make at once, or both', async () => {
  const made = await Promise.all(
    ['left', 'right'].map((name) => run(['token', 'add', name, '--scope', 'read', '--state', state])),
  );
  const names = (await listed()).map(({ name }) => name);
  for (const [at, name] of ['left', 'right'].entries())
    assert.equal(names.includes(name), made[at]?.code === 0, made[at]?.err);
  assert.ok(made.some(({ code }) => code === 0));
});
