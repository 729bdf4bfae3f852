import assert from 'node:assert/strict';
import { rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { FolderTree } from '../../src/files/folder-tree.ts';
import { readAnchorFolder } from '../../src/trust/anchor-folder.ts';
import { DEFAULT_POLICY_FILE } from '../../src/trust/policy-file.ts';
import { VerifiedRelease } from '../../src/trust/verified-release.ts';
import { Verifier } from '../../src/trust/verifier.ts';
import { parsePolicyFile } from '../../src/trust/written-policy.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { judgeFolder, verifierBy } from '../fixtures/judge.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { KERNEL, ROOTFS, sealFixture } from '../fixtures/release.ts';
import { smallTree } from '../signing/trees.ts';

const DAY = 86_400_000;
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const anchors = await readAnchorFolder(keys);
const roots = { own: anchors, others: [], anchored: true };

async function sealed(name: string): Promise<string> {
  const tree = await smallTree(join(folder, name));
  await sealFixture(tree, keys);
  return tree;
}

const tree = await sealed('tree');
const { release } = await judgeFolder(tree, anchors);
assert.ok(release);
const held: VerifiedRelease = release;
const judgedAt = async (time: number) => (await verifierBy(anchors, time).judgeAgain(held))?.code;

describe('a verified release, judged again', () => {
  it('is what it was, though its files are gone', async () => {
    const gone = await sealed('gone');
    const { release: kept } = await judgeFolder(gone, anchors);
    await rm(gone, { recursive: true });
    assert.ok(kept);
    assert.equal(await verifierBy(anchors).judgeAgain(kept), undefined);
  });

  it('ends with its best-before, to the millisecond', async () => {
    const end = held.manifest.bestBefore;
    assert.deepEqual([await judgedAt(end), await judgedAt(end + 1)], [undefined, 'stale']);
  });

  it('is refused by a clock from before its certificates, and taken again when the clock is right', async () => {
    assert.equal(await judgedAt(NOW - 10 * DAY), 'not-yet-valid');
    assert.equal(await judgedAt(NOW), undefined);
  });

  it('is refused once a policy strikes a key off', async () => {
    const id = held.manifestSha256;
    const [codesign] = anchors.codesign;
    assert.ok(codesign && id);
    const struck = parsePolicyFile(
      'policy.toml',
      `[[revoked]]\nid = "${anchors.openpgp.payload[0]?.primary.fingerprint}"\nkind = "hard"\nsince = 2026-11-01\nreason = "stolen"\n`,
    );
    assert.equal((await new Verifier(roots, struck, () => NOW).judgeAgain(held))?.code, 'revoked');
  });

  it('changes its answer at the moments that were foretold, and at no other time', async () => {
    const verifier = (time: number) => verifierBy(anchors, time);
    const from = NOW - 3 * DAY;
    const moments: number[] = [from];
    for (let at = verifier(from).nextMoment(held); at !== undefined; at = verifier(at).nextMoment(held))
      moments.push(at);
    assert.ok(moments.includes(held.manifest.bestBefore + 1), 'best-before is among them');
    assert.ok(moments.length < 200, `${moments.length} moments`);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: from, max: NOW + 4000 * DAY }), async (time) => {
        const before = moments.filter((moment) => moment <= time).at(-1) ?? from;
        assert.equal(await judgedAt(time), await judgedAt(before), new Date(time).toISOString());
      }),
      { numRuns: 60, seed: 20261101 },
    );
  });
});

describe('a verifier', () => {
  it('alone makes a verified release', () => {
    const { manifest, manifestSha256, files, records, unjudged, remembered } = held;
    const parts = { manifest, manifestSha256, roots, files, records, unjudged, remembered };
    assert.throws(() => new VerifiedRelease(Symbol('verified release'), parts), TypeError);
  });

  it('compares a signed size before it reads: a hole of eight tebibytes is refused at once', async () => {
    const hollow = await sealed('hollow');
    for (const path of [KERNEL, ROOTFS]) await truncate(join(hollow, path), 8 * 2 ** 40);
    const read: string[] = [];
    const { rows, release: none } = await judgeFolder(hollow, anchors, NOW, (path) => read.push(path));
    assert.equal(none, undefined);
    for (const path of [KERNEL, ROOTFS]) {
      const row = rows.find((candidate) => candidate.path === path);
      for (const finding of Object.values(row?.cells ?? {})) {
        assert.ok(!finding.verified);
        assert.match(finding.refusal.message, /has 8796093022208 bytes, and the manifest says/);
      }
      assert.ok(!read.includes(path), `${path} was not read`);
    }
  });

  it('answers with a verdict where a seal is no seal, and with an I/O error where it cannot be read', async () => {
    const odd = await sealed('odd');
    await writeFile(join(odd, `${KERNEL}.cms.sig`), 'nonsense');
    assert.equal((await judgeFolder(odd, anchors)).refusal?.code, 'malformed');
    await rm(join(odd, `${KERNEL}.cms.sig`));
    assert.equal((await judgeFolder(odd, anchors)).refusal?.code, 'absent');
  });

  it('judges as of another time without moving the clock by which pins end', async () => {
    const clock = NOW + 100 * DAY;
    const verifier = new Verifier(roots, DEFAULT_POLICY_FILE, () => clock);
    assert.equal((await verifier.verify(new FolderTree(tree))).refusal?.code, 'stale');
    const then = verifier.asOf(NOW);
    assert.equal((await then.verify(new FolderTree(tree))).refusal, undefined);
    assert.equal(then.policy.clock, clock);
    assert.equal(then.policy.asOf, NOW);
  });
});
