import { grubMachineSet } from './grub-machines.ts';
import { type GrubPiece, grubText, grubTokens } from './grub-tokens.ts';
import { GRUB_KEYWORDS, GRUB_LOADERS, GRUB_MODULE, GRUB_MULTIBOOT, GRUB_NOUNZIP } from './kernel-lines.ts';

/**
 * What a GRUB configuration boots: one `linux` command and the `initrd` command, where there is one, that belongs to it;
 * or one `multiboot2` command and its `module2` commands, of which the first loads the Linux and the others its initrds.
 */
export interface GrubBoot {
  /** What GRUB fetches from: `(http,10.0.0.1:8080)`. */
  readonly device: string;
  /** Paths on the server, each beginning with a slash. */
  readonly kernel: string;
  /** The Linux that a multiboot kernel starts. */
  readonly module?: GrubModule;
  readonly initrds: readonly string[];
  /** What early userspace sees, by the last branch of each condition: `/proc/cmdline` of the Linux. */
  readonly cmdline: string;
  /** By whichever branches: all that Linux may get. `cmdline` is the first of them. */
  readonly cmdlines: readonly string[];
  /** Addresses of the cards of those machines that it is for, with colons; undefined: for all. */
  readonly machines?: readonly string[];
  /** Whether it has the loader trust the payload keys, and the script keys no more, before it opens the kernel. */
  readonly switched: boolean;
}

export interface GrubModule {
  /** On the server, beginning with a slash. */
  readonly path: string;
  /** What the multiboot kernel itself gets, by whichever branches. */
  readonly kernelCmdlines: readonly string[];
}

/** The function of the loader's that does so. */
export const GRUB_SWITCH = 'bootseal_trust_payload';

/** Bounds the work that many conditions can cause; ours have some dozens of ways. */
const MAX_WAYS = 256;

/**
 * Reads what a configuration would boot, as GRUB expands it: variables have the values that the lines before gave
 * them on any way, or one of `known`; words split at blanks. Of conditions, every branch counts as taken.
 * Undefined where it boots nothing, more than one thing, or what depends on the way.
 *
 * @param known variables that GRUB sets itself.
 */
export function grubBoot(bytes: Uint8Array, known: ReadonlyMap<string, string>): GrubBoot | undefined {
  const values = new Map<string, readonly string[]>([...known].map(([name, value]) => [name, [value]]));
  const loads: Loads = { linux: [], initrd: [], multiboot: [], module: [] };
  let switched = false;
  let depth = 0;
  const { statements } = grubTokens(Buffer.from(bytes).toString('latin1'));
  const machines = grubMachineSet(statements);
  for (const { words } of statements) {
    const start = words.findIndex((word) => !GRUB_KEYWORDS.has(grubText(word)));
    for (const word of words.slice(0, start < 0 ? undefined : start)) {
      if (['if', 'while', 'until'].includes(grubText(word))) depth += 1;
    }
    if (start < 0) continue;
    const [first = [], ...rest] = words.slice(start);
    const command = grubText(first);
    if (command === 'fi' || command === 'done') depth -= 1;
    if (command === 'set') {
      const [name, set] = assignment(rest[0] ?? [], values);
      if (name !== undefined && !known.has(name)) {
        const before = depth > 0 ? (values.get(name) ?? ['']) : [];
        values.set(name, unique([...set, ...before]));
      }
    }
    if (command === GRUB_SWITCH && loads.linux.length + loads.multiboot.length === 0) switched = true;
    if (GRUB_LOADERS.has(command)) loads.linux.push(ways(rest, values));
    if (GRUB_MULTIBOOT.has(command)) loads.multiboot.push(ways(rest, values));
    if (GRUB_MODULE.has(command)) loads.module.push(ways(withoutNounzip(rest), values));
    if (/^initrd/.test(command)) loads.initrd.push(ways(rest, values));
  }
  const boot = linuxBoot(loads) ?? multibootBoot(loads);
  return boot && { ...boot, ...(machines ? { machines } : {}), switched };
}

/** What each kind of command was given, on every way. */
interface Loads {
  readonly linux: (readonly string[])[];
  readonly initrd: (readonly string[])[];
  readonly multiboot: (readonly string[])[];
  readonly module: (readonly string[])[];
}

type Loaded = Omit<GrubBoot, 'switched' | 'machines'> | undefined;

function linuxBoot({ linux, initrd, multiboot, module }: Loads): Loaded {
  const [lines = []] = linux;
  const [images = ['']] = initrd;
  if (linux.length !== 1 || initrd.length > 1 || multiboot.length + module.length > 0) return undefined;
  const kernel = sameFile(lines);
  const initrds = unique(images.map((line) => split(line).map(path).join(' ')));
  const cmdlines = unique(lines.map((line) => `BOOT_IMAGE=${split(line).join(' ')}`));
  const [cmdline] = cmdlines;
  if (!kernel || cmdline === undefined || initrds.length !== 1) return undefined;
  return { ...kernel, initrds: split(initrds[0] ?? ''), cmdline, cmdlines };
}

/** GRUB hands a multiboot kernel and its modules their words without the file's name before them. */
function multibootBoot({ linux, initrd, multiboot, module }: Loads): Loaded {
  const [lines = []] = multiboot;
  const [linuxLines = [], ...images] = module;
  if (multiboot.length !== 1 || module.length === 0 || linux.length + initrd.length > 0) return undefined;
  const kernel = sameFile(lines);
  const started = sameFile(linuxLines);
  const initrds = images.map(sameFile);
  const cmdlines = unique(linuxLines.map(wordsAfterFile));
  const [cmdline] = cmdlines;
  if (!kernel || !started || cmdline === undefined || initrds.includes(undefined)) return undefined;
  return {
    ...kernel,
    module: { path: started.kernel, kernelCmdlines: unique(lines.map(wordsAfterFile)) },
    initrds: initrds.flatMap((image) => image?.kernel ?? []),
    cmdline,
    cmdlines,
  };
}

/** The file that a command opens on every way, and the device; undefined where that depends on the way. */
function sameFile(
  lines: readonly string[],
): { readonly device: string; readonly kernel: string } | undefined {
  const [kernel, ...others] = unique(lines.map((line) => path(line.split(' ')[0] ?? '')));
  if (!kernel || others.length > 0) return undefined;
  return { device: /^\([^)]*\)/.exec(lines[0] ?? '')?.[0] ?? '', kernel };
}

function wordsAfterFile(line: string): string {
  return split(line).slice(1).join(' ');
}

function withoutNounzip(words: readonly (readonly GrubPiece[])[]): readonly (readonly GrubPiece[])[] {
  return grubText(words[0] ?? []) === GRUB_NOUNZIP ? words.slice(1) : words;
}

type Values = ReadonlyMap<string, readonly string[]>;

/** Words, joined by blanks, on every way; none where there are too many. */
function ways(words: readonly (readonly GrubPiece[])[], values: Values): readonly string[] {
  const blank: GrubPiece = { text: ' ', quotes: "'" };
  return expansions(
    words.flatMap((word, index) => (index === 0 ? word : [blank, ...word])),
    values,
  );
}

function expansions(pieces: readonly GrubPiece[], values: Values): readonly string[] {
  let found: readonly string[] = [''];
  for (const { text, quotes } of pieces) {
    const parts = quotes === "'" ? [text] : text.split(/(\$\{[A-Za-z0-9_]+\}|\$[A-Za-z_][A-Za-z0-9_]*)/);
    for (const [index, part] of parts.entries()) {
      const added = index % 2 === 0 ? [part] : (values.get(part.replace(/[${}]/g, '')) ?? ['']);
      found = unique(found.flatMap((before) => added.map((value) => before + value)));
      if (found.length > MAX_WAYS) return [];
    }
  }
  return found;
}

function assignment(word: readonly GrubPiece[], values: Values): [string | undefined, readonly string[]] {
  const [name] = /^[A-Za-z0-9_]+(?==)/.exec(word[0]?.text ?? '') ?? [];
  if (name === undefined) return [undefined, []];
  const [head, ...rest] = word;
  const value = { text: (head?.text ?? '').slice(name.length + 1), quotes: head?.quotes ?? '' };
  return [name, expansions([value, ...rest], values)];
}

function path(word: string): string {
  return word.replace(/^\([^)]*\)/, '');
}

function split(line: string): string[] {
  return line.split(' ').filter((word) => word !== '');
}

function unique(texts: readonly string[]): string[] {
  return [...new Set(texts)];
}

/** What GRUB knows of its network, for the machine that `runClients` emulates. */
export function grubVariables(base: string, mac = '52:54:00:12:34:56'): ReadonlyMap<string, string> {
  const { hostname } = new URL(base);
  return new Map([
    ['net_default_server', hostname],
    ['pxe_default_server', hostname],
    ['net_default_mac', mac],
    ...mac.split(':').map((octet, index): [string, string] => [`m${index + 1}`, octet]),
  ]);
}
