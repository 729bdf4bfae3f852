import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { appendFile, copyFile, cp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { attach, requestSignatures, signRequest } from '../../src/operations/request.ts';
import { readAnchorFolder } from '../../src/trust/anchor-folder.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { judgeFolder } from '../fixtures/judge.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { readyKeyPair } from '../fixtures/ready-keys.ts';
import { ROOTFS, sealFixture, writeTree } from '../fixtures/release.ts';
import { look, openssl, run } from '../signing/judges.ts';

/** The seals of a root image that the kernel checks block by block. */

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const anchors = await readAnchorFolder(keys);
const TREE = `${ROOTFS}.verity`;
const ROOT = `${ROOTFS}.roothash`;
const SEAL = `${ROOTFS}.roothash.cms.sig`;
/** More blocks than one hash block holds. */
const OCTETS = 130 * 4096;

function tree(name: string, word = 'one', version = '2026.11.01', octets = OCTETS): Promise<string> {
  return writeTree(join(folder, name), {
    'arch/version': `${version}\n`,
    'arch/boot/x86_64/vmlinuz-linux': `kernel ${word}\0`,
    'arch/boot/x86_64/initramfs-linux.img': `initramfs ${word}\0`,
    [ROOTFS]: Buffer.alloc(octets, `hsqs root image ${word}\n`),
  });
}

const good = await tree('good');
const sealed = await sealFixture(good, keys);
const next = await tree('next', 'two', '2026.11.02');
await sealFixture(next, keys);
const foreign = await tree('foreign');
await sealFixture(foreign, await makeKeys(join(folder, 'other-keys')));

async function refusals(of: string): Promise<string[]> {
  const { rows } = await judgeFolder(of, anchors);
  return rows.flatMap(({ path, cells }) =>
    Object.entries(cells).flatMap(([column, finding]) =>
      finding.verified ? [] : [`${path} ${column}: ${finding.refusal.code}`],
    ),
  );
}

async function flip(path: string, at: number): Promise<void> {
  const bytes = await readFile(path);
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  await writeFile(path, bytes);
}

describe('the verity seals of a root image', () => {
  it('are what veritysetup and openssl take', async () => {
    const root = await readFile(join(good, ROOT), 'latin1');
    assert.match(root, /^[0-9a-f]{64}$/);
    const setup = (image: string) => run('veritysetup', ['verify', image, join(good, TREE), root]).status;
    assert.equal(setup(join(good, ROOTFS)), 0);
    assert.notEqual(setup(join(next, ROOTFS)), 0);
    const takes = (content: string) =>
      openssl(
        ...['smime', '-verify', '-binary', '-inform', 'DER', '-in', join(good, SEAL), '-content', content],
        ...['-certfile', join(keys, 'anchors/manifest.crt'), '-nointern', '-noverify', '-out', '/dev/null'],
      ).status;
    assert.equal(takes(join(good, ROOT)), 0);
    assert.notEqual(takes(join(next, ROOT)), 0);
  });

  it('are named in the manifest, hash tree and fs-verity digest too', async () => {
    const { verity, fsverity, files } = sealed.manifest;
    const rootHash = await readFile(join(good, ROOT), 'latin1');
    assert.deepEqual(verity, [{ rootHash, salt: '-', dataBlocks: OCTETS / 4096, path: ROOTFS }]);
    const digest = execFileSync('fsverity', ['digest', '--compact', join(good, ROOTFS)], {
      encoding: 'utf8',
    });
    assert.deepEqual(fsverity, [{ digest: digest.trim(), path: ROOTFS }]);
    const hashTree = files.find(({ role }) => role === 'hashtree');
    assert.deepEqual([hashTree?.path, hashTree?.size], [TREE, (await stat(join(good, TREE))).size]);
  });

  it('are verified, and written once', async () => {
    assert.deepEqual(await refusals(good), []);
    const before = look(good);
    const { files } = await sealFixture(good, keys);
    assert.ok(files.every(({ outcome }) => outcome === 'kept'));
    for (const [name, { ino }] of look(good)) assert.equal(ino, before.get(name)?.ino, name);
  });

  it('come back where they are gone or were changed', async () => {
    for (const [name, spoil] of [
      [TREE, (path: string) => flip(path, 5000)],
      [TREE, (path: string) => rm(path)],
      [ROOT, (path: string) => truncate(path, 5)],
      [SEAL, (path: string) => rm(path)],
    ] as const) {
      const copy = join(folder, 'mended');
      await cp(good, copy, { recursive: true });
      await spoil(join(copy, name));
      const { files } = await sealFixture(copy, keys);
      assert.deepEqual(
        files.filter(({ outcome }) => outcome === 'written').map(({ path }) => path),
        [name],
      );
      assert.ok((await readFile(join(copy, name))).equals(await readFile(join(good, name))), name);
      await rm(copy, { recursive: true });
    }
  });

  it('leave out dm-verity where it would leave out the end of the image', async () => {
    const odd = await tree('odd', 'one', '2026.11.01', OCTETS + 1);
    const { manifest, files } = await sealFixture(odd, keys);
    assert.deepEqual(manifest.verity, []);
    assert.equal(manifest.fsverity.length, 1);
    assert.ok(!files.some(({ path }) => path.startsWith(TREE) || path.startsWith(ROOT)));
    assert.deepEqual(await refusals(odd), []);
  });

  it('are asked for like all the others, with the keys elsewhere', async () => {
    const here = await tree('requested');
    const out = join(folder, 'request.cpio');
    const issued = sealed.manifest.issued;
    await requestSignatures({
      tree: here,
      anchors: keys,
      out,
      now: NOW,
      issued,
      rsaBits: 2048,
    });
    const response = join(folder, 'response.cpio');
    await signRequest({ request: out, keys: [keys], out: response, now: NOW, makeKeyPair: readyKeyPair });
    await attach({ tree: here, responses: [response] });
    assert.deepEqual(await refusals(here), []);
    for (const name of [TREE, ROOT, SEAL]) {
      assert.ok((await readFile(join(here, name))).equals(await readFile(join(good, name))), name);
    }
    await flip(join(here, TREE), 5000);
    await assert.rejects(attach({ tree: here, responses: [response] }), { code: 'drifted' });
  });
});

const ATTACKS: Record<string, [act: (of: string) => Promise<unknown>, refused: readonly string[]]> = {
  'a hash block with one byte changed': [
    (of) => flip(join(of, TREE), 5000),
    [`${TREE} manifest: bad-signature`],
  ],
  'a superblock with one byte changed': [
    (of) => flip(join(of, TREE), 9),
    [`${TREE} manifest: bad-signature`],
  ],
  'a hash tree that is longer': [
    (of) => appendFile(join(of, TREE), 'x'),
    [`${TREE} manifest: bad-signature`],
  ],
  'no hash tree': [(of) => rm(join(of, TREE)), [`${TREE} manifest: absent`]],
  'the hash tree of another release': [
    (of) => copyFile(join(next, TREE), join(of, TREE)),
    [`${TREE} manifest: bad-signature`],
  ],
  'the root hash of another release': [
    (of) => copyFile(join(next, ROOT), join(of, ROOT)),
    [`${ROOTFS} verity: mixed-releases`],
  ],
  'root hash and seal of another release': [
    async (of) => {
      await copyFile(join(next, ROOT), join(of, ROOT));
      await copyFile(join(next, SEAL), join(of, SEAL));
    },
    [`${ROOTFS} verity: mixed-releases`],
  ],
  'a root hash with a line feed': [(of) => appendFile(join(of, ROOT), '\n'), [`${ROOTFS} verity: malformed`]],
  'no root hash': [(of) => rm(join(of, ROOT)), [`${ROOTFS} verity: absent`]],
  'no seal of the root hash': [(of) => rm(join(of, SEAL)), [`${ROOTFS} verity: absent`]],
  'a seal of the root hash with its last byte changed': [
    async (of) => flip(join(of, SEAL), (await stat(join(of, SEAL))).size - 1),
    [`${ROOTFS} verity: bad-signature`],
  ],
  'a seal of the root hash by another site': [
    (of) => copyFile(join(foreign, SEAL), join(of, SEAL)),
    [`${ROOTFS} verity: untrusted-signer`],
  ],
};

describe('a tree is refused with', () => {
  for (const [name, [act, refused]] of Object.entries(ATTACKS)) {
    it(name, async () => {
      const copy = join(folder, 'attacked');
      await cp(good, copy, { recursive: true });
      await act(copy);
      assert.deepEqual(await refusals(copy), refused);
      await rm(copy, { recursive: true });
    });
  }
});
