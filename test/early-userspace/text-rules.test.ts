import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { isoSeconds } from '../../src/formats/records/lines.ts';
import { isHost } from '../../src/formats/records/policy-floor.ts';
import { isReleaseId, isSafePath, isSafeSegment } from '../../src/formats/records/safe-path.ts';
import { isCommandLineWord, isOfType } from '../../src/formats/script/cmdline.ts';

/** The rules of a manifest's text, written once for Node and once for busybox, asked about the same texts. */

const script = await readFile(new URL('../../../early-userspace/verify-manifest', import.meta.url), 'utf8');
const RULES = script.slice(script.indexOf('is_number() {'), script.indexOf('# --- files'));

/** What a function of the script answers for each text: its output where it holds, else `no`. */
function ask(call: string, texts: readonly string[]): string[] {
  const program = `set -f -u\nexport LC_ALL=C\nIFS=' '\n${RULES}
while IFS= read -r text; do
	seconds=yes
	if ${call}; then echo "$seconds"; else echo no; fi
done`;
  const output = execFileSync('/bin/busybox', ['sh', '-c', program], {
    input: Buffer.from(texts.map((text) => `${text}\n`).join(''), 'latin1'),
    maxBuffer: 2 ** 26,
  });
  return output.toString('latin1').split('\n').slice(0, -1);
}

function demandSame(call: string, texts: fc.Arbitrary<string>, judge: (text: string) => boolean): void {
  // One process for all of them.
  const asked = fc.sample(texts, 3000).filter((text) => !/[\0\n]/.test(text));
  const wanted = asked.map((text) => (judge(text) ? 'yes' : 'no'));
  assert.deepEqual(
    ask(call, asked).map((answer, index) => [asked[index], answer]),
    wanted.map((answer, index) => [asked[index], answer]),
  );
  assert.ok(wanted.includes('yes') && wanted.includes('no'), 'both answers occur');
}

/** Texts of characters that matter, among a few that do not. */
const near = (characters: string, maxLength = 24): fc.Arbitrary<string> =>
  fc.string({ unit: fc.constantFrom(...characters), maxLength });

describe('busybox and Node agree', () => {
  const every = Array.from({ length: 255 }, (_, index) => String.fromCharCode(index + 1));
  const octets = every.filter((character) => character !== '\n');

  for (const [what, call, judge] of [
    ['a word', 'is_word "$text"', isCommandLineWord],
    ['a path segment', 'is_segment "$text"', isSafeSegment],
    ['a path', 'is_path "$text"', isSafePath],
    ['a release', 'is_release "$text"', isReleaseId],
    ['a host', 'is_host "$text"', isHost],
  ] as const) {
    it(`on every byte in ${what}`, () => {
      const texts = octets.flatMap((octet) => [octet, `a${octet}`, `${octet}a`, `a/b${octet}c`]);
      const answers = ask(call, texts);
      for (const [index, text] of texts.entries()) {
        assert.equal(answers[index], judge(text) ? 'yes' : 'no', JSON.stringify(text));
      }
    });

    it(`on what is ${what}`, () => {
      demandSame(call, fc.oneof(near('aA0._-+/@:,=~'), near('aF0:.'), near('a./'), near('a/-[]%*? ')), judge);
    });
  }

  for (const [type, texts] of [
    ['ipv4', fc.oneof(fc.ipV4(), near('0125.', 15), near('0123456789.', 12))],
    [
      'mac',
      fc.oneof(
        near('0aF-:g', 20),
        fc.stringMatching(/^(01-)?[0-9a-fA-F]{2}([-:][0-9a-fA-F]{2}){4,6}$/),
        fc.stringMatching(/^0[12]-[0-9a-f]{2}(-[0-9a-f]{2}){5}$/),
      ),
    ],
    ['dhcp', fc.constantFrom('dhcp', 'DHCP', 'dhcp ', 'dhc', '', 'dhcpp')],
    ['port', fc.oneof(fc.integer({ min: -5, max: 70_000 }).map(String), near('0123456789', 6))],
    [
      'url',
      fc.oneof(
        near('a.:/[]_-+@', 12).map((text) => `http://${text}`),
        fc.webUrl(),
        near('htps:/a', 12),
      ),
    ],
  ] as const) {
    it(`on what is of type ${type}`, () => {
      const both = fc.oneof(
        texts,
        texts.map((text) => `${text}/`),
      );
      demandSame(`is_of_type "$text" ${type}`, both, (text) => isOfType(text, type));
    });
  }

  it('on dates of 1600 years, and on days that do not exist', () => {
    const number = (least: number, most: number, digits: number) =>
      fc.integer({ min: least, max: most }).map((value) => String(value).padStart(digits, '0'));
    const date = fc
      .tuple(number(0, 9999, 4), number(0, 13, 2), number(0, 32, 2), number(0, 24, 2), number(0, 60, 2))
      .map(([year, month, day, hour, minute]) => `${year}-${month}-${day}T${hour}:${minute}:59Z`);
    const days = Array.from({ length: (1600 * 366) / 40 }, (_, index) =>
      isoSeconds(Date.UTC(1600, 0) + index * 40 * 86_400_000),
    );
    const ends = Array.from({ length: 401 * 3 }, (_, index) => {
      const year = String(1800 + Math.floor(index / 3)).padStart(4, '0');
      return `${year}-${['02-28', '02-29', '03-01'][index % 3]}T12:00:00Z`;
    });
    const texts = [...days, ...ends, ...fc.sample(date, 5000)];
    const answers = ask('seconds_of "$text"', texts);
    for (const [index, text] of texts.entries()) {
      const time = Date.parse(text);
      const exists = !Number.isNaN(time) && isoSeconds(time) === text;
      assert.equal(answers[index], exists ? String(time / 1000) : 'no', text);
    }
  });
});
