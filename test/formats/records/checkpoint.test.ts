import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  type Checkpoint,
  decodeCheckpoint,
  decodeCheckpointFile,
  encodeCheckpoint,
  encodeCheckpointFile,
} from '../../../src/formats/records/checkpoint.ts';
import { demandCutsRefused, demandFlipsHandled, demandNothingAfter, malformed } from '../strict.ts';

const CHECKPOINT: Checkpoint = {
  log: '5f0c8e1d2b7a49e6a3d4c5b6978812f0',
  size: 42,
  root: 'a'.repeat(64),
  time: Date.UTC(2026, 10, 1),
};
const TEXT = [
  'bootseal-checkpoint 1',
  'log 5f0c8e1d2b7a49e6a3d4c5b6978812f0',
  'size 42',
  `root ${'a'.repeat(64)}`,
  'time 2026-11-01T00:00:00Z',
  '',
].join('\n');

describe('a checkpoint', () => {
  it('is what its docstring shows', () => {
    assert.equal(Buffer.from(encodeCheckpoint(CHECKPOINT)).toString(), TEXT);
  });

  it('decode undoes encode', () => {
    fc.assert(
      fc.property(
        fc.stringMatching(/^[0-9a-f]{32}$/),
        fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
        fc.stringMatching(/^[0-9a-f]{64}$/),
        fc.integer({ min: 0, max: 4e9 }),
        (log, size, root, seconds) => {
          const checkpoint = { log, size, root, time: seconds * 1000 };
          assert.deepEqual(decodeCheckpoint(encodeCheckpoint(checkpoint)), checkpoint);
        },
      ),
    );
  });

  it('is refused when cut, with anything after it, and changed', () => {
    demandCutsRefused(decodeCheckpoint, Buffer.from(TEXT));
    demandNothingAfter(decodeCheckpoint, Buffer.from(TEXT));
    assert.ok(demandFlipsHandled(decodeCheckpoint, Buffer.from(TEXT)) > 0);
  });

  for (const [what, text] of [
    ['a snapshot’s first line', TEXT.replace('bootseal-checkpoint 1', 'bootseal-snapshot 1')],
    ['another version', TEXT.replace('checkpoint 1', 'checkpoint 2')],
    ['no entries', TEXT.replace('size 42', 'size 0')],
    ['a size with a sign', TEXT.replace('size 42', 'size +42')],
    ['a root in capitals', TEXT.replace('a'.repeat(64), 'A'.repeat(64))],
    ['a log with a path for a name', TEXT.replace(/log .*/, 'log ../other')],
    ['lines out of order', TEXT.replace(/(size 42\n)(root .*\n)/, '$2$1')],
  ] as const) {
    it(`refuses ${what}`, () => {
      assert.notEqual(text, TEXT);
      assert.throws(() => decodeCheckpoint(Buffer.from(text)), malformed(/checkpoint/));
    });
  }
});

describe('a checkpoint’s file', () => {
  const bytes = encodeCheckpoint(CHECKPOINT);
  const seal = Buffer.alloc(100, 7);
  const file = Buffer.from(encodeCheckpointFile(bytes, seal));

  it('holds the lines, an empty one, and the seal as PEM', () => {
    assert.deepEqual(decodeCheckpointFile(file), {
      checkpoint: CHECKPOINT,
      bytes: Uint8Array.from(bytes),
      seal,
    });
    assert.match(file.toString(), /^bootseal-checkpoint 1\n[\s\S]*Z\n\n-----BEGIN CMS-----\n/);
  });

  it('is refused when cut, with anything after it, and changed', () => {
    demandCutsRefused(decodeCheckpointFile, file);
    demandNothingAfter(decodeCheckpointFile, file);
    demandFlipsHandled(decodeCheckpointFile, file);
  });

  for (const [what, change] of [
    ['two seals', (text: string) => text + text.slice(text.indexOf('-----BEGIN'))],
    ['another label', (text: string) => text.replaceAll('CMS', 'PKCS7')],
    ['carriage returns in the seal', (text: string) => text.replace(/-----\n/g, '-----\r\n')],
    ['two empty lines', (text: string) => text.replace('\n\n', '\n\n\n')],
    ['no seal', () => TEXT],
  ] as const) {
    it(`refuses ${what}`, () => {
      assert.throws(() => decodeCheckpointFile(Buffer.from(change(file.toString()))), malformed(/./));
    });
  }
});
