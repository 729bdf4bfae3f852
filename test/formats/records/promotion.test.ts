import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { decodePromotion, MAX_PROMOTION } from '../../../src/formats/records/promotion.ts';

const GOOD = {
  ...{ amount_metrics: [], developer: 'A <a@example.org>', files: ['arch', 'x.sig'], name: 'netboot' },
  ...{
    pgp_public_key: 'AB12',
    size_metrics: [],
    torrent_file: null,
    version: '2026.11.01',
    version_metrics: [],
  },
};
const bytes = (value: unknown) => Buffer.from(`${JSON.stringify(value, undefined, 2)}\n`);

describe('a promotion', () => {
  it('says what it is about', () => {
    assert.deepEqual(decodePromotion(bytes(GOOD)), {
      ...{ name: 'netboot', version: '2026.11.01', files: ['arch', 'x.sig'] },
    });
  });

  for (const [what, value] of [
    ['no JSON', Buffer.from('<html>')],
    ['no UTF-8', Buffer.from([0x22, 0xff, 0x22])],
    ['a list', bytes([GOOD])],
    ['nothing', bytes(null)],
    ['no name', bytes({ ...GOOD, name: undefined })],
    ['a name with a slash', bytes({ ...GOOD, name: 'a/b' })],
    ['a version that leads out', bytes({ ...GOOD, version: '..' })],
    ['files that are no list', bytes({ ...GOOD, files: 'arch' })],
    ['a file that is no name', bytes({ ...GOOD, files: [1] })],
    ['a file that leads out', bytes({ ...GOOD, files: ['arch/../../x'] })],
    ['an absolute file', bytes({ ...GOOD, files: ['/etc/passwd'] })],
    ['a file twice', bytes({ ...GOOD, files: ['arch', 'arch'] })],
    ['too many files', bytes({ ...GOOD, files: Array.from({ length: 1001 }, (_, index) => `f${index}`) })],
    ['too many bytes', Buffer.concat([bytes(GOOD), Buffer.alloc(MAX_PROMOTION, 0x20)])],
  ] as const)
    it(`with ${what} is malformed`, () => {
      assert.throws(() => decodePromotion(value), { name: 'Malformed' });
    });
});
