import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { IoError } from '../../src/errors/io.ts';
import { Refusal } from '../../src/errors/refusal.ts';
import {
  lstatBeneath,
  measureBeneath,
  namesBeneath,
  openBeneath,
  readBeneath,
  readBeneathIfThere,
  removeTemporariesBeneath,
  writeBeneath,
} from '../../src/files/beneath.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { refused } from '../trust/judge.ts';
import { asNobody } from './nobody.ts';

const SWAPPER = fileURLToPath(new URL('swap-child.js', import.meta.url));
const TEMPORARY = '.bootseal-0123456789abcdef.tmp';
const folder = await temporaryFolder();
let trees = 0;

/** A tree with `a/b/file`, links out of it in every place, and what stands outside. */
function newTree(): { tree: string; outside: string } {
  const around = join(folder, `around-${trees++}`);
  const [tree, outside] = [join(around, 'tree'), join(around, 'outside')];
  mkdirSync(join(tree, 'a/b'), { recursive: true });
  mkdirSync(join(outside, 'b'), { recursive: true });
  writeFileSync(join(tree, 'a/b/file'), 'inside');
  for (const path of ['file', 'b/file', TEMPORARY, `b/${TEMPORARY}`])
    writeFileSync(join(outside, path), 'outside');
  symlinkSync(outside, join(tree, 'link'));
  symlinkSync('../outside', join(tree, 'relative'));
  symlinkSync(join(outside, 'b'), join(tree, 'a/link'));
  symlinkSync(join(outside, 'file'), join(tree, 'a/file'));
  symlinkSync('a', join(tree, 'inner'));
  return { tree, outside };
}

const READERS: readonly [string, (tree: string, path: string) => Promise<unknown>][] = [
  ['opened', openBeneath],
  ['measured', (tree, path) => measureBeneath(tree, path, [])],
  ['read', (tree, path) => readBeneath(tree, path, 100)],
  ['read if it is there', (tree, path) => readBeneathIfThere(tree, path, 100)],
];
const THROUGH_LINKS = ['link/file', 'relative/file', 'a/link/file', 'link/b/file', 'inner/b/file'];

describe('a file of a tree', () => {
  for (const [how, read] of READERS) {
    it(`is ${how} through no link, whether in its place or on the way`, async () => {
      const { tree } = newTree();
      for (const path of [...THROUGH_LINKS, 'a/file'])
        await assert.rejects(read(tree, path), refused('unsafe-path', /symbolic link/), path);
      for (const path of ['..', '../outside/file', 'a/../../outside/file', '', 'a/', 'a//b/file'])
        await assert.rejects(read(tree, path), refused('unsafe-path'), path);
    });
  }

  it('is read whole where it is one', async () => {
    const { tree } = newTree();
    assert.equal(Buffer.from((await readBeneath(tree, 'a/b/file', 6)).bytes).toString(), 'inside');
    assert.equal((await measureBeneath(tree, 'a/b/file', [])).size, 6);
    assert.equal((await lstatBeneath(tree, 'a/b/file'))?.size, 6);
    assert.ok((await lstatBeneath(tree, 'a/file'))?.isSymbolicLink());
    assert.deepEqual(await namesBeneath(tree, 'a'), ['b', 'file', 'link']);
    assert.deepEqual(await namesBeneath(tree, ''), ['a', 'inner', 'link', 'relative']);
  });

  it('of which the tree’s own name is a link is the operator’s', async () => {
    const { tree } = newTree();
    symlinkSync(tree, `${tree}-link`);
    assert.equal(Buffer.from((await readBeneath(`${tree}-link`, 'a/b/file', 6)).bytes).toString(), 'inside');
  });

  it('that is not there is told from one that cannot be read', async () => {
    const { tree } = newTree();
    for (const path of ['none', 'none/file', 'a/b/file/below']) {
      await assert.rejects(openBeneath(tree, path), refused('absent'), path);
      assert.equal(await readBeneathIfThere(tree, path, 100), undefined);
      assert.equal(await lstatBeneath(tree, path), undefined);
      assert.deepEqual(await namesBeneath(tree, path), []);
    }
    await assert.rejects(openBeneath(`${tree}-none`, 'file'), refused('absent'));
    mkdirSync(join(tree, 'shut'), { mode: 0 });
    await asNobody(folder, async () => {
      for (const read of [readBeneathIfThere, lstatBeneath, namesBeneath])
        await assert.rejects(read(tree, 'shut/file', 100), IoError, read.name);
    });
  });

  it('longer than allowed is not read', async () => {
    const { tree } = newTree();
    await assert.rejects(readBeneath(tree, 'a/b/file', 5), refused('too-large'));
  });

  it('that is a FIFO or a folder is refused, and nobody waits for it', async () => {
    const { tree } = newTree();
    assert.equal(spawnSync('mkfifo', [join(tree, 'fifo')]).status, 0);
    for (const path of ['fifo', 'a'])
      await assert.rejects(readBeneath(tree, path, 100), refused('unsafe-path', /not a regular file/), path);
  });
});

describe('a write below a tree', () => {
  it('follows no link on its way, and writes nothing', async () => {
    const { tree, outside } = newTree();
    const before = readdirSync(outside, { recursive: true });
    for (const path of THROUGH_LINKS)
      await assert.rejects(
        writeBeneath(tree, path, Buffer.from('new')),
        refused('unsafe-path', /symbolic link/),
        path,
      );
    assert.deepEqual(readdirSync(outside, { recursive: true }), before);
    assert.equal(readFileSync(join(outside, 'file'), 'utf8'), 'outside');
    assert.equal(readFileSync(join(tree, 'a/b/file'), 'utf8'), 'inside');
  });

  it('takes the place of a link or of one of two names, and changes nothing behind it', async () => {
    const { tree, outside } = newTree();
    linkSync(join(outside, 'file'), join(tree, 'a/b/hard'));
    for (const path of ['a/file', 'a/b/hard']) {
      await writeBeneath(tree, path, Buffer.from('new'), { mode: 0o640 });
      assert.equal(readFileSync(join(tree, path), 'utf8'), 'new');
      assert.equal(statSync(join(tree, path)).mode & 0o777, 0o640);
    }
    assert.equal(readFileSync(join(outside, 'file'), 'utf8'), 'outside');
    assert.deepEqual(readdirSync(join(tree, 'a/b')), ['file', 'hard']);
  });

  it('needs a folder that is there', async () => {
    const { tree } = newTree();
    const failed = (path: string) =>
      assert.rejects(writeBeneath(tree, path, Buffer.from('new')), (error: Error) => {
        assert.ok(error instanceof IoError);
        assert.match(error.message, /^Cannot write \S+: .*; nothing of it was left behind\.$/);
        return true;
      });
    await failed('none/file');
    await failed('a/b/file/below');
  });

  it('leaves temporaries behind a link alone, and whatever is no file', async () => {
    const { tree, outside } = newTree();
    writeFileSync(join(tree, 'a/b', TEMPORARY), 'unfinished');
    symlinkSync(outside, join(tree, 'a', TEMPORARY));
    mkdirSync(join(tree, TEMPORARY));
    symlinkSync(outside, join(tree, TEMPORARY, 'out'));
    for (const path of ['', 'a', 'a/b']) await removeTemporariesBeneath(tree, path);
    await assert.rejects(removeTemporariesBeneath(tree, 'link'), refused('unsafe-path'));
    await assert.rejects(removeTemporariesBeneath(tree, 'a/link'), refused('unsafe-path'));
    assert.ok(!existsSync(join(tree, 'a/b', TEMPORARY)));
    assert.ok(!existsSync(join(tree, 'a', TEMPORARY)));
    assert.ok(existsSync(join(tree, TEMPORARY, 'out', 'file')));
    assert.ok(existsSync(join(outside, TEMPORARY)) && existsSync(join(outside, 'b', TEMPORARY)));
  });
});

describe('a folder that another process swaps for a link', () => {
  it('never lets a write, a read or a removal out of the tree', async () => {
    const { tree, outside } = newTree();
    const swapper = spawn(process.execPath, [SWAPPER, tree, outside, '20000'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let running = true;
    const ended = new Promise<number | null>((resolve) =>
      swapper.on('exit', (code) => {
        running = false;
        resolve(code);
      }),
    );
    await new Promise((resolve) => swapper.stdout.once('data', resolve));
    const met = new Set<string>();
    const tell = (error: unknown) => {
      if (error instanceof Refusal) met.add(error.code);
      else if (error instanceof IoError) met.add('io');
      else throw error;
    };
    while (running) {
      await writeBeneath(tree, 'x/mine', Buffer.from('mine')).then(() => met.add('written'), tell);
      await readBeneath(tree, 'x/file', 100).then(() => assert.fail('read what is outside'), tell);
      await removeTemporariesBeneath(tree, 'x').catch(tell);
    }
    assert.equal(await ended, 0);
    assert.deepEqual(readdirSync(outside).sort(), [TEMPORARY, 'b', 'file']);
    assert.equal(readFileSync(join(outside, 'file'), 'utf8'), 'outside');
    // It was met as a folder and as a link: otherwise nothing was tried.
    assert.ok(met.has('written') && met.has('unsafe-path'), [...met].join());
  });
});
