import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { S3Stub } from '../../lab/s3-stub.ts';
import { publish } from '../../src/publish/publish.ts';
import { type ServeOptions, serve } from '../../src/server/serve.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { sampleTree, sealFixture, wholeSampleTree } from '../fixtures/release.ts';
import { hearing } from './hearing.ts';

/** Where two sealed trees lie, by their versions: `2026.11.01` is whole, `2026.11.02` small. */
export const folder = await temporaryFolder();
export const keys = await makeKeys(join(folder, 'keys'));
const anchors = join(keys, 'anchors');
Object.assign(process.env, {
  AWS_ACCESS_KEY_ID: 'lab',
  AWS_SECRET_ACCESS_KEY: 'lab',
  AWS_REGION: 'us-east-1',
});

let buckets = 0;
/** A bucket of its own on an engine of its own, with one release in it. The engine is found by the name of the state. */
export async function site(t: { after(work: () => unknown): void }) {
  buckets += 1;
  const bucket = `boot${buckets}`;
  const stub = await S3Stub.start(bucket);
  t.after(() => stub.stop());
  process.env.AWS_ENDPOINT_URL = stub.endpoint;
  const state = `s3://${bucket}/site`;
  const given = { channel: 'stable', state, anchors, now: NOW, snapshotKey: keys };
  await publish({ ...given, tree: join(folder, '2026.11.01') });
  stub.asked.length = 0;
  const begin = async (options: Partial<ServeOptions> = {}) => {
    const { log, heard } = hearing();
    const server = await serve({
      ...{ state, anchors, clock: () => NOW, httpPort: 0, tftpPort: false, nbdPort: 0, log },
      ...options,
    });
    t.after(() => server.close(0));
    return { server, heard };
  };
  return { stub, state, given, begin };
}

for (const version of ['2026.11.01', '2026.11.02']) {
  const make = version === '2026.11.01' ? wholeSampleTree : sampleTree;
  const tree = await make(join(folder, version), keys);
  await writeFile(join(tree, 'arch/version'), `${version}\n`);
  await sealFixture(tree, keys);
}
