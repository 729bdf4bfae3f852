import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  type BundleIndex,
  decodeBundleIndex,
  encodeBundleIndex,
  inBundleOrder,
  MAX_BUNDLE_INDEX,
  MAX_MEMBERS,
  MAX_SMALL_MEMBER,
} from '../../../src/formats/records/bundle-index.ts';
import { demandFlipsHandled, malformed } from '../strict.ts';

const sha = (digit: string) => digit.repeat(64);
const ONE = 'arch/2026.11.01';
const INDEX: BundleIndex = {
  channel: 'stable',
  releases: [
    {
      release: ONE,
      records: new Map([
        ['boot.ipxe', sha('a')],
        ['boot.ipxe.sig', sha('b')],
      ]),
    },
    { release: 'arch/2026.11.02', records: new Map() },
  ],
  members: inBundleOrder([
    { name: `objects/${sha('c')}`, size: 9_000_000_000_000, sha256: sha('c') },
    { name: `records/${sha('a')}`, size: 7, sha256: sha('a') },
    { name: `scripts/${sha('d')}.ipxe`, size: 4, sha256: sha('d') },
    { name: `scripts/${sha('d')}.ipxe.sig`, size: 5, sha256: sha('e') },
    { name: `releases/${ONE}/provenance.json`, size: 3, sha256: sha('f') },
    { name: `releases/${ONE}/log-proof`, size: 3, sha256: sha('0') },
    { name: 'channel/snapshot.cms.sig', size: 2, sha256: sha('1') },
    { name: 'channel/snapshot', size: 1, sha256: sha('2') },
  ]),
};
const LINES = [
  'bootseal-bundle 1',
  'channel stable',
  `release ${ONE}`,
  `record ${sha('a')} boot.ipxe`,
  `record ${sha('b')} boot.ipxe.sig`,
  'release arch/2026.11.02',
  `member 1 ${sha('2')} channel/snapshot`,
  `member 2 ${sha('1')} channel/snapshot.cms.sig`,
  `member 3 ${sha('0')} releases/${ONE}/log-proof`,
  `member 3 ${sha('f')} releases/${ONE}/provenance.json`,
  `member 4 ${sha('d')} scripts/${sha('d')}.ipxe`,
  `member 5 ${sha('e')} scripts/${sha('d')}.ipxe.sig`,
  `member 7 ${sha('a')} records/${sha('a')}`,
  `member 9000000000000 ${sha('c')} objects/${sha('c')}`,
  '',
];
const TEXT = LINES.join('\n');
const text = (lines: readonly string[]) => Buffer.from(lines.join('\n'));

describe('the index of a bundle', () => {
  it('is these lines, and reads as it was written', () => {
    assert.equal(Buffer.from(encodeBundleIndex(INDEX)).toString(), TEXT);
    assert.deepEqual(decodeBundleIndex(Buffer.from(TEXT)), INDEX);
    const alone = { ...INDEX, channel: undefined, releases: INDEX.releases.slice(0, 1), members: [] };
    assert.deepEqual(decodeBundleIndex(encodeBundleIndex(alone)), alone);
  });

  it('throws nothing but what says that it is none, whatever byte is changed or missing', () => {
    demandFlipsHandled(decodeBundleIndex, Buffer.from(TEXT));
    for (let length = 0; length < TEXT.length; length += 1) {
      // A list that ends after a line is one of fewer members: the archive then goes on after all that it names.
      if (TEXT[length - 1] === '\n' && length > LINES.slice(0, 3).join('\n').length) continue;
      assert.throws(() => decodeBundleIndex(Buffer.from(TEXT.slice(0, length))), malformed(/./), `${length}`);
    }
  });

  for (const [what, change] of [
    ['another format', (t: string) => t.replace('bundle 1', 'bundle 2')],
    ['a member that is a path', (t: string) => t.replace(`objects/${sha('c')}`, '../../etc/passwd')],
    ['a member of an absolute path', (t: string) => t.replace(`objects/${sha('c')}`, '/etc/passwd')],
    ['an object of another digest', (t: string) => t.replace(`objects/${sha('c')}`, `objects/${sha('d')}`)],
    ['a script of another digest', (t: string) => t.replace(`${sha('d')} scripts`, `${sha('e')} scripts`)],
    [
      'a proof of a release that is not in it',
      (t: string) => t.replace(`${ONE}/log-proof`, 'arch/9/log-proof'),
    ],
    ['a record at a path that leads out', (t: string) => t.replace(' boot.ipxe\n', ' ../boot.ipxe\n')],
    ['records twice', (t: string) => t.replace(' boot.ipxe.sig', ' boot.ipxe')],
    ['a release twice', (t: string) => t.replace('release arch/2026.11.02', `release ${ONE}`)],
    ['members out of order', (t: string) => t.replace('channel/snapshot\n', `records/${sha('2')}\n`)],
    ['no release', () => 'bootseal-bundle 1\nchannel stable\n'],
    ['several releases without a channel', (t: string) => t.replace('channel stable\n', '')],
    ['a size with a sign', (t: string) => t.replace('member 4 ', 'member +4 ')],
    ['a size beyond all', (t: string) => t.replace('9000000000000', '9000000000000000')],
    [
      'a record as large as a root image',
      (t: string) => t.replace('member 7 ', `member ${MAX_SMALL_MEMBER + 1} `),
    ],
    [
      'records that are too much together',
      (t: string) => t.replace(/member [1-7] /g, `member ${MAX_SMALL_MEMBER} `),
    ],
    ['an unknown line', (t: string) => `${t}more 1\n`],
    ['no last newline', (t: string) => t.slice(0, -1)],
    ['blanks', (t: string) => t.replace('member 4', 'member  4')],
    ['something that is not ASCII', (t: string) => t.replace('stable', 'stäble')],
  ] as const) {
    it(`refuses ${what}`, () => {
      const changed = change(TEXT);
      assert.notEqual(changed, TEXT);
      assert.throws(() => decodeBundleIndex(Buffer.from(changed)), malformed(/./));
    });
  }

  it('refuses 100,000 members, and one that is longer than any', () => {
    const members = Array.from({ length: 100_000 }, (_, n) => {
      const digest = n.toString(16).padStart(64, '0');
      return `member 1 ${digest} objects/${digest}`;
    });
    assert.ok(decodeBundleIndex(text([...LINES.slice(0, 6), ...members.slice(0, MAX_MEMBERS), ''])));
    assert.throws(
      () => decodeBundleIndex(text([...LINES.slice(0, 6), ...members, ''])),
      malformed(/^bundle index: (more than|[0-9]+ bytes)|bundle index/),
    );
    assert.throws(() => decodeBundleIndex(Buffer.alloc(MAX_BUNDLE_INDEX + 1)), malformed(/bytes/));
  });
});
