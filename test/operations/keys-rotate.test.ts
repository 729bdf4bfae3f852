import assert from 'node:assert/strict';
import { cp, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { decodeSuccessors, isOpenpgpKind } from '../../src/formats/records/successors.ts';
import { rotateKeys } from '../../src/operations/keys-rotate.ts';
import { publish } from '../../src/publish/publish.ts';
import { DEFAULT_ROTATION } from '../../src/signing/keys/rotation-kinds.ts';
import { misused } from '../fixtures/failed.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { ROOTFS, sampleTree, sealFixture } from '../fixtures/release.ts';
import { changed, gpgvTakes, look, openssl, opensslTakes } from '../signing/judges.ts';
import {
  after,
  anchors,
  bootOf,
  caSteps,
  DAY,
  early,
  fingerprint,
  fresh,
  LATER,
  leafSteps,
  leaves,
  newCa,
  old,
  rotate,
  sealed,
} from './rotation.ts';

describe('new leaves', () => {
  it('leave the old folder as it is', async () => {
    const keys = await makeKeys(fresh('keys'));
    const before = look(keys);
    await rotate(keys);
    assert.deepEqual(changed(before, look(keys)), []);
  });

  it('leave the keys of Secure Boot to the machines that hold them', async () => {
    const keys = await makeKeys(fresh('keys'), { secureBoot: true });
    const { out: next } = await rotate(keys);
    const names = ['PK.crt', 'KEK.crt', 'db.crt', 'pcr.pub'].map((name) => join('anchors', name));
    for (const name of [...names, 'private/db.key', 'private/pcr.key', 'secure-boot/PK.auth'])
      assert.deepEqual(await readFile(join(next, name)), await readFile(join(keys, name)), name);
  });

  it('are made for all but the CA, each with a private key of its own, 0600', async () => {
    assert.deepEqual(
      leafSteps.map(({ kind }) => kind),
      [...DEFAULT_ROTATION],
    );
    for (const kind of DEFAULT_ROTATION) {
      const name = `${kind}.${isOpenpgpKind(kind) ? 'asc' : 'key'}`;
      const path = join(leaves, 'private', name);
      assert.equal((await stat(path)).mode & 0o777, 0o600);
      assert.notDeepEqual(await readFile(path), await readFile(join(old, 'private', name)), name);
    }
    assert.deepEqual(await readFile(anchors(leaves, 'ca.crt')), await readFile(anchors(old, 'ca.crt')));
    assert.equal((await stat(join(leaves, 'private'))).mode & 0o777, 0o700);
  });

  it('keep the names that loaders demand, under the same CA', () => {
    for (const name of ['codesign.crt', 'boot.crt', 'manifest.crt']) {
      const subject = (keys: string) =>
        openssl('x509', '-in', anchors(keys, name), '-noout', '-subject', '-issuer').stdout;
      assert.equal(subject(leaves), subject(old));
      const checked = openssl(
        'verify',
        '-CAfile',
        anchors(old, 'ca.crt'),
        '-attime',
        String(LATER / 1000),
        anchors(leaves, name),
      );
      assert.equal(checked.status, 0, checked.stderr);
    }
  });

  it('make anchors that take the CMS seals of both, as archiso asks openssl; those for afterwards only the new', async () => {
    const [byOld, byNew] = [await sealed(leaves, old), await sealed(leaves, leaves)];
    const takes = (tree: string, certificates: string) =>
      opensslTakes(
        join(tree, ROOTFS),
        join(tree, `${ROOTFS}.cms.sig`),
        early(certificates, anchors(old, 'ca.crt')),
        LATER,
      );
    const table = [old, leaves].map((keys) =>
      [byOld, byNew].map((tree) => takes(tree, anchors(keys, 'codesign.crt'))),
    );
    assert.deepEqual(table, [
      [true, false],
      [true, true],
    ]);
    assert.deepEqual(
      [byOld, byNew].map((tree) => takes(tree, after(leaves, 'codesign.crt'))),
      [false, true],
    );
  });

  it('make a keyring that takes the OpenPGP seals of both; the one for afterwards only the new', async () => {
    const [byOld, byNew] = [await sealed(leaves, old), await sealed(leaves, leaves)];
    const takes = (ring: string) =>
      [byOld, byNew].map((tree) => gpgvTakes(join(tree, ROOTFS), join(tree, `${ROOTFS}.sig`), ring, LATER));
    assert.deepEqual(takes(anchors(old, 'pubring.gpg')), [true, false]);
    assert.deepEqual(takes(anchors(leaves, 'pubring.gpg')), [true, true]);
    assert.deepEqual(takes(after(leaves, 'pubring.gpg')), [false, true]);
  });

  it('boot with old and new anchors in the initramfs, as long as these know the key', async () => {
    for (const [inside, keys, good] of [
      [old, old, true],
      [leaves, old, true],
      [leaves, leaves, true],
      [old, leaves, false],
    ] as const) {
      const tree = await sealed(inside, keys);
      // The loader knows the CA alone, which is the same.
      const verdict = await bootOf(tree, [leaves], old);
      assert.equal(verdict.verified, good, verdict.refusal?.message);
      assert.equal(verdict.refusal?.code, good ? undefined : 'untrusted-signer');
    }
  });

  it('carry only the key they replace, and none that was to be left behind already', async () => {
    const { out: third } = await rotate(leaves, { now: LATER + DAY });
    const certificates = async (path: string) =>
      ((await readFile(path, 'latin1')).match(/BEGIN CERTIFICATE/g) ?? []).length;
    assert.equal(await certificates(anchors(third, 'codesign.crt')), 2);
    assert.equal(await certificates(after(third, 'codesign.crt')), 1);
    const byOld = await sealed(old, old);
    const byNew = await sealed(leaves, leaves);
    const takes = (tree: string) =>
      gpgvTakes(join(tree, ROOTFS), join(tree, `${ROOTFS}.sig`), anchors(third, 'pubring.gpg'), LATER + DAY);
    assert.deepEqual([takes(byOld), takes(byNew)], [false, true]);
  });

  it('keep an overlap that is still going on when another key is replaced', async () => {
    const { out: third } = await rotate(leaves, { only: ['boot'] });
    for (const name of [
      'codesign.crt',
      'manifest.crt',
      'pubring.gpg',
      'script.gpg',
      'manifest.gpg',
      'snapshot.crt',
    ]) {
      assert.deepEqual(await readFile(anchors(third, name)), await readFile(anchors(leaves, name)), name);
      assert.deepEqual(await readFile(after(third, name)), await readFile(after(leaves, name)), name);
    }
    await sealed(third, third);
  });

  it('come also where the old ones have ended, and carry those no further', async () => {
    const late = NOW + 800 * DAY;
    const { out, warnings } = await rotate(old, { now: late });
    assert.deepEqual(
      await readFile(anchors(out, 'codesign.crt')),
      await readFile(after(out, 'codesign.crt')),
    );
    assert.match(warnings.join('\n'), /successors\.cms\.sig was left out: .* ended on 2028-10-31/);
    await assert.rejects(stat(anchors(out, 'successors.cms.sig')), { code: 'ENOENT' });
    assert.ok(
      gpgvTakes(
        anchors(out, 'successors'),
        anchors(out, 'successors.sig'),
        anchors(old, 'manifest.gpg'),
        late,
      ),
    );
    await assert.rejects(rotate(old, { now: late, only: ['codesign'] }), {
      code: 'expired',
      message: /boot\.crt ended/,
    });
  });

  it('end with their CA at the latest, which is said', async () => {
    const late = NOW + 3500 * DAY;
    const { steps, warnings } = await rotate(old, { now: late });
    const ends = (wanted: string) => steps.find(({ kind }) => kind === wanted)?.ends;
    assert.equal(ends('codesign'), NOW + 3652 * DAY);
    assert.match(warnings.join('\n'), /codesign certificate ends with its CA, on 2036-10-31/);
    assert.equal(ends('snapshot'), late + 3652 * DAY);
  });

  it('go into no folder that holds something, and nothing is left of them', async () => {
    await assert.rejects(
      rotateKeys({ keys: old, out: leaves, now: LATER, rsaBits: 2048 }),
      misused(/is not empty, and keys are never overwritten/),
    );
    const broken = fresh('keys');
    await cp(old, broken, { recursive: true });
    await writeFile(anchors(broken, 'pubring.gpg'), 'nonsense');
    const out = fresh('keys');
    await assert.rejects(rotateKeys({ keys: broken, out, now: LATER, rsaBits: 2048 }), { code: 'malformed' });
    await assert.rejects(stat(out), { code: 'ENOENT' });
  });
});

describe('the record of successors', () => {
  for (const [name, out, steps] of [
    ['of new leaves', leaves, leafSteps],
    ['of a new CA', newCa, caSteps],
  ] as const) {
    it(`${name} says which follow which, by the fingerprints that openssl and gpg print`, async () => {
      const record = decodeSuccessors(await readFile(anchors(out, 'successors')));
      assert.equal(record.issued, LATER);
      assert.deepEqual(
        record.steps,
        steps.map(({ kind, from, to }) => ({ kind, from, to })),
      );
      for (const { kind, from, to } of record.steps.filter(({ kind }) => !isOpenpgpKind(kind))) {
        assert.equal(from, fingerprint(anchors(old, `${kind}.crt`)), kind);
        assert.equal(to, fingerprint(anchors(out, `${kind}.crt`)), kind);
      }
    });

    it(`${name} is signed by the old keys, and by no new one`, () => {
      const record = anchors(out, 'successors');
      const cms = (keys: string, certificates: string) =>
        opensslTakes(record, `${record}.cms.sig`, early(certificates, anchors(keys, 'ca.crt')), LATER);
      assert.ok(cms(old, anchors(old, 'manifest.crt')));
      assert.ok(!cms(old, anchors(old, 'codesign.crt')));
      assert.ok(!cms(out, after(out, 'manifest.crt')));
      assert.ok(gpgvTakes(record, `${record}.sig`, anchors(old, 'manifest.gpg'), LATER));
      assert.ok(!gpgvTakes(record, `${record}.sig`, anchors(old, 'pubring.gpg'), LATER));
    });
  }
});

describe('publish', () => {
  const request = { channel: 'stable', now: LATER, rsaBits: 2048 };

  it('judges the dates of the keys that signed, not of those that the anchors still hold', async () => {
    // The old leaf ends before the release's best-before; the new one does not.
    const late = NOW + 700 * DAY;
    const { out } = await rotate(old, { now: late });
    const tree = await sampleTree(fresh('tree'), out);
    await sealFixture(tree, out, { now: late, release: 'arch/2028.10.01' });
    const { refusal } = await publish({ ...request, now: late, tree, state: fresh('state'), anchors: out });
    assert.equal(refusal, undefined);
    const byOld = await sampleTree(fresh('tree'), out);
    await sealFixture(byOld, old, { now: late, release: 'arch/2028.10.01' });
    const other = await publish({ ...request, now: late, tree: byOld, state: fresh('state'), anchors: out });
    assert.equal(other.refusal?.code, 'expired');
  });

  it('goes on with a channel under a new snapshot key that follows the old one, and under no other', async () => {
    const state = fresh('state');
    const tree = await sealed(leaves, leaves);
    const given = { ...request, tree, state, anchors: leaves };
    await publish({ ...given, snapshotKey: old });
    const stranger = await makeKeys(fresh('keys'));
    await assert.rejects(publish({ ...given, snapshotKey: stranger }), { code: 'untrusted-signer' });
    const { moved } = await publish({ ...given, snapshotKey: leaves });
    assert.equal(moved?.snapshot.counter, 2);
    const snapshot = join(state, 'channels/stable/2/snapshot');
    const takes = (certificate: string) =>
      opensslTakes(snapshot, `${snapshot}.cms.sig`, early(certificate, certificate), LATER);
    assert.deepEqual(
      [anchors(old, 'snapshot.crt'), anchors(leaves, 'snapshot.crt'), after(leaves, 'snapshot.crt')].map(
        takes,
      ),
      [false, true, true],
    );
  });

  it('takes no snapshot key that does not belong to its certificate', async () => {
    const mixed = fresh('keys');
    await cp(old, mixed, { recursive: true });
    await cp(after(leaves, 'snapshot.crt'), anchors(mixed, 'snapshot.crt'));
    const tree = await sealed(old, old);
    await assert.rejects(
      publish({ ...request, tree, state: fresh('state'), anchors: old, snapshotKey: mixed }),
      {
        code: 'unsafe-keys',
      },
    );
  });
});
