import assert from 'node:assert/strict';
import { cp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { SigningRequest } from '../../../src/formats/records/signing-request.ts';
import { openRequest } from '../../../src/signing/requests/open-request.ts';
import { misused } from '../../fixtures/failed.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { makeKeys, NOW } from '../../fixtures/keys.ts';
import { ROOTFS, sealFixture } from '../../fixtures/release.ts';
import { Bundle, makeRequest, WHOLE_TREE_SEALS, wholeTree } from '../../fixtures/signing-request.ts';
import { refused } from '../../trust/judge.ts';
import { changed, look, sumsNames } from '../judges.ts';
import { ARTIFACTS } from '../trees.ts';

const DAY = 86_400_000;
const SEALS = [...WHOLE_TREE_SEALS];
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const p256 = await makeKeys(join(folder, 'p256'), { kind: 'p256' });
const other = await makeKeys(join(folder, 'other'), { site: 'elsewhere' });
const fresh = await wholeTree(join(folder, 'fresh'));
const sealed = await wholeTree(join(folder, 'sealed'));
await sealFixture(sealed, keys);
const plain = await Bundle.read(await makeRequest(fresh, keys, join(folder, 'plain.cpio')));
const ofP256 = await Bundle.read(await makeRequest(fresh, p256, join(folder, 'p256.cpio')));
const alsoAnchors = [join(other, 'anchors')];
const both = await Bundle.read(await makeRequest(fresh, keys, join(folder, 'both.cpio'), { alsoAnchors }));
const id = both.index.certificates.at(-1)?.key.slice('boot-'.length) ?? '';

const sealsOf = ({ signatures, texts }: SigningRequest) =>
  [...signatures, ...texts].map(({ path, suffix }) => path + suffix).sort();
const open = (bundle: Bundle) => openRequest('request.cpio', bundle.bytes);

let copies = 0;
async function copy(tree: string): Promise<string> {
  const to = join(folder, `copy-${copies++}`);
  await cp(tree, to, { recursive: true });
  return to;
}

describe('a request', () => {
  it('asks for every seal of a bare tree, each by the key that such a seal is by', () => {
    assert.deepEqual(sealsOf(plain.index), SEALS);
    for (const { path, suffix, key } of plain.index.signatures)
      assert.equal(
        key,
        { '.ipxe.sig': 'leaf', '.cms.sig': 'codesign', '.sig': 'openpgp' }[suffix],
        path + suffix,
      );
    assert.deepEqual(
      plain.index.texts.map(({ key, path, suffix }) => [path + suffix, key]).sort(),
      [
        [`${ROOTFS}.roothash.cms.sig`, 'manifest'],
        ['boot.ipxe.sig', 'boot'],
        ['grub.cfg.sig', 'openpgp-script'],
        ['release.manifest.cms.sig', 'manifest'],
        ['release.manifest.sig', 'openpgp-manifest'],
        ...sumsNames(ARTIFACTS).map((name) => [`${name}.gpg`, 'openpgp-manifest']),
      ].sort(),
    );
    assert.deepEqual(
      plain.index.leaves.map(({ key, kind, bits, notBefore, notAfter }) => [
        key,
        kind,
        bits,
        notBefore,
        notAfter,
      ]),
      [['leaf', 'rsa', 2048, NOW - DAY, NOW + 190 * DAY]],
    );
  });

  it('asks a P-256 site for P-256, and for RSA by its OpenPGP keys', () => {
    const { signatures, texts } = ofP256.index;
    const algorithms = new Set([...signatures, ...texts].map(({ key, algorithm }) => `${key} ${algorithm}`));
    assert.deepEqual([...algorithms].sort(), [
      'boot p256-sha256',
      'codesign p256-sha256',
      'leaf p256-sha256',
      'manifest p256-sha256',
      'openpgp rsa-sha512',
      'openpgp-manifest rsa-sha512',
      'openpgp-script rsa-sha512',
    ]);
    assert.equal(ofP256.index.leaves[0]?.kind, 'p256');
  });

  it('of one tree is the same, byte for byte, and changes nothing in the tree', async () => {
    const before = look(fresh);
    const again = await makeRequest(fresh, keys, join(folder, 'again.cpio'));
    assert.deepEqual(await readFile(again), Buffer.from(plain.bytes));
    const after = look(fresh);
    assert.deepEqual(changed(before, after), []);
    for (const [name, { mtimeNs }] of before) assert.equal(after.get(name)?.mtimeNs, mtimeNs, name);
  });

  it('of a sealed tree asks for nothing, and names what stands there', async () => {
    const { index } = await Bundle.read(await makeRequest(sealed, keys, join(folder, 'sealed.cpio')));
    assert.deepEqual([index.signatures, index.texts, index.leaves], [[], [], []]);
    assert.deepEqual(index.kept.map(({ path }) => path).sort(), SEALS);
  });

  for (const seal of SEALS) {
    it(`of a tree that lacks ${seal} asks for that alone`, async () => {
      const tree = await copy(sealed);
      await rm(join(tree, seal));
      const { index } = await Bundle.read(await makeRequest(tree, keys, join(folder, 'one.cpio')));
      assert.deepEqual(sealsOf(index), [seal]);
      assert.equal(index.leaves.length, seal.endsWith('.ipxe.sig') && seal !== 'boot.ipxe.sig' ? 1 : 0);
      assert.deepEqual(
        index.kept.map(({ path }) => path).sort(),
        SEALS.filter((name) => name !== seal),
      );
      await rm(tree, { recursive: true });
    });
  }

  it('of a tree sealed by another site asks for all of it', async () => {
    const { index } = await Bundle.read(await makeRequest(sealed, other, join(folder, 'other.cpio')));
    assert.deepEqual(sealsOf(index), SEALS);
  });

  it('for the loaders of another CA asks for a second set of their seals', () => {
    const more = [...ARTIFACTS.map((path) => `${path}.${id}.ipxe.sig`), `boot.${id}.ipxe.sig`];
    assert.deepEqual(sealsOf(both.index), [...SEALS, ...more].sort());
    assert.deepEqual(
      both.index.leaves.map(({ key }) => key),
      ['leaf', `leaf-${id}`],
    );
  });

  it('is the same from a folder of anchors and from an init folder', async () => {
    const made = await makeRequest(fresh, keys, join(folder, 'named.cpio'), { anchors: keys });
    assert.deepEqual(await readFile(made), Buffer.from(plain.bytes));
  });

  it('cannot be for the loaders of one CA twice', async () => {
    const out = join(folder, 'twice.cpio');
    for (const anchors of [[keys], [other, other]])
      await assert.rejects(
        makeRequest(fresh, keys, out, { alsoAnchors: anchors }),
        misused(/name each CA once/),
      );
    await assert.rejects(readFile(out), { code: 'ENOENT' });
  });

  it('opens as what was drafted', () => {
    for (const bundle of [plain, ofP256, both]) {
      const { request, manifest, lacking } = open(bundle);
      assert.deepEqual(request, bundle.index);
      assert.equal(manifest.release, 'arch/2026.11.01');
      assert.equal(lacking.length, request.signatures.length + request.texts.length);
    }
  });

  it('opens cut at no length', () => {
    for (let length = 0; length < plain.bytes.length - 4; length += 61)
      assert.throws(
        () => openRequest('r', plain.bytes.subarray(0, length)),
        refused('malformed', /^r cannot be read/),
      );
  });
});
