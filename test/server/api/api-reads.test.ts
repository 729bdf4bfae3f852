import assert from 'node:assert/strict';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { Validator } from '@seriousme/openapi-schema-validator';
import { Ajv2020, type AnySchema } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import { armMachine } from '../../../src/publish/arm.ts';
import { withdrawRelease } from '../../../src/publish/withdraw.ts';
import type { Page } from '../../../src/serve/http/http-types.ts';
import { apiRoutes, demandDescribed } from '../../../src/server/api/api.ts';
import type { ApiDesk } from '../../../src/server/api/api-desk.ts';
import { serve } from '../../../src/server/serve.ts';
import { quarantineRelease } from '../../../src/store/quarantine.ts';
import { copier } from '../../faults/copies.ts';
import { readyKeyPair } from '../../fixtures/ready-keys.ts';
import { NEW, OLD } from '../../keyholder/sites.ts';
import { apiSite, ask, MAC, OTHER_MAC, serving } from './api-site.ts';

const site = await apiSite();
const { state, keys, anchors } = site;
const now = Date.now();
await armMachine({
  ...{ state, keys, anchors, now, mac: OTHER_MAC, release: OLD, words: [], lasts: 3_600_000 },
  ...{ afterwards: 'usual', loader: 'ipxe', by: 'a test', snapshotKey: keys },
  ...{ rsaBits: 2048, makeKeyPair: readyKeyPair },
});
const PUT_ASIDE = 'arch/2026.10.01';
await quarantineRelease(
  state,
  {
    ...{ release: PUT_ASIDE, manifest: '', origin: 'local', code: 'drifted', message: 'It changed.' },
    command: `bootseal verify ${state}/quarantine/${PUT_ASIDE}/release`,
  },
  now,
  true,
);
await mkdir(join(state, 'loaders'));
await writeFile(join(state, 'loaders', 'undionly.kpxe'), 'a loader');

const fresh = copier(site.folder, state);
const server = await serving({ after }, site, state);
// Leaves receipts: a boot that goes on, and one that is refused.
await fetch(`${server.url}/boot.ipxe?mac=${MAC.replaceAll(':', '-')}`);
await fetch(`${server.url}/boot.ipxe.sig?mac=${MAC.replaceAll(':', '-')}`);
const [boot] = (await ask(server, 'GET', '/boots')).value.boots;

const { value: described } = await ask(server, 'GET', '/openapi.json');
const ajv = new Ajv2020({ strict: false, allErrors: true });
formats.default(ajv);

/** Of an operation's description what is looked at here. */
interface Described {
  readonly responses: { readonly 200: { readonly content: { 'application/json': { schema: AnySchema } } } };
}

/** A path of each that can be read; one that has none fails. */
const READS: Readonly<Record<string, readonly string[]>> = {
  '/api/v1/status': ['/status'],
  '/api/v1/release': ['/release'],
  '/api/v1/loaders': ['/loaders'],
  '/api/v1/trust': ['/trust'],
  '/api/v1/forecast': ['/forecast'],
  '/api/v1/releases': ['/releases', '/releases?limit=1'],
  '/api/v1/releases/{name}/{version}': [`/releases/${OLD}`, `/releases/${NEW}`, `/releases/${PUT_ASIDE}`],
  '/api/v1/quarantine': ['/quarantine'],
  '/api/v1/channels': ['/channels'],
  '/api/v1/channels/{name}': ['/channels/stable', '/channels/next?limit=1'],
  '/api/v1/machines': ['/machines', '/machines?limit=1'],
  '/api/v1/machines/{mac}': [`/machines/${MAC}`, `/machines/${OTHER_MAC.replaceAll(':', '-')}?loader=grub`],
  '/api/v1/boots': ['/boots', `/boots?machine=${MAC}&failed=false&limit=500`],
  '/api/v1/boots/{id}': [`/boots/${boot.boot}`],
  '/api/v1/boots/summary': ['/boots/summary', '/boots/summary?since=2026-01-01T00:00:00Z'],
  '/api/v1/boots/nonce': [`/boots/nonce?mac=${MAC}`],
  '/api/v1/boots/gave-up': [
    `/boots/gave-up?mac=${MAC}&step=${Buffer.from('verify the kernel').toString('hex')}&errno=`,
  ],
  '/api/v1/refusals': ['/refusals'],
  '/api/v1/log': ['/log', '/log?limit=2&before=3'],
  '/api/v1/openapi.json': ['/openapi.json'],
  '/api/v1/events': ['/events?poll', '/events?poll&of=boot,state,page&after=0-0'],
  '/api/v1/session': ['/session'],
};

describe('the description of the API', () => {
  it('is OpenAPI, as others read it', async () => {
    const result = await new Validator().validate(described);
    assert.deepEqual(result.errors ?? [], []);
    assert.equal(result.valid, true);
  });

  it('has every route of the table, with its own schemas', () => {
    const nobody = new Proxy({}, { get: () => () => undefined }) as ApiDesk;
    const routes = apiRoutes({ ...nobody, state: undefined, signer: undefined });
    assert.ok(routes.length > 25, 'the table was read');
    for (const { method, path } of routes) {
      const operation = described.paths[`/api/v1${path}`]?.[method.toLowerCase()];
      assert.ok(operation?.operationId, `${method} ${path}`);
    }
    const operations = Object.values(described.paths).flatMap((path) => Object.values(path as object));
    assert.equal(operations.length, routes.length);
    assert.equal(new Set(operations.map(({ operationId }) => operationId)).size, routes.length);
  });

  it('leaves out no page that the server has below it, and tells of none that it has not', () => {
    const nobody = new Proxy({}, { get: () => () => undefined }) as ApiDesk;
    const routes = apiRoutes({ ...nobody, state: undefined, signer: undefined });
    const page: Page = { handle: () => ({ status: 200, body: '' }) };
    const elsewhere = routes.filter(({ handle }) => handle === undefined);
    // As a server builds them: each of these is a page of another room.
    const whole = new Map<string, Page>();
    for (const { method, path } of elsewhere) {
      const before = whole.get(`/api/v1${path}`)?.methods ?? [];
      whole.set(`/api/v1${path}`, { ...page, methods: [...before, method] });
    }
    demandDescribed(whole, routes);
    assert.throws(() => demandDescribed(new Map([...whole, ['/api/v1/more', page]]), routes), {
      message: 'GET /api/v1/more is not in the description of the API',
    });
    const written: Page = { ...page, methods: ['GET', 'DELETE'] };
    assert.throws(() => demandDescribed(new Map([...whole, ['/api/v1/events', written]]), routes), {
      message: 'DELETE /api/v1/events is not in the description of the API',
    });
    const fewer = new Map([...whole].filter(([path]) => path !== '/api/v1/events'));
    assert.throws(() => demandDescribed(fewer, routes), {
      message: 'GET /api/v1/events is described, and nobody answers it',
    });
  });

  it('says of events that they are a stream, and of forms that they are taken', () => {
    const { paths } = described;
    assert.deepEqual(Object.keys(paths['/api/v1/events'].get.responses[200].content), [
      'application/json',
      'text/event-stream',
    ]);
    assert.deepEqual(Object.keys(paths['/api/v1/session'].post.requestBody.content), [
      'application/json',
      'application/x-www-form-urlencoded',
    ]);
    assert.equal(paths['/api/v1/session'].delete.responses[204].content, undefined);
  });
});

describe('what can be read', () => {
  for (const [path, methods] of Object.entries<{ readonly get?: Described }>(described.paths)) {
    if (methods.get === undefined) continue;
    const { schema } = methods.get.responses[200].content['application/json'];
    it(`${path} answers what its schema says`, async () => {
      const examples = READS[path] ?? [];
      assert.ok(examples.length > 0, 'there is an example');
      for (const example of examples) {
        const { status, value, headers } = await ask(server, 'GET', example);
        assert.equal(status, 200, `${example}: ${JSON.stringify(value)}`);
        assert.equal(headers.get('cache-control'), 'no-store');
        const fits = ajv.compile(schema);
        assert.ok(fits(value), `${example}: ${ajv.errorsText(fits.errors)} in ${JSON.stringify(value)}`);
        // Where the state lies is nobody's business.
        assert.ok(!JSON.stringify(value).includes(site.folder), example);
      }
    });
  }

  it('tells of releases where each stands, and by pages', async () => {
    const { releases } = (await ask(server, 'GET', '/releases')).value;
    const standing = Object.fromEntries(
      releases.map((one: { release: string; standing: string; channels: string[] }) => [
        one.release,
        [one.standing, one.channels],
      ]),
    );
    assert.deepEqual(standing, {
      [PUT_ASIDE]: ['stored', []],
      [OLD]: ['offered', ['stable']],
      [NEW]: ['offered', ['next']],
    });
    const first = (await ask(server, 'GET', '/releases?limit=2')).value;
    assert.deepEqual([first.releases.length, first.next], [2, OLD]);
    const rest = (await ask(server, 'GET', `/releases?limit=2&after=${encodeURIComponent(first.next)}`))
      .value;
    assert.deepEqual(
      [rest.releases.map((one: { release: string }) => one.release), rest.next],
      [[NEW], undefined],
    );
    const one = (await ask(server, 'GET', `/releases/${OLD}`)).value;
    assert.equal(one.verified, true);
    assert.deepEqual(one.drifted, []);
    assert.ok(one.seals.some(({ path }: { path: string }) => path === 'release.manifest.cms.sig'));
    assert.equal((await ask(server, 'GET', '/releases/arch/1999.01.01')).status, 404);
  });

  it('tells a file that changed on disk, as a client would find it', async (t) => {
    const copy = await fresh();
    const other = await serving(t, site, copy);
    const { manifest } = (await ask(other, 'GET', `/releases/${OLD}`)).value;
    const { path } = manifest.files[0];
    await chmod(join(copy, 'releases', OLD, path), 0o644);
    await writeFile(join(copy, 'releases', OLD, path), 'other bytes');
    const { drifted } = (await ask(other, 'GET', `/releases/${OLD}`)).value;
    assert.deepEqual(
      drifted.map((one: { path: string; code: string }) => [one.path, one.code]),
      [[path, 'drifted']],
    );
  });

  it('tells why a machine gets what it gets, what it is armed with, and its boots', async () => {
    const one = (await ask(server, 'GET', `/machines/${MAC}`)).value;
    assert.equal(one.written.by, 'the group readers');
    assert.equal(one.written.known, 'reader-1');
    assert.equal(one.signed, undefined, 'nobody has signed it');
    assert.equal(one.boots[0].machine, MAC);
    const armed = (await ask(server, 'GET', `/machines/${OTHER_MAC}`)).value.armed;
    assert.deepEqual([armed.release, armed.state, armed.proof], [OLD, 'armed', 'files']);
    const { machines, signed } = (await ask(server, 'GET', '/machines')).value;
    assert.equal(signed, false);
    assert.deepEqual(
      machines.map(({ name, macs, last }: { name: string; macs: string[]; last?: object }) => [
        name,
        macs,
        last !== undefined,
      ]),
      [['reader-1', [MAC], true]],
    );
  });

  it('tells the log from its end, page by page, whole', async () => {
    const all = (await ask(server, 'GET', '/log?limit=500')).value;
    assert.equal(all.entries.length, all.size);
    assert.equal(all.next, undefined);
    const indexes: number[] = [];
    let before = '';
    for (;;) {
      const page = (await ask(server, 'GET', `/log?limit=2${before}`)).value;
      indexes.push(...page.entries.map(({ index }: { index: number }) => index));
      if (page.next === undefined) break;
      before = `&before=${page.next}`;
    }
    assert.deepEqual(
      indexes,
      all.entries.map(({ index }: { index: number }) => index),
    );
    assert.ok(all.entries.every(({ signed }: { signed: boolean }) => signed));
  });

  it('goes through boots by pages', async () => {
    for (const mac of ['52-54-00-00-01-01', '52-54-00-00-01-02', '52-54-00-00-01-03'])
      await fetch(`${server.url}/boot.ipxe?mac=${mac}`);
    const seen: string[] = [];
    let before = '';
    for (;;) {
      const { boots, next } = (await ask(server, 'GET', `/boots?limit=1${before}`)).value;
      seen.push(...boots.map((one: { machine: string }) => one.machine));
      if (next === undefined) break;
      before = `&before=${next}`;
    }
    assert.deepEqual([...seen].sort(), [MAC, '52:54:00:00:01:01', '52:54:00:00:01:02', '52:54:00:00:01:03']);
  });
});

describe('what is not understood', () => {
  const bad: readonly (readonly [string, string, number])[] = [
    ['a field that nobody knows', '/boots?colour=red', 400],
    ['a field twice', '/boots?limit=1&limit=2', 400],
    ['a number that is none', '/boots?limit=1e2', 400],
    ['a number beyond what is allowed', '/boots?limit=501', 400],
    ['a time that is none', '/boots?since=yesterday', 400],
    ['an outcome that is none', '/boots?outcome=good', 400],
    ['a stage that is none', '/boots?stage=constructor', 400],
    ['an id of a boot that is none', '/boots/..%2f..%2fformat', 400],
    ['an id of a boot that nobody has', '/boots/00000000-00000000', 404],
    ['an address that is none', '/machines/52:54:00:12:34', 400],
    ["a group's address", '/machines/01:00:5e:00:00:01', 400],
    ['a folder', '/channels/', 404],
    ['a channel with a percent sign', '/channels/%2e%2e%2fformat', 400],
    ['a channel that is none', '/channels/Stable', 400],
    ['a channel that is not there', '/channels/nightly', 404],
    ['a release that climbs', '/releases/arch/..%2f..%2fprivate', 400],
    ['a release of one part', '/releases/arch', 404],
    ['nothing of the API', '/secrets', 404],
  ];
  for (const [what, path, status] of bad)
    it(`${what}: ${status}, as JSON with a plain sentence`, async () => {
      const { value, ...told } = await ask(server, 'GET', path);
      assert.equal(told.status, status, JSON.stringify(value));
      assert.match(told.headers.get('content-type') ?? '', /^application\/json/);
      assert.match(value.message, /^[A-Z].*\.$/);
      assert.equal(typeof value.code, 'string');
    });

  it('another method is 405, with those that there are', async () => {
    for (const [method, path, allow] of [
      ['DELETE', '/boots', 'GET, HEAD, POST'],
      ['POST', '/status', 'GET, HEAD'],
      ['GET', `/machines/${MAC}/arm`, 'POST, DELETE'],
      ['POST', `/machines/${MAC}/assignment`, 'PUT, DELETE'],
      ['DELETE', '/channels/stable', 'GET, HEAD'],
    ] as const) {
      const { status, headers } = await ask(server, method, path, { token: site.tokens.arm });
      assert.deepEqual([status, headers.get('allow')], [405, allow], `${method} ${path}`);
    }
  });

  it('HEAD has what GET has, and no body', async () => {
    const answer = await fetch(`${server.url}/api/v1/channels/stable`, { method: 'HEAD' });
    assert.equal(answer.status, 200);
    assert.ok(Number(answer.headers.get('content-length')) > 100);
    assert.equal(await answer.text(), '');
  });

  it('text where somebody wants text', async () => {
    const { value } = await ask(server, 'GET', '/channels/nightly', { headers: { accept: 'text/plain' } });
    assert.equal(value, 'absent: There is no channel nightly here.\n');
  });
});

it('a server of a tree answers, too, with what it knows', async (t) => {
  const given = { tree: site.tree, anchors, httpPort: 0, tftpPort: false, nbdPort: false } as const;
  const other = await serve(given);
  t.after(() => other.close(0));
  assert.equal((await ask(other, 'GET', '/status')).value.state, false);
  assert.deepEqual((await ask(other, 'GET', '/channels')).value, { channels: [] });
  assert.equal((await ask(other, 'GET', '/releases')).value.releases.length, 1);
  assert.deepEqual((await ask(other, 'GET', '/log')).value, { entries: [], size: 0 });
  const { status, value } = await ask(other, 'POST', '/channels/stable/renew', { body: {} });
  assert.deepEqual([status, value.code], [403, 'forbidden']);
});

it('the pages of the log and the state that nobody can read are told as such', async (t) => {
  const copy = await fresh();
  const other = await serving(t, site, copy);
  await writeFile(join(copy, 'log', 'offsets'), Buffer.alloc(800, 0xff));
  const { status, value } = await ask(other, 'GET', '/log');
  assert.deepEqual([status, value.code], [503, 'drifted']);
});

it('a withdrawn release says so', async (t) => {
  const copy = await fresh();
  await withdrawRelease({
    ...{ state: copy, release: NEW, reason: 'It does not start.', cutRunning: false },
    ...{ snapshotKey: keys, now: Date.now() },
  });
  const other = await serving(t, site, copy);
  const { standing, withdrawn, refusal } = (await ask(other, 'GET', `/releases/${NEW}`)).value;
  assert.equal(standing, 'withdrawn');
  assert.deepEqual([withdrawn.reason, withdrawn.now], ['It does not start.', false]);
  assert.equal(refusal.code, 'withdrawn');
});
