import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
import type { Fetched } from '../../../src/emulator/transport.ts';
import { cpioEntries, encodeCpio } from '../../../src/formats/archive/cpio.ts';
import { encodePolicyFloor, type PolicyFloor } from '../../../src/formats/records/policy-floor.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { makeKeys, NOW } from '../../fixtures/keys.ts';
import { makeSquashfs, noise, SMALL_ROOT } from '../../fixtures/squashfs.ts';
import { flipped, initrd, keyFiles, outcomes, ROOT, without } from './release.ts';
import { commandLine, earlyVerity, pieces, ranges, type Setting, sealedAround } from './verity-machine.ts';

const run = promisify(execFile);
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const anchors = await keyFiles(keys);
const initrds = [initrd(anchors)];
const TREE = `${ROOT}.verity`;
const HASH = `${ROOT}.roothash`;
const SEAL = `${HASH}.cms.sig`;
const DAY = 86_400_000;

/** 3 MB: more blocks than one hash block has digests, most of them never asked for. */
const content = { ...SMALL_ROOT, 'usr/share/large': noise(3_000_000, 'large') };
const image = await readFile(
  await makeSquashfs(join(folder, 'image'), content, ['-comp', 'xz', '-b', '64K']),
);
const files = await sealedAround(join(folder, 'tree'), keys, image);
const later = await sealedAround(join(folder, 'later'), keys, Buffer.concat([image, image]), '2026.11.02');
// As long as the first, so that lengths tell nothing.
const sibling = await sealedAround(join(folder, 'sibling'), keys, flipped(image, 100_000), '2026.11.03');
const foreign = await sealedAround(join(folder, 'foreign'), await makeKeys(join(folder, 'stranger')), image);
const of = (from: Setting['files'], path: string): Uint8Array => from[path] as Uint8Array;
const put = (path: string, bytes: Uint8Array): Setting['files'] => ({ ...files, [path]: bytes });

describe('a root image under dm-verity', () => {
  it('is mounted from the few blocks that mounting reads, each of which is verified', async () => {
    const ran = await earlyVerity({ files, initrds });
    assert.deepEqual(outcomes(ran), { manifest: 'verified', cms: 'verified', verity: 'verified' });
    assert.deepEqual([ran.refusal, ran.path], [undefined, ROOT]);
    assert.deepEqual(Buffer.from(of(files, HASH)).toString(), ran.verity?.rootHash);
    assert.equal(ran.verified?.size, 64);
    assert.deepEqual(ran.verity?.root, { fileSystem: 'squashfs', compressor: 'xz', name: 'Arch Linux' });
    assert.equal(
      ran.verity?.signer,
      ran.findings.flatMap((f) => (f.verified ? [f.evidence.signer] : [])).at(1),
    );
    assert.match(ran.console.at(-1) ?? '', /^Root hash is OK, dm-verity over arch.*: [0-9a-f]{64}$/);
    // Nothing but records came whole, and nothing of what the mode leaves out was even asked for.
    assert.deepEqual(
      ran.asked.filter((each) => !/^\d/.test(each)),
      ['release.manifest', 'release.manifest.cms.sig', 'release.manifest.sig', HASH, SEAL],
    );
  });

  it('is downloaded and hashed in mode ram, as ever', async () => {
    const ran = await earlyVerity({ files, initrds, mode: 'ram' });
    assert.deepEqual([ran.refusal, ran.verity], [undefined, undefined]);
    assert.ok(ran.asked.includes(ROOT) && !ran.asked.includes(HASH));
  });

  it('counts what it needed, byte for byte, and asks for nothing twice', async () => {
    const ran = await earlyVerity({ files, initrds });
    const sum = (path: string) =>
      ranges(ran, path).reduce((total, [first, last]) => total + last - first + 1, 0);
    assert.deepEqual(ran.verity?.image, { path: ROOT, fetched: sum(ROOT), size: image.length });
    assert.deepEqual(ran.verity?.tree, { path: TREE, fetched: sum(TREE), size: of(files, TREE).length });
    assert.equal(ran.verity?.requests, ranges(ran, ROOT).length + ranges(ran, TREE).length);
    assert.ok(sum(ROOT) > 0 && sum(ROOT) < image.length / 4, `${sum(ROOT)} of ${image.length}`);
    for (const path of [ROOT, TREE]) {
      const blocks = ranges(ran, path).flatMap(([first, last]) => {
        assert.deepEqual([first % 4096, (last + 1) % 4096], [0, 0]);
        return Array.from({ length: (last + 1 - first) / 4096 }, (_, n) => first / 4096 + n);
      });
      assert.equal(new Set(blocks).size, blocks.length);
    }
  });

  it('has a tree that veritysetup takes, and veritysetup refuses what is refused here', async () => {
    const { rootHash = '' } = (await earlyVerity({ files, initrds })).verity ?? {};
    const tree = join(folder, 'tree', TREE);
    await run('veritysetup', ['verify', join(folder, 'tree', ROOT), tree, rootHash]);
    await assert.rejects(run('veritysetup', ['verify', join(folder, 'sibling', ROOT), tree, rootHash]));
    assert.equal((await earlyVerity({ files: put(ROOT, of(sibling, ROOT)), initrds })).refusal, undefined);
    // What differs there is a block that nobody read; the moment somebody does, it is refused.
    const [[first = 0] = []] = ranges(await earlyVerity({ files, initrds }), ROOT);
    const ran = await earlyVerity({ files: put(ROOT, flipped(image, first + 4095)), initrds });
    assert.equal(ran.refusal?.code, 'bad-signature');
  });

  it('is mounted as well where the policy floor asks for checks of an image', async () => {
    const all = policyInitrd(['manifest', 'checksum', 'openpgp', 'cms']);
    const ran = await earlyVerity({ files, initrds: [...initrds, all] });
    assert.deepEqual([ran.refusal, ran.verity?.root?.fileSystem], [undefined, 'squashfs']);
    const ram = await earlyVerity({ files, initrds: [...initrds, all], mode: 'ram' });
    assert.deepEqual(Object.keys(outcomes(ram)), ['manifest', 'checksum', 'openpgp', 'cms']);
  });

  it('that is no squashfs is read at both ends', async () => {
    const plain = await sealedAround(join(folder, 'plain'), keys, noise(40 * 4096, 'no file system'));
    const ran = await earlyVerity({ files: plain, initrds });
    assert.deepEqual([ran.refusal, ran.verity?.root], [undefined, { fileSystem: 'unknown' }]);
    const last = 39 * 4096;
    assert.deepEqual(ranges(ran, ROOT), [
      [0, 4095],
      [last, last + 4095],
    ]);
  });

  it('of one block has no hash block, and is verified all the same', async () => {
    const one = await sealedAround(join(folder, 'one'), keys, noise(4096, 'one block'));
    const good = await earlyVerity({ files: one, initrds });
    assert.deepEqual([good.refusal, ranges(good, TREE)], [undefined, [[0, 4095]]]);
    const bad = await earlyVerity({ files: { ...one, [ROOT]: flipped(of(one, ROOT)) }, initrds });
    assert.equal(bad.refusal?.code, 'bad-signature');
  });

  it('with blocks that only a kernel unpacks is verified, and it is said how far it was read', async () => {
    const lz4 = await makeSquashfs(join(folder, 'lz4'), SMALL_ROOT, ['-comp', 'lz4']);
    const ran = await earlyVerity({
      files: await sealedAround(join(folder, 'tree-lz4'), keys, await readFile(lz4)),
      initrds,
    });
    const root = { fileSystem: 'squashfs', compressor: 'lz4', name: undefined };
    assert.deepEqual(
      [ran.refusal, ran.verity?.root],
      [undefined, { ...root, unread: 'lz4 is not unpacked here' }],
    );
    // Calls of one function from many places: what xz's filter for machine code is for.
    const code = Buffer.alloc(60_000);
    for (let at = 0; at + 12 <= code.length; at += 12) {
      code.writeUInt8(0xe8, at);
      code.writeInt32LE(0x1234 - at - 5, at + 1);
    }
    const words = ['-comp', 'xz', '-Xbcj', 'x86'];
    const filtered = await makeSquashfs(join(folder, 'bcj'), { ...SMALL_ROOT, 'usr/bin/code': code }, words);
    const said = await earlyVerity({
      files: await sealedAround(join(folder, 'tree-bcj'), keys, await readFile(filtered)),
      initrds,
    });
    assert.equal(said.refusal, undefined);
    assert.match(JSON.stringify(said.verity?.root), /"unread":"xz: a filter or an option/);
  });
});

function policyInitrd(require: PolicyFloor['require']): Uint8Array {
  const data = encodePolicyFloor({ name: 'arch', minSerial: 0, graceDays: 0, require });
  return encodeCpio(
    cpioEntries(
      [
        { kind: 'directory', name: 'bootseal' },
        { kind: 'file', name: 'bootseal/policy', data },
      ],
      0,
    ),
  );
}

type Case = readonly [what: string, given: Partial<Setting>, code: string, says: RegExp];
const answers = (path: string, change: (answer: Fetched) => Partial<Fetched>): Partial<Setting> => ({
  part: (answer, of) => (of === path ? { ...answer, ...change(answer) } : answer),
});
const said = (change: object) => (answer: Fetched) =>
  ({ part: { ...answer.part, ...change } }) as Partial<Fetched>;
const BAD = 'bad-signature';
const PART = /another part than the one that was asked for/;

const REFUSED: readonly Case[] = [
  [
    'one bit of a data block that is read',
    { files: put(ROOT, flipped(image, 20)) },
    BAD,
    /^Block 0 of arch\/x86_64\/airootfs\.sfs does not hold against .*\.verity: data block 0 is not the one that was sealed\.$/,
  ],
  [
    'one bit of the last table of the file system',
    { files: put(ROOT, flipped(image, Number(image.readBigUInt64LE(48)))) },
    BAD,
    /^Block \d+ of .*: data block \d+ is not/,
  ],
  [
    'one bit of the topmost hash block',
    { files: put(TREE, flipped(of(files, TREE), 4096)) },
    BAD,
    /^Block 0 of arch.*airootfs\.sfs does not hold against arch.*airootfs\.sfs\.verity: hash block 1 is not the one that was sealed\.$/,
  ],
  [
    'one bit of a lower hash block',
    { files: put(TREE, flipped(of(files, TREE), 2 * 4096)) },
    BAD,
    /hash block 2 is/,
  ],
  [
    'another image of the same length',
    { files: put(ROOT, noise(image.length, 'another')) },
    BAD,
    /data block 0 is not/,
  ],
  [
    'an image that is cut',
    { files: put(ROOT, image.subarray(0, -4096)) },
    BAD,
    /has \d+ bytes, and the manifest says/,
  ],
  ['an image that is longer', { files: put(ROOT, Buffer.concat([image, image])) }, BAD, /has \d+ bytes/],
  [
    'a hash tree that is cut',
    { files: put(TREE, of(files, TREE).subarray(0, -4096)) },
    BAD,
    /verity has \d+ bytes/,
  ],
  [
    'the hash tree of another release',
    { files: put(TREE, of(sibling, TREE)) },
    'mixed-releases',
    /^arch.*\.verity is not the hash tree that arch\/2026\.11\.01 lists\.$/,
  ],
  [
    'a hash tree that is none',
    { files: put(TREE, noise(of(files, TREE).length, 'x')) },
    'malformed',
    /superblock/,
  ],
  [
    'a longer hash tree of another release',
    { files: put(TREE, of(later, TREE)) },
    BAD,
    /verity has \d+ bytes/,
  ],
  ['no hash tree', { files: without(files, TREE) }, 'absent', /\.verity does not exist/],
  ['no image', { files: without(files, ROOT) }, 'absent', /airootfs\.sfs does not exist/],
  [
    'a root hash without its seal',
    { files: without(files, SEAL) },
    'absent',
    /roothash\.cms\.sig does not exist/,
  ],
  ['no root hash', { files: without(files, HASH) }, 'absent', /roothash does not exist/],
  [
    'the root hash of another release with its own good seal',
    { files: { ...put(HASH, of(sibling, HASH)), [SEAL]: of(sibling, SEAL) } },
    'mixed-releases',
    /roothash is not the root hash that the manifest names/,
  ],
  [
    'root hash, tree and image of another release, all with their own good seals',
    {
      files: { ...sibling, ...Object.fromEntries(Object.entries(files).filter(([p]) => /manifest/.test(p))) },
    },
    'mixed-releases',
    /roothash is not the root hash/,
  ],
  [
    'another root hash under the good seal',
    { files: put(HASH, of(sibling, HASH)) },
    BAD,
    /roothash\.cms\.sig does not match/,
  ],
  [
    'the seal of another root hash',
    { files: put(SEAL, of(sibling, SEAL)) },
    BAD,
    /roothash\.cms\.sig does not match/,
  ],
  [
    'another site’s seal of the same root hash',
    { files: put(SEAL, of(foreign, SEAL)) },
    'untrusted-signer',
    /roothash\.cms\.sig/,
  ],
  [
    'a root hash with a newline',
    { files: put(HASH, Buffer.from(`${of(files, HASH)}\n`)) },
    BAD,
    /roothash\.cms\.sig does not match/,
  ],
  ['a root hash without end', { files: put(HASH, new Uint8Array(5000)) }, 'too-large', /longer than 1024/],
  ['a seal that is none', { files: put(SEAL, Buffer.from('<html>')) }, 'malformed', /roothash\.cms\.sig/],
  [
    'a server that ignores Range',
    { part: (answer) => ({ ...answer, partial: false, body: endless() }) },
    'unreachable',
    /sent whole where a part was asked for; the server knows no HTTP Range/,
  ],
  ['a part from elsewhere', answers(ROOT, said({ first: 4096, last: 8191 })), 'malformed', PART],
  ['a part that ends early', answers(ROOT, said({ last: 4094 })), 'malformed', PART],
  ['a part of which nothing is said', answers(ROOT, () => ({ part: undefined as never })), 'malformed', PART],
  ['a part of another length than it says', answers(ROOT, () => ({ size: 4095 })), 'malformed', PART],
  ['a part of a file of unknown size', answers(ROOT, said({ size: undefined })), 'malformed', /whole size/],
  [
    'a part of a longer file',
    answers(ROOT, said({ size: image.length + 1 })),
    BAD,
    /has \d+ bytes, and the manifest/,
  ],
  [
    'a body that is too short',
    answers(TREE, () => ({ size: undefined, body: pieces(new Uint8Array(4095)) })),
    'unreachable',
    /ends after 4095 of the 4096 bytes/,
  ],
  [
    'a body without end',
    answers(TREE, () => ({ size: undefined, body: endless() })),
    'malformed',
    /more than the 4096/,
  ],
  [
    'a release that was sealed without a hash tree',
    { files: await sealedAround(join(folder, 'treeless'), keys, noise(4097, 'odd')) },
    'absent',
    /lists no hash tree.*boots in mode ram only/,
  ],
  [
    'a command line that names no manifest',
    { cmdline: commandLine(files).replace(/ bootseal\.manifest=.*/, '') },
    'absent',
    /names no manifest.*mode ram/,
  ],
  ['a manifest that is expired', { now: NOW + 200 * DAY }, 'stale', /./],
  [
    'a machine that demands OpenPGP, and has no such key',
    {
      initrds: [initrd(without(anchors, 'bootseal/manifest.gpg')), policyInitrd(['openpgp'])],
    },
    'absent',
    /manifest\.gpg/,
  ],
];

/** Fails whoever reads on. */
async function* endless(): AsyncGenerator<Uint8Array> {
  for (let sent = 0; sent < 1_000_000; sent += 1000) yield new Uint8Array(1000);
  assert.fail('the whole body was read');
}

describe('a machine that mounts its root under dm-verity refuses', () => {
  for (const [what, given, code, says] of REFUSED) {
    it(what, async () => {
      const ran = await earlyVerity({ files, initrds, ...given });
      assert.equal(ran.refusal?.code, code, ran.refusal?.message);
      assert.match(ran.refusal?.message ?? '', says);
      assert.deepEqual([ran.verified, ran.verity?.root], [undefined, undefined]);
      assert.ok(ran.findings.some((finding) => !finding.verified));
      assert.deepEqual(ran.console.at(-1), `ERROR: ${ran.refusal?.message}`);
      // The machine halts: after what was refused, nothing more is asked for.
      const { fetched = 0 } = ran.verity?.image ?? {};
      assert.ok(fetched < image.length / 2);
    });
  }

  it('an image that was sealed broken, and says that it is the one that was sealed', async () => {
    const stored = await makeSquashfs(join(folder, 'stored'), SMALL_ROOT, [
      '-noI',
      '-noD',
      '-noF',
      '-no-xattrs',
    ]);
    const bytes = await readFile(stored);
    // The root's inode, of a type that there is not.
    const inodes = Number(bytes.readBigUInt64LE(64));
    const broken = Buffer.from(bytes);
    broken.writeUInt16LE(15, inodes + 2 + bytes.readUInt16LE(32));
    const sealed = await sealedAround(join(folder, 'tree-broken'), keys, broken);
    const ran = await earlyVerity({ files: sealed, initrds });
    assert.equal(ran.refusal?.code, 'malformed');
    assert.match(
      ran.refusal?.message ?? '',
      /is the image that was sealed, and it cannot be mounted: squashfs: inode of type 15/,
    );
    assert.equal(ran.verified, undefined);
  });
});
