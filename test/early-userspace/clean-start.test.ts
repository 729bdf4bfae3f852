import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { temporaryFolder } from '../fixtures/folder.ts';
import { hostileEnvironment, ODD_NAMES } from '../fixtures/hostile-environment.ts';

/** Programs of the overlay begin in an environment that nobody outside has a word in. */

const FOLDER = fileURLToPath(new URL('../../../early-userspace/', import.meta.url));
const folder = await temporaryFolder();
const programs = readdirSync(FOLDER).filter((name) => read(name).startsWith('#!'));

function read(name: string): string {
  return readFileSync(join(FOLDER, name), 'utf8');
}

const statements = (text: string): string[] =>
  text.split('\n').filter((line) => line && !line.startsWith('#'));

/** A program of three lines that shows what it was given, on a machine whose `/bootseal` is the folder. */
function start(environment: NodeJS.ProcessEnv, args: readonly string[], before = '') {
  const bootseal = join(folder, 'bootseal');
  const here = (text: string) =>
    text.replaceAll('/bootseal/bin/busybox', '/bin/busybox').replaceAll('. /bootseal/', `. ${folder}/`);
  writeFileSync(join(folder, 'clean-start'), here(read('clean-start')));
  const shown = `printf '%s\\n' "$0" "$$" "$@"\nread -r line\necho "$line"\necho descriptor >&7\n/bin/busybox env\nexit 5\n`;
  writeFileSync(bootseal, here(`${before}. /bootseal/clean-start\n${shown}`));
  const { pid, status, stdout, stderr, output } = spawnSync('/bin/busybox', ['sh', bootseal, ...args], {
    cwd: folder,
    env: environment,
    encoding: 'utf8',
    input: 'from standard input\n',
    stdio: ['pipe', 'pipe', 'pipe', 'ignore', 'ignore', 'ignore', 'ignore', 'pipe'],
  });
  assert.equal(stderr, '');
  assert.equal(output[7], 'descriptor\n');
  assert.equal(status, 5);
  const lines = stdout.trimEnd().split('\n');
  const given = lines.indexOf('from standard input');
  // It is the same process, as PID 1 must be.
  assert.deepEqual(lines.slice(0, 2), [bootseal, String(pid)]);
  assert.ok(given >= 2);
  return { args: lines.slice(2, given), environment: lines.slice(given + 1).sort() };
}

const CLEAN = ['LC_ALL=C', 'PATH=/bootseal/bin:/bootseal/applets'];

describe('a program of the overlay', () => {
  it('is one of those that are looked at', () => {
    assert.deepEqual(programs, [
      'dhcp-answer',
      'enter-root',
      'halt-machine',
      'init',
      'keep-nbd',
      'verify-manifest',
      'watch-root',
    ]);
  });

  for (const name of programs) {
    if (name === 'verify-manifest') continue;
    it(`${name} begins with clean-start`, () => {
      const [first = '', second] = statements(read(name));
      // It keeps what the DHCP client gave it.
      assert.equal(name === 'dhcp-answer' ? second : first, '. /bootseal/clean-start');
      if (name === 'dhcp-answer')
        assert.match(first, /^\[ "\$#" -gt 1 \] \|\| set -- "\$1"( "\$\{[a-z]+-\}"){5}$/);
    });
  }

  it('verify-manifest, which stands alone as well, does the same itself', () => {
    const loop = /^for line in \$\(export -p\); do\n.*?^done\n/ms;
    assert.equal(loop.exec(read('verify-manifest'))?.[0], loop.exec(read('clean-start'))?.[0]);
  });

  it('starts again without what the kernel made of the command line', () => {
    const words = {
      HOME: '/',
      TERM: 'linux',
      LD_PRELOAD: '/x',
      PATH: '/evil',
      IFS: 'x',
      ENV: '/x',
      again: 'no',
      OPTIND: '2',
    };
    assert.deepEqual(start(words, ['a  b', '', '*', '--', '$x']), {
      args: ['a  b', '', '*', '--', '$x'],
      environment: CLEAN,
    });
  });

  for (const [name, value] of Object.entries({ ...hostileEnvironment(folder), ...ODD_NAMES })) {
    it(`keeps nothing of ${JSON.stringify(name)}`, () => {
      // Also where the rest is as it should be.
      const environment = { LC_ALL: 'C', PATH: '/bootseal/bin:/bootseal/applets', [name]: value };
      assert.deepEqual(start(environment, ['x']), { args: ['x'], environment: CLEAN });
    });
  }

  it('keeps nothing of all of them', () => {
    const environment = { ...hostileEnvironment(folder), ...ODD_NAMES };
    assert.deepEqual(start(environment, ['x']), { args: ['x'], environment: CLEAN });
  });

  it('goes on where there is nothing but the two', () => {
    const environment = { LC_ALL: 'C', PATH: '/bootseal/bin:/bootseal/applets' };
    assert.deepEqual(start(environment, []), { args: [], environment: CLEAN });
  });

  it('takes out what a shell would make itself', () => {
    const environment = {
      LC_ALL: 'C',
      PATH: '/bootseal/bin:/bootseal/applets',
      OLDPWD: '/evil',
      SHLVL: '7',
      _: '/evil',
    };
    assert.deepEqual(start(environment, []).environment, CLEAN);
  });

  it('has its DHCP answer as arguments', () => {
    const [first = ''] = statements(read('dhcp-answer'));
    const answer = {
      interface: 'eth0',
      ip: '192.0.2.7',
      dns: '192.0.2.1 192.0.2.2',
      domain: 'evil',
      LD_AUDIT: '/x',
    };
    assert.deepEqual(start(answer, ['bound'], `${first}\n`), {
      args: ['bound', 'eth0', '192.0.2.7', '', '', '192.0.2.1 192.0.2.2'],
      environment: CLEAN,
    });
  });
});
