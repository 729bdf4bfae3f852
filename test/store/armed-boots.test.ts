import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { type Arming, encodeConsumption } from '../../src/formats/records/armed-boot.ts';
import { ArmedBoots } from '../../src/store/armed-boots.ts';
import type { StoreBackend } from '../../src/store/backend.ts';
import { recordsOf } from '../../src/store/folder-backend.ts';
import { keepScript, readScript } from '../../src/store/signed-scripts.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { MemoryBackend } from './memory-backend.ts';

const MAC = '52:54:00:12:34:56';
const TIME = Date.UTC(2026, 10, 1, 10);

const armingOf = (id: string, leaves?: readonly string[]): Arming => ({
  id: id.padStart(16, '0'),
  mac: MAC,
  uuid: undefined,
  loader: 'ipxe',
  release: 'debian/2026.11.01',
  manifest: 'a'.repeat(64),
  script: 'b'.repeat(64),
  words: [],
  armed: TIME,
  ends: TIME + 3_600_000,
  by: 'a test',
  afterwards: 'usual',
  leaves,
});
const over = (id: string) => ({ id: id.padStart(16, '0'), how: 'report', time: TIME }) as const;

const BACKENDS: Readonly<Record<string, () => Promise<StoreBackend>>> = {
  'a folder': async () => recordsOf(await temporaryFolder()),
  'a bucket': async () => new MemoryBackend(),
};
for (const [what, make] of Object.entries(BACKENDS)) {
  describe(`armed boots in ${what}`, () => {
    it('are of their machine, and the newest counts', async () => {
      const kept = new ArmedBoots(await make());
      assert.equal(await kept.newest(MAC), undefined);
      assert.deepEqual(await kept.all(), []);
      await kept.add(armingOf('1'));
      const second = await kept.add(armingOf('2'));
      assert.deepEqual(await kept.newest(MAC), second);
      assert.equal(second.number, 2);
      assert.deepEqual(await kept.all(), [second]);
      assert.equal(await kept.newest('52:54:00:12:34:57'), undefined);
    });

    it('are consumed once, by whoever comes first, and dismissed as often as one likes', async () => {
      const records = await make();
      const [one, other] = [new ArmedBoots(records), new ArmedBoots(records)];
      const kept = await one.add(armingOf('1'));
      const took = await Promise.all([one, other, one, other].map((each) => each.consume(kept, over('1'))));
      assert.equal(took.filter((first) => first).length, 1);
      assert.equal((await other.newest(MAC))?.consumed?.how, 'report');
      await one.dismiss(kept);
      await other.dismiss(kept);
      assert.equal((await one.newest(MAC))?.dismissed, true);
    });

    it('know which files have left, whichever server they left from', async () => {
      const records = await make();
      const kept = await new ArmedBoots(records).add(armingOf('1', ['vmlinuz', 'boot/initrd.img']));
      await new ArmedBoots(records).leave(kept, 'boot/initrd.img');
      await new ArmedBoots(records).leave(kept, 'boot/initrd.img');
      assert.deepEqual([...(await new ArmedBoots(records).left(kept))], ['boot/initrd.img']);
    });

    it('armed by two at one moment are one, and the other is told', async () => {
      const records = await make();
      const both = await Promise.allSettled(
        ['1', '2'].map((id) => new ArmedBoots(records).add(armingOf(id))),
      );
      const failed = both.filter(({ status }) => status === 'rejected');
      assert.ok(failed.length <= 1);
      for (const one of failed) assert.equal((one as PromiseRejectedResult).reason.name, 'IoError');
      assert.ok(await new ArmedBoots(records).newest(MAC));
    });

    it('keep scripts by their content, each with its seal', async () => {
      const records = await make();
      const script = { bytes: Buffer.from('#!ipxe\n'), seal: Buffer.from('seal') };
      const sha256 = await keepScript(records, 'ipxe', script);
      assert.deepEqual(
        Object.values(await readScript(records, 'ipxe', sha256)).map((bytes) =>
          Buffer.from(bytes).toString(),
        ),
        ['#!ipxe\n', 'seal'],
      );
      await assert.rejects(readScript(records, 'grub', sha256), { code: 'absent' });
      await records.put(`scripts/${sha256}.ipxe`, Buffer.from('#!ipxe\nshell\n'));
      await assert.rejects(readScript(records, 'ipxe', sha256), { code: 'drifted' });
    });
  });
}

it('a folder that a crash left without its arming, or a record that somebody changed, arms nothing', async () => {
  const folder = await temporaryFolder();
  const kept = new ArmedBoots(recordsOf(folder));
  const first = await kept.add(armingOf('1'));
  const place = join(folder, 'armed/52-54-00-12-34-56');
  await mkdir(join(place, '2'));
  await writeFile(join(place, '2/.bootseal-0123456789abcdef.tmp'), 'bootseal-arming 1\n');
  assert.deepEqual(await kept.newest(MAC), first);
  assert.equal((await kept.add(armingOf('3'))).number, 3);
  await mkdir(join(place, '4'));
  await writeFile(join(place, '4/arming'), 'bootseal-arming 1\nid 1\n');
  await assert.rejects(kept.newest(MAC), { code: 'malformed' });
  const other = { ...armingOf('5'), mac: '52:54:00:12:34:57' };
  await kept.add(other);
  await writeFile(
    join(folder, 'armed/52-54-00-12-34-57/1/consumed'),
    Buffer.from(encodeConsumption(over('9'))),
  );
  await assert.rejects(kept.newest(other.mac), { code: 'drifted' });
});
