import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { CephNode } from '../../lab/ceph.ts';
import { newBucket } from '../../lab/s3-bucket.ts';
import { IoError } from '../../src/errors/io.ts';
import { S3Backend } from '../../src/store/s3/backend.ts';
import { bucketPlace } from '../../src/store/s3/location.ts';
import { temporaryFolder } from '../fixtures/folder.ts';

/** An engine of this file's own, which dies, and comes back. */

const engine = await CephNode.make();
after(() => engine.destroy());
Object.assign(process.env, engine.environment());
const bucket = await newBucket(engine);
const bytes = (text: string) => Buffer.from(text);
const text = async (backend: S3Backend, key: string) => {
  const record = await backend.get(key);
  return record && Buffer.from(record.bytes).toString();
};

it('what was acknowledged is there after a kill -9 of everything; what was not is a fault, and no absence', async () => {
  const backend = new S3Backend(bucketPlace(`s3://${bucket}/kill`));
  await backend.demandConditions();
  const acknowledged = new Map<string, string>();
  let faults = 0;
  const writer = async (name: string) => {
    for (let n = 0; faults === 0; n++) {
      const [key, content] = [`log/entries/${name}-${n}`, `${name} ${n}`.repeat(100)];
      try {
        if (await backend.putIfAbsent(key, bytes(content))) acknowledged.set(key, content);
      } catch (error) {
        assert.ok(error instanceof IoError);
        assert.match(
          error.message,
          // A writer whose answer was lost cannot look either whether its record is there.
          /cannot be (written|read): the engine at http:\S+ (cannot be reached|answers 5)/,
        );
        faults += 1;
      }
    }
  };
  const writing = Promise.all(['a', 'b', 'c', 'd'].map(writer));
  while (acknowledged.size < 40) await new Promise((resolve) => setImmediate(resolve));
  await engine.kill();
  await writing;
  assert.equal(faults > 0, true);
  const down = (error: unknown) => error instanceof IoError && /cannot be reached/.test(error.message);
  await assert.rejects(backend.get('log/entries/a-0'), down);
  await assert.rejects(backend.get('never/there'), down);
  await assert.rejects(backend.list('log'), down);
  await engine.start();
  for (const [key, content] of acknowledged) assert.equal(await text(backend, key), content, key);
  const listed = new Set(await backend.list('log/entries'));
  for (const key of acknowledged.keys()) assert.ok(listed.has(key.split('/').at(-1) ?? ''), key);
  assert.equal(await backend.putIfAbsent('log/entries/a-0', bytes('again')), false);
});

it('a gateway that is started again is found again', async () => {
  const backend = new S3Backend(bucketPlace(`s3://${bucket}/gateway`));
  await backend.put('k', bytes('1'));
  const opened = await backend.open('k');
  await engine.kill('rgw');
  const buffer = Buffer.alloc(1);
  await assert.rejects(async () => opened?.read(buffer, 0), IoError);
  await engine.start('rgw');
  assert.equal(await opened?.read(buffer, 0), 1);
  assert.equal(await text(backend, 'k'), '1');
});

it('keys that an administrator took away: the ones that he wrote into the file instead are taken up', async () => {
  const folder = await temporaryFolder();
  const file = join(folder, 'credentials');
  const write = (accessKey: string) =>
    writeFile(file, `[default]\naws_access_key_id = ${accessKey}\naws_secret_access_key = rotated-secret\n`);
  for (const accessKey of ['rotated1', 'rotated2'])
    await engine.addKeys('lab', { accessKey, secretKey: 'rotated-secret' });
  delete process.env.AWS_ACCESS_KEY_ID;
  delete process.env.AWS_SECRET_ACCESS_KEY;
  process.env.AWS_SHARED_CREDENTIALS_FILE = file;
  await write('rotated1');
  const backend = new S3Backend(bucketPlace(`s3://${bucket}/keys`));
  await backend.put('k', bytes('1'));
  await engine.removeKeys('lab', 'rotated1');
  await assert.rejects(
    backend.put('k', bytes('2')),
    (error) => error instanceof IoError && /does not know this access key/.test(error.message),
  );
  await write('rotated2');
  await backend.put('k', bytes('3'));
  assert.equal(await text(backend, 'k'), '3');
});
