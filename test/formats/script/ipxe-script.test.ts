// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is how iPXE writes a setting
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Malformed } from '../../../src/errors/malformed.ts';
import {
  encodeIpxeScript,
  isIpxeScript,
  MAX_SCRIPT_BYTES,
  parseIpxeScript,
} from '../../../src/formats/script/ipxe-script.ts';
import { expandWord, expansions, splitCommands, tokenise } from '../../../src/formats/script/ipxe-tokens.ts';

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'latin1'));
const parse = (text: string) => parseIpxeScript(bytes(text));

test('the magic is #!ipxe or #!gpxe and one white space', () => {
  assert.equal(parse('#!ipxe\n').magic, '#!ipxe');
  assert.equal(parse('#!gpxe boot\n').magic, '#!gpxe');
  for (const text of ['', '#!ipxe', '#!ipxe2\n', ' #!ipxe\n', '\xef\xbb\xbf#!ipxe\n', '#!IPXE\n']) {
    assert.equal(isIpxeScript(bytes(text)), false, JSON.stringify(text));
    assert.throws(() => parse(text), Malformed);
  }
});

test('a script is at most 64 KiB', () => {
  const longest = `#!ipxe\n${'#'.repeat(MAX_SCRIPT_BYTES - 7)}`;
  assert.equal(parse(longest).lines.length, 2);
  assert.throws(() => parse(`${longest}#`), /65537 bytes/);
});

test('a NUL is refused: iPXE would not see the rest of its line', () => {
  assert.throws(() => parse('#!ipxe\nimgtrust \0--permanent\n'), /NUL.*byte 16/);
});

test('lines know their number, offset and label', () => {
  const { lines } = parse('#!ipxe\r\n\n  :again echo hi\n:\n');
  assert.deepEqual(
    lines.map(({ number, offset, label, text }) => ({ number, offset, label, text })),
    [
      { number: 1, offset: 0, label: undefined, text: '#!ipxe' },
      { number: 2, offset: 8, label: undefined, text: '' },
      { number: 3, offset: 9, label: 'again', text: 'echo hi' },
      { number: 4, offset: 26, label: '', text: '' },
    ],
  );
  assert.deepEqual(lines[2]?.commands, [{ after: undefined, words: ['echo', 'hi'] }]);
  assert.deepEqual(lines[0]?.commands, []);
  assert.equal(lines[0]?.comment, '#!ipxe');
});

test('a backslash at the end joins the next line, with a CR or without', () => {
  const { lines, truncated } = parse('#!ipxe\necho a\\\n  b \\\r\nc\necho d\n');
  assert.equal(truncated, false);
  assert.deepEqual(
    lines.map(({ number, raw }) => [number, raw]),
    [
      [1, '#!ipxe'],
      [2, 'echo a  b c'],
      [5, 'echo d'],
    ],
  );
});

test('a comment is continued like any other line', () => {
  const { lines } = parse('#!ipxe\n# harmless \\\nimgtrust --permanent\n');
  assert.equal(lines.length, 2);
  assert.deepEqual(lines[1]?.commands, []);
});

test('a backslash at the very end is told', () => {
  for (const text of ['#!ipxe\necho a\\\n', '#!ipxe\necho a\\']) {
    const script = parse(text);
    assert.equal(script.truncated, true);
    assert.equal(script.lines.length, 1);
  }
});

test('commands are split at ||, && and ; only where they stand alone', () => {
  const cases: [string, [string | undefined, string[]][]][] = [
    [
      'a || b',
      [
        [undefined, ['a']],
        ['||', ['b']],
      ],
    ],
    ['a&&b ;c x;', [[undefined, ['a&&b', ';c', 'x;']]]],
    [
      'a && b ; c',
      [
        [undefined, ['a']],
        ['&&', ['b']],
        [';', ['c']],
      ],
    ],
    [
      'a ||',
      [
        [undefined, ['a']],
        ['||', []],
      ],
    ],
    [
      '|| a',
      [
        [undefined, []],
        ['||', ['a']],
      ],
    ],
    ['a ${b||c} "d e"', [[undefined, ['a', '${b||c}', '"d', 'e"']]]],
    ['', []],
    ['  \t\v\f ', []],
  ];
  for (const [text, expected] of cases) {
    const actual = splitCommands(text).commands.map(({ after, words }) => [after, words]);
    assert.deepEqual(actual, expected, text);
  }
});

test('a word that begins with # ends the line, wherever it stands', () => {
  assert.deepEqual(splitCommands('kernel http://h/k#x a # b || c'), {
    commands: [{ after: undefined, words: ['kernel', 'http://h/k#x', 'a'] }],
    comment: '# b || c',
  });
  // The command behind the terminator is then empty, and an empty command succeeds.
  assert.deepEqual(splitCommands('imgverify a b || #goto refuse').commands.at(-1), {
    after: '||',
    words: [],
  });
});

test('there are no quotes and no escapes', () => {
  assert.deepEqual(tokenise(`set a "b c" 'd' \\e`), ['set', 'a', '"b', 'c"', "'d'", '\\e']);
});

test('expansions name block, setting and type', () => {
  assert.deepEqual(expansions('http://${next-server}:${net0.dhcp/175.3:int32}/${net0/mac:hexhyp}.ipxe'), [
    { text: '${next-server}', scope: undefined, name: 'next-server', type: undefined, dynamic: false },
    { text: '${net0.dhcp/175.3:int32}', scope: 'net0.dhcp', name: '175.3', type: 'int32', dynamic: false },
    { text: '${net0/mac:hexhyp}', scope: 'net0', name: 'mac', type: 'hexhyp', dynamic: false },
  ]);
});

test('an expansion that depends on a value is dynamic', () => {
  assert.deepEqual(
    expansions('${a${b}}').map(({ text, dynamic }) => [text, dynamic]),
    [
      ['${b}', false],
      ['${a${b}}', true],
    ],
  );
  assert.deepEqual(
    expansions('$${b} ${c${d}').map(({ text, dynamic }) => [text, dynamic]),
    [
      ['${b}', true],
      ['${d}', false],
      ['${c${d}', true],
    ],
  );
  assert.deepEqual(expansions('${a b} $a {a} ${'), []);
});

test('a word expands from the innermost outwards, and values are expanded too', () => {
  const values: Record<string, string> = {
    a: 'b',
    xb: 'deep',
    evil: '${secret}',
    secret: 'told',
    open: '${',
    brace: '{a}',
  };
  const expand = (word: string) => expandWord(word, ({ name }) => values[name]);
  assert.equal(expand('${x${a}}'), 'deep');
  assert.equal(expand('<${evil}>'), '<told>');
  assert.equal(expand('$${brace}'), 'b');
  assert.equal(expand('${open}a}'), 'b');
  assert.equal(expand('${none}${a}'), 'b');
  assert.equal(expand('}${a'), '}${a');
});

test('a value that holds itself is an end, not a hang', () => {
  assert.throws(() => expandWord('${a}', () => '${a}'), /without end/);
  assert.throws(() => expandWord('${a}', () => 'x${a}${a}'.repeat(40)), Malformed);
});

test('a value never adds words, commands or comments', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme-ascii' }), (value) => {
      fc.pre(!value.includes('${'));
      const [command] = splitCommands('kernel ${filename}').commands;
      assert.equal(command?.words.map((word) => expandWord(word, () => value)).length, 2);
    }),
  );
});

test('writing and reading are inverse', () => {
  const line = fc.string({ unit: fc.constantFrom(...'abc ${}/:|&;#\\\r\t\xe9') });
  fc.assert(
    fc.property(fc.array(line, { maxLength: 20 }), (raws) => {
      fc.pre(raws.every((raw) => !/[\r\\]$/.test(raw)));
      const written = encodeIpxeScript(['#!ipxe', ...raws].map((raw) => ({ raw })));
      const read = parseIpxeScript(written);
      assert.deepEqual(
        read.lines.slice(1).map(({ raw }) => raw),
        raws,
      );
      assert.deepEqual(encodeIpxeScript(read.lines), written);
    }),
  );
});

test('a line that could not be read back is not written', () => {
  for (const raw of ['a\nb', 'a\0', 'a\\', 'a\r', '\u20ac']) {
    assert.throws(() => encodeIpxeScript([{ raw: '#!ipxe' }, { raw }]), Malformed);
  }
});

test('any bytes are a script or Malformed, and nothing else', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (tail) => {
      const whole = Buffer.concat([Buffer.from('#!ipxe\n'), tail]);
      try {
        parseIpxeScript(new Uint8Array(whole));
      } catch (error) {
        assert.ok(error instanceof Malformed);
      }
    }),
  );
});
