import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { cpioEntries, cpioPadding, encodeCpio } from '../src/formats/archive/cpio.ts';
import { repositoryRoot } from './cache.ts';
import { execute } from './command.ts';
import { tail } from './console.ts';
import { labKernel } from './kernel.ts';

/** What a kernel has made of its initrds. */
export interface Unpacked {
  /** What it prints where it goes on with half an initramfs, or dies of it. */
  readonly complaint: string | undefined;
  /**
   * By path, without a leading slash, each byte as one character; '' is the root. Undefined where nothing was listed.
   * mode with the type's bits; size of files; `sha256` of files, `target` of symlinks.
   */
  readonly tree: ReadonlyMap<string, UnpackedEntry> | undefined;
}

export interface UnpackedEntry {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly rdev: string;
  readonly target: string | undefined;
  readonly sha256: string | undefined;
}

/** Seconds. Nothing is measured by it: a machine that takes longer hangs. */
const HUNG_AFTER = '300';
/** The second: it read behind the end of its initrds, as with lz4 that is cut. */
const COMPLAINT = /Initramfs unpacking failed: .*|BUG: unable to handle .*/;
/** Alerts and worse are shown; whatever stops the kernel ends the machine; a busy host is no broken timer. */
const COMMAND_LINE = 'console=ttyS0 loglevel=2 oops=panic panic=-1 no_timer_check';

/** The initrd that lists what was unpacked, or without `list` only ends the machine. */
export async function listingInitrd(): Promise<Uint8Array> {
  const busybox = await readFile('/bin/busybox');
  const init = await readFile(join(repositoryRoot(), 'lab', 'initramfs', 'list'));
  const entries = cpioEntries(
    [
      { kind: 'file', name: 'init', mode: 0o755, data: init },
      { kind: 'file', name: 'busybox', mode: 0o755, data: busybox },
      { kind: 'char', name: 'dev/ttyS1', rdev: { major: 4, minor: 65 } },
    ],
    0,
  );
  return encodeCpio(entries);
}

/**
 * Lets Debian's kernel unpack initrds, each at a multiple of four bytes as loaders lay them out, in a machine without
 * anything else. One of them is a `listingInitrd`.
 */
export async function unpackByKernel(initrds: readonly Uint8Array[], list: boolean): Promise<Unpacked> {
  const { vmlinuz } = await labKernel();
  const folder = await mkdtemp(join(tmpdir(), 'bootseal-unpack-'));
  try {
    const image = join(folder, 'initrd');
    // The last one ends where it ends.
    const laid = initrds.flatMap((bytes, index) =>
      index === initrds.length - 1 ? [bytes] : [bytes, Buffer.alloc(cpioPadding(bytes.length))],
    );
    await writeFile(image, Buffer.concat(laid));
    const listing = join(folder, 'listing');
    const { stdout, stderr, status } = await execute('timeout', [
      ...['--signal=KILL', HUNG_AFTER, 'qemu-system-x86_64', '-accel', 'tcg', '-m', '768', '-no-reboot'],
      ...['-nographic', '-monitor', 'none', '-nic', 'none', '-serial', 'stdio', '-serial', `file:${listing}`],
      ...['-kernel', vmlinuz, '-initrd', image],
      ...['-append', list ? `${COMMAND_LINE} list` : COMMAND_LINE],
    ]);
    if (status !== 0) throw new Error(`QEMU ended with ${status}: ${stderr}${tail(stdout)}`);
    const complaint = COMPLAINT.exec(stdout)?.[0]?.trim();
    if (!list || complaint !== undefined) return { complaint, tree: undefined };
    if (!stdout.includes('LISTED')) throw new Error(`nothing was listed${tail(stdout)}`);
    return { complaint, tree: decodeListing(gunzipSync(await readFile(listing)).toString('latin1')) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Three lists in one order: names, what stat says of each, sums of the files. See lab/initramfs/list. */
function decodeListing(text: string): ReadonlyMap<string, UnpackedEntry> {
  const end = text.indexOf('\0//\0');
  const names = text.slice(0, end).split('\0');
  let at = end + 4;
  const field = (pattern: RegExp): RegExpExecArray => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match === null) throw new Error(`the listing ends at ${JSON.stringify(text.slice(at, at + 200))}`);
    at += match[0].length;
    return match;
  };
  const facts = names.map((name) => {
    // A symlink's name stands in quotes, and its target behind it.
    const linked = `'${name}' -> '`;
    const begin = text.startsWith(linked, at) ? linked : name;
    if (!text.startsWith(begin, at)) throw new Error(`no facts of ${JSON.stringify(name)}`);
    at += begin.length;
    const target = begin === linked ? field(/([\s\S]*?)'(?=\|a1ff\|)/y)[1] : undefined;
    const [, mode, uid, gid, size, major, minor] = field(
      /\|([0-9a-f]+)\|(\d+)\|(\d+)\|(\d+)\|([0-9a-f]+)\|([0-9a-f]+)\n/y,
    );
    const rdev = `${Number.parseInt(major ?? '', 16)}:${Number.parseInt(minor ?? '', 16)}`;
    return {
      ...{ name, target, rdev, mode: Number.parseInt(mode ?? '', 16) },
      ...{ uid: Number(uid), gid: Number(gid), size: Number(size) },
    };
  });
  const tree = new Map<string, UnpackedEntry>();
  for (const { name, ...rest } of facts) {
    let sha256: string | undefined;
    if ((rest.mode & 0o170000) === 0o100000) {
      sha256 = field(/([0-9a-f]{64}) {2}/y)[1];
      if (!text.startsWith(`${name}\n`, at)) throw new Error(`no sum of ${JSON.stringify(name)}`);
      at += name.length + 1;
    }
    tree.set(name === '.' ? '' : name, { ...rest, sha256 });
  }
  return tree;
}
