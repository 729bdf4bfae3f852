import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { waitForOutput } from '../lab/output.ts';
import { collectObjects } from '../src/store/collect.ts';
import { S3Backend } from '../src/store/s3/backend.ts';
import { bucketPlace } from '../src/store/s3/location.ts';

/**
 * How long it takes to list what a bucket holds, and in how much memory: 100,000 objects walked, 100,000 names listed, and
 * all of those objects marked by a collector. The engine is a process of its own that makes its pages up, so what is
 * measured is ours.
 *
 *     node --expose-gc dist/bench/bucket.js
 */
const OBJECTS = 100_000;
const STATE = 's3://bench/state';

if (process.argv[2] === 'engine') serveEngine();
else await measure();

async function measure(): Promise<void> {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), 'engine'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const [, port] = await waitForOutput(child, 'stdout', /listening (\d+)\n/);
    Object.assign(process.env, {
      AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${port}`,
      AWS_ACCESS_KEY_ID: 'bench',
      AWS_SECRET_ACCESS_KEY: 'bench',
    });
    const backend = new S3Backend(bucketPlace(STATE));
    await row('the first request, with the SDK', async () => (await backend.get('nothing')) ?? 0);
    await row('walk 100,000 objects', async () => {
      let count = 0;
      await backend.eachBelow('objects/sha256', () => {
        count += 1;
      });
      return count;
    });
    await row('list 100,000 names', async () => (await backend.list('log/entries')).length);
    await row('versions of 100,000 keys', async () => (await backend.versionsBelow('log/entries')).size);
    await row('mark 100,000 objects', async () => {
      const { marked } = await collectObjects({ state: STATE, now: Date.now(), dryRun: true });
      return marked.length;
    });
  } finally {
    child.kill();
  }
}

async function row(what: string, work: () => Promise<unknown>): Promise<void> {
  globalThis.gc?.();
  const before = process.memoryUsage().rss;
  let most = before;
  const watch = setInterval(() => {
    most = Math.max(most, process.memoryUsage().rss);
  }, 10);
  const begun = performance.now();
  const answer = await work();
  const time = performance.now() - begun;
  clearInterval(watch);
  const grown = (most - before) / 1024 ** 2;
  console.log(
    `${what.padEnd(34)} ${time.toFixed(0).padStart(7)} ms  ${grown.toFixed(0).padStart(5)} MiB more  ${answer}`,
  );
}

/** Answers lists with pages of a thousand, `format`, and nothing else. */
function serveEngine(): void {
  const digest = (at: number) => ((BigInt(at) << 256n) / BigInt(OBJECTS)).toString(16).padStart(64, '0');
  const nameOf = (prefix: string, at: number) => {
    if (prefix.endsWith('log/entries/')) return prefix + String(at).padStart(15, '0');
    if (!prefix.endsWith('objects/sha256/')) return undefined;
    const sha256 = digest(at);
    return `${prefix}${sha256.slice(0, 2)}/${sha256.slice(2)}`;
  };
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://bench');
    const prefix = searchParams.get('prefix');
    if (prefix === null) {
      if (pathname.endsWith('/format')) {
        response.writeHead(200, { ETag: '"1"', 'Content-Length': 2 }).end('1\n');
        return;
      }
      response.writeHead(404).end('<Error><Code>NoSuchKey</Code></Error>');
      return;
    }
    const from = Number(searchParams.get('continuation-token') ?? 0);
    const keys: string[] = [];
    for (let at = from; at < Math.min(from + 1000, OBJECTS); at++) {
      const name = nameOf(prefix, at);
      if (name !== undefined)
        keys.push(
          `<Contents><Key>${name}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>"${at}"</ETag><Size>1000</Size></Contents>`,
        );
    }
    const more = keys.length > 0 && from + keys.length < OBJECTS;
    const token = more ? `<NextContinuationToken>${from + keys.length}</NextContinuationToken>` : '';
    response.end(
      `<ListBucketResult><Name>bench</Name><IsTruncated>${more}</IsTruncated>${token}${keys.join('')}</ListBucketResult>`,
    );
  });
  server.listen(0, '127.0.0.1', () => {
    const address = server.address();
    process.stdout.write(`listening ${typeof address === 'object' ? address?.port : ''}\n`);
  });
}
