import assert from 'node:assert/strict';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { verify } from '../../src/conformance/verify.ts';
import { resignTree } from '../../src/resigning/tree.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { sealFixture } from '../fixtures/release.ts';
import { wholeTree } from '../fixtures/signing-request.ts';
import { copier } from './copies.ts';
import { demandFaultless } from './suite.ts';

const LATER = NOW + 10 * 86_400_000;
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'), { kind: 'p256' });
const whole = join(folder, 'whole');
await mkdir(whole);
await sealFixture(await wholeTree(join(whole, 'tree')), keys);

await demandFaultless({
  'resign, of a tree': {
    copy: copier(folder, whole),
    run: async (at) => {
      const [tree, journals] = [join(at, 'tree'), join(at, 'journals')];
      const { manifestSha256, changes } = await resignTree({
        tree,
        keys,
        journals,
        now: LATER,
        issued: LATER,
      });
      return { manifestSha256, changes };
    },
    demandDone: async (at) => {
      const { refusal, manifest } = await verify({ tree: join(at, 'tree'), anchors: keys, now: LATER });
      assert.equal(refusal, undefined);
      assert.equal(manifest?.issued, LATER);
      assert.deepEqual(await readdir(join(at, 'journals')), []);
    },
    // An empty folder of the operator's own says nothing.
    ignore: /^journals$/,
  },
});
