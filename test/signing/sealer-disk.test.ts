import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { cp, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { verify } from '../../src/conformance/verify.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { sealFixture } from '../fixtures/release.ts';
import { changed, look, sealNames, stockToolTakes } from './judges.ts';
import { ARTIFACTS, smallTree } from './trees.ts';

const CHILD = fileURLToPath(new URL('seal-child.js', import.meta.url));
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const fresh = await smallTree(join(folder, 'fresh'));
const disk = join(folder, 'disk');
await mkdir(disk);

interface Ended {
  readonly name?: string;
  readonly message?: string;
  readonly files?: readonly { outcome: string }[];
}

/** Runs a shell script in a mount namespace of its own: $1 a tree, $2 a mount point, $3 where to leave a copy. */
function inNamespace(script: string, source: string, out: string): Ended {
  const seal = `'${process.execPath}' '${CHILD}' "$2/tree" '${keys}' ${NOW}`;
  const user = process.geteuid?.() === 0 ? [] : ['--map-root-user'];
  const args = [...user, '--mount', 'sh', '-euc', script.replaceAll('SEAL', seal), 'sh', source, disk, out];
  const { stdout, stderr, status } = spawnSync('unshare', args, { encoding: 'utf8', timeout: 60_000 });
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout) as Ended;
}

const READ_ONLY =
  'cp -a "$1" "$2/tree"; mount --bind "$2/tree" "$2/tree"; mount -o remount,ro,bind "$2/tree"; SEAL; cp -a "$2/tree" "$3"; umount "$2/tree"; rm -rf "$2/tree"';

/** A file system of just the tree's size and some pages of 4 KiB for the seals. */
const full = (pages: number) =>
  `mount -t tmpfs -o size=16m tmpfs "$2"; cp -a "$1" "$2/tree"; used=$(df --output=used -k "$2" | tail -1); mount -o remount,size=$((used + ${4 * pages}))k "$2"; SEAL; cp -a "$2/tree" "$3"`;

describe('a tree that cannot be written', () => {
  it('is read-only: one plain sentence, and nothing changes', () => {
    const out = join(folder, 'read-only');
    const { name, message } = inNamespace(READ_ONLY, fresh, out);
    assert.equal(name, 'IoError');
    assert.match(
      message ?? '',
      /^Cannot write \S+: the file system is read-only \(EROFS\); nothing of it was left behind\.$/,
    );
    assert.deepEqual(changed(look(fresh), look(out)), []);
  });

  it('is read-only and sealed already: there is nothing to write, so nothing to say', async () => {
    const sealed = join(folder, 'sealed');
    await cp(fresh, sealed, { recursive: true });
    await sealFixture(sealed, keys);
    const out = join(folder, 'read-only-sealed');
    const { files } = inNamespace(READ_ONLY, sealed, out);
    assert.deepEqual(
      files?.filter(({ outcome }) => outcome !== 'kept'),
      [],
    );
    assert.deepEqual(changed(look(sealed), look(out)), []);
  });

  // The seals and records take one page each, and there are 20 of them.
  for (const pages of [0, 1, 2, 9, 18]) {
    it(`is on a disk with ${pages} free pages: one plain sentence, whole seals or none`, async () => {
      const out = join(folder, `full-${pages}`);
      const { name, message } = inNamespace(full(pages), fresh, out);
      assert.equal(name, 'IoError', message);
      assert.match(
        message ?? '',
        /^Cannot write \S+: the disk is full \(ENOSPC\); nothing of it was left behind\.$/,
      );
      const appeared = changed(look(fresh), look(out));
      assert.deepEqual(
        readdirSync(out, { recursive: true, encoding: 'utf8' }).filter((file) => file.includes('.tmp')),
        [],
      );
      assert.ok(appeared.length <= pages);
      for (const seal of sealNames(ARTIFACTS)) {
        if (appeared.includes(seal)) assert.ok(stockToolTakes(out, keys, seal, NOW), seal);
      }
      await sealFixture(out, keys);
      assert.equal((await verify({ tree: out, anchors: keys, now: NOW })).refusal, undefined);
    });
  }

  it('has room enough for what is written one by one', () => {
    const out = join(folder, 'room');
    assert.equal(inNamespace(full(30), fresh, out).name, undefined);
  });
});
