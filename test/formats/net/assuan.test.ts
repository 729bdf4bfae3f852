import assert from 'node:assert/strict';
import { it } from 'node:test';
import {
  type AssuanLine,
  AssuanReader,
  decodeRedirection,
  encodeCommand,
  escapedText,
} from '../../../src/formats/net/assuan.ts';
import { malformed } from '../strict.ts';

const read = (text: string): AssuanLine[] => new AssuanReader().read(Buffer.from(text, 'latin1'));

const LINES: readonly [string, AssuanLine][] = [
  ['OK', { kind: 'ok' }],
  ['OK Pleased to meet you, process 77', { kind: 'ok' }],
  [
    'ERR 67108881 No secret key <GPG Agent>',
    { kind: 'error', code: 67_108_881, said: Buffer.from('No secret key <GPG Agent>') },
  ],
  ['ERR 1', { kind: 'error', code: 1, said: Buffer.from('') }],
  [
    'D a%25b%0D%0ac\0\xff',
    { kind: 'data', octets: Uint8Array.from(Buffer.from('a%b\r\nc\0\xff', 'latin1')) },
  ],
  ['D ', { kind: 'data', octets: new Uint8Array(0) }],
  ['S PROGRESS tick', { kind: 'note' }],
  ['# a comment', { kind: 'note' }],
  ['INQUIRE PINENTRY_LAUNCHED 77 curses', { kind: 'inquiry', keyword: 'PINENTRY_LAUNCHED' }],
];

it('each line of a server is read, in whatever pieces it arrives', () => {
  const wire = Buffer.from(LINES.map(([line]) => `${line}\n`).join(''), 'latin1');
  const wanted = LINES.map(([, line]) => line);
  assert.deepEqual(new AssuanReader().read(wire), wanted);
  for (let cut = 0; cut <= wire.length; cut++) {
    const reader = new AssuanReader();
    const lines = [...reader.read(wire.subarray(0, cut)), ...reader.read(wire.subarray(cut))];
    assert.deepEqual(lines, wanted, `cut at ${cut}`);
    assert.ok(!reader.isInside);
  }
  const reader = new AssuanReader();
  reader.read(wire.subarray(0, -1));
  assert.ok(reader.isInside);
});

it('a line of 1000 bytes is taken, and a longer one is none, with its end or without', () => {
  const longest = `D ${'x'.repeat(998)}`;
  assert.equal(read(`${longest}\n`).length, 1);
  assert.deepEqual(read(longest), []);
  for (const text of [`${longest}x\n`, `${longest}x`]) {
    assert.throws(() => read(text), malformed(/a line of more than 1000 bytes/));
  }
});

for (const line of [
  '',
  'ok',
  'OKAY',
  'ERR',
  'ERR x',
  'ERR 99999999999 x',
  'END',
  'HTTP/1.1 200 OK',
  'OK\0',
  'D %',
  'D %1',
  'D %zz',
]) {
  it(`${JSON.stringify(line)} is no line of a server`, () => {
    assert.throws(() => read(`${line}\n`), malformed(/no answer|NUL|escape/));
  });
}

it('what we say is one line', () => {
  assert.equal(
    Buffer.from(encodeCommand('SETHASH', '--hash=sha256', 'ab')).toString(),
    'SETHASH --hash=sha256 ab\n',
  );
  for (const word of ['a\nBYE', 'é', 'x'.repeat(1001)]) assert.throws(() => encodeCommand(word), RangeError);
  assert.equal(escapedText('a b+c%d\n"é'), 'a+b%2Bc%25d%0A%22%C3%A9');
});

it('a file may stand for a socket', () => {
  const at = (text: string) => decodeRedirection(Buffer.from(text), (name) => ({ X: '/run', Y: 'a' })[name]);
  assert.equal(at('%Assuan%\nsocket=/run/S\n'), '/run/S');
  const variable = (name: string) => `\${${name}}`;
  assert.equal(at(`%Assuan%\r\nsocket=${['X', 'Y', 'Z'].map(variable).join('/')}/S`), '/run/a//S');
  for (const text of [
    '',
    '%Assuan%\n',
    '%Assuan%\nsocket=\n',
    'socket=/a\n',
    '%Assuan%\nsocket=/a\nsocket=/b\n',
  ]) {
    assert.throws(() => at(text), malformed(/neither a socket nor a file that names one/), text);
  }
  assert.throws(() => at('%Assuan%\nsocket=S\n'), malformed(/no absolute path/));
  assert.throws(() => at(`%Assuan%\nsocket=/${'a'.repeat(511)}`), malformed(/neither/));
});
