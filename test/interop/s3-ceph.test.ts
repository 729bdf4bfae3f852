import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { GetObjectCommand } from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { run } from '../../lab/command.ts';
import { s3Engine } from '../../lab/s3.ts';
import { newBucket, s3Client } from '../../lab/s3-bucket.ts';
import { IoError } from '../../src/errors/io.ts';
import { UsageError } from '../../src/errors/usage.ts';
import { addToken } from '../../src/operations/tokens.ts';
import { S3Backend } from '../../src/store/s3/backend.ts';
import { bucketPlace } from '../../src/store/s3/location.ts';
import { demandState, openState } from '../../src/store/state.ts';
import { readFormat } from '../../src/store/state-format.ts';
import { stateMark } from '../../src/store/state-mark.ts';
import { isFresh, readStatePolicy, replacePolicy } from '../../src/store/state-policy.ts';
import { readTokens, writeTokens } from '../../src/store/tokens.ts';
import { withdrawnReason, writeWithdrawal } from '../../src/store/withdrawals.ts';
import { readPolicyFile } from '../../src/trust/written-policy.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { backendContract } from '../store/backend-contract.ts';

/** A real engine is the judge: Ceph. */

const engine = await s3Engine(after);
Object.assign(process.env, engine.environment());
const bucket = await newBucket(engine);
let states = 0;
const newState = () => `s3://${bucket}/state-${++states}`;
const at = (state: string) => new S3Backend(bucketPlace(state));
const bytes = (text: string) => Buffer.from(text);

backendContract('a bucket of Ceph', async () => at(newState()));
backendContract('a whole bucket of Ceph', async () => at(`s3://${await newBucket(engine)}`));

it('twenty processes that are unknown to each other: one puts, one swaps', async () => {
  const state = newState();
  const writers = Array.from({ length: 20 }, () => at(state));
  const put = await Promise.all(
    writers.map((writer, n) => writer.putIfAbsent('log/entries/1', bytes(`${n}`))),
  );
  assert.equal(put.filter(Boolean).length, 1);
  const start = await writers[0]?.get('log/entries/1');
  const won = await Promise.all(
    writers.map((writer, n) => writer.compareAndSwap('log/entries/1', start?.version, bytes(`swapped ${n}`))),
  );
  assert.equal(won.filter(Boolean).length, 1);
  const end = await at(state).get('log/entries/1');
  assert.equal(Buffer.from(end?.bytes ?? []).toString(), `swapped ${won.indexOf(true)}`);
});

it('a list goes over pages: 1,100 names', async () => {
  const backend = at(newState());
  const names = Array.from({ length: 1100 }, (_, n) => String(n).padStart(15, '0'));
  const queue = [...names];
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      for (let name = queue.pop(); name !== undefined; name = queue.pop())
        await backend.put(`log/entries/${name}`, bytes(name));
    }),
  );
  assert.deepEqual(await backend.list('log/entries'), names);
  assert.equal((await backend.versionsBelow('log')).size, 1100);
});

it('an image comes back as it went, range by range, and to curl as to anybody', async () => {
  const state = newState();
  const backend = at(state);
  const folder = await temporaryFolder();
  const content = randomBytes(24 * 1024 * 1024 + 5);
  const source = join(folder, 'root.img');
  await writeFile(source, content);
  const sha256 = createHash('sha256').update(content).digest('hex');
  await backend.putFile('objects/sha256/ab/cd', { source, name: 'root.img', size: content.length, sha256 });
  assert.equal(await backend.copy('objects/sha256/ab/cd', 'releases/arch/1+b~1/root.img'), true);
  await backend.remove('objects/sha256/ab/cd');
  const opened = await backend.open('releases/arch/1+b~1/root.img');
  assert.ok(opened);
  const buffer = Buffer.alloc(5 * 1024 * 1024);
  const hash = createHash('sha256');
  for (let position = 0; position < opened.size; ) {
    const read = await opened.read(buffer, position);
    hash.update(buffer.subarray(0, read));
    position += read;
  }
  assert.equal(hash.digest('hex'), sha256);
  const client = s3Client(engine);
  const key = `${state.split('/').at(-1)}/releases/arch/1+b~1/root.img`;
  const address = await getSignedUrl(client, new GetObjectCommand({ Bucket: bucket, Key: key }));
  client.destroy();
  const file = join(folder, 'fetched');
  await run('curl', ['-fsS', '-o', file, address]);
  const { stdout } = await run('sha256sum', [file]);
  assert.equal(stdout.slice(0, 64), sha256);
});

it('an engine that gets other bytes than were signed keeps nothing', async () => {
  const state = newState();
  const folder = await temporaryFolder();
  const source = join(folder, 'file');
  const content = randomBytes(9 * 1024 * 1024);
  await writeFile(source, content);
  const sha256 = createHash('sha256').update(content).digest('hex');
  const sending = at(state).putFile('objects/a', { source, name: 'file', size: content.length, sha256 });
  const [sent] = await Promise.all([
    sending.then(
      () => true,
      () => false,
    ),
    writeFile(source, randomBytes(content.length)),
  ]);
  // Whichever came first: whole as it was, or nothing at all.
  assert.equal((await at(state).facts('objects/a')) !== undefined, sent);
});

describe('a state in a bucket', () => {
  it('is made by whoever writes first, and is one for all who come then', async () => {
    const state = newState();
    await assert.rejects(demandState(state), UsageError);
    assert.equal(await readFormat(state), undefined);
    const opened = await Promise.all([openState(state), openState(state), openState(state)]);
    assert.deepEqual(
      opened.map(({ folder }) => folder),
      [state, state, state],
    );
    for (const one of opened) await one.release();
    assert.equal(await readFormat(state), 1);
    assert.deepEqual(await at(state).list(''), ['format']);
  });

  it('is not made where another program keeps its keys', async () => {
    const state = newState();
    await at(state).put('photos/1.jpg', bytes('x'));
    await assert.rejects(
      openState(state),
      (error) => error instanceof UsageError && /another program/.test(error.message),
    );
    assert.deepEqual(await at(state).list(''), ['photos/']);
  });

  it('has a policy, withdrawals and no tokens; its mark is another after each change', async () => {
    const state = newState();
    await (await openState(state)).release();
    const marks = [await stateMark(state)];
    assert.equal(await isFresh(state), true);
    const [write, another] = [await replacePolicy(state), await replacePolicy(state)];
    const given = join(await temporaryFolder(), 'policy.toml');
    await writeFile(given, 'openpgp_threshold = 2\n');
    await write(await readFile(given));
    await assert.rejects(another(bytes('openpgp_threshold = 3\n')), UsageError);
    marks.push(await stateMark(state));
    assert.equal(await isFresh(state), false);
    assert.equal((await readStatePolicy(state)).canonical, (await readPolicyFile(given)).canonical);
    const facts = { release: 'arch/1', manifest: '', time: 1_000_000_000_000, now: false };
    await writeWithdrawal(state, { ...facts, reason: 'first' });
    marks.push(await stateMark(state));
    await Promise.all([
      writeWithdrawal(state, { ...facts, reason: 'second', now: true }),
      writeWithdrawal(state, { ...facts, reason: 'third' }),
    ]);
    marks.push(await stateMark(state));
    assert.deepEqual(await withdrawnReason(state, 'arch/1'), { ...facts, reason: 'first', now: true });
    for (const counter of [1, 2]) {
      await at(state).put('channels/stable/current', bytes(`${counter}\n`));
      marks.push(await stateMark(state));
    }
    await at(state).put('anchors/snapshot.crt', bytes('x'));
    marks.push(await stateMark(state));
    assert.equal(new Set(marks).size, marks.length);
    assert.equal(await stateMark(state), marks.at(-1));
    assert.deepEqual(await readTokens(state), []);
    await assert.rejects(writeTokens(state, []), UsageError);
    const before = await at(state).list('');
    await assert.rejects(addToken({ state, name: 'ci', scopes: ['read'], now: 0 }), UsageError);
    assert.deepEqual(await at(state).list(''), before);
  });
});

it('somebody else’s bucket, and one that is not there, are faults and not absent', async () => {
  const other = { accessKey: 'otheraccess', secretKey: 'othersecret' };
  await engine.addUser(`other-${process.pid}`, { ...other, accessKey: `other${process.pid}` });
  const secret = 'not-the-secret';
  const cases = [
    [{ accessKey: `other${process.pid}`, secretKey: other.secretKey }, bucket, /denies access to the bucket/],
    [{ ...engine.keys, secretKey: secret }, bucket, /expects another secret key/],
    [{ accessKey: 'nobody', secretKey: secret }, bucket, /does not know this access key/],
    [engine.keys, 'no-such-bucket-here', /there is no bucket "no-such-bucket-here"/],
  ] as const;
  try {
    for (const [keys, name, says] of cases) {
      Object.assign(process.env, engine.environment(keys));
      const backend = at(`s3://${name}/x`);
      const fault = (error: unknown) => {
        assert.ok(error instanceof IoError);
        assert.match(error.message, says);
        assert.ok(!error.message.includes(secret));
        return true;
      };
      await assert.rejects(backend.get('k'), fault);
      await assert.rejects(backend.list(''), fault);
      await assert.rejects(backend.put('k', bytes('1')), fault);
      await assert.rejects(backend.demandConditions(), fault);
      await assert.rejects(backend.facts('k'), IoError);
    }
  } finally {
    Object.assign(process.env, engine.environment());
  }
});
