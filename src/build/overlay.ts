import { execFile } from 'node:child_process';
import { mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { codeOf, IoError, inWords } from '../errors/io.ts';
import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import { unreadable } from '../errors/unreadable.ts';
import { UsageError } from '../errors/usage.ts';
import { readIfThere, statIfThere } from '../files/read-if-there.ts';
import { decodeCpio } from '../formats/archive/cpio.ts';
import { detectCompression, openStream } from '../formats/archive/decompress.ts';
import { encodePem } from '../formats/asn1/armor.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { decodePolicyFloor, POLICY_FLOOR_PATH, type PolicyFloor } from '../formats/records/policy-floor.ts';
import { writeOutput } from '../release/write-output.ts';
import { readAnchorFolder, readAnchorKeyring } from '../trust/anchor-folder.ts';
import { composeOverlay, defaultMode, toolsFor } from './overlay-image.ts';
import { collectModules, type ModuleSet } from './overlay-modules.ts';
import { collectTools, type Tool, type ToolSet } from './overlay-tools.ts';

export interface OverlayOptions {
  /** An `anchors/` folder, or the folder of `init` that holds one. */
  readonly anchors: string;
  readonly out: string;
  /** Below which the tools lie; `/`, the default, is the machine itself. */
  readonly tools?: string;
  /** Whose machines it is for, as `uname -m` says it there; default: what the tools are for. */
  readonly arch?: string;
  /** Tools beyond those that the mode needs: curl, for servers with a name or with https. */
  readonly with?: readonly Tool[];
  /** A root with `lib/modules`, such a folder, or a squashfs or EROFS image of a root. */
  readonly modules?: string;
  /** Which kernel of several. */
  readonly kernel?: string;
  /** Modules for network cards beyond the usual ones. */
  readonly drivers?: readonly string[];
  /** A policy floor as a file; what is said besides wins over it. */
  readonly policy?: string;
  /** What is said of the floor here. */
  readonly floor?: Partial<PolicyFloor>;
  /** Milliseconds since 1970: its date of issue, where the floor names none and the same overlay is not there already. */
  readonly now: number;
}

export interface OverlayResult {
  readonly out: string;
  /** Bytes. */
  readonly size: number;
  readonly floor: PolicyFloor;
  readonly arch: string;
  readonly tools: readonly Tool[];
  readonly kernel: string | undefined;
  readonly modules: readonly string[];
  /** Bytes of tools with their libraries, and of modules. */
  readonly sizes: { readonly tools: number; readonly modules: number };
}

/**
 * Builds the overlay, one more initrd.
 *
 * @throws UsageError for what would not work; Refusal for a tool, module or anchor that is malformed, or for other
 *   machines (`wrong-machine`); IoError.
 */
export async function overlay(options: OverlayOptions): Promise<OverlayResult> {
  const anchors = await overlayAnchors(options.anchors);
  const modules = options.modules === undefined ? undefined : await modulesOf(options.modules, options);
  const floor = await floorOf(options, modules);
  if (floor.require.includes('openpgp') && !anchors.keyring) {
    throw new UsageError(`${options.anchors} holds no manifest.gpg, and the policy requires OpenPGP.`);
  }
  const tools = await toolsOf(options, floor);
  demandSameMachine(tools, modules);
  const { archive, issued } = await issue(options, floor, (whole) =>
    composeOverlay({ tools, modules, anchors, floor: whole }),
  );
  await writeOutput(options.out, archive);
  return {
    out: options.out,
    size: archive.length,
    floor: { ...floor, issued },
    arch: tools.machine,
    tools: tools.names,
    kernel: modules?.version,
    modules: modules?.names ?? [],
    sizes: { tools: octetsOf(tools.entries), modules: octetsOf(modules?.entries ?? []) },
  };
}

/** With a program that asks a time server, where the policy names one and busybox cannot. */
async function toolsOf(options: OverlayOptions, floor: PolicyFloor): Promise<ToolSet> {
  const wanted = [...new Set([...toolsFor(floor), ...(options.with ?? [])])];
  const of = { arch: options.arch };
  const tools = await collectTools(options.tools ?? '/', wanted, of);
  if (floor.ntp === undefined || tools.applets.has('ntpd') || wanted.includes('rdate')) return tools;
  return collectTools(options.tools ?? '/', [...wanted, 'rdate'], of);
}

/** Modules that no kernel of these machines loads would be found out by each machine, one by one. */
function demandSameMachine({ machine }: ToolSet, modules: ModuleSet | undefined): void {
  if (modules?.machine === undefined || modules.machine === machine) return;
  throw new Refusal(
    'wrong-machine',
    `The modules of ${modules.version} are for ${modules.machine}, and the tools are for ${machine}; name a folder with tools for ${modules.machine} with --tools.`,
    { kernel: modules.version, modules: modules.machine, tools: machine },
  );
}

/**
 * Its date of issue is the one that was named; else that of the overlay that is there, where it is the same but for that:
 * what is built again is the same, byte for byte. Whatever is new is of now.
 */
async function issue(
  { out, now }: OverlayOptions,
  floor: PolicyFloor,
  compose: (floor: PolicyFloor) => Uint8Array,
): Promise<{ readonly archive: Uint8Array; readonly issued: number }> {
  const of = (issued: number) => ({ archive: compose({ ...floor, issued }), issued });
  if (floor.issued !== undefined) return of(wholeSeconds(floor.issued));
  const there = await readIfThere(out);
  const before = there && issuedBefore(there);
  const again = before === undefined ? undefined : of(before);
  return there && again && Buffer.compare(there, again.archive) === 0 ? again : of(wholeSeconds(now));
}

/** Undefined where the file is no overlay with a date. */
function issuedBefore(archive: Uint8Array): number | undefined {
  try {
    const policy = decodeCpio(archive).find(({ name }) => name === POLICY_FLOOR_PATH);
    return policy && decodePolicyFloor(policy.data).issued;
  } catch (error) {
    if (error instanceof Malformed) return undefined;
    throw error;
  }
}

function wholeSeconds(time: number): number {
  return Math.floor(time / 1000) * 1000;
}

function octetsOf(entries: readonly { kind: string; data?: Uint8Array }[]): number {
  return entries.reduce((sum, { data }) => sum + (data?.length ?? 0), 0);
}

/** In the one form that openssl and gpg of an early userspace read, whatever the files of the folder are wrapped in. */
async function overlayAnchors(folder: string) {
  const { ca, codesign, manifest } = await readAnchorFolder(folder);
  for (const [name, found] of [
    ['codesign.crt', codesign],
    ['manifest.crt', manifest],
  ] as const) {
    if (found.length > 0) continue;
    throw new UsageError(`${folder} holds no ${name}: a machine with such an overlay could verify nothing.`);
  }
  const pem = (certificates: readonly Certificate[]) =>
    Buffer.from(certificates.map(({ raw }) => encodePem('CERTIFICATE', raw)).join(''));
  return {
    ca: pem(ca),
    codesign: pem(codesign),
    manifest: pem(manifest),
    keyring: await readAnchorKeyring(folder, 'manifest'),
  };
}

async function floorOf(options: OverlayOptions, modules: ModuleSet | undefined): Promise<PolicyFloor> {
  const given = options.policy === undefined ? undefined : await readFloor(options.policy);
  const base = given ?? { name: undefined, minSerial: 0, graceDays: 0, require: [] };
  const floor = { ...base, ...options.floor };
  const mode = floor.mode ?? (floor.fallback ? 'verity' : defaultMode(modules));
  if (floor.fallback && mode !== 'verity') {
    throw new UsageError(`--fallback goes with --mode verity, not with mode ${mode}.`);
  }
  return {
    ...floor,
    // Its init does nothing without one; whoever reads the floor elsewhere shall know.
    require: ['manifest' as const, ...floor.require.filter((check) => check !== 'manifest')],
    mode,
  };
}

async function readFloor(path: string): Promise<PolicyFloor> {
  const bytes = await readFile(path).catch((error: unknown) => {
    throw unreadable(path, error);
  });
  try {
    return decodePolicyFloor(bytes);
  } catch (error) {
    if (error instanceof Malformed) throw new UsageError(`${path} is no policy floor: ${error.message}.`);
    throw error;
  }
}

/** Of a folder, or of an image, out of which they are taken first. */
async function modulesOf(source: string, options: OverlayOptions): Promise<ModuleSet> {
  const how = {
    decompress: decompressModule,
    ...(options.drivers === undefined ? {} : { drivers: options.drivers }),
  };
  const facts = await statIfThere(source);
  if (!facts)
    throw new UsageError(`There is no ${source}; name a root with lib/modules, or an image of one.`);
  if (facts.isDirectory()) return collectModules(source, options.kernel, how);
  const folder = await mkdtemp(join(tmpdir(), 'bootseal-modules-'));
  try {
    await extractModules(source, join(folder, 'root'));
    return await collectModules(join(folder, 'root'), options.kernel, how);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const SQUASHFS = [0x68, 0x73, 0x71, 0x73];

/** By the tools that know the format: unsquashfs, fsck.erofs. */
async function extractModules(image: string, folder: string): Promise<void> {
  const bytes = await firstOctets(image);
  const squashfs = SQUASHFS.every((octet, at) => bytes[at] === octet);
  const [tool, args, packageName] = squashfs
    ? ([
        'unsquashfs',
        ['-n', '-q', '-d', folder, image, 'usr/lib/modules', 'lib/modules'],
        'squashfs-tools',
      ] as const)
    : (['fsck.erofs', [`--extract=${folder}`, image], 'erofs-utils'] as const);
  try {
    await promisify(execFile)(tool, [...args], { maxBuffer: 16 * 1024 * 1024 });
  } catch (error) {
    const { code, stderr } = error as { readonly code?: string | number; readonly stderr?: string };
    // A number is the tool's own verdict on the image; anything else is this machine's.
    const failed = `No modules can be taken out of ${image}:`;
    if (typeof code === 'number')
      throw new Refusal('malformed', `${failed} ${lastLine(stderr)}.`, { path: image });
    const why = code === 'ENOENT' ? `${tool} is missing (Debian: ${packageName})` : inWords(error);
    throw new IoError(`${failed} ${why}.`, image, codeOf(error), { cause: error });
  }
}

async function firstOctets(path: string): Promise<Uint8Array> {
  const handle = await open(path).catch((error: unknown) => {
    throw unreadable(path, error);
  });
  try {
    return (await handle.read(Buffer.alloc(4), 0, 4, 0)).buffer;
  } finally {
    await handle.close();
  }
}

function lastLine(text = ''): string {
  return text.trim().split('\n').at(-1)?.replace(/\.$/, '') || 'it gave no reason';
}

const MAX_MODULE = 64 * 1024 * 1024;

/** busybox's insmod knows few compressions, and a kernel may know none. */
async function decompressModule(path: string, bytes: Uint8Array): Promise<Uint8Array> {
  const compression = detectCompression(bytes)?.decoded;
  if (compression === undefined) return bytes;
  const pieces: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const piece of openStream(compression, bytes, 0).content) {
      size += piece.length;
      if (size > MAX_MODULE) throw new Malformed(compression, `more than ${MAX_MODULE} bytes`);
      pieces.push(Uint8Array.from(piece));
    }
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw new Refusal('malformed', `${path}: ${error.message}.`, { path });
  }
  return Buffer.concat(pieces);
}
