import { grubText, grubTokens } from './grub-tokens.ts';
import { parseIpxeScript } from './ipxe-script.ts';

/**
 * Where a boot script gives a kernel its command line. A word that stands anywhere else (a comment, a message,
 * an image's name) reaches no kernel. Every way through the script counts, taken or not.
 */

/** The words of one command line, settings and variables unexpanded. */
export type KernelLine = readonly string[];

/** Options of iPXE's image commands; true where one takes an argument (`src/hci/commands/image_cmd.c`). */
const OPTIONS: ReadonlyMap<string, boolean> = new Map([
  ['name', true],
  ['timeout', true],
  ['quiet', false],
  ['autofree', false],
  ['replace', false],
]);
const EXECUTE = ['imgselect', 'imgload', 'imgexec', 'boot', 'chain'];

/**
 * The command lines that an iPXE script gives: by `kernel`, by `imgargs`, and by whatever selects or executes
 * an image with words of its own. A kernel that gets no words gets an empty line. Throws `Malformed` for what
 * is no script. Undefined where options hide which words those are.
 */
export function ipxeKernelLines(bytes: Uint8Array): readonly KernelLine[] | undefined {
  const found: KernelLine[] = [];
  /** Kernels that have no words yet; `imgargs` may give them some. */
  const bare = new Set<string>();
  for (const { words } of parseIpxeScript(bytes).lines.flatMap(({ commands }) => commands)) {
    const [command = ''] = words;
    if (command !== 'kernel' && command !== 'imgargs' && !EXECUTE.includes(command)) continue;
    const read = operandsOf(words.slice(1));
    if (read === undefined) return undefined;
    const [image = '', ...line] = read.operands;
    if (command === 'imgargs') bare.delete(image);
    if (command === 'kernel' && line.length === 0) {
      bare.add(read.name ?? image.slice(image.lastIndexOf('/') + 1));
    } else if (line.length > 0 || command === 'imgargs') {
      found.push(line);
    }
  }
  return [...found, ...[...bare].map(() => [])];
}

function operandsOf(words: readonly string[]): { name?: string; operands: readonly string[] } | undefined {
  let name: string | undefined;
  for (let index = 0; ; index += 1) {
    const word = words[index] ?? '';
    if (!word.startsWith('-')) {
      return { operands: words.slice(index), ...(name === undefined ? {} : { name }) };
    }
    const [, option = '', inline] = /^--([a-z]+)(?:=(.*))?$/.exec(word) ?? [];
    const takes = OPTIONS.get(option);
    if (takes === undefined) return undefined;
    if (takes && inline === undefined) index += 1;
    if (option === 'name') name = inline ?? words[index] ?? '';
  }
}

/** Words of GRUB's language after which a command begins. */
export const GRUB_KEYWORDS = new Set(['if', 'then', 'else', 'elif', 'while', 'until', 'do', '!']);
export const GRUB_LOADERS = new Set(['linux', 'linux16', 'linuxefi']);
/** Commands that load a multiboot kernel, such as Xen, and what it is given (GRUB manual, "multiboot2", "module2"). */
export const GRUB_MULTIBOOT = new Set(['multiboot2', 'multiboot', 'xen_hypervisor']);
export const GRUB_MODULE = new Set(['module2', 'module', 'xen_module']);
/** The option of `module2` by which a file reaches the kernel as it was signed. */
export const GRUB_NOUNZIP = '--nounzip';

/**
 * The command lines that a GRUB configuration gives a Linux: by `linux`, or by the first module of a multiboot kernel. A
 * multiboot kernel without a module gets an empty one. Undefined where a variable decides what is a command.
 */
export function grubKernelLines(bytes: Uint8Array): readonly KernelLine[] | undefined {
  const found: KernelLine[] = [];
  let lacksModule = false;
  for (const words of grubCommands(Buffer.from(bytes).toString('latin1'))) {
    const [command = '', file, ...line] = grubCommand(words);
    if (command.includes('$') || command === 'eval') return undefined;
    if (GRUB_LOADERS.has(command)) found.push(line);
    if (GRUB_MODULE.has(command) && lacksModule) {
      found.push(file === GRUB_NOUNZIP ? line.slice(1) : line);
      lacksModule = false;
    }
    if (GRUB_MULTIBOOT.has(command)) {
      if (lacksModule) found.push([]);
      lacksModule = true;
    }
  }
  return lacksModule ? [...found, []] : found;
}

/** Words of a command, without those of GRUB's language before it. */
export function grubCommand(words: readonly string[]): readonly string[] {
  const start = words.findIndex((word) => !GRUB_KEYWORDS.has(word));
  return start < 0 ? [] : words.slice(start);
}

/** Commands and their words, quotes taken off. */
export function grubCommands(text: string): string[][] {
  return grubTokens(text).statements.map(({ words }) => words.map(grubText));
}
