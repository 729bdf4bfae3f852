import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { run } from './command.ts';
import { runHere } from './here.ts';

/** The commands that a help lists, without the one that is commander's own. */
function listed(help: string): string[] {
  const [, commands = ''] = help.split('\nCommands:\n');
  return [...commands.matchAll(/^ {2}([a-z-]+)(?= |$)/gm)]
    .map(([, name]) => name ?? '')
    .filter((name) => name !== 'help');
}

/** Checks a command's help, and those of the commands below it. */
async function assertHelp(words: readonly string[]): Promise<string[]> {
  const command = words.join(' ');
  const { code, out, err } = await runHere([...words, '--help']);
  assert.deepEqual([code, err], [0, ''], command);
  const [help = '', example = ''] = out.split('\nExample:\n');
  assert.match(example.trim(), new RegExp(`^bootseal ${command}( |$)`), command);
  // The example of a group of commands is one of theirs.
  const inner = listed(help).find((name) => example.trim().startsWith(`bootseal ${command} ${name}`));
  const meant = inner === undefined ? help : (await runHere([...words, inner, '--help'])).out;
  for (const [flag] of example.matchAll(/--[a-z-]+/g))
    assert.match(meant, new RegExp(`${flag}[ ,]`), `${command}: the example uses ${flag}`);
  for (const flag of ['--json', '--quiet']) assert.match(help, new RegExp(flag), command);
  const below: string[] = [];
  for (const name of listed(help)) below.push(...(await assertHelp([...words, name])));
  return [command, ...below];
}

describe('help', () => {
  it('of every command has an example, whose every flag is one of its options', async () => {
    const top = listed((await run(['--help'])).out);
    const checked = (await Promise.all(top.map((name) => assertHelp([name])))).flat();
    const ours = [
      'init',
      'seal',
      'verify',
      'serve',
      'boot',
      'loaders',
      'loaders grub',
      'loaders embedded',
      'demo',
    ];
    for (const command of ours) assert.ok(checked.includes(command), command);
  });

  it('is what a call without any word gets, and that is no success', async () => {
    const { code, err } = await run([]);
    assert.equal(code, 2);
    assert.match(err, /^Usage: bootseal/);
  });

  it('tells the version of the package', async () => {
    const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string };
    assert.deepEqual(await run(['--version']), { code: 0, out: `${version}\n`, err: '' });
  });
});
