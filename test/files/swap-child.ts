import { mkdirSync, renameSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Swaps a folder of a tree and a link out of it, so many times: `TREE OUTSIDE COUNT`. `TREE/x` is now the one and now
 * the other; it says so once before it begins, and ends by itself.
 */
const [tree = '', outside = '', count = '0'] = process.argv.slice(2);
const [x, folder, link] = ['x', 'swapped-folder', 'swapped-link'].map((name) => join(tree, name));
if (x === undefined || folder === undefined || link === undefined) throw new Error('three names');
mkdirSync(folder, { recursive: true });
symlinkSync(outside, link);
process.stdout.write('begun\n');
for (let n = 0; n < Number(count); n += 1) {
  renameSync(folder, x);
  renameSync(x, folder);
  renameSync(link, x);
  renameSync(x, link);
}
