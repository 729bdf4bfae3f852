import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readInitramfs } from '../../src/emulator/initramfs.ts';
import type { InitramfsTree } from '../../src/emulator/initramfs-tree.ts';
import { randomArchives } from '../fixtures/odd-initramfs/random.ts';
import { foldersFor, initrdsOf, placed } from '../fixtures/odd-initramfs.ts';

/** What a path says, or why it does not. */
function said(tree: InitramfsTree, path: string): string {
  try {
    return Buffer.from(tree.read(path)).toString('latin1');
  } catch (error) {
    return (error as { code: string }).code;
  }
}

describe('what is asked of an initramfs', () => {
  it('is answered as if all of it had been kept, whatever links lead there and in whatever order', async () => {
    let answered = 0;
    for (const odd of placed('r', randomArchives(1, 250))) {
      const initrds = [foldersFor([odd]), ...initrdsOf(odd)];
      const whole = await readInitramfs(initrds, { keep: () => true });
      const paths = ['a', 'b', 's', 'x', 'd', 'd/x', 'd/y', 'd/s', 's/x', 's/s', 'no'].map(
        (name) => `${odd.at}/${name}`,
      );
      for (const path of paths) {
        const tree = await readInitramfs(initrds, { keep: (kept) => kept === path, asked: [path] });
        assert.equal(said(tree, path), said(whole, path), `${odd.what}: ${path}`);
        if (whole.stat(path)?.kind === 'file') answered++;
      }
    }
    assert.ok(answered > 200, `only ${answered} of the paths were files`);
  });
});
