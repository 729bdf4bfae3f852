import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { appendFile, cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { verify } from '../../src/conformance/verify.ts';
import { TEMPORARY } from '../../src/files/atomic-file.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { KERNEL, sealFixture } from '../fixtures/release.ts';
import { changed, look, sealNames, stockToolTakes } from './judges.ts';
import { ARTIFACTS, MANY_OCTETS, smallTree } from './trees.ts';

const CHILD = fileURLToPath(new URL('seal-child.js', import.meta.url));
const SEALS = sealNames(ARTIFACTS);
const SUMS = ['', 'arch/boot/', 'arch/boot/x86_64/', 'arch/x86_64/'].map((folder) => `${folder}SHA256SUMS`);
const RECORDS = ['boot.ipxe', 'grub.cfg', 'release.manifest', ...SUMS];
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const fresh = await smallTree(join(folder, 'fresh'), 'one', '2026.11.01', MANY_OCTETS);

function sealIn(tree: string, stop?: number) {
  const args = [CHILD, tree, keys, String(NOW), ...(stop === undefined ? [] : [String(stop)])];
  const { signal, stdout } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 60_000 });
  return { signal, said: stdout === '' ? undefined : (JSON.parse(stdout) as { steps: string[] }) };
}

const temporaries = (tree: string) =>
  readdirSync(tree, { recursive: true, encoding: 'utf8' }).filter((name) =>
    TEMPORARY.test(name.slice(name.lastIndexOf('/') + 1)),
  );

async function verdict(tree: string): Promise<string | undefined> {
  return (await verify({ tree, anchors: keys, now: NOW })).refusal?.message;
}

// An undisturbed run says which steps there are.
const whole = join(folder, 'whole');
await cp(fresh, whole, { recursive: true });
const { steps } = sealIn(whole).said ?? { steps: [] };

/** Twelve steps: every kind, from the first progress event to the last rename. */
function stops(): number[] {
  const of = (name: string) => steps.flatMap((found, index) => (found === name ? [index] : []));
  return ['progress', 'created', 'half written', 'written', 'renamed']
    .flatMap((name) => {
      const all = of(name);
      return [all[0], all[Math.floor(all.length / 2)], ...(name === 'progress' ? [] : [all.at(-1)])];
    })
    .filter((at) => at !== undefined)
    .filter((at) => at !== steps.lastIndexOf('written') && at !== steps.lastIndexOf('created'));
}

describe('a seal that is killed', () => {
  it('has the steps that this test stops it at', async () => {
    assert.equal(steps.filter((name) => name === 'renamed').length, SEALS.length + RECORDS.length);
    assert.equal(stops().length, 12);
    assert.equal(await verdict(whole), undefined);
  });

  for (const at of stops()) {
    it(`at step ${at} (${steps[at]}) leaves whole seals or none, and the next one completes it`, async () => {
      const tree = join(folder, `first-${at}`);
      await cp(fresh, tree, { recursive: true });
      const before = look(tree);
      const { signal, said } = sealIn(tree, at);
      assert.deepEqual([signal, said], ['SIGKILL', undefined]);

      const left = temporaries(tree);
      assert.equal(left.length, steps[at] === 'progress' || steps[at] === 'renamed' ? 0 : 1);
      const appeared = changed(before, look(tree)).filter((name) => !left.includes(name));
      assert.deepEqual(
        appeared.filter((name) => !SEALS.includes(name) && !RECORDS.includes(name)),
        [],
      );
      assert.equal(appeared.length, steps.slice(0, at + 1).filter((name) => name === 'renamed').length);
      for (const name of appeared)
        if (SEALS.includes(name)) assert.ok(stockToolTakes(tree, keys, name, NOW), name);

      await sealFixture(tree, keys);
      assert.deepEqual(temporaries(tree), []);
      assert.deepEqual([...look(tree).keys()], [...look(whole).keys()]);
      assert.equal(await verdict(tree), undefined);
      await rm(tree, { recursive: true });
    });
  }

  it('while it makes seals anew is refused by a verifier until the next one completes it', async () => {
    const changedTree = join(folder, 'changed');
    await cp(whole, changedTree, { recursive: true });
    await appendFile(join(changedTree, KERNEL), 'x');
    const renamed = sealIn(join(changedTree)).said?.steps.flatMap((name, at) =>
      name === 'renamed' ? [at] : [],
    );
    for (const at of [renamed?.[0], renamed?.at(3), renamed?.at(-2)]) {
      const tree = join(folder, `again-${at}`);
      await cp(whole, tree, { recursive: true });
      await appendFile(join(tree, KERNEL), 'x');
      assert.equal(sealIn(tree, at).signal, 'SIGKILL');
      assert.match(
        (await verdict(tree)) ?? 'verified',
        /does not match|is not the file|names another|and the manifest says/,
      );
      await sealFixture(tree, keys);
      assert.deepEqual(temporaries(tree), []);
      assert.equal(await verdict(tree), undefined);
    }
  });
});
