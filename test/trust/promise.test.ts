import assert from 'node:assert/strict';
import { copyFile, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { FolderTree } from '../../src/files/folder-tree.ts';
import { bytesContent } from '../../src/files/measure.ts';
import type { Tree } from '../../src/files/tree.ts';
import type { Arrived } from '../../src/release/promised-file.ts';
import { FolderShelf } from '../../src/store/folder-shelf.ts';
import { readAnchorFolder } from '../../src/trust/anchor-folder.ts';
import { DEFAULT_POLICY_FILE } from '../../src/trust/policy-file.ts';
import { Promised } from '../../src/trust/promise.ts';
import { PromisedRelease, type VerifiedRelease } from '../../src/trust/verified-release.ts';
import { Verifier } from '../../src/trust/verifier.ts';
import { parsePolicyFile } from '../../src/trust/written-policy.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { judgeFolder, verifierBy } from '../fixtures/judge.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { INITRD, KERNEL, ROOTFS, sealFixture } from '../fixtures/release.ts';
import { smallTree } from '../signing/trees.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const anchors = await readAnchorFolder(keys);
const roots = { own: anchors, others: [], anchored: true };

let made = 0;
async function sealed(): Promise<string> {
  made += 1;
  const tree = await smallTree(join(folder, `tree${made}`));
  await sealFixture(tree, keys);
  return tree;
}

/** A tree whose payload cannot be read. */
function recordsAlone(path: string): Tree {
  const tree = new FolderTree(path);
  return {
    name: tree.name,
    list: (below) => tree.list(below),
    async read(file, limit) {
      assert.ok(![KERNEL, INITRD, ROOTFS].includes(file), `${file} was read`);
      return tree.read(file, limit);
    },
    async open(file) {
      throw new Error(`${file} was opened`);
    },
  };
}

async function promiseOf(tree: string): Promise<PromisedRelease> {
  const { release, refusal } = await verifierBy(anchors).promise(recordsAlone(tree));
  assert.equal(refusal, undefined);
  assert.ok(release);
  return release;
}

function arrived(bytes: Uint8Array): Arrived {
  return { ...bytesContent(bytes), bytes: async () => bytes };
}

describe('a release whose payload is promised', () => {
  it('is made of records alone, and lists what reading it finds', async () => {
    const tree = await sealed();
    const promised = await promiseOf(tree);
    const { release: read } = await judgeFolder(tree, anchors);
    assert.ok(read);
    const facts = (files: ReadonlyMap<string, { size: number; sha256: string; name: string }>) =>
      [...files].map(([path, { size, sha256, name }]) => [path, size, sha256, name]).sort();
    assert.deepEqual(facts(promised.files), facts(read.files));
    assert.deepEqual([...promised.records.keys()].sort(), [...read.records.keys()].sort());
    for (const [path, bytes] of promised.records) assert.deepEqual(bytes, read.records.get(path), path);
    assert.equal(promised.manifestSha256, read.manifestSha256);
    assert.equal(await verifierBy(anchors).judgeAgain(promised), undefined);
  });

  it('judges each file when it comes, by every seal', async () => {
    const tree = await sealed();
    for (const [path, file] of (await promiseOf(tree)).files) {
      const bytes = await readFile(join(tree, path));
      await file.judge(arrived(bytes));
      const changed = Buffer.from(bytes);
      changed[3] = (changed[3] ?? 0) ^ 1;
      await assert.rejects(file.judge(arrived(changed)), { name: 'Refusal', code: 'bad-signature' }, path);
      await assert.rejects(
        file.judge(arrived(bytes.subarray(1))),
        { name: 'Refusal', code: 'bad-signature' },
        path,
      );
    }
  });

  it('is refused for a seal that the listed digests show not to fit, as reading it would be', async () => {
    for (const seal of ['.cms.sig', '.ipxe.sig']) {
      const tree = await sealed();
      await copyFile(join(tree, INITRD + seal), join(tree, KERNEL + seal));
      const { release, refusal } = await verifierBy(anchors).promise(recordsAlone(tree));
      const read = await judgeFolder(tree, anchors);
      assert.equal(release, undefined);
      assert.deepEqual([refusal?.code, refusal?.message], [read.refusal?.code, read.refusal?.message], seal);
    }
  });

  it('refuses a file whose OpenPGP seal is of another one, when it comes', async () => {
    const tree = await sealed();
    await copyFile(join(tree, `${INITRD}.sig`), join(tree, `${KERNEL}.sig`));
    const promised = await promiseOf(tree);
    const kernel = promised.files.get(KERNEL);
    const bytes = arrived(await readFile(join(tree, KERNEL)));
    await assert.rejects(kernel?.judge(bytes) ?? assert.fail(), {
      code: 'bad-signature',
      message: `${KERNEL}.sig does not match: the file or its seal was changed.`,
    });
    await promised.files.get(INITRD)?.judge(arrived(await readFile(join(tree, INITRD))));
  });

  it('is refused for a seal that is gone, and for one by a key that signs no payload', async () => {
    const gone = await sealed();
    await rename(join(gone, `${ROOTFS}.sig`), join(gone, 'elsewhere'));
    const other = await sealed();
    await copyFile(join(other, 'grub.cfg.sig'), join(other, `${KERNEL}.sig`));
    for (const [tree, code] of [
      [gone, 'absent'],
      [other, 'untrusted-signer'],
    ] as const) {
      const { release, refusal } = await verifierBy(anchors).promise(recordsAlone(tree));
      assert.deepEqual([release, refusal?.code], [undefined, code]);
    }
  });

  it('ends with its best-before, and with a key that is struck off', async () => {
    const promised = await promiseOf(await sealed());
    const end = promised.manifest.bestBefore;
    const at = async (time: number) => (await verifierBy(anchors, time).judgeAgain(promised))?.code;
    assert.deepEqual([await at(end), await at(end + 1)], [undefined, 'stale']);
    const fingerprint = anchors.openpgp.payload[0]?.primary.fingerprint;
    const struck = parsePolicyFile(
      'policy.toml',
      `[[revoked]]\nid = "${fingerprint}"\nkind = "hard"\nsince = 2026-11-01\nreason = "stolen"\n`,
    );
    const again = await new Verifier(roots, struck, () => NOW).judgeAgain(promised);
    assert.equal(again?.code, 'revoked');
  });

  it('is none without anchors of its own', async () => {
    const tree = await sealed();
    const loose = new Verifier({ ...roots, anchored: false }, DEFAULT_POLICY_FILE, () => NOW);
    const { release, refusal } = await loose.promise(new FolderTree(tree));
    assert.deepEqual([release, refusal?.code], [undefined, 'no-verdict']);
  });

  it('is refused with a manifest or a script that was changed', async () => {
    for (const name of ['release.manifest', 'boot.ipxe', 'grub.cfg']) {
      const tree = await sealed();
      const bytes = await readFile(join(tree, name));
      await writeFile(join(tree, name), Buffer.concat([bytes, Buffer.from('\n')]));
      const { release, refusal } = await verifierBy(anchors).promise(recordsAlone(tree));
      const read = await judgeFolder(tree, anchors);
      assert.deepEqual([release, refusal?.message], [undefined, read.refusal?.message], name);
    }
  });

  it('can be made by nobody else, and is never stored', async () => {
    const promised = await promiseOf(await sealed());
    assert.throws(() => new PromisedRelease(Symbol(), promised), TypeError);
    assert.throws(
      () => new Promised(Symbol(), { path: 'x', size: 0, sha256: '' }, async () => {}),
      TypeError,
    );
    const shelf = new FolderShelf(join(folder, 'state'));
    // @ts-expect-error what was not read is of another type.
    const cast: VerifiedRelease = promised;
    await assert.rejects(shelf.store(cast, NOW), { name: 'TypeError', message: /was not read/ });
  });
});
