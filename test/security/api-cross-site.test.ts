import assert from 'node:assert/strict';
import { it } from 'node:test';
import { type Asked, type Desk, desk, FORM_TYPE, JSON_TYPE, tokenOf } from '../server/access/desk.ts';

/**
 * A page of another site, open in the browser of somebody who is signed in: it can have that browser send forms and simple
 * requests here, with the cookie where the browser is an old one, and can read no answer.
 */

const EVIL = 'http://evil.example';

async function signedIn(t: Parameters<typeof desk>[0]): Promise<{
  readonly site: Desk;
  readonly post: (asked: Asked) => Promise<number>;
  readonly own: Readonly<Record<string, string>>;
  readonly cookie: string;
  readonly csrf: string;
}> {
  const site = await desk(t);
  await site.give({ ops: ['arm', 'withdraw'] });
  const { cookie, csrf } = await site.signIn('ops');
  const post = async ({ headers, ...asked }: Asked) =>
    (await site.ask('/api/v1/thing', { method: 'POST', ...asked, headers: { Cookie: cookie, ...headers } }))
      .status;
  return { site, post, cookie, csrf, own: { Origin: `http://127.0.0.1:${site.http}` } };
}

it('is not believed, whatever of a request it can make', async (t) => {
  const { site, post, own, csrf } = await signedIn(t);
  const form = `mac=1&csrf=${csrf}`;
  // What a page of this server sends, so that each of the others differs from it by one thing.
  assert.equal(await post({ headers: { ...own, ...FORM_TYPE }, body: form }), 200);
  assert.equal(await post({ headers: { ...own, ...JSON_TYPE }, body: '{}' }), 200);
  assert.equal(
    await post({ headers: { ...own, ...JSON_TYPE, 'Sec-Fetch-Site': 'same-origin' }, body: '{}' }),
    200,
  );
  const refused: readonly [string, Asked][] = [
    ['another origin', { headers: { Origin: EVIL, ...FORM_TYPE }, body: form }],
    ['another origin, JSON', { headers: { Origin: EVIL, ...JSON_TYPE }, body: '{}' }],
    ['no origin', { headers: { ...FORM_TYPE }, body: form }],
    ['an origin that is hidden', { headers: { Origin: 'null', ...FORM_TYPE }, body: form }],
    ['another port of this host', { headers: { Origin: 'http://127.0.0.1:1', ...FORM_TYPE }, body: form }],
    [
      'this host over TLS',
      { headers: { Origin: `https://127.0.0.1:${site.http}`, ...FORM_TYPE }, body: form },
    ],
    [
      'a name that begins alike',
      { headers: { Origin: `${own.Origin}.evil.example`, ...FORM_TYPE }, body: form },
    ],
    ['the browser’s word', { headers: { ...own, ...FORM_TYPE, 'Sec-Fetch-Site': 'cross-site' }, body: form }],
    ['a neighbour', { headers: { ...own, ...FORM_TYPE, 'Sec-Fetch-Site': 'same-site' }, body: form }],
    ['no word of the session', { headers: { ...own, ...FORM_TYPE }, body: 'mac=1' }],
    ['another word', { headers: { ...own, ...FORM_TYPE }, body: `mac=1&csrf=${'A'.repeat(43)}` }],
    ['the word in the query', { headers: { ...own, ...FORM_TYPE }, body: 'mac=1' }],
    ['JSON that is called text', { headers: { ...own, 'Content-Type': 'text/plain' }, body: '{}' }],
    [
      'a form of parts',
      { headers: { ...own, 'Content-Type': 'multipart/form-data; boundary=x' }, body: '--x--' },
    ],
    ['no type', { headers: { ...own }, body: form }],
    ['no body', { headers: { ...own } }],
    ['DELETE', { method: 'DELETE', headers: { Origin: EVIL } }],
    ['DELETE without an origin', { method: 'DELETE' }],
  ];
  for (const [what, asked] of refused) assert.equal(await post(asked), 403, what);
  assert.equal(await post({ headers: { ...own, ...FORM_TYPE }, body: `${form}&csrf=${csrf}` }), 400);
  assert.equal(await post({ method: 'DELETE', headers: own }), 200);
});

it('has no word of another session', async (t) => {
  const { site, post, own } = await signedIn(t);
  const other = await site.signIn('ops');
  assert.equal(await post({ headers: { ...own, ...FORM_TYPE }, body: `csrf=${other.csrf}` }), 403);
});

it('is told by no answer that it may send or read what it could not', async (t) => {
  const { site, cookie } = await signedIn(t);
  const asked = { Origin: EVIL, 'Access-Control-Request-Method': 'POST', Cookie: cookie };
  const preflight = await site.ask('/api/v1/thing', { method: 'OPTIONS', headers: asked });
  assert.equal(preflight.status, 405);
  for (const { headers } of [preflight, await site.ask('/api/v1/thing', { headers: asked })])
    assert.deepEqual(
      Object.keys(headers).filter((name) => name.startsWith('access-control')),
      [],
    );
});

it('signs nobody in as somebody else, and nobody out', async (t) => {
  const { site, cookie, csrf } = await signedIn(t);
  const body = `token=${tokenOf('ops')}`;
  const own = `http://127.0.0.1:${site.http}`;
  const signIn = async (headers: Readonly<Record<string, string>>) =>
    (await site.ask('/api/v1/session', { method: 'POST', headers: { ...FORM_TYPE, ...headers }, body }))
      .status;
  assert.equal(await signIn({ Origin: EVIL }), 403);
  assert.equal(await signIn({ Origin: 'null' }), 403);
  assert.equal(await signIn({ 'Sec-Fetch-Site': 'cross-site' }), 403);
  assert.equal(await signIn({ Origin: own }), 303);
  const out = async (
    method: string,
    path: string,
    headers: Readonly<Record<string, string>>,
    text?: string,
  ) =>
    (
      await site.ask(path, {
        method,
        headers: { Cookie: cookie, ...headers },
        ...(text ? { body: text } : {}),
      })
    ).status;
  assert.equal(await out('DELETE', '/api/v1/session', { Origin: EVIL }), 403);
  assert.equal(await out('POST', '/api/v1/session/end', { Origin: own, ...FORM_TYPE }, 'x=1'), 403);
  const who = async () =>
    JSON.parse((await site.ask('/api/v1/session', { headers: { Cookie: cookie } })).text);
  assert.equal((await who()).name, 'ops');
  assert.equal(await out('POST', '/api/v1/session/end', { Origin: own, ...FORM_TYPE }, `csrf=${csrf}`), 303);
  assert.equal((await who()).via, 'open');
});
