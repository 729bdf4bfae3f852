import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { sampleTree, sealFixture } from '../fixtures/release.ts';
import { runHere as run } from './here.ts';
import { cliSite } from './site.ts';

const { folder, anchors, tree, keys } = await cliSite();
const state = join(folder, 'state');
const newer = await sampleTree(join(folder, 'newer'), keys);
writeFileSync(join(newer, 'arch/boot/x86_64/vmlinuz-linux'), 'MZ another kernel\0');
await sealFixture(newer, keys, { now: Date.now(), release: 'arch/2026.11.02', serial: 2026110200 });
const key = ['--snapshot-key', keys];
for (const [what, channel] of [
  [tree, 'stable'],
  [tree, 'next'],
  [newer, 'next'],
] as const) {
  const words = ['publish', what, '--channel', channel, '--state', state, '--anchors', anchors, ...key];
  assert.equal((await run(words)).code, 0);
}

describe('what a keyholder does can be done with the key at hand', () => {
  it('channel move: on through the gate, and back on record', async () => {
    const move = (release: string, ...more: string[]) =>
      run(['channel', 'move', 'stable', release, '--state', state, '--anchors', anchors, ...more]);
    const on = await move('arch/2026.11.02', ...key);
    assert.deepEqual([on.code, on.err], [0, '']);
    assert.match(on.out, /^stable → arch\/2026\.11\.02, serial 2026110200: snapshot 2, until /);
    const there = await move('arch/2026.11.02', ...key);
    assert.deepEqual([there.code, there.err], [2, 'stable is at arch/2026.11.02 already.\n']);
    const back = await move('arch/2026.11.01', ...key);
    assert.match(
      back.out,
      /^stable → arch\/2026\.11\.01, serial 2026110100, back from arch\/2026\.11\.02: snapshot 3/,
    );
    // It was there before: to go there again is no step that the gate has not seen.
    const again = await move('arch/2026.11.02', ...key);
    assert.match(
      again.out,
      /^stable → arch\/2026\.11\.02, serial 2026110200, back from arch\/2026\.11\.01: snapshot 4/,
    );
    const { out } = await run(['log', 'show', '--state', state, '-n', '3', '--json']);
    assert.deepEqual(
      JSON.parse(out).entries.map(({ act }: { act: string }) => act),
      ['publish', 'rollback', 'rollback'],
    );
  });

  it('log sign', async () => {
    const of = (...words: string[]) => run([...words, '--state', state]);
    assert.equal((await of('withdraw', 'arch/2026.11.01', '--reason', 'Old.')).code, 0);
    assert.equal((await of('log', 'check')).code, 1);
    const signed = await of('log', 'sign', ...key, '--json');
    const { size, signed: count, entries } = JSON.parse(signed.out);
    assert.deepEqual([signed.code, count, entries.length], [0, 1, 1]);
    assert.match(entries[0], /^entry 6, withdraw of \S+Z: arch\/2026\.11\.01$/);
    assert.equal(size, 7);
    assert.equal((await of('log', 'check')).code, 0);
  });
});

describe('an operator’s mistake is exit 2', () => {
  const socket = join(folder, 'socket');
  for (const [words, why] of [
    [
      ['channel', 'renew', 'stable'],
      /^Name the folder of the state with --state, or a keyholder with --keyholder\.\n$/,
    ],
    [
      ['channel', 'renew', 'stable', '--keyholder', socket, '--state', state],
      /^--state cannot be given with --keyholder: /,
    ],
    [['channel', 'renew', 'stable', '--keyholder', socket, ...key], /^--snapshot-key cannot/],
    [
      ['channel', 'move', 'stable', 'arch/2026.11.02', '--keyholder', socket, '--anchors', anchors],
      /^--anchors cannot/,
    ],
    [
      ['channel', 'rollback', 'stable', 'arch/2026.11.02', '--state', state],
      /^Name what the seals must lead to with --anchors/,
    ],
    [
      ['channel', 'renew', 'stable', '--state', state, '--keyholder-user', 'root'],
      /^--keyholder-user needs --keyholder\.\n$/,
    ],
    [['publish', tree, '--channel', 'stable', '--keyholder', socket, '--dry-run'], /^--dry-run cannot/],
    [
      ['publish', tree, '--channel', 'stable', '--keyholder', socket, '--origin', 'http://a/'],
      /^--origin cannot/,
    ],
    [['publish', tree, '--channel', 'stable', '--anchors', anchors], /^Name the folder of the state/],
    [['publish', tree, '--channel', 'stable', '--state', state], /^Name what the seals must lead to/],
    [['log', 'sign'], /^Name the folder of the state/],
    [
      ['log', 'sign', '--keyholder', socket, '--keyholder-user', 'no-such-user'],
      /^There is no user "no-such-user"/,
    ],
  ] as const) {
    it(words.join(' ').replaceAll(folder, ''), async () => {
      const { code, out, err } = await run(words);
      assert.deepEqual([code, out], [2, '']);
      assert.match(err, why);
    });
  }

  it('a keyholder that is not there is exit 3', async () => {
    const { code, err } = await run(['log', 'sign', '--keyholder', socket]);
    assert.equal(code, 3);
    assert.match(err, /^No keyholder answers at \S+: there is no such socket\.\n$/);
  });
});
