// A test harness, whole: publish a sealed tree, serve it on ports that are free, boot an emulated machine and a QEMU one,
// and hold both to their receipts. It needs no root, no network of its own and no loader.
//
//     node harness.mjs TREE KEYS
//
// TREE is sealed with the words `ip dhcp`, `BOOTIF mac`, `archiso_http_srv url` and `bootseal.nbd-port port` free, and has
// an overlay ("bootseal overlay"), which is what reports. KEYS is the folder that "bootseal init" made.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { boot, directBoot, publish, serve } from 'bootseal';

const [tree, keys] = process.argv.slice(2);
const anchors = join(keys, 'anchors');
const folder = await mkdtemp(join(tmpdir(), 'harness-'));
const state = join(folder, 'state');

// 1. Through the gate: every client's judgement, or no channel.
const published = await publish({ tree, anchors, channel: 'stable', state, now: Date.now() });
if (published.refusal) throw published.refusal;

// 2. Ephemeral ports, on loopback.
const serving = await serve({ state, anchors, httpPort: 0, tftpPort: 0, nbdPort: 0 });
let machine;
try {
  // 3. An emulated machine: loader and early userspace, in this process, by the same checks.
  const emulated = '52:54:00:00:00:01';
  const verdict = await boot({
    url: `${serving.url}/boot.ipxe`,
    anchors,
    mac: emulated,
    mode: 'verity',
    now: Date.now(),
  });
  assert.equal(verdict.refusal, undefined);
  const first = await serving.boots.ended(emulated, 0);
  assert.equal(first.outcome, 'verified');
  console.log(`${first.machine}: ${first.outcome}, ${first.release}, by way of ${first.route}`);

  // 4. A real kernel in QEMU. Its network is QEMU's own, which calls this host's loopback 10.0.2.2.
  const card = '52:54:00:00:00:02';
  const { kernel, initrds, commandLine } = await directBoot({
    tree,
    anchors,
    now: Date.now(),
    words: [
      'ip=dhcp',
      `BOOTIF=01-${card.replaceAll(':', '-')}`,
      `archiso_http_srv=http://10.0.2.2:${serving.http.port}/releases/${serving.release}/`,
      `bootseal.nbd-port=${serving.nbd.port}`,
    ],
  });
  const initrd = join(folder, 'initrd');
  const archives = await Promise.all(initrds.map((path) => readFile(path)));
  await writeFile(
    initrd,
    Buffer.concat(archives.flatMap((bytes) => [bytes, Buffer.alloc(-bytes.length & 3)])),
  );
  machine = spawn(
    'qemu-system-x86_64',
    [
      ...['-accel', 'tcg', '-m', '1024', '-nographic', '-monitor', 'none', '-serial', 'stdio', '-no-reboot'],
      ...['-kernel', kernel, '-initrd', initrd, '-append', commandLine],
      ...[
        '-netdev',
        'user,id=n0',
        '-device',
        `virtio-net-pci,netdev=n0,mac=${card}`,
        '-device',
        'virtio-rng-pci',
      ],
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  let said = '';
  machine.stdout.on('data', (piece) => {
    said += piece;
  });
  const over = new AbortController();
  machine.once('close', () => over.abort(new Error(`QEMU ended without a receipt:\n${said.slice(-2000)}`)));
  const second = await serving.boots.ended(card, 0, over.signal);
  assert.equal(second.outcome, 'verified', second.message);
  assert.equal(second.root, 'verity');
  console.log(`${second.machine}: ${second.outcome}, ${second.release}, root by ${second.root}`);
} finally {
  machine?.kill();
  await serving.close(0);
  await rm(folder, { recursive: true, force: true });
}
