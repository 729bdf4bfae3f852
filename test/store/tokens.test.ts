import assert from 'node:assert/strict';
import { chown, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import {
  findToken,
  isLive,
  readTokens,
  type Token,
  tokenDigest,
  writeTokens,
} from '../../src/store/tokens.ts';
import { temporaryFolder } from '../fixtures/folder.ts';

const folder = await temporaryFolder();
const TOKEN: Token = {
  name: 'ops',
  scopes: ['read', 'arm'],
  sha256: tokenDigest('bst_x'),
  made: '2026-11-01T00:00:00Z',
  ends: '2026-11-02T00:00:00Z',
};

it('holds what was written, for its owner and group alone, and no token', async () => {
  assert.deepEqual(await readTokens(folder), []);
  const { ends: _, ...endless } = { ...TOKEN, name: 'ci' };
  await writeTokens(folder, [TOKEN, endless]);
  assert.deepEqual(await readTokens(folder), [TOKEN, endless]);
  assert.equal((await stat(join(folder, 'tokens'))).mode & 0o777, 0o640);
  assert.doesNotMatch(await readFile(join(folder, 'tokens'), 'utf8'), /bst_/);
});

it('is the owner’s of the state, where root writes it', async () => {
  const isRoot = process.getuid?.() === 0;
  if (isRoot) await chown(folder, 4242, 4243);
  await writeTokens(folder, [TOKEN]);
  const { uid, gid } = await stat(join(folder, 'tokens'));
  assert.deepEqual([uid, gid], isRoot ? [4242, 4243] : [process.getuid?.(), process.getgid?.()]);
  // Read also by a server that is neither.
  assert.deepEqual(await readTokens(folder), [TOKEN]);
  if (isRoot) await chown(folder, 0, 0);
});

it('is not written with what could not be read again', async () => {
  await writeTokens(folder, [TOKEN]);
  const before = await readFile(join(folder, 'tokens'));
  for (const wrong of [
    [TOKEN, TOKEN],
    [{ ...TOKEN, scopes: [] }],
    [{ ...TOKEN, scopes: ['arm', 'read'] as const }],
    [{ ...TOKEN, name: '../x' }],
    [{ ...TOKEN, made: 'today' }],
    Array.from({ length: 257 }, (_, at) => ({ ...TOKEN, name: `t${at}` })),
  ])
    await assert.rejects(writeTokens(folder, wrong as Token[]), { name: 'Refusal', code: 'malformed' });
  assert.deepEqual(await readFile(join(folder, 'tokens')), before);
});

it('is refused where one character of it is another', async () => {
  await writeTokens(folder, [TOKEN]);
  const path = join(folder, 'tokens');
  const good = await readFile(path);
  for (let at = 0; at < good.length; at += 1) {
    const bytes = Buffer.from(good);
    bytes[at] = (bytes[at] ?? 0) ^ 0x10;
    await writeFile(path, bytes);
    const read = await readTokens(folder).catch((error: unknown) => error);
    // A name, a digest or a time may be another one; nothing else is taken for what was written.
    if (Array.isArray(read)) assert.notDeepEqual(read, [TOKEN], `byte ${at}`);
    else assert.equal((read as { code?: string }).code, 'malformed', `byte ${at}`);
  }
});

it('finds the token that is shown, and only until it ends', () => {
  const end = Date.parse('2026-11-02T00:00:00Z');
  assert.equal(findToken([TOKEN], 'bst_x', end - 1), TOKEN);
  assert.equal(findToken([TOKEN], 'bst_x', end), undefined);
  assert.equal(findToken([TOKEN], 'bst_X', 0), undefined);
  assert.equal(findToken([TOKEN], TOKEN.sha256, 0), undefined);
  assert.ok(isLive({ ...TOKEN, ends: undefined } as unknown as Token, Number.MAX_SAFE_INTEGER));
});
