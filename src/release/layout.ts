import { join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { lstatBeneath, openBeneath } from '../files/beneath.ts';
import { lstatIfThere, namesIfThere } from '../files/read-if-there.ts';
import { readInto, reading } from '../files/reading.ts';
import { isLayoutName, PLAIN_LAYOUT } from '../formats/records/manifest.ts';
import { isReleaseId, isSafePath } from '../formats/records/safe-path.ts';
import type { FreeParameter } from '../formats/script/cmdline.ts';
import {
  FREE_TYPES,
  isCommandLineWord,
  isFreeType,
  lastValue,
  splitCommandLine,
} from '../formats/script/cmdline.ts';
import { readArchLayout } from './arch-layout.ts';
import { type LayoutDraft, NETWORK_PARAMETERS, SERVER_PARAMETER } from './layout-draft.ts';
import { readPlainLayout } from './plain-layout.ts';

/** A file of a release that a machine loads: what the sealer seals and the manifest lists. */
export interface Artifact {
  readonly role: 'kernel' | 'initrd' | 'overlay' | 'rootfs' | 'file';
  /** Relative to the tree, `/`-separated. */
  readonly path: string;
  /** Bytes. */
  readonly size: number;
}

/** What a build tree was recognised as. */
export interface Layout {
  readonly family: 'arch' | 'plain';
  /** `NAME/VERSION` */
  readonly release: string;
  readonly arch: string;
  /** The kind of system, as the manifest names it: what words it may fix depends on it. */
  readonly layout: string;
  /** Kernel, initrds in load order, then the overlay, the root image and other files where there are such. */
  readonly artifacts: readonly Artifact[];
  /** The fixed words of the kernel command line. */
  readonly cmdline: readonly string[];
  readonly free: readonly FreeParameter[];
  /** Of `free`, what the tree left out and its overlay halts without. */
  readonly added?: FreeParameter;
}

/** What the operator says about a tree; each wins over what the tree says itself. */
export interface LayoutOptions {
  readonly release?: string;
  readonly arch?: string;
  readonly kernel?: string;
  readonly initrds?: readonly string[];
  readonly rootfs?: string;
  /** What `bootseal overlay` built; default: `bootseal-overlay.img` at the top, where there is one. */
  readonly overlay?: string;
  /** Words, separated by blanks. */
  readonly cmdline?: string;
  /** The kind of system, as the manifest names it; default: the tree's word, else what it is recognised by. */
  readonly layout?: string;
}

/**
 * Recognises an Arch netboot tree or a plain one.
 *
 * @throws UsageError that names what is missing, or said so that it cannot be meant; Refusal for what stands in the tree
 *   and is unfit (a link, a FIFO, an empty file, a damaged overlay); IoError for what cannot be read.
 */
export async function recogniseTree(tree: string, options: LayoutOptions = {}): Promise<Layout> {
  const stat = await lstatIfThere(tree);
  if (!stat) throw new UsageError(`There is no folder ${tree}; name the tree to be sealed.`);
  if (!stat.isDirectory()) throw new UsageError(`${tree} is not a folder; name the folder of the tree.`);
  const entries = await namesIfThere(tree);
  if (entries.length === 0) throw new UsageError(`${tree} is empty: there is nothing to seal.`);
  const draft =
    entries.includes('bootseal.toml') || options.kernel !== undefined
      ? await readPlainLayout(tree, entries.includes('bootseal.toml'))
      : await readArchLayout(tree, entries);
  const overlay = entries.includes(OVERLAY) ? { overlay: OVERLAY } : {};
  const merged = { ...overlay, ...draft, ...defined(options) };

  if (!merged.release || !isReleaseId(merged.release)) {
    throw new UsageError(
      merged.release
        ? `${JSON.stringify(merged.release)} is no release id; write NAME/VERSION, as in school/2026.11.01.`
        : `Nothing in ${tree} says which release it is; name it with --release NAME/VERSION.`,
    );
  }
  if (!merged.kernel)
    throw new UsageError(`Nothing in ${tree} says which file the kernel is; name it with --kernel.`);
  const wanted = [
    { role: 'kernel' as const, path: merged.kernel },
    ...(merged.initrds ?? []).map((path) => ({ role: 'initrd' as const, path })),
    ...(merged.overlay ? [{ role: 'overlay' as const, path: merged.overlay }] : []),
    ...(merged.rootfs ? [{ role: 'rootfs' as const, path: merged.rootfs }] : []),
    ...(draft.files ?? []).map((path) => ({ role: 'file' as const, path })),
  ];
  const artifacts: Artifact[] = [];
  for (const { role, path } of wanted) {
    if (artifacts.some((other) => other.path === path)) {
      throw new UsageError(`${path} is named twice; each file has one role.`);
    }
    artifacts.push({ role, path, size: await sizeOf(tree, path, role) });
  }
  if (merged.overlay && !merged.rootfs) {
    throw new UsageError(
      `${merged.overlay} is an overlay, and the release has no root image, without which its init halts every machine; take it out of ${tree}, or name the root image with --rootfs.`,
    );
  }
  if (merged.overlay) await demandOverlay(tree, merged.overlay);
  const cmdline = withOverlayInit(
    options.cmdline === undefined ? draft.cmdline : splitCommandLine(options.cmdline),
    merged.overlay,
  );
  const bad = cmdline.find((word) => !isCommandLineWord(word));
  if (bad !== undefined) {
    throw new UsageError(
      `The kernel command line holds ${JSON.stringify(bad)}, which is not allowed; letters, digits and ._:,=/@%+[]- are.`,
    );
  }
  const said = draft.free ?? (isArchiso(cmdline) ? NETWORK_PARAMETERS : []);
  const added = merged.overlay ? lackingServer(cmdline, said) : undefined;
  const badFree = said.find((free) => !isFreeType(free.type));
  if (badFree) throw new UsageError(`${badFree.type} is no type of a free parameter; write ${FREE_TYPES}.`);
  return {
    family: draft.family,
    release: merged.release,
    arch: merged.arch ?? 'x86_64',
    layout: layoutOf({ ...draft, ...defined(options) }, cmdline),
    artifacts,
    cmdline,
    free: added ? [...said, added] : said,
    ...(added ? { added } : {}),
  };
}

/** What the operator or the tree says, else what it is recognised by. */
function layoutOf(
  { family, layout }: Pick<LayoutDraft, 'family' | 'layout'>,
  cmdline: readonly string[],
): string {
  if (layout !== undefined && !isLayoutName(layout)) {
    throw new UsageError(
      `${JSON.stringify(layout)} is no name of a layout; write small letters, digits and dashes, as in debian-installer.`,
    );
  }
  return layout ?? (family === 'arch' || isArchiso(cmdline) ? 'archiso' : PLAIN_LAYOUT);
}

/** Its own word, which no other early userspace reads. */
function isArchiso(cmdline: readonly string[]): boolean {
  return lastValue(cmdline, 'archisobasedir') !== undefined;
}

/** An overlay that is not told its server has nothing to fetch, and halts. */
function lackingServer(
  cmdline: readonly string[],
  free: readonly FreeParameter[],
): FreeParameter | undefined {
  const { name, type } = SERVER_PARAMETER;
  if (lastValue(cmdline, name) !== undefined) return undefined;
  const named = free.find((parameter) => parameter.name === name);
  if (!named) return SERVER_PARAMETER;
  if (named.type === type) return undefined;
  throw new UsageError(
    `The free word ${name} is of type ${named.type}, and the overlay takes only a ${type}.`,
  );
}

/** Beside the release's own files: it goes with any initramfs. */
const OVERLAY = 'bootseal-overlay.img';
const OVERLAY_INIT = 'rdinit=/bootseal/init';

/** An overlay that the kernel does not start would check nothing, and its init without the overlay is not there. */
function withOverlayInit(cmdline: readonly string[], overlay: string | undefined): readonly string[] {
  if (cmdline.includes(OVERLAY_INIT)) {
    if (overlay) return cmdline;
    throw new UsageError(
      `The command line says ${OVERLAY_INIT}, and the release has no overlay; "bootseal overlay" builds one.`,
    );
  }
  const other = overlay && cmdline.find((word) => word.startsWith('rdinit='));
  if (other) {
    throw new UsageError(
      `The command line says ${other}, so the overlay would check nothing; leave that word out.`,
    );
  }
  return overlay ? [...cmdline, OVERLAY_INIT] : cmdline;
}

/** The kernel drops an archive that does not begin at a multiple of four bytes, with one line that nobody reads. */
async function demandOverlay(tree: string, path: string): Promise<void> {
  const { handle, identity } = await openBeneath(tree, path);
  const magic = Buffer.alloc(6);
  await reading(join(tree, path), handle, () => readInto(handle, magic, 0));
  if (magic.toString('latin1') === '070701' && identity.size % 4n === 0n) return;
  throw new Refusal('malformed', `The overlay ${path} is no newc archive of a multiple of four bytes.`, {
    path,
  });
}

function defined(options: LayoutOptions): Partial<Omit<LayoutOptions, 'cmdline'>> {
  const { cmdline: _, ...rest } = options;
  return Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined));
}

/** Refuses anything but a readable regular file with content, at a safe path without symlinks on the way. */
async function sizeOf(tree: string, path: string, role: string): Promise<number> {
  if (!isSafePath(path)) {
    throw new UsageError(
      `${JSON.stringify(path)} is no path for a ${role}; write one below the tree, without "..".`,
    );
  }
  const segments = path.split('/');
  for (const count of segments.keys()) {
    const part = segments.slice(0, count + 1).join('/');
    const stat = await lstatBeneath(tree, part);
    const last = count === segments.length - 1;
    if (!stat) throw new UsageError(`The ${role} ${path} is missing from ${tree}.`);
    // A link may point out of the tree, today or tomorrow; what is sealed must stand in it.
    if (stat.isSymbolicLink()) {
      throw new Refusal('unsafe-path', `The ${role} ${path} passes through a symbolic link (${part}).`, {
        path,
        role,
      });
    }
    if (!last && !stat.isDirectory()) {
      throw new Refusal('unsafe-path', `The ${role} ${path} lies below ${part}, which is not a folder.`, {
        path,
        role,
      });
    }
    if (last) {
      if (!stat.isFile()) {
        const kind = stat.isDirectory() ? 'a folder' : stat.isFIFO() ? 'a FIFO' : 'not a regular file';
        throw new Refusal('unsafe-path', `The ${role} ${path} is ${kind}.`, { path, role });
      }
      if (stat.size === 0) throw new Refusal('malformed', `The ${role} ${path} is empty.`, { path, role });
      return stat.size;
    }
  }
  throw new UsageError(`The ${role} ${path} is missing.`);
}
