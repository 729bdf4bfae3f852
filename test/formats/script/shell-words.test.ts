import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { isCommandLineWord } from '../../../src/formats/script/cmdline.ts';
import { isShellName, isShellWord, SHELL_WORDS } from '../../../src/formats/script/shell-words.ts';

/** What each layout forbids stands in test/fixtures/manifest-vectors-grammar.ts, which two readers answer. */

const SCRIPT = new URL('../../../../early-userspace/verify-manifest', import.meta.url);

describe('the table of words that open a shell', () => {
  it('is the one that machines have, line for line', () => {
    const [, theirs] = /^shell_words='([^']*)'$/m.exec(readFileSync(SCRIPT, 'latin1')) ?? [];
    assert.equal(theirs, SHELL_WORDS);
  });

  it('is sorted, and holds nothing that means more to a shell than it does here', () => {
    const lines = SHELL_WORDS.slice(1, -1).split('\n');
    const ranks = lines.map((line) => line.split(' ').slice(0, 1).join());
    assert.deepEqual(ranks, [...ranks].sort());
    for (const line of lines) {
      const [layout = '', act = '', ...patterns] = line.split(' ');
      assert.match(layout, /^(\*|[a-z0-9][a-z0-9-]*)$/);
      assert.notEqual(layout, 'plain');
      assert.match(act, /^(forbid|allow)$/);
      assert.ok(patterns.length > 0, line);
      for (const pattern of patterns) {
        assert.ok(isCommandLineWord(pattern.replaceAll('*', 'x')) && !/[[\]]/.test(pattern), pattern);
      }
    }
  });

  it('allows only what it forbids without that', () => {
    for (const line of SHELL_WORDS.slice(1, -1).split('\n')) {
      const [layout = '', act, ...patterns] = line.split(' ');
      const of = layout === '*' ? 'strange' : layout;
      for (const pattern of act === 'allow' ? patterns : []) {
        const word = pattern.replaceAll('*', 'x');
        assert.equal(isShellWord(word, of), false, word);
        assert.equal(isShellName(word.replace(/=.*/, ''), of), true, word);
        assert.equal(isShellWord(`${word}..`, of), true, word);
      }
    }
  });

  it('reads a star as any text and nothing else as more than itself', () => {
    assert.equal(isShellWord('boot.debug1', 'nixos'), true);
    assert.equal(isShellWord('bootxdebug1', 'nixos'), false);
    assert.equal(isShellWord('init=/nix/store/init', 'nixos'), true, 'a star is not the slash of two');
    assert.equal(isShellWord('init=/nix/store//init', 'nixos'), false);
    assert.equal(isShellWord('rd.systemd.pull=verify=no', 'systemd'), true);
    assert.equal(isShellWord('rd.systemd.pull=verify=n', 'systemd'), false);
    assert.equal(isShellName('rd.systemd.pull', 'systemd'), true);
    assert.equal(isShellName('rd.systemd.pull', 'archiso'), false);
  });
});
