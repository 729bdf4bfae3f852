import { Malformed } from '../../errors/malformed.ts';
import { type FreeParameter, isCommandLineWord, isFreeType, MAX_COMMAND_LINE } from '../script/cmdline.ts';
import { isShellName, isShellWord } from '../script/shell-words.ts';
import { hashDeviceSize } from '../verity/dm-verity.ts';
import { BLOCK_SIZE } from '../verity/verity-tree.ts';
import { isoSeconds, LineReader } from './lines.ts';
import { isReleaseId, isSafePath, isSafeSegment } from './safe-path.ts';

/**
 * What a file of a release is for. A `module` is the Linux that a multiboot kernel (Xen) starts; a `file` is what a system
 * fetches later: a preseed, an Ignition configuration, a device tree.
 */
export type Role = (typeof ROLES)[number];
const ROLES = ['kernel', 'module', 'initrd', 'overlay', 'rootfs', 'hashtree', 'file'] as const;
/** Of the others a release has one at most. */
const SEVERAL: ReadonlySet<Role> = new Set(['initrd', 'file']);

/** One file that the manifest binds. */
export interface ManifestFile {
  readonly role: Role;
  /** Bytes. */
  readonly size: number;
  /** Lower-case hex. */
  readonly sha256: string;
  /** Lower-case hex. */
  readonly sha512: string;
  /** Relative to the tree, `/`-separated. */
  readonly path: string;
}

/** The root image's dm-verity tree. It stands in the `hashtree` file, which is listed exactly where this is. */
export interface Verity {
  /** Lower-case hex. */
  readonly rootHash: string;
  /** None, so that one tree serves dm-verity and fs-verity. */
  readonly salt: '-';
  /** Of 4096 bytes, at least one; together they are the whole image. */
  readonly dataBlocks: number;
  /** The root image's. */
  readonly path: string;
}

export interface FsVerity {
  /** Lower-case hex. */
  readonly digest: string;
  readonly path: string;
}

/** The signed list that binds a release together. Times are milliseconds since 1970, whole seconds. */
export interface Manifest {
  /** `arch/2026.11.01` */
  readonly release: string;
  /** YYYYMMDDNN or any growing number. */
  readonly serial: number;
  readonly issued: number;
  readonly bestBefore: number;
  readonly arch: string;
  /** The kind of system, which decides what words it may fix; `plain` where none is named. */
  readonly layout: string;
  /** The fixed words of the kernel command line, in order. */
  readonly cmdline: readonly string[];
  /** The same of the module, there exactly where the release has one. Early userspace sees this line, not the other. */
  readonly moduleCmdline?: readonly string[];
  readonly free: readonly FreeParameter[];
  /** Whether early userspace may ever offer a shell. */
  readonly shell: boolean;
  readonly files: readonly ManifestFile[];
  /** One at most. */
  readonly verity: readonly Verity[];
  /** In the order of `files`. */
  readonly fsverity: readonly FsVerity[];
}

/** Bytes. busybox reads it line by line into variables; a release has a handful of files. */
export const MAX_MANIFEST = 64 * 1024;

const MAGIC = 'bootseal-manifest 1';
const SHA256 = /^[0-9a-f]{64}$/;
const SHA512 = /^[0-9a-f]{128}$/;
const PARAMETER = /^[A-Za-z][A-Za-z0-9._-]{0,63}$/;

/** The layout of a manifest that names none. */
export const PLAIN_LAYOUT = 'plain';
const LAYOUT = /^[a-z0-9][a-z0-9-]{0,31}$/;

/** True for a name that a layout may have; whether anybody knows such a layout is not asked. */
export function isLayoutName(text: string): boolean {
  return LAYOUT.test(text);
}

/** What early userspace runs under: the kernel, or the module of a multiboot kernel, with its own command line. */
export function linuxOf({ files, cmdline, moduleCmdline }: Manifest): {
  readonly path: string;
  readonly cmdline: readonly string[];
} {
  const of = (wanted: Role) => files.find(({ role }) => role === wanted);
  const file = of('module') ?? of('kernel');
  return { path: file?.path ?? '', cmdline: moduleCmdline ?? cmdline };
}

/** Writes the one canonical form. Throws `Malformed` for a value that has none, as `decodeManifest` would. */
export function encodeManifest(manifest: Manifest): Uint8Array {
  const commandLines = [manifest.cmdline, ...(manifest.moduleCmdline ? [manifest.moduleCmdline] : [])];
  const lines = [
    MAGIC,
    `release ${manifest.release}`,
    `serial ${manifest.serial}`,
    `issued ${isoSeconds(manifest.issued)}`,
    `best-before ${isoSeconds(manifest.bestBefore)}`,
    `arch ${manifest.arch}`,
    ...(manifest.layout === PLAIN_LAYOUT ? [] : [`layout ${manifest.layout}`]),
    ...commandLines.map((words) => `cmdline ${words.join(' ')}`.trimEnd()),
    ...manifest.free.map((free) => `free ${free.name} ${free.type}`),
    ...(manifest.shell ? ['shell yes'] : []),
    ...manifest.files.map(
      (file) => `file ${file.role} ${file.size} ${file.sha256} ${file.sha512} ${file.path}`,
    ),
    ...manifest.verity.map(
      (verity) => `verity ${verity.rootHash} ${verity.salt} ${verity.dataBlocks} ${verity.path}`,
    ),
    ...manifest.fsverity.map((fsverity) => `fsverity ${fsverity.digest} ${fsverity.path}`),
  ];
  // Joined, a line or word that breaks would be read as two: another manifest than the one given.
  if (
    lines.some((line) => line.includes('\n')) ||
    !commandLines.flat().every(isCommandLineWord) ||
    !manifest.free.every(({ name }) => PARAMETER.test(name))
  ) {
    throw new Malformed('manifest', 'a value that breaks its line or word');
  }
  const bytes = Buffer.from(`${lines.join('\n')}\n`, 'latin1');
  decodeManifest(bytes);
  return bytes;
}

/**
 * Seals, whatever they are beside, and the records at the top of a tree. A payload of such a name would be
 * served in the place of what the name promises, or be overwritten by it.
 */
const RESERVED =
  /\.(sig|sha512|roothash|p7s)$|(^|\/)SHA256SUMS(\.gpg)?(\/|$)|^(release\.manifest|boot(\.[0-9a-f]{16})?\.ipxe|grub\.cfg)(\/|$)/;

/** Whether no payload may have this path. */
export function isReservedPath(path: string): boolean {
  return RESERVED.test(path);
}

/** Decodes the canonical form and nothing else. Throws `Malformed`, naming the line. */
export function decodeManifest(bytes: Uint8Array): Manifest {
  if (bytes.length > MAX_MANIFEST)
    throw new Malformed('manifest', `${bytes.length} bytes, more than ${MAX_MANIFEST}`);
  for (const [at, octet] of bytes.entries()) {
    if (octet !== 0x0a && (octet < 0x20 || octet > 0x7e))
      throw new Malformed('manifest', 'control or non-ASCII character', at);
  }
  if (bytes.at(-1) !== 0x0a) throw new Malformed('manifest', 'no newline at the end');
  const lines = new LineReader('manifest', Buffer.from(bytes).toString('latin1').slice(0, -1).split('\n'));

  if (lines.next() !== MAGIC) throw lines.fail(`the first line is not "${MAGIC}"`);
  const release = lines.one('release');
  if (!isReleaseId(release)) throw lines.fail('release is not NAME/VERSION');
  const serial = lines.count(lines.one('serial'), 'serial');
  const issued = lines.time('issued');
  const bestBefore = lines.time('best-before');
  if (bestBefore <= issued) throw lines.fail('best-before is not after issued');
  const arch = lines.one('arch');
  if (!isSafeSegment(arch)) throw lines.fail('arch');
  const [named] = lines.optional('layout', 1) ?? [];
  // Two spellings would be two manifests of one meaning.
  if (named === PLAIN_LAYOUT) throw lines.fail(`layout ${PLAIN_LAYOUT} is what no such line means`);
  if (named !== undefined && !isLayoutName(named)) throw lines.fail('layout');
  const layout = named ?? PLAIN_LAYOUT;
  const cmdline = readCommandLine(lines);
  const moduleCmdline = lines.has('cmdline') ? readCommandLine(lines) : undefined;

  const free: FreeParameter[] = [];
  for (let words = lines.optionalWords('free'); words; words = lines.optionalWords('free')) {
    const [name = '', ...rest] = words;
    const type = rest.join(' ');
    if (!PARAMETER.test(name) || !isFreeType(type)) throw lines.fail('free is not NAME TYPE');
    if (free.some((other) => other.name === name)) throw lines.fail(`free ${name} twice`);
    if ((moduleCmdline ?? cmdline).some((word) => word === name || word.startsWith(`${name}=`)))
      throw lines.fail(`${name} both fixed and free`);
    if (isShellName(name, layout)) throw lines.fail(`${name} must not be free`);
    free.push({ name, type });
  }
  const shellFields = lines.optional('shell', 1);
  if (shellFields && shellFields[0] !== 'yes') throw lines.fail('shell is not "yes"');
  const shell = shellFields !== undefined;
  const shellWord = [...cmdline, ...(moduleCmdline ?? [])].find((word) => isShellWord(word, layout));
  if (!shell && shellWord !== undefined) {
    throw lines.fail(`${shellWord} in cmdline without "shell yes"`);
  }

  const files: ManifestFile[] = [];
  for (let fields = lines.optional('file', 5); fields; fields = lines.optional('file', 5)) {
    const [role = '', size = '', sha256 = '', sha512 = '', path = ''] = fields;
    if (!isRole(role)) throw lines.fail(`unknown role ${JSON.stringify(role)}`);
    if (!SHA256.test(sha256) || !SHA512.test(sha512)) throw lines.fail('digest');
    if (!isSafePath(path)) throw lines.fail('unsafe path');
    if (isReservedPath(path)) throw lines.fail(`${path} is the name of a seal or record`);
    if (files.some((file) => file.path === path)) throw lines.fail(`${path} twice`);
    const before = files.at(-1);
    if (before && ROLES.indexOf(before.role) > ROLES.indexOf(role)) throw lines.fail('files out of order');
    if (!SEVERAL.has(role) && before?.role === role) throw lines.fail(`a second ${role}`);
    files.push({ role, size: lines.count(size, 'size'), sha256, sha512, path });
  }
  if (files[0]?.role !== 'kernel') throw lines.fail('no kernel');
  if (files.some(({ role }) => role === 'module') !== (moduleCmdline !== undefined)) {
    throw lines.fail('a module has a second cmdline line, and nothing else has one');
  }

  const verity = readVerity(lines, files);
  const fsverity = readFsVerity(lines, files);
  lines.end();
  const dates = { release, serial, issued, bestBefore };
  const words = { cmdline, ...(moduleCmdline ? { moduleCmdline } : {}), free, shell };
  return { ...dates, arch, layout, ...words, files, verity, fsverity };
}

function readCommandLine(lines: LineReader): string[] {
  const words = lines.words('cmdline');
  if (words.join(' ').length > MAX_COMMAND_LINE)
    throw lines.fail(`command line over ${MAX_COMMAND_LINE} bytes`);
  const bad = words.find((word) => !isCommandLineWord(word));
  if (bad !== undefined) throw lines.fail(`word ${JSON.stringify(bad)} in cmdline`);
  return words;
}

function readVerity(lines: LineReader, files: readonly ManifestFile[]): Verity[] {
  const rootfs = files.find(({ role }) => role === 'rootfs');
  const tree = files.find(({ role }) => role === 'hashtree');
  const fields = lines.optional('verity', 4);
  if (!fields) {
    if (tree) throw lines.fail('a hash tree without its verity line');
    return [];
  }
  const [rootHash = '', salt = '', blocks = '', path = ''] = fields;
  if (!SHA256.test(rootHash)) throw lines.fail('verity digest');
  if (salt !== '-') throw lines.fail('verity has a salt');
  const dataBlocks = lines.count(blocks, 'data blocks');
  if (dataBlocks === 0) throw lines.fail('verity of no data block');
  if (rootfs?.path !== path) throw lines.fail('verity names no root image');
  // Bytes behind the last whole block would be read and never verified. Divided: a product may be inexact.
  if (rootfs.size / BLOCK_SIZE !== dataBlocks) {
    throw lines.fail(`the root image is not ${dataBlocks} blocks of ${BLOCK_SIZE} bytes`);
  }
  const size = hashDeviceSize(dataBlocks);
  if (tree?.path !== `${path}.verity` || tree.size !== size) {
    throw lines.fail(`no hash tree ${path}.verity of ${size} bytes`);
  }
  return [{ rootHash, salt, dataBlocks, path }];
}

/** In the order of the files, since two orders would be two spellings. */
function readFsVerity(lines: LineReader, files: readonly ManifestFile[]): FsVerity[] {
  const fsverity: FsVerity[] = [];
  let last = -1;
  for (let fields = lines.optional('fsverity', 2); fields; fields = lines.optional('fsverity', 2)) {
    const [digest = '', path = ''] = fields;
    if (!SHA256.test(digest)) throw lines.fail('fsverity digest');
    const at = files.findIndex((file) => file.path === path);
    if (at < 0) throw lines.fail('fsverity names no file');
    if (at <= last) throw lines.fail('fsverity twice or out of order');
    last = at;
    fsverity.push({ digest, path });
  }
  return fsverity;
}

function isRole(text: string): text is Role {
  return (ROLES as readonly string[]).includes(text);
}
