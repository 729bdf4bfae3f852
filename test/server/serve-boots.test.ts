import assert from 'node:assert/strict';
import { appendFile, chmod, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { boot } from '../../src/operations/boot.ts';
import { applyMachines } from '../../src/publish/channel.ts';
import { publish } from '../../src/publish/publish.ts';
import { neighbours } from '../../src/server/neighbours.ts';
import { type Serving, serve } from '../../src/server/serve.ts';
import { readScriptKeys } from '../../src/signing/keys/script-keys.ts';
import { runHere as run } from '../cli/here.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { KERNEL, sampleTree, sealFixture } from '../fixtures/release.ts';

const A = '52:54:00:00:00:0a';
const B = '52:54:00:00:00:0b';
const RELEASE = 'arch/2026.11.01';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const anchors = join(keys, 'anchors');
const state = join(folder, 'state');
const tree = await sampleTree(join(folder, 'tree'), keys);
await sealFixture(tree, keys, {});
const given = { state, anchors, now: NOW, snapshotKey: keys };
await publish({ ...given, channel: 'stable', tree });
await mkdir(join(state, 'machines'));
await writeFile(
  join(state, 'machines', 'all.toml'),
  `[[machine]]\nname = "b"\nmac = "${B}"\ngets = { boot = "refuse" }\n`,
);
await applyMachines({ ...given, channel: 'stable', scriptKeys: await readScriptKeys(keys, NOW) });

let now = NOW;
const started = (): Promise<Serving> =>
  serve({ state, anchors, clock: () => now, httpPort: 0, tftpPort: false, nbdPort: false });
const boots = (server: Serving, mac: string) =>
  boot({ url: `${server.url}/boot.ipxe`, anchors, mac, now: NOW, anyKernel: true });

it('keeps a receipt of each boot: what was served, and why another one was not', async () => {
  const server = await started();
  try {
    assert.equal((await boots(server, A)).refusal, undefined);
    const receipt = await server.boots.ended(A, 0);
    assert.deepEqual(
      [receipt.outcome, receipt.by, receipt.release, receipt.route, receipt.trust],
      ['served', 'server', RELEASE, 'ipxe', 'local-imgverify'],
    );
    assert.deepEqual(
      receipt.stages.map(({ stage, outcome }) => `${stage} ${outcome}`),
      ['script complete', 'kernel complete', 'initrd complete', 'userspace complete', 'root complete'],
    );
    assert.ok((await boots(server, B)).refusal);
    const refused = await server.boots.ended(B, 0);
    assert.deepEqual([refused.outcome, refused.stage, refused.code], ['refused', 'script', 'wrong-machine']);
  } finally {
    await server.close(0);
  }
});

it('knows them after a restart, and so does the command that needs no server', async () => {
  now += 60_000;
  const server = await started();
  try {
    await server.boots.ended(B, 0);
    const found = await server.boots.find({}, 10);
    assert.deepEqual(found.map(({ machine, outcome }) => `${machine} ${outcome}`).sort(), [
      `${A} served`,
      `${B} refused`,
    ]);
  } finally {
    await server.close(0);
  }
  const since = ['--since', '2026-01-01'];
  const table = await run(['boots', '--state', state, ...since]);
  assert.equal(table.code, 0, table.err);
  assert.match(table.out, new RegExp(`${B} +– +REFUSED +script +– +wrong-machine: `));
  assert.match(table.out, new RegExp(`${A} +${RELEASE} +served whole +root`));
  assert.match(
    table.out,
    /^2 boots: 1 served whole, 1 REFUSED\. What machines say of themselves is claimed\.$/m,
  );
  const failed = JSON.parse((await run(['boots', '--state', state, '--failed', '--json', ...since])).out);
  assert.deepEqual([failed.total, failed.boots.length, failed.boots[0].machine], [1, 1, B]);
  const one = await run(['boots', failed.boots[0].boot, '--state', state]);
  assert.match(one.out, /Write the machine down/);
  assert.match((await run(['boots', A, '--state', state])).out, /served whole/);
  assert.match((await run(['boots', A, '--receipts', join(state, 'boots')])).out, /served whole/);
  for (const where of [[], ['--state', state, '--receipts', join(state, 'boots')]])
    assert.equal((await run(['boots', ...where])).code, 2);
  assert.match((await run(['boots', '52:54:00:00:00:ff', '--state', state])).out, /No boot is on record/);
  const elsewhere = await run(['boots', '--state', folder]);
  assert.deepEqual([elsewhere.code, elsewhere.out], [2, '']);
  assert.match(elsewhere.err, /is not a state folder/);
  assert.equal((await run(['boots', 'nonsense', '--state', state])).code, 2);
  assert.equal((await run(['boots', '00000000-00000000', '--state', state])).code, 2);
});

it('goes on where receipts cannot be kept, and says so', async () => {
  await rm(join(state, 'boots'), { recursive: true });
  await writeFile(join(state, 'boots'), 'no folder');
  const server = await started();
  try {
    assert.ok((await boots(server, B)).refusal);
    assert.equal((await server.boots.ended(B, 0)).outcome, 'refused');
    assert.match(
      await (await fetch(`${server.url}/readyz`)).text(),
      /receipts of boots are kept in memory alone/,
    );
  } finally {
    await server.close(0);
  }
  assert.ok((await readdir(state)).includes('boots'));
});

it('a kernel that changed on disk ends the boot at the kernel, with the reason', async () => {
  const server = await started();
  try {
    const path = join(state, 'releases', RELEASE, KERNEL);
    await chmod(path, 0o644);
    await appendFile(path, 'x');
    assert.ok((await boots(server, A)).refusal);
    const { outcome, stage, code } = await server.boots.ended(A, 0);
    assert.deepEqual([outcome, stage, code], ['refused', 'kernel', 'drifted']);
  } finally {
    await server.close(0);
  }
});

it('the table of neighbours is read as Linux writes it, and not for every packet', () => {
  let read = 0;
  let at = 0;
  const table = [
    'IP address       HW type     Flags       HW address            Mask     Device',
    '10.0.0.7         0x1         0x2         52:54:00:12:34:56     *        br0',
    '10.0.0.8         0x1         0x0         00:00:00:00:00:00     *        br0',
    '10.0.0.9         0x1         0x0         52:54:00:12:34:57     *        br0',
  ].join('\n');
  const of = neighbours(
    () => at,
    () => {
      read += 1;
      return table;
    },
  );
  assert.equal(of('10.0.0.7'), '52:54:00:12:34:56');
  for (let count = 0; count < 1000; count += 1) {
    assert.equal(of('10.0.0.8'), undefined);
    assert.equal(of('10.0.0.9'), undefined);
  }
  assert.equal(read, 1);
  at += 1000;
  assert.equal(of('10.0.0.8'), undefined);
  assert.equal(read, 2);
});
