import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { repositoryRoot } from '../../lab/cache.ts';
import { LAYOUTS } from '../../src/release/layouts/all.ts';
import { whoVerifies } from '../../src/release/who-verifies.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { LAYOUT_TREES, named } from '../fixtures/layout-trees.ts';
import { INITRD, KERNEL, ROOTFS, sealFixture, writeTree } from '../fixtures/release.ts';

/** The table of docs/trees.md, sealed row by row. */

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const text = await readFile(join(repositoryRoot(), 'docs/trees.md'), 'utf8');
const FILES = new Map<string, Record<string, string>>([
  ...LAYOUT_TREES.map(({ layout, files }) => [layout, files] as const),
  ['archiso', named('arch/version', KERNEL, INITRD, ROOTFS)],
  ['systemd', named('vmlinuz', 'initrd.img')],
]);

/** A command line's options, by their names. */
function optionsOf(line: string): Record<string, string | string[]> {
  const words = [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare ?? '');
  const found: Record<string, string[]> = {};
  let name = '';
  for (const word of words) {
    if (word.startsWith('--')) {
      name = word.slice(2);
      found[name] = [];
    } else found[name]?.push(word);
  }
  const { pack, initrd, ...rest } = found;
  const single = Object.fromEntries(Object.entries(rest).map(([key, values]) => [key, values.join(' ')]));
  return { ...single, ...(pack ? { pack } : {}), ...(initrd ? { initrds: initrd } : {}) };
}

const rows = [...text.matchAll(/^\| ([a-z-]+) \| (?:–|`(.*?)`) \| (.*?) \| (.*?) \| (.*?) \|$/gm)];

describe('a row of docs/trees.md is true:', () => {
  for (const [, layout = '', add = '', loader = '', system = '', nobody = ''] of rows) {
    it(`${layout} ${add}`, async () => {
      const options = optionsOf(add);
      const extra = ((options.pack ?? []) as string[]).filter((path) => !FILES.get(layout)?.[path]);
      const tree = await writeTree(join(folder, String(Math.random()).slice(2)), {
        ...FILES.get(layout),
        ...named(...extra),
      });
      const { manifest } = await sealFixture(tree, keys, { release: 'site/2026.11.01', ...options });
      assert.equal(manifest.layout, layout);
      const rolesOf = (by: string) => [
        ...new Set(
          whoVerifies(manifest)
            .filter((thing) => thing.by === by)
            .map(({ name: whole }) => {
              const name = whole.replace(/^(word|file) /, '');
              const role = manifest.files.find(({ path }) => path === name)?.role;
              return { kernel: 'kernel', initrd: 'initrds', rootfs: 'root image' }[role as string] ?? name;
            }),
        ),
      ];
      const said = (cell: string) => (cell === '–' ? [] : cell.split(', '));
      assert.deepEqual(
        { loader: rolesOf('loader'), system: rolesOf('system'), nobody: rolesOf('nobody') },
        { loader: said(loader), system: said(system), nobody: said(nobody) },
      );
    });
  }

  it('and there is one of each layout', () => {
    const wanted = LAYOUTS.map(({ name }) => name).filter((name) => name !== 'plain');
    assert.deepEqual([...new Set(rows.map(([, layout]) => layout))], wanted);
  });
});
