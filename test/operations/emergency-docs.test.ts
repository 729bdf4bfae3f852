import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { renewChannel } from '../../src/publish/channel.ts';
import { publish } from '../../src/publish/publish.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { sampleTree, sealFixture } from '../fixtures/release.ts';

/** What docs/emergency.md and docs/backup.md tell people to type is typed here, in their order. */

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const MAIN = join(ROOT, 'dist/src/cli/main.js');
const folder = await temporaryFolder();
const now = Date.now();
const keys = await makeKeys(join(folder, 'keys'), { now });
const anchors = join(keys, 'anchors');
const state = join(folder, 'srv');

async function released(version: string): Promise<string> {
  const tree = await sampleTree(join(folder, `tree-${version}`), keys);
  writeFileSync(join(tree, 'arch/boot/x86_64/vmlinuz-linux'), `MZ kernel ${version}\0`);
  await sealFixture(tree, keys, {
    now,
    release: `arch/${version}`,
    serial: Number(version.replaceAll('.', '')),
  });
  return tree;
}

/** The commands of a section, each a line that is set as code. */
function commandsOf(page: string, section: string): string[] {
  const text = readFileSync(join(ROOT, 'docs', page), 'utf8');
  const [, body = ''] = text.split(`## ${section}\n`);
  const [mine = ''] = body.split('\n## ');
  return mine.split('\n').flatMap((line) => (line.startsWith('    ') ? [line.trim()] : []));
}

/** Types them into a shell. */
function type(commands: readonly string[], words: Readonly<Record<string, string>>): string {
  assert.ok(commands.length > 0, 'the page has commands');
  const typed = commands.map((line) =>
    Object.entries(words).reduce((text, [from, to]) => text.replaceAll(from, to), line),
  );
  const script = `set -eu\nbootseal() { ${process.execPath} ${MAIN} "$@"; }\n${typed.join('\n')}\n`;
  const { status, stdout, stderr } = spawnSync('bash', ['-c', script], { encoding: 'utf8', cwd: folder });
  assert.equal(status, 0, `${script}\n${stdout}\n${stderr}`);
  return stdout;
}

const places = {
  '/srv/bootseal': state,
  '/backup': join(folder, 'backup'),
  '/elsewhere': join(folder, 'elsewhere'),
};

it('a bad release is withdrawn, and the channel goes back', async () => {
  for (const version of ['2026.11.01', '2026.11.02']) {
    const { refusal } = await publish({
      tree: await released(version),
      channel: 'stable',
      state,
      anchors,
      now,
      rsaBits: 2048,
    });
    assert.equal(refusal, undefined);
  }
  const said = type(commandsOf('emergency.md', 'A release is bad'), places);
  assert.match(said, /^arch\/2026\.11\.02 is withdrawn: new boots end\.$/m);
  assert.match(said, /^stable still names it, and offers nothing until it moves/m);
  assert.match(said, /^stable +\S+ +arch\/2026\.11\.01 .* verified/m);
});

it('a state goes on from its backup, above what others saw', async () => {
  await mkdir(join(folder, 'backup'));
  await mkdir(join(folder, 'elsewhere'));
  const [copying = '', ...keeping] = commandsOf('backup.md', 'Making one');
  type([copying], places);
  // What happened after the backup, and was seen: snapshot 5, and a longer log.
  for (const later of [1, 2]) await renewChannel({ channel: 'stable', state, now: now + later });
  type(keeping, places);
  const seen = JSON.parse(readFileSync(join(folder, 'elsewhere/channels.json'), 'utf8'));
  assert.equal(seen.channels[0].snapshot.counter, 5);
  renameSync(state, join(folder, 'lost'));

  const said = type(commandsOf('backup.md', 'Going on'), { ...places, '--after 41': '--after 5' });
  assert.match(said, /^The log has \d+ entries; 2 that others saw are lost, and it says so\.$/m);
  assert.match(said, /snapshot 6, until/);
  const shown = spawnSync(process.execPath, [MAIN, 'log', 'show', '--state', state], { encoding: 'utf8' });
  assert.match(shown.stdout, /restore-state[\s\S]*lost[\s\S]*lost[\s\S]*renew/);
  // Whoever kept a checkpoint of what was lost is told.
  const since = ['--since', join(folder, 'elsewhere/checkpoint')];
  const checked = spawnSync(process.execPath, [MAIN, 'log', 'check', '--state', state, ...since], {
    encoding: 'utf8',
  });
  assert.equal(checked.status, 1);
  assert.match(checked.stderr, /says that the log was restored from a backup/);
  // Run twice it says nothing twice.
  const restore = ['state', 'restore', '--state', state, '--after', '5', '--checkpoint'];
  const again = spawnSync(
    process.execPath,
    [MAIN, ...restore, join(folder, 'elsewhere/checkpoint'), '--json'],
    {
      encoding: 'utf8',
    },
  );
  assert.deepEqual([again.status, JSON.parse(again.stdout).changed], [0, false]);
});
