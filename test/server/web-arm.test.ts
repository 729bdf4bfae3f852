import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Refusal } from '../../src/errors/refusal.ts';
import { jsonAnswer } from '../../src/serve/http/http-pages.ts';
import type { Page, PageAnswer, PageRequest } from '../../src/serve/http/http-types.ts';
import { armByForm } from '../../src/server/web-arm.ts';

const MAC = '52:54:00:12:34:56';

function form(fields: Readonly<Record<string, string>>): PageRequest {
  return {
    method: 'POST',
    path: '/ui/machines/52-54-00-12-34-56',
    query: new URLSearchParams(),
    headers: { 'content-type': 'application/x-www-form-urlencoded', cookie: 'bootseal=x', host: 'localhost' },
    remote: '127.0.0.1',
    way: 'loopback',
    body: Buffer.from(new URLSearchParams({ csrf: 'word', ...fields }).toString()),
    signal: new AbortController().signal,
  } as unknown as PageRequest;
}

/** An API that answers so, and what it was asked. */
function apiOf(answer: PageAnswer | Refusal) {
  const asked: PageRequest[] = [];
  const page: Page = {
    handle(request) {
      asked.push(request);
      return answer;
    },
  };
  return {
    asked,
    find: (path: string) => (path === '/api/v1/machines/52-54-00-12-34-56/arm' ? page : undefined),
  };
}

it('asks the API, as whoever sent the form, for what the form says', async () => {
  const { asked, find } = apiOf(jsonAnswer(200, { answer: 'armed' }));
  const outcome = await armByForm(
    form({ act: 'arm', release: 'arch/2026.11.01', afterwards: 'usual', sure: '1' }),
    MAC,
    find,
  );
  assert.deepEqual(outcome, { kind: 'done' });
  const [request] = asked;
  assert.equal(request?.method, 'POST');
  assert.equal(request?.headers['content-type'], 'application/json');
  assert.equal(request?.headers.cookie, 'bootseal=x');
  assert.deepEqual(JSON.parse(Buffer.from(request?.body ?? []).toString()), {
    release: 'arch/2026.11.01',
    afterwards: 'usual',
  });
});

it('disarms without a body', async () => {
  const { asked, find } = apiOf(jsonAnswer(200, { answer: 'not armed' }));
  assert.deepEqual(await armByForm(form({ act: 'disarm' }), MAC, find), { kind: 'done' });
  assert.deepEqual(
    asked.map(({ method, body }) => [method, body.length]),
    [['DELETE', 0]],
  );
});

it('asks nothing where nobody said that they are sure, or the form is none', async () => {
  const { asked, find } = apiOf(jsonAnswer(200, {}));
  for (const fields of [{ act: 'arm', release: 'a/1' }, { act: 'other', sure: '1' }, {}])
    assert.equal((await armByForm(form(fields as never), MAC, find)).kind, 'refused');
  assert.equal(asked.length, 0);
  assert.equal((await armByForm(form({ act: 'disarm' }), '52:54:00:12:34:57', find)).kind, 'refused');
});

it('says why not, and what somebody with a key does instead', async () => {
  const no = apiOf(new Refusal('withdrawn', 'arch/1 was withdrawn.'));
  assert.deepEqual(await armByForm(form({ act: 'disarm' }), MAC, no.find), {
    ...{ kind: 'refused', status: 410, why: 'arch/1 was withdrawn.' },
  });
  const waits = apiOf(
    jsonAnswer(202, { answer: 'waiting for a signature', command: 'bootseal machines arm' }),
  );
  assert.deepEqual(await armByForm(form({ act: 'arm', release: 'a/1', sure: '1' }), MAC, waits.find), {
    ...{ kind: 'waits', command: 'bootseal machines arm', why: undefined },
  });
});
