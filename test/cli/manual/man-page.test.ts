import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { COMMANDS } from '../../../src/cli/command-table.ts';
import { wholeProgram } from '../../../src/cli/program.ts';
import { run } from '../command.ts';
import { runHere } from '../here.ts';

const folder = mkdtempSync(join(tmpdir(), 'bootseal-manual-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const { code, err } = await run(['manual', '--out', folder], { env: { SOURCE_DATE_EPOCH: '1793491200' } });
assert.deepEqual([code, err], [0, '']);
const pages = readdirSync(folder).sort();

/** A foreign tool's words, which must be none but for what it was asked for. */
function said(command: string, args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, LC_ALL: 'C.UTF-8', MANWIDTH: '100' },
  });
  assert.deepEqual([status, stderr], [0, ''], `${command} ${args.join(' ')}`);
  return stdout;
}

describe('manual pages', () => {
  it('are one for each command, and one for all', () => {
    const names = ['bootseal', ...Object.keys(COMMANDS).map((name) => `bootseal-${name}`)];
    assert.deepEqual(pages, names.map((name) => `${name}.1`).sort());
  });

  it('are what groff and mandoc have no word against', () => {
    for (const page of pages) {
      const path = join(folder, page);
      said('man', ['--warnings', '-E', 'UTF-8', '-l', '-Tutf8', '-Z', path]);
      assert.equal(said('mandoc', ['-Tlint', '-W', 'warning', path]), '');
    }
  });

  it('are found by what they are about', () => {
    for (const page of pages)
      assert.match(said('lexgrog', [join(folder, page)]), /: "bootseal[a-z-]* - \S/, page);
  });

  it('show every command below, and every option as it is typed', async () => {
    for (const command of (await wholeProgram()).commands) {
      const shown = said('man', ['-E', 'UTF-8', '-l', join(folder, `bootseal-${command.name()}.1`)]);
      for (const one of [command, ...command.commands]) {
        if (one !== command) assert.match(shown, new RegExp(`^ {3}${command.name()} ${one.name()}$`, 'm'));
        for (const { long, short } of one.createHelp().visibleOptions(one))
          assert.match(shown, new RegExp(`^ {7}.*${long ?? short}\\b`, 'm'), one.name());
      }
    }
  });

  it('name every variable that the program reads', () => {
    const page = said('man', ['-E', 'UTF-8', '-l', join(folder, 'bootseal.1')]);
    const source = readdirSync('src', { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts') && !name.includes('cli/manual/'))
      .map((name) => readFileSync(join('src', name), 'utf8'))
      .join('\n');
    const read = new Set(source.match(/\b(BOOTSEAL_[A-Z]+|SOURCE_DATE_EPOCH|XDG_STATE_HOME|NO_COLOR)\b/g));
    assert.ok(read.size >= 7, 'they were found');
    for (const name of read) assert.match(page, new RegExp(`^ +${name}$`, 'm'));
  });

  it('bear the date that they are told, and are the same at any time', () => {
    const page = readFileSync(join(folder, 'bootseal.1'), 'utf8');
    assert.match(page, /^\.TH BOOTSEAL 1 2026-11-01 "Bootseal [0-9.]+"/);
    assert.doesNotMatch(page, /[^\n\x20-\x7e]/);
  });
});

describe('bootseal manual', () => {
  it('prints one page', async () => {
    const serve = await runHere(['manual', 'serve']);
    assert.equal(serve.code, 0);
    assert.match(serve.out, /^\.TH BOOTSEAL\\-SERVE 1 /);
    assert.match((await runHere(['manual'])).out, /^\.TH BOOTSEAL 1 /);
    const { name, lines } = JSON.parse((await runHere(['manual', 'seal', '--json'])).out) as {
      name: string;
      lines: string[];
    };
    assert.deepEqual([name, lines.at(1)], ['bootseal-seal', '.SH NAME']);
  });

  it('says where there is none', async () => {
    const { code: status, out, err: said } = await runHere(['manual', 'frobnicate']);
    assert.deepEqual([status, out], [2, '']);
    assert.match(said, /There is no command "frobnicate"/);
  });
});
