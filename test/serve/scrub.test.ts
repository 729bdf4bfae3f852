import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { link, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { Refusal } from '../../src/errors/refusal.ts';
import { openRegular } from '../../src/files/measure.ts';
import { fileResource } from '../../src/release/file-resource.ts';
import type { PinnedFile } from '../../src/release/pin.ts';
import { FileExport } from '../../src/serve/nbd/nbd-file-export.ts';
import { type ScrubOptions, startScrub } from '../../src/serve/scrub.ts';
import { temporaryFolder } from '../fixtures/folder.ts';

const folder = await temporaryFolder();
const CONTENT = Buffer.alloc(5 * 1024 * 1024, 'content ');

async function pinned(name: string, verified: Uint8Array = CONTENT): Promise<PinnedFile> {
  const path = join(folder, name);
  await writeFile(path, CONTENT);
  const { handle, identity } = await openRegular(path);
  await handle.close();
  const sha256 = createHash('sha256').update(verified).digest('hex');
  return { path, name, size: CONTENT.length, sha256, identity };
}

/** What a disk that forgets looks like: the file that was verified by all its identity, and other bytes in it. */
const forgotten = (name: string) => pinned(name, Buffer.from(CONTENT).fill(0, 4096, 8192));

/** A scrub without rest, and what it says as events. */
function scrub(t: TestContext, files: readonly PinnedFile[], options: Partial<ScrubOptions> = {}) {
  const said = new EventTarget();
  const refused: [string, string][] = [];
  const faults: unknown[] = [];
  const stop = startScrub({
    files: () => files,
    everyMs: 1,
    rate: Number.POSITIVE_INFINITY,
    onRefused: ({ name }, { code }) => refused.push([name, code]),
    onFault: (_file, error) => faults.push(error),
    onRound: (detail) => said.dispatchEvent(new CustomEvent('round', { detail })),
    ...options,
  });
  t.after(stop);
  const round = async () => ((await once(said, 'round')) as [CustomEvent<unknown>])[0].detail;
  return { refused, faults, round, stop };
}

describe('a scrub', () => {
  it('withdraws a file that reads otherwise, from all who serve it and have it open', async (t) => {
    const file = await forgotten('forgotten');
    const overHttp = fileResource(file);
    const verify = () => true;
    const overNbd = new FileExport({ name: 'root', file, verify });
    const open = await overHttp.open();
    assert.ok(!(open instanceof Refusal));
    const device = await overNbd.open();
    device.check();
    const { refused, round } = scrub(t, [file]);
    assert.deepEqual(await round(), { files: 0, bytes: 0 });
    assert.deepEqual(refused, [['forgotten', 'bad-signature']]);
    const expected = {
      code: 'bad-signature',
      message: /The contents of \S*forgotten changed .* check the disk\./,
    };
    await assert.rejects(open.check(), expected);
    await assert.rejects(overHttp.open(), expected);
    assert.throws(() => device.check(), expected);
    await assert.rejects(overNbd.open(), expected);
    await Promise.all([open.close(), device.close()]);
  });

  it('says once of each file that it is refused, and reads the others every round', async (t) => {
    const [changed, whole] = [await pinned('changed'), await pinned('whole')];
    const { refused, faults, round } = scrub(t, [changed, whole]);
    assert.deepEqual(await round(), { files: 2, bytes: 2 * CONTENT.length });
    await writeFile(changed.path, 'other content');
    // The round under way may have read it before.
    await round();
    for (let time = 0; time < 2; time += 1)
      assert.deepEqual(await round(), { files: 1, bytes: CONTENT.length });
    assert.deepEqual(refused, [['changed', 'drifted']]);
    assert.deepEqual(faults, []);
  });

  it('keeps a file to which there is another link', async (t) => {
    const file = await pinned('linked');
    await link(file.path, `${file.path}.other`);
    const { refused, round } = scrub(t, [file]);
    assert.deepEqual(await round(), { files: 1, bytes: CONTENT.length });
    assert.deepEqual(refused, []);
  });

  it('ends at once, however slowly it reads', async (t) => {
    const file = await pinned('slow');
    const asked = new EventTarget();
    const { stop } = scrub(t, [], {
      rate: 1,
      files: () => {
        asked.dispatchEvent(new Event('asked'));
        return [file];
      },
    });
    await once(asked, 'asked');
    await stop();
    const { refused, round } = scrub(t, [file]);
    await round();
    assert.deepEqual(refused, []);
  });
});
