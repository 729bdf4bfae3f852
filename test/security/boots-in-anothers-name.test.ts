import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AT, MAC, OTHER, Scene } from '../boots/scene.ts';

/*
 * A neighbour asks, reports and gives up in the name of a machine that boots. What a machine says is claimed; where this
 * server's own network says something else, and where somebody who knows better has spoken, a claim ends nobody's boot.
 */

const EVIL = '10.0.0.66';

/** A machine that reads its root image, and a neighbour; the kernel's table knows both. */
function scene(): Scene {
  const scene = new Scene();
  scene.neighbours.set(AT, MAC).set(EVIL, OTHER);
  return scene;
}

const gaveUp = (remote: string, mac = MAC) =>
  ({ kind: 'gave-up', server: 'http', remote, mac, step: 'verify the kernel' }) as const;

test('a script that a neighbour asks for in its name ends no boot', async () => {
  const it = scene();
  it.offered().whole().pass(1).script(MAC, EVIL).pass(1);
  assert.deepEqual(await it.said(), [`${MAC} running at userspace`, '? running at script']);
  it.begin('ours/1/root', { server: 'nbd' });
  it.reported('verified');
  assert.deepEqual(await it.said(), [`${MAC} verified at report`, '? running at script']);
});

test('nor do questions from many addresses push out its own', async () => {
  const it = scene();
  it.whole();
  for (let host = 0; host < 6; host += 1) {
    it.neighbours.set(`10.0.0.10${host}`, OTHER);
    it.gets('/releases/ours/1/vmlinuz.ipxe.sig', { mac: MAC, remote: `10.0.0.10${host}` });
  }
  const [receipt] = await it.boots.find({ machine: MAC }, 1);
  assert.deepEqual(receipt?.addresses, [AT]);
});

test('a boot of its own is not made one with that of another', async () => {
  const it = scene();
  it.script(MAC).gets('/releases/ours/1/vmlinuz').gets('/grub.cfg', { remote: EVIL });
  it.script(MAC, EVIL).pass(1).gets('/releases/ours/1/initrd');
  const [receipt] = await it.boots.find({ machine: MAC }, 1);
  assert.deepEqual([receipt?.stage, receipt?.addresses], ['initrd', [AT]]);
});

test('a card that moves to another address with its machine is believed', async () => {
  const it = scene();
  it.script(MAC);
  it.neighbours.delete(AT);
  it.neighbours.set('10.0.0.99', MAC);
  it.gets('/releases/ours/1/vmlinuz', { mac: MAC, remote: '10.0.0.99' });
  const [receipt] = await it.boots.find({ machine: MAC }, 1);
  assert.deepEqual([receipt?.stage, receipt?.addresses], ['kernel', [AT, '10.0.0.99']]);
});

test('a report from elsewhere says that it came from there', async () => {
  const it = scene();
  it.whole().gets('/grub.cfg', { remote: EVIL }).reported('verified', MAC, EVIL);
  const [receipt] = await it.boots.find({ machine: MAC }, 1);
  assert.match(
    receipt?.lines.at(-1) ?? '',
    /^10\.0\.0\.66 reported this; this network says .* another address\.$/,
  );
  assert.deepEqual(receipt?.addresses, [AT]);
});

test('a loader that gives up in its name, or writes on its console, is not heard', async () => {
  const it = scene();
  it.script(MAC).gets('/releases/ours/1/vmlinuz').tell(gaveUp(EVIL));
  it.tell({ kind: 'console', server: 'syslog', remote: EVIL, mac: MAC, text: 'all is lost' });
  const [receipt] = await it.boots.find({ machine: MAC }, 1);
  assert.deepEqual([receipt?.outcome, receipt?.lines], ['running', []]);
});

test('where no network is known, a loader that gives up ends no boot whose early userspace runs', async () => {
  const it = new Scene();
  it.whole().tell(gaveUp(EVIL));
  assert.deepEqual(await it.said(), [`${MAC} running at userspace`]);
});

test('what early userspace refused stays refused, whoever says something afterwards', async () => {
  const it = new Scene();
  it.whole().reported('refused').pass(1).tell(gaveUp(EVIL)).pass(1).reported('verified', MAC, EVIL);
  assert.deepEqual(await it.said(), [`${MAC} refused at userspace`, `${MAC} verified at report`]);
  const [refused] = await it.boots.find({ failed: true }, 1);
  assert.deepEqual(
    [refused?.code, refused?.message, refused?.by],
    ['wrong-command-line', 'A word.', 'report'],
  );
});

test('a card has one boot at a time, also where a boot is known to be its only later', async () => {
  const it = new Scene();
  it.whole().pass(1).gets('/grub.cfg', { remote: '10.0.0.9' }).pass(1).script(MAC, '10.0.0.9');
  assert.deepEqual(await it.said(), [`${MAC} restarted at userspace`, `${MAC} running at script`]);
});

test('a card that says over DHCP that it has its address takes nothing of what it asks for', async () => {
  const it = scene();
  it.script(MAC).offered('52:54:00:66:66:66', 'x64', AT).pass(1).gets('/releases/ours/1/vmlinuz');
  const [receipt] = await it.boots.find({ machine: MAC }, 1);
  assert.deepEqual(
    [receipt?.stage, receipt?.stages.at(-1)?.join, receipt?.shared],
    ['kernel', 'neighbour', undefined],
  );
});

test("a report from elsewhere ends nothing that goes on, and the last word is the machine's", async () => {
  const it = scene();
  it.whole().reported('refused', MAC, EVIL).pass(1);
  assert.deepEqual(await it.said(), [`${MAC} refused at userspace`]);
  it.begin('ours/1/root', { server: 'nbd' });
  assert.deepEqual(await it.said(), [`${MAC} running at root`]);
  it.reported('verified', MAC, EVIL).pass(1).reported('refused');
  const all = await it.all();
  assert.deepEqual(
    all.map(({ machine, outcome, code }) => [machine, outcome, code]),
    [[MAC, 'refused', 'wrong-command-line']],
  );
});
