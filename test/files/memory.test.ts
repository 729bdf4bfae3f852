import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { ROOTFS } from '../fixtures/release.ts';
import { smallTree } from '../signing/trees.ts';

const CHILD = fileURLToPath(new URL('memory-child.js', import.meta.url));
const MIB = 1024;
/** What sealing and verifying may hold at most, whatever the size of an image. KiB. */
const LIMIT = 150 * MIB;
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const tree = await smallTree(join(folder, 'tree'));
// Sparse: it has the bytes, and the disk does not.
await truncate(join(tree, ROOTFS), 2 ** 29);

for (const verb of ['seal', 'verify']) {
  it(`${verb} of a root image of 512 MiB stays below 150 MiB`, (t) => {
    const said = execFileSync(process.execPath, [CHILD, verb, tree, keys, String(NOW)], { encoding: 'utf8' });
    const { peak } = JSON.parse(said) as { peak: number };
    t.diagnostic(`${Math.round(peak / MIB)} MiB at most`);
    assert.ok(peak > 10 * MIB && peak < LIMIT, `${peak} KiB`);
  });
}
