import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { bytesContent } from '../../src/files/measure.ts';
import { readKeyFolder } from '../../src/signing/keys/key-folder.ts';
import { existingLeaf } from '../../src/signing/keys/release-leaf.ts';
import { planCms, planOpenpgp, type SealPlan } from '../../src/signing/seal-plan.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { sealFixture, writeTree } from '../fixtures/release.ts';

/** Seals of before: what is kept, and what is made anew. */

const DAY = 86_400_000;
const folder = await temporaryFolder();
const content = Buffer.from('kernel\0');
const PLAIN = { kernel: 'vmlinuz', initrds: ['initrd.img'], release: 'school/2026.11.01' };

async function isKept(plan: SealPlan): Promise<boolean> {
  const { answers } = await bytesContent(content).measure(plan.questions);
  return plan.finish(answers) === undefined;
}

/** All of it before the first test: the runner takes the file for done when what it knows of is done. */
const sites = await Promise.all(
  (['rsa', 'p256'] as const).map(async (kind) => {
    const path = await makeKeys(join(folder, `keys-${kind}`), { kind });
    const keys = await readKeyFolder(path, NOW);
    const tree = await writeTree(join(folder, kind), { vmlinuz: content, 'initrd.img': 'initrd\0' });
    await sealFixture(tree, path, PLAIN);
    return { kind, path, keys, tree };
  }),
);

for (const { kind, path, keys, tree } of sites) {
  const ca = { ca: keys.ca.certificate, above: [] };
  const terms = { release: PLAIN.release, issued: NOW, bestBefore: NOW + 90 * DAY };
  const plans = {
    '.ipxe.sig': (bytes: Uint8Array) => planCms(bytes, (data) => existingLeaf(data, ca, terms)),
    '.sig': (bytes: Uint8Array) => planOpenpgp(bytes, keys.openpgp.payload.key, NOW),
  };

  describe(`a seal of before, ${kind}`, () => {
    for (const [suffix, plan] of Object.entries(plans)) {
      it(`${suffix} is kept as it is, and made anew with any one byte changed, or cut, or longer`, async () => {
        const seal = await readFile(join(tree, `vmlinuz${suffix}`));
        assert.ok(await isKept(plan(seal)));
        const kept: number[] = [];
        for (const at of seal.keys()) {
          for (const bit of [0x01, 0x80]) {
            const bad = Buffer.from(seal);
            bad[at] = (bad[at] ?? 0) ^ bit;
            if (await isKept(plan(bad))) kept.push(at);
          }
        }
        assert.deepEqual(kept, []);
        for (const bad of [Buffer.alloc(0), seal.subarray(0, -1), Buffer.concat([seal, Buffer.alloc(1)])]) {
          assert.ok(!(await isKept(plan(bad))));
        }
      });
    }

    it('boot.ipxe.sig is made anew with a byte of its chain changed', async () => {
      const name = join(tree, 'boot.ipxe.sig');
      const good = await readFile(name);
      for (let at = 5; at < good.length; at += Math.ceil(good.length / 25)) {
        const bad = Buffer.from(good);
        bad[at] = (bad[at] ?? 0) ^ 1;
        await writeFile(name, bad);
        const { files } = await sealFixture(tree, path, PLAIN);
        const written = files.filter(({ outcome }) => outcome === 'written').map((file) => file.path);
        assert.deepEqual(written, ['boot.ipxe.sig'], `byte ${at}`);
      }
    });

    const LEAVES: Record<string, [release: string, issued: number, bestBefore: number, kept: boolean]> = {
      'of this release': [PLAIN.release, NOW, NOW + 90 * DAY, true],
      'of another release': ['school/2026.11.02', NOW, NOW + 90 * DAY, false],
      'that begins after the release': [PLAIN.release, NOW - 2 * DAY, NOW + 88 * DAY, false],
      'that outlives best-before by less than was promised': [
        PLAIN.release,
        NOW + 90 * DAY,
        NOW + 180 * DAY,
        true,
      ],
      'that ends before best-before': [PLAIN.release, NOW + 101 * DAY, NOW + 191 * DAY, false],
    };
    for (const [name, [release, issued, bestBefore, kept]] of Object.entries(LEAVES)) {
      it(`by a leaf ${name} is ${kept ? 'kept' : 'made anew'}`, async () => {
        const seal = await readFile(join(tree, 'vmlinuz.ipxe.sig'));
        assert.equal(
          await isKept(planCms(seal, (data) => existingLeaf(data, ca, { release, issued, bestBefore }))),
          kept,
        );
      });
    }
  });
}
