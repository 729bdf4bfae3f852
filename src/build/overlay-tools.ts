import { readFile, readlink } from 'node:fs/promises';
import { basename, join, normalize } from 'node:path';
import { cannotRead } from '../errors/io.ts';
import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { lstatIfThere } from '../files/read-if-there.ts';
import { reading } from '../files/reading.ts';
import type { CpioSource } from '../formats/archive/cpio.ts';
import { decodeElf, ELF_MACHINES, type Elf, isElf } from '../formats/archive/elf.ts';

/** Programs that an overlay may carry. Only busybox runs by itself; the others bring loader and libraries. */
export const TOOLS = ['busybox', 'openssl', 'nbd-client', 'dmsetup', 'curl', 'gpg', 'rdate'] as const;
export type Tool = (typeof TOOLS)[number];

/** Private copies of programs, laid out for `/bootseal`. */
export interface ToolSet {
  readonly machine: Elf['machine'];
  /** Below `bootseal/`: wrappers in `bin`, programs in `libexec`, libraries in `lib`. Sorted by name. */
  readonly entries: readonly CpioSource[];
  readonly names: readonly Tool[];
  /** Of those that are asked about, the programs that its busybox is. */
  readonly applets: ReadonlySet<string>;
}

/** Debian's busybox has no ntpd. */
const ASKED_APPLETS = ['ntpd'];

const PROGRAM_FOLDERS = ['usr/local/bin', 'usr/bin', 'usr/sbin', 'bin', 'sbin', ''];

/** Where loaders look for libraries, Debian's folders first; `''` is for a folder with nothing but files. */
function libraryFolders(machine: Elf['machine']): string[] {
  const triplet = `${machine}-linux-gnu`;
  return [`usr/lib/${triplet}`, `lib/${triplet}`, 'usr/lib64', 'lib64', 'usr/lib', 'lib', ''];
}

/**
 * Finds programs below a folder that is laid out like a root (`/` is the machine itself), and every library that
 * they need, by reading them: nothing foreign is run.
 *
 * @param arch `uname -m` of the machines that they must be for; undefined: whatever the first of them is for.
 * @throws UsageError for a program or library that is not there; Refusal (`wrong-machine`) for one that is for other
 *   machines, (`malformed`) for one that is damaged; IoError for one that cannot be read.
 */
export async function collectTools(
  root: string,
  wanted: readonly Tool[],
  { arch }: { readonly arch?: string | undefined } = {},
): Promise<ToolSet> {
  const found = new Map<string, CpioSource>();
  let machine: Elf['machine'] | undefined;
  if (arch !== undefined) {
    machine = ELF_MACHINES.find((name) => name === arch);
    if (!machine)
      throw new UsageError(`No overlay is built for ${arch}; ${ELF_MACHINES.join(', ')} are known.`);
  }
  let applets: readonly string[] = [];
  for (const name of wanted) {
    const program = await findProgram(root, name);
    const elf = decoded(program);
    // Their names are a table in it, each with a NUL behind it.
    if (name === 'busybox')
      applets = ASKED_APPLETS.filter((applet) => Buffer.from(program.bytes).includes(`\0${applet}\0`));
    machine ??= elf.machine;
    if (elf.machine !== machine) {
      const other = arch === undefined ? `another tool is for ${machine}` : `the overlay is for ${machine}`;
      const facts = { path: program.path, tool: elf.machine, arch: machine };
      throw new Refusal('wrong-machine', `${program.path} is for ${elf.machine}, and ${other}.`, facts);
    }
    if (elf.interpreter === undefined) {
      add(found, `bootseal/bin/${name}`, 0o755, program.bytes);
    } else if (name === 'busybox') {
      throw new UsageError(
        `${program.path} needs libraries; an overlay needs a static busybox (Debian: busybox-static).`,
      );
    } else {
      add(found, `bootseal/libexec/${name}`, 0o755, program.bytes);
      add(found, `bootseal/bin/${name}`, 0o755, Buffer.from(wrapper(name, basename(elf.interpreter))));
      await addLibraries(root, program.path, elf, found);
    }
  }
  if (machine === undefined) throw new UsageError('An overlay without any tool cannot verify.');
  return {
    machine,
    names: wanted,
    applets: new Set(applets),
    entries: [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
  };
}

/**
 * The initramfs may have another C library, or none: each program runs through the loader it came with. systemd
 * spares a process whose name begins with `@` when a machine shuts down, and a root over NBD must outlive the rest. An
 * initramfs may call it, too: its environment ends here.
 */
function wrapper(name: string, loader: string): string {
  const mark = name === 'nbd-client' ? '@' : '';
  const lines = [
    '#!/bootseal/bin/busybox sh',
    '. /bootseal/clean-start',
    ...(name === 'openssl' || name === 'curl' ? ['export OPENSSL_CONF=/dev/null'] : []),
    `exec -a ${mark}${name} /bootseal/lib/${loader} --inhibit-cache --library-path /bootseal/lib /bootseal/libexec/${name} "$@"`,
  ];
  return `${lines.join('\n')}\n`;
}

async function addLibraries(
  root: string,
  program: string,
  elf: Elf,
  found: Map<string, CpioSource>,
): Promise<void> {
  const waiting = [...(elf.interpreter === undefined ? [] : [basename(elf.interpreter)]), ...elf.needed];
  const folders = [...elf.runpath.filter((path) => path.startsWith('/')), ...libraryFolders(elf.machine)];
  for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
    const target = `bootseal/lib/${name}`;
    if (found.has(target)) continue;
    const library = await findLibrary(root, folders, name, elf.machine);
    if (!library) {
      throw new UsageError(`${program} needs the library ${name}, which is not below ${root}.`);
    }
    add(found, target, 0o755, library.bytes);
    waiting.push(...decoded(library).needed);
  }
}

interface FoundFile {
  readonly path: string;
  readonly bytes: Uint8Array;
}

async function findProgram(root: string, name: string): Promise<FoundFile> {
  for (const folder of PROGRAM_FOLDERS) {
    const file = await readInside(root, join(folder, name));
    if (file && isElf(file.bytes)) return file;
  }
  const packageName =
    {
      busybox: 'busybox-static',
      gpg: 'gnupg',
      rdate: 'rdate; a busybox that has ntpd needs none',
    }[name] ?? name;
  throw new UsageError(`There is no program ${name} below ${root} (Debian: package ${packageName}).`);
}

async function findLibrary(
  root: string,
  folders: readonly string[],
  name: string,
  machine: Elf['machine'],
): Promise<FoundFile | undefined> {
  if (name.includes('/')) return undefined;
  for (const folder of folders) {
    const file = await readInside(root, join(folder, name));
    // A folder of several machines' libraries may hold one of the same name for another.
    if (file && isElf(file.bytes) && decoded(file).machine === machine) return file;
  }
  return undefined;
}

/** A file below `root`; links are followed as they would be inside it. Undefined where there is none. */
async function readInside(root: string, path: string): Promise<FoundFile | undefined> {
  let inside = normalize(`/${path}`);
  // Folders may be links as well (`/lib` → `usr/lib`).
  for (let hops = 0; hops < 40; hops += 1) {
    const link = await firstLink(root, inside);
    if (link === undefined) {
      const file = join(root, inside);
      const stat = await lstatIfThere(file);
      return stat?.isFile() ? { path: file, bytes: await read(file) } : undefined;
    }
    inside = link;
  }
  return undefined;
}

/** `path` with its first symbolic link replaced by what it points at; undefined where it passes through none. */
async function firstLink(root: string, path: string): Promise<string | undefined> {
  const segments = path.split('/').slice(1);
  for (const index of segments.keys()) {
    const prefix = `/${segments.slice(0, index + 1).join('/')}`;
    const stat = await lstatIfThere(join(root, prefix));
    if (!stat?.isSymbolicLink()) continue;
    const target = await reading(join(root, prefix), undefined, () => readlink(join(root, prefix)));
    const base = target.startsWith('/') ? target : join(prefix, '..', target);
    // `normalize` of an absolute path cannot climb above the root.
    return normalize(join('/', base, ...segments.slice(index + 1)));
  }
  return undefined;
}

async function read(path: string): Promise<Buffer> {
  return readFile(path).catch((error: unknown) => {
    throw cannotRead(path, error);
  });
}

function decoded({ path, bytes }: FoundFile): Elf {
  try {
    return decodeElf(bytes);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw new Refusal('malformed', `${path} is no program that an overlay can carry: ${error.message}.`, {
      path,
    });
  }
}

function add(found: Map<string, CpioSource>, name: string, mode: number, data: Uint8Array): void {
  found.set(name, { kind: 'file', name, mode, data });
}
