import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { verifyAs } from '../../src/conformance/verify-as.ts';
import { inspect } from '../../src/operations/inspect.ts';
import { attach, requestSignatures } from '../../src/operations/request.ts';
import { uki } from '../../src/operations/uki.ts';
import { writeOutput } from '../../src/release/write-output.ts';
import { resignTree } from '../../src/resigning/tree.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { KERNEL, ROOTFS, sealFixture } from '../fixtures/release.ts';
import { answer, makeRequest, wholeTree } from '../fixtures/signing-request.ts';
import { look } from '../signing/judges.ts';
import { refused } from '../trust/judge.ts';

/*
 * A tree that was fetched, unpacked or mounted is its author's. Whatever stands in it, no command writes a file
 * outside, reads one for it, waits for one, or removes one.
 */

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'), { kind: 'p256' });
const bare = await wholeTree(join(folder, 'bare'));
const request = await makeRequest(bare, keys, join(folder, 'request'));
const response = join(folder, 'response');
await answer(request, [keys], response);
const sealed = join(folder, 'sealed');
cpSync(bare, sealed, { recursive: true });
await sealFixture(sealed, keys);

let count = 0;
const fresh = (name: string) => join(folder, `${name}-${count++}`);

/** A copy of a tree in which a folder stands outside, with a link in its place. */
function linked(tree: string, inner: string): { tree: string; outside: string } {
  const [copy, outside] = [fresh('tree'), fresh('outside')];
  cpSync(tree, copy, { recursive: true, preserveTimestamps: true });
  renameSync(join(copy, inner), outside);
  symlinkSync(outside, join(copy, inner));
  return { tree: copy, outside };
}

const FOLDERS = ['arch', dirname(KERNEL), dirname(ROOTFS), 'arch/boot'];
const ACTS: readonly [string, string, (tree: string) => Promise<unknown>][] = [
  ['seal', bare, (tree) => sealFixture(tree, keys)],
  ['seal again', sealed, (tree) => sealFixture(tree, keys, { issued: NOW + 86_400_000 })],
  [
    'request',
    bare,
    (tree) =>
      requestSignatures({
        tree,
        anchors: join(keys, 'anchors'),
        out: fresh('request'),
        now: NOW,
        rsaBits: 2048,
      }),
  ],
  ['attach', bare, (tree) => attach({ tree, responses: [response] })],
  [
    'resign',
    sealed,
    // Another name: every seal for iPXE is made anew, beside the payload.
    (tree) => resignTree({ tree, keys, journals: fresh('journals'), now: NOW, release: 'lab/2026.11.01' }),
  ],
  ['uki', sealed, (tree) => uki({ tree, url: 'http://10.0.0.1:8080', now: NOW })],
];

for (const [act, tree, run] of ACTS) {
  describe(`${act}, of a tree with a link out of it`, () => {
    for (const inner of FOLDERS) {
      // A UKI is made of kernel and initrds alone.
      if (act === 'uki' && inner === dirname(ROOTFS)) continue;
      it(`in the place of ${inner} is refused, and nothing changes here or there`, async () => {
        const site = linked(tree, inner);
        const before = [look(site.tree), look(site.outside)];
        await assert.rejects(run(site.tree), refused('unsafe-path', /symbolic link/));
        assert.deepEqual([look(site.tree), look(site.outside)], before);
      });
    }
  });
}

describe('an output below a tree', () => {
  it('is not written through a link, and nothing is left', async () => {
    const outside = fresh('outside');
    mkdirSync(outside);
    for (const original of [bare, sealed]) {
      const tree = fresh('tree');
      cpSync(original, tree, { recursive: true });
      symlinkSync(outside, join(tree, 'x'));
      for (const name of ['x/overlay.img', 'arch/../x/overlay.img'])
        await assert.rejects(writeOutput(join(tree, name), Buffer.from('x')), refused('unsafe-path'), name);
    }
    assert.deepEqual([...look(outside)], []);
  });

  it('is written where the operator’s own links lead, and in a tree’s own folders', async () => {
    const tree = fresh('tree');
    cpSync(sealed, tree, { recursive: true });
    const link = fresh('link');
    symlinkSync(dirname(tree), link);
    for (const out of [
      join(link, basename(tree), 'one.img'),
      join(tree, 'arch/two.img'),
      fresh('three.img'),
    ]) {
      await writeOutput(out, Buffer.from('x'));
      assert.equal(readFileSync(out, 'utf8'), 'x');
    }
  });
});

describe('what is read of a tree', () => {
  /** A tree in which one file is replaced. */
  const spoilt = (original: string, path: string, put: (path: string) => void) => {
    const tree = fresh('tree');
    cpSync(original, tree, { recursive: true });
    rmSync(join(tree, path), { force: true });
    put(join(tree, path));
    return tree;
  };
  const fifo = (path: string) => assert.equal(spawnSync('mkfifo', [path]).status, 0);
  const secret = fresh('secret');
  writeFileSync(secret, 'release = "of the host"\n');

  for (const [what, put] of [
    ['a FIFO', fifo],
    ['a link to a file of the host', (path: string) => symlinkSync(secret, path)],
    ['a link to what never ends', (path: string) => symlinkSync('/dev/zero', path)],
  ] as const) {
    it(`is no ${what}, in the place of any file that says what the tree is`, async () => {
      for (const path of ['arch/version', 'bootseal.toml']) {
        const error = await sealFixture(spoilt(bare, path, put), keys).catch((thrown: Error) => thrown);
        assert.ok(refused('unsafe-path')(error));
        assert.doesNotMatch((error as Error).message, /of the host/);
      }
      for (const path of ['release.manifest', 'boot.ipxe.sig', `${KERNEL}.sig`, `${ROOTFS}.verity`])
        await assert.rejects(sealFixture(spoilt(sealed, path, put), keys), refused('unsafe-path'), path);
      const journals = fresh('journals');
      for (const path of ['release.manifest', 'boot.ipxe.sig', `${KERNEL}.ipxe.sig`])
        await assert.rejects(
          resignTree({ tree: spoilt(sealed, path, put), keys, journals, now: NOW }),
          refused('unsafe-path'),
          path,
        );
      await assert.rejects(
        uki({ tree: spoilt(sealed, 'release.manifest', put), now: NOW }),
        refused('unsafe-path'),
      );
      await assert.rejects(
        inspect({ target: spoilt(sealed, 'release.manifest', put) }),
        refused('unsafe-path'),
      );
    });
  }

  it('by the emulated clients is in the tree', async () => {
    const { tree } = linked(sealed, dirname(KERNEL));
    const verdicts = await verifyAs({ target: tree, anchors: keys, as: ['ipxe'], now: NOW });
    assert.deepEqual(
      verdicts.map(({ refusal }) => refusal?.code),
      ['unsafe-path'],
    );
  });
});
