import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AT, MAC, OTHER, Scene } from './scene.ts';

const expect = async (scene: Scene, ...lines: string[]): Promise<void> =>
  assert.deepEqual(await scene.said(), lines);

test('a boot is joined from DHCP to the report, and each stage says by what', async () => {
  const scene = new Scene();
  scene.neighbours.set(AT, MAC);
  scene.offered().pass(1).whole().pass(2);
  const root = scene.begin('ours/1/root', { server: 'nbd' });
  scene.pass(1).reported('verified').pass(1).end(root, 'client-gone', 4096);
  await expect(scene, `${MAC} verified at report`);
  const [receipt] = await scene.all();
  assert.deepEqual(
    receipt?.stages.map(({ stage, join }) => `${stage} ${join}`),
    [
      'dhcp mac',
      'loader neighbour',
      'script mac',
      'kernel address',
      'initrd address',
      'userspace address',
      'root address',
      'report id',
    ],
  );
  assert.deepEqual(
    [receipt?.release, receipt?.trust, receipt?.route, receipt?.by, receipt?.loader, receipt?.rootHash],
    ['ours/1', 'network-imgverify', 'ipxe', 'report', 'ipxe.efi', 'ab'.repeat(32)],
  );
  assert.deepEqual(receipt?.lines, ['last line']);
});

test('what came by address alone before the card was known is the same boot, though nobody knows the neighbours', async () => {
  const scene = new Scene();
  scene.offered().pass(1).gets('ipxe.efi', { server: 'tftp' });
  await expect(scene, `${MAC} running at dhcp`, '? running at loader');
  scene.pass(1).script(MAC);
  await expect(scene, `${MAC} running at script`);
  const [receipt] = await scene.all();
  assert.deepEqual(
    receipt?.stages.map(({ stage, join, bytes }) => `${stage} ${join} ${bytes}`),
    ['dhcp mac 0', 'loader address 100', 'script mac 100'],
  );
});

test('a release whose machine can say nothing is served when all of it was fetched, and verified by nobody', async () => {
  const scene = new Scene();
  scene.script(MAC).gets('/releases/arch/1/vmlinuz').gets('/releases/arch/1/initrd');
  await expect(scene, `${MAC} running at initrd`);
  scene.gets('/releases/arch/1/root');
  await expect(scene, `${MAC} served at root`);
});

test('a kernel that was cut off has not been served', async () => {
  const scene = new Scene();
  scene.script(MAC).end(scene.begin('/releases/arch/1/vmlinuz'), 'client-gone', 50);
  scene.gets('/releases/arch/1/initrd').gets('/releases/arch/1/root');
  await expect(scene, `${MAC} running at root`);
});

test('a HEAD has had nothing, and a part of a kernel is a part', async () => {
  const scene = new Scene();
  scene.script(MAC).gets('/releases/arch/1/vmlinuz', { method: 'HEAD' });
  scene.end(scene.begin('/releases/arch/1/vmlinuz'), 'complete', 10, 206);
  scene.gets('/releases/arch/1/initrd').gets('/releases/arch/1/root');
  await expect(scene, `${MAC} running at root`);
});

test('EDK2 asks for the size first and ends that with an error: no failure', async () => {
  const scene = new Scene();
  scene.offered();
  scene.neighbours.set(AT, MAC);
  scene.end(scene.begin('ipxe.efi', { server: 'tftp' }), 'probe', 0).gets('ipxe.efi', { server: 'tftp' });
  await expect(scene, `${MAC} running at loader`);
  const [receipt] = await scene.all();
  assert.equal(receipt?.stages.at(-1)?.outcome, 'complete');
});

test('iPXE that a ROM has loaded asks for an address again: the same boot', async () => {
  const scene = new Scene();
  scene
    .offered(MAC, 'bios')
    .gets('ipxe.efi', { server: 'tftp' })
    .pass(2)
    .offered(MAC, 'bootseal')
    .script(MAC);
  await expect(scene, `${MAC} running at script`);
});

test('a loader that asks DHCP anew ends the boot before', async () => {
  const scene = new Scene();
  scene.offered().whole().pass(5).offered();
  await expect(scene, `${MAC} restarted at userspace`, `${MAC} running at dhcp`);
});

test('an answer that is told twice begins nothing', async () => {
  const scene = new Scene();
  scene.offered().whole().offered(MAC, 'x64', '0.0.0.0', true);
  await expect(scene, `${MAC} running at userspace`);
});

test('firmware that falls back to another way of booting begins anew', async () => {
  const scene = new Scene();
  scene.neighbours.set(AT, MAC);
  scene.offered().end(scene.begin('ipxe.efi', { server: 'tftp' }), 'timeout', 0);
  scene.pass(20).offered(MAC, 'http-x64');
  await expect(scene, `${MAC} restarted at loader`, `${MAC} running at dhcp`);
});

test('early userspace says no: with its reason, and claimed', async () => {
  const scene = new Scene();
  scene.whole().reported('refused');
  const [receipt] = await scene.all();
  assert.deepEqual(
    [receipt?.outcome, receipt?.stage, receipt?.code, receipt?.message, receipt?.by],
    ['refused', 'userspace', 'wrong-command-line', 'A word.', 'report'],
  );
});

test('a server that says no ends the boot, and one name that is missing does not', async () => {
  const scene = new Scene();
  scene.refused('/boot.ipxe', 'absent', { mac: MAC });
  await expect(scene, `${MAC} running at script`);
  scene.pass(4).script(MAC);
  await expect(scene, `${MAC} running at script`);
  scene.refused('/releases/ours/1/vmlinuz', 'expired');
  await expect(scene, `${MAC} refused at kernel`);
});

test('where nothing follows a name that was missing, that was the end', async () => {
  const scene = new Scene();
  scene.refused('/boot.ipxe', 'absent', { mac: MAC }).pass(6);
  const [receipt] = await scene.all();
  assert.deepEqual([receipt?.outcome, receipt?.code, receipt?.by], ['refused', 'absent', 'server']);
});

test('a seal that is missing is told, too', async () => {
  const scene = new Scene();
  scene.script(MAC).gets('/releases/ours/1/vmlinuz').refused('/releases/ours/1/vmlinuz.ipxe.sig', 'drifted');
  await expect(scene, `${MAC} refused at kernel`);
});

test('a loader that says where it gave up is believed no further than that', async () => {
  const scene = new Scene();
  scene.script(MAC).gets('/releases/ours/1/vmlinuz');
  const gaveUp = {
    kind: 'gave-up',
    server: 'http',
    remote: AT,
    mac: MAC,
    step: 'verify the kernel',
  } as const;
  scene.tell({ ...gaveUp, errno: '0x227e13c', code: 'bad-signature' });
  const [receipt] = await scene.all();
  assert.deepEqual([receipt?.outcome, receipt?.code, receipt?.by], ['refused', 'bad-signature', 'loader']);
  assert.match(receipt?.message ?? '', /verify the kernel .*0x227e13c/);
});

test('its own disk, a menu and a held machine are ends of their own', async () => {
  const scene = new Scene();
  scene.script(MAC, AT, 'local').script(OTHER, '10.0.0.8', 'hold').pass(1000);
  await expect(scene, `${MAC} local at script`, `${OTHER} waiting at script`);
});

test('what a person chose in a menu is the same boot', async () => {
  const scene = new Scene();
  scene.script(MAC, AT, 'menu').pass(120).script(MAC).gets('/releases/ours/1/vmlinuz');
  await expect(scene, `${MAC} running at kernel`);
});

test('a machine that boots its own disk each day boots once each day', async () => {
  const scene = new Scene();
  scene.script(MAC, AT, 'local').pass(86_400).script(MAC, AT, 'local');
  await expect(scene, `${MAC} local at script`, `${MAC} local at script`);
});

test('two machines behind one address are never made one', async () => {
  const scene = new Scene();
  scene.script(MAC).script(OTHER).gets('/releases/ours/1/vmlinuz').gets('/releases/ours/1/initrd');
  await expect(scene, `${MAC} running at script`, `${OTHER} running at script`);
  for (const { shared } of await scene.all()) assert.equal(shared, true);
  scene.gets('/releases/ours/1/vmlinuz', { mac: OTHER }).reported('verified', OTHER);
  await expect(scene, `${MAC} running at script`, `${OTHER} verified at report`);
});

test('behind one address a seal that is asked for by its card tells how far a machine is', async () => {
  const scene = new Scene();
  scene.script(MAC).script(OTHER).gets('/releases/ours/1/vmlinuz');
  scene.gets('/releases/ours/1/vmlinuz.ipxe.sig', { mac: OTHER });
  await expect(scene, `${MAC} running at script`, `${OTHER} running at kernel`);
  assert.equal((await scene.all()).at(-1)?.release, 'ours/1');
});

test('a report nobody saw the rest of is a boot, too', async () => {
  const scene = new Scene();
  await expect(scene.reported('verified'), `${MAC} verified at report`);
});

test('a second report of a boot that has ended is another boot', async () => {
  const scene = new Scene();
  scene.whole().reported('verified').pass(3).reported('verified');
  await expect(scene, `${MAC} verified at report`, `${MAC} verified at report`);
});

test('a mirror that reads a release boots nothing', async () => {
  const scene = new Scene();
  for (const path of ['vmlinuz', 'initrd', 'release.manifest', 'root'])
    scene.gets(`/releases/ours/1/${path}`);
  await expect(scene);
});

test('a machine that is quiet is called so, then stalled, and goes on where it goes on', async () => {
  const scene = new Scene();
  scene.script(MAC).gets('/releases/ours/1/vmlinuz').pass(31);
  const [quiet] = await scene.all();
  assert.equal(quiet?.quietSince, Date.UTC(2026, 10, 1));
  scene.pass(60);
  await expect(scene, `${MAC} stalled at kernel`);
  scene.gets('/releases/ours/1/initrd');
  await expect(scene, `${MAC} running at initrd`);
  const [again] = await scene.all();
  assert.equal(again?.ended, undefined);
});

test('a machine that is slower than it ever was is on the same boot, stage by stage', async () => {
  const scene = new Scene();
  scene.neighbours.set(AT, MAC);
  scene
    .offered()
    .pass(100)
    .gets('ipxe.efi', { server: 'tftp' })
    .pass(200)
    .offered(MAC, 'bootseal')
    .script(MAC);
  await expect(scene, `${MAC} running at script`);
});

test('a transfer that takes long is no stall', async () => {
  const scene = new Scene();
  const slow = scene.script(MAC).begin('/releases/ours/1/vmlinuz');
  scene.pass(3600);
  await expect(scene, `${MAC} running at kernel`);
  scene.end(slow).pass(3600);
  await expect(scene, `${MAC} stalled at kernel`);
});

test('deadlines are learnt: a machine that always takes long is given longer', async () => {
  const scene = new Scene();
  for (let boot = 0; boot < 3; boot += 1) {
    scene.script(MAC).gets('/releases/ours/1/vmlinuz').pass(80).gets('/releases/ours/1/initrd');
    scene.reported('verified').pass(60);
  }
  scene.script(MAC).gets('/releases/ours/1/vmlinuz').pass(200);
  assert.equal((await scene.said()).at(-1), `${MAC} running at kernel`);
  scene.pass(200);
  assert.equal((await scene.said()).at(-1), `${MAC} stalled at kernel`);
});

test('a clock that jumps turns no stage round', async () => {
  const scene = new Scene();
  scene.script(MAC).pass(2);
  scene.wall -= 3 * 86_400_000;
  scene.gets('/releases/ours/1/vmlinuz').pass(2);
  scene.wall += 9 * 86_400_000;
  scene.reported('verified');
  const [receipt] = await scene.all();
  const times = receipt?.stages.flatMap(({ begin, end }) => [begin, end ?? begin]) ?? [];
  assert.deepEqual(
    times,
    times.toSorted((one, other) => one - other),
  );
  assert.equal((receipt?.ended ?? 0) - (receipt?.began ?? 0), 4000);
});

test('an image of firmware is kernel and initrds in one', async () => {
  const scene = new Scene();
  scene.gets('/uki.efi');
  scene.tell({ kind: 'boot-began', server: 'http', remote: AT, asked: '/uki.efi', trust: 'secure-boot' });
  const [receipt] = await scene.all();
  assert.deepEqual([receipt?.route, receipt?.trust, receipt?.stage], ['uki', 'secure-boot', 'kernel']);
});

test('GRUB never says who it is: its report names the boot', async () => {
  const scene = new Scene();
  scene.offered().gets('/grub.cfg', { server: 'tftp' }).gets('/releases/ours/1/vmlinuz', { server: 'tftp' });
  await expect(scene, '? running at kernel', `${MAC} running at dhcp`);
  scene.pass(1).reported('verified');
  await expect(scene, `${MAC} verified at report`);
});

test('one who floods begins no more than a part, and what others begin is kept', async () => {
  const scene = new Scene();
  for (let number = 0; number < 5000; number += 1) {
    const mac = `52:54:00:aa:${(number >> 8).toString(16).padStart(2, '0')}:${(number & 255).toString(16).padStart(2, '0')}`;
    scene.script(mac, '10.6.6.6');
  }
  assert.equal((await scene.boots.find({}, 10_000)).length, 1334);
  scene.script(MAC);
  const [mine] = await scene.boots.find({ machine: MAC }, 1);
  assert.equal(mine?.outcome, 'running');
});

test('lines of a console belong to the one machine at that address', async () => {
  const scene = new Scene();
  scene.script(MAC);
  for (let line = 0; line < 30; line += 1)
    scene.tell({ kind: 'console', server: 'syslog', remote: AT, text: `line ${line}` });
  const [receipt] = await scene.all();
  assert.deepEqual([receipt?.lines.length, receipt?.lines.at(-1)], [20, 'line 29']);
});

test('who waits for a boot is told its receipt', async () => {
  const scene = new Scene();
  const ended = scene.boots.ended(MAC, scene.wall);
  scene.offered().whole().pass(1).offered().pass(1).whole().pass(1).reported('verified');
  assert.equal((await ended).outcome, 'verified');
  await assert.rejects(scene.boots.ended(OTHER, 0, AbortSignal.abort(new Error('no longer'))), /no longer/);
});
