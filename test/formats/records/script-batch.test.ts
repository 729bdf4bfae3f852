import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  decodeScriptBatch,
  encodeScriptBatch,
  type ScriptBatch,
} from '../../../src/formats/records/script-batch.ts';
import {
  decodeScriptsRequest,
  encodeScriptsRequest,
  isScriptsRequest,
} from '../../../src/formats/records/scripts-request.ts';
import { decodeSnapshot, encodeSnapshot } from '../../../src/formats/records/snapshot.ts';

const sha = (digit: string) => digit.repeat(64);
const BATCH: ScriptBatch = {
  channel: 'stable',
  since: Date.UTC(2026, 10, 1),
  rules: sha('a'),
  scripts: [
    { key: '0'.repeat(16), arch: 'x86_64', loader: 'ipxe', sha256: sha('b'), release: 'arch/2026.11.01' },
    { key: '1'.repeat(16), arch: undefined, loader: 'grub', sha256: sha('c'), release: undefined },
  ],
};
const LINES = [
  'bootseal-batch 1',
  'channel stable',
  'since 2026-11-01T00:00:00Z',
  `machines ${sha('a')}`,
  `script ${'0'.repeat(16)} x86_64 ipxe ${sha('b')} arch/2026.11.01`,
  `script ${'1'.repeat(16)} - grub ${sha('c')} -`,
  '',
];
const TEXT = LINES.join('\n');

describe('a batch of scripts', () => {
  it('is what its docstring shows, in whatever order it was given', () => {
    assert.equal(Buffer.from(encodeScriptBatch(BATCH)).toString(), TEXT);
    const turned = { ...BATCH, scripts: BATCH.scripts.toReversed() };
    assert.equal(Buffer.from(encodeScriptBatch(turned)).toString(), TEXT);
    assert.deepEqual(decodeScriptBatch(Buffer.from(TEXT)), BATCH);
  });

  it('is nothing where it is cut, but at the end of a line of scripts', () => {
    const whole = new Set(
      [LINES.slice(0, 4), LINES.slice(0, 5), LINES.slice(0, 6)].map((some) => some.join('\n').length + 1),
    );
    for (let length = 0; length < TEXT.length; length += 1) {
      const cut = Buffer.from(TEXT.slice(0, length));
      if (whole.has(length)) assert.ok(decodeScriptBatch(cut));
      else assert.throws(() => decodeScriptBatch(cut), { name: 'Malformed' }, String(length));
    }
  });

  it('has one way to be written', () => {
    for (const [from, to] of [
      ['batch 1', 'batch 2'],
      ['channel stable', 'channel ../x'],
      ['ipxe', 'syslinux'],
      ['x86_64', 'x86 64'],
      ['arch/2026.11.01', '../x'],
      [sha('b'), 'b'],
      ['script 0', 'script  0'],
      ['- grub', '. grub'],
      [`${LINES[4]}\n${LINES[5]}`, `${LINES[5]}\n${LINES[4]}`],
      [LINES[5] ?? '', `${LINES[5]}\n${LINES[5]}`],
      [LINES[5] ?? '', `script ${'0'.repeat(16)} x86_64 ipxe ${sha('d')} arch/2026.11.01`],
      [LINES[5] ?? '', `${LINES[5]}\nlater 1`],
    ] as const) {
      const text = TEXT.replace(from, to);
      assert.notEqual(text, TEXT);
      assert.throws(() => decodeScriptBatch(Buffer.from(text)), { name: 'Malformed' }, to);
    }
  });
});

describe('a request for scripts', () => {
  const REQUEST = {
    ...BATCH,
    channels: ['stable', 'testing'],
    manifests: [{ sha256: sha('d'), release: 'arch/2026.11.01' }],
    kept: [{ sha256: sha('e'), release: 'arch/2026.10.01' }],
  };

  it('comes back as it was, and is known by its first line', () => {
    const bytes = encodeScriptsRequest(REQUEST);
    assert.deepEqual(decodeScriptsRequest(bytes), REQUEST);
    assert.equal(isScriptsRequest(bytes), true);
    assert.equal(isScriptsRequest(Buffer.from(TEXT)), false);
  });

  it('is strict, its batch included', () => {
    const text = Buffer.from(encodeScriptsRequest(REQUEST)).toString();
    for (const [from, to] of [
      ['request 1', 'request 2'],
      ['channels stable testing', 'channels'],
      [`manifest ${sha('d')} arch/2026.11.01\n`, ''],
      ['kept', 'kept '],
      ['\nbootseal-batch 1', '\nbootseal-batch 2'],
      ['\nbootseal-batch', '\nx\nbootseal-batch'],
    ] as const)
      assert.throws(
        () => decodeScriptsRequest(Buffer.from(text.replace(from, to))),
        { name: 'Malformed' },
        to,
      );
  });
});

describe('a snapshot with scripts', () => {
  const snapshot = {
    channel: 'stable',
    counter: 7,
    issued: Date.UTC(2026, 10, 1),
    expires: Date.UTC(2026, 10, 8),
    scripts: sha('f'),
    releases: [
      {
        ...{ arch: 'x86_64', release: 'arch/2026.11.01', serial: 1, manifest: sha('a') },
        ...{ bestBefore: Date.UTC(2027, 0, 30), rollbackFrom: undefined },
      },
    ],
  };

  it('is of a format that an older Bootseal refuses by its first line', () => {
    const text = Buffer.from(encodeSnapshot(snapshot)).toString();
    assert.match(text, /^bootseal-snapshot 2\n(.+\n){4}scripts f{64}\narch /);
    assert.deepEqual(decodeSnapshot(Buffer.from(text)), snapshot);
    for (const other of [
      text.replace('snapshot 2', 'snapshot 1'),
      text.replace(/scripts .*\n/, ''),
      text.replace(sha('f'), 'f'),
    ])
      assert.throws(() => decodeSnapshot(Buffer.from(other)), { name: 'Malformed' });
  });
});
