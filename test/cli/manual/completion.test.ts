import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { Command } from 'commander';
import { wholeProgram } from '../../../src/cli/program.ts';
import { runHere } from '../here.ts';
import { startTyping, type Typing } from './typing.ts';

const folder = mkdtempSync(join(tmpdir(), 'bootseal-completion-'));
after(() => rmSync(folder, { recursive: true, force: true }));
for (const name of ['trees one', 'anchors', 'other/inner'])
  mkdirSync(join(folder, name), { recursive: true });
for (const name of ['request.txt', 'policy.toml']) writeFileSync(join(folder, name), '');

/** Every command, as commander has it. */
function below(
  command: Command,
  words: readonly string[] = [],
): readonly (readonly [readonly string[], Command])[] {
  return [[words, command], ...command.commands.flatMap((inner) => below(inner, [...words, inner.name()]))];
}

const commands = below(await wholeProgram());

/** What is typed of a name so that no other begins with it; undefined where its whole is needed. */
function shortest(name: string, others: readonly string[]): string | undefined {
  for (let length = 1; length < name.length; length++) {
    const begun = name.slice(0, length);
    if (others.filter((other) => other.startsWith(begun)).length === 1) return begun;
  }
  return undefined;
}

/** Each command and each of its options, begun so that it is clear which is meant: what is typed, and what it is. */
const BEGUN = commands.flatMap(([words, command]) => {
  const inner = command.commands.map((one) => one.name());
  const offered = inner.length > 0 ? [...inner, 'help'] : [];
  const options = command
    .createHelp()
    .visibleOptions(command)
    .flatMap(({ long }) => long ?? []);
  return [
    ...inner.map((name) => [name, shortest(name, offered)]),
    ...options.map((name) => [name, shortest(name, options)]),
  ]
    .filter(([, begun]) => begun !== undefined)
    .map(([name = '', begun = '']) => ({ typed: [...words, begun], meant: [...words, name] }));
});

async function completion(shell: string): Promise<string> {
  const path = join(folder, shell === 'zsh' ? '_bootseal' : `bootseal.${shell}`);
  const { code, out, err } = await runHere(['completion', shell]);
  assert.deepEqual([code, err], [0, '']);
  writeFileSync(path, out);
  return path;
}

const scripts = {
  bash: await completion('bash'),
  zsh: await completion('zsh'),
  fish: await completion('fish'),
};

/** Keys that are typed, and the words that they become. */
const TYPED: readonly (readonly [keys: string, words: readonly string[]])[] = [
  ['bootseal ch\t', ['channel']],
  ['bootseal serve --pro\t', ['serve', '--proxydhcp']],
  ['bootseal machines exp\t', ['machines', 'explain']],
  ['bootseal machines --json exp\t', ['machines', '--json', 'explain']],
  ['bootseal seal tr\t', ['seal', 'trees one/']],
  ['bootseal seal an\t --also\tan\t', ['seal', 'anchors/', '--also-keys', 'anchors/']],
  ['bootseal serve --state ot\tin\t --chan\t', ['serve', '--state', 'other/inner/', '--channel']],
  ['bootseal serve --state=an\t', ['serve', '--state=anchors/']],
  ['bootseal policy set pol\t', ['policy', 'set', 'policy.toml']],
  ['bootseal sign-request req\t --keys an\t', ['sign-request', 'request.txt', '--keys', 'anchors/']],
  [
    'bootseal boot http://10.0.0.1:8080/boot.ipxe --mode v\t',
    ['boot', 'http://10.0.0.1:8080/boot.ipxe', '--mode', 'verity'],
  ],
  ['bootseal boot --mode=r\t', ['boot', '--mode=ram']],
  ['bootseal completion z\t', ['completion', 'zsh']],
  ['bootseal help dhcp\t', ['help', 'dhcp-config']],
  ['bootseal manual dhcp\t', ['manual', 'dhcp-config']],
  ['bootseal serve --keyholder-user roo\t', ['serve', '--keyholder-user', 'root']],
  ['bootseal serve --proxydhcp lo\t', ['serve', '--proxydhcp', 'lo']],
];

/** Shells that are typed into, and how each is started with its completion. */
const SHELLS: Readonly<Record<string, readonly [command: string, setup: readonly string[]]>> = {
  bash: ['bash --norc --noprofile -i', [`source ${scripts.bash}`]],
  zsh: ['zsh -f -i', [`fpath=(${folder} $fpath)`, 'autoload -Uz compinit', 'compinit -u -D']],
};

for (const [name, [command, setup]] of Object.entries(SHELLS))
  describe(`completion in ${name}`, () => {
    let shell: Typing;
    it('is read', async () => {
      shell = await startTyping(command, setup, folder);
    });
    for (const [keys, words] of TYPED)
      it(`makes of ${keys.replaceAll('\t', '⇥')} what is meant`, async () => {
        const called = await shell.words(keys);
        assert.deepEqual(called.flatMap(plain), words.flatMap(plain));
      });

    it('knows every command and every option', async () => {
      assert.ok(BEGUN.length > 300, 'the commands were found');
      for (const { typed, meant } of BEGUN)
        assert.deepEqual(await shell.words(`bootseal ${typed.join(' ')}\t`), meant);
    });

    it('ends', () => shell.end());
  });

/** zsh takes the slash behind a folder away again when another word begins, and joins options with what follows. */
function plain(word: string): readonly string[] {
  const [, option, value = word] = /^(--[a-z-]+)=(.*)$/.exec(word) ?? [];
  return [...(option === undefined ? [] : [option]), value.replace(/\/$/, '')];
}

describe('completion in fish', () => {
  /** What fish offers for each of these lines. */
  function offered(lines: readonly string[]): readonly (readonly string[])[] {
    const script = `source ${scripts.fish}; for line in $argv; complete -C $line; echo .; end`;
    const { stdout, stderr, status } = spawnSync('fish', ['--no-config', '-c', script, ...lines], {
      cwd: folder,
      encoding: 'utf8',
      env: { PATH: process.env.PATH, HOME: folder, LC_ALL: 'C.UTF-8' },
    });
    assert.deepEqual([status, stderr], [0, '']);
    return stdout
      .split(/^\.\n/m)
      .slice(0, -1)
      .map((text) => text.split('\n').flatMap((line) => (line === '' ? [] : [line.replace(/\t.*/, '')])));
  }

  it('offers what is meant', () => {
    const cases: readonly (readonly [line: string, words: readonly string[]])[] = [
      ['bootseal ch', ['channel']],
      ['bootseal serve --pro', ['--proxydhcp']],
      ['bootseal machines --json exp', ['explain']],
      ['bootseal seal tr', ['trees one/']],
      ['bootseal serve --state ot', ['other/']],
      ['bootseal policy set po', ['policy.toml']],
      ['bootseal boot http://10.0.0.1:8080/boot.ipxe --mode ', ['ram', 'verity']],
      ['bootseal completion z', ['zsh']],
      ['bootseal help dhcp', ['dhcp-config']],
      ['bootseal serve --keyholder-user roo', ['root']],
      ['bootseal serve --proxydhcp lo', ['lo']],
      ['bootseal channel list --json --qu', ['--quiet']],
    ];
    const found = offered(cases.map(([line]) => line));
    assert.deepEqual(
      found.map((words, at) => [cases[at]?.[0], words]),
      cases,
    );
  });

  it('knows every command and every option', () => {
    const found = offered(BEGUN.map(({ typed }) => `bootseal ${typed.join(' ')}`));
    assert.deepEqual(
      found,
      BEGUN.map(({ meant }) => [meant.at(-1)]),
    );
  });
});

describe('a completion', () => {
  it('is a clean script', () => {
    for (const [command, args] of [
      ['shellcheck', ['-s', 'bash', scripts.bash]],
      ['zsh', ['-n', scripts.zsh]],
      ['fish', ['-n', scripts.fish]],
    ] as const) {
      const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
      assert.deepEqual([status, stdout, stderr], [0, '', ''], command);
    }
  });

  it('is one of the shells that are known', async () => {
    const { code, out, err } = await runHere(['completion', 'tcsh']);
    assert.deepEqual([code, out], [2, '']);
    assert.match(err, /it is one of bash, zsh, fish/);
  });
});
