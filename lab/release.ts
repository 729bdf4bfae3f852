import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readIfThere } from '../src/files/read-if-there.ts';
import { init, seal } from '../src/index.ts';
import { buildInitramfs } from './initramfs.ts';
import { labKernel } from './kernel.ts';
import { labRootfs } from './rootfs.ts';

/** A real release, sealed: Debian's kernel, an initramfs that holds the keys, a Debian root. */
export interface LabRelease {
  /** Removed by `remove`. */
  readonly folder: string;
  readonly keys: string;
  readonly tree: string;
  readonly release: string;
  remove(): Promise<void>;
}

export interface LabReleaseOptions {
  /** A literal server for the scripts. */
  readonly url?: string;
  /** An `init` folder to seal with; a new one by default. */
  readonly keys?: string;
  /** `2026.11.01` by default. */
  readonly version?: string;
  /** Further words of the sealed command line. */
  readonly words?: readonly string[];
  /** Words that a loader may add; those of archiso by default. */
  readonly free?: readonly string[];
  /** A hypervisor that starts the kernel, and its words: the tree is sealed as one for Xen. */
  readonly hypervisor?: { readonly file: string; readonly words: string };
  /** Changes the tree before it is sealed. */
  readonly prepare?: (tree: string, keys: string) => Promise<void>;
}

export const KERNEL = 'arch/boot/x86_64/vmlinuz-linux';
export const INITRD = 'arch/boot/x86_64/initramfs-linux.img';
/** Where a hypervisor stands, where there is one. */
export const HYPERVISOR = 'arch/boot/x86_64/xen.gz';
export const ROOTFS = 'arch/x86_64/airootfs.sfs';
export const CHECKSUM = 'arch/x86_64/airootfs.sha512';

/** Arch's words, and a console that the tests can read. */
const CMDLINE = 'archisobasedir=arch checksum=y verify=y cms_verify=y';
/** On a busy host an emulated timer may look broken, and a kernel would panic over it (kernel-parameters). */
const CONSOLE = 'console=ttyS0 panic=-1 no_timer_check';
/** The console that a hypervisor gives its first domain. */
const DOMAIN_CONSOLE = 'console=hvc0 panic=-1';

export async function labRelease(options: LabReleaseOptions = {}): Promise<LabRelease> {
  const folder = await mkdtemp(join(tmpdir(), 'bootseal-e2e-'));
  const keys = options.keys ?? join(folder, 'keys');
  const now = Date.now();
  if (options.keys === undefined) await init(keys, { site: 'lab', kind: 'rsa', now });
  const tree = join(folder, 'tree');
  const anchor = (name: string) => readFile(join(keys, 'anchors', name));
  await mkdir(join(tree, 'arch/boot/x86_64'), { recursive: true });
  await mkdir(join(tree, 'arch/x86_64'), { recursive: true });
  await writeFile(join(tree, 'arch/version'), `${options.version ?? '2026.11.01'}\n`);
  await cp((await labKernel()).vmlinuz, join(tree, KERNEL));
  await cp(await labRootfs(), join(tree, ROOTFS));
  await writeFile(
    join(tree, INITRD),
    await buildInitramfs({
      openpgpPublicKeys: await anchor('pubring.gpg'),
      codesignCertificate: await anchor('codesign.crt'),
      codesignCaCertificate: await anchor('ca.crt'),
      manifestCertificate: await anchor('manifest.crt'),
      manifestPublicKeys: await anchor('manifest.gpg'),
      policy: {
        name: 'arch',
        minSerial: 2026010100,
        graceDays: 0,
        require: ['manifest', 'checksum', 'openpgp', 'cms'],
      },
    }),
  );
  await options.prepare?.(tree, keys);
  const { hypervisor, words = [] } = options;
  const line = [CMDLINE, hypervisor ? DOMAIN_CONSOLE : CONSOLE, ...words].join(' ');
  if (hypervisor) await cp(hypervisor.file, join(tree, HYPERVISOR));
  const joined = hypervisor !== undefined && (await joinOverlay(tree));
  const { manifest } = await seal({
    tree,
    keys,
    ...(hypervisor
      ? {
          release: `arch/${options.version ?? '2026.11.01'}`,
          kernel: HYPERVISOR,
          module: KERNEL,
          initrds: joined ? [] : [INITRD],
          rootfs: ROOTFS,
          cmdline: hypervisor.words,
          moduleCmdline: line,
        }
      : { cmdline: line }),
    ...(options.free === undefined ? {} : { free: options.free }),
    now,
    ...(options.url === undefined ? {} : { url: options.url }),
  });
  return {
    folder,
    keys,
    tree,
    release: manifest.release,
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

/** Puts the initramfs before the overlay, in one file, as `cat` would: a hypervisor hands over one. */
async function joinOverlay(tree: string): Promise<boolean> {
  const path = join(tree, 'bootseal-overlay.img');
  const overlay = await readIfThere(path);
  if (overlay === undefined) return false;
  const initramfs = await readFile(join(tree, INITRD));
  await writeFile(path, Buffer.concat([initramfs, Buffer.alloc(-initramfs.length & 3), overlay]));
  return true;
}

/** Flips one bit in the middle of a file, or of the byte at `offset`, which counts from the end where negative. */
export async function flip(path: string, offset?: number): Promise<void> {
  const bytes = await readFile(path);
  const at = offset === undefined ? bytes.length >> 1 : offset < 0 ? bytes.length + offset : offset;
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  await writeFile(path, bytes);
}
