import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { waitForOutput } from '../../lab/output.ts';
import { running } from '../../lab/servers.ts';
import { collectObjects } from '../../src/store/collect.ts';
import { S3Backend } from '../../src/store/s3/backend.ts';
import { bucketPlace } from '../../src/store/s3/location.ts';
import { seconds } from '../frame/compare.ts';
import type { Part } from '../frame/row.ts';

const ENGINE = fileURLToPath(new URL('../bucket/engine.js', import.meta.url));
const STATE = 's3://bench/state';

/** What a bucket holds, listed. The engine makes its pages up: what is measured is ours. */
export const part: Part = {
  name: 'bucket',
  rows: [
    { name: 'bucket/walk', job: 'walk 100,000 objects of a bucket', unit: 's' },
    { name: 'bucket/list', job: 'list 100,000 names of a bucket', unit: 's' },
    { name: 'bucket/mark', job: 'mark 100,000 objects that nothing refers to', unit: 's' },
  ],
  async run({ quick, rounds, say, tell }) {
    const objects = quick ? 2000 : 100_000;
    const child = spawn(process.execPath, [ENGINE, String(objects)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      const [, port] = await waitForOutput(child, 'stdout', /listening (\d+)\n/);
      Object.assign(process.env, {
        AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${port}`,
        ...{ AWS_ACCESS_KEY_ID: 'bench', AWS_SECRET_ACCESS_KEY: 'bench', AWS_REGION: 'us-east-1' },
      });
      const backend = new S3Backend(bucketPlace(STATE));
      const demand = (found: number) => {
        if (found !== objects) throw new Error(`${found} were found`);
      };
      const jobs = {
        'bucket/walk': async () => {
          let found = 0;
          await backend.eachBelow('objects/sha256', () => {
            found += 1;
          });
          demand(found);
        },
        'bucket/list': async () => demand((await backend.list('log/entries')).length),
        'bucket/mark': async () =>
          demand((await collectObjects({ state: STATE, now: Date.now(), dryRun: true })).marked.length),
      };
      // The SDK is loaded with the first request.
      await backend.get('nothing');
      for (const [row, job] of Object.entries(jobs)) {
        say(row);
        const values: number[] = [];
        for (let round = 0; round < rounds; round += 1) values.push(await seconds(job));
        tell(row, { values });
      }
    } finally {
      await running(child).stop();
    }
  },
};
