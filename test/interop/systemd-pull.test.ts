import assert from 'node:assert/strict';
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { oneByOne, webServer } from '../../lab/web-server.ts';
import { cpioEntries, encodeCpio } from '../../src/formats/archive/cpio.ts';
import { publish } from '../../src/publish/publish.ts';
import { serve } from '../../src/server/serve.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { sealFixture, writeTree } from '../fixtures/release.ts';
import { gpgvTakes } from '../signing/judges.ts';

/*
 * What others judge a release by. systemd's downloader has one keyring for the whole machine, so it runs where
 * /etc/systemd is a folder of the test's own; that needs root.
 */

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const anchors = join(keys, 'anchors');
const manifestRing = join(anchors, 'manifest.gpg');
const BASE = 'releases/lab/2026.11.01';

/** Payload at the top, in a folder, and in a folder of that: an archive among it. */
const IMAGE = 'images/x86_64/root.squashfs';
const tree = await writeTree(join(folder, 'tree'), {
  'bootseal.toml': [
    'release = "lab/2026.11.01"',
    'kernel = "vmlinuz"',
    'initrd = ["images/initrd.img"]',
    `rootfs = "${IMAGE}"`,
    'files = ["images/container.tar"]',
    'cmdline = "quiet"',
    '',
  ].join('\n'),
  vmlinuz: Buffer.alloc(300_000, 'kernel\0\xff', 'latin1'),
  'images/initrd.img': encodeCpio(
    cpioEntries([{ kind: 'file', name: 'init', data: Buffer.from('#!/bin/sh\n') }], 0),
  ),
  [IMAGE]: Buffer.alloc(64 * 4096, 'hsqs root image\0\xff', 'latin1'),
});
await writeTree(join(folder, 'inside'), { 'etc/os-release': 'ID=lab\n' });
execFileSync('tar', ['-cf', join(tree, 'images/container.tar'), '-C', join(folder, 'inside'), '.']);
await sealFixture(tree, keys);
const state = join(folder, 'state');
const policy = join(folder, 'policy.toml');
await writeFile(policy, `[publish]\nunverified = ["file images/container.tar", "file ${IMAGE}"]\n`);
const published = await publish({
  ...{ tree, channel: 'stable', state, anchors, policy, now: NOW, snapshotKey: keys },
});
assert.equal(published.refusal, undefined, published.refusal?.message);
const off = { httpPort: 0, tftpPort: false, nbdPort: false } as const;
const ours = await serve({ state, anchors, clock: () => NOW, ...off });
after(() => ours.close(0));
// systemd-pull 252 may wait for ever for a small file on a connection that is kept, whoever serves it (5 of 30 times by
// nginx). It is told to ask on a new one each time.
const server = await oneByOne(ours.url);
after(() => server.close());

interface Pulled {
  readonly status: number;
  readonly said: string;
  /** Names, and what is in them. */
  readonly files: ReadonlyMap<string, Buffer>;
}

/** gpg judges the time of a signature by the clock; systemd-pull itself, told another time, waits for ever. */
const tools = join(folder, 'tools');
await mkdir(tools);
const when = new Date(NOW + 60_000).toISOString().replace('T', ' ').slice(0, 19);
for (const name of ['gpg', 'gpg2'])
  await writeFile(join(tools, name), `#!/bin/sh\nTZ=UTC exec faketime '${when}' /usr/bin/gpg "$@"\n`, {
    mode: 0o755,
  });

let pulls = 0;

/** systemd's downloader on a machine whose keyring for images is `ring`. */
async function pull(kind: 'raw' | 'tar', url: string, ring = manifestRing): Promise<Pulled> {
  const root = join(folder, `pulled-${++pulls}`);
  await mkdir(root);
  const script = [
    'mount -t tmpfs none /etc/systemd',
    'cp "$RING" /etc/systemd/import-pubring.gpg',
    'cp "$RING" /etc/systemd/import-pubring.pgp',
    'exec /usr/lib/systemd/systemd-pull "$@"',
  ].join('\n');
  const options = ['--verify=signature', `--image-root=${root}`, '--btrfs-subvol=no', '--btrfs-quota=no'];
  const args = ['--mount', 'sh', '-euc', script, 'sh', kind, ...options, url, 'image'];
  const env = { ...process.env, PATH: `${tools}:${process.env.PATH}`, RING: ring, no_proxy: '*' };
  const { status, said } = await new Promise<{ status: number; said: string }>((resolve) => {
    execFile('unshare', args, { env }, (error, stdout, stderr) =>
      resolve({
        status: typeof error?.code === 'number' ? error.code : error ? -1 : 0,
        said: stdout + stderr,
      }),
    );
  });
  // Of a tree it makes an unchangeable copy, where the file system can say that.
  spawnSync('chattr', ['-R', '-f', '-i', root], { stdio: 'ignore' });
  const names = (await readdir(root)).filter((name) => name.startsWith('image.'));
  const files = new Map<string, Buffer>();
  for (const name of names) files.set(name, await readFile(join(root, name)));
  if (kind === 'tar' && status === 0)
    files.set('etc/os-release', await readFile(join(root, 'image', 'etc/os-release')));
  return { status, said, files };
}

/** The release as any web server has it, with something changed. */
async function elsewhere(
  change: (at: string) => Promise<void>,
): Promise<{ url: string; close(): Promise<void> }> {
  const copy = join(folder, `copy-${++pulls}`);
  await cp(join(state, 'releases/lab/2026.11.01'), join(copy, BASE), { recursive: true });
  execFileSync('chmod', ['-R', 'u+w', copy]);
  await change(join(copy, BASE));
  return webServer(copy);
}

describe('systemd-pull --verify=signature, from our server', () => {
  for (const path of ['vmlinuz', 'images/initrd.img', IMAGE]) {
    it(`takes ${path}, by the manifest key`, async () => {
      const { status, said, files } = await pull('raw', `${server.url}/${BASE}/${path}`);
      assert.equal(status, 0, said);
      assert.match(said, /Signature verification succeeded/);
      assert.ok(files.get('image.raw')?.equals(await readFile(join(tree, path))));
    });
  }

  it('fetches hash tree and root hash with the root image, and finds them listed', async () => {
    const { said, files } = await pull('raw', `${server.url}/${BASE}/${IMAGE}`);
    for (const suffix of ['verity', 'roothash'])
      assert.ok(files.get(`image.${suffix}`)?.equals(await readFile(join(tree, `${IMAGE}.${suffix}`))), said);
  });

  it('unpacks an archive', async () => {
    const { status, said, files } = await pull('tar', `${server.url}/${BASE}/images/container.tar`);
    assert.equal(status, 0, said);
    assert.equal(files.get('etc/os-release')?.toString(), 'ID=lab\n');
  });

  it('refuses it where the machine holds the payload key and not the manifest key', async () => {
    const { status, said, files } = await pull(
      'raw',
      `${server.url}/${BASE}/${IMAGE}`,
      join(anchors, 'pubring.gpg'),
    );
    assert.notEqual(status, 0);
    assert.match(said, /Signature verification failed/);
    assert.equal(files.size, 0);
  });
});

describe('systemd-pull --verify=signature, from a web server that tampers', () => {
  const sums = 'images/x86_64/SHA256SUMS';
  const home = join(folder, 'gnupg');
  const attacks: readonly (readonly [string, (at: string) => Promise<void>, RegExp])[] = [
    ['a changed image', (at) => flip(join(at, IMAGE)), /DOWNLOAD INVALID/],
    ['a changed hash tree', (at) => flip(join(at, `${IMAGE}.verity`)), /DOWNLOAD INVALID/],
    [
      'a changed image, and sums to it',
      async (at) => {
        await flip(join(at, IMAGE));
        await list(at);
      },
      /Signature verification failed|BAD signature/,
    ],
    [
      'a changed image, and sums that the payload key signed',
      async (at) => {
        await flip(join(at, IMAGE));
        await list(at);
        await sign(at, 'openpgp');
      },
      /Signature verification failed/,
    ],
    [
      'the signature of the folder above',
      async (at) => cp(join(at, 'images/SHA256SUMS.gpg'), join(at, `${sums}.gpg`)),
      /Signature verification failed/,
    ],
    ['no signature', async (at) => writeFile(join(at, `${sums}.gpg`), ''), /fail|invalid/i],
  ];

  for (const [name, change, why] of attacks) {
    it(`refuses ${name}`, async () => {
      const web = await elsewhere(change);
      try {
        const { status, said, files } = await pull('raw', `${web.url}/${BASE}/${IMAGE}`);
        assert.notEqual(status, 0, said);
        assert.match(said, why);
        assert.equal(files.size, 0);
      } finally {
        await web.close();
      }
    });
  }

  it('takes the same folder untouched, so that each refusal was for its change', async () => {
    const web = await elsewhere(async () => {});
    try {
      const { status, said } = await pull('raw', `${web.url}/${BASE}/${IMAGE}`);
      assert.equal(status, 0, said);
    } finally {
      await web.close();
    }
  });

  async function list(at: string): Promise<void> {
    const folderOf = join(at, 'images/x86_64');
    const names = ['root.squashfs', 'root.squashfs.roothash', 'root.squashfs.verity'];
    await writeFile(join(at, sums), execFileSync('sha256sum', names, { cwd: folderOf }));
  }

  /** gpg, with a key of the site. */
  async function sign(at: string, key: string): Promise<void> {
    await mkdir(home, { recursive: true, mode: 0o700 });
    const env = { ...process.env, GNUPGHOME: home };
    const gpg = (...args: string[]) =>
      execFileSync('gpg', ['--batch', '--yes', '--quiet', ...args], { env, stdio: 'ignore' });
    gpg('--import', join(keys, 'private', `${key}.asc`));
    const when = new Date(NOW).toISOString().replace(/[:-]|\.000Z/g, '');
    const out = join(at, `${sums}.gpg`);
    gpg(
      '--faked-system-time',
      `${when}!`,
      '--digest-algo',
      'SHA512',
      '--detach-sign',
      '-o',
      out,
      join(at, sums),
    );
    execFileSync('gpgconf', ['--kill', 'all'], { env, stdio: 'ignore' });
  }
});

describe('sha256sum -c SHA256SUMS', () => {
  it('reads the whole release at its top, and each folder in itself', () => {
    const check = (cwd: string) =>
      execFileSync('sha256sum', ['--strict', '-c', 'SHA256SUMS'], { cwd, encoding: 'utf8' })
        .trim()
        .split('\n');
    assert.deepEqual(check(tree), [
      'release.manifest: OK',
      ...['vmlinuz: OK', 'images/initrd.img: OK', `${IMAGE}: OK`, `${IMAGE}.roothash: OK`],
      ...[`${IMAGE}.verity: OK`, 'images/container.tar: OK'],
    ]);
    assert.deepEqual(check(join(tree, 'images')), ['initrd.img: OK', 'container.tar: OK']);
    assert.deepEqual(check(join(tree, 'images/x86_64')), [
      ...['root.squashfs: OK', 'root.squashfs.roothash: OK', 'root.squashfs.verity: OK'],
    ]);
  });

  it('gpgv takes each signature by the manifest key, and by no other of the site', () => {
    for (const at of ['', 'images/', 'images/x86_64/']) {
      const list = join(tree, `${at}SHA256SUMS`);
      assert.ok(gpgvTakes(list, `${list}.gpg`, manifestRing, NOW), at);
      for (const other of ['pubring.gpg', 'script.gpg'])
        assert.ok(!gpgvTakes(list, `${list}.gpg`, join(anchors, other), NOW), `${at} ${other}`);
    }
  });
});

async function flip(path: string): Promise<void> {
  const bytes = await readFile(path);
  const middle = bytes.length >> 1;
  bytes[middle] = (bytes[middle] ?? 0) ^ 1;
  await writeFile(path, bytes);
}
