import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { clientsWithin } from '../../src/server/descriptors.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { ROOTFS, sealFixture, wholeSampleTree } from '../fixtures/release.ts';
import { ask } from '../serve/http/harness.ts';

const DESCRIPTORS = 256;
const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

it('bounds leave a fifth of the descriptors, and are the usual ones where there are enough', () => {
  for (const limit of [64, 256, 1024, 4096, 20_000]) {
    const { http, tftp, nbd } = clientsWithin(limit);
    const used =
      2 * (http.maxConnections + tftp.maxTransfers) + http.reservedConnections + nbd.maxConnections;
    assert.ok(used + nbd.maxToldRefusals <= limit * 0.82, String(limit));
  }
  assert.deepEqual(clientsWithin(1_048_576), clientsWithin(undefined));
  assert.equal(clientsWithin(undefined).http.maxConnections, 4096);
});

it('a server with few descriptors serves on while one address connects far more often than there are', async (t) => {
  const folder = await temporaryFolder();
  const keys = await makeKeys(join(folder, 'keys'));
  const tree = await wholeSampleTree(join(folder, 'tree'), keys);
  await sealFixture(tree, keys, { now: Date.now() });
  const words = ['serve', '--tree', tree, '--http-port', '0', '--no-tftp', '--nbd-port', '0', '--json'];
  const command = `ulimit -n ${DESCRIPTORS}; exec "$0" "$@"`;
  const child = spawn('bash', ['-c', command, process.execPath, MAIN, ...words], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  t.after(() => child.kill('SIGKILL'));
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const said = JSON.parse(String(line)) as { release: string } & Record<'http' | 'nbd', { port: number }>;
  const { release, http, nbd } = said;
  for (const port of [http.port, nbd.port]) {
    for (let count = 0; count < 2 * DESCRIPTORS; count += 1) {
      const socket = connect({ host: '127.0.0.1', port, localAddress: '127.0.0.66' });
      socket.on('error', () => {});
      t.after(() => socket.destroy());
      socket.write(`GET /releases/${release}/${ROOTFS} HTTP/1.1\r\nHost: x\r\n\r\n`);
      await once(socket, 'connect');
    }
  }
  for (const path of ['/healthz', '/boot.ipxe', '/metrics']) {
    assert.equal((await ask(http.port, path)).status, 200, path);
  }
  const machine = connect({ host: '127.0.0.1', port: nbd.port });
  t.after(() => machine.destroy());
  const [greeting] = (await once(machine, 'data')) as [Buffer];
  assert.equal(greeting.toString('latin1', 0, 8), 'NBDMAGIC');
  assert.equal(child.exitCode, null);
});
