// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is how iPXE writes a setting
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Played, play, SERVER } from './emulated.ts';

/** What a script costs its reader is bounded, however few its lines and steps are. */

/** `a` holds 60 kilobytes after eleven lines. */
const DOUBLED = `set a ${'x'.repeat(60)}\n${'set a ${a}${a}\n'.repeat(10)}`;
const words = (count: number): string => Array(count).fill('${a}').join(' ');

function demandStopped({ outcome }: Played, reason: RegExp): void {
  assert.equal(outcome.kind, 'refused');
  assert.match(outcome.kind === 'refused' ? outcome.reason : '', reason);
  assert.equal('refusal' in outcome && outcome.refusal?.code, 'unsafe-script');
}

const LINE = /one line expands to more than 262144 bytes/;
const RUN = /the script expands to more than 4194304 bytes/;

/** Each is worth more than the budget many times over. */
const COSTLY: readonly [string, string, RegExp][] = [
  ['a line of many long words', `${DOUBLED}isset ${words(1000)} ||`, LINE],
  ['a word that grows and shrinks', `${DOUBLED}isset ${'${a:uuid}'.repeat(100)} ||`, LINE],
  ['a loop of long words', `${DOUBLED}:l\nisset \${a} ||\ngoto l`, RUN],
  ['a loop of values that no type can show', `${DOUBLED}:l\nisset \${a:uuid} ||\ngoto l`, RUN],
  ['a loop of literal text', `:l\necho ${'x'.repeat(60_000)}\ngoto l`, RUN],
  ['a comment that is gone over again and again', `:l\n# ${'x'.repeat(60_000)}\ngoto l`, RUN],
  ['a menu that is shown again and again', menu('x'.repeat(2000), 25), RUN],
];

function menu(text: string, items: number): string {
  const lines = Array.from({ length: items }, (_, index) => `item i${index} ${text}`);
  return ['menu', ...lines, ':l', 'choose --keep --timeout 1 x', 'goto l'].join('\n');
}

for (const [name, script, reason] of COSTLY) {
  test(`${name} is stopped and refused`, async () => {
    const played = await play(script);
    demandStopped(played, reason);
    assert.ok(played.console.length < 5_000_000);
  });
}

test('a script that is chained again and again is stopped and refused', async () => {
  const next = `#!ipxe\n${'\n'.repeat(60_000)}`;
  const played = await play(`imgfetch ${SERVER}/next\n:l\nchain next\ngoto l`, {
    files: { [`${SERVER}/next`]: next },
  });
  demandStopped(played, RUN);
});

test('a value that iPXE’s heap could not hold is not stored', async () => {
  const files = { [`${SERVER}/big`]: 'x'.repeat(65_537), [`${SERVER}/fits`]: 'x'.repeat(65_536) };
  const fits = await play(`imgset a ${SERVER}/fits && isset \${a} && exit 5`, { files });
  assert.equal(fits.outcome.kind === 'exit' && fits.outcome.status, 5);
  const big = await play(`imgset a ${SERVER}/big || isset \${a} || exit 6`, { files });
  assert.match(big.console, /Could not store "a": Not enough space/);
  assert.equal(big.outcome.kind === 'exit' && big.outcome.status, 6);
});

test('an honest loop runs as long as it did', async () => {
  const { console } = await play(
    ':l\ninc n\necho Try ${n:int32} of 2000: ${net0/mac}\niseq ${n} 2000 || goto l',
  );
  assert.match(console, /Try 2000 of 2000: 52:54:00:12:34:56\n/);
});

test('a line that is printed in pieces is one line', async () => {
  const { console, events } = await play('echo -n a\necho -n b ${:x}\necho c\necho d');
  assert.match(console, /^ab c\nd\n/);
  assert.deepEqual(
    events.flatMap((event) => (event.kind === 'console' ? [event.text] : [])),
    ['ab c', 'd'],
  );
});
