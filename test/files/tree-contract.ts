import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { it } from 'node:test';
import type { Tree } from '../../src/files/tree.ts';
import { codeOf } from './codes.ts';

/** What every tree must answer, whoever made it. */
export const CONTENT: Readonly<Record<string, string>> = {
  'boot.ipxe': '#!ipxe\n',
  'a/kernel': 'kernel',
  'a/b/root': 'root image',
  empty: '',
};

const DIGEST = [{ kind: 'digest', hash: 'sha256' }] as const;

/** Runs the contract. @param make a tree with `CONTENT` in it and nothing else. */
export function treeContract(name: string, make: () => Promise<Tree>): void {
  it(`${name}: lists the top and folders, sorted, and nothing where there is no folder`, async () => {
    const tree = await make();
    assert.deepEqual(await tree.list(''), ['a', 'boot.ipxe', 'empty']);
    assert.deepEqual(await tree.list('a'), ['b', 'kernel']);
    assert.deepEqual(await tree.list('a/b'), ['root']);
    assert.deepEqual(await tree.list('none'), []);
    assert.deepEqual(await tree.list('empty/below'), []);
  });

  it(`${name}: reads a small file whole, up to its limit and not one byte more`, async () => {
    const tree = await make();
    for (const [path, text] of Object.entries(CONTENT)) {
      assert.equal(Buffer.from(await tree.read(path, text.length)).toString(), text);
    }
    assert.equal(await codeOf(tree.read('a/kernel', 5)), 'too-large');
  });

  it(`${name}: measures what it opened`, async () => {
    const tree = await make();
    for (const [path, text] of Object.entries(CONTENT)) {
      const file = await tree.open(path);
      try {
        assert.equal(file.size, text.length);
        const { size, answers } = await file.measure(DIGEST);
        assert.equal(size, text.length);
        assert.deepEqual(
          Buffer.from(answers[0] as Uint8Array).toString('hex'),
          createHash('sha256').update(text).digest('hex'),
        );
      } finally {
        await file.close();
      }
    }
  });

  it(`${name}: a missing file is absent, and a path that leads out is none`, async () => {
    const tree = await make();
    for (const path of ['none', 'a/none', 'none/below']) {
      assert.equal(await codeOf(tree.read(path, 10)), 'absent', path);
      assert.equal(await codeOf(tree.open(path)), 'absent', path);
    }
  });
}
