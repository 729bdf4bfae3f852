import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Malformed } from '../../../src/errors/malformed.ts';
import { decodeSyslog, MAX_SYSLOG } from '../../../src/formats/net/syslog.ts';

const decode = (text: string) => decodeSyslog(Buffer.from(text, 'latin1'));

describe('a line of a loader’s console', () => {
  for (const [what, sent, line] of [
    [
      'that names its card, of a machine with a name',
      '<6>lab7.lan.example ipxe: Configuring (net0 52:54:00:91:00:01)...... ok',
      {
        ...{ priority: 6, host: 'lab7.lan.example', mac: '52:54:00:91:00:01' },
        text: 'Configuring (net0 52:54:00:91:00:01)...... ok',
      },
    ],
    [
      'of a machine without a name',
      '<134>ipxe: http://10.91.0.1:8080/nothere.ipxe... Not found (https://ipxe.org/2d0c618e)',
      {
        priority: 134,
        text: 'http://10.91.0.1:8080/nothere.ipxe... Not found (https://ipxe.org/2d0c618e)',
      },
    ],
    ['that is empty', '<6>ipxe: ', { priority: 6, text: '' }],
    ['with an end', '<6>ipxe: ok\r\n\0', { priority: 6, text: 'ok' }],
    [
      'of ifstat',
      '<6>.lan ipxe: net12: 52:54:00:91:00:01 using virtio-net on 0000:00:03.0 (Ethernet) [open]',
      {
        ...{ priority: 6, host: '.lan', mac: '52:54:00:91:00:01' },
        text: 'net12: 52:54:00:91:00:01 using virtio-net on 0000:00:03.0 (Ethernet) [open]',
      },
    ],
    ['that names a card that there is not', '<6>ipxe: net0 53:54:00:91:00:01', 'no mac'],
    ['that names an address alone', '<6>ipxe: 52:54:00:91:00:01', 'no mac'],
    [
      'that would clear the screen',
      '<6>a\x1b]0;x ipxe: \x1b[2J\\x1b \xe4\n<6>host ipxe: a second one',
      {
        ...{ priority: 6, host: 'a\\x1b]0;x' },
        text: '\\x1b[2J\\\\x1b \\xe4\\x0a<6>host ipxe: a second one',
      },
    ],
  ] as const) {
    it(what, () => {
      if (line === 'no mac') assert.equal(decode(sent).mac, undefined);
      else assert.deepEqual(decode(sent), line);
    });
  }

  it('is bounded, whatever becomes of it', () => {
    const longest = decode(`<6>${'\xff'.repeat(255)} ipxe: ${'\xff'.repeat(MAX_SYSLOG - 265)}`);
    assert.equal(longest.host?.length, 255);
    assert.equal(longest.text.length, 512);
    for (const text of [longest.text, longest.host ?? '']) assert.match(text, /^(\\xff)*\\?x?f?$/);
    assert.throws(() => decode(`<6>ipxe: ${'x'.repeat(MAX_SYSLOG)}`), Malformed);
  });

  it('is nothing else, and no beginning of one', () => {
    const sent = '<191>lab7.lan.example ipxe: ';
    assert.equal(decode(sent).text, '');
    for (let length = 0; length < sent.length; length += 1)
      assert.throws(() => decode(sent.slice(0, length)), Malformed, sent.slice(0, length));
    for (const other of [
      '<192>ipxe: x',
      '<06>ipxe: x',
      '<-1>ipxe: x',
      '<6> ipxe: x',
      '<6>a b ipxe: x',
      '<6>Oct 11 22:14:15 mymachine su: failed',
      '<6>1 2003-10-11T22:14:15.003Z host app - - - x',
      'ipxe: x',
      `<6>${'h'.repeat(256)} ipxe: x`,
      '\0\0\0\0',
    ])
      assert.throws(() => decode(other), Malformed, other);
  });
});
