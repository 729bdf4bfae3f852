import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Registry } from 'prom-client';
import { countBoots } from '../../src/boots/boot-metrics.ts';
import { Receipts } from '../../src/boots/receipts.ts';
import { readPlace, SegmentWriter } from '../../src/boots/segments.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { Exposition } from '../server/exposition.ts';
import { MAC, OTHER, Scene } from './scene.ts';

function counted(options: ConstructorParameters<typeof Scene>[0] = {}) {
  const scene = new Scene(options);
  const registry = new Registry();
  countBoots(registry, scene.boots);
  return { scene, told: async () => Exposition.from(await registry.metrics()) };
}

test('every series is there from the start, at 0', async () => {
  const { told } = counted();
  const { series } = await told();
  assert.ok(series.size > 200);
  for (const [name, value] of series) assert.equal(value, 0, name);
});

test('a boot is counted when it ends, once, by route, architecture, trust and outcome', async () => {
  const { scene, told } = counted();
  scene.offered(MAC, 'x64').pass(2).whole();
  const going = await told();
  assert.equal(going.value('boots_running{stage="userspace"}'), 1);
  assert.equal(going.value('boots_total{route="ipxe",outcome="verified"}'), 0);
  scene.pass(3).reported('verified').pass(1);
  const after = await told();
  assert.equal(after.value('boots_total{route="ipxe",outcome="verified"}'), 1);
  assert.equal(after.value('boots_by_architecture_total{arch="x86_64",outcome="verified"}'), 1);
  assert.equal(after.value('receipts_total{trust="network-imgverify"}'), 1);
  assert.equal(after.value('boots_running{stage="userspace"}'), 0);
  assert.equal(after.value('boots_running{stage="report"}'), 0);
  const ends = [...after.series].filter(([name]) => name.startsWith('bootseal_boots_total{'));
  assert.equal(
    ends.reduce((sum, [, value]) => sum + value, 0),
    1,
  );
});

test('a stage takes from its first sign to the first of the next one', async () => {
  const { scene, told } = counted();
  scene.offered().pass(2).gets('ipxe.efi', { server: 'tftp' }).pass(20).script(MAC).pass(1);
  scene.gets('/releases/ours/1/vmlinuz').pass(4).gets('/releases/ours/1/initrd').pass(40);
  scene.gets('/releases/ours/1/release.manifest').pass(5).reported('verified');
  const { series, value } = await told().then((all) => ({
    series: all.series,
    value: (name: string) => all.value(name),
  }));
  const took = ['dhcp', 'loader', 'script', 'kernel', 'initrd', 'userspace'].map((stage) =>
    value(`boot_stage_seconds_sum{stage="${stage}"}`),
  );
  assert.deepEqual(took, [2, 20, 1, 4, 40, 5]);
  assert.equal(value('boot_stage_seconds_count{stage="kernel"}'), 1);
  assert.equal(series.get('bootseal_boot_stage_seconds_bucket{le="3",stage="kernel"}'), 0);
  assert.equal(series.get('bootseal_boot_stage_seconds_bucket{le="10",stage="kernel"}'), 1);
});

test('stalls are counted by stage, refusals by reason, and neither stage counts as one that ended', async () => {
  const { scene, told } = counted();
  scene.script(MAC).gets('/releases/ours/1/vmlinuz').pass(1000);
  scene.script(OTHER, '10.0.0.8').pass(1).reported('refused', OTHER, '10.0.0.8');
  const { value } = await told().then((all) => ({ value: (name: string) => all.value(name) }));
  assert.equal(value('boots_stalled_total{stage="kernel"}'), 1);
  assert.equal(value('boots_total{route="ipxe",outcome="stalled"}'), 1);
  assert.equal(value('boots_refused_total{code="wrong-command-line"}'), 1);
  assert.equal(value('boot_stage_seconds_count{stage="kernel"}'), 0);
  assert.equal(value('boot_stage_seconds_count{stage="report"}'), 0);
});

test('one that was taken for stalled and goes on counts again when it ends', async () => {
  const { scene, told } = counted();
  scene.script(MAC).gets('/releases/ours/1/vmlinuz').pass(1000);
  scene.gets('/releases/ours/1/initrd').pass(1).reported('verified');
  const all = await told();
  assert.equal(all.value('boots_total{route="ipxe",outcome="stalled"}'), 1);
  assert.equal(all.value('boots_total{route="ipxe",outcome="verified"}'), 1);
  assert.equal(all.value('receipts_total{trust="network-imgverify"}'), 2);
});

test('an architecture that a machine makes up is "other"', async () => {
  const { scene, told } = counted();
  scene.tell({
    ...({ kind: 'decided', server: 'http', remote: '10.0.0.7', loader: 'ipxe' } as const),
    ...{ mac: MAC, arch: 'evil"} 1', starts: 'local' },
  });
  const all = await told();
  assert.equal(all.value('boots_by_architecture_total{arch="other",outcome="local"}'), 1);
  assert.ok(!all.text.includes('evil'));
});

test('receipts that no disk takes are told, and those that are let go for it', async () => {
  let full = true;
  const kept: string[] = [];
  const lines = {
    append: async (line: Buffer) => {
      if (full) throw new Error('no space left');
      kept.push(line.toString());
      return { segment: 'one', offset: 0, length: line.length } as never;
    },
    read: async () => undefined,
    collect: async () => [],
    close: async () => {},
  };
  const { scene, told } = counted({ lines });
  scene.script(MAC).pass(1).reported('verified');
  await scene.boots.settled();
  assert.match(scene.boots.fault ?? '', /no space left/);
  assert.equal((await told()).value('receipts_lost_total'), 0);
  full = false;
  scene.pass(6);
  await scene.boots.settled();
  assert.equal(scene.boots.fault, undefined);
  assert.equal(kept.length, 1);
});

test('a boot that was under way when its server ended, long ago, is counted as lost by the next one', async () => {
  const folder = await temporaryFolder();
  const open = async () => {
    const keep = { clock: () => 0, keepMs: 1e15, keepBytes: 1e9 };
    const writer = await SegmentWriter.open(folder, 'lab', keep);
    return counted({
      lines: {
        append: (line) => writer.append(line),
        read: (place) => readPlace(folder, place),
        collect: () => writer.collect(),
        close: () => writer.close(),
      },
    });
  };
  const before = await open();
  before.scene.whole();
  await before.scene.boots.close();
  const { scene, told } = await open();
  scene.wall = before.scene.wall + 86_400_000;
  await new Receipts(folder, scene.boots.index).read();
  await scene.boots.resume();
  assert.equal((await told()).value('boots_total{route="ipxe",outcome="lost"}'), 1);
  assert.equal((await told()).value('boots_running{stage="userspace"}'), 0);
  await scene.boots.close();
});

test('a flood begins no more boots than its share, and says how many it left out', async () => {
  const { scene, told } = counted();
  const mac = (index: number) =>
    `52:54:01:00:${(index >> 8).toString(16).padStart(2, '0')}:${(index & 255).toString(16).padStart(2, '0')}`;
  for (let index = 0; index < 3000; index += 1) scene.offered(mac(index));
  const all = await told();
  const running = all.value('boots_running{stage="dhcp"}') ?? 0;
  assert.equal(running + (all.value('boots_not_followed_total') ?? 0), 3000);
  assert.ok(running < 3000);
});
