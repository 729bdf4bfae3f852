import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmod, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { type PullOptions, pull } from '../../src/mirrors/pull.ts';
import { RecordsSource } from '../../src/mirrors/records-source.ts';
import { RsyncSource } from '../../src/mirrors/rsync-source.ts';
import { recordsOf } from '../../src/store/folder-backend.ts';
import { daemon, freePort } from '../fixtures/daemon.ts';
import { failed } from '../fixtures/failed.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';
import { KERNEL, ROOTFS } from '../fixtures/release.ts';
import { makeUpstream } from '../fixtures/upstream.ts';

/** Servers of others hold a state, and a pull follows it there: nginx, and an rsync daemon. */

const folder = await temporaryFolder();
// nginx and rsync read as nobody.
await chmod(folder, 0o755);
const upstream = await makeUpstream(join(folder, 'upstream'));
await upstream.publish('2026.11.01');
const RELEASE = 'arch/2026.11.01';

let mirrors = 0;
async function demandPulled(source: string, change: Partial<PullOptions> = {}) {
  const state = join(folder, `mirror-${++mirrors}`);
  const result = await pull({
    ...{ state, channel: 'stable', sources: [source], anchors: upstream.anchors, now: NOW + 60_000 },
    ...{ pauseMs: 1, ...change },
  });
  assert.equal(result.refusal, undefined, result.refusal?.message);
  for (const path of [KERNEL, ROOTFS, `${ROOTFS}.sig`, 'release.manifest', 'boot.ipxe']) {
    assert.deepEqual(
      await readFile(join(state, 'releases', RELEASE, path)),
      await readFile(join(upstream.state, 'releases', RELEASE, path)),
      path,
    );
  }
  return { state, result };
}

describe('nginx over a state', () => {
  it('is a mirror', async () => {
    const port = await freePort();
    const conf = join(folder, 'nginx.conf');
    await writeFile(
      conf,
      `daemon off; pid ${folder}/nginx.pid; error_log stderr; worker_processes 1;
events {}
http {
  access_log off; sendfile on;
  client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy; fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi; scgi_temp_path ${folder}/scgi;
  server { listen 127.0.0.1:${port}; root ${upstream.state}; location /private { deny all; } }
}
`,
    );
    await daemon(port, 'nginx', '-c', conf, '-e', 'stderr');
    await demandPulled(`http://127.0.0.1:${port}/`);
  });
});

describe('an rsync daemon over a state', async () => {
  const port = await freePort();
  const conf = join(folder, 'rsyncd.conf');
  await writeFile(
    conf,
    `pid file = ${folder}/rsyncd.pid
use chroot = no
[netboot]
  path = ${upstream.state}
  exclude = /private /tokens
[odd]
  path = ${folder}/odd
`,
  );
  const odd = join(folder, 'odd');
  await mkdir(join(odd, 'scripts'), { recursive: true });
  await symlink('/etc/passwd', join(odd, 'scripts/link'));
  await writeFile(join(odd, 'scripts/long'), Buffer.alloc(10_000));
  await daemon(
    port,
    'rsync',
    '--daemon',
    '--no-detach',
    `--config=${conf}`,
    `--port=${port}`,
    '--address=127.0.0.1',
  );

  it('is a mirror', async () => {
    const { result } = await demandPulled(`rsync://127.0.0.1:${port}/netboot/`);
    assert.equal(result.mirrors[0]?.standing, 'good');
  });

  it('links, files that are too long, and what is not there are refused', async () => {
    const staging = join(folder, 'staging');
    const source = new RsyncSource(`rsync://127.0.0.1:${port}/odd`, { staging, stallMs: 10_000 });
    await assert.rejects(source.read('scripts/link', 100_000), failed('absent'));
    await assert.rejects(source.read('scripts/long', 9_999), failed('absent'));
    await assert.rejects(source.read('scripts/none', 100), failed('absent', /does not exist/));
    await assert.rejects(
      source.open('scripts/long', 0, 10_001),
      failed('drifted', /has 10000 bytes, and 10001/),
    );
    const other = new RsyncSource(`rsync://127.0.0.1:${port}/nothing`, { staging, stallMs: 10_000 });
    await assert.rejects(other.read('x', 100), failed('unreachable', /Unknown module|cannot be fetched/));
    await source.close();
    await other.close();
  });
});

describe('records of a store', () => {
  it('are a mirror, whatever is underneath', async () => {
    const source = new RecordsSource('s3://upstream/netboot', recordsOf(upstream.state));
    const { bytes } = await source.snapshot('stable');
    assert.match(Buffer.from(bytes).toString(), /^bootseal-snapshot 1\nchannel stable\n/);
    const path = `releases/${RELEASE}/${ROOTFS}`;
    const whole = await readFile(join(upstream.state, path));
    const { content } = await source.open(path, 1000, whole.length);
    const pieces: Uint8Array[] = [];
    for await (const piece of content) pieces.push(piece);
    assert.deepEqual(Buffer.concat(pieces), whole.subarray(1000));
    await assert.rejects(source.open(path, 0, 1), failed('drifted'));
    await assert.rejects(source.read(path, 10), failed('too-large'));
    assert.equal(await source.size(path, whole.length), whole.length);
    await assert.rejects(source.size(path, 10), failed('too-large'));
    await assert.rejects(source.read('releases/none', 10), failed('absent'));
  });
});

it('an rsync daemon that says a little for ever is too slow', async () => {
  // By rsync's own clock it is alive with each byte.
  const drip = createServer((socket) => {
    socket.on('error', () => {});
    socket.write('@RSYNCD: 31.0 sha512 sha256 sha1 md5 md4\n');
    const timer = setInterval(() => socket.write('.'), 100);
    socket.once('close', () => clearInterval(timer));
  }).listen(0, '127.0.0.1');
  await once(drip, 'listening');
  after(() => drip.close());
  const { port } = drip.address() as { port: number };
  const staging = join(folder, 'dripping');
  const source = new RsyncSource(`rsync://127.0.0.1:${port}/state/`, { staging, stallMs: 1000 });
  await assert.rejects(source.read('channels/stable/current', 32), failed('unreachable', /sends too slowly/));
  await source.close();
});
