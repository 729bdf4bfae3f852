import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Passed } from '../../src/scripts/passed.ts';

it('what had no finding is not linted again, and whatever differs is', () => {
  const passed = new Passed();
  let linted = 0;
  const lint = (asked: unknown, text: string, findings: string[] = []) =>
    passed.lint(asked, Buffer.from(text), () => {
      linted += 1;
      return findings;
    });
  assert.deepEqual(lint(['boot.site', []], 'a script'), []);
  assert.deepEqual(lint(['boot.site', []], 'a script', ['asked again']), []);
  assert.equal(linted, 1);
  // Another text, another signer, another permit, and a text that continues what was asked.
  for (const [asked, text] of [
    [['boot.site', []], 'a scripT'],
    [['boot.other', []], 'a script'],
    [['boot.site', ['menu']], 'a script'],
    ['', '["boot.site",[]]\0a script'],
  ] as const)
    assert.deepEqual(lint(asked, text, ['found']), ['found'], JSON.stringify([asked, text]));
  assert.equal(linted, 5);
});

it('what had a finding has it each time', () => {
  const passed = new Passed();
  for (const findings of [['one'], ['one', 'two']])
    assert.deepEqual(
      passed.lint('release', Buffer.from('a script'), () => findings),
      findings,
    );
});
