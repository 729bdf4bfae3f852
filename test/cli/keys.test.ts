import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { serving } from './command.ts';
import { runHere as run } from './here.ts';
import { cliSite } from './site.ts';

const DAY = 86_400_000;
const { folder, keys, anchors, tree } = await cliSite();
const rotated = join(folder, 'rotated');
const newCa = join(folder, 'new-ca');
const at = (days: number) => `@${Math.floor((Date.now() + days * DAY) / 1000)}`;
const one = (text: string) => {
  const lines = text.trimEnd().split('\n');
  assert.equal(lines.length, 1, text);
  return JSON.parse(lines[0] ?? '');
};

describe('keys rotate', () => {
  it('makes a folder, says what follows what, and what to do next', async () => {
    const { code, out } = await run(['keys', 'rotate', keys, '--only', 'codesign,boot', '--out', rotated]);
    assert.equal(code, 0, out);
    assert.match(out, /^codesign +[0-9a-f]{16} +[0-9a-f]{16} +\d{4}-\d\d-\d\d$/m);
    assert.doesNotMatch(out, /^openpgp/m);
    assert.match(out, /bootseal seal TREE --keys .*rotated/);
    for (const name of ['anchors/successors', 'anchors-after/codesign.crt', 'private/boot.key'])
      assert.ok(existsSync(join(rotated, name)), name);
  });

  it('says all of it in one object with --json', async () => {
    const { code, out } = await run(['keys', 'rotate', keys, '--only', 'ca', '--out', newCa, '--json']);
    assert.equal(code, 0);
    const { keys: made, follows, steps, warnings } = one(out);
    assert.deepEqual([made, follows, warnings], [newCa, keys, []]);
    assert.deepEqual(
      steps.map(({ kind }: { kind: string }) => kind),
      ['ca', 'codesign', 'boot', 'manifest'],
    );
    for (const { from, to, begins, ends } of steps) {
      assert.match(`${from} ${to}`, /^[0-9a-f]{64} [0-9a-f]{64}$/);
      assert.ok(Date.parse(begins) < Date.parse(ends));
    }
  });

  it('overwrites nothing', async () => {
    const { code, err } = await run(['keys', 'rotate', keys, '--out', rotated]);
    assert.equal(code, 2);
    assert.match(err, /rotated is not empty/);
  });

  for (const [name, words, says] of [
    ['a kind that there is not', ['--only', 'codesign,pcr', '--out', join(folder, 'x')], /no key "pcr"/],
    ['no folder to write', [], /--out/],
  ] as const) {
    it(`is a matter of usage with ${name}`, async () => {
      const { code, err } = await run(['keys', 'rotate', keys, ...words]);
      assert.equal(code, 2);
      assert.match(err, says);
    });
  }
});

describe('keys status', () => {
  it('is 0 while nothing is due, and begins with the next end', async () => {
    const { code, out } = await run(['keys', 'status', '--keys', keys, '--tree', tree]);
    assert.equal(code, 0, out);
    assert.match(out, /^Next: \d{4}-\d\d-\d\d, in (89|90) days: bootseal serves arch\/2026\.11\.01 no more/);
    assert.match(out, /^boot \d{4}-\d\d-\d\d: iPXE refuses boot\.ipxe of arch\/2026\.11\.01/m);
  });

  it('is 1 where something in use ends within --warn-days, or has ended', async () => {
    const status = (...words: string[]) =>
      run(['keys', 'status', '--anchors', anchors, '--tree', tree, ...words]);
    const soon = await status('--at', at(65));
    assert.equal(soon.code, 1);
    assert.match(soon.out, /^DUE: 0 of what is in use ended, 1 about to end, 0 not begun\.$/m);
    assert.equal((await status('--at', at(65), '--warn-days', '10')).code, 0);
    const ended = await status('--at', at(195), '--quiet');
    assert.deepEqual([ended.code, ended.out], [1, '']);
    assert.match(ended.err, /DUE: 2 of what is in use ended/);
  });

  it('says all of it in one object with --json', async () => {
    const { code, out } = await run([
      'keys',
      'status',
      '--keys',
      keys,
      '--tree',
      tree,
      '--at',
      at(65),
      '--json',
    ]);
    const { next, due, items, warnDays } = one(out);
    assert.deepEqual([code, due, warnDays, next.kind], [1, 1, 30, 'best-before']);
    assert.equal(items.at(-1).kind, 'openpgp-script');
    assert.equal(items.at(-1).ends, null);
    const ends = items.slice(0, -1).map((item: { ends: string }) => item.ends);
    assert.deepEqual(ends, [...ends].sort());
  });

  for (const [name, words] of [
    ['neither keys nor anchors', []],
    ['both', ['--keys', keys, '--anchors', anchors]],
    ['days that are no number', ['--keys', keys, '--warn-days', 'many']],
    ['a tree that is not there', ['--keys', keys, '--tree', join(folder, 'none')]],
  ] as const) {
    it(`is a matter of usage with ${name}`, async () => {
      const { code } = await run(['keys', 'status', ...words]);
      assert.equal(code, 2);
    });
  }
});

it('seal --also-keys, verify and serve with two --anchors, boot with either: a CA is replaced', async (t) => {
  const sealedFor = await run(['seal', tree, '--keys', keys, '--also-keys', newCa]);
  assert.equal(sealedFor.code, 0, sealedFor.err);
  const alone = await run(['verify', tree, '--anchors', keys]);
  assert.equal(alone.code, 0, alone.out);
  assert.match(alone.out, /boot\.[0-9a-f]{16}\.ipxe was not judged: it is for the loaders of another CA/);
  const both = await run(['verify', tree, '--anchors', keys, '--anchors', newCa]);
  assert.equal(both.code, 0, both.out);
  assert.match(both.out, /^boot\.[0-9a-f]{16}\.ipxe +script +verified/m);
  const state = join(folder, 'state');
  const publish = ['publish', tree, '--channel', 'stable', '--state', state, '--anchors', keys];
  assert.equal((await run([...publish, '--dry-run'])).code, 1);
  const { code, out } = await run([...publish, '--anchors', newCa]);
  assert.equal(code, 0, out);
  const given = [
    '--anchors',
    keys,
    '--anchors',
    newCa,
    '--http-port',
    '0',
    '--no-tftp',
    '--no-nbd',
    '--json',
  ];
  const server = serving(t, ['serve', '--state', state, ...given]);
  const [line] = await server.until('out', /.*\n/);
  const { url } = JSON.parse(line);
  for (const loader of [keys, newCa]) {
    const booted = await run(['boot', `${url}/boot.ipxe`, '--anchors', loader]);
    assert.equal(booted.code, 0, booted.out);
    assert.match(booted.out, /^VERIFIED: /m);
  }
});

it('verify --as takes the anchors of one client', async () => {
  const words = ['verify', tree, '--as', 'ipxe', '--anchors', keys, '--anchors', newCa];
  const { code, err } = await run(words);
  assert.equal(code, 2);
  assert.match(err, /anchors of one CA/);
});
