import assert from 'node:assert/strict';
import { chmod, chown, mkdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { bearer, type Desk, desk, JSON_TYPE } from '../server/access/desk.ts';

/** `STATE/tokens` that is gone, broken, or another's: nobody may write then, and that is no state without tokens. */

async function withToken(t: Parameters<typeof desk>[0], options: Parameters<typeof desk>[1] = {}) {
  const site = await desk(t, options);
  await site.give({ ops: ['read', 'arm'] });
  return { site, path: join(site.state, 'tokens'), write: () => write(site) };
}

async function write(site: Desk, name = 'ops'): Promise<number> {
  const headers = { ...JSON_TYPE, ...bearer(name) };
  return (await site.ask('/api/v1/thing', { method: 'POST', headers, body: '{}' })).status;
}

it('a token that was revoked is none at the very next request', async (t) => {
  const { site, write, path } = await withToken(t);
  assert.equal(await write(), 200);
  await site.give({});
  assert.equal(await write(), 401);
  await site.give({ ops: ['arm'] });
  assert.equal(await write(), 200);
  await rm(path);
  assert.equal(await write(), 401);
  assert.deepEqual(site.access.warnings, []);
});

it('a file that is not as it was written closes writing, is said once, and stays closed until it is whole', async (t) => {
  const { site, write, path } = await withToken(t);
  const good = await readFile(path);
  const text = good.toString();
  const { cookie } = await site.signIn('ops');
  const broken: readonly [string, string][] = [
    ['empty', ''],
    ['cut', text.slice(0, -20)],
    ['no JSON', 'tokens'],
    ['nothing', 'null\n'],
    ['another format', text.replace('"format": 1', '"format": 2')],
    ['an unknown scope', text.replace('"arm"', '"admin"')],
    ['an unknown key', text.replace('"name"', '"extra": 1,\n      "name"')],
    ['a scope twice', text.replace('"arm"', '"arm",\n        "arm"')],
    ['no scope', text.replace(/"scopes": \[[^\]]*\]/, '"scopes": []')],
    ['a digest that is none', text.replace(/"sha256": "../, '"sha256": "XX')],
    ['a time that is none', text.replace('2026-11-01T00', '2026-13-01T00')],
    ['written otherwise', `${text} `],
    [
      'twice the same name',
      JSON.stringify({ format: 1, tokens: Array(2).fill(JSON.parse(text).tokens[0]) }, null, 2),
    ],
  ];
  for (const [what, content] of broken) {
    await writeFile(path, content);
    assert.equal(await write(), 503, what);
    assert.match(site.access.warnings.join(), /^nobody may write by the API: .*tokens/, what);
    // Whoever signed in may not either.
    const headers = { ...JSON_TYPE, Cookie: cookie, Origin: `http://127.0.0.1:${site.http}` };
    assert.equal(
      (await site.ask('/api/v1/thing', { method: 'POST', headers, body: '{}' })).status,
      503,
      what,
    );
    // What everybody may read stays so.
    assert.equal((await site.ask('/api/v1/thing')).status, 200, what);
    assert.equal((await site.ask('/api/v1/thing', { headers: { Cookie: cookie } })).status, 200, what);
  }
  await writeFile(path, good);
  assert.equal(await write(), 200);
  assert.deepEqual(site.access.warnings, []);
  const told = site.said.filter((line) => line.includes('the tokens cannot be read'));
  assert.ok(told.length > 1 && told.length <= broken.length, `${told.length} lines`);
});

it('a file that cannot be read closes writing, and reading where that needs a token', async (t) => {
  const { site, write, path } = await withToken(t, { read: 'token' });
  const good = await readFile(path);
  const OTHERS: [string, () => Promise<unknown>] = [
    'of another user',
    async () => {
      await writeFile(path, good);
      await chown(path, 65_534, 65_534);
    },
  ];
  const cases: readonly [string, () => Promise<unknown>][] = [
    ['a folder', () => mkdir(path)],
    ['a link', () => symlink('/etc/passwd', path)],
    ['a link to nothing', () => symlink('/nowhere', path)],
    [
      'a link to a good one',
      async () => {
        await writeFile(`${path}.good`, good, { mode: 0o600 });
        await symlink(`${path}.good`, path);
      },
    ],
    [
      'too long',
      async () => {
        await writeFile(path, good);
        await truncate(path, 10_000_000);
      },
    ],
    [
      'writable for others',
      async () => {
        await writeFile(path, good);
        await chmod(path, 0o602);
      },
    ],
    [
      'writable for a group',
      async () => {
        await writeFile(path, good);
        await chmod(path, 0o660);
      },
    ],
    // Only root can make it so.
    ...(process.getuid?.() === 0 ? [OTHERS] : []),
  ];
  for (const [what, make] of cases) {
    await rm(path, { recursive: true });
    await make();
    assert.equal(await write(), 503, what);
    assert.equal((await site.ask('/api/v1/thing', { headers: bearer('ops') })).status, 503, what);
    assert.equal((await site.ask('/api/v1/thing')).status, 401, what);
  }
  await rm(path, { recursive: true });
  await site.give({ ops: ['read', 'arm'] });
  assert.equal(await write(), 200);
});
