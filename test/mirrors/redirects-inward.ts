import { once } from 'node:events';
import { createServer } from 'node:http';
import { WebClient } from '../../src/mirrors/web-client.ts';

/** Runs in a network of its own, where `lo` has a public, a private and a loopback address; says what became of redirects. */
const [PUBLIC, PRIVATE, LOOPBACK] = ['192.0.2.1', '10.99.0.1', '127.0.0.1'];

const server = createServer((req, res) => {
  const [, to] = /^\/to\/(.*)$/.exec(req.url ?? '') ?? [];
  if (to === undefined) res.end('here');
  else res.writeHead(302, { location: `http://${to}:8080/` }).end();
}).listen(8080, '0.0.0.0');
await once(server, 'listening');
// Of a name that is both public and this machine, only the public address answers here.
const twofold = createServer((_req, res) => {
  res.writeHead(302, { location: `http://${LOOPBACK}:8080/` }).end();
}).listen(8082, PUBLIC);
await once(twofold, 'listening');

const found: Record<string, string> = {};
for (const [name, from, to, allowPrivate, port = 8080] of [
  ['public to public', PUBLIC, PUBLIC, false],
  ['private to public', PRIVATE, PUBLIC, false],
  ['loopback to private', LOOPBACK, PRIVATE, false],
  ['public to private', PUBLIC, PRIVATE, false],
  ['public to loopback', PUBLIC, LOOPBACK, false],
  ['public to a name of this machine', PUBLIC, 'localhost', false],
  ['private to loopback', PRIVATE, LOOPBACK, false],
  ['public, by a name that is also this machine, to loopback', 'twofold.example', LOOPBACK, false, 8082],
  ['public to loopback, allowed', PUBLIC, LOOPBACK, true],
] as const) {
  const client = new WebClient({ allowPrivate });
  try {
    const { body } = await client.get(`http://${from}:${port}/to/${to}`);
    let text = '';
    for await (const piece of body) text += Buffer.from(piece).toString();
    found[name] = text;
  } catch (error) {
    found[name] = error instanceof Error ? error.message : '';
  }
  client.close();
}
process.stdout.write(JSON.stringify(found));
server.close();
twofold.close();
