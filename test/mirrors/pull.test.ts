import assert from 'node:assert/strict';
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { type PullOptions, pull } from '../../src/mirrors/pull.ts';
import { type Finding, scrubStore } from '../../src/operations/sentinel.ts';
import { renewChannel } from '../../src/publish/channel.ts';
import { serve } from '../../src/server/serve.ts';
import { readChannel } from '../../src/store/channels.ts';
import { misused } from '../fixtures/failed.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { type WebFolder, webFolder } from '../fixtures/hostile-web.ts';
import { NOW } from '../fixtures/keys.ts';
import { KERNEL, ROOTFS } from '../fixtures/release.ts';
import { makeUpstream } from '../fixtures/upstream.ts';

const folder = await temporaryFolder();
const upstream = await makeUpstream(join(folder, 'upstream'));
await upstream.publish('2026.11.01');
const stale = join(folder, 'stale');
await cp(upstream.state, stale, { recursive: true });
const IMAGE = Buffer.alloc(3_000_000, 'an image that no socket holds');
await upstream.publish('2026.11.02', { now: NOW + 60_000, rootfs: IMAGE });
const RELEASE = 'arch/2026.11.02';
const LATER = NOW + 120_000;
const web = await webFolder(upstream.state);

let mirrors = 0;
const options = (change: Partial<PullOptions> = {}): PullOptions => ({
  state: join(folder, `mirror-${++mirrors}`),
  channel: 'stable',
  sources: [web.url],
  anchors: upstream.anchors,
  now: LATER,
  pauseMs: 1,
  stallMs: 10_000,
  ...change,
});

async function demandPulled(state: string, release = RELEASE): Promise<void> {
  for (const path of [
    KERNEL,
    ROOTFS,
    `${ROOTFS}.sig`,
    `${KERNEL}.ipxe.sig`,
    'release.manifest',
    'grub.cfg',
  ]) {
    const [here, there] = await Promise.all(
      [state, upstream.state].map((one) => readFile(join(one, 'releases', release, path))),
    );
    assert.deepEqual(here, there, path);
  }
  assert.equal((await readChannel(state, 'stable'))?.snapshot.releases[0]?.release, release);
  // Nothing is left half-way.
  assert.deepEqual(await readdir(join(state, 'incoming')), ['lock']);
}

/** A mirror that holds what the upstream does, and does this instead for paths that match. */
async function hostile(
  path: RegExp,
  instead: (res: ServerResponse, req: IncomingMessage) => void,
): Promise<WebFolder> {
  const made = await webFolder(upstream.state);
  made.instead = (req, res, asked) => {
    if (!path.test(asked)) return false;
    instead(res, req);
    return true;
  };
  return made;
}

describe('from a mirror that is honest', () => {
  it('what a release lost here is put back, each file whole', async () => {
    const to = options();
    assert.equal((await pull(to)).refusal, undefined);
    const place = (path: string) => join(to.state, 'releases', RELEASE, path);
    await rm(place('boot.ipxe.sig'));
    await rm(place(ROOTFS));
    const found: Finding[] = [];
    const scrub = {
      ...{ state: to.state, clock: () => LATER, onFault: () => assert.fail('no disk fails here') },
      onFinding: (one: Finding) => void found.push(one),
    };
    await scrubStore(scrub);
    assert.equal(found.length, 2);
    const again = await pull(to);
    assert.deepEqual([again.refusal, again.moved], [undefined, false]);
    await demandPulled(to.state);
    assert.deepEqual(
      await readFile(place('boot.ipxe.sig')),
      await readFile(join(upstream.state, 'releases', RELEASE, 'boot.ipxe.sig')),
    );
    assert.deepEqual((await scrubStore(scrub))?.restored, [RELEASE]);
    assert.equal(found.length, 2);
  });

  it('a record that nobody has missed yet is named, and what to do', async () => {
    const to = options();
    assert.equal((await pull(to)).refusal, undefined);
    await rm(join(to.state, 'releases', RELEASE, 'boot.ipxe.sig'));
    const { refusal } = await pull(to);
    assert.equal(refusal?.code, 'drifted');
    assert.match(refusal?.message ?? '', /lost a record here .*: run "bootseal state watch --once/);
  });

  it('a channel that it does not have is no channel of its, and nothing worse', async () => {
    const { refusal, mirrors: rows } = await pull(options({ channel: 'testing' }));
    assert.equal(refusal?.code, 'absent');
    assert.equal(refusal?.message.startsWith(`${web.url} has no channel testing: `), true, refusal?.message);
    assert.equal(rows[0]?.standing, 'behind');
  });

  it('a plain web server over a state', async () => {
    const to = options();
    const progress: [number, number][] = [];
    const result = await pull({ ...to, onProgress: (done, total) => progress.push([done, total]) });
    assert.equal(result.refusal, undefined);
    assert.equal(result.moved, true);
    await demandPulled(to.state);
    const [done, total] = progress.at(-1) ?? [];
    assert.equal(done, total);
    assert.ok((total ?? 0) > IMAGE.length);
    // The snapshot alone is looked at the next time.
    web.asked.length = 0;
    const again = await pull(to);
    assert.deepEqual([again.refusal, again.moved, again.files], [undefined, false, 0]);
    assert.deepEqual(
      web.asked.map(({ path }) => path),
      ['/channels/stable/current', '/channels/stable/2/snapshot', '/channels/stable/2/snapshot.cms.sig'],
    );
  });

  it('a server of Bootseal', async () => {
    const serving = await serve({
      ...{ state: upstream.state, anchors: upstream.anchors, bind: '127.0.0.1' },
      ...{ httpPort: 0, tftpPort: false as const, nbdPort: false as const, clock: () => LATER },
    });
    try {
      const to = options({ sources: [serving.url] });
      const result = await pull(to);
      assert.equal(result.refusal, undefined);
      await demandPulled(to.state);
    } finally {
      await serving.close(0);
    }
  });

  it('a folder', async () => {
    const to = options({ sources: [upstream.state] });
    const result = await pull(to);
    assert.equal(result.refusal, undefined);
    await demandPulled(to.state);
    // A mirror is served as any state is, and is a mirror to the next.
    const serving = await serve({
      ...{ state: to.state, anchors: upstream.anchors, bind: '127.0.0.1' },
      ...{ httpPort: 0, tftpPort: false as const, nbdPort: false as const, clock: () => LATER },
    });
    try {
      const next = options({ sources: [serving.url] });
      assert.equal((await pull(next)).refusal, undefined);
      await demandPulled(next.state);
    } finally {
      await serving.close(0);
    }
  });

  it('a newer release: of what is here already nothing is fetched again', async () => {
    const old = await webFolder(stale);
    const to = options({ sources: [old.url] });
    assert.equal((await pull(to)).moved, true);
    web.asked.length = 0;
    const result = await pull({ ...to, sources: [web.url] });
    assert.deepEqual([result.refusal, result.moved], [undefined, true]);
    await demandPulled(to.state);
    const payload = web.asked.map(({ path }) => path).filter((path) => /(vmlinuz-linux|\.sfs)$/.test(path));
    assert.deepEqual(payload, [`/releases/${RELEASE}/${ROOTFS}`]);
    // And never back.
    const back = await pull({ ...to, sources: [old.url] });
    assert.equal(back.refusal?.code, 'rolled-back');
    await demandPulled(to.state);
  });

  it('a renewal moves the channel and fetches nothing', async () => {
    const state = join(folder, 'renewing');
    await cp(upstream.state, state, { recursive: true });
    const to = options({ sources: [state] });
    await pull(to);
    await renewChannel({
      ...{ channel: 'stable', state, snapshotKey: upstream.keys, now: LATER + 1000 },
    });
    const result = await pull({ ...to, now: LATER + 2000 });
    assert.deepEqual([result.moved, result.files, result.snapshot?.counter], [true, 0, 3]);
  });

  it('what is no mirror, and nobody at all', async () => {
    await assert.rejects(
      pull(options({ sources: [join(folder, 'nothing')] })),
      misused(/no address of a mirror/),
    );
    const none = await pull(options({ sources: ['http://127.0.0.1:9/'] }));
    assert.equal(none.refusal?.code, 'unreachable');
    assert.equal(none.mirrors[0]?.standing, 'unreachable');
  });
});

describe('three mirrors, of which one is honest', () => {
  it('the pull succeeds from what is honest, and names the others', async () => {
    const tampering = await hostile(new RegExp(`${ROOTFS}$`), (res) => {
      const image = Buffer.from(IMAGE);
      image[2_000_000] = (image[2_000_000] ?? 0) ^ 1;
      res.writeHead(200, { 'content-length': image.length }).end(image);
    });
    const old = await webFolder(stale);
    const to = options({ sources: [tampering.url, old.url, web.url] });
    const result = await pull(to);
    assert.equal(result.refusal, undefined);
    await demandPulled(to.state);
    assert.deepEqual(
      result.mirrors.map(({ mirror, standing, refusal }) => [mirror, standing, refusal?.code]),
      [
        [tampering.url, 'dropped', 'drifted'],
        [old.url, 'behind', undefined],
        [web.url, 'good', undefined],
      ],
    );
    assert.match(
      result.mirrors[0]?.refusal?.message ?? '',
      /gives another .*airootfs\.sfs than the one that was signed/,
    );
  });
});

describe('what one mirror does to a file: alone it is refused, beside an honest one it is passed over', () => {
  const size = { 'content-length': IMAGE.length };
  const image = new RegExp(`${ROOTFS}$`);
  const cases: readonly [string, RegExp, string, (res: ServerResponse, req: IncomingMessage) => void][] = [
    [
      'one wrong byte',
      image,
      'drifted',
      (res) => res.writeHead(200, size).end(Buffer.alloc(IMAGE.length, 'x')),
    ],
    ['truncation', image, 'unreachable', (res) => res.writeHead(200, size).write('x', () => res.destroy())],
    [
      'a wrong length',
      image,
      'drifted',
      (res) => res.writeHead(200, { 'content-length': 9 }).end('too short'),
    ],
    [
      'endless data',
      image,
      'too-large',
      (res) => {
        const more = () => {
          while (res.write(Buffer.alloc(65_536)));
        };
        res.writeHead(200).on('drain', more);
        more();
      },
    ],
    [
      'a web page with status 200',
      image,
      'drifted',
      (res) => res.writeHead(200, { 'content-type': 'text/html', 'content-length': 4 }).end('<h1>'),
    ],
    [
      'a page in the place of the manifest',
      /release\.manifest$/,
      'malformed',
      (res) => res.writeHead(200, { 'content-type': 'text/html' }).end('<h1>'),
    ],
    ['a coding', image, 'unreachable', (res) => res.writeHead(200, { 'content-encoding': 'gzip' }).end('x')],
    ['a missing seal', new RegExp(`${ROOTFS}\\.sig$`), 'absent', (res) => res.writeHead(404).end()],
    [
      'a changed seal',
      new RegExp(`${ROOTFS}\\.cms\\.sig$`),
      'malformed',
      (res) => res.writeHead(200).end('seal'),
    ],
    ['a changed script', /boot\.ipxe$/, 'bad-signature', (res) => res.writeHead(200).end('#!ipxe\nshell\n')],
    [
      'a snapshot that nobody signed',
      /\/snapshot$/,
      'bad-signature',
      (res) => res.writeHead(200).end('bootseal-snapshot 1\n'),
    ],
    [
      'redirects to a file',
      image,
      'unreachable',
      (res) => res.writeHead(302, { location: 'file:///etc/passwd' }).end(),
    ],
  ];
  for (const [name, path, code, instead] of cases) {
    it(name, async () => {
      const bad = await hostile(path, instead);
      const to = options({ sources: [bad.url] });
      const alone = await pull(to);
      assert.equal(alone.refusal?.code, code, alone.refusal?.message);
      assert.deepEqual(await readdir(join(to.state, 'releases')), []);
      assert.equal(await readChannel(to.state, 'stable'), undefined);
      assert.match(alone.mirrors[0]?.refusal?.message ?? '', /^[^\n]+\.$/);
      const both = await pull({ ...to, sources: [bad.url, web.url] });
      assert.equal(both.refusal, undefined, both.refusal?.message);
      await demandPulled(to.state);
      bad.close();
    });
  }

  it('somebody else’s release under this name', async () => {
    const other = await makeUpstream(join(folder, 'other'));
    await other.publish('2026.11.02');
    const mixed = join(folder, 'mixed');
    await cp(upstream.state, mixed, { recursive: true });
    await cp(join(other.state, 'releases', RELEASE), join(mixed, 'releases', RELEASE), {
      recursive: true,
      force: true,
    });
    const alone = await pull(options({ sources: [mixed] }));
    assert.equal(alone.refusal?.code, 'untrusted-signer', alone.refusal?.message);
  });

  it('a mirror that knows no ranges goes on all the same', async () => {
    let cut = true;
    const bad = await hostile(image, (res) => {
      res.writeHead(200, size);
      if (cut) res.write(IMAGE.subarray(0, 1_000_000), () => res.destroy());
      else res.end(IMAGE);
      cut = false;
    });
    const to = options({ sources: [bad.url] });
    assert.equal((await pull(to)).refusal, undefined);
    await demandPulled(to.state);
  });
});

it('two pulls at once do not get into each other’s files', async () => {
  const to = options();
  const results = await Promise.allSettled([pull(to), pull(to)]);
  assert.deepEqual(results.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
  await writeFile(join(folder, 'done'), '');
  await demandPulled(to.state);
});
