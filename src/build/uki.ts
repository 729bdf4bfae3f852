import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { kernelFacts, kernelText } from '../formats/efi/kernel-shape.ts';
import { decodePe, PE_MACHINE, peMachine } from '../formats/efi/pe.ts';
import { addPeSections, MAX_PE, type NewSection } from '../formats/efi/pe-write.ts';
import { stubVersion } from '../formats/efi/uki.ts';
import { linuxOf, type Manifest } from '../formats/records/manifest.ts';
import { isOfType, MAX_COMMAND_LINE, withAdded } from '../formats/script/cmdline.ts';
import { demandCommandLine, MANIFEST_WORD } from '../trust/command-line.ts';
import { initrdPadding } from '../trust/uki-check.ts';

/** Unified kernel images, by the UAPI group's specification: an EFI program that holds all that it starts. */
export interface UkiParts {
  /** systemd-stub. */
  readonly stub: Uint8Array;
  /** What the image says it is: lines of an os-release. */
  readonly osrel: string;
  readonly cmdline: string;
  readonly kernel: Uint8Array;
  /** In load order, the overlay last; none for a tool, or a kernel with its initramfs built in. */
  readonly initrds: readonly Uint8Array[];
  /** PEM: who signs for what the TPM will have measured. */
  readonly pcrPublicKey?: Uint8Array | undefined;
}

/** Revocation by generation (SBAT): only where a stub brings none of its own. */
const SBAT =
  'sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md\n' +
  'uki,1,UKI,uki,1,https://uapi-group.org/specifications/specs/unified_kernel_image/\n';

/**
 * The image, not signed. The same parts give the same bytes.
 *
 * @throws Refusal `malformed` for a stub or kernel that is none, `wrong-machine` where the two do not fit,
 *   `wrong-command-line` for one that the kernel would cut, `too-large`.
 */
export function composeUki(parts: UkiParts): Uint8Array {
  const { stub, kernel, cmdline, initrds } = parts;
  const { machine } = demandStub(stub);
  const kernelMachine = peMachine(kernel);
  if (kernelMachine === undefined) {
    const known = kernelFacts(kernel.subarray(0, 64 * 1024));
    if (known?.packed !== undefined) {
      throw new Refusal(
        'malformed',
        `The kernel is packed (${kernelText(known)}), and no stub starts that; unpack it before it is sealed.`,
        { shape: known.shape, packed: known.packed },
      );
    }
    throw new Refusal('malformed', 'The kernel is no EFI program, so no stub can start it.', {});
  }
  if (kernelMachine !== machine) {
    throw new Refusal(
      'wrong-machine',
      `The stub is for ${machineName(machine)}, and the kernel is for ${machineName(kernelMachine)}.`,
      { stub: machineName(machine), kernel: machineName(kernelMachine) },
    );
  }
  if (cmdline.length > MAX_COMMAND_LINE) {
    throw new Refusal(
      'wrong-command-line',
      `The command line has ${cmdline.length} bytes; the kernel cuts at ${MAX_COMMAND_LINE}.`,
      { octets: cmdline.length },
    );
  }
  demandRoom([stub, kernel, ...initrds].reduce((sum, { length }) => sum + length, 0));
  const version = kernelVersion(kernel);
  const pieces = initrds.flatMap((one) => [one, Buffer.alloc(initrdPadding(one.length))]);
  const sections: NewSection[] = [
    { name: '.osrel', data: Buffer.from(parts.osrel) },
    { name: '.cmdline', data: Buffer.from(cmdline, 'latin1') },
    ...(version === undefined ? [] : [{ name: '.uname', data: Buffer.from(version, 'latin1') }]),
    ...(hasSection(stub, '.sbat') ? [] : [{ name: '.sbat', data: Buffer.from(SBAT) }]),
    ...(parts.pcrPublicKey ? [{ name: '.pcrpkey', data: parts.pcrPublicKey }] : []),
    ...(pieces.length === 0 ? [] : [{ name: '.initrd', data: Buffer.concat(pieces) }]),
    // Last: what a kernel uncompresses in place may need memory behind it.
    { name: '.linux', data: kernel },
  ];
  return decodeStub(() => addPeSections(stub, sections));
}

/** Bytes of all that goes in, known before any of it is read. Throws a `Refusal` (`too-large`). */
export function demandRoom(octets: number): void {
  if (octets < MAX_PE) return;
  throw new Refusal(
    'too-large',
    `Kernel and initrds have ${octets} bytes; firmware loads no image of 2 GiB or more.`,
    { octets },
  );
}

/** The first systemd whose stub for arm64 is laid out as a unified kernel image needs it. */
export const ARM64_SINCE = 254;

/** A stub of systemd: for which machine, and of which version. Throws a `Refusal` (`malformed`). */
export function demandStub(stub: Uint8Array): { readonly machine: number; readonly version: number } {
  const { image, version } = decodeStub(() => {
    const decoded = decodePe(stub);
    return { image: decoded, version: stubVersion(stub, decoded) };
  });
  if (version === undefined) {
    const names = image.sections.map(({ name }) => name).join(' and ');
    // What gnu-efi's linker script for that machine made: one blob, without the sections that tell a stub.
    const old = image.machine === PE_MACHINE.aarch64 && names === '.text and .data';
    throw new Refusal(
      'malformed',
      old
        ? `The stub has the sections ${names} and no .sdmagic, as those of systemd before ${ARM64_SINCE} for arm64 (Debian 12 has 252); take one of systemd ${ARM64_SINCE} or later (Debian 13).`
        : 'The stub is not systemd-stub: it has no section .sdmagic.',
      {},
    );
  }
  return { machine: image.machine, version };
}

function hasSection(stub: Uint8Array, name: string): boolean {
  return decodePe(stub).sections.some((section) => section.name === name);
}

function decodeStub<T>(decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw new Refusal('malformed', `The stub cannot be used: ${error.message}.`, {});
  }
}

/**
 * `6.1.0-18-amd64`, out of a bzImage's header (Linux, Documentation/arch/x86/boot.rst), or of the banner of an arm64
 * Image, which is not packed; undefined for others.
 */
export function kernelVersion(kernel: Uint8Array): string | undefined {
  const bytes = Buffer.from(kernel.buffer, kernel.byteOffset, kernel.length);
  if (kernelFacts(bytes.subarray(0, 1024))?.shape === 'arm64 Image') return bannerVersion(bytes);
  if (bytes.length < 0x250 || bytes.toString('latin1', 0x202, 0x206) !== 'HdrS') return undefined;
  const at = bytes.readUInt16LE(0x20e) + 0x200;
  return /^[A-Za-z0-9._+~-]{1,128}(?=[ \0])/.exec(bytes.toString('latin1', at, at + 129))?.[0];
}

const BANNER = 'Linux version ';

/** Of `linux_banner` (Linux, init/version.c). The same words with `%s` in them are `linux_proc_banner`. */
function bannerVersion(bytes: Buffer): string | undefined {
  for (let at = bytes.indexOf(BANNER); at !== -1; at = bytes.indexOf(BANNER, at + 1)) {
    const start = at + BANNER.length;
    const text = bytes.toString('latin1', start, start + 129);
    const found = /^[A-Za-z0-9._+~-]{1,128}(?= )/.exec(text)?.[0];
    if (found !== undefined) return found;
  }
  return undefined;
}

function machineName(machine: number): string {
  const known = Object.entries(PE_MACHINE).find(([, value]) => value === machine)?.[0];
  return known ?? `machine 0x${machine.toString(16)}`;
}

/**
 * The command line of a release's image: what the manifest fixes, and what a loader would have added. Nothing comes
 * after it any more, since the stub ignores what it is started with.
 *
 * @param server `http://HOST:PORT` that early userspace shall fetch from; undefined where it needs none.
 * @throws Refusal `absent` where the server must be named, `wrong-command-line`.
 */
export function ukiCommandLine(
  manifest: Manifest,
  manifestSha256: string,
  server: string | undefined,
): string {
  if (manifest.moduleCmdline !== undefined) {
    const { path } = linuxOf(manifest);
    throw new Refusal(
      'unsafe-script',
      `${manifest.release} starts ${path} as the module of another kernel, which no UKI can hold; it starts by GRUB.`,
      { release: manifest.release, path },
    );
  }
  const added = manifest.free.flatMap(({ name, type }): string[] => {
    if (name === 'ip' && type === 'dhcp') return ['ip=dhcp'];
    if (name !== 'archiso_http_srv' || type !== 'url') return [];
    if (server === undefined) {
      throw new UsageError(
        `Early userspace of ${manifest.release} must be told where to fetch; name the server with --url http://HOST:PORT.`,
      );
    }
    const url = `${server.replace(/\/$/, '')}/releases/${manifest.release}/`;
    if (!isOfType(url, 'url')) {
      throw new UsageError(`${url} is no address that early userspace accepts.`);
    }
    return [`archiso_http_srv=${url}`];
  });
  const line = withAdded(manifest.cmdline, [...added, `${MANIFEST_WORD}=${manifestSha256}`]).join(' ');
  demandCommandLine(line, manifest, manifestSha256);
  return line;
}

/** What boot menus and systemd show of an image. */
export function ukiOsRelease({ release }: Manifest): string {
  const [name = '', version = ''] = release.split('/');
  return `ID=${name.toLowerCase()}\nNAME="${name}"\nVERSION_ID="${version}"\nPRETTY_NAME="${release}"\n`;
}
