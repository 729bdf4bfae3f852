import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { cannotRead } from '../errors/io.ts';
import { UsageError } from '../errors/usage.ts';
import { namesIfThere, readIfThere } from '../files/read-if-there.ts';
import type { CpioSource } from '../formats/archive/cpio.ts';
import { machineOfElf } from '../formats/archive/elf.ts';

/** Kernel modules for an overlay, plain and in the order in which they must be loaded. */
export interface ModuleSet {
  /** `6.1.0-56-amd64` */
  readonly version: string;
  /** Below `bootseal/modules/VERSION`. */
  readonly entries: readonly CpioSource[];
  /** What the first of them is for; undefined where there is none, or it does not say. */
  readonly machine: ReturnType<typeof machineOfElf>;
  /** Names, with `_` for `-`: in the archive. */
  readonly names: readonly string[];
  /** Whether the kernel has it: as a module of this set or built in. */
  has(name: string): boolean;
}

/** Loaded on every machine. dm-verity asks the crypto API for sha256 by name, so nothing depends on it. */
const ALWAYS = [
  ...['af_packet', 'loop', 'squashfs', 'erofs', 'overlay', 'nbd', 'dm_mod', 'dm_verity'],
  // Holds what is asked of an NBD server while that is away.
  ...['dm_multipath', 'dm_round_robin'],
  // For a word vlan= on the command line.
  '8021q',
  ...['sha256_generic', 'sha256_ssse3', 'sha2_ce', 'sha256_arm64', 'crc32c_generic'],
];

/** Loaded where a device of the machine asks for them: what virtual machines and most PCs have. */
export const DEFAULT_DRIVERS: readonly string[] = [
  ...['virtio_pci', 'virtio_mmio', 'virtio_net', 'virtio_rng', 'vmxnet3', 'hv_netvsc', 'ena', 'xen_netfront'],
  ...[
    'e1000',
    'e1000e',
    'igb',
    'igc',
    'r8169',
    'tg3',
    'atlantic',
    'alx',
    'atl1c',
    'sky2',
    'forcedeth',
    '8139cp',
  ],
];

export interface ModuleOptions {
  /** Names beyond `DEFAULT_DRIVERS`. */
  readonly drivers?: readonly string[];
  /** `.ko.xz`, `.ko.zst` and `.ko.gz`: the bytes inside. */
  readonly decompress: (path: string, bytes: Uint8Array) => Promise<Uint8Array>;
}

/**
 * Reads `lib/modules/VERSION` below a root, or that folder itself.
 *
 * @throws UsageError where there are no modules, or depmod has not run, or a driver that was asked for is missing, or
 *   there are several kernels and nobody said which; IoError.
 */
export async function collectModules(
  root: string,
  version: string | undefined,
  options: ModuleOptions,
): Promise<ModuleSet> {
  const folder = await moduleFolder(root, version);
  const release = basename(folder);
  const index = await readIndex(folder);
  const missing = (options.drivers ?? []).find((name) => !index.known(plain(name)));
  if (missing !== undefined) {
    throw new UsageError(`The kernel ${release} has no module ${missing}; leave it out of --drivers.`);
  }
  const always = ALWAYS.filter((name) => index.files.has(name));
  const drivers = [...new Set([...DEFAULT_DRIVERS, ...(options.drivers ?? []).map(plain)])].filter((name) =>
    index.files.has(name),
  );
  const order = index.loadOrder(always);
  const all = [...new Set([...order, ...index.loadOrder(drivers)])];
  const base = `bootseal/modules/${release}`;
  const entries: CpioSource[] = [];
  let machine: ModuleSet['machine'];
  for (const name of all) {
    const path = join(folder, index.files.get(name) ?? '');
    const data = await options.decompress(path, await readModule(path));
    machine ??= machineOfElf(data);
    entries.push({ kind: 'file', name: `${base}/${name}.ko`, data });
  }
  const lines = drivers
    .flatMap((name) => {
      const files = index.loadOrder([name]).map((module) => `${module}.ko`);
      return (index.aliases.get(name) ?? []).map((pattern) => `${pattern} ${files.join(' ')}\n`);
    })
    .sort();
  const text = (name: string, content: readonly string[]): CpioSource => ({
    kind: 'file',
    name: `${base}/${name}`,
    data: Buffer.from(content.join('')),
  });
  entries.push(
    text(
      'order',
      order.map((name) => `${name}.ko\n`),
    ),
    text('drivers', lines),
  );
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  return { version: release, machine, entries, names: all.sort(), has: (name) => index.known(name) };
}

async function moduleFolder(root: string, version: string | undefined): Promise<string> {
  if ((await lines(join(root, 'modules.dep'))) !== undefined) {
    if (version !== undefined && basename(root) !== version) {
      throw new UsageError(`${root} holds the modules of ${basename(root)}, not of ${version}.`);
    }
    return root;
  }
  for (const base of ['usr/lib/modules', 'lib/modules', '']) {
    const folder = join(root, base);
    const versions: string[] = [];
    for (const name of await namesIfThere(folder)) {
      if ((await lines(join(folder, name, 'modules.dep'))) !== undefined) versions.push(name);
    }
    if (version !== undefined && versions.includes(version)) return join(folder, version);
    const [only, other] = versions;
    if (version === undefined && only !== undefined && other !== undefined) {
      throw new UsageError(
        `${folder} holds modules of ${versions.sort().join(' and ')}; name the one to take with --kernel.`,
      );
    }
    if (version === undefined && only !== undefined) return join(folder, only);
  }
  throw new UsageError(
    `There is no lib/modules/${version ?? 'VERSION'}/modules.dep below ${root} (depmod -b ${root} ${version ?? 'VERSION'} makes it).`,
  );
}

interface ModuleIndex {
  /** Name → path relative to the folder. */
  readonly files: ReadonlyMap<string, string>;
  readonly aliases: ReadonlyMap<string, readonly string[]>;
  known(name: string): boolean;
  /** With everything they need, each after that. */
  loadOrder(names: readonly string[]): string[];
}

/** The files that depmod writes: depmod(8), modules.dep(5). */
async function readIndex(folder: string): Promise<ModuleIndex> {
  const files = new Map<string, string>();
  const needs = new Map<string, string[]>();
  for (const line of (await lines(join(folder, 'modules.dep'))) ?? []) {
    const [path = '', rest = ''] = line.split(':');
    if (!/^[\w.+/-]+$/.test(path) || path.split('/').includes('..')) continue;
    const name = plain(path);
    files.set(name, path);
    // The whole closure, what must be loaded first at the end.
    needs.set(name, rest.split(' ').filter(Boolean).map(plain).reverse());
  }
  for (const line of (await lines(join(folder, 'modules.softdep'))) ?? []) {
    const [, name = '', before = ''] = /^softdep (\S+) (?:.*?\bpre: ?(.*?))?(?: *post:.*)?$/.exec(line) ?? [];
    const known = needs.get(plain(name));
    known?.unshift(
      ...before
        .split(' ')
        .filter(Boolean)
        .map(plain)
        .filter((other) => files.has(other)),
    );
  }
  const aliases = new Map<string, string[]>();
  for (const line of (await lines(join(folder, 'modules.alias'))) ?? []) {
    const [, pattern = '', module = ''] = /^alias (\S+) (\S+)$/.exec(line) ?? [];
    // Device trees have a comma between vendor and device: of:N*T*Cbrcm,genet-v5
    if (!/^[\w.,:*?[\]+-]+:[\w.,:*?[\]+-]+$/.test(pattern)) continue;
    const name = plain(module);
    aliases.set(name, [...(aliases.get(name) ?? []), pattern]);
  }
  const builtin = new Set(((await lines(join(folder, 'modules.builtin'))) ?? []).map(plain));
  const visit = (name: string, order: Set<string>, above: readonly string[]): void => {
    if (order.has(name) || above.includes(name) || !files.has(name)) return;
    for (const other of needs.get(name) ?? []) visit(other, order, [...above, name]);
    order.add(name);
  };
  return {
    files,
    aliases,
    known: (name) => files.has(name) || builtin.has(name),
    loadOrder: (names) => {
      const order = new Set<string>();
      for (const name of names) visit(name, order, []);
      return [...order];
    },
  };
}

/** `kernel/drivers/md/dm-verity.ko.xz` → `dm_verity` */
function plain(path: string): string {
  return basename(path)
    .replace(/\.ko(\.(xz|zst|gz))?$/, '')
    .replaceAll('-', '_');
}

/** Undefined where there is no such file. */
async function lines(path: string): Promise<string[] | undefined> {
  const text = (await readIfThere(path))?.toString('utf8');
  return text?.split('\n').filter((line) => line !== '');
}

/** A module that depmod lists: where it is missing, too, the folder is not what it says. */
async function readModule(path: string): Promise<Buffer> {
  return readFile(path).catch((error: unknown) => {
    throw cannotRead(path, error);
  });
}
