import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readPlace, SegmentWriter } from '../../src/boots/segments.ts';
import { MAC, OTHER, Scene } from '../boots/scene.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { serving } from './command.ts';

const THIRD = '52:54:00:00:00:03';

/** A server's receipts in a folder, as they come. */
async function written(): Promise<{ readonly folder: string; readonly scene: Scene }> {
  const folder = await temporaryFolder();
  const clock = () => Date.UTC(2026, 10, 1);
  const writer = await SegmentWriter.open(folder, 'lab', { clock, keepMs: 1e12, keepBytes: 1e9 });
  const lines = {
    append: (line: Buffer) => writer.append(line),
    read: (place: Parameters<typeof readPlace>[1]) => readPlace(folder, place),
    collect: () => writer.collect(),
    close: () => writer.close(),
  };
  return { folder, scene: new Scene({ lines }) };
}

const following = (folder: string) => ['boots', '--receipts', folder, '--since', '2026-01-01', '--follow'];

describe('boots --follow', () => {
  it('tells what is there, and then each boot again as it goes on, until somebody ends it', async (t) => {
    const { folder, scene } = await written();
    scene.script(MAC);
    await scene.boots.settled();
    const running = serving(t, following(folder));
    await running.until('out', new RegExp(`^BOOT +BEGAN .*\n.*${MAC} .* running +script`));
    scene.gets('/releases/ours/1/vmlinuz').pass(1).reported('verified');
    await scene.boots.settled();
    await running.until('out', new RegExp(`${MAC} .* verified \\(claimed\\) +report`));
    // One that began while somebody was looking.
    scene.pass(1).script(OTHER, '10.0.0.8').refused('/releases/ours/1/vmlinuz', 'drifted', {
      remote: '10.0.0.8',
    });
    await scene.boots.settled();
    await running.until('out', new RegExp(`${OTHER} .* REFUSED +kernel`));
    running.signal('SIGINT');
    const { code, err } = await running.ended;
    assert.deepEqual([code, err], [0, '']);
    await scene.boots.close();
  });

  it('tells only what fits, one object a line with --json', async (t) => {
    const { folder, scene } = await written();
    scene.script(MAC).whole().pass(1).reported('verified');
    await scene.boots.settled();
    const refuse = async (mac: string, remote: string) => {
      scene.pass(1).script(mac, remote).refused('/releases/ours/1/vmlinuz', 'drifted', { remote });
      await scene.boots.settled();
    };
    await refuse(OTHER, '10.0.0.8');
    const running = serving(t, [...following(folder), '--failed', '--json']);
    await running.until('out', /"drifted".*\n/);
    await refuse(THIRD, '10.0.0.9');
    await running.until('out', new RegExp(`${THIRD}.*"drifted".*\n`));
    running.signal('SIGTERM');
    const { code, out } = await running.ended;
    const told = out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { machine: string; outcome: string });
    assert.ok(told.length > 0);
    assert.deepEqual(
      [...new Set(told.map(({ machine, outcome }) => `${machine} ${outcome}`))],
      [`${OTHER} refused`, `${THIRD} refused`],
    );
    assert.equal(code, 0);
    await scene.boots.close();
  });
});
