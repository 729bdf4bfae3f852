import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { s3Engine } from '../../lab/s3.ts';
import { newBucket } from '../../lab/s3-bucket.ts';
import { BucketLines } from '../../src/boots/bucket-lines.ts';
import { BucketShelf } from '../../src/boots/bucket-shelf.ts';
import { Receipts } from '../../src/boots/receipts.ts';
import { seriesOf } from '../../src/boots/segments.ts';
import { S3Backend } from '../../src/store/s3/backend.ts';
import { bucketPlace } from '../../src/store/s3/location.ts';
import { openState } from '../../src/store/state.ts';
import { MAC, OTHER, Scene } from '../boots/scene.ts';
import { runHere as run } from '../cli/here.ts';

/** Receipts in a real bucket: Ceph's. */

const engine = await s3Engine(after);
Object.assign(process.env, engine.environment());
const name = await newBucket(engine);
const MIB = 1024 * 1024;
const DAY = 86_400_000;

/** A server's boots, with a connection of its own. */
function sceneAt(state: string, keepMib = 2048) {
  const bucket = new S3Backend(bucketPlace(state));
  const shelf = new BucketShelf(bucket);
  // Puts take their time here; that of boots stands meanwhile.
  let mono = 0;
  const lines = new BucketLines({
    ...{ bucket, shelf, server: 'lab', monotonic: () => mono },
    retention: { clock: () => scene.wall, keepMs: 400 * DAY, keepBytes: keepMib * MIB },
  });
  const scene: Scene = new Scene({ lines });
  /** All that was told is in the bucket. */
  const put = async () => {
    await scene.boots.settled();
    for (;;) {
      mono += 5000;
      lines.tick();
      const [place] = scene.boots.index.find({}, 1).map((each) => each.place);
      const facts = place && (await bucket.facts(`boots/${place.segment}`));
      if (place && facts && facts.size >= place.offset + place.length) return;
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  return { bucket, shelf, lines, scene, put };
}

it('two servers at one bucket: each has its series, reads what the other adds, and a third knows all', async () => {
  const state = `s3://${name}/two`;
  await (await openState(state)).release();
  const [one, two] = [sceneAt(state), sceneAt(state)];
  const seen = new Receipts(two.shelf, two.scene.boots.index);
  one.scene.whole(MAC);
  await one.put();
  two.scene.whole(OTHER, '10.0.0.8').pass(1).reported('refused', OTHER, '10.0.0.8');
  await two.put();
  assert.equal((await seen.read(0, two.lines.series)).size, 1);
  assert.deepEqual((await two.scene.said()).toSorted(), [
    `${MAC} running at userspace`,
    `${OTHER} refused at userspace`,
  ]);
  one.scene.reported('verified');
  await one.put();
  // What was added alone: a HEAD and a range.
  assert.equal((await seen.read(0, two.lines.series)).size, 1);
  assert.ok((await two.scene.said()).includes(`${MAC} verified at report`));
  await Promise.all([one.scene.boots.close(), two.scene.boots.close()]);
  const third = sceneAt(state);
  await new Receipts(third.shelf, third.scene.boots.index).read();
  assert.deepEqual((await third.scene.said()).toSorted(), [
    `${MAC} verified at report`,
    `${OTHER} refused at userspace`,
  ]);
  const series = new Set((await third.shelf.list()).map(seriesOf));
  assert.deepEqual(series, new Set([one.lines.series, two.lines.series]));
  for (const each of series) assert.ok(third.shelf.isClosed(each));
  const table = await run(['boots', '--state', state, '--since', '2026-01-01']);
  assert.equal(table.code, 0, table.err);
  assert.match(table.out, new RegExp(`${MAC} .* verified`));
});

it('a segment of a mebibyte is followed by another, and more than is kept goes', async () => {
  const state = `s3://${name}/much`;
  const { lines, shelf, bucket } = sceneAt(state, 2);
  const line = Buffer.from(`${'x'.repeat(15_999)}\n`);
  for (let count = 0; count < 250; count += 1) await lines.append(line);
  await lines.close();
  const segments = await shelf.list();
  const sizes = await Promise.all(
    segments.map(async (segment) => (await bucket.facts(`boots/${segment}`))?.size ?? 0),
  );
  assert.deepEqual([segments.length, ...sizes.slice(0, 3)], [4, 1_040_000, 1_040_000, 1_040_000]);
  const next = sceneAt(state, 2);
  assert.deepEqual(await next.lines.collect(), segments.slice(0, 2));
  assert.deepEqual(await shelf.list(), segments.slice(2));
});

it('an account that may not write there is told, and ends nothing', async () => {
  const keys = { accessKey: 'NOBODYNOBODYNOBODY00', secretKey: 'nobody-nobody-nobody' };
  await engine.addUser('nobody', keys);
  const before = { ...process.env };
  Object.assign(process.env, { AWS_ACCESS_KEY_ID: keys.accessKey, AWS_SECRET_ACCESS_KEY: keys.secretKey });
  try {
    const { scene } = sceneAt(`s3://${name}/denied`);
    scene.whole().pass(1).reported('verified');
    await scene.boots.settled();
    await assert.rejects(scene.boots.close(), /denies access to the bucket/);
    assert.match(scene.boots.fault ?? '', /denies access to the bucket/);
    assert.deepEqual(await scene.said(), [`${MAC} verified at report`]);
  } finally {
    Object.assign(process.env, before);
  }
  assert.deepEqual(await sceneAt(`s3://${name}/denied`).shelf.list(), []);
});
