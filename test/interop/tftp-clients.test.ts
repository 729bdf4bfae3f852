import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Transport } from '../../src/emulator/transport.ts';
import { tftpTransport } from '../../src/emulator/transports/tftp.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { memorySite } from '../serve/sites.ts';
import { tftp } from '../serve/tftp/tftp-harness.ts';

/** Bytes that repeat at no power of two, so that a block in another's place shows. */
function content(size: number): Uint8Array {
  const bytes = Buffer.alloc(size);
  for (let at = 0; at < size; at += 1) bytes[at] = (at * 31 + (at >> 9) * 7 + (at >> 17)) & 0xff;
  return bytes;
}

/** More than 65535 blocks of 512 bytes: the block number begins again. */
const ROLLS_OVER = 34_000_000;
const SIZES = [0, 1, 511, 512, 513, 1024, 100_000, ROLLS_OVER];
const folder = await temporaryFolder();
const files = Object.fromEntries(SIZES.map((size) => [`/f/${size}`, content(size)]));
const site = memorySite({ ...files, '/drifts': { data: content(5000), drifts: true } });
const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const expected = (size: number): string => digest(files[`/f/${size}`] as Uint8Array);

interface Ran {
  readonly code: number;
  readonly said: string;
}

function run(file: string, words: readonly string[]): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(file, [...words], (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), said: out + err });
    });
  });
}

/** Fetches `path` from a server on `port` into a file, and says how that ended. */
type Fetch = (port: number, path: string, to: string) => Promise<Ran>;

const curl =
  (...flags: string[]): Fetch =>
  (port, path, to) =>
    run('curl', ['-sS', '--noproxy', '*', ...flags, '-o', to, `tftp://127.0.0.1:${port}${path}`]);

const hpa =
  (...flags: string[]): Fetch =>
  async (port, path, to) =>
    run('tftp', ['-m', 'binary', ...flags, '127.0.0.1', String(port), '-c', 'get', path, to]);

/** curl up to 8 takes "tsize 0", which RFC 2349 wants for an empty file, for an illegal answer. */
const REFUSES_EMPTY = /^curl (?!without)/;

const CLIENTS: Readonly<Record<string, Fetch>> = {
  'curl as it comes': curl(),
  'curl without options, as a ROM of RFC 1350': curl('--tftp-no-options'),
  'curl with blocks of 1428 bytes': curl('--tftp-blksize', '1428'),
  'curl with the smallest blocks it can ask for': curl('--tftp-blksize', '8'),
  'curl with the largest blocks that fit a datagram': curl('--tftp-blksize', '65464'),
  'tftp-hpa': hpa(),
  'tftp-hpa from one port of its own': hpa('-R', '40000:45000'),
};

describe('TFTP clients of others', () => {
  for (const [name, fetch] of Object.entries(CLIENTS)) {
    it(`${name} gets every size, byte for byte`, async (t) => {
      const server = await tftp(t, site);
      // 34 MB in blocks of eight would be four million turns.
      const sizes = SIZES.filter((each) => !(name.includes('smallest') && each > 100_000));
      for (const size of REFUSES_EMPTY.test(name) ? sizes.filter((each) => each > 0) : sizes) {
        const to = join(folder, 'got');
        const { code, said } = await fetch(server.port, `/f/${size}`, to);
        assert.deepEqual([code, said], [0, ''], `${size}: ${said}`);
        assert.equal(digest(await readFile(to).catch(() => Buffer.alloc(0))), expected(size), String(size));
      }
      assert.deepEqual(server.errors, []);
    });
  }

  it('curl asks for what it says it asks for', async (t) => {
    const server = await tftp(t, site);
    const verbose = await curl('-v', '--tftp-blksize', '1428')(server.port, '/f/100000', join(folder, 'got'));
    assert.match(verbose.said, /blksize parsed from OACK \(1428\) requested \(1428\)/);
    assert.match(verbose.said, /tsize parsed from OACK \(100000\)/);
  });

  it('tell a file that is not there from one that is not served', async (t) => {
    const server = await tftp(t, site);
    const to = join(folder, 'nothing');
    const absent = await curl()(server.port, '/f/none', to);
    // 68: CURLE_TFTP_NOTFOUND.
    assert.equal(absent.code, 68, absent.said);
    const drifted = await curl()(server.port, '/drifts', to);
    assert.notEqual(drifted.code, 0);
    assert.notEqual(drifted.code, 68, drifted.said);
    assert.match((await hpa()(server.port, '/f/none', to)).said, /Error code 1: File not found/);
    assert.match((await hpa()(server.port, '/drifts', to)).said, /Error code 0: drifted/);
    // 69: CURLE_TFTP_PERM.
    assert.equal((await curl()(server.port, '/../etc/passwd', to)).code, 68);
    assert.equal((await curl('--path-as-is')(server.port, '/../etc/passwd', to)).code, 69);
    const upload = await run('curl', [
      '-sS',
      '-T',
      join(folder, 'got'),
      `tftp://127.0.0.1:${server.port}/new`,
    ]);
    assert.equal(upload.code, 69, upload.said);
  });
});

describe('node-tftp, the client of the emulated boot ROM', () => {
  const rom = tftpTransport({ timeoutMs: 1000, retries: 3, maxBytes: 64 * 1024 ** 2 });
  const read = async (transport: Transport, url: string): Promise<Buffer> => {
    const pieces: Uint8Array[] = [];
    for await (const piece of (await transport.fetch(url)).body) pieces.push(piece);
    return Buffer.concat(pieces);
  };

  for (const size of SIZES) {
    it(`gets ${size} bytes, each as it is`, async (t) => {
      const server = await tftp(t, site);
      assert.equal(digest(await read(rom, `tftp://127.0.0.1:${server.port}/f/${size}`)), expected(size));
    });
  }

  it('gives many files at once to as many machines', async (t) => {
    const server = await tftp(t, site);
    const sizes = Array.from({ length: 24 }, (_, index) => SIZES[index % 7] ?? 0);
    const got = await Promise.all(
      sizes.map((size) => read(rom, `tftp://127.0.0.1:${server.port}/f/${size}`)),
    );
    assert.deepEqual(got.map(digest), sizes.map(expected));
  });

  it('stops when it is told to, and tells the server', async (t) => {
    const server = await tftp(t, site);
    const controller = new AbortController();
    const url = `tftp://127.0.0.1:${server.port}/f/${ROLLS_OVER}`;
    const { body } = await rom.fetch(url, { signal: controller.signal });
    const reading = (async () => {
      for await (const _ of body) controller.abort(new Error('enough'));
    })();
    await assert.rejects(reading, { message: 'enough' });
    await server.event('ended');
  });

  it('says in a refusal what was wrong: absent, drifted, too large, nobody there', async (t) => {
    const server = await tftp(t, site);
    const base = `tftp://127.0.0.1:${server.port}`;
    await assert.rejects(read(rom, `${base}/f/none`), { code: 'absent' });
    await assert.rejects(read(rom, `${base}/drifts`), { code: 'unreachable', message: /drifted/ });
    const small = tftpTransport({ timeoutMs: 1000, retries: 3, maxBytes: 1000 });
    await assert.rejects(read(small, `${base}/f/100000`), { code: 'too-large' });
    await assert.rejects(read(rom, `${base}/../etc/passwd%00`), { code: 'unsafe-path' });
    await server.close({ graceMs: 0 });
    const hasty = tftpTransport({ timeoutMs: 50, retries: 1, maxBytes: 1000 });
    await assert.rejects(read(hasty, `${base}/f/1`), { code: 'unreachable', message: /Timed out/ });
  });
});
