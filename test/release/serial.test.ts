import assert from 'node:assert/strict';
import { it } from 'node:test';
import { serialOf } from '../../src/release/serial.ts';

const SERIALS: readonly (readonly [string, number | undefined])[] = [
  ['arch/2026.11.01', 2026110100],
  ['arch/2026-11-01', 2026110100],
  ['arch/20261101', 2026110100],
  ['arch/2026.11.01-2', 2026110102],
  ['arch/2026.11.01.12', 2026110112],
  ['arch/2028.02.29', 2028022900],
  ['arch/2026.02.29', undefined],
  ['arch/2026.13.01', undefined],
  ['arch/2026.11.00', undefined],
  ['arch/2026.11.01-100', undefined],
  ['arch/2026.11.01-rc1', undefined],
  ['arch/2026.11', undefined],
  ['arch/7', undefined],
  ['2026.11.01/7', undefined],
];

for (const [release, serial] of SERIALS) {
  it(`${release} has ${serial === undefined ? 'no serial of its own' : `the serial ${serial}`}`, () => {
    assert.equal(serialOf(release), serial);
  });
}

it('serials of one day grow with its count', () => {
  const serials = ['a/2026.11.01', 'a/2026.11.01-1', 'a/2026.11.01-9', 'a/2026.11.01-10', 'a/2026.11.02'].map(
    (release) => serialOf(release) ?? 0,
  );
  assert.deepEqual(
    serials,
    serials.toSorted((a, b) => a - b),
  );
  assert.equal(new Set(serials).size, serials.length);
});
