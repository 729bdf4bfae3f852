import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Malformed } from '../../../src/errors/malformed.ts';
import { decodeBootReport, encodeBootReport, MAX_REPORT } from '../../../src/formats/records/boot-report.ts';
import { REPORT_NONCE, reportVectors } from '../../fixtures/report-vectors.ts';

const decode = (text: string) => decodeBootReport(Buffer.from(text, 'latin1'));
const [{ text: VERIFIED }, , { text: REFUSED }] = reportVectors as unknown as [
  { text: string },
  unknown,
  { text: string },
];

describe('a report of a boot', () => {
  for (const { name, report, text } of reportVectors) {
    it(`is written in one way: ${name}`, () => {
      assert.equal(encodeBootReport(report), text);
      // What was cut and replaced stays so.
      assert.equal(encodeBootReport(decode(text)), text);
      assert.deepEqual(decode(`${text}\n`), decode(text));
      assert.equal(decode(text).outcome, report.outcome);
    });

    it(`is taken whole, and cut at no length: ${name}`, () => {
      for (let length = 0; length < text.length; length += 1)
        assert.throws(() => decode(text.slice(0, length)), Malformed);
      assert.throws(() => decode(`${text}x`), Malformed);
    });
  }

  it('is at most as long as a server takes, however much is escaped', () => {
    const longest = encodeBootReport({
      ...{ mac: '52:54:00:12:34:56', nonce: REPORT_NONCE, once: '0123456789abcdef', outcome: 'refused' },
      ...{ code: 'wrong-command-line', message: '\\'.repeat(600) },
      ...{ release: `${'a'.repeat(250)}/${'b'.repeat(250)}`, root: 'verity' },
      lines: Array.from({ length: 25 }, () => '"'.repeat(200)),
    });
    assert.ok(longest.length < MAX_REPORT, String(longest.length));
  });

  for (const [what, text] of [
    ['a key twice', VERIFIED.replace('{', '{"mac":"52:54:00:12:34:57",')],
    ['a key more', VERIFIED.replace('}', ',"state":"armed"}')],
    ['another order', VERIFIED.replace(/"release":"[^"]*",("root":"verity")/, '$1,"release":"arch/1"')],
    ['a blank', VERIFIED.replace(',', ', ')],
    ['an escape that is none', REFUSED.replace('started', '\\u0073tarted')],
    ['a slash that is escaped', VERIFIED.replace('arch/', 'arch\\/')],
    ['another outcome', VERIFIED.replace('"verified"', '"armed"')],
    ['no release', VERIFIED.replace(/"release":"[^"]*",/, '')],
    ['a release that is none', VERIFIED.replace('arch/2026.11.01', 'arch/../x')],
    ['a mode that there is not', VERIFIED.replace('"verity"', '"none"')],
    ['lines of a boot that was verified', VERIFIED.replace('}', ',"lines":[]}')],
    ['a code that there is not', REFUSED.replace('"unreachable"', '"bad-luck"')],
    ['no message', REFUSED.replace(/"message":"[^"]*"/, '"message":""')],
    ['a message that is too long', REFUSED.replace(/"message":"[^"]*"/, `"message":"${'x'.repeat(513)}"`)],
    ['a line that is too long', REFUSED.replace(/"lines":\[/, `"lines":["${'x'.repeat(129)}",`)],
    ['too many lines', REFUSED.replace(/"lines":\[/, `"lines":[${'"x",'.repeat(20)}`)],
    ['a line that is none', REFUSED.replace(/"lines":\[/, '"lines":[7,')],
    ['no lines', REFUSED.replace(/,"lines":.*/, '}')],
    ['a control character', REFUSED.replace('started', '\x1bstarted')],
    ['a byte of eight bits', REFUSED.replace('started', '\xe4started')],
    ['another address', VERIFIED.replace('52:54', '52-54')],
    ['a card of a group', VERIFIED.replace('52:54', '53:54')],
    ['a nonce that is none', VERIFIED.replace(REPORT_NONCE, 'A'.repeat(32))],
    ['an arming that is none', VERIFIED.replace('"outcome"', '"once":"1","outcome"')],
    ['a list', '[]'],
    ['nothing', 'null'],
    ['a number', '7'],
    ['nesting', '['.repeat(8000)],
    ['more than a report may have', `${VERIFIED}${' '.repeat(MAX_REPORT)}`],
  ] as const) {
    it(`is refused with ${what}`, () => {
      assert.ok(![VERIFIED, REFUSED].includes(text), 'it was changed');
      assert.throws(() => decode(text), Malformed);
    });
  }
});
