import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { appendFileSync, closeSync, openSync, truncateSync, writeSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { hasIdleLane } from '../../src/files/lane.ts';
import { expectMeasuring, measureFile } from '../../src/files/measure.ts';
import type { Question } from '../../src/files/measurer.ts';
import { temporaryFolder } from '../fixtures/folder.ts';

// In a process of its own: where threads stand ready, they are used.

const folder = await temporaryFolder();
const MIB = 1024 * 1024;
/** What is hashed by a caller who is alone. */
const MOST = 32 * MIB;
const QUESTIONS: readonly Question[] = [
  { kind: 'digest', hash: 'sha256' },
  { kind: 'digest', hash: 'sha512', suffix: Buffer.from('end') },
];

let files = 0;
async function newFile(bytes: Uint8Array): Promise<string> {
  const path = join(folder, `file-${files++}`);
  await writeFile(path, bytes);
  return path;
}

/** What is done to a file of 9 MiB after its first piece was read. */
const DRIFTS: Record<string, (path: string) => void> = {
  'that grows': (path) => appendFileSync(path, 'x'),
  'that is cut short': (path) => truncateSync(path, 5 * MIB),
  'of which a byte changes that was read': (path) => {
    const file = openSync(path, 'r+');
    writeSync(file, 'x', 9);
    closeSync(file);
  },
};

describe('a file that is measured by a caller who is alone', () => {
  for (const size of [0, 1, MIB - 1, MIB, 4 * MIB + 1, MOST]) {
    it(`of ${size} bytes has the digests of node:crypto, without a thread`, async () => {
      const bytes = randomBytes(size);
      const seen: number[] = [];
      const measured = await measureFile(await newFile(bytes), QUESTIONS, {
        alone: true,
        onProgress: (octets) => seen.push(octets),
      });
      const [sha256, sha512] = measured.answers.map((answer) => Buffer.from(answer as Uint8Array));
      assert.deepEqual(sha256, createHash('sha256').update(bytes).digest());
      assert.deepEqual(sha512, createHash('sha512').update(bytes).update('end').digest());
      assert.equal(measured.size, size);
      assert.equal(seen.at(-1) ?? 0, size);
      assert.equal(hasIdleLane(), false);
    });
  }

  for (const [name, change] of Object.entries(DRIFTS)) {
    it(`${name} meanwhile has drifted`, async () => {
      const path = await newFile(randomBytes(9 * MIB));
      let told = 0;
      const onProgress = () => {
        if (told++ === 0) change(path);
      };
      await assert.rejects(measureFile(path, QUESTIONS, { alone: true, onProgress }), {
        name: 'Refusal',
        code: 'drifted',
      });
    });
  }

  it('ends when the caller says so', async () => {
    const stop = new AbortController();
    const options = { alone: true, onProgress: () => stop.abort(), signal: stop.signal };
    await assert.rejects(measureFile(await newFile(randomBytes(9 * MIB)), QUESTIONS, options), {
      name: 'AbortError',
    });
  });

  it('is measured by the threads that were started for it, where it is longer', async () => {
    expectMeasuring(MOST);
    assert.equal(hasIdleLane(), false, 'not for so little');
    expectMeasuring(MOST + 1);
    assert.equal(hasIdleLane(), true);
    const bytes = randomBytes(MOST + 1);
    const { answers } = await measureFile(await newFile(bytes), QUESTIONS, { alone: true });
    assert.deepEqual(Buffer.from(answers[0] as Uint8Array), createHash('sha256').update(bytes).digest());
  });
});
