import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { FreeType } from '../../../src/formats/script/cmdline.ts';
import {
  isCommandLineWord,
  isFreeType,
  isOfType,
  lastValue,
  MAX_COMMAND_LINE,
  splitCommandLine,
  withAdded,
} from '../../../src/formats/script/cmdline.ts';

describe('a word of the command line', () => {
  it('has the characters of DESIGN §5 and no others', () => {
    const allowed = new Set('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:,=/@%+[]-');
    for (let code = 0; code < 0x180; code++) {
      const character = String.fromCharCode(code);
      assert.equal(isCommandLineWord(character), allowed.has(character), JSON.stringify(character));
      assert.equal(isCommandLineWord(`a${character}b`), allowed.has(character), JSON.stringify(character));
    }
  });

  it('has 1 to 2047 bytes', () => {
    assert.equal(MAX_COMMAND_LINE, 2047);
    assert.equal(isCommandLineWord(''), false);
    assert.equal(isCommandLineWord('x'.repeat(2047)), true);
    assert.equal(isCommandLineWord('x'.repeat(2048)), false);
  });

  it('cannot close a quote or begin a command in the shell that archiso evaluates it in', () => {
    for (const evil of [
      '"',
      "'",
      '$(reboot)',
      '`reboot`',
      'a;b',
      'a&b',
      'a|b',
      'a>b',
      'a\\b',
      'a*',
      'a?',
      '#',
      '~',
      '{a}',
    ]) {
      assert.equal(isCommandLineWord(evil), false, evil);
    }
  });
});

describe('a command line', () => {
  it('comes apart at blanks and goes together again', () => {
    const word = fc.stringMatching(/^[A-Za-z0-9._:,=/@%+[\]-]{1,12}$/);
    const blank = fc.stringMatching(/^[ \t\n]{1,3}$/);
    fc.assert(
      fc.property(fc.array(fc.tuple(blank, word), { maxLength: 9 }), blank, (pairs, last) => {
        const line = pairs.flat().join('') + last;
        assert.deepEqual(
          splitCommandLine(line),
          pairs.map(([, text]) => text),
        );
      }),
    );
    assert.deepEqual(splitCommandLine(''), []);
    assert.deepEqual(splitCommandLine('"a b"'), ['"a', 'b"'], 'quotes mean nothing');
  });

  it('gives a parameter its last value, and y to a bare one', () => {
    const words = ['checksum=y', 'verify', 'checksum=n', 'x=', 'url=a=b', 'verifyx=1'];
    const values: readonly [string, string | undefined][] = [
      ['checksum', 'n'],
      ['verify', 'y'],
      ['x', ''],
      ['url', 'a=b'],
      ['verif', undefined],
      ['check', undefined],
    ];
    for (const [key, value] of values) assert.equal(lastValue(words, key), value, key);
    assert.equal(lastValue(['verify=n', 'verify'], 'verify'), 'y');
    assert.equal(lastValue([], 'verify'), undefined);
  });
});

describe('a free parameter', () => {
  const values: Readonly<Record<string, { good: readonly string[]; bad: readonly string[] }>> = {
    ipv4: {
      good: ['0.0.0.0', '10.0.2.15', '255.255.255.255', '192.168.100.249'],
      bad: [
        '',
        '256.0.0.1',
        '1.2.3',
        '1.2.3.4.5',
        '01.2.3.4',
        '1.2.3.4 ',
        '1.2.3.4\n',
        '0x1.2.3.4',
        '1.2.3.4/8',
        '١.2.3.4',
      ],
    },
    mac: {
      good: ['52:54:00:12:34:56', '01-52-54-00-12-34-56', '52-54-00-AB-cd-EF'],
      bad: [
        '',
        '52:54:00:12:34',
        '52:54:00:12:34:56:78',
        '02-52-54-00-12-34-56',
        '525400123456',
        '52:54:00:12:34:5g',
        '52:54:00:12:34:56\n',
      ],
    },
    name: {
      good: ['a', 'lab-7', '-', 'A'.repeat(63)],
      bad: ['', 'a.b', 'a_b', 'A'.repeat(64), 'a\n', 'ä', 'a b'],
    },
    'hex 1': { good: ['0', 'f', 'F'], bad: ['', '00', 'g', '0\n'] },
    'hex 64': {
      good: ['0aF'.padEnd(64, '9')],
      bad: ['0'.repeat(63), '0'.repeat(65), '0'.repeat(63).concat('-')],
    },
    'choice red': { good: ['red'], bad: ['', 'Red', 'red|', 'r', 'redder'] },
    'choice a|b,1|[c]': { good: ['a', 'b,1', '[c]'], bad: ['', 'a|b,1', 'c', 'b', '|', 'a\n'] },
    dhcp: { good: ['dhcp'], bad: ['', 'DHCP', 'dhcp ', 'on', 'any', ':::::eth0:dhcp'] },
    port: {
      good: ['1', '80', '8080', '65535', '65529', '60000', '59999'],
      bad: ['', '0', '65536', '65540', '66000', '70000', '99999', '100000', '080', '-1', '8080\n', '8e1'],
    },
    url: {
      good: [
        'http://10.0.0.1:8080/releases/arch/2026.11.01/',
        'https://host/',
        'http://[fe80::1]:80/a_b-c/',
        'http://10.0.0.1/releases/debian/6.12.43+deb13/',
      ],
      bad: [
        '',
        'http://host',
        'http://host/x',
        'ftp://host/',
        'HTTP://host/',
        'http://host/$(reboot)/',
        'http://host/`id`/',
        'http://host/a;b/',
        'http://host/%24/',
        'http://user@host/',
        'http://host/?q/',
        'http://host/ /',
        'http://host/\n',
        'xhttp://host/',
      ],
    },
  };
  for (const [type, { good, bad }] of Object.entries(values) as [FreeType, (typeof values)['url']][]) {
    it(`of type ${type} has its form`, () => {
      assert.equal(isFreeType(type), true);
      for (const value of good) assert.equal(isOfType(value, type), true, value);
      for (const value of bad) assert.equal(isOfType(value, type), false, JSON.stringify(value));
    });
  }

  it('is a port for 1 to 65535 in plain decimals', () => {
    for (let port = -1; port < 70_000; port++) {
      assert.equal(isOfType(String(port), 'port'), port >= 1 && port <= 65_535, String(port));
    }
  });

  it('has no type but these', () => {
    for (const name of ['string', 'any', '', 'URL', 'constructor', '__proto__', 'toString']) {
      assert.equal(isFreeType(name), false, name);
    }
  });
});

it('what a loader adds comes last, and before what an installer would copy', () => {
  assert.deepEqual(withAdded(['a', 'b'], ['x']), ['a', 'b', 'x']);
  assert.deepEqual(withAdded(['a', '---', 'b'], ['x', 'y']), ['a', 'x', 'y', '---', 'b']);
  assert.deepEqual(withAdded(['---'], ['x'], ["'---'"]), ['x', "'---'"]);
});
