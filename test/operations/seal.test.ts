import assert from 'node:assert/strict';
import { appendFileSync } from 'node:fs';
import { chmod, cp, mkdir, readFile, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { SealReleaseOptions } from '../../src/operations/seal.ts';
import { readAnchorFolder } from '../../src/trust/anchor-folder.ts';
import { asNobody } from '../files/nobody.ts';
import { type Failure, failed } from '../fixtures/failed.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { judgeFolder } from '../fixtures/judge.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { INITRD, KERNEL, ROOTFS, sampleTree, sealFixture, writeTree } from '../fixtures/release.ts';
import { changed, look, run } from '../signing/judges.ts';
import { ARTIFACTS, MANY_OCTETS, smallTree } from '../signing/trees.ts';

const DAY = 86_400_000;
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const bare = await smallTree(join(folder, 'bare'), 'one', '2026.11.01', MANY_OCTETS);
const plain = await writeTree(join(folder, 'plain'), {
  vmlinuz: 'kernel\0',
  'initrd.img': 'initrd\0',
  'vmlinuz.sig': 'initrd\0',
  'vmlinuz.cms': 'initrd\0',
  'boot.ipxe': 'kernel',
});
const FLAGS = { release: 'school/2026.11.01', kernel: 'vmlinuz', initrds: ['initrd.img'] };
const victim = join(folder, 'victim');
await writeFile(victim, 'mine');
let copies = 0;
async function copy(of = bare): Promise<string> {
  const tree = join(folder, `tree-${copies++}`);
  await cp(of, tree, { recursive: true });
  return tree;
}
const issuedIn = async (tree: string) =>
  /^issued (.*)$/m.exec(await readFile(join(tree, 'release.manifest'), 'latin1'))?.[1];

describe('seal takes its time', () => {
  it('from --issued, cut to seconds', async () => {
    const tree = await copy();
    await sealFixture(tree, keys, { issued: NOW + 1999 });
    assert.equal(await issuedIn(tree), '2026-11-01T00:00:01Z');
  });

  it('from now where there is nothing else', async () => {
    const tree = await copy();
    await sealFixture(tree, keys, { now: NOW + DAY });
    assert.equal(await issuedIn(tree), '2026-11-02T00:00:00Z');
  });

  it('from the manifest of this release, and not of another', async () => {
    const tree = await copy();
    await sealFixture(tree, keys);
    await sealFixture(tree, keys, { now: NOW + DAY });
    assert.equal(await issuedIn(tree), '2026-11-01T00:00:00Z');
    await sealFixture(tree, keys, { now: NOW + DAY, release: 'arch/2026.11.02' });
    assert.equal(await issuedIn(tree), '2026-11-02T00:00:00Z');
  });

  it('from now where the manifest cannot be read', async () => {
    const tree = await writeTree(await copy(), { 'release.manifest': 'nonsense' });
    await sealFixture(tree, keys);
    assert.equal(await issuedIn(tree), '2026-11-01T00:00:00Z');
  });
});

describe('seal', () => {
  it('seals a plain tree that flags tell', async () => {
    const { layout, manifest } = await sealFixture(await copy(plain), keys, FLAGS);
    assert.equal(layout.layout, 'plain');
    assert.deepEqual(
      manifest.files.map(({ role, path }) => `${role} ${path}`),
      ['kernel vmlinuz', 'initrd initrd.img'],
    );
  });

  it('seals what a system fetches later, whatever it is, as files of the release', async () => {
    const files = { 'preseed.cfg': '#_preseed_V1\n', 'config.ign': '{"ignition":{"version":"3.4.0"}}' };
    const toml =
      'release = "school/2026.11.01"\nkernel = "vmlinuz"\ninitrd = ["initrd.img"]\nfiles = ["preseed.cfg", "config.ign"]\n';
    const tree = await writeTree(await copy(plain), { ...files, 'bootseal.toml': toml });
    const { manifest } = await sealFixture(tree, keys);
    assert.deepEqual(
      manifest.files.map(({ role, path }) => `${role} ${path}`),
      ['kernel vmlinuz', 'initrd initrd.img', 'file preseed.cfg', 'file config.ign'],
    );
    const anchors = await readAnchorFolder(join(keys, 'anchors'));
    assert.equal((await judgeFolder(tree, anchors)).refusal, undefined);
    appendFileSync(join(tree, 'preseed.cfg'), 'd-i x y string z\n');
    assert.equal((await judgeFolder(tree, anchors)).refusal?.facts.path, 'preseed.cfg');
  });

  it('fixes what the layout allows, and nothing else', async () => {
    const cmdline = 'init=/nix/store/x-nixos/init loglevel=4';
    const refuses = sealFixture(await copy(plain), keys, { ...FLAGS, cmdline });
    await assert.rejects(refuses, /init=\/nix\/store\/x-nixos\/init in cmdline without "shell yes"/);
    const { manifest } = await sealFixture(await copy(plain), keys, { ...FLAGS, cmdline, layout: 'nixos' });
    assert.equal(manifest.layout, 'nixos');
    const named = sealFixture(await copy(plain), keys, { ...FLAGS, layout: 'Nix OS' });
    await assert.rejects(named, failed('usage', /There is no layout "Nix OS"; there are archiso, /));
  });

  it('seals an installer with its preseed packed, and no word that would undo what it checks', async () => {
    const tree = await writeTree(await copy(plain), { 'preseed.cfg': '#_preseed_V1\n' });
    await rename(join(tree, 'vmlinuz'), join(tree, 'linux'));
    await rename(join(tree, 'initrd.img'), join(tree, 'initrd.gz'));
    const options = { release: 'debian/2026.11.01', pack: ['preseed.cfg'] };
    const { manifest } = await sealFixture(tree, keys, options);
    assert.equal(manifest.layout, 'debian-installer');
    assert.deepEqual(
      manifest.files.map(({ role, path }) => `${role} ${path}`),
      ['kernel linux', 'initrd initrd.gz', 'initrd bootseal-pack.img'],
    );
    for (const word of [
      'debian-installer/allow_unauthenticated=true',
      'rescue/enable=true',
      'network-console/password=x',
    ]) {
      const refuses = sealFixture(tree, keys, { ...options, cmdline: `priority=critical ${word}` });
      await assert.rejects(refuses, (error: Error) =>
        error.message.includes(`${word} in cmdline without "shell yes"`),
      );
    }
  });

  it('takes a serial where the version bears no date', async () => {
    const tree = await copy();
    const { manifest } = await sealFixture(tree, keys, { release: 'arch/7', serial: 7 });
    assert.equal(manifest.serial, 7);
  });

  it('writes the server that it is given into the scripts, and none otherwise', async () => {
    const [given, open] = [await copy(), await copy()];
    await sealFixture(given, keys, { url: 'http://10.0.0.1:8081' });
    await sealFixture(open, keys);
    assert.match(await readFile(join(given, 'boot.ipxe'), 'latin1'), /http:\/\/10\.0\.0\.1:8081/);
    assert.doesNotMatch(await readFile(join(open, 'boot.ipxe'), 'latin1'), /10\.0\.0\.1/);
  });

  it('tells the layout, then each artifact to its end', async () => {
    const said: string[] = [];
    await sealFixture(await copy(), keys, {
      onLayout: ({ release }) => said.push(release),
      onProgress: ({ path, size }, octets) => octets === size && said.push(path),
    });
    assert.deepEqual(said, ['arch/2026.11.01', ...ARTIFACTS]);
  });

  it('seals the sample of demo so that sha512sum agrees', async () => {
    const tree = await sampleTree(join(folder, 'sample'), keys);
    await sealFixture(tree, keys);
    assert.equal(run('sha512sum', ['-c', 'airootfs.sha512'], join(tree, 'arch/x86_64')).status, 0);
  });
});

interface Refused {
  readonly name: string;
  readonly options?: Partial<SealReleaseOptions>;
  readonly of?: string;
  readonly spoil?: (tree: string) => Promise<unknown>;
  readonly code: Failure;
  readonly says: RegExp;
}

const REFUSED: readonly Refused[] = [
  {
    name: 'a tree without a kernel',
    spoil: (tree) => rm(join(tree, KERNEL)),
    code: 'usage',
    says: /no kernel/,
  },
  {
    name: 'a zero-byte image',
    spoil: (tree) => truncate(join(tree, ROOTFS), 0),
    code: 'malformed',
    says: /airootfs\.sfs is empty/,
  },
  {
    name: 'an image that may not be read',
    spoil: (tree) => chmod(join(tree, ROOTFS), 0o000),
    code: 'EACCES',
    says: /airootfs\.sfs cannot be read: permission is denied/,
  },
  {
    name: 'an image that is not the same at the end',
    options: { onProgress: ({ path }) => grow(path, ROOTFS) },
    code: 'drifted',
    says: /airootfs\.sfs changed while it was being read/,
  },
  {
    name: 'a kernel that changes while the root image is read',
    options: { onProgress: ({ path }) => path === ROOTFS && grow(KERNEL, KERNEL) },
    code: 'drifted',
    says: /vmlinuz-linux changed while it was being used/,
  },
  {
    name: 'a version without a date and no serial',
    options: { release: 'arch/7' },
    code: 'usage',
    says: /does not begin with a date; give it a --serial N/,
  },
  {
    name: 'a server that is no address',
    options: { url: 'http://x/$(id)' },
    code: 'usage',
    says: /is no address of a server/,
  },
  {
    name: 'a date of issue more than a day ahead',
    options: { issued: NOW + DAY + 1000 },
    code: 'usage',
    says: /2026-11-02T00:00:01Z is more than 24 hours ahead of this machine's clock \(2026-11-01T00:00:00Z\)/,
  },
  {
    name: 'a serial of 0',
    options: { serial: 0 },
    code: 'usage',
    says: /0 is no serial; write a whole number above 0/,
  },
  {
    name: 'keys that have ended',
    options: { now: NOW + 731 * DAY },
    code: 'expired',
    says: /codesign\.crt ended on 2028-10-31/,
  },
  {
    name: 'a command line that opens a shell',
    options: { cmdline: 'quiet init=/bin/sh' },
    code: 'malformed',
    says: /arch\/2026\.11\.01 cannot have such a manifest: .*init=\/bin\/sh/,
  },
  {
    name: 'a command line longer than the kernel’s',
    options: { cmdline: Array.from({ length: 300 }, (_, n) => `word.${n}`).join(' ') },
    code: 'malformed',
    says: /cannot have such a manifest/,
  },
  {
    name: 'an architecture that is no name',
    options: { arch: '../x' },
    code: 'malformed',
    says: /cannot have such a manifest: .*arch/,
  },
  {
    name: 'an artifact that bears a seal’s name',
    of: plain,
    options: { ...FLAGS, initrds: ['vmlinuz.sig'] },
    code: 'malformed',
    says: /vmlinuz\.sig is the name of a seal or record/,
  },
  {
    name: 'an artifact whose seal is another’s',
    of: plain,
    options: { ...FLAGS, initrds: ['vmlinuz.cms'] },
    code: 'malformed',
    says: /vmlinuz\.cms\.sig is the name of a seal or record/,
  },
  {
    name: 'an artifact that bears a record’s name',
    of: plain,
    options: { ...FLAGS, kernel: 'boot.ipxe' },
    code: 'malformed',
    says: /boot\.ipxe is the name of a seal or record/,
  },
  {
    name: 'a seal’s place that is a link',
    spoil: (tree) => symlink(victim, join(tree, `${KERNEL}.sig`)),
    code: 'unsafe-path',
    says: /vmlinuz-linux\.sig is a symbolic link/,
  },
  {
    name: 'a seal’s place that is a folder',
    spoil: (tree) => mkdir(join(tree, `${INITRD}.cms.sig`)),
    code: 'unsafe-path',
    says: /initramfs-linux\.img\.cms\.sig is not a regular file/,
  },
  {
    name: 'a record’s place that is a link',
    spoil: (tree) => symlink(victim, join(tree, 'boot.ipxe')),
    code: 'unsafe-path',
    says: /boot\.ipxe is a symbolic link/,
  },
];

let current = '';
const grown = new Set<string>();
/** Appends a byte to a file of the tree at hand, once, when the wanted artifact is being read. */
function grow(reading: string, wanted: string): void {
  if (reading !== wanted || grown.has(current + wanted)) return;
  grown.add(current + wanted);
  appendFileSync(join(current, wanted), 'x');
}

describe('seal refuses, and writes nothing', () => {
  for (const { name, options, of, spoil, code, says } of REFUSED) {
    it(name, async () => {
      const tree = await copy(of);
      await spoil?.(tree);
      current = tree;
      const before = [...look(tree).keys()];
      const unreadable = code === 'EACCES';
      const demand = (of: string) => assert.rejects(sealFixture(tree, of, options), failed(code, says));
      if (unreadable) {
        const own = await copyOfKeys();
        await asNobody(folder, () => demand(own));
      } else await demand(keys);
      assert.deepEqual([...look(tree).keys()], before);
      assert.equal(await readFile(victim, 'utf8'), 'mine');
      if (of) assert.deepEqual(changed(look(of), look(tree)), []);
    });
  }
});

/** Keys that nobody may read: their modes stay exact, so they change hands. */
async function copyOfKeys(): Promise<string> {
  const own = join(folder, 'own-keys');
  await cp(keys, own, { recursive: true });
  if (process.geteuid?.() === 0) run('chown', ['-R', '65534:65534', own]);
  return own;
}
