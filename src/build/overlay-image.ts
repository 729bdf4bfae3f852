import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cannotRead, codeOf, IoError, isAbsent } from '../errors/io.ts';
import { UsageError } from '../errors/usage.ts';
import { type CpioSource, cpioEntries, cpioPadding, encodeCpio } from '../formats/archive/cpio.ts';
import { encodePolicyFloor, POLICY_FLOOR_PATH, type PolicyFloor } from '../formats/records/policy-floor.ts';
import type { ModuleSet } from './overlay-modules.ts';
import type { Tool, ToolSet } from './overlay-tools.ts';

/**
 * The overlay: one more initrd, the last, that adds to any initramfs the anchors, the policy floor and the init that
 * verifies before anything else runs. It is verified by the loader like every other initrd.
 */
export interface OverlayParts {
  readonly tools: ToolSet;
  /** Undefined: everything is in the kernel, or in the initramfs with its own modprobe. */
  readonly modules: ModuleSet | undefined;
  readonly anchors: OverlayAnchors;
  readonly floor: PolicyFloor;
}

/** PEM, and the binary OpenPGP keyring where there is one. */
export interface OverlayAnchors {
  readonly ca: Uint8Array;
  readonly codesign: Uint8Array;
  readonly manifest: Uint8Array;
  /** Of the key for records. */
  readonly keyring: Uint8Array | undefined;
}

/** What runs on the machine; `true` where the kernel or a program starts it. */
const SCRIPTS: Readonly<Record<string, boolean>> = {
  'clean-start': false,
  init: true,
  clock: false,
  'load-modules': false,
  network: false,
  'dhcp-answer': true,
  fetch: false,
  'verify-manifest': true,
  jail: false,
  'mount-verity': false,
  'keep-nbd': true,
  'fetch-ram': false,
  report: false,
  'hand-over': false,
  'enter-root': true,
  'watch-root': true,
  'halt-machine': true,
};

/** What each mode needs of the kernel. */
const KERNEL_NEEDS: Readonly<Record<NonNullable<PolicyFloor['mode']>, readonly string[]>> = {
  verity: ['nbd', 'dm_verity', 'overlay'],
  ram: ['loop', 'overlay'],
};

/** What each mode needs of tools. */
const TOOL_NEEDS: Readonly<Record<NonNullable<PolicyFloor['mode']>, readonly Tool[]>> = {
  verity: ['busybox', 'openssl', 'nbd-client', 'dmsetup'],
  ram: ['busybox', 'openssl'],
};

/** `verity` where the kernel can; `ram` needs no NBD. */
export function defaultMode(modules: ModuleSet | undefined): 'verity' | 'ram' {
  return modules && KERNEL_NEEDS.verity.every((name) => modules.has(name)) ? 'verity' : 'ram';
}

/** The tools an overlay of this policy must hold. */
export function toolsFor(floor: PolicyFloor): readonly Tool[] {
  return [
    ...TOOL_NEEDS[floor.mode ?? 'verity'],
    ...(floor.require.includes('openpgp') ? (['gpg'] as const) : []),
  ];
}

/**
 * The archive: newc, uncompressed, a multiple of four bytes long, the same for the same parts. It holds `/bootseal`
 * and nothing else, every folder as a folder: an entry `lib` would replace the link that an initramfs has there.
 *
 * Throws a `UsageError` for what would not boot: without a tool or module that the mode needs.
 */
export function composeOverlay(parts: OverlayParts): Uint8Array {
  demandWhatWorks(parts);
  const { tools, modules, anchors, floor } = parts;
  const file = (name: string, data: Uint8Array, mode = 0o644): CpioSource => ({
    kind: 'file',
    name,
    data,
    mode,
  });
  const files = [
    ...Object.entries(SCRIPTS).map(([name, run]) =>
      file(`bootseal/${name}`, readScript(name), run ? 0o755 : 0o644),
    ),
    file('bootseal/anchors/ca.crt', anchors.ca),
    file('bootseal/anchors/codesign.crt', anchors.codesign),
    file('bootseal/manifest.crt', anchors.manifest),
    ...(anchors.keyring ? [file('bootseal/manifest.gpg', anchors.keyring)] : []),
    file(POLICY_FLOOR_PATH, encodePolicyFloor(floor)),
    ...tools.entries,
    ...(modules?.entries ?? []),
  ];
  const archive = encodeCpio(cpioEntries(withFolders(files), 0));
  return Buffer.concat([archive, Buffer.alloc(cpioPadding(archive.length))]);
}

/** The kernel makes no parent folders: each comes before what it holds. */
function withFolders(files: readonly CpioSource[]): CpioSource[] {
  const folders = new Set<string>();
  for (const { name } of files) {
    for (let folder = dirname(name); folder !== '.'; folder = dirname(folder)) folders.add(folder);
  }
  const all: CpioSource[] = [...[...folders].map((name) => ({ kind: 'directory' as const, name })), ...files];
  return all.sort((a, b) => (a.name < b.name ? -1 : 1));
}

function demandWhatWorks({ tools, modules, floor }: OverlayParts): void {
  const mode = floor.mode ?? 'verity';
  const tool = toolsFor(floor).find((name) => !tools.names.includes(name));
  if (tool !== undefined) {
    throw new UsageError(`An overlay of mode ${mode} cannot work without ${tool}.`);
  }
  if (floor.ntp !== undefined && !tools.names.includes('rdate') && !tools.applets.has('ntpd'))
    throw new UsageError(
      `An overlay cannot ask ${floor.ntp} for the time: its busybox has no ntpd, and it holds no rdate.`,
    );
  if (!modules) return;
  // With a fallback the first mode may be missing; the second must be there.
  const least = floor.fallback ?? mode;
  const module = KERNEL_NEEDS[least].find((name) => !modules.has(name));
  if (module !== undefined) {
    throw new UsageError(`The kernel ${modules.version} has no module ${module}, which mode ${least} needs.`);
  }
  if (!modules.has('squashfs') && !modules.has('erofs')) {
    throw new UsageError(`The kernel ${modules.version} can mount neither squashfs nor EROFS.`);
  }
}

/** A script out of the package's `early-userspace`. Throws an `IoError`. */
function readScript(name: string): Uint8Array {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    const path = join(folder, 'early-userspace', name);
    try {
      return readFileSync(path);
    } catch (error) {
      if (!isAbsent(error)) throw cannotRead(path, error);
      if (folder !== dirname(folder)) continue;
      throw new IoError(`The script ${name} is missing from the package.`, path, codeOf(error), {
        cause: error,
      });
    }
  }
}
