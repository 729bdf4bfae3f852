import assert from 'node:assert/strict';
import { it } from 'node:test';
import { ConsoleText, expectAbsent, expectMilestones, findMilestone } from '../../lab/console.ts';

/** GRUB on a busy machine: the cursor is put elsewhere after the first letter of a sentence, and comes back. */
const PAINTED = '\x1b[24;1HR\x1b[25;1HEFUSED: the script key 36528cc7f52a6b8b is still\x1b[1;1H trusted.\r\n';

function onScreen(raw: string): string {
  const screen = new ConsoleText();
  for (const letter of raw) screen.push(letter);
  return screen.text;
}

it('finds a sentence and a pattern where the screen broke them', () => {
  const text = onScreen(PAINTED);
  assert.match(text, /^R\nEFUSED/);
  const found = text.trimEnd().length;
  for (const milestone of [
    'REFUSED: the script key 36528cc7f52a6b8b is still trusted.',
    /REFUSED: the script key [0-9a-f]{16} is still trusted\./,
    /(?:REFUSED|refused): the .* is still (?=trusted)trust(ed)?\./,
    /Refused: +the script key [0-9a-f]+? is/i,
  ])
    assert.ok(findMilestone(text, milestone) > found / 2, String(milestone));
  assert.throws(() => expectAbsent(text, [/REFUSED: the script key \w+/]), /which it must not/);
});

it('finds nothing that is not there, takes every sign of a sentence for itself, and keeps an order', () => {
  const text = 'kernel (a.b) [1]\nsecond line\n';
  expectMilestones(text, ['kernel (a.b) [1]', /second\sline/, /$/]);
  for (const milestone of ['kernel (axb)', 'kernel second', /kernel.*second/, /^second/, /[0-9a-f]{3}/])
    assert.equal(findMilestone(text, milestone), -1, String(milestone));
  assert.throws(() => expectMilestones(text, ['second', 'kernel']), /never showed “kernel”/);
});
