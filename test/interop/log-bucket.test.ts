import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { s3Engine } from '../../lab/s3.ts';
import { encodePem } from '../../src/formats/asn1/armor.ts';
import { decodeCheckpointFile } from '../../src/formats/records/checkpoint.ts';
import type { Caller } from '../../src/server/access/access.ts';
import type { ApiDesk } from '../../src/server/api/api-desk.ts';
import { logRoutes } from '../../src/server/api/log-routes.ts';
import { makeSnapshotKey } from '../../src/signing/keys/snapshot-key.ts';
import { recordsOf } from '../../src/store/folder-backend.ts';
import { recordAct } from '../../src/store/log.ts';
import { entryKey } from '../../src/store/log-bucket-objects.ts';
import { logKey, readCheckpoint } from '../../src/store/log-files.ts';
import { openState } from '../../src/store/state.ts';
import { writeSnapshotAnchors } from '../../src/store/state-anchors.ts';
import { runHere as run } from '../cli/here.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { readyKeyPair } from '../fixtures/ready-keys.ts';
import { logContract } from '../store/log-contract.ts';
import { bucketLogs } from '../store/log-makers.ts';

/** The log of a bucket, where the bucket is a real one: Ceph's gateway keeps its conditions, or nobody does. */

const APPENDER = fileURLToPath(new URL('log-appender.js', import.meta.url));
const WRITERS = 2;
const EACH = 50;

const node = await s3Engine(after);
Object.assign(process.env, node.environment());
const { accessKey: accessKeyId, secretKey: secretAccessKey } = node.keys;
const client = new S3Client({
  endpoint: node.endpoint,
  region: 'us-east-1',
  forcePathStyle: true,
  credentials: { accessKeyId, secretAccessKey },
});
after(() => client.destroy());
const BUCKET = `log-${process.pid}`;
await client.send(new CreateBucketCommand({ Bucket: BUCKET }));

const folder = await temporaryFolder();
const keys = join(folder, 'keys');
const key = await makeSnapshotKey(keys, 'lab', Date.now(), 2048, readyKeyPair);
const crt = encodePem('CERTIFICATE', key.certificate.raw);

async function newState(name: string): Promise<string> {
  const state = `s3://${BUCKET}/${name}`;
  await (await openState(state)).release();
  await writeSnapshotAnchors(state, crt);
  return state;
}

/** Two processes that append at once. */
async function appendAtOnce(state: string): Promise<void> {
  const children = Array.from({ length: WRITERS }, (_, writer) =>
    spawn(process.execPath, [APPENDER, state, keys, String(writer), String(EACH)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    }),
  );
  after(() => {
    for (const child of children) child.kill('SIGKILL');
  });
  await Promise.all(children.map((child) => once(child.stdout, 'data')));
  for (const child of children) child.stdin.write('go\n');
  const ended = await Promise.all(children.map((child) => once(child, 'close')));
  assert.deepEqual(
    ended.map(([code]) => code),
    [0, 0],
  );
}

describe('the log of a bucket in Ceph', async () => {
  const state = await newState('site');
  const check = (...more: string[]) => run(['log', 'check', '--state', state, ...more]);

  it(`${WRITERS} processes append ${EACH} entries each at once, and all of them are there`, async () => {
    await appendAtOnce(state);
    const checked = JSON.parse((await check('--json')).out);
    assert.deepEqual([checked.verified, checked.size, checked.waiting], [true, WRITERS * EACH, 0]);
    const { entries } = JSON.parse((await run(['log', 'show', '--state', state, '--json'])).out);
    const origins: string[] = entries.map(({ origin }: { origin: string }) => origin);
    const writers = origins.map((origin) => origin.slice(0, 8));
    for (let writer = 0; writer < WRITERS; writer += 1) {
      const own = origins.filter((origin) => origin.startsWith(`writer ${writer}`));
      assert.equal(own.length, EACH);
      assert.deepEqual(own, own.toSorted());
    }
    const turns = writers.filter((writer, at) => at > 0 && writer !== writers[at - 1]).length;
    assert.ok(turns > 2, `they took turns ${turns} times`);
  });

  it('openssl takes the seal of its head', async () => {
    const head = await readCheckpoint(state);
    assert.ok(head);
    const paths = ['head', 'content', 'log.crt'].map((name) => join(folder, name));
    const [file = '', content = '', certificate = ''] = paths;
    await writeFile(file, head.bytes);
    await writeFile(content, decodeCheckpointFile(head.bytes).bytes);
    await writeFile(certificate, crt);
    await promisify(execFile)(
      'openssl',
      `cms -verify -binary -noattr -nointern -inform PEM -purpose any -in ${file} -content ${content} -certfile ${certificate} -CAfile ${certificate} -out /dev/null`.split(
        ' ',
      ),
    );
  });

  it('what waits is told, and signed by a key that is named: a bucket holds none', async () => {
    await recordAct(state, { time: Date.now(), act: 'token', origin: 'add one' });
    const waits = await check();
    assert.equal(waits.code, 1);
    assert.match(waits.err, /Entry 100 and those after it wait for a signature/);
    assert.match((await check('--allow-waiting')).out, /1 entry from 100 on: waiting for a signature/);
    const without = await run(['log', 'sign', '--state', state]);
    assert.equal(without.code, 2);
    assert.match(without.err, /has no snapshot key: name the folder .* with --snapshot-key/);
    const signed = await run(['log', 'sign', '--state', state, '--snapshot-key', keys, '--json']);
    assert.deepEqual(JSON.parse(signed.out).signed, 1);
    assert.match((await check()).out, /VERIFIED: log [0-9a-f]{32}, 101 entries/);
  });

  it('a proof is made of it, and holds without the bucket', async () => {
    const proof = join(folder, 'proof.txt');
    const made = await run([
      'log',
      'prove',
      'arch/2026.11.01',
      '--state',
      state,
      '--index',
      '41',
      '--out',
      proof,
    ]);
    assert.deepEqual([made.code, made.err], [0, '']);
    const checked = await run(['log', 'check', proof, '--anchors', join(keys, 'anchors')]);
    assert.match(checked.out, /^VERIFIED: publish arch\/2026\.11\.01 of \S+Z is entry 41 of 101 of log/);
  });

  it('the API shows a page of it', async () => {
    const [route] = logRoutes({ state } as ApiDesk);
    assert.ok(route?.handle);
    const { value } = await route.handle({
      parameters: {},
      query: { limit: 3, before: 50 },
      body: undefined,
      caller: {} as Caller,
    });
    const { entries, size, next } = value as {
      entries: { index: number }[];
      size: number;
      next: number;
    };
    assert.deepEqual([entries.map(({ index }) => index), size, next], [[49, 48, 47], 101, 47]);
  });

  it('somebody who writes into the bucket is found out', async () => {
    const records = recordsOf(state);
    const kept = join(folder, 'kept');
    const newest = (await readCheckpoint(state))?.bytes ?? Buffer.alloc(0);
    await writeFile(kept, newest);
    const entry = (await records.get(entryKey(60)))?.bytes ?? Buffer.alloc(0);
    await records.put(entryKey(60), Buffer.from(Buffer.from(entry).toString().replace('act 0', 'act 9')));
    const changed = await check();
    assert.equal(changed.code, 1);
    assert.match(changed.err, /Entry 60 of the log is not the one that was recorded/);
    await records.remove(entryKey(60));
    assert.match((await check()).err, /Entry 60 of the log was taken away/);
    await records.put(entryKey(60), entry);
    await records.remove(entryKey(100));
    assert.match((await check()).err, /Entry 100 of the log was taken away/);
    const leads = await run(['log', 'show', '--state', state]);
    assert.equal(leads.code, 1);
    assert.match(leads.err, /is over 101 entries, and entry 100 is not there/);
    const stopped = await run(['log', 'sign', '--state', state, '--snapshot-key', keys]);
    assert.equal(stopped.code, 1);
    assert.deepEqual((await records.get(logKey('checkpoint')))?.bytes, newest);
  });

  it('there is nothing in an empty bucket', async () => {
    const none = await run(['log', 'show', '--state', `s3://${BUCKET}/nothing`]);
    assert.equal(none.code, 1);
    assert.match(none.err, /There is no log in s3:\/\//);
  });
});

let logs = 0;
logContract(
  'a bucket in Ceph',
  bucketLogs(async () => recordsOf(`s3://${BUCKET}/log-${++logs}`)),
  false,
);
