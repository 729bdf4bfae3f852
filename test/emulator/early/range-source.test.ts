import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RangeSource } from '../../../src/emulator/early/range-source.ts';
import type { Fetched, FetchOptions } from '../../../src/emulator/transport.ts';
import { Refusal } from '../../../src/errors/refusal.ts';
import { pieces } from './verity-machine.ts';

const FILE = Buffer.from('0123456789');
const PATH = 'arch/x86_64/airootfs.sfs';

/** A source over a server that answers rightly, but for what `change` says. */
function source(change: Partial<Fetched> = {}): { source: RangeSource; asked: FetchOptions[] } {
  const asked: FetchOptions[] = [];
  const transport = {
    async fetch(url: string, options: FetchOptions = {}): Promise<Fetched> {
      asked.push(options);
      const { first = 0, last = 0 } = options.range ?? {};
      const sent = FILE.subarray(first, last + 1);
      const part = { first, last, size: FILE.length };
      return { url, size: sent.length, partial: true, part, body: pieces(sent), ...change };
    },
  };
  return {
    source: new RangeSource({ transport, url: `http://10.0.0.1/${PATH}`, path: PATH, size: 10 }),
    asked,
  };
}

describe('a file in parts over HTTP', () => {
  it('gives exactly what was asked for, and counts it', async () => {
    const { source: file, asked } = source();
    assert.equal(Buffer.from(await file.read(0, 10)).toString(), '0123456789');
    assert.equal(Buffer.from(await file.read(9, 1)).toString(), '9');
    assert.deepEqual([file.fetched, file.requests], [11, 2]);
    assert.deepEqual(
      asked.map(({ range, signal }) => [range, signal?.aborted]),
      [
        [{ first: 0, last: 9 }, false],
        [{ first: 9, last: 9 }, false],
      ],
    );
  });

  it('asks for nothing that the file does not have', async () => {
    const { source: file, asked } = source();
    for (const [offset, length] of [
      [0, 0],
      [-1, 2],
      [10, 1],
      [0, 11],
    ] as const)
      await assert.rejects(file.read(offset, length), RangeError);
    assert.deepEqual(asked, []);
  });

  const WRONG: Readonly<Record<string, Partial<Fetched>>> = {
    'the whole file': { partial: false, body: pieces(FILE) },
    'another part': { part: { first: 1, last: 4, size: 10 } },
    'a part of another file': { part: { first: 0, last: 3, size: 11 } },
    'more bytes than it says': { body: pieces(FILE) },
  };
  for (const [what, change] of Object.entries(WRONG)) {
    it(`breaks off an answer that is ${what}`, async () => {
      const { source: file, asked } = source(change);
      await assert.rejects(file.read(0, 4), Refusal);
      assert.deepEqual(
        asked.map(({ signal }) => signal?.aborted),
        [true],
      );
    });
  }
});
