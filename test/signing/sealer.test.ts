import assert from 'node:assert/strict';
import { cpSync } from 'node:fs';
import { appendFile, cp, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { verify } from '../../src/conformance/verify.ts';
import { decodeDetachedCms } from '../../src/formats/asn1/cms.ts';
import { decodeDetachedOpenpgp } from '../../src/formats/openpgp/openpgp-signature.ts';
import { isoSeconds } from '../../src/formats/records/lines.ts';
import { decodeManifest } from '../../src/formats/records/manifest.ts';
import type { KeyKind } from '../../src/signing/keys/key-pair.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { INITRD, KERNEL, ROOTFS, sealFixture } from '../fixtures/release.ts';
import { changed, look, openssl, sealNames, stockToolTakes, sumsNames } from './judges.ts';
import { ARTIFACTS, MANY_OCTETS, MICROCODE, smallTree } from './trees.ts';

const DAY = 86_400_000;
const recordsOf = (artifacts: readonly string[]) => [
  ...['boot.ipxe', 'grub.cfg', 'release.manifest'],
  ...sumsNames(artifacts),
];
const RECORDS = recordsOf(ARTIFACTS);
const SEALS = sealNames(ARTIFACTS);
const folder = await temporaryFolder();
const largeTree = (name: string) => smallTree(join(folder, name), 'one', '2026.11.01', MANY_OCTETS);

/** All of it before the first test: the runner takes the file for done when what it knows of is done. */
const sites = await Promise.all(
  (['rsa', 'p256'] as const).map(async (kind) => {
    const keys = await makeKeys(join(folder, `keys-${kind}`), { kind });
    const sealed = await largeTree(`sealed-${kind}`);
    return { kind, keys, sealed, result: await sealFixture(sealed, keys) };
  }),
);

for (const { kind, keys, sealed, result } of sites) {
  let copies = 0;
  const copy = async () => {
    const tree = join(folder, `${kind}-${copies++}`);
    cpSync(sealed, tree, { recursive: true, preserveTimestamps: true });
    return tree;
  };
  const verified = async (tree: string) => {
    const { refusal } = await verify({ tree, anchors: keys, now: NOW });
    assert.equal(refusal?.message, undefined);
  };

  describe(`sealing, ${kind}`, () => {
    it('writes every seal and record, and nothing else', async () => {
      const before = look(await largeTree(`bare-${kind}`));
      assert.deepEqual(changed(before, look(sealed)), [...SEALS, ...RECORDS].sort());
      assert.deepEqual(
        result.files.map(({ path, outcome }) => `${outcome} ${path}`).sort(),
        [...SEALS, ...RECORDS].map((path) => `written ${path}`).sort(),
      );
      for (const path of [...SEALS, ...RECORDS]) {
        assert.equal((await stat(join(sealed, path))).mode & 0o7777, 0o644, path);
      }
    });

    for (const seal of SEALS) {
      it(`the stock tool takes ${seal}, and not over other content`, async () => {
        assert.ok(stockToolTakes(sealed, keys, seal, NOW));
        const tree = await copy();
        const subject = seal.endsWith('.sha512') ? ROOTFS : seal.replace(/(\.ipxe|\.cms)?\.sig$/, '');
        await appendFile(join(tree, seal === 'boot.ipxe.sig' ? 'boot.ipxe' : subject), 'x');
        assert.ok(!stockToolTakes(tree, keys, seal, NOW));
        await rm(tree, { recursive: true });
      });
    }

    it('Bootseal verifies what it sealed', () => verified(sealed));

    it('the release leaf bears the release’s name, lasts 100 days after best-before, and has no key left', async () => {
      const leaves = await Promise.all(
        ARTIFACTS.map(async (path) => {
          const { certificates } = decodeDetachedCms(await readFile(join(sealed, `${path}.ipxe.sig`)));
          return certificates.find(({ commonName }) => commonName === 'arch/2026.11.01');
        }),
      );
      const [leaf] = leaves;
      assert.ok(leaf);
      for (const other of leaves) assert.ok(other && Buffer.from(other.raw).equals(leaf.raw));
      assert.equal(leaf.notBefore, NOW - DAY);
      assert.equal(leaf.notAfter, NOW + 190 * DAY);
      const names = [...look(keys).keys()].filter((name) => name.startsWith('private'));
      assert.equal(names.length, 8);
    });

    it('the certificate chain is in the seals for iPXE and in no others', async () => {
      const count = async (name: string) =>
        decodeDetachedCms(await readFile(join(sealed, name))).certificates.length;
      for (const path of ARTIFACTS) {
        assert.equal(await count(`${path}.ipxe.sig`), 2);
        assert.equal(await count(`${path}.cms.sig`), 0);
      }
      assert.equal(await count('boot.ipxe.sig'), 2);
      assert.equal(await count('release.manifest.cms.sig'), 0);
    });

    it('CMS is without attributes and by SHA-256, as openssl prints it', () => {
      for (const name of SEALS.filter((seal) => /\.(ipxe|cms)\.sig$/.test(seal))) {
        const { stdout } = openssl('cms', '-cmsout', '-print', '-inform', 'DER', '-in', join(sealed, name));
        assert.match(stdout, /signedAttrs:\s*<ABSENT>/, name);
        assert.match(stdout, /eContent: <ABSENT>/, name);
        assert.match(stdout, /digestAlgorithm: \s*algorithm: sha256/, name);
        assert.match(stdout, kind === 'rsa' ? /rsaEncryption/ : /ecdsa-with-SHA256/, name);
      }
    });

    it('OpenPGP seals are of the issued time, by SHA-512, with the key’s id where GRUB looks', async () => {
      for (const name of [...ARTIFACTS, 'grub.cfg', 'release.manifest']) {
        const [signature, more] = decodeDetachedOpenpgp(await readFile(join(sealed, `${name}.sig`)));
        assert.ok(signature && !more);
        assert.equal(signature.created, NOW);
        assert.equal(signature.hash, 'sha512');
        assert.deepEqual(
          signature.subpackets.map(({ type, hashed }) => [type, hashed]),
          [
            [33, true],
            [2, true],
            [16, false],
          ],
        );
      }
    });

    it('the manifest lists the payload, with the dates and the serial of the release', async () => {
      const manifest = decodeManifest(await readFile(join(sealed, 'release.manifest')));
      assert.deepEqual(manifest, result.manifest);
      assert.equal(manifest.release, 'arch/2026.11.01');
      assert.equal(manifest.serial, 2026110100);
      assert.equal(isoSeconds(manifest.issued), '2026-11-01T00:00:00Z');
      assert.equal(isoSeconds(manifest.bestBefore), '2027-01-30T00:00:00Z');
      assert.deepEqual(
        manifest.files.map(({ path }) => path),
        ARTIFACTS,
      );
      for (const script of ['boot.ipxe', 'grub.cfg']) {
        const text = await readFile(join(sealed, script), 'latin1');
        assert.ok(text.includes(`bootseal.manifest=${result.manifestSha256}`), script);
      }
    });

    it('sealing twice changes no byte and writes no file', async () => {
      const tree = await copy();
      await sealFixture(tree, keys);
      const before = look(tree);
      // A year later: what tells the time is the release that is sealed already.
      const again = await sealFixture(tree, keys, { now: NOW + 365 * DAY });
      assert.deepEqual(
        again.files.filter(({ outcome }) => outcome !== 'kept'),
        [],
      );
      const after = look(tree);
      assert.deepEqual([...after.keys()], [...before.keys()]);
      for (const [name, { bytes, mtimeNs, ino }] of before) {
        const now = after.get(name);
        assert.ok(now?.bytes.equals(bytes), name);
        assert.deepEqual([now?.mtimeNs, now?.ino], [mtimeNs, ino], name);
      }
    });

    for (const artifact of [KERNEL, MICROCODE, INITRD, ROOTFS]) {
      it(`changing ${artifact} makes anew what depends on it, and nothing else`, async () => {
        const tree = await copy();
        await appendFile(join(tree, artifact), 'x');
        const before = look(tree);
        await sealFixture(tree, keys);
        assert.deepEqual(
          changed(before, look(tree)),
          [...sealNames([artifact]), ...recordsOf([artifact])].sort(),
        );
        await verified(tree);
      });
    }

    it('every seal that is gone comes back, and the others stay', async () => {
      for (const seal of sealNames([ROOTFS])) {
        const tree = await copy();
        const before = look(tree);
        await rm(join(tree, seal));
        const { files } = await sealFixture(tree, keys);
        assert.deepEqual(
          files.filter(({ outcome }) => outcome === 'written').map(({ path }) => path),
          [seal],
        );
        const differs = changed(before, look(tree));
        // The same key signs the same content the same way; a leaf's key is thrown away.
        assert.deepEqual(differs, isByLeaf(seal) ? [seal] : [], seal);
        assert.ok(stockToolTakes(tree, keys, seal, NOW), seal);
        await verified(tree);
        await rm(tree, { recursive: true });
      }
    });

    it('a seal by another site’s keys is made anew', async () => {
      const others = await makeKeys(join(folder, `others-${kind}`), { kind });
      const tree = await copy();
      await sealFixture(tree, others);
      const { files } = await sealFixture(tree, keys);
      assert.deepEqual(
        files.filter(({ outcome }) => outcome === 'kept').map(({ path }) => path),
        [ROOTFS.replace('.sfs', '.sha512'), ...RECORDS].sort((a, b) => order(a) - order(b)),
      );
      await verified(tree);
      function order(path: string): number {
        return files.findIndex((file) => file.path === path);
      }
    });
  });

  it(`two sealings with the same ${kind} keys and time`, async () => {
    const twin = await largeTree(`twin-${kind}`);
    await sealFixture(twin, keys, { issued: NOW, now: NOW + 5 * DAY });
    const differs = changed(look(sealed), look(twin));
    // All is equal but what the leaf signed, whose key was thrown away.
    const random = SEALS.filter((seal) => ARTIFACTS.some((path) => seal === `${path}.ipxe.sig`));
    assert.deepEqual(differs, random);
  });

  it(`two sealings with the same ${kind} keys, time and leaf`, async () => {
    const tree = await copy();
    for (const name of [...SEALS, ...RECORDS]) if (!isByLeaf(name)) await rm(join(tree, name));
    await sealFixture(tree, keys, { issued: NOW });
    assert.deepEqual(changed(look(sealed), look(tree)), []);
  });
}

function isByLeaf(name: string): boolean {
  return name.endsWith('.ipxe.sig') && name !== 'boot.ipxe.sig';
}

it('keys of one kind replace the seals of the other', async () => {
  const kinds: readonly KeyKind[] = ['p256', 'rsa'];
  const tree = join(folder, 'both');
  await cp(join(folder, 'sealed-rsa'), tree, { recursive: true });
  for (const kind of kinds) {
    const keys = join(folder, `keys-${kind}`);
    await sealFixture(tree, keys);
    for (const seal of SEALS) assert.ok(stockToolTakes(tree, keys, seal, NOW), `${kind} ${seal}`);
  }
});
