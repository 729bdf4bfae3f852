import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { it } from 'node:test';
import { Refusal, type RefusalCode } from '../../../src/errors/refusal.ts';
import { demandSignature, keySigner } from '../../../src/signing/signers/digest-signer.ts';
import { type SigndSignerOptions, signdSigner } from '../../../src/signing/signers/signd-signer.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { makeTlsFiles, reply, type SigndServerOptions, signdServer } from '../../fixtures/signd-server.ts';
import { digestOf, opensslVerifies, writeKey } from '../../fixtures/signing-keys.ts';
import { refused } from '../../trust/judge.ts';

const folder = await temporaryFolder();
const rsa = writeKey(folder, 'rsa', 'rsa');
const ec = writeKey(folder, 'ec', 'ec');
const other = writeKey(folder, 'other', 'rsa');
const keys = {
  'rsa@obs': { path: rsa.path, kind: 'rsa' },
  'ec@obs': { path: ec.path, kind: 'ec' },
  'other@obs': { path: other.path, kind: 'rsa' },
} as const;
const tlsFiles = makeTlsFiles(join(folder, 'tls'));
const DIGEST = digestOf('sha256');

async function served(options: Partial<SigndServerOptions> = {}, more: Partial<SigndSignerOptions> = {}) {
  const server = await signdServer({ keys, ...options });
  const at = { host: '127.0.0.1', port: server.port, user: 'rsa@obs', framing: 'new', ...more } as const;
  return { server, signer: signdSigner(more.user === 'ec@obs' ? ec.publicKey : rsa.publicKey, at) };
}

for (const framing of ['old', 'new'] as const) {
  for (const packet of [3, 4] as const) {
    for (const hash of ['sha256', 'sha512'] as const) {
      it(`${hash} in the ${framing} framing, answered in version ${packet}, is a plain signature`, async () => {
        const { signer } = await served({ packet }, { framing });
        const signature = await demandSignature(signer, hash, digestOf(hash));
        assert.ok(opensslVerifies(folder, rsa, hash, signature));
        const own = await keySigner(rsa.privateKey, 'x').sign(hash, digestOf(hash));
        assert.ok(Buffer.from(signature).equals(own));
        const { signer: curve } = await served({ packet }, { framing, user: 'ec@obs' });
        const der = await demandSignature(curve, hash, digestOf(hash));
        assert.ok(opensslVerifies(folder, ec, hash, der));
      });
    }
  }
}

it('a signature that begins with zeros gets them back', async () => {
  // About every 256th does; RSA is deterministic, so one digest stays one.
  const own = keySigner(rsa.privateKey, 'x');
  const digest = Buffer.alloc(32);
  let wanted: Uint8Array;
  do {
    digest.writeUInt32BE(digest.readUInt32BE(0) + 1, 0);
    wanted = await own.sign('sha256', digest);
  } while (wanted[0] !== 0);
  const { signer } = await served();
  assert.ok(Buffer.from(await demandSignature(signer, 'sha256', digest)).equals(wanted));
});

it('a reply in small pieces is put together', async () => {
  const send = (socket: Socket, whole: Buffer): void => {
    socket.setNoDelay(true);
    const next = (at: number): void => {
      if (at < whole.length) socket.write(whole.subarray(at, at + 7), () => next(at + 7));
      else socket.end();
    };
    next(0);
  };
  const { signer } = await served({ send });
  assert.equal((await demandSignature(signer, 'sha256', DIGEST)).length, 256);
});

it('the request goes out in one piece, and names the hash', async () => {
  const { server, signer } = await served();
  await signer.sign('sha256', DIGEST);
  const [request] = server.requests;
  assert.ok(request?.toString('latin1').includes(`signSHA256:rsa@obs${DIGEST.toString('hex')}@0000000000`));
  assert.equal(request?.length, 4 + (request?.readUInt16BE(0) ?? 0));
});

const end = (bytes: (whole: Buffer) => Uint8Array) => (socket: Socket, whole: Buffer) => {
  socket.end(bytes(whole));
};
const misdeeds: readonly [string, (socket: Socket, whole: Buffer) => void, RefusalCode, RegExp][] = [
  ['closes without a word', end(() => Buffer.alloc(0)), 'unreachable', /closed without an answer/],
  ['resets the connection', (socket) => socket.resetAndDestroy(), 'unreachable', /broke off: ECONNRESET/],
  ['ends within the header', end((whole) => whole.subarray(0, 5)), 'malformed', /ends early/],
  ['ends within the reply', end((whole) => whole.subarray(0, -1)), 'malformed', /ends early/],
  [
    'sends more than it said',
    end((whole) => Buffer.concat([whole, Buffer.of(0)])),
    'malformed',
    /after the reply/,
  ],
  ['sends without end', endless, 'malformed', /after the reply/],
  [
    'says no',
    end(() => reply(2, Buffer.alloc(0), 'gpg: \x1b[2Jno')),
    'unreachable',
    /status 2: gpg: \\x1b\[2Jno\.$/,
  ],
  ['says no without a word', end(() => reply(1, Buffer.alloc(0), '')), 'unreachable', /with status 1\.$/],
  [
    'says no at length',
    end(() => reply(1, Buffer.alloc(0), 'x'.repeat(65_535))),
    'unreachable',
    /: … x{800}\.$/,
  ],
  ['says yes and nothing more', end(() => reply(0, Buffer.alloc(0), '')), 'malformed', /ends early/],
  ['sends garbage', end(() => reply(0, Buffer.alloc(300, 7), '')), 'malformed', /1799 answers/],
  ['speaks HTTP', end(() => Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')), 'malformed', /ends early/],
];
function endless(socket: Socket, whole: Buffer): void {
  const more = (): void => {
    if (!socket.destroyed) socket.write(Buffer.alloc(65_536), more);
  };
  socket.write(whole, more);
}
for (const [what, send, code, fact] of misdeeds) {
  it(`a server that ${what} is refused as ${code}`, async () => {
    const { signer } = await served({ send });
    await assert.rejects(demandSignature(signer, 'sha256', DIGEST), refused(code, fact));
  });
}

it('a server with another key under that name is found out', async () => {
  const { signer } = await served({ keys: { 'rsa@obs': { path: other.path, kind: 'rsa' } } });
  await assert.rejects(demandSignature(signer, 'sha256', DIGEST), refused('bad-signature', /another key/));
  const { signer: curve } = await served({ keys: { 'rsa@obs': { path: ec.path, kind: 'ec' } } });
  await assert.rejects(demandSignature(curve, 'sha256', DIGEST), refused('malformed', /another kind of key/));
});

it('a server without that key says so, in both framings', async () => {
  for (const framing of ['old', 'new'] as const) {
    const { signer } = await served({}, { framing, user: 'nobody' });
    await assert.rejects(
      signer.sign('sha256', DIGEST),
      refused('unreachable', /status 1: unknown key: nobody\.$/),
    );
  }
});

const stalls: readonly [string, (whole: Buffer) => Uint8Array][] = [
  ['says nothing', () => Buffer.alloc(0)],
  ['promises 65535 bytes and stalls', () => Buffer.of(0, 0, 0xff, 0xff, 0, 0, 1)],
  ['says all and does not close', (whole) => whole],
];
for (const [what, part] of stalls) {
  it(`a server that ${what} is unreachable when the time is over`, async () => {
    const { controller, timeLimit } = limit();
    const send = (socket: Socket, whole: Buffer): void => {
      // The limit ends when the client has what there is.
      socket.write(Buffer.concat([part(whole)]), () => controller.abort());
    };
    const { signer } = await served({ send }, { timeLimit });
    await assert.rejects(
      signer.sign('sha256', DIGEST),
      refused('unreachable', /gave no whole answer within 60 s/),
    );
  });
}

it('a server is left when nobody waits for it any more', async () => {
  const controller = new AbortController();
  const send = () => controller.abort(new Error('the operator went away'));
  const timeLimit = { seconds: 60, after: () => new AbortController().signal, ended: controller.signal };
  const { signer } = await served({ send }, { timeLimit });
  await assert.rejects(signer.sign('sha256', DIGEST), /^Error: the operator went away$/);
});

function limit() {
  const controller = new AbortController();
  return { controller, timeLimit: { seconds: 60, after: () => controller.signal } };
}

it('a server that is not there is unreachable', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  const at = { host: '127.0.0.1', port, user: 'rsa@obs', framing: 'new' } as const;
  const signer = signdSigner(rsa.publicKey, at);
  await assert.rejects(
    signer.sign('sha256', DIGEST),
    refused('unreachable', /cannot be reached: ECONNREFUSED/),
  );
  assert.equal(
    signdSigner(rsa.publicKey, { ...at, host: '::1', port: 1 }).name,
    'signd at [::1]:1 (key rsa@obs)',
  );
});

const { server: own, client, ca, otherCa } = tlsFiles;
const secure = { key: own.key, cert: own.cert };

it('over TLS the server proves to be the host that was named', async () => {
  const { signer } = await served({ tls: secure }, { host: 'localhost', tls: { ca } });
  assert.ok(opensslVerifies(folder, rsa, 'sha256', await demandSignature(signer, 'sha256', DIGEST)));
});

it('a client certificate is shown where one is wanted', async () => {
  const tls = { ...secure, ca };
  const proof = { ca, certificate: client.cert, key: client.key };
  const { signer } = await served({ tls }, { host: 'localhost', tls: proof });
  assert.ok(opensslVerifies(folder, rsa, 'sha256', await demandSignature(signer, 'sha256', DIGEST)));
  const { signer: nobody, server } = await served({ tls }, { host: 'localhost', tls: { ca } });
  await assert.rejects(
    nobody.sign('sha256', DIGEST),
    refused('unreachable', /certificate required|ECONNRESET|closed/),
  );
  assert.deepEqual(server.requests, []);
});

const strangers: readonly [string, Partial<SigndSignerOptions>, RegExp][] = [
  ['by a CA that was not named', { host: 'localhost', tls: { ca: otherCa } }, /unable to verify|self-signed/],
  [
    'of another host',
    { host: '127.0.0.1', tls: { ca } },
    /does not match certificate|not in the cert's list/,
  ],
];
for (const [what, options, fact] of strangers) {
  it(`a server with a certificate ${what} gets no digest, whatever the environment says`, async (test) => {
    const before = process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
    test.after(() => {
      if (before === undefined) delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
      else process.env.NODE_TLS_REJECT_UNAUTHORIZED = before;
    });
    const { server, signer } = await served({ tls: secure }, options);
    await assert.rejects(signer.sign('sha256', DIGEST), refused('unreachable', fact));
    assert.deepEqual(server.requests, []);
  });
}

it('a plain server is no TLS server', async () => {
  const send = (socket: Socket): void => void socket.end('no TLS here');
  const { signer } = await served({ send }, { host: 'localhost', tls: { ca } });
  const error = await signer.sign('sha256', DIGEST).catch((reason) => reason);
  assert.ok(error instanceof Refusal && error.code === 'unreachable', String(error));
});

it('keys and hashes that signd is not asked for are refused before it is', async () => {
  const ed = writeKey(folder, 'ed', 'ed25519');
  const at = { host: '127.0.0.1', port: 1, user: 'x', framing: 'new' } as const;
  assert.throws(() => signdSigner(ed.publicKey, at), refused('unsafe-keys'));
  await assert.rejects(signdSigner(rsa.publicKey, at).sign('sha1', DIGEST), refused('weak-algorithm'));
});
