import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { waitForOutput } from '../lab/output.ts';
import { S3Stub } from '../lab/s3-stub.ts';
import { decodeReleaseList, encodeReleaseList } from '../src/formats/records/release-list.ts';
import { publish } from '../src/publish/publish.ts';
import { makeKeys } from '../test/fixtures/keys.ts';
import { sampleTree, sealFixture } from '../test/fixtures/release.ts';

/**
 * How long a server of a state in a bucket needs from its start until it listens: with one release there, and with a
 * thousand, of which its channels name two. The engine is a small one in this process.
 *
 *     node dist/bench/replica-start.js
 */
const RELEASES = 1000;
const ROUNDS = 5;
const MAIN = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));

const folder = await mkdtemp(join(tmpdir(), 'bootseal-bench-'));
const stub = await S3Stub.start('boot');
Object.assign(process.env, {
  AWS_ENDPOINT_URL: stub.endpoint,
  AWS_ACCESS_KEY_ID: 'bench',
  AWS_SECRET_ACCESS_KEY: 'bench',
  AWS_REGION: 'us-east-1',
});
try {
  const now = Date.now();
  const keys = await makeKeys(join(folder, 'keys'), { now });
  const tree = await sampleTree(join(folder, 'tree'), keys);
  await sealFixture(tree, keys, { now });
  const anchors = join(keys, 'anchors');
  const state = 's3://boot/site';
  for (const channel of ['stable', 'testing']) {
    const { refusal } = await publish({ tree, anchors, channel, state, snapshotKey: keys, now });
    if (refusal) throw refusal;
  }
  const words = [
    '--state',
    state,
    '--anchors',
    anchors,
    '--channel',
    'stable',
    '--cache',
    join(folder, 'cache'),
  ];
  const one = await measured('one release', words);
  fill();
  const many = await measured(`${RELEASES} releases, ${stub.objects.size} objects`, words);
  console.log(
    `a thousand cost ${(many / one).toFixed(2)} times as long as one; ${many < 2000 ? 'below' : 'NOT below'} 2,000 ms`,
  );
} finally {
  await stub.stop();
  await rm(folder, { recursive: true, force: true });
}

/** As if so many had been published: each with a list of its own, and objects that it names. */
function fill(): void {
  const [, first] = [...stub.objects].find(([key]) => key.startsWith('site/lists/')) ?? [];
  if (!first) throw new Error('no release was published');
  const { files } = decodeReleaseList(first.bytes);
  for (let at = 1; at < RELEASES; at += 1) {
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

/** What a process has had of processors so far (proc(5), stat: utime and stime, in hundredths of a second). */
function processorMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** @returns the median of the rounds, in milliseconds. */
async function measured(what: string, words: readonly string[]): Promise<number> {
  const times: number[] = [];
  const busy: number[] = [];
  let requests = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    stub.asked.length = 0;
    const begun = performance.now();
    const ports = ['--http-port', '0', '--nbd-port', '0', '--no-tftp'];
    const child = spawn(process.execPath, [MAIN, 'serve', ...words, ...ports], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let log = '';
    child.stderr.on('data', (piece: Buffer) => {
      log += piece.toString();
    });
    await waitForOutput(child, 'stdout', / on http:/).catch((error: Error) => {
      throw new Error(`${error.message}${log}`);
    });
    times.push(performance.now() - begun);
    // What a busy machine does not change.
    busy.push(processorMs(child.pid ?? 0));
    requests = stub.asked.length;
    const gone = new Promise((resolve) => child.once('close', resolve));
    child.kill('SIGKILL');
    await gone;
  }
  times.sort((a, b) => a - b);
  const median = times[Math.floor(ROUNDS / 2)] ?? 0;
  busy.sort((a, b) => a - b);
  console.log(
    `${what}: ${median.toFixed(0)} ms until it listens (${times.map((time) => time.toFixed(0)).join(', ')}), ${busy[Math.floor(ROUNDS / 2)]} ms of a processor, ${requests} requests`,
  );
  return median;
}
