import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { temporaryFolder } from '../fixtures/folder.ts';

interface Package {
  readonly version: string;
  readonly files: readonly string[];
}
interface Lock {
  readonly packages: Readonly<Record<string, { readonly dev?: boolean }>>;
}

const own = JSON.parse(readFileSync('package.json', 'utf8')) as Package;
const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8')) as Lock;
/** What lies in node_modules of who only runs the program. */
const modules = Object.keys(packages).filter((path) => path !== '' && packages[path]?.dev !== true);

function said(command: string, args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  assert.deepEqual([status, stderr], [0, ''], `${command} ${args.join(' ')}\n${stdout}`);
  return stdout;
}

describe('packages', () => {
  it('have the version of the program', () => {
    assert.equal(
      /^bootseal \((.*)\)/.exec(readFileSync('packaging/debian/changelog', 'utf8'))?.[1],
      own.version,
    );
    assert.equal(/^pkgver=(.*)$/m.exec(readFileSync('packaging/PKGBUILD', 'utf8'))?.[1], own.version);
  });

  it('are made by scripts that shellcheck has no word against', () => {
    said('shellcheck', [
      ...['packaging/build-deb', 'packaging/install-tree', 'lab/debian-system/start'],
      ...readdirSync('packaging/debian')
        .filter((name) => /\.(pre|post)(inst|rm)$/.test(name))
        .map((name) => join('packaging/debian', name)),
    ]);
    // What makepkg reads out of it, gives it, and does where a line of it fails.
    said('shellcheck', ['--shell=bash', '--exclude=SC2034,SC2154,SC2164', 'packaging/PKGBUILD']);
  });
});

describe('what a package lays out', async () => {
  const root = await temporaryFolder();
  said('packaging/install-tree', [root]);
  const home = join(root, 'usr/lib/bootseal');

  it('has all that the program reads', () => {
    assert.equal(said(join(root, 'usr/bin/bootseal'), ['--version']), `${own.version}\n`);
    for (const part of own.files.filter((one) => !one.startsWith('packaging/'))) {
      const place = /^(docs|CHANGELOG)/.test(part) ? join(root, 'usr/share/doc/bootseal') : join(home, part);
      assert.ok(existsSync(place), part);
    }
    for (const folder of ['early-userspace', 'ipxe-scripts', 'certs', 'src/web/assets'])
      for (const name of readdirSync(folder))
        assert.deepEqual(readFileSync(join(home, folder, name)), readFileSync(join(folder, name)), name);
  });

  it('has the modules that run, whole, and no other', () => {
    assert.ok(modules.length > 90, 'they were found');
    for (const path of modules) assert.ok(existsSync(join(home, path, 'package.json')), path);
    const found = readdirSync(join(home, 'node_modules'), { recursive: true, encoding: 'utf8' })
      .filter((path) => /(^|node_modules\/)(@[^/]+\/)?[^@/][^/]*\/package\.json$/.test(path))
      .map((path) => join('node_modules', path, '..'));
    assert.deepEqual(found.sort(), [...modules].sort());
    const program = join(home, 'dist/src');
    // Whatever it imports, at its start or later; a thread's own file begins to work where it is loaded, as the command does.
    const all = readdirSync(program, { recursive: true, encoding: 'utf8' }).filter(
      (name) => name.endsWith('.js') && name !== 'cli/main.js' && !name.endsWith('-worker.js'),
    );
    assert.ok(all.length > 800, 'they were found');
    const loads = `for (const file of ${JSON.stringify(all)}) await import(${JSON.stringify(`${program}/`)} + file);`;
    assert.equal(said(process.execPath, ['--input-type=module', '--eval', loads]), '');
  });

  it('says of each module under which licence it is', () => {
    const paragraphs = said('packaging/module-licences', [home])
      .split(/^(?=Files: usr\/lib)/m)
      .slice(1);
    assert.equal(paragraphs.length, modules.length);
    for (const paragraph of paragraphs)
      assert.match(paragraph, /^Files: \S+\nCopyright: \S.*\n(?: {11}.*\n)*License: \S/);
  });

  it('belongs to everybody to read, and to one to write', () => {
    for (const name of readdirSync(root, { recursive: true, encoding: 'utf8' })) {
      const { mode } = statSync(join(root, name));
      assert.equal(mode & 0o022, 0, name);
      assert.equal(mode & 0o444, 0o444, name);
    }
  });
});
