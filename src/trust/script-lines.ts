import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import { linuxOf, type Manifest } from '../formats/records/manifest.ts';
import { otherCaOf, RECORD } from '../formats/records/seal-names.ts';
import { choicesOf, type FreeType } from '../formats/script/cmdline.ts';
import { type GrubModule, grubBoot, grubVariables } from '../formats/script/grub-boot.ts';
import { manifestOfRefusal } from '../formats/script/ipxe-refusal.ts';
import { grubKernelLines, ipxeKernelLines, type KernelLine } from '../formats/script/kernel-lines.ts';
import { demandCommandLine, MANIFEST_WORD } from './command-line.ts';

/** What a machine on a network of nobody's (RFC 5737) would have in the place of a setting. */
const STAND_IN: Readonly<Record<string, string>> = {
  ipv4: '192.0.2.15',
  mac: '01-52-54-00-12-34-56',
  dhcp: 'dhcp',
  port: '8080',
  url: 'http://192.0.2.1:8080/',
  name: 'machine-1',
};

function standIn(type: FreeType): string {
  return choicesOf(type)?.[0] ?? STAND_IN[type] ?? 'a'.repeat(Number(type.slice('hex '.length)));
}

/**
 * Holds the command lines that a tree's scripts would give a kernel against its manifest, as early userspace
 * does at every boot: whoever holds a script key can sign `checksum=n`, and no seal shows it.
 *
 * @param records of the tree, as they were verified.
 * @returns the first refusal (`wrong-command-line`, `mixed-releases`, `unsafe-script`), or undefined.
 */
export function refusedLine(
  records: ReadonlyMap<string, Uint8Array>,
  manifest: Manifest,
  manifestSha256: string,
): Refusal | undefined {
  for (const [script, bytes] of records) {
    try {
      for (const line of linesOf(script, bytes, manifest)) demandCommandLine(line, manifest, manifestSha256);
    } catch (error) {
      if (error instanceof Refusal)
        return new Refusal(error.code, `${script}: ${error.message}`, error.facts);
      throw error;
    }
  }
  return undefined;
}

const MANIFEST_PREFIX = `${MANIFEST_WORD}=`;

/**
 * The manifest that a script names: once on every command line of a kernel, and everywhere the same. Undefined where
 * that is not so, and where the script gives a kernel no command line at all: but for an iPXE script that starts nothing
 * and names one, as a release has which starts by GRUB.
 *
 * @returns lower-case hex.
 */
export function manifestNamedIn(script: string, bytes: Uint8Array): string | undefined {
  const refusal = script === RECORD.grubCfg ? undefined : manifestOfRefusal(bytes);
  if (refusal !== undefined) return refusal;
  const lines = readableLines(script, bytes);
  const named = lines.map((words) => words.filter((word) => word.startsWith(MANIFEST_PREFIX)));
  const [value, ...others] = new Set(named.flat());
  const once = named.every(({ length }) => length === 1);
  return once && others.length === 0 ? value?.slice(MANIFEST_PREFIX.length) : undefined;
}

function readableLines(script: string, bytes: Uint8Array): readonly KernelLine[] {
  try {
    return (script === RECORD.grubCfg ? grubKernelLines(bytes) : ipxeKernelLines(bytes)) ?? [];
  } catch (error) {
    if (error instanceof Malformed) return [];
    throw error;
  }
}

function linesOf(script: string, bytes: Uint8Array, manifest: Manifest): readonly string[] {
  if (script === RECORD.grubCfg) {
    const boot = grubBoot(bytes, grubVariables('http://192.0.2.1:8080'));
    if (boot) {
      demandKernels(boot.kernel, boot.module, manifest);
      return boot.cmdlines;
    }
    throw new Refusal(
      'unsafe-script',
      'it starts no kernel, several, or one of several by what DHCP says.',
      {},
    );
  }
  if (script !== RECORD.bootIpxe && otherCaOf(script) === undefined) return [];
  const lines = ipxeKernelLines(bytes) ?? [];
  const startsNothing = manifestOfRefusal(bytes) !== undefined;
  if (startsNothing !== (manifest.moduleCmdline !== undefined)) {
    const why = startsNothing
      ? 'it starts nothing, and iPXE could start this release.'
      : 'it is for iPXE, which cannot give a module its own command line.';
    throw new Refusal('unsafe-script', why, {});
  }
  return lines.map((words) => words.map((word) => filled(word, manifest)).join(' '));
}

/** The hypervisor's own words reach no early userspace: nobody on the machine would hold them to anything. */
function demandKernels(kernel: string, module: GrubModule | undefined, manifest: Manifest): void {
  const { release, cmdline, files, moduleCmdline } = manifest;
  if ((module === undefined) !== (moduleCmdline === undefined)) {
    const why =
      module === undefined
        ? 'it starts no module, and the manifest lists one.'
        : 'it starts a module, and the manifest lists none.';
    throw new Refusal('unsafe-script', why, {});
  }
  if (module === undefined) return;
  const wanted = files.find(({ role }) => role === 'kernel')?.path;
  const paths = [wanted, linuxOf(manifest).path].map((path) => `/releases/${release}/${path}`);
  if (kernel !== paths[0] || module.path !== paths[1]) {
    throw new Refusal(
      'unsafe-script',
      'it loads other files as hypervisor and module than the manifest does.',
      {
        kernel,
        module: module.path,
      },
    );
  }
  const signed = cmdline.join(' ');
  const other = module.kernelCmdlines.find((line) => line !== signed);
  if (other === undefined) return;
  throw new Refusal(
    'wrong-command-line',
    `it gives the hypervisor ${JSON.stringify(other.slice(0, 80))}, and ${JSON.stringify(signed.slice(0, 80))} was signed.`,
    { line: other.slice(0, 80) },
  );
}

/** A word whose value iPXE fills in stands for one of its type; where the manifest frees no such word, for itself. */
function filled(word: string, manifest: Manifest): string {
  if (!word.includes('${')) return word;
  const key = word.slice(0, word.indexOf('='));
  const free = manifest.free.find(({ name }) => name === key);
  return free ? `${key}=${standIn(free.type)}` : word;
}
