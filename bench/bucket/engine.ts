import { createServer } from 'node:http';

/**
 * An engine that makes its lists up, a process of its own, so that what is measured is whoever asks: 100,000 objects below
 * `objects/sha256/`, 100,000 names below `log/entries/`. `node engine.js OBJECTS` says `listening PORT`.
 */
const OBJECTS = Number(process.argv[2]);

serveEngine();

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
