import { join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { lstatBeneath, openBeneath } from '../files/beneath.ts';
import { lstatIfThere, namesIfThere } from '../files/read-if-there.ts';
import { readInto, reading } from '../files/reading.ts';
import { PLAIN_LAYOUT } from '../formats/records/manifest.ts';
import { isReleaseId, isSafePath } from '../formats/records/safe-path.ts';
import type { FreeParameter } from '../formats/script/cmdline.ts';
import { FREE_TYPES, isFreeType, splitCommandLine } from '../formats/script/cmdline.ts';
import { demandFetchedOnce, demandWords, lackingServer, withOverlayInit } from './layout-words.ts';
import { demandLayout, layoutOfWords, recogniseLayout } from './layouts/all.ts';
import { archiso, readArchLayout } from './layouts/archiso.ts';
import { type LayoutDraft, NETWORK_PARAMETERS } from './layouts/draft.ts';
import { freeParameter } from './layouts/free-parameter.ts';
import type { LayoutKind } from './layouts/kind.ts';
import { TreeNames } from './layouts/tree-names.ts';
import { demandOwnWords } from './own-words.ts';
import { notePacks, PACK, type PackedPath, packOf, withPacked } from './packed.ts';
import { wrongVlan } from './vlan-words.ts';

/** A file of a release that a machine loads: what the sealer seals and the manifest lists. */
export interface Artifact {
  readonly role: 'kernel' | 'module' | 'initrd' | 'overlay' | 'rootfs' | 'file';
  /** Relative to the tree, `/`-separated. */
  readonly path: string;
  /** Bytes. */
  readonly size: number;
}

/** What a build tree was recognised as. */
export interface Layout {
  /** `NAME/VERSION` */
  readonly release: string;
  readonly arch: string;
  /** The kind of system, as the manifest names it: what words it may fix depends on it, and who verifies what. */
  readonly layout: string;
  /** Kernel, initrds in load order, then the overlay, the root image and other files where there are such. */
  readonly artifacts: readonly Artifact[];
  /** The fixed words of the kernel command line. */
  readonly cmdline: readonly string[];
  /** The same of the module, there exactly where the release has one. */
  readonly moduleCmdline?: readonly string[];
  readonly free: readonly FreeParameter[];
  /** What nobody wrote and the release needs, one sentence each. */
  readonly notes: readonly string[];
}

/** What the operator says about a tree; each wins over what the tree says itself. */
export interface LayoutOptions {
  readonly release?: string;
  readonly arch?: string;
  readonly kernel?: string;
  /** The Linux that a multiboot kernel (Xen) starts. */
  readonly module?: string;
  readonly initrds?: readonly string[];
  /** Behind those, whoever names them. */
  readonly addInitrds?: readonly string[];
  readonly rootfs?: string;
  /** What `bootseal overlay` built; default: `bootseal-overlay.img` at the top, where there is one. */
  readonly overlay?: string;
  /** Words, separated by blanks. */
  readonly cmdline?: string;
  /** The words of the module, separated by blanks. */
  readonly moduleCmdline?: string;
  /** The kind of system, as the manifest names it; default: the tree's word, else what it is recognised by. */
  readonly layout?: string;
  /** `NAME TYPE` each. */
  readonly free?: readonly string[];
  /** Files and folders of the tree that go into an initrd of the site's own: `PATH`, or `PATH=PATH THERE`. */
  readonly pack?: readonly string[];
  /** Makes that initrd, at this path of the tree. */
  readonly makePack?: (tree: string, path: string, entries: readonly PackedPath[]) => Promise<void>;
}

/**
 * Recognises a tree: by its `bootseal.toml`, by what the operator says, or by how its publisher lays out files.
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
  const draft = await readDraft(tree, entries, options);
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
  const lines = commandLines(draft, options, merged.module);
  // Early userspace sees the module's words, where there is a module.
  const said = lines.module ?? lines.kernel;
  demandWords([...lines.kernel, ...said]);
  const kind = layoutOf(merged.layout, said);
  demandOwnWords(merged.release, kind.name, said);
  const pack = packOf(merged.pack ?? [], merged.rootfs, kind);
  // What rides in an initrd is fetched by nobody.
  const rootfs = pack?.entries.some(({ from }) => from === merged.rootfs) ? undefined : merged.rootfs;
  if (merged.overlay && !rootfs) {
    throw new UsageError(
      `${merged.overlay} is an overlay, and the release has no root image, without which its init halts every machine; take it out of ${tree}, or name the root image with --rootfs.`,
    );
  }
  if (pack) await options.makePack?.(tree, PACK, pack.entries);
  const wanted = [
    { role: 'kernel' as const, path: merged.kernel },
    ...(merged.module === undefined ? [] : [{ role: 'module' as const, path: merged.module }]),
    ...[...(merged.initrds ?? []), ...(options.addInitrds ?? [])]
      .filter((path) => !pack || path !== PACK)
      .map(initrd),
    // Behind the system's own, so that its files win, and before the overlay's, so that they do not.
    ...(pack ? [initrd(PACK)] : []),
    ...(merged.overlay ? [{ role: 'overlay' as const, path: merged.overlay }] : []),
    ...(rootfs ? [{ role: 'rootfs' as const, path: rootfs }] : []),
    ...(draft.files ?? []).map((path) => ({ role: 'file' as const, path })),
  ];
  const artifacts: Artifact[] = [];
  for (const { role, path } of wanted) {
    if (artifacts.some((other) => other.path === path)) {
      throw new UsageError(`${path} is named twice; each file has one role.`);
    }
    artifacts.push({ role, path, size: await sizeOf(tree, path, role) });
  }
  // Beside a hypervisor it is joined with the initrd, which stands before it.
  if (merged.overlay && merged.module === undefined) await demandOverlay(tree, merged.overlay);
  const notes: string[] = [];
  notePacks(pack, entries, artifacts, notes);
  const packed = pack ? withPacked(said, pack, artifacts, notes) : said;
  const cmdline = withOverlayInit(packed, merged.overlay);
  demandWords(cmdline);
  demandFetchedOnce(cmdline, kind);
  const halts = merged.overlay && kind.haltsOverlay?.(cmdline);
  if (halts) throw new UsageError(`Every machine would halt: ${halts}`);
  const free = options.free?.map(freeParameter) ?? draft.free ?? (kind === archiso ? NETWORK_PARAMETERS : []);
  const badFree = free.find(({ type }) => !isFreeType(type));
  if (badFree)
    throw new UsageError(`${JSON.stringify(badFree.type)} is no type of a free word; write ${FREE_TYPES}.`);
  const vlan = merged.overlay && wrongVlan(cmdline, free);
  if (vlan) throw new UsageError(`Every machine would halt: ${vlan}`);
  const added = merged.overlay ? lackingServer(cmdline, free) : undefined;
  if (added) {
    notes.push(
      `The overlay of ${merged.release} must be told its server, so "${added.name} ${added.type}" was added to the free words.`,
    );
  }
  return {
    release: merged.release,
    arch: merged.arch ?? 'x86_64',
    layout: kind.name,
    artifacts,
    ...(lines.module ? { cmdline: lines.kernel, moduleCmdline: cmdline } : { cmdline }),
    free: added ? [...free, added] : free,
    notes,
  };
}

/** The words of the kernel, and those of the module where there is one. */
function commandLines(
  draft: LayoutDraft,
  options: LayoutOptions,
  module: string | undefined,
): { readonly kernel: readonly string[]; readonly module?: readonly string[] } {
  const said = (text: string | undefined, otherwise: readonly string[] | undefined) =>
    text === undefined ? otherwise : splitCommandLine(text);
  const kernel = said(options.cmdline, draft.cmdline) ?? [];
  const words = said(options.moduleCmdline, draft.moduleCmdline);
  if (module !== undefined) return { kernel, module: words ?? [] };
  if (words === undefined) return { kernel };
  throw new UsageError(
    'There are words for a module, and no module; name the file with module, or --module.',
  );
}

/** What the tree says of itself: in its own file, and by its files where neither that nor the operator names a kernel. */
async function readDraft(
  tree: string,
  entries: readonly string[],
  { kernel, layout }: LayoutOptions,
): Promise<LayoutDraft> {
  const described = entries.includes('bootseal.toml');
  const own = described ? await (await import('./layouts/plain.ts')).readPlainLayout(tree) : {};
  if ((kernel ?? own.kernel) !== undefined) return { cmdline: [], free: undefined, ...own };
  const named = layout ?? own.layout;
  return {
    ...(await readFiles(tree, entries, named === undefined ? undefined : demandLayout(named))),
    ...own,
  };
}

async function readFiles(
  tree: string,
  entries: readonly string[],
  wanted: LayoutKind | undefined,
): Promise<LayoutDraft> {
  const names = await TreeNames.of(tree);
  const draft = await recogniseLayout(names, wanted);
  if (draft) return draft;
  if (entries.includes('bootseal.toml') && names.all(/^[^/]+\/boot\/[^/]+\/vmlinuz-/).length === 0) {
    throw new UsageError(
      `${join(tree, 'bootseal.toml')}: kernel is not named, and the files beside it are no system that is known here.`,
    );
  }
  // It says what is missing of the tree that most people have.
  if (!wanted || wanted === archiso) return readArchLayout(tree, entries);
  if (wanted.name === PLAIN_LAYOUT)
    throw new UsageError(
      'Of a plain tree nothing is known: name its files with --kernel, --initrd and --rootfs.',
    );
  throw new UsageError(
    `${tree} is no tree of ${wanted.name} as its publisher lays one out (docs/trees.md); name its files with --kernel, --initrd and --rootfs.`,
  );
}

/** What the operator or the tree says, else what its words show. */
function layoutOf(named: string | undefined, cmdline: readonly string[]): LayoutKind {
  return named === undefined ? (layoutOfWords(cmdline) ?? demandLayout(PLAIN_LAYOUT)) : demandLayout(named);
}

function initrd(path: string): { readonly role: 'initrd'; readonly path: string } {
  return { role: 'initrd', path };
}

/** Beside the release's own files: it goes with any initramfs. */
const OVERLAY = 'bootseal-overlay.img';

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

function defined({
  cmdline: _,
  moduleCmdline: __,
  free: ___,
  makePack: ____,
  ...rest
}: LayoutOptions): Omit<LayoutOptions, 'cmdline' | 'moduleCmdline' | 'free' | 'makePack'> {
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
