import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { S3Stub } from '../../lab/s3-stub.ts';
import { decodeReleaseList, encodeReleaseList } from '../../src/formats/records/release-list.ts';
import { compare } from '../frame/compare.ts';
import { sealedSite, startedIn } from '../frame/product.ts';
import type { Part } from '../frame/row.ts';
import { addReleases, applyMachines, copyState, publishSite, writeMachines } from '../frame/stored.ts';

/** From the start of `bootseal serve --state` until it says that it listens: how that grows with what the state holds. */
export const part: Part = {
  name: 'start',
  rows: [
    {
      name: 'start/releases',
      job: 'from start to serving, 1,000 releases in a folder',
      unit: 's',
      goal: { atMost: 1 },
    },
    {
      name: 'start/releases-growth',
      job: 'a state with one release, started beside one with 1,000',
      against: 'itself with 1,000 releases',
      unit: 'times',
    },
    {
      name: 'start/bucket',
      job: 'from start to serving, 1,000 releases in a bucket',
      unit: 's',
    },
    {
      name: 'start/machines',
      job: 'from start to serving, 100,000 machines in 400 groups',
      unit: 's',
    },
  ],
  async run({ folder, quick, rounds, say, tell }) {
    const releases = quick ? 20 : 1000;
    const [machines, groups] = quick ? [100, 10] : [100_000, 400];
    say('seals a release, and publishes it');
    const site = await sealedSite(folder, 1);
    const { anchors } = site;
    const one = await publishSite(site, join(folder, 'one'));
    const many = copyState(one, join(folder, 'many'));
    addReleases(many, site, releases - 1);
    say('start with releases in a folder');
    const job = (words: readonly string[], env: NodeJS.ProcessEnv = {}) => {
      return () => startedIn([...words, '--anchors', anchors], env);
    };
    const compared = await compare(
      { one: job(['--state', one]), many: job(['--state', many]) },
      { rounds: rounds },
    );
    const seconds = (side: 'one' | 'many') => compared.samples[side].map((sample) => sample.seconds);
    const busy = (side: 'one' | 'many') =>
      `${compared.seconds(side).toFixed(2)} s, ${compared.processor(side).toFixed(2)} s of a processor`;
    tell('start/releases', { values: seconds('many'), ours: busy('many') });
    tell('start/releases-growth', {
      values: compared.faster('many'),
      ours: busy('one'),
      peer: busy('many'),
    });

    say('start with releases in a bucket');
    const stub = await S3Stub.start('boot');
    try {
      const env = {
        AWS_ENDPOINT_URL_S3: stub.endpoint,
        ...{ AWS_ACCESS_KEY_ID: 'bench', AWS_SECRET_ACCESS_KEY: 'bench', AWS_REGION: 'us-east-1' },
      };
      Object.assign(process.env, env);
      const state = await publishSite(site, 's3://boot/site');
      fillBucket(stub, releases);
      stub.asked.length = 0;
      const words = ['--state', state, '--cache', join(folder, 'cache')];
      const { samples } = await compare({ bucket: job(words, env) }, { rounds });
      const asked = Math.round(stub.asked.length / (rounds + 1));
      tell('start/bucket', {
        values: samples.bucket.map((sample) => sample.seconds),
        ours: `${asked} requests`,
      });
    } finally {
      await stub.stop();
    }

    say(`signs the scripts of ${machines} machines`);
    const known = copyState(one, join(folder, 'known'));
    await writeMachines(known, machines, groups);
    await applyMachines(site, known);
    say('start with machines');
    const { samples, processor } = await compare({ known: job(['--state', known]) }, { rounds });
    tell('start/machines', {
      values: samples.known.map((sample) => sample.seconds),
      ours: `${processor('known').toFixed(2)} s of a processor`,
    });
  },
};

/** As if so many had been published: each with a list of its own, and objects that it names. */
function fillBucket(stub: S3Stub, releases: number): void {
  const [, first] = [...stub.objects].find(([key]) => key.startsWith('site/lists/')) ?? [];
  if (!first) throw new Error('no release was published');
  const { files } = decodeReleaseList(first.bytes);
  for (let at = 1; at < releases; at += 1) {
    const release = `arch/2025.${at}`;
    const own = files.map(({ path }) => {
      const bytes = Buffer.from(`${path} of ${release}`);
      const sha256 = createHash('sha256').update(bytes).digest('hex');
      stub.set(`site/objects/sha256/${sha256.slice(0, 2)}/${sha256.slice(2)}`, bytes);
      return { path, size: bytes.length, sha256 };
    });
    stub.set(`site/lists/${release}`, encodeReleaseList({ release, files: own }));
  }
}
