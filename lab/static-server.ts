import { createReadStream, type Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';
import { join, normalize } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { pathToFileURL } from 'node:url';

/**
 * A plain web server that checks nothing: what an attacker, or any other server of files, would put on the
 * LAN. Every request reads the folder anew, so a test may change a file between two boots. Runs as a process
 * of its own inside the lab's namespace:
 *
 *     node static-server.js FOLDER ADDRESS PORT
 *
 * and prints `listening PORT`, then one line for each request, of what is not there with its query. What also lies in `FOLDER/second` is answered from
 * there from its second request on: to whoever checks a file and opens it once more.
 */
export function serveFolder(folder: string, address: string, port: number): void {
  const asked = new Set<string>();
  const server = createServer((request, response) => {
    answer(folder, asked, request, response).catch(() => response.destroy());
  });
  server.listen(port, address, () => {
    const bound = server.address();
    process.stdout.write(`listening ${typeof bound === 'object' ? bound?.port : bound}\n`);
  });
}

async function answer(
  folder: string,
  asked: Set<string>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { pathname, search } = new URL(request.url ?? '/', 'http://lab');
  const path = decodeURIComponent(pathname);
  // `normalize` of an absolute path cannot climb above the root.
  const inside = normalize(path);
  const again = join(folder, 'second', inside);
  const second = asked.has(inside) && (await stat(again).catch(() => undefined)) !== undefined;
  asked.add(inside);
  const file = second ? again : join(folder, inside);
  const facts = await stat(file).catch(() => undefined);
  if (request.method !== 'GET' && request.method !== 'HEAD') return send(response, 405);
  if (facts === undefined || !facts.isFile()) {
    process.stdout.write(`404 ${request.method} ${path}${search}\n`);
    return send(response, 404);
  }
  await sendFile(file, facts, request, response);
  process.stdout.write(`${response.statusCode} ${request.method} ${path}\n`);
}

async function sendFile(
  file: string,
  facts: Stats,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
  const first = range === null ? 0 : Number(range[1]);
  const last = Math.min(range?.[2] ? Number(range[2]) : facts.size - 1, facts.size - 1);
  if (range !== null && (first > last || first >= facts.size)) {
    response.setHeader('Content-Range', `bytes */${facts.size}`);
    return send(response, 416);
  }
  response.setHeader('Accept-Ranges', 'bytes');
  response.setHeader('Content-Type', 'application/octet-stream');
  // GRUB knows this field in this spelling only; without it a small file takes it half a minute and fails.
  response.setHeader('Content-Length', last - first + 1);
  if (range !== null) response.setHeader('Content-Range', `bytes ${first}-${last}/${facts.size}`);
  response.statusCode = range === null ? 200 : 206;
  if (request.method === 'HEAD' || facts.size === 0) response.end();
  else await pipeline(createReadStream(file, { start: first, end: last, highWaterMark: 1 << 20 }), response);
}

/** With a few words as its body: GRUB waits half a minute for the first byte of an empty answer. */
function send(response: ServerResponse, status: number): void {
  const words = `${STATUS_CODES[status]}\n`;
  response.statusCode = status;
  response.setHeader('Content-Type', 'text/plain');
  response.setHeader('Content-Length', words.length);
  response.end(words);
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [folder, address, port] = process.argv.slice(2);
  if (folder === undefined || address === undefined || port === undefined) {
    process.stderr.write('usage: node static-server.js FOLDER ADDRESS PORT\n');
    process.exitCode = 2;
  } else serveFolder(folder, address, Number(port));
}
