import assert from 'node:assert/strict';
import { createReadStream } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { readChannel } from '../../src/store/channels.ts';
import { start } from '../cli/command.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { webFolder } from '../fixtures/hostile-web.ts';
import { INITRD, KERNEL, ROOTFS } from '../fixtures/release.ts';
import { makeUpstream } from '../fixtures/upstream.ts';

const folder = await temporaryFolder();
const now = Date.now();
const upstream = await makeUpstream(join(folder, 'upstream'), now);
const IMAGE = Buffer.alloc(4_000_000, 'an image that no socket holds');
await upstream.publish('2026.11.02', { rootfs: IMAGE });
const RELEASE = 'arch/2026.11.02';
const image = `/releases/${RELEASE}/${ROOTFS}`;

const command = (state: string, url: string, ...more: string[]) => [
  ...['mirror', 'pull', url, '--channel', 'stable', '--state', state, '--anchors', upstream.anchors],
  ...['--json', '--parallel', '1', ...more],
];

it('killed in the middle of the image: the next pull asks for the rest of that and for no other file again', async () => {
  const state = join(folder, 'mirror');
  const web = await webFolder(upstream.state);
  const reached = new Promise<void>((resolve) => {
    web.instead = (_req, res, path) => {
      if (path !== image) return false;
      res.writeHead(200, { 'content-length': IMAGE.length });
      res.write(IMAGE.subarray(0, 3_000_000), () => resolve());
      return true;
    };
  });
  const running = start(command(state, web.url));
  await reached;
  // What was sent has to be on the disk of who pulls: the server cannot see that, its folder can.
  const part = join(state, 'incoming');
  for (;;) {
    const names = await readdir(part);
    const name = names.find((one) => one.endsWith('.part'));
    if (name !== undefined && (await stat(join(part, name))).size === 3_000_000) break;
    await new Promise((resolve) => setImmediate(resolve));
  }
  running.signal('SIGKILL');
  await running.ended;
  assert.equal(await readChannel(state, 'stable'), undefined);
  assert.deepEqual(await readdir(join(state, 'releases')), []);
  web.instead = undefined;
  web.asked.length = 0;
  const { code, out, err } = await start(command(state, web.url)).ended;
  assert.equal(code, 0, err);
  const { resumed, fetched, files, moved } = JSON.parse(out);
  assert.deepEqual([resumed, fetched, files, moved], [3_000_000, 1_000_000, 1, true]);
  const payload = web.asked.filter(({ path }) =>
    [KERNEL, INITRD, ROOTFS].some((name) => path.endsWith(name)),
  );
  assert.deepEqual(payload, [{ path: image, range: 'bytes=3000000-' }]);
  assert.deepEqual(await readFile(join(state, 'releases', RELEASE, ROOTFS)), IMAGE);
});

it('killed at any request: what is in the state is the old or the new, and the next pull does the rest', async () => {
  const state = join(folder, 'often');
  const web = await webFolder(upstream.state);
  let requests = 0;
  let last = 0;
  // Twice as far each time, so that the whole way is gone in a few steps.
  for (let limit = 1; ; limit *= 2) {
    requests = 0;
    const reached = new Promise<'killed'>((resolve) => {
      web.instead = () => {
        requests += 1;
        if (requests < limit) return false;
        resolve('killed');
        // No answer: the process is gone.
        return true;
      };
    });
    const running = start(command(state, web.url));
    const how = await Promise.race([reached, running.ended]);
    if (how !== 'killed') {
      assert.equal(how.code, 0, how.err);
      assert.ok(requests < limit);
      break;
    }
    running.signal('SIGKILL');
    await running.ended;
    assert.equal(await readChannel(state, 'stable').catch(() => undefined), undefined);
    last = limit;
  }
  assert.ok(last > 8, 'it was killed on the way');
  assert.equal((await readChannel(state, 'stable'))?.snapshot.counter, 1);
  const from = createReadStream(join(state, 'releases', RELEASE, ROOTFS));
  let octets = 0;
  for await (const piece of from) octets += (piece as Buffer).length;
  assert.equal(octets, IMAGE.length);
});

it('old releases go, but for those that stay and those that a snapshot names', async () => {
  const state = join(folder, 'keeping');
  const web = await webFolder(upstream.state);
  assert.equal((await start(command(state, web.url, '--keep', '0')).ended).code, 0);
  await upstream.publish('2026.11.03');
  const { code, out, err } = await start(command(state, web.url, '--keep', '0')).ended;
  assert.equal(code, 0, err);
  // The snapshot before has not ended: mirrors and machines may be at what it names.
  assert.deepEqual(JSON.parse(out).removed, []);
  assert.deepEqual(await readdir(join(state, 'releases/arch')), ['2026.11.02', '2026.11.03']);
});
