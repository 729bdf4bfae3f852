import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  decodeReleaseList,
  encodeReleaseList,
  MAX_LIST,
  type ReleaseList,
} from '../../../src/formats/records/release-list.ts';

const sha = (digit: string) => digit.repeat(64);
const LIST: ReleaseList = {
  release: 'arch/2026.11.01',
  files: [
    { path: 'arch/boot/vmlinuz', size: 8247232, sha256: sha('a') },
    { path: 'arch/boot/vmlinuz.sig', size: 0, sha256: sha('b') },
    { path: 'release.manifest', size: 900, sha256: sha('c') },
  ],
};
const LINES = [
  'bootseal-list 1',
  'release arch/2026.11.01',
  `file 8247232 ${sha('a')} arch/boot/vmlinuz`,
  `file 0 ${sha('b')} arch/boot/vmlinuz.sig`,
  `file 900 ${sha('c')} release.manifest`,
  '',
];
const TEXT = LINES.join('\n');

describe('a list of a release', () => {
  it('is what its docstring shows, in whatever order it was given', () => {
    assert.equal(Buffer.from(encodeReleaseList(LIST)).toString(), TEXT);
    const turned = { ...LIST, files: LIST.files.toReversed() };
    assert.equal(Buffer.from(encodeReleaseList(turned)).toString(), TEXT);
    assert.deepEqual(decodeReleaseList(Buffer.from(TEXT)), LIST);
  });

  it('is nothing where it is cut, but at the end of a line of files', () => {
    const whole = new Set([3, 4, 5].map((count) => LINES.slice(0, count).join('\n').length + 1));
    for (let length = 0; length < TEXT.length; length += 1) {
      const cut = Buffer.from(TEXT.slice(0, length));
      if (whole.has(length)) assert.ok(decodeReleaseList(cut));
      else assert.throws(() => decodeReleaseList(cut), { name: 'Malformed' }, String(length));
    }
  });

  it('has one way to be written, and leads nowhere else', () => {
    for (const [from, to] of [
      ['list 1', 'list 2'],
      ['release arch/2026.11.01', 'release ../x'],
      ['release arch', 'release  arch'],
      ['file 0', 'file 00'],
      ['file 0', 'file -1'],
      ['file 0', 'file 9007199254740993'],
      [sha('b'), sha('B')],
      [sha('b'), 'b'],
      ['release.manifest', '/release.manifest'],
      ['release.manifest', 'release/../manifest'],
      ['release.manifest', 'release manifest'],
      ['release.manifest', 'release\tmanifest'],
      ['release.manifest', 'r\u00e9lease.manifest'],
      ['arch/boot/vmlinuz.sig', 'arch/boot/vmlinuz/sig'],
      ['arch/boot/vmlinuz.sig', 'arch/boot/vmlinuz'],
      [`${LINES[2]}\n${LINES[3]}`, `${LINES[3]}\n${LINES[2]}`],
      [LINES[4] ?? '', `${LINES[4]}\nlater 1`],
      [LINES[4] ?? '', `${LINES[4]}\n`],
    ] as const) {
      const text = TEXT.replace(from, to);
      assert.notEqual(text, TEXT);
      assert.throws(() => decodeReleaseList(Buffer.from(text, 'latin1')), { name: 'Malformed' }, to);
    }
    assert.throws(() => decodeReleaseList(Buffer.alloc(MAX_LIST + 1, 'x')), { name: 'Malformed' });
    assert.throws(() => encodeReleaseList({ ...LIST, files: [] }), { name: 'Malformed' });
  });
});
