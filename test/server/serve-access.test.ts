import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { UsageError } from '../../src/errors/usage.ts';
import { encodeBootReport } from '../../src/formats/records/boot-report.ts';
import { addToken, revokeToken } from '../../src/operations/tokens.ts';
import { publish } from '../../src/publish/publish.ts';
import {
  type Configuration,
  DEFAULT_CONFIGURATION,
  readConfiguration,
} from '../../src/server/configuration.ts';
import { type ServeOptions, serve } from '../../src/server/serve.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { sampleTree, sealFixture } from '../fixtures/release.ts';
import { tlsPair } from '../fixtures/tls-pair.ts';

const run = promisify(execFile);
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const anchors = join(keys, 'anchors');
const state = join(folder, 'state');
const tree = await sampleTree(join(folder, 'tree'), keys);
await sealFixture(tree, keys);
await publish({ channel: 'stable', state, anchors, now: NOW, snapshotKey: keys, tree });
const pair = await tlsPair(folder);
const next = await tlsPair(folder, 'next');
const { secret } = await addToken({ state, name: 'ops', scopes: ['read', 'arm'], now: NOW });
const gone = await addToken({ state, name: 'gone', scopes: ['read'], now: NOW });

async function started(t: TestContext, configuration: Partial<Configuration> = {}) {
  const said: string[] = [];
  const waiting: (() => void)[] = [];
  const say = (facts: object, message: string) => {
    said.push(JSON.stringify([facts, message]));
    for (const look of waiting) look();
  };
  const server = await serve({
    ...{ state, anchors, clock: () => NOW, httpPort: 0, tftpPort: false, nbdPort: false },
    configuration,
    log: { info: say, warn: say, error: say },
  });
  t.after(() => server.close(0));
  const heard = (text: string) =>
    new Promise<void>((resolve) => {
      const look = () => said.some((line) => line.includes(text)) && resolve();
      waiting.push(look);
      look();
    });
  return { server, said, heard };
}

/** By any name and with any fields; no client of HTTP lets one say Host freely but this. */
async function ask(
  url: string,
  headers: Readonly<Record<string, string>> = {},
  method = 'GET',
  body?: string,
) {
  const req = request(url, { headers, method, agent: false });
  req.end(body);
  const [res] = await once(req, 'response');
  let text = '';
  for await (const piece of res.setEncoding('utf8')) text += piece;
  return { status: res.statusCode as number, text, location: res.headers.location as string | undefined };
}

const bearer = (token = secret) => ({ Authorization: `Bearer ${token}` });
const READING = ['/', '/api/v1/release', '/api/v1/loaders', '/api/v1/trust', '/api/v1/session'];

it('is open to who reads, and to machines by any name', async (t) => {
  const { server } = await started(t);
  assert.equal(server.https, undefined);
  for (const path of [...READING, '/metrics', '/healthz', '/readyz', '/sign-in'])
    assert.equal((await ask(`${server.url}${path}`)).status, 200, path);
  const elsewhere = { Host: 'boot.example:8080' };
  for (const path of READING) assert.equal((await ask(`${server.url}${path}`, elsewhere)).status, 421, path);
  for (const path of [
    '/boot.ipxe',
    '/metrics',
    '/healthz',
    '/readyz',
    '/api/v1/boots/nonce?mac=52-54-00-12-34-56',
  ])
    assert.equal((await ask(`${server.url}${path}`, elsewhere)).status, 200, path);
  // Open, too; that question says nothing that could be noted.
  assert.equal((await ask(`${server.url}/api/v1/boots/gave-up`, elsewhere)).status, 400);
});

it('reads by token alone where the configuration says so; machines need none, nor does whoever watches', async (t) => {
  const { server } = await started(t, { api: { read: 'token', hosts: ['boot.example'] } });
  for (const path of [...READING, '/metrics']) {
    const none = await ask(`${server.url}${path}`);
    if (path === '/') assert.deepEqual([none.status, none.location], [303, '/sign-in']);
    else assert.equal(none.status, 401, path);
    assert.equal((await ask(`${server.url}${path}`, bearer())).status, 200, path);
    assert.equal(
      (await ask(`${server.url}${path}`, { ...bearer(), Host: 'boot.example' })).status,
      200,
      path,
    );
  }
  const nonce = await ask(`${server.url}/api/v1/boots/nonce?mac=52-54-00-12-34-56`);
  const report = encodeBootReport({
    ...{ mac: '52:54:00:12:34:56', nonce: JSON.parse(nonce.text).nonce, outcome: 'verified' },
    ...{ release: 'arch/2026.11.01', root: 'ram' },
  });
  assert.equal((await ask(`${server.url}/api/v1/boots`, {}, 'POST', report)).text, '{"answer":"noted"}\n');
  for (const path of ['/boot.ipxe', '/healthz', '/readyz', '/sign-in'])
    assert.equal((await ask(`${server.url}${path}`)).status, 200, path);
  // Numbers may be open beside it, and the other way round.
  const open = await started(t, { api: { read: 'token', metrics: 'open', hosts: [] } });
  assert.equal((await ask(`${open.server.url}/metrics`)).status, 200);
  const closed = await started(t, { api: { read: 'open', metrics: 'token', hosts: [] } });
  assert.equal((await ask(`${closed.server.url}/metrics`)).status, 401);
  assert.equal((await ask(`${closed.server.url}/metrics`, bearer())).status, 200);
  assert.equal((await ask(`${closed.server.url}/api/v1/trust`)).status, 200);
});

it('is told nothing more by a token that was revoked while it runs', async (t) => {
  const { server } = await started(t, { api: { read: 'token', hosts: [] } });
  assert.equal((await ask(`${server.url}/api/v1/trust`, bearer(gone.secret))).status, 200);
  await revokeToken({ state, name: 'gone', now: NOW });
  assert.equal((await ask(`${server.url}/api/v1/trust`, bearer(gone.secret))).status, 401);
  assert.equal((await ask(`${server.url}/api/v1/trust`, bearer())).status, 200);
});

it('says that the tokens cannot be read, where whoever watches over it looks', async (t) => {
  const { server, heard } = await started(t);
  const path = join(state, 'tokens');
  await copyFile(path, `${folder}/kept`);
  await writeFile(path, 'broken\n');
  await heard('the tokens cannot be read, and nobody may write');
  assert.match((await ask(`${server.url}/readyz`)).text, /^ready\n.*warning: nobody may write by the API: /s);
  await copyFile(`${folder}/kept`, path);
});

it('serves HTTPS beside HTTP, by the certificate that is there, and a new one without a restart', async (t) => {
  const used = { certificate: join(folder, 'used.crt'), key: join(folder, 'used.key') };
  const put = async (from: typeof used) => {
    await copyFile(from.certificate, used.certificate);
    await copyFile(from.key, used.key);
  };
  await put(pair);
  await writeFile(
    join(folder, 'serve.toml'),
    '[tls]\ncertificate = "used.crt"\nkey = "used.key"\nport = 0\n',
  );
  const { server, heard } = await started(t, await readConfiguration(join(folder, 'serve.toml')));
  const base = `https://127.0.0.1:${server.https?.port}`;
  assert.deepEqual(server.https?.urls, [base]);
  const curl = async (ca: string, ...words: string[]) =>
    (await run('curl', ['-s', '--noproxy', '*', '--cacert', ca, ...words])).stdout;
  assert.match(await curl(pair.certificate, `${base}/boot.ipxe`), /^#!ipxe/);
  assert.equal(
    await curl(pair.certificate, '-H', `Authorization: Bearer ${secret}`, `${base}/api/v1/session`),
    '{"name":"ops","scopes":["read","arm"],"via":"token"}\n',
  );
  // A browser: it shows the token once, and is known by its cookie from then on.
  const jar = join(folder, 'jar');
  await curl(pair.certificate, '-c', jar, '--data-urlencode', `token=${secret}`, `${base}/api/v1/session`);
  assert.match(
    await curl(pair.certificate, '-b', jar, `${base}/api/v1/session`),
    /"name":"ops".*"via":"session"/,
  );
  await put(next);
  await heard('HTTPS has a new certificate');
  assert.match(await curl(next.certificate, '-b', jar, `${base}/api/v1/session`), /"via":"session"/);
  await assert.rejects(curl(pair.certificate, `${base}/healthz`));
  const child = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${server.https?.port}`]);
  let shown = '';
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    shown += piece;
  });
  child.stdin.end();
  await once(child, 'close');
  assert.match(shown, /subject=CN = next/);
});

it('writes no token, cookie or word of a form into its log', async (t) => {
  const { server, said } = await started(t, { api: { read: 'token', hosts: [] } });
  const wrong = `bst_${'W'.repeat(43)}`;
  const json = { 'Content-Type': 'application/json' };
  const signIn = await ask(`${server.url}/api/v1/session`, json, 'POST', JSON.stringify({ token: secret }));
  const { csrf } = JSON.parse(signIn.text);
  for (const token of [secret, wrong]) {
    await ask(`${server.url}/api/v1/trust`, bearer(token));
    await ask(`${server.url}/api/v1/trust?token=${token}`);
    await ask(`${server.url}/api/v1/session`, json, 'POST', JSON.stringify({ token }));
    await ask(
      `${server.url}/api/v1/session`,
      json,
      'POST',
      JSON.stringify({ token: `${token} ` }).slice(0, -2),
    );
    await ask(`${server.url}/api/v1/session/end`, {}, 'POST', `csrf=${csrf}`);
    // Where nobody would look for one: in the path.
    assert.equal((await ask(`${server.url}/${token}`)).status, 400);
    await ask(`${server.url}/api/v1/${token}/x`);
  }
  await server.close(0);
  const log = said.join('\n');
  assert.ok(log.includes('somebody signed in') && log.includes('unauthorized'));
  for (const hidden of [secret, secret.slice(4, 30), wrong, wrong.slice(4, 30), csrf])
    assert.ok(
      !log.includes(hidden),
      said.find((line) => line.includes(hidden)),
    );
});

it('does not start where nobody could ever use it so', async () => {
  const serving = (configuration: Partial<Configuration>, more: Partial<ServeOptions> = {}) =>
    serve({
      ...{ anchors, clock: () => NOW, httpPort: 0, tftpPort: false, nbdPort: false },
      tree,
      configuration,
      ...more,
    });
  const { api } = DEFAULT_CONFIGURATION;
  await assert.rejects(serving({ api: { ...api, read: 'token' } }), UsageError);
  await assert.rejects(serving({ api: { ...api, metrics: 'token' } }), UsageError);
  await assert.rejects(serving({ tls: { ...pair, key: next.key, port: 0 } }), UsageError);
});
