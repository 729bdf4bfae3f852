import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { tamper } from '../../src/conformance/tamper.ts';
import { cpioEntries, encodeCpio } from '../../src/formats/archive/cpio.ts';
import { unverifiedThings } from '../../src/release/who-verifies.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { LAYOUT_TREES } from '../fixtures/layout-trees.ts';
import { sealFixture, writeTree } from '../fixtures/release.ts';

/** Every attack on a tree of each layout; two of them always, and all of them with `npm test -- long`. */

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const long = process.env.BOOTSEAL_LONG_TESTS === '1';
const TRIED = LAYOUT_TREES.filter(({ layout }) => long || ['live-boot', 'memtest'].includes(layout));

const ARCHIVE = encodeCpio(
  cpioEntries([{ kind: 'file', name: 'init', data: Buffer.from('#!/bin/sh\n') }], 0),
);

describe('a matrix of attacks on a tree of', () => {
  for (const { layout, files, loads } of TRIED) {
    it(layout, async () => {
      const initrds = loads.flatMap((text) => /^initrd (.*)/.exec(text)?.[1] ?? []);
      const archives = Object.fromEntries(initrds.map((path) => [path, ARCHIVE]));
      const tree = await writeTree(join(folder, layout), { ...files, ...archives });
      const sealed = await sealFixture(tree, keys, { release: 'site/2026.11.01' });
      assert.equal(sealed.layout.layout, layout);
      const { rows, deviations } = await tamper({ tree, keys, now: NOW });
      assert.deepEqual(
        deviations.map(({ attack, column, deviation }) => `${attack}: ${column} ${deviation}`),
        [],
      );
      assert.ok(rows.length > 50);
      // Nobody is asked who judges nothing of such a system.
      assert.ok(rows.every(({ cells }) => !cells.archiso && !cells.manifest));
      const roots = sealed.manifest.files.filter(({ role }) => role === 'rootfs' || role === 'file');
      assert.deepEqual(
        unverifiedThings(sealed.manifest)
          .map(({ name }) => name)
          .filter((name) => name.startsWith('file ')),
        roots.map(({ path }) => `file ${path}`),
      );
    });
  }
});
