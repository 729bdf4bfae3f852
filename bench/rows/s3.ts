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
      limit:
        'Both send a file of this disk by the same code; two rounds of one run differed by a quarter, above the goal and below it. It was not profiled.',
    },
    {
      name: 's3/cold',
      job: 'the same from an empty cache, fetched and judged by every seal before its end leaves',
      against: 'GET by curl from the engine itself',
      unit: 'times',
      goal: { atLeast: 0.8 },
      limit:
        'Two processors, which the engine shares: for 900 MB it takes 2 s of them, and so does fetching alone (one answer after another by the SDK: Node’s HTTP parser, a buffer of 64 KiB for each read, and collecting those); then come 2 for the digests that the seals and the hash tree need, 0.2 to 1.7 for writing the cache (the most where a virtual machine has to be given the memory) and 0.4 for sending. The engine, the server and the client share the two, so a third of what curl reaches is seen, and half would be the most. Done: the seals are judged in threads while the image comes, not by reading it once more at the end; pieces are written beside each other; who keeps up is sent what is in memory; bodies are taken without iterators. Judging while it comes was 185 to 197 MB/s in the place of 156 to 161, side by side. Tried without a difference that shows: other sizes of V8’s young space, eight questions on the way.',
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
      // Said once more by each process that loads the SDK.
      Object.assign(process.env, env, { AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true' });
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
        // The first image that is written takes memory that this machine has not used: that is not what is compared.
        { rounds, warm: 1 },
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
