import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { CephNode } from '../../lab/ceph.ts';
import { newBucket } from '../../lab/s3-bucket.ts';
import { objectKey } from '../../src/store/objects.ts';
import { compare } from '../frame/compare.ts';
import { processorTime, timedRun } from '../frame/process.ts';
import { type Product, sealedSite, startProduct } from '../frame/product.ts';
import type { Part } from '../frame/row.ts';
import { publishSite } from '../frame/stored.ts';

/** A release in a bucket of a real engine (Ceph), served by a replica that holds nothing but a cache. */
export const part: Part = {
  name: 's3',
  rows: [
    {
      name: 's3/warm',
      job: 'a root image of 900 MB in a bucket, from a warm cache',
      against: 'the same out of a folder',
      unit: 'times',
      goal: { atLeast: 0.9 },
    },
    {
      name: 's3/cold',
      job: 'the same from an empty cache, fetched and judged by every seal before its end leaves',
      against: 'GET by curl from the engine itself',
      unit: 'times',
      goal: { atLeast: 0.8 },
      limit:
        'Processor time, as one profile has it: of some 7 s for 900 MB four are the digests that the seals and the hash tree need, taken by reading once more what lies in the cache, and two are writing it there; the end of the answer waits for all of it. Tried, and kept: one set of buffers for each image. Not tried: judging while it comes.',
    },
  ],
  async run({ folder, quick, rounds, say, tell }) {
    const megabytes = quick ? 8 : 900;
    say(`seals ${megabytes} MB`);
    const site = await sealedSite(folder, megabytes);
    const { anchors, tree, rootfs, release } = site;
    const ceph = await CephNode.make();
    try {
      const env = ceph.environment();
      Object.assign(process.env, env);
      const bucket = await newBucket(ceph);
      say('publishes it into a bucket, and into a folder');
      const inBucket = await publishSite(site, `s3://${bucket}/site`);
      const inFolder = await publishSite(site, join(folder, 'state'));
      const hash = createHash('sha256');
      await pipeline(createReadStream(join(tree, rootfs)), hash);
      const object = `${ceph.endpoint}/${bucket}/site/${objectKey(hash.digest('hex'))}`;
      const cache = join(folder, 'cache');
      const url = (product: Product) => `${product.url}/releases/${release}/${rootfs}`;
      const replica = () => startProduct(['--state', inBucket, '--anchors', anchors, '--cache', cache], env);
      const fetched = async (product: Product) => {
        const before = await processorTime(product.pid);
        const { seconds } = await get(url(product));
        return { seconds, processor: (await processorTime(product.pid)) - before };
      };

      say('a cold cache');
      const cold = await compare(
        {
          ours: async () => {
            await rm(cache, { recursive: true, force: true });
            const product = await replica();
            try {
              return await fetched(product);
            } finally {
              await product.stop();
            }
          },
          engine: () => get(object, signedBy(ceph)),
        },
        { rounds, warm: 0 },
      );
      const rate = (seconds: number) => `${Math.round(megabytes / seconds)} MB/s`;
      tell('s3/cold', {
        values: cold.faster('engine'),
        ours: `${rate(cold.seconds('ours'))}, ${cold.processor('ours').toFixed(1)} s of processors`,
        peer: rate(cold.seconds('engine')),
      });

      say('a warm cache');
      const store = await startProduct(['--state', inFolder, '--anchors', anchors]);
      const warm = await replica();
      try {
        const both = { ours: () => fetched(warm), folder: () => fetched(store) };
        const compared = await compare(both, { rounds });
        const [ours, peer] = [rate(compared.seconds('ours')), rate(compared.seconds('folder'))];
        tell('s3/warm', { values: compared.faster('folder'), ours, peer });
      } finally {
        await warm.stop();
        await store.stop();
      }
    } finally {
      await ceph.destroy();
    }
  },
};

/** Curl signs what it asks (`--aws-sigv4`); that its request has no body it does not say by itself. */
function signedBy({ keys }: CephNode): readonly string[] {
  const sign = ['--aws-sigv4', 'aws:amz:us-east-1:s3', '--user', `${keys.accessKey}:${keys.secretKey}`];
  return [...sign, '--header', 'x-amz-content-sha256: UNSIGNED-PAYLOAD'];
}

async function get(url: string, words: readonly string[] = []) {
  return timedRun('curl', ['--silent', '--fail', '--output', '/dev/null', ...words, url]);
}
