import assert from 'node:assert/strict';
import { readdirSync, rmSync, symlinkSync } from 'node:fs';
import { mkdir, readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { misses, must, UNTOUCHED } from '../../src/conformance/tamper/attack.ts';
import { judge } from '../../src/conformance/tamper/matrix.ts';
import { COLUMNS } from '../../src/conformance/tamper/matrix-columns.ts';
import { type MatrixCell, type MatrixRow, type TamperOptions, tamper } from '../../src/conformance/tamper.ts';
import { initrd, keyFiles } from '../emulator/early/release.ts';
import { failed, misused } from '../fixtures/failed.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { overlayOf } from '../fixtures/overlay.ts';
import { INITRD, KERNEL, ROOTFS, sampleTree, sealFixture } from '../fixtures/release.ts';

const folder = await temporaryFolder();
// What tamper leaves behind would be found here.
process.env.TMPDIR = join(folder, 'tmp');
await mkdir(process.env.TMPDIR);

async function sample(name: string, kind: 'rsa' | 'p256'): Promise<{ tree: string; keys: string }> {
  const keys = await makeKeys(join(folder, `${name}-keys`), { kind });
  const tree = await sampleTree(join(folder, name), keys);
  await sealFixture(tree, keys);
  return { tree, keys };
}

const small = await sample('small', 'rsa');

function tried(more: Partial<TamperOptions> = {}) {
  return tamper({ ...small, now: NOW, ...more });
}

/** Every file of a tree, with what a server that pinned it would compare. */
async function identities(tree: string): Promise<unknown> {
  const names = await readdir(tree, { recursive: true });
  return Promise.all(
    names.sort().map(async (name) => {
      const { ino, size, mtimeNs, ctimeNs, nlink } = await stat(join(tree, name), { bigint: true });
      return [name, ino, size, mtimeNs, ctimeNs, nlink];
    }),
  );
}

function textOf(cell: MatrixCell | undefined): string {
  if (!cell) return '–';
  return cell.outcome === 'not-caught' ? 'not caught' : (cell.code ?? cell.outcome);
}

describe('the matrix', () => {
  let rows: readonly MatrixRow[] = [];

  it('holds in every cell, and leaves the tree and the temporary folder as they were', async () => {
    const before = await identities(small.tree);
    const seen: number[] = [];
    const result = await tried({ onRow: (_, done, all) => seen.push(all - done) });
    rows = result.rows;
    assert.deepEqual(result.deviations, []);
    assert.deepEqual(await identities(small.tree), before);
    assert.deepEqual(await readdir(join(folder, 'tmp')), []);
    assert.equal(seen.length, rows.length);
    assert.equal(seen.at(-1), 0);
  });

  it('has a row for each attack, and in each row somebody who was asked', () => {
    const names = rows.map(({ attack }) => attack);
    assert.ok(names.length > 200);
    assert.equal(new Set(names).size, names.length);
    for (const { attack, cells } of rows) assert.ok(Object.keys(cells).length > 0, attack);
  });

  it('has rows for each attack of TUF’s list that a release can show', () => {
    assert.deepEqual([...new Set(rows.map(({ tuf }) => tuf))].sort(), [
      'arbitrary software',
      'endless data',
      'extraneous dependencies',
      'fast-forward',
      'freeze',
      'key compromise',
      'mix-and-match',
      'rollback',
      'wrong software',
    ]);
  });

  it('never says verified where a must would be missed: each attack but a few has somebody who refuses', () => {
    const missed = rows
      .filter(({ cells }) => Object.values(cells).every(({ outcome }) => outcome !== 'refused'))
      .map(({ attack }) => attack);
    assert.deepEqual(missed, [
      'boot.ipxe: armed for this machine, and ended an hour ago',
      'snapshot: older and in its time, to a reader who has seen none',
      'snapshot: with a counter far ahead',
    ]);
  });

  it('is the one in docs/tamper.md, but for bytes whose meaning is a matter of luck', async () => {
    const [, table = ''] = /```\n(attack .*?)\n\n/s.exec(await readFile('docs/tamper.md', 'utf8')) ?? [];
    const documented = table.split('\n').map((line) => line.replace(/ \(\d+\)/g, '').split(/ {2,}/));
    const luck = /middle byte flipped$|\.sha512: |\.roothash: /;
    const settled = (lines: readonly (readonly string[])[]) =>
      lines.filter(([name = '']) => !luck.test(name)).map((line) => line.join(' | '));
    const printed = rows.map(({ attack, cells }) => [
      attack,
      ...COLUMNS.map((column) => textOf(cells[column])),
    ]);
    assert.deepEqual(settled(documented.slice(1)), settled(printed));
    assert.deepEqual(
      documented.slice(1).map(([name]) => name),
      printed.map(([name]) => name),
    );
  });

  it('holds for keys on P-256', async () => {
    const other = await sample('curve', 'p256');
    const { rows: others, deviations } = await tried(other);
    assert.deepEqual(deviations, []);
    // ECDSA with SHA-1 is no form that our encoder writes.
    const names = new Set(others.map(({ attack }) => attack));
    assert.deepEqual(
      rows.map(({ attack }) => attack).filter((name) => !names.has(name)),
      ['root image: CMS with SHA-1'],
    );
  });
});

it('a tree whose root image does not end with a whole block has no hash tree, and no rows of one', async () => {
  const tree = await sampleTree(join(folder, 'odd'), small.keys);
  await truncate(join(tree, ROOTFS), 20_000);
  const { manifest } = await sealFixture(tree, small.keys);
  const { rows, deviations } = await tried({ tree, attack: 'missing' });
  assert.deepEqual(deviations, []);
  for (const { path } of manifest.files) assert.ok(rows.some(({ attack }) => attack === `${path}: missing`));
  assert.ok(!rows.some(({ attack }) => /verity|roothash/.test(attack)));
});

describe('a deviation', () => {
  it('is what comes of anchors that trust the stranger', async () => {
    const stranger = await makeKeys(join(folder, 'stranger'));
    const anchors = join(folder, 'gullible');
    await mkdir(anchors);
    for (const name of await readdir(join(small.keys, 'anchors'))) {
      const both = [small.keys, stranger].map((keys) => readFile(join(keys, 'anchors', name)));
      await writeFile(join(anchors, name), Buffer.concat(await Promise.all(both)));
    }
    const { rows, deviations } = await tried({ anchors, stranger, attack: 'by a stranger’s CA of our name' });
    assert.equal(rows.length, 2);
    assert.deepEqual(
      deviations.map(({ attack, column, outcome }) => `${attack}: ${column} ${outcome}`),
      ['kernel', 'boot.ipxe'].flatMap((what) =>
        ['ipxe', 'ipxe-efi', 'manifest', 'tree'].map(
          (column) => `${what} sealed by a stranger’s CA of our name: ${column} not-caught`,
        ),
      ),
    );
    assert.match(deviations[0]?.deviation ?? '', /^it must refuse with untrusted-signer, and did not$/);
  });

  const refused = { kind: 'refused', code: 'absent', message: 'It is not there.' } as const;
  const verified = { kind: 'verified' } as const;
  for (const [what, cell, wanted] of [
    [
      'a breakdown, even where a refusal is due',
      judge(must('absent'), { kind: 'crashed', message: 'TypeError' }, true),
      /broke down: TypeError/,
    ],
    [
      'a refusal for another reason',
      judge(must('expired'), refused, true),
      /must refuse with expired: It is not there/,
    ],
    [
      'a yes where a refusal is due',
      judge(must('expired', 'stale'), verified, true),
      /must refuse with expired or stale, and did not/,
    ],
    [
      'a refusal by whoever cannot tell',
      judge(misses('it has no clock'), refused, true),
      /should not be able to tell/,
    ],
    ['a refusal of what nobody touched', judge(UNTOUCHED, refused, false), /refuses what nobody touched/],
    ['a yes over something touched', judge(UNTOUCHED, verified, true), /read what was changed, and went on/],
  ] as const) {
    it(`is ${what}`, () => assert.match(cell.deviation ?? '', wanted));
  }

  it('is nothing that is as it must be', () => {
    assert.deepEqual(judge(must('absent'), refused, true), {
      outcome: 'refused',
      code: 'absent',
      message: refused.message,
    });
    assert.deepEqual(judge(misses('it has no clock', 'absent'), refused, true).deviation, undefined);
    assert.deepEqual(judge(misses('it has no clock'), verified, true), {
      outcome: 'not-caught',
      why: 'it has no clock',
    });
    assert.deepEqual(judge(misses('it has no clock'), verified, false), { outcome: 'verified' });
    assert.deepEqual(judge(UNTOUCHED, verified, false), { outcome: 'verified' });
  });
});

it('an initramfs without keys for records, as archiso makes it, holds nothing against the manifest: no column', async () => {
  const tree = await sampleTree(join(folder, 'archiso'), small.keys);
  const {
    'bootseal/manifest.crt': _,
    'bootseal/manifest.gpg': __,
    ...asArchiso
  } = await keyFiles(small.keys);
  await writeFile(join(tree, INITRD), initrd(asArchiso));
  await sealFixture(tree, small.keys);
  const { rows, deviations } = await tried({ tree, attack: 'first byte flipped' });
  assert.deepEqual(deviations, []);
  assert.ok(rows.length > 10);
  for (const { cells } of rows) assert.equal(cells.manifest, undefined);
  assert.ok(rows.some(({ cells }) => cells.archiso?.outcome === 'refused'));
});

describe('nothing is tried', () => {
  it('on a tree with an overlay, whose early userspace the matrix does not know', async () => {
    const tree = await sampleTree(join(folder, 'overlaid'), small.keys);
    await writeFile(join(tree, 'bootseal-overlay.img'), await overlayOf(small.keys));
    await sealFixture(tree, small.keys);
    await assert.rejects(tried({ tree }), misused(/has an overlay/));
  });

  it('on a tree that is refused before anybody touched it', async () => {
    const broken = await sample('broken', 'rsa');
    await writeFile(join(broken.tree, ROOTFS), 'another image');
    await assert.rejects(tried(broken), { name: 'Refusal', code: 'bad-signature' });
  });

  it('with keys that did not seal the tree', async () => {
    const keys = await makeKeys(join(folder, 'other-keys'));
    await assert.rejects(tried({ keys }), { name: 'Refusal', code: 'untrusted-signer' });
  });

  it('where no attack bears the name', async () => {
    await assert.rejects(tried({ attack: 'no such thing' }), misused(/has "no such thing" in its name/));
    assert.deepEqual(await readdir(join(folder, 'tmp')), []);
  });
});

it('what the caller throws on the way ends the run, and leaves nothing behind', async () => {
  let calls = 0;
  const onProgress = () => {
    calls += 1;
    if (calls > 50) throw new Error('enough');
  };
  await assert.rejects(tried({ onProgress }), { message: 'enough' });
  assert.deepEqual(await readdir(join(folder, 'tmp')), []);
});

it('a file that cannot be read on the way ends the run: it is no client’s breakdown, and nothing is left', async () => {
  const tmp = join(folder, 'tmp');
  const onRow = () => {
    const [work = ''] = readdirSync(tmp);
    const kernel = join(tmp, work, 'copy', KERNEL);
    rmSync(kernel, { force: true });
    // Whoever follows it never arrives; root does not either.
    symlinkSync(kernel, kernel);
  };
  await assert.rejects(
    tried({ onRow, attack: 'boot.ipxe: ' }),
    failed('ELOOP', /vmlinuz-linux cannot be read/),
  );
  assert.deepEqual(await readdir(tmp), []);
});
