import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const FOLDER = fileURLToPath(new URL('../../../early-userspace/', import.meta.url));
const scripts = readdirSync(FOLDER).filter((name) => !name.startsWith('.'));

describe('every script of early userspace', () => {
  it('is among those that are looked at', () => {
    assert.ok(scripts.includes('init') && scripts.includes('verify-manifest'));
  });

  for (const name of scripts) {
    it(`${name} is POSIX sh without a fault that ShellCheck knows`, () => {
      const { status, stdout } = spawnSync('shellcheck', ['--shell=sh', '--format=gcc', name], {
        cwd: FOLDER,
        encoding: 'utf8',
      });
      assert.equal(stdout, '');
      assert.equal(status, 0);
    });

    it(`${name} is read by busybox`, () => {
      const { status, stderr } = spawnSync('/bin/busybox', ['sh', '-n', name], {
        cwd: FOLDER,
        encoding: 'utf8',
      });
      assert.equal(stderr, '');
      assert.equal(status, 0);
    });
  }
});
