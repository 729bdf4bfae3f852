import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { type PullOptions, type PullResult, pull } from '../../src/mirrors/pull.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { type WebFolder, webFolder } from '../fixtures/hostile-web.ts';
import { NOW } from '../fixtures/keys.ts';
import { KERNEL, ROOTFS } from '../fixtures/release.ts';
import { makeUpstream } from '../fixtures/upstream.ts';

/** A mirror that is dropped costs nobody anything; so it does what keeps it from being dropped, and others from being asked. */
const folder = await temporaryFolder();
const upstream = await makeUpstream(join(folder, 'upstream'));
const IMAGE = Buffer.alloc(300_000, 'an image');
await upstream.publish('2026.11.01', { rootfs: IMAGE });
const RELEASE = join(upstream.state, 'releases/arch/2026.11.01');
const web = await webFolder(upstream.state);
let mirrors = 0;

function pulled(sources: readonly string[], change: Partial<PullOptions> = {}): Promise<PullResult> {
  return pull({
    ...{ state: join(folder, `mirror-${++mirrors}`), channel: 'stable', anchors: upstream.anchors },
    ...{ sources, now: NOW + 60_000, pauseMs: 1, stallMs: 10_000, ...change },
  });
}

async function hostile(path: RegExp, instead: (res: ServerResponse) => void): Promise<WebFolder> {
  const made = await webFolder(upstream.state);
  made.instead = (_req, res, asked) => {
    if (!path.test(asked)) return false;
    instead(res);
    return true;
  };
  return made;
}

/** A detached signature that says it is over another hash: the octet behind version, type and key algorithm. */
function weakened(seal: Uint8Array): Buffer {
  const bytes = Buffer.from(seal);
  const [tag = 0, length = 0] = bytes;
  const header = (tag & 0x40) === 0 ? 1 + 2 ** (tag & 3) : length < 192 ? 2 : 3;
  bytes[header + 3] = 2;
  return bytes;
}

it('asks a mirror for each name once, and for no seal of a seal', async () => {
  web.asked.length = 0;
  await pulled([web.url]);
  const names = web.asked.map(({ path }) => path);
  assert.deepEqual(
    names.filter((path) => /\.[0-9a-f]{16}\.[0-9a-f]{16}\.sig$/.test(path)),
    [],
  );
  assert.equal(new Set(names).size, names.length);
});

describe('a mirror that comes first, beside one that is honest', () => {
  it('begins a file with another byte and ends there, each time', async () => {
    const bad = await hostile(new RegExp(`${ROOTFS}$`), (res) =>
      res.writeHead(200, { 'content-length': IMAGE.length }).write('x', () => res.socket?.end()),
    );
    const result = await pulled([bad.url, web.url]);
    assert.equal(result.refusal, undefined, result.refusal?.message);
    // What the other had begun is thrown away once, and what is honest is named for nothing.
    const [, good] = result.mirrors;
    assert.equal(good?.standing, 'good');
    assert.ok((good?.octets ?? 0) < 2.5 * IMAGE.length, String(good?.octets));
    assert.doesNotMatch(result.mirrors[0]?.refusal?.message ?? '', new RegExp(web.url));
  });

  it('sends the image so slowly that it would take for ever', async () => {
    const bad = await hostile(new RegExp(`${ROOTFS}$`), (res) => {
      res.writeHead(200, { 'content-length': IMAGE.length });
      const timer = setInterval(() => res.write(Buffer.alloc(40)), 20);
      res.once('close', () => clearInterval(timer));
    });
    const result = await pulled([bad.url, web.url], { stallMs: 1000 });
    assert.equal(result.refusal, undefined, result.refusal?.message);
    assert.match(result.mirrors[0]?.refusal?.message ?? '', /sends too slowly/);
  });

  for (const name of ['release.manifest.sig', `${KERNEL}.sig`])
    it(`has a seal of a weak kind beside ${name}`, async () => {
      const seal = weakened(await readFile(join(RELEASE, name)));
      const bad = await hostile(new RegExp(`${name}$`), (res) => res.writeHead(200).end(seal));
      assert.equal((await pulled([bad.url])).refusal?.code, 'weak-algorithm');
      const result = await pulled([bad.url, web.url]);
      assert.equal(result.refusal, undefined, result.refusal?.message);
      assert.equal(result.moved, true);
      assert.deepEqual(
        result.mirrors.map(({ standing }) => standing),
        ['dropped', 'good'],
      );
    });
});

it('a file that was whole and lies here changed is no mirror’s fault, and is fetched anew', async () => {
  const state = join(folder, 'rotten');
  const cut = await hostile(new RegExp(`${ROOTFS}$`), (res) => res.writeHead(404).end());
  assert.equal((await pulled([cut.url], { state })).refusal?.code, 'absent');
  const manifest = await readFile(join(RELEASE, 'release.manifest'), 'latin1');
  const [, sha256 = ''] = new RegExp(`^.*\\b([0-9a-f]{64})\\b.*${KERNEL}`, 'm').exec(manifest) ?? [];
  const kernel = await readFile(join(RELEASE, KERNEL));
  await mkdir(join(state, 'incoming'), { recursive: true });
  await writeFile(join(state, 'incoming', sha256), Buffer.alloc(kernel.length, 'r'));
  const result = await pulled([web.url], { state });
  assert.equal(result.refusal, undefined, result.refusal?.message);
  assert.equal(result.mirrors[0]?.standing, 'good');
});
