import assert from 'node:assert/strict';
import { cp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { makeKeys } from '../fixtures/keys.ts';
import { KERNEL, ROOTFS, sealFixture, wholeSampleTree } from '../fixtures/release.ts';
import { run, serving } from './command.ts';
import { runHere } from './here.ts';
import { cliSite } from './site.ts';

const site = await cliSite(wholeSampleTree);

/** A copy of the sealed tree with one byte of one file changed. */
async function flipped(name: string, path: string): Promise<string> {
  const tree = join(site.folder, name);
  await cp(site.tree, tree, { recursive: true });
  const bytes = await readFile(join(tree, path));
  const middle = bytes.length >> 1;
  bytes[middle] = (bytes[middle] ?? 0) ^ 1;
  await writeFile(join(tree, path), bytes);
  return tree;
}

/** Where each column of a table begins: every row has a blank before it and none at it. */
function assertAligned(table: readonly string[]): void {
  const [head = ''] = table;
  const columns = [...head.matchAll(/(?<=^| {2})\S/g)].map(({ index }) => index);
  assert.ok(columns.length > 2);
  for (const row of table) {
    for (const column of columns) {
      assert.notEqual(row[column] ?? 'x', ' ', row);
      if (column > 0) assert.equal(row.slice(column - 2, column), '  ', row);
    }
  }
}

describe('verify', () => {
  it('shows a table that lines up, and says "verified" with status 0', async () => {
    const { code, out, err } = await run(['verify', site.tree, '--anchors', site.anchors]);
    assert.deepEqual([code, err], [0, '']);
    const [table = '', machine = '', rest] = out.split('\n\n');
    assertAligned(table.split('\n'));
    assert.equal(table.split('\n').length, 11);
    assertAligned(machine.split('\n'));
    assert.deepEqual(
      machine.split('\n').map((line) => line.split(/ {2,}/)[1]),
      ['verified by', ...Array(2).fill('loader'), 'system'],
    );
    assert.equal(rest, 'VERIFIED: arch/2026.11.01\n');
    assert.doesNotMatch(out, /\u001b/);
  });

  it('names the file, the reason and its code, with status 1', async () => {
    const tree = await flipped('flipped-kernel', KERNEL);
    const { code, out, err } = await run(['verify', tree, '--anchors', site.keys]);
    assert.deepEqual([code, err], [1, '']);
    const row = out.split('\n').find((line) => line.startsWith(`${KERNEL} `));
    assert.deepEqual(row?.split(/ {2,}/), [
      KERNEL,
      'kernel',
      ...Array(3).fill('bad-signature'),
      '–',
      'bad-signature',
      '–',
    ]);
    assert.match(out, new RegExp(`\\n${KERNEL}: .* \\[bad-signature\\]\\n`));
    assert.match(out, /\nREFUSED: [^\n]*\[bad-signature\]\n$/);
  });

  it('says one object with --json, refused or not', async () => {
    const good = JSON.parse((await runHere(['verify', site.tree, '--anchors', site.keys, '--json'])).out);
    assert.deepEqual([good.verified, good.release, good.refusal], [true, 'arch/2026.11.01', undefined]);
    const tree = await flipped('flipped-root', ROOTFS);
    const { code, out, err } = await runHere(['verify', tree, '--anchors', site.keys, '--json']);
    const bad = JSON.parse(out);
    assert.deepEqual([code, bad.verified, bad.refusal.code], [1, false, 'bad-signature']);
    assert.match(err, /^REFUSED: [^\n]*\n$/);
    type File = { path: string; checks: Record<string, { verified: boolean }> };
    const refused = (bad.files as File[]).filter(({ checks }) =>
      Object.values(checks).some(({ verified }) => !verified),
    );
    assert.deepEqual(
      refused.map(({ path }) => path),
      [ROOTFS],
    );
    assert.deepEqual(Object.keys(refused[0]?.checks ?? {}).sort(), [
      'checksum',
      'cms',
      'ipxe',
      'manifest',
      'openpgp',
      'verity',
    ]);
  });

  it('never keeps a refusal to itself, not even with --quiet', async () => {
    const quiet = await run(['verify', site.tree, '--anchors', site.keys, '--quiet']);
    assert.deepEqual(quiet, { code: 0, out: '', err: '' });
    const tree = await flipped('flipped-quiet', ROOTFS);
    const { code, out, err } = await run(['verify', tree, '--anchors', site.keys, '--quiet']);
    assert.deepEqual([code, out], [1, '']);
    assert.match(err, /^REFUSED: [^\n]*\[bad-signature\]\n$/);
  });

  it('judges as of the time it is given', async () => {
    const early = await runHere(['verify', site.tree, '--anchors', site.keys, '--at', '2020-01-01']);
    assert.match(early.out, /\nREFUSED: [^\n]*2020-01-01[^\n]*\[not-yet-valid\]\n$/);
    const later = await runHere([
      'verify',
      site.tree,
      '--anchors',
      site.keys,
      '--at',
      '2050-01-01T00:00:00Z',
    ]);
    assert.match(later.out, /\nREFUSED: [^\n]*\[(expired|stale)\]\n$/);
    assert.deepEqual([early.code, later.code], [1, 1]);
  });

  it('does not take a folder with fewer anchors for fewer checks', async () => {
    const anchors = join(site.folder, 'few');
    await cp(site.anchors, anchors, { recursive: true });
    await rm(join(anchors, 'codesign.crt'));
    const { code, err } = await runHere(['verify', site.tree, '--anchors', anchors]);
    assert.equal(code, 2);
    assert.match(err, /holds no codesign\.crt, so not every seal can be verified\.\n$/);
  });

  it('has colours on a terminal only, and none there for who wants none', async () => {
    const words = ['verify', site.tree, '--anchors', site.anchors];
    const shown = await run(words, { terminal: true });
    assert.match(shown.out, /\u001b\[32mverified\u001b\[0m/);
    for (const env of [{ NO_COLOR: '1' }, { TERM: 'dumb' }]) {
      const plain = await run(words, { terminal: true, env });
      assert.match(plain.out, /verified/);
      assert.doesNotMatch(plain.out, /\u001b/);
    }
  });
});

describe('verify on a terminal', () => {
  it('shows a bar where there is much to read', async () => {
    const tree = join(site.folder, 'much');
    await cp(site.tree, tree, { recursive: true });
    await truncate(join(tree, ROOTFS), 80 * 1024 * 1024);
    await sealFixture(tree, site.keys, { now: Date.now() });
    const { out } = await run(['verify', tree, '--anchors', site.anchors], { terminal: true });
    assert.match(out, /verifying \S+ {2}━+ {2}100% {2}(8\d) MB of \1 MB/);
    assert.match(out, /VERIFIED/);
  });
});

describe('seal on a terminal', () => {
  it('shows a bar that never counts a byte twice', async () => {
    const tree = join(site.folder, 'bar');
    await cp(site.tree, tree, { recursive: true });
    const { out } = await run(['seal', tree, '--keys', site.keys, '--issued', '@1'], { terminal: true });
    const counts = [...out.matchAll(/(\d+)% {2}(\S+ \S+) of (\S+ \S+)/g)];
    assert.ok(counts.length > 0);
    for (const [, percent, done, size] of counts) {
      assert.ok(Number(percent) <= 100);
      assert.ok(
        Number.parseFloat(done ?? '') <= Number.parseFloat(size ?? '') || / k?B$/.test(done ?? ''),
        done,
      );
    }
  });
});

describe('boot', () => {
  it('says what each stage verified, and with --json one object', async (t) => {
    const server = serving(t, [
      'serve',
      '--tree',
      site.tree,
      '--anchors',
      site.keys,
      '--http-port',
      '0',
      '--no-tftp',
      '--no-nbd',
      '--json',
    ]);
    await server.until('out', /\n/);
    const { url } = JSON.parse(server.said.out) as { url: string };
    const words = ['boot', `${url}/boot.ipxe`, '--anchors', site.anchors];

    const people = await run(words);
    assert.equal(people.code, 0, people.err);
    const [table = '', rest] = people.out.split('\n\n');
    assertAligned(table.split('\n'));
    assert.match(rest ?? '', /^VERIFIED: script, kernel, every initrd and the root image\b.*\.\n$/);
    assert.match(people.err, /^early: \| Signature is OK, continue booting\.$/m);
    assert.doesNotMatch(people.out + people.err, /\u001b/);

    const { code, out } = await run([...words, '--json', '--quiet', '--efi', '--mac', '52:54:00:AA:BB:CC']);
    const verdict = JSON.parse(out);
    assert.deepEqual([code, verdict.verified, verdict.loader], [0, true, 'verifying']);
    assert.match(verdict.cmdline, / BOOTIF=01-52-54-00-aa-bb-cc /);
    assert.deepEqual(
      verdict.artifacts.map(({ role }: { role: string }) => role),
      ['script', 'kernel', 'initrd', 'rootfs'],
    );

    const stock = await run(['boot', `${url}/autoexec.ipxe`, '--quiet']);
    assert.deepEqual([stock.code, stock.out], [1, '']);
    assert.match(stock.err, /^REFUSED: [^\n]+\n$/);
  });

  it('tells a server that is not there from one that is not trusted, by its status', async () => {
    // Port 1 (tcpmux): nobody listens there.
    const { code, out } = await run(['boot', 'http://127.0.0.1:1/boot.ipxe', '--anchors', site.anchors]);
    assert.equal(code, 3);
    assert.match(
      out,
      /(^|\n)REFUSED: http:\/\/127\.0\.0\.1:1\/boot\.ipxe\S* [^\n]*ECONNREFUSED[^\n]*\[unreachable\]\n$/,
    );
  });
});

describe('loaders', () => {
  it('says what is installed, and of each what it can verify', async () => {
    const { code, out } = await runHere(['loaders']);
    assert.equal(code, 0);
    const { loaders } = JSON.parse((await runHere(['loaders', '--json'])).out);
    assert.ok(Array.isArray(loaders) && loaders.length > 0);
    for (const { path } of loaders as { path: string }[]) assert.ok(out.includes(`${path}  `), path);
    assert.equal(out.match(/^ {2}verifies {2}/gm)?.length, loaders.length);
  });

  it('says whose GRUB images lie in a folder, by name, and which keys are of another site', async () => {
    const images = join(site.folder, 'images');
    const other = await makeKeys(join(site.folder, 'other'), { now: Date.now() });
    const made = await runHere(['loaders', 'grub', '--anchors', site.anchors, '--out', images]);
    assert.equal(made.code, 0, made.err);
    const ours = await runHere(['loaders', images, '--anchors', site.anchors]);
    assert.equal(ours.out.match(/^ {2}anchors {3}these are of this site$/gm)?.length, 2);
    assert.doesNotMatch(ours.out, /WARNING/);
    const { out } = await runHere(['loaders', images, '--anchors', other]);
    for (const what of ['script', 'payload']) {
      const told = new RegExp(
        `^ {2}WARNING {3}it trusts ${what} key [0-9a-f]{16}, which is not of these anchors$`,
        'gm',
      );
      assert.equal(out.match(told)?.length, 2, out);
    }
    assert.match(out, /bootseal-grub\.0 {2}GRUB \(bootseal-grub\.0\), BIOS, 2\./);
    assert.match(out, /bootseal-grub\.efi {2}GRUB \(bootseal-grub\.efi\), UEFI x86_64, 2\./);
  });

  it('prints the script of a site’s own iPXE, and with --json that script in one object', async () => {
    const words = ['loaders', 'embedded', '--anchors', site.anchors, '--url', 'http://10.0.0.1:8080'];
    const { code, out, err } = await runHere(words);
    assert.deepEqual([code, err], [0, '']);
    assert.match(out, /^#!ipxe\n/);
    assert.match(out, /^imgverify --signer boot\.lab boot\.ipxe bootseal\.seal \|\| goto refuse$/m);
    for (const flags of [
      [...words, '--json'],
      ['loaders', '--json', ...words.slice(1)],
    ]) {
      const { script } = JSON.parse((await runHere(flags)).out);
      assert.equal(`${script.trimEnd()}\n`, out);
    }
  });
});
