import { createHash } from 'node:crypto';
import {
  chmod,
  copyFile,
  lutimes,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import {
  encodePolicyFloor,
  POLICY_FLOOR_PATH,
  type PolicyFloor,
} from '../src/formats/records/policy-floor.ts';
import { cacheEntry, repositoryRoot } from './cache.ts';
import { run } from './command.ts';
import { type LabKernel, labKernel } from './kernel.ts';

/** What a release's initramfs carries beside its programs. */
export interface InitramfsParameters {
  /** Binary OpenPGP certificates, one after another; absent: no `/gpg`. */
  readonly openpgpPublicKeys?: Uint8Array;
  /** PEM. */
  readonly codesignCertificate?: Uint8Array | string;
  /** PEM. */
  readonly codesignCaCertificate?: Uint8Array | string;
  /** PEM: whose CMS seals of records are taken. */
  readonly manifestCertificate?: Uint8Array | string;
  /** A keyring: whose OpenPGP seals of records are taken. */
  readonly manifestPublicKeys?: Uint8Array;
  /** What no command line can lower. */
  readonly policy?: PolicyFloor;
}

const TOOLS = ['openssl', 'gpg', 'gpgv', 'sha512sum', 'curl'];
const APPLETS =
  'cat cd cut date grep head insmod ip ls mkdir mount od poweroff read rm sed sha256sum sleep stat switch_root sync tail tr udhcpc uname wc'.split(
    ' ',
  );

/**
 * An initramfs with the real `openssl`, `gpg`, `sha512sum` and `curl`, our `/init` and the given anchors. The
 * same parameters give the same bytes: times and owners in the archives are fixed.
 */
export async function buildInitramfs(parameters: InitramfsParameters): Promise<Buffer> {
  const base = await readFile(await baseArchive());
  const tree = await mkdtemp(join(tmpdir(), 'bootseal-initramfs-'));
  try {
    const scripts = join(repositoryRoot(), 'lab', 'initramfs');
    await place(tree, 'init', await readFile(join(scripts, 'init')), 0o755);
    await place(tree, 'udhcpc.script', await readFile(join(scripts, 'udhcpc.script')), 0o755);
    if (parameters.openpgpPublicKeys !== undefined) {
      await place(tree, 'gpg/pubring.gpg', parameters.openpgpPublicKeys, 0o600);
      // gpg warns about a home that others may read, and archiso makes it so.
      await chmod(join(tree, 'gpg'), 0o700);
    }
    if (parameters.codesignCertificate !== undefined) {
      await place(tree, 'codesign.crt', parameters.codesignCertificate, 0o644);
    }
    if (parameters.codesignCaCertificate !== undefined) {
      await place(tree, 'codesign_CA.crt', parameters.codesignCaCertificate, 0o644);
    }
    if (parameters.manifestCertificate !== undefined) {
      await place(tree, 'bootseal/manifest.crt', parameters.manifestCertificate, 0o644);
    }
    if (parameters.manifestPublicKeys !== undefined) {
      await place(tree, 'bootseal/manifest.gpg', parameters.manifestPublicKeys, 0o644);
    }
    const verifier = join(repositoryRoot(), 'early-userspace', 'verify-manifest');
    await place(tree, 'bootseal/verify-manifest', await readFile(verifier), 0o755);
    if (parameters.policy !== undefined) {
      await place(tree, POLICY_FLOOR_PATH, encodePolicyFloor(parameters.policy), 0o644);
    }
    const small = await readFile(await cpio(tree));
    // The kernel takes an archive as it is, then a compressed one, as distributions do with microcode.
    return Buffer.concat([small, base]);
  } finally {
    await rm(tree, { recursive: true, force: true });
    await rm(`${tree}.cpio`, { force: true });
  }
}

async function baseArchive(): Promise<string> {
  const kernel = await labKernel();
  const programs = await Promise.all(TOOLS.map(resolveProgram));
  const libraries = await librariesOf(programs);
  const busybox = await resolveProgram('busybox');
  const contents: Record<string, string> = {};
  for (const path of [busybox, ...programs, ...libraries]) {
    contents[path] = createHash('sha256')
      .update(await readFile(path))
      .digest('hex');
  }
  const recipe = { kernel: basename(dirname(kernel.vmlinuz)), contents, applets: APPLETS, layout: 1 };
  const entry = await cacheEntry('initramfs', recipe, async (folder) => {
    const tree = join(folder, 'base');
    await fillBase(tree, { kernel, busybox, programs, libraries });
    const archive = await cpio(tree);
    await run('zstd', ['-q', '-10', '-T1', archive, '-o', join(folder, 'base.cpio.zst')]);
    await rm(tree, { recursive: true });
    await rm(archive);
  });
  return join(entry, 'base.cpio.zst');
}

interface BaseContents {
  readonly kernel: LabKernel;
  readonly busybox: string;
  readonly programs: readonly string[];
  readonly libraries: readonly string[];
}

async function fillBase(tree: string, { kernel, busybox, programs, libraries }: BaseContents): Promise<void> {
  for (const folder of ['bin', 'dev', 'etc', 'proc', 'run', 'sys', 'modules', 'usr/lib/ssl', 'tmp']) {
    await mkdir(join(tree, folder), { recursive: true });
  }
  await copyFile(busybox, join(tree, 'bin', 'busybox'));
  for (const applet of APPLETS) await symlink('busybox', join(tree, 'bin', applet));
  for (const program of programs) await copyFile(program, join(tree, 'bin', basename(program)));
  for (const library of libraries) {
    await mkdir(dirname(join(tree, library)), { recursive: true });
    await copyFile(library, join(tree, library));
  }
  for (const module of kernel.modules) await copyFile(module, join(tree, 'modules', basename(module)));
  await writeFile(join(tree, 'modules.order'), kernel.modules.map((path) => `${basename(path)}\n`).join(''));
  // openssl looks for its configuration here and complains about a missing one on every call.
  await writeFile(join(tree, 'usr', 'lib', 'ssl', 'openssl.cnf'), '');
}

async function resolveProgram(name: string): Promise<string> {
  const { stdout } = await run('sh', ['-c', 'command -v "$1"', 'sh', name]);
  return stdout.trim();
}

/** Shared libraries of the programs and the dynamic loader, as absolute paths. */
async function librariesOf(programs: readonly string[]): Promise<readonly string[]> {
  const found = new Set<string>();
  for (const program of programs) {
    const { stdout } = await run('ldd', [program]);
    for (const line of stdout.split('\n')) {
      const path = /(?:=>\s+|^\s+)(\/\S+)/.exec(line)?.[1];
      if (path !== undefined) found.add(path);
      else if (line.includes('not found')) throw new Error(`ldd ${program}: ${line.trim()}`);
    }
  }
  return [...found].sort();
}

async function place(tree: string, path: string, bytes: Uint8Array | string, mode: number): Promise<void> {
  const target = join(tree, path);
  await mkdir(dirname(target), { recursive: true });
  await writeFile(target, bytes, { mode });
  await chmod(target, mode);
}

/** Packs a tree as newc beside itself: sorted, at time 0, owned by root. */
async function cpio(tree: string): Promise<string> {
  const names = (await readdir(tree, { recursive: true })).sort();
  for (const name of names.toReversed()) await lutimes(join(tree, name), 0, 0);
  const archive = `${tree}.cpio`;
  await run(
    'cpio',
    ['--quiet', '-o', '-0', '-H', 'newc', '--reproducible', '--owner', '0:0', '-O', archive],
    { cwd: tree, input: names.join('\0') },
  );
  return archive;
}
