import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { lstat, readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { revokeToken } from '../../src/operations/tokens.ts';
import { SCOPES, type Scope } from '../../src/store/token-scopes.ts';
import { NEW, OLD } from '../keyholder/sites.ts';
import { apiSite, ask, OTHER_MAC, serving } from '../server/api/api-site.ts';

/*
 * Somebody without the right token tries everything that changes something: each route of the table that is not read, with
 * a request that would be done for whoever may.
 */

const site = await apiSite();
const { state, tokens } = site;
const server = await serving({ after }, site, state);

/** What would be done; a route without one fails. */
const WRITES: Readonly<Record<string, { readonly path: string; readonly body?: unknown }>> = {
  'post /api/v1/machines/{mac}/arm': { path: `/machines/${OTHER_MAC}/arm`, body: { release: OLD } },
  'delete /api/v1/machines/{mac}/arm': { path: `/machines/${OTHER_MAC}/arm` },
  'put /api/v1/machines/{mac}/assignment': {
    path: `/machines/${OTHER_MAC}/assignment`,
    body: { labels: ['readers'] },
  },
  'delete /api/v1/machines/{mac}/assignment': { path: `/machines/${OTHER_MAC}/assignment` },
  'post /api/v1/channels/{name}/move': { path: '/channels/stable/move', body: { release: NEW } },
  'post /api/v1/channels/{name}/renew': { path: '/channels/stable/renew', body: {} },
  'post /api/v1/releases/{name}/{version}/withdraw': {
    path: `/releases/${NEW}/withdraw`,
    body: { reason: 'It does not start.' },
  },
};

/**
 * Open by their nature: what machines say of themselves, which test/security/forged-report looks at, and signing in and out,
 * which writes nothing (api-sessions, api-cross-site).
 */
const OPEN = new Set([
  'post /api/v1/boots',
  'post /api/v1/session',
  'delete /api/v1/session',
  'post /api/v1/session/end',
]);

const { value: described } = await ask(server, 'GET', '/openapi.json');
const routes = Object.entries<Record<string, { security: { readonly token: readonly Scope[] }[] }>>(
  described.paths,
).flatMap(([path, methods]) =>
  Object.entries(methods)
    .filter(([method]) => method !== 'get')
    .map(([method, { security }]) => ({ name: `${method} ${path}`, method: method.toUpperCase(), security })),
);

/** Every file of the state with its content, but for receipts of boots. */
async function digest(folder = state): Promise<string> {
  const hash = createHash('sha256');
  for (const name of (await readdir(folder)).sort()) {
    const path = join(folder, name);
    if (path === join(state, 'boots')) continue;
    const facts = await lstat(path);
    hash.update(`${name} ${facts.mode} `);
    if (facts.isSymbolicLink()) hash.update(await readlink(path));
    else hash.update(facts.isDirectory() ? await digest(path) : await readFile(path));
  }
  return hash.digest('hex');
}

it('there are routes that change something', () => {
  assert.ok(routes.length > 6);
});

for (const { name, method, security } of routes.filter((route) => !OPEN.has(route.name)))
  describe(name, () => {
    const { path, body } = WRITES[name] ?? { path: '' };
    const [wanted = ''] = security[0]?.token ?? [];
    const tries = async (token: string | undefined, headers = {}) => {
      const before = await digest();
      const { status, value } = await ask(server, method, path, { token, body, headers });
      assert.equal(await digest(), before, 'nothing has changed');
      assert.ok(!JSON.stringify(value).includes(token ?? 'no token at all'));
      return { status, code: value.code };
    };

    it('is one of those that are tried, and wants one scope', () => {
      assert.notEqual(path, '');
      assert.equal(security.length, 1);
      assert.ok((SCOPES as readonly string[]).includes(wanted) && wanted !== 'read', wanted);
    });

    it('401 without a token, whatever else is claimed', async () => {
      const nobody = { status: 401, code: 'unauthorized' };
      assert.deepEqual(await tries(undefined), nobody);
      assert.deepEqual(await tries(undefined, { authorization: `Basic ${btoa('root:root')}` }), nobody);
      // Whoever says that a proxy stands between came in the clear, as far as anybody knows.
      const forwarded = { status: 403, code: 'forbidden' };
      assert.deepEqual(await tries(undefined, { 'x-forwarded-for': '127.0.0.1' }), forwarded);
      assert.deepEqual(await tries(undefined, { cookie: `session=${tokens[wanted as Scope]}` }), nobody);
    });

    it('403 with a token of any other scope', async () => {
      for (const scope of SCOPES.filter((one) => one !== wanted))
        assert.deepEqual(await tries(tokens[scope]), { status: 403, code: 'forbidden' }, scope);
    });

    it('a token in the address or the body is none', async () => {
      const before = await digest();
      const secret = tokens[wanted as Scope];
      const query = await ask(server, method, `${path}?token=${secret}`, { body });
      assert.equal(query.status, 401);
      if (body !== undefined)
        assert.equal((await ask(server, method, path, { body: { ...body, token: secret } })).status, 401);
      assert.equal(await digest(), before);
    });
  });

it('a token that was revoked is good for nothing at once', async () => {
  await revokeToken({ state, name: 'only-withdraw', now: Date.now(), snapshotKey: site.keys });
  const before = await digest();
  const { path = '', body } = WRITES['post /api/v1/releases/{name}/{version}/withdraw'] ?? {};
  const { status } = await ask(server, 'POST', path, { token: tokens.withdraw, body });
  assert.equal(status, 401);
  assert.equal(await digest(), before);
});

it('with the right token it is done: the tries above had failed for want of it alone', async () => {
  const { path = '', body } = WRITES['put /api/v1/machines/{mac}/assignment'] ?? {};
  const before = await digest();
  assert.equal((await ask(server, 'PUT', path, { token: tokens.assign, body })).status, 202);
  assert.notEqual(await digest(), before);
});
