import assert from 'node:assert/strict';
import { chmod, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, it } from 'node:test';
import { IoError } from '../../src/errors/io.ts';
import { TEMPORARY, writeFileAtomically } from '../../src/files/atomic-file.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { asNobody } from './nobody.ts';

const base = await temporaryFolder();
let folder = '';
let path = '';
const text = (words: string) => Buffer.from(words);

beforeEach(async () => {
  folder = join(base, crypto.randomUUID());
  await mkdir(folder);
  path = join(folder, 'file');
});

it('a new file has the bytes and mode 0644', async () => {
  await writeFileAtomically(path, text('content'));
  assert.equal(await readFile(path, 'utf8'), 'content');
  assert.equal((await stat(path)).mode & 0o7777, 0o644);
  assert.deepEqual(await readdir(folder), ['file']);
});

for (const mode of [0o600, 0o644, 0o444]) {
  for (const umask of [0o000, 0o077]) {
    it(`mode ${mode.toString(8)} is exact under the umask ${umask.toString(8)}`, async () => {
      const before = process.umask(umask);
      try {
        await writeFileAtomically(path, text('content'), { mode });
      } finally {
        process.umask(before);
      }
      assert.equal((await stat(path)).mode & 0o7777, mode);
    });
  }
}

it('an old file is replaced as a whole, by another inode', async () => {
  await writeFile(path, 'old and longer');
  const before = await stat(path);
  await writeFileAtomically(path, text('new'));
  assert.equal(await readFile(path, 'utf8'), 'new');
  assert.notEqual((await stat(path)).ino, before.ino);
});

it('a link is replaced, and what it points to is left alone', async () => {
  await writeFile(join(folder, 'target'), 'target');
  await symlink('target', path);
  await writeFileAtomically(path, text('new'));
  assert.equal(await readFile(join(folder, 'target'), 'utf8'), 'target');
  assert.equal(await readFile(path, 'utf8'), 'new');
});

it('an exclusive write refuses a name that is taken, and leaves its bytes', async () => {
  await writeFile(path, 'old');
  await assert.rejects(writeFileAtomically(path, text('new'), { exclusive: true }), {
    name: 'UsageError',
    message: `${path} exists already and is not replaced.`,
  });
  assert.equal(await readFile(path, 'utf8'), 'old');
  assert.deepEqual(await readdir(folder), ['file']);
});

it('of many exclusive writers at once one wins, and the others leave nothing', async () => {
  const writers = Array.from({ length: 8 }, (_, n) =>
    writeFileAtomically(path, text(`writer ${n}`), { exclusive: true, mode: 0o600 }),
  );
  const results = await Promise.allSettled(writers);
  const winner = results.findIndex(({ status }) => status === 'fulfilled');
  assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1);
  assert.equal(await readFile(path, 'utf8'), `writer ${winner}`);
  assert.deepEqual(await readdir(folder), ['file']);
});

interface Unwritable {
  readonly name: string;
  readonly at: () => Promise<string>;
  readonly says: RegExp;
}

const UNWRITABLE: readonly Unwritable[] = [
  {
    name: 'in a folder that does not exist',
    at: async () => join(folder, 'none', 'file'),
    says: /^Cannot write \S+: its folder does not exist \(ENOENT\); nothing of it was left behind\.$/,
  },
  {
    name: 'below a file',
    at: async () => {
      await writeFile(path, 'file');
      return join(path, 'below');
    },
    says: /: part of its path is not a folder \(ENOTDIR\); /,
  },
  {
    name: 'in a folder of somebody else',
    at: async () => {
      await chmod(folder, 0o555);
      return path;
    },
    says: /: permission is denied \(EACCES\); /,
  },
  {
    name: 'where a folder stands',
    at: async () => {
      await mkdir(path);
      await writeFile(join(path, 'inner'), '');
      return path;
    },
    says: /^Cannot write \S+: [^\n]+; nothing of it was left behind\.$/,
  },
];

for (const { name, at, says } of UNWRITABLE) {
  it(`a file cannot be written ${name}, and nothing is left behind`, async () => {
    const target = await at();
    const before = await readdir(folder);
    const act = () => writeFileAtomically(target, text('new'));
    const failure = (error: unknown) => {
      assert.ok(error instanceof IoError);
      assert.equal(error.path, target);
      assert.match(error.message, says);
      return true;
    };
    // Root may write into a folder of mode 0555.
    if (says.source.includes('permission')) await asNobody(base, () => assert.rejects(act, failure));
    else await assert.rejects(act, failure);
    assert.deepEqual(await readdir(folder), before);
  });
}

it('what a crash leaves can be told by its name, and no seal can', () => {
  assert.match('.bootseal-0123456789abcdef.tmp', TEMPORARY);
  for (const name of [
    'release.manifest',
    '.bootseal-x.tmp',
    'a.bootseal-0123456789abcdef.tmp',
    '.bootseal',
  ]) {
    assert.doesNotMatch(name, TEMPORARY);
  }
});
