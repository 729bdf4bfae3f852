import assert from 'node:assert/strict';
import { Malformed } from '../../src/errors/malformed.ts';

/** What every decoder of untrusted bytes must hold. */

type Decode = (bytes: Uint8Array) => unknown;

/** True for a `Malformed` whose message matches: for `assert.throws`. */
export const malformed =
  (fact: RegExp) =>
  (error: unknown): boolean =>
    error instanceof Malformed && fact.test(error.message);

/** Takes `bytes` whole, and refuses them cut at any other length. */
export function demandCutsRefused(decode: Decode, bytes: Uint8Array): void {
  decode(bytes);
  for (let length = 0; length < bytes.length; length++) {
    assert.throws(() => decode(bytes.subarray(0, length)), Malformed, `cut at ${length}`);
  }
}

/** Refuses `bytes` with anything after them. */
export function demandNothingAfter(decode: Decode, bytes: Uint8Array): void {
  decode(bytes);
  for (const more of [[0], [0x30, 0], [0xff], [...bytes]]) {
    assert.throws(() => decode(Buffer.concat([bytes, Uint8Array.from(more)])), Malformed, `and ${more}`);
  }
}

/** Throws nothing but `Malformed` for `bytes` with any one byte changed. Answers how many were refused. */
export function demandFlipsHandled(decode: Decode, bytes: Uint8Array): number {
  let refused = 0;
  for (let at = 0; at < bytes.length; at++) {
    for (const mask of [0x01, 0x20, 0x80, 0xff]) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ mask;
      try {
        decode(changed);
      } catch (error) {
        assert.ok(error instanceof Malformed, `byte ${at} xor ${mask}: ${(error as Error).stack}`);
        refused += 1;
      }
    }
  }
  return refused;
}
