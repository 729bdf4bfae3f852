import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { bytesContent, measureFile, streamContent } from '../../src/files/measure.ts';
import type { Answer, Question } from '../../src/files/measurer.ts';
import { VeritySink, type VerityTrees } from '../../src/formats/verity/verity-sink.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { content } from '../formats/verity/verity-content.ts';

const MIB = 2 ** 20;
/** Files up to this size are hashed where they are read, longer ones in threads. */
const SLOT = 4 * MIB;
const folder = await temporaryFolder();
const FILE = join(folder, 'file');

const QUESTIONS: readonly Question[] = [
  { kind: 'digest', hash: 'sha256' },
  { kind: 'verity' },
  { kind: 'digest', hash: 'sha512' },
];

function expected(bytes: Uint8Array): Answer[] {
  const sink = new VeritySink();
  sink.update(bytes);
  const digest = (hash: string) => createHash(hash).update(bytes).digest();
  return [digest('sha256'), sink.finish(), digest('sha512')];
}

/** On its way out of a thread a Buffer becomes a Uint8Array. */
function demandSame(found: readonly Answer[], wanted: readonly Answer[]): void {
  assert.deepEqual(structuredClone(found), structuredClone(wanted));
}

describe('verity trees', () => {
  for (const size of [0, 1, 4096, 5000, SLOT, SLOT + 1, 5 * SLOT + 4095]) {
    it(`of a file of ${size} bytes are answered beside its digests`, async () => {
      const bytes = content(size);
      await writeFile(FILE, bytes);
      const { answers, size: found } = await measureFile(FILE, QUESTIONS);
      assert.equal(found, size);
      demandSame(answers, expected(bytes));
    });
  }

  it('of memory and of a stream are those of a file', async () => {
    const bytes = content(SLOT + 99);
    async function* body() {
      for (let at = 0; at < bytes.length; at += 65_521) yield bytes.subarray(at, at + 65_521);
    }
    for (const source of [bytesContent(bytes), streamContent(body(), 'it', bytes.length)]) {
      demandSame((await source.measure(QUESTIONS)).answers, expected(bytes));
    }
  });

  it('may be asked alone and more than once', async () => {
    const bytes = content(SLOT + 5);
    await writeFile(FILE, bytes);
    for (const _round of [1, 2]) {
      const { answers } = await measureFile(FILE, [{ kind: 'verity' }, { kind: 'verity' }]);
      const [, trees = false] = expected(bytes);
      demandSame(answers, [trees, trees]);
    }
  });
});

describe('memory', () => {
  const child = fileURLToPath(new URL('measure-verity-child.js', import.meta.url));
  const peakOf = async (size: number) => {
    // Sparse: it has the bytes, and the disk does not.
    await writeFile(FILE, '');
    await truncate(FILE, size);
    const said = execFileSync(process.execPath, [child, FILE], { encoding: 'utf8' });
    return JSON.parse(said) as { peak: number; trees: Pick<VerityTrees, 'size'> };
  };

  it('of a file of 512 MiB stays below 150 MiB, trees and digests and all', async (t) => {
    const small = await peakOf(SLOT + 1);
    const { peak, trees } = await peakOf(512 * MIB);
    t.diagnostic(`${Math.round(peak / 1024)} MiB at most, ${Math.round(small.peak / 1024)} MiB for 4 MiB`);
    assert.equal(trees.size, 512 * MIB);
    assert.ok(peak > 10 * 1024 && peak < 150 * 1024, `${peak} KiB`);
  });
});
