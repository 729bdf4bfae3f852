import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { addressKind, leadsInward } from '../../src/mirrors/address-kind.ts';
import { HttpSource } from '../../src/mirrors/http-source.ts';
import { WebClient, type WebClientOptions } from '../../src/mirrors/web-client.ts';
import { failed } from '../fixtures/failed.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { webFolder } from '../fixtures/hostile-web.ts';
import { readTlsPair, tlsPair } from '../fixtures/tls-pair.ts';

const folder = await temporaryFolder();
await writeFile(join(folder, 'file'), Buffer.alloc(100_000, 'x'));
const web = await webFolder(folder);

const client = (options: WebClientOptions = {}) => {
  const made = new WebClient({ connectTimeoutMs: 10_000, stallTimeoutMs: 10_000, ...options });
  after(() => made.close());
  return made;
};

/** What is read of an answer of a server that does this instead. */
async function read(instead: (res: ServerResponse) => void, options: WebClientOptions = {}): Promise<Buffer> {
  web.instead = (_req, res) => {
    instead(res);
    return true;
  };
  try {
    const { body } = await client(options).get(`${web.url}file`);
    const pieces: Uint8Array[] = [];
    for await (const piece of body) pieces.push(piece);
    return Buffer.concat(pieces);
  } finally {
    web.instead = undefined;
  }
}

describe('a web server that is honest', () => {
  it('gives a file, and the rest of one from a byte on', async () => {
    const source = new HttpSource(web.url, client());
    assert.equal((await source.read('file', 100_000)).length, 100_000);
    const { first, content } = await source.open('file', 99_990, 100_000);
    let octets = 0;
    for await (const piece of content) octets += piece.length;
    assert.deepEqual([first, octets, web.asked.at(-1)?.range], [99_990, 10, 'bytes=99990-']);
    await assert.rejects(source.read('none', 10), failed('absent', /\/none does not exist \(status 404\)/));
    await assert.rejects(source.read('file', 99_999), failed('too-large'));
  });
});

describe('what a hostile web server answers is refused, and says who and what', () => {
  const head = { 'content-length': 100 };
  const cases: readonly [string, Parameters<typeof failed>[0], RegExp, (res: ServerResponse) => void][] = [
    ['another status', 'unreachable', /file answers with status 503/, (res) => res.writeHead(503).end()],
    [
      'a coding that nobody asked for',
      'unreachable',
      /a coding that was not asked for \(gzip\)/,
      (res) => res.writeHead(200, { 'content-encoding': 'gzip' }).end('x'),
    ],
    [
      'an end before the end',
      'unreachable',
      /file ends after 4 of 100 bytes/,
      (res) => {
        res.writeHead(200, head).write('four', () => res.destroy());
      },
    ],
    [
      'part of a file where the whole was asked for',
      'malformed',
      /sends another part than the one that was asked for/,
      (res) => res.writeHead(206, { 'content-range': 'bytes 0-3/100', 'content-length': 4 }).end('four'),
    ],
    [
      'a header that has no end',
      'unreachable',
      /cannot be fetched \(HPE_HEADER_OVERFLOW\)/,
      (res) => res.writeHead(200, { 'x-long': 'x'.repeat(64 * 1024) }).end(),
    ],
    [
      'a redirect to a file of this machine',
      'unreachable',
      /^file:\/\/\/etc\/passwd is neither http: nor https:/,
      (res) => res.writeHead(302, { location: 'file:///etc/passwd' }).end(),
    ],
    [
      'redirects in a loop',
      'unreachable',
      /answers with more than 5 redirects/,
      (res) => res.writeHead(302, { location: '/file' }).end(),
    ],
  ];
  for (const [name, code, message, instead] of cases) {
    it(name, async () => {
      await assert.rejects(read(instead), failed(code, message));
    });
  }

  it('nothing for too long, from the beginning or in the middle', async () => {
    await assert.rejects(
      read(() => {}, { connectTimeoutMs: 50 }),
      failed('unreachable', /does not answer within 50 ms/),
    );
    await assert.rejects(
      read((res) => void res.writeHead(200, head).write('four'), { stallTimeoutMs: 50 }),
      failed('unreachable', /sends too slowly: 4 bytes, and no more/),
    );
  });

  it('a byte now and then is too slow, too', async () => {
    await assert.rejects(
      read(
        (res) => {
          res.writeHead(200, { 'content-length': 1_000_000 });
          const timer = setInterval(() => res.write('x'), 5);
          res.once('close', () => clearInterval(timer));
        },
        { stallTimeoutMs: 100 },
      ),
      failed('unreachable', /sends too slowly/),
    );
  });

  it('endless data is cut where the file must have ended', async () => {
    web.instead = (_req, res) => {
      const more = () => {
        while (res.write(Buffer.alloc(65_536)));
      };
      res.writeHead(200).on('drain', more);
      more();
      return true;
    };
    const source = new HttpSource(web.url, client());
    await assert.rejects(source.read('file', 100_000), failed('too-large', /more than the 100000 bytes/));
    const { content } = await source.open('file', 0, 100_000);
    await assert.rejects(async () => {
      for await (const _ of content);
    }, failed('too-large'));
    web.instead = undefined;
  });

  it('a web page with status 200, for a record and for a file', async () => {
    web.instead = (_req, res) => {
      res.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end('<h1>Sign in</h1>');
      return true;
    };
    const source = new HttpSource(web.url, client());
    await assert.rejects(
      source.read('file', 100),
      failed('malformed', /answers with a web page in the place of file/),
    );
    await assert.rejects(source.snapshot('stable'), failed('malformed', /web page/));
    web.instead = undefined;
    await assert.rejects(
      source.open('file', 0, 1234),
      failed('drifted', /has 100000 bytes, and 1234 were signed/),
    );
  });
});

describe('where redirects may lead', () => {
  it('addresses are told apart', () => {
    const kinds = {
      loopback: ['127.0.0.1', '127.1.2.3', '::1', '::ffff:127.0.0.1', '0.0.0.0', '::'],
      private: [
        '10.1.2.3',
        '172.31.0.1',
        '192.168.0.1',
        '169.254.169.254',
        'fd00::1',
        'fe80::1%eth0',
        '100.64.0.1',
      ],
      public: ['192.0.2.1', '8.8.8.8', '2001:db8::1', '172.32.0.1', '::ffff:8.8.8.8'],
    };
    for (const [kind, all] of Object.entries(kinds))
      for (const one of all) assert.equal(addressKind(one), kind, one);
    assert.deepEqual(
      [
        leadsInward('public', 'private'),
        leadsInward('private', 'loopback'),
        leadsInward('loopback', 'private'),
      ],
      [true, true, false],
    );
  });

  it('further out, and never further in', async () => {
    const child = fileURLToPath(new URL('redirects-inward.js', import.meta.url));
    const network =
      'ip link set lo up; ip address add 192.0.2.1/32 dev lo; ip address add 10.99.0.1/32 dev lo';
    const names = join(folder, 'hosts');
    await writeFile(names, '127.0.0.1 localhost\n192.0.2.1 twofold.example\n127.0.0.1 twofold.example\n');
    const hosts = `mount --bind ${names} /etc/hosts`;
    const words = [
      '--net',
      '--mount',
      'sh',
      '-ec',
      `${network}; ${hosts}; exec "$0" "$1"`,
      process.execPath,
      child,
    ];
    const { stdout } = await promisify(execFile)('unshare', words);
    const found = JSON.parse(stdout) as Record<string, string>;
    const followed = Object.keys(found).filter((name) => found[name] === 'here');
    assert.deepEqual(followed, [
      'public to public',
      'private to public',
      'loopback to private',
      'public to loopback, allowed',
    ]);
    const refused = Object.entries(found).filter(([name]) => !followed.includes(name));
    assert.equal(refused.length, 5);
    for (const [name, message] of refused)
      assert.match(message, /is where a redirect leads, and that is .*: it is not followed there\.$/, name);
  });

  it('from https never to http; TLS is verified', async () => {
    const { key, certificate } = await readTlsPair(await tlsPair(folder));
    const server = createTlsServer({ key, cert: certificate }, (_req, res) =>
      res.writeHead(302, { location: `${web.url}file` }).end(),
    ).listen(0, '127.0.0.1');
    after(() => server.close());
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as AddressInfo;
    const address = `https://127.0.0.1:${port}/file`;
    await assert.rejects(
      client().get(address),
      failed('unreachable', /DEPTH_ZERO_SELF_SIGNED_CERT|UNABLE_TO/),
    );
    await assert.rejects(
      client({ ca: certificate }).get(address),
      failed('unreachable', /from https to http: it is not followed/),
    );
  });
});
