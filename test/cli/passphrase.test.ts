import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cp, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { smallTree } from '../signing/trees.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const folder = await temporaryFolder();
const now = Date.now();
const SECRET = 'a word, and another one';
const protectedKeys = await makeKeys(join(folder, 'keys'), { now, caPassphrase: SECRET });

/** Nobody is at the terminal; what stands on descriptor 3 is all that it is told. */
function told(lines: string | undefined, ...words: readonly string[]) {
  const script = lines === undefined ? 'exec "$@"' : `exec "$@" 3<<END\n${lines}\nEND`;
  const { status, stdout, stderr } = spawnSync('sh', ['-c', script, 'sh', process.execPath, MAIN, ...words], {
    cwd: folder,
    encoding: 'utf8',
    input: '',
  });
  return { status, said: stdout + stderr };
}

describe('a key with a passphrase', () => {
  it('is what openssl knows as one, and the file says nothing else', async () => {
    const path = join(protectedKeys, 'private', 'ca.key');
    assert.match(await readFile(path, 'latin1'), /^-----BEGIN ENCRYPTED PRIVATE KEY-----/);
    const open = (word: string) =>
      spawnSync('openssl', ['pkey', '-in', path, '-noout', '-passin', `pass:${word}`]).status;
    assert.deepEqual([open(SECRET), open('another') !== 0], [0, true]);
  });

  it('seals with the passphrase from a descriptor, and never shows it', async () => {
    const tree = await smallTree(join(folder, 'tree'));
    const sealed = told(SECRET, 'seal', tree, '--keys', protectedKeys, '--passphrase-fd', '3');
    assert.equal(sealed.status, 0, sealed.said);
    assert.ok(!sealed.said.includes(SECRET));
    assert.equal(told(undefined, 'verify', tree, '--anchors', join(protectedKeys, 'anchors')).status, 0);
  });

  it('takes no bytes that are no text: all of them would be the same passphrase', () => {
    const script = `printf 'caf\\351\\n' | "$@" 3<&0`;
    const { status, stderr } = spawnSync(
      'sh',
      ['-c', script, 'sh', process.execPath, MAIN, 'init', join(folder, 'never'), '--passphrase-fd', '3'],
      { encoding: 'utf8' },
    );
    assert.equal(status, 2);
    assert.match(stderr, /no line of UTF-8/);
  });

  for (const [what, lines, words, says] of [
    [
      'without a terminal',
      undefined,
      [],
      /has a passphrase, and there is nobody to ask for it: .*--passphrase-fd/,
    ],
    ['with another one', 'another', ['--passphrase-fd', '3'], /The passphrase of \S*ca\.key was wrong\./],
    ['with an empty one', '', ['--passphrase-fd', '3'], /gave an empty passphrase/],
    ['with a carriage return', `${SECRET}\r`, ['--passphrase-fd', '3'], /no line of UTF-8/],
    [
      'from a descriptor that is not open',
      undefined,
      ['--passphrase-fd', '99'],
      /descriptor 99 .* cannot be read/,
    ],
    ['from what is no descriptor', undefined, ['--passphrase-fd', 'x'], /a descriptor is a number/],
  ] as const) {
    it(`${what} is not used: an operator's mistake, and the tree is as it was`, async () => {
      const tree = await smallTree(join(folder, `tree-${what.length}`));
      const { status, said } = told(lines, 'seal', tree, '--keys', protectedKeys, ...words);
      assert.equal(status, 2, said);
      assert.match(said, says);
      assert.ok(!said.includes('another') || lines !== 'another');
      const names = await readdir(tree, { recursive: true });
      assert.deepEqual(
        names.filter((name) => name.endsWith('.sig')),
        [],
      );
    });
  }

  it('may be one of gpg’s, and each key have its own', async () => {
    const keys = join(folder, 'gpg-keys');
    await cp(protectedKeys, keys, { recursive: true });
    const path = join(keys, 'private', 'openpgp.asc');
    const { decryptKey: _, encryptKey, readPrivateKey } = await import('openpgp');
    const plain = await readPrivateKey({ armoredKey: await readFile(path, 'utf8') });
    const locked = await encryptKey({ privateKey: plain, passphrase: 'of gpg' });
    await writeFile(path, locked.armor());
    const tree = await smallTree(join(folder, 'gpg-tree'));
    const words = ['seal', tree, '--keys', keys, '--passphrase-fd', '3'];
    const wrong = told(`${SECRET}\nnot of gpg`, ...words);
    assert.equal(wrong.status, 2, wrong.said);
    assert.match(wrong.said, /The passphrase of \S*openpgp\.asc was wrong/);
    const right = told(`${SECRET}\nof gpg`, ...words);
    assert.equal(right.status, 0, right.said);
    assert.equal(told(undefined, 'verify', tree, '--anchors', join(keys, 'anchors')).status, 0);
  });
});

it('init takes a passphrase for the CA from a descriptor, and says what has none', () => {
  const made = told(SECRET, 'init', 'new', '--ecdsa', '--passphrase-fd', '3');
  assert.equal(made.status, 0, made.said);
  assert.match(made.said, /The CA’s key has a passphrase/);
  assert.match(told(undefined, 'init', 'plain', '--ecdsa').said, /No key has a passphrase/);
});
