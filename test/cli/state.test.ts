import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { sampleTree, sealFixture } from '../fixtures/release.ts';
import { runHere as run } from './here.ts';
import { cliSite } from './site.ts';

const { folder, anchors, tree, keys } = await cliSite();
const state = join(folder, 'state');
const next = await sampleTree(join(folder, 'next'), keys);
writeFileSync(join(next, 'arch/boot/x86_64/vmlinuz-linux'), 'MZ another kernel\0');
await sealFixture(next, keys, { now: Date.now(), release: 'arch/2026.11.02', serial: 2026110200 });
const publish = (what: string, channel: string, ...more: string[]) =>
  run(['publish', what, '--channel', channel, '--state', state, '--anchors', anchors, ...more]);
const of = (...words: string[]) => run([...words, '--state', state]);

describe('a snapshot key', () => {
  it('is made by the first publish alone', async () => {
    assert.equal((await publish(tree, 'stable', '--snapshot-key', keys)).code, 0);
    const before = await readFile(join(state, 'anchors/snapshot.crt'), 'utf8');
    const needed = / has no snapshot key of its own: name .* with --snapshot-key\.\n$/;
    for (const words of [
      ['publish', next, '--channel', 'stable', '--anchors', anchors],
      ['channel', 'renew', 'stable'],
      ['channel', 'rollback', 'stable', 'arch/2026.10.01', '--anchors', anchors],
    ]) {
      const { code, err } = await of(...words);
      assert.equal(code, 2, words.join(' '));
      assert.match(err, needed);
    }
    assert.equal(await readFile(join(state, 'anchors/snapshot.crt'), 'utf8'), before);
    await assert.rejects(readFile(join(state, 'private/snapshot.key')));
  });
});

describe('channel list', () => {
  it('is a row for each, with its verdict', async () => {
    assert.equal((await publish(next, 'stable', '--snapshot-key', keys)).code, 0);
    assert.equal((await publish(tree, 'old', '--snapshot-key', keys)).code, 0);
    const { code, out } = await of('channel', 'list');
    assert.equal(code, 0);
    assert.match(out, /^old +x86_64 +arch\/2026\.11\.01 +2026110100 +1 +\S+Z +verified$/m);
    assert.match(out, /^stable +x86_64 +arch\/2026\.11\.02 +2026110200 +2 +\S+Z +verified$/m);
    const json = JSON.parse((await of('channel', 'list', '--json')).out);
    assert.deepEqual(
      json.channels.map(({ channel, verified, snapshot }: never) => [
        channel,
        verified,
        (snapshot as { releases: { release: string }[] }).releases[0]?.release,
      ]),
      [
        ['old', true, 'arch/2026.11.01'],
        ['stable', true, 'arch/2026.11.02'],
      ],
    );
  });
});

describe('what an operator may get wrong is exit 2, and changes nothing', () => {
  const words: [string, string[], RegExp][] = [
    ['a channel that there is not', ['channel', 'show', 'stabel'], /There is no channel stabel in /],
    ['one to renew', ['channel', 'renew', 'stabel'], /There is no channel stabel in /],
    ['a channel that can be none', ['channel', 'show', '../stable'], /a channel is small letters/],
    [
      'a release that was never published',
      ['channel', 'rollback', 'stable', 'arch/2020.01.01', '--anchors', anchors, '--snapshot-key', keys],
      /never published/,
    ],
    [
      'a release that can be none',
      ['channel', 'rollback', 'stable', 'arch', '--anchors', anchors],
      /a release is NAME\/VERSION/,
    ],
    ['a withdrawal of one', ['withdraw', 'arch/2020.01.01', '--reason', 'x'], /was never published there/],
    [
      'a withdrawal without a reason',
      ['withdraw', 'arch/2026.11.01', '--reason', ' '],
      /A reason is one line/,
    ],
    [
      'a reason that a terminal obeys',
      ['withdraw', 'arch/2026.11.01', '--reason', '\u001b[2J'],
      /A reason is one line/,
    ],
    [
      'a counter that is none',
      ['state', 'restore', '--after', '0', '--checkpoint', anchors],
      /a counter is a whole number/,
    ],
  ];
  for (const [name, line, why] of words) {
    it(name, async () => {
      const { code, err } = await of(...line);
      assert.equal(code, 2, err);
      assert.match(err, why);
    });
  }

  it('a folder without a state', async () => {
    const empty = join(folder, 'empty');
    await mkdir(empty);
    for (const line of [
      ['channel', 'list'],
      ['channel', 'renew', 'stable'],
      ['withdraw', 'arch/2026.11.01', '--reason', 'x'],
      ['state', 'collect'],
    ]) {
      const { code, err } = await run([...line, '--state', empty]);
      assert.deepEqual([code, /There is no state in /.test(err)], [2, true], err);
    }
    assert.deepEqual(await readdir(empty), []);
  });
});

describe('keys status', () => {
  it('finds in a state what it holds itself', async () => {
    const { code, out } = await of('keys', 'status', '--json');
    assert.ok(code === 0 || code === 1);
    const kinds = new Set(JSON.parse(out).items.map(({ kind }: { kind: string }) => kind));
    for (const kind of ['ca', 'boot', 'release', 'best-before', 'snapshot', 'snapshot key'])
      assert.ok(kinds.has(kind), kind);
  });
});

describe('withdraw', () => {
  it('ends every way of a release, on record', async () => {
    const { code, out } = await of(
      'withdraw',
      'arch/2026.11.01',
      '--reason',
      'It eats disks.',
      '--snapshot-key',
      keys,
    );
    assert.equal(code, 0);
    assert.match(out, /^arch\/2026\.11\.01 is withdrawn: new boots end\.\nold still names it/);
    const no = /withdrawn on \d{4}-\d\d-\d\d: It eats disks\./;
    for (const line of [
      ['channel', 'rollback', 'stable', 'arch/2026.11.01', '--anchors', anchors],
      ['channel', 'renew', 'old'],
      ['publish', tree, '--channel', 'fresh', '--anchors', anchors],
    ]) {
      const refused = await of(...line, '--snapshot-key', keys, '--json');
      assert.equal(refused.code, 1, refused.out);
      assert.match(refused.out + refused.err, no, line.join(' '));
    }
    const listed = await of('channel', 'list');
    assert.equal(listed.code, 1);
    assert.match(listed.out, /^old .* withdrawn$/m);
    const shown = await of('log', 'show', '--act', 'withdraw');
    assert.match(shown.out, /withdraw +arch\/2026\.11\.01 +– +It eats disks\. \[withdrawn\]/);
  });

  it('is said once, and may be made harder', async () => {
    const again = await of('withdraw', 'arch/2026.11.01', '--reason', 'Another.', '--json');
    assert.deepEqual(
      [again.code, JSON.parse(again.out).changed, JSON.parse(again.out).reason],
      [0, false, 'It eats disks.'],
    );
    const harder = await of('withdraw', 'arch/2026.11.01', '--reason', 'Another.', '--now', '--json');
    assert.deepEqual([JSON.parse(harder.out).changed, JSON.parse(harder.out).now], [true, true]);
    const { entries } = JSON.parse((await of('log', 'show', '--act', 'withdraw', '--json')).out);
    assert.equal(entries.length, 2);
  });
});

describe('state collect', () => {
  it('says what it marked', async () => {
    await rm(join(state, 'releases/arch/2026.11.01'), { recursive: true });
    const dry = JSON.parse((await of('state', 'collect', '--dry-run', '--json')).out);
    assert.ok(dry.marked.length > 0);
    await assert.rejects(readFile(join(state, 'collect.json')));
    const { code, out } = await of('state', 'collect');
    assert.equal(code, 0);
    assert.match(out, new RegExp(`^marked +${dry.marked.length} .* they may go in 7 days$`, 'm'));
    assert.match((await of('state', 'collect')).out, /^marked before +[1-9]/m);
  });
});
