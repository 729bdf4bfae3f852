import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { decodeByteranges } from '../../src/formats/net/byteranges.ts';
import { serving } from '../serve/http/harness.ts';
import { memorySite, sha256 } from '../serve/sites.ts';

const DATA = Buffer.from(Array.from({ length: 2_500_000 }, (_, i) => (i * 31 + (i >> 9)) & 0xff));
const BASE = '/releases/arch/2026.11.01/arch/x86_64';

interface Curl {
  readonly code: number;
  readonly out: Buffer;
}

/** Runs curl; its exit code is part of the verdict. */
function curl(...args: string[]): Promise<Curl> {
  return new Promise((resolve) => {
    execFile(
      'curl',
      ['-s', '--noproxy', '*', ...args],
      { encoding: 'buffer', maxBuffer: 1 << 24 },
      (error, out) => {
        resolve({ code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1, out });
      },
    );
  });
}

async function setup(t: TestContext): Promise<{ url: string; dir: string; found: string[] }> {
  const dir = await mkdtemp(join(tmpdir(), 'http-curl-'));
  t.after(() => rm(dir, { recursive: true }));
  const site = memorySite({ [`${BASE}/airootfs.sfs`]: DATA, '/cut': { data: DATA, drifts: true } });
  const { port } = await serving(t, site);
  return { url: `http://127.0.0.1:${port}`, dir, found: site.trace.found };
}

test('the probe and the download of early userspace', async (t) => {
  const { url, dir } = await setup(t);
  const file = join(dir, 'airootfs.sfs');
  const probe = await curl('-L', '-f', '-o', file, '-r', '0-0', `${url}${BASE}/airootfs.sfs`);
  assert.equal(probe.code, 0);
  assert.deepEqual(await readFile(file), DATA.subarray(0, 1));
  assert.equal((await curl('-L', '-f', '-o', file, '--create-dirs', `${url}${BASE}/airootfs.sfs`)).code, 0);
  assert.ok((await readFile(file)).equals(DATA));
  assert.equal(
    (await curl('-L', '-f', '-o', '/dev/null', '-r', '0-0', `${url}${BASE}/airootfs.erofs`)).code,
    22,
  );
});

test('curl -r: one, open, suffix', async (t) => {
  const { url } = await setup(t);
  for (const [range, first, end] of [
    ['10-19', 10, 20],
    ['2499990-', 2_499_990, DATA.length],
    ['-7', DATA.length - 7, DATA.length],
  ] as const) {
    const { out } = await curl('-r', range, `${url}${BASE}/airootfs.sfs`);
    assert.ok(out.equals(DATA.subarray(first, end)), range);
  }
});

test('curl -r: several', async (t) => {
  const { url } = await setup(t);
  const { out } = await curl('-i', '-r', '0-4,1000000-1999999,-1', `${url}${BASE}/airootfs.sfs`);
  const split = out.indexOf('\r\n\r\n') + 4;
  const head = out.subarray(0, split).toString('latin1');
  assert.match(head, /^HTTP\/1\.1 206 /);
  const boundary = /boundary=([0-9a-f]+)/.exec(head)?.[1] ?? '';
  const parts = decodeByteranges(out.subarray(split), boundary);
  assert.deepEqual(
    parts.map(({ range, data }) => [range.first, range.last, sha256(data)]),
    [
      [0, 4, sha256(DATA.subarray(0, 5))],
      [1_000_000, 1_999_999, sha256(DATA.subarray(1_000_000, 2_000_000))],
      [DATA.length - 1, DATA.length - 1, sha256(DATA.subarray(-1))],
    ],
  );
});

test('curl -C - resumes', async (t) => {
  const { url, dir } = await setup(t);
  const file = join(dir, 'half');
  await writeFile(file, DATA.subarray(0, 1_234_567));
  const { code } = await curl('-C', '-', '-o', file, `${url}${BASE}/airootfs.sfs`);
  assert.equal(code, 0);
  assert.ok((await readFile(file)).equals(DATA));
});

test('curl -I', async (t) => {
  const { url } = await setup(t);
  const { code, out } = await curl('-I', `${url}${BASE}/airootfs.sfs`);
  assert.equal(code, 0);
  assert.match(out.toString(), /^HTTP\/1\.1 200 OK\r\n/);
  assert.match(out.toString(), /^Content-Length: 2500000\r$/m);
});

test('curl --etag-save, --etag-compare: 304 the second time; -z with a date proves nothing', async (t) => {
  const { url, dir } = await setup(t);
  const target = `${url}${BASE}/airootfs.sfs`;
  const tag = join(dir, 'tag');
  await curl('--etag-save', tag, '-o', '/dev/null', target);
  const again = ['-o', '/dev/null', '-w', '%{http_code} %{size_download}', target];
  assert.equal((await curl('--etag-compare', tag, ...again)).out.toString(), '304 0');
  assert.equal((await curl('-z', '2030-01-01', ...again)).out.toString(), `200 ${DATA.length}`);
});

test('curl --path-as-is: no trick is answered with a file or reaches the site', async (t) => {
  const { url, found } = await setup(t);
  for (const path of [
    '/../../etc/passwd',
    `${BASE}/../x86_64/airootfs.sfs`,
    `${BASE}/%2e%2e/x86_64/airootfs.sfs`,
    `${BASE}/%252e%252e/airootfs.sfs`,
    `${BASE}/airootfs.sfs%00`,
    `${BASE}/..%5cairootfs.sfs`,
    `${BASE}/airootfs.sfs/`,
  ]) {
    const { out } = await curl('--path-as-is', '-o', '/dev/null', '-w', '%{http_code}', `${url}${path}`);
    assert.match(out.toString(), /^40[04]$/, path);
  }
  assert.deepEqual(found, []);
});

test('curl sees a file that drifts in the middle as a transfer that broke (18)', async (t) => {
  const { url } = await setup(t);
  const { code, out } = await curl('-f', `${url}/cut`);
  assert.equal(code, 18);
  assert.ok(out.length < DATA.length);
});

test('curl -d on a file is 405, a body on GET is 413', async (t) => {
  const { url } = await setup(t);
  const status = ['-o', '/dev/null', '-w', '%{http_code}', `${url}${BASE}/airootfs.sfs`];
  assert.equal((await curl('-d', 'x', ...status)).out.toString(), '405');
  assert.equal((await curl('-X', 'GET', '-d', 'x', ...status)).out.toString(), '413');
});
