import { Refusal } from '../errors/refusal.ts';
import { linuxOf, type Manifest } from '../formats/records/manifest.ts';
import { isSafeSegment } from '../formats/records/safe-path.ts';
import { isCommandLineWord, isOfType, MAX_COMMAND_LINE } from '../formats/script/cmdline.ts';

/** The word that binds a boot to its manifest. */
export const MANIFEST_WORD = 'bootseal.manifest';

/** GRUB names the kernel as `(http,10.0.0.1)/path`. */
const BOOT_IMAGE = /^BOOT_IMAGE=[A-Za-z0-9._:,=/@%+[\]()-]+$/;
const INITRD = 'initrd=';

/**
 * Holds a machine's command line against the manifest's (DESIGN §5): the fixed words in their order, repeats
 * kept; each free parameter at most once and of its type; what loaders add; nothing else. A word smuggled in
 * here could switch a check off (`checksum=n`), open a shell (`break=`) or replace the init.
 *
 * @param cmdline `/proc/cmdline`, without its newline.
 * @param manifestSha256 lower-case hex, of the manifest at hand.
 * @throws Refusal `wrong-command-line`; `mixed-releases` where the command line names another manifest.
 */
export function demandCommandLine(cmdline: string, manifest: Manifest, manifestSha256: string): void {
  if (cmdline.length > MAX_COMMAND_LINE) {
    throw wrong(`The command line has ${cmdline.length} bytes; the kernel cuts at ${MAX_COMMAND_LINE}.`, '');
  }
  // Blanks as they are: a tab, or a second blank, is nothing that a loader of ours writes.
  const words = cmdline.split(' ').filter((word) => word !== '');
  const linux = linuxOf(manifest);
  skipLoaderWord(words, linux.path);

  const fixed = [...linux.cmdline];
  const seen = new Set<string>();
  let manifestWords = 0;
  for (const word of words) {
    if (word === fixed[0]) {
      fixed.shift();
      continue;
    }
    if (!isCommandLineWord(word)) throw wrong(`${show(word)} holds characters that no word may.`, word);
    // A file name: with a slash it would name a file of the firmware's own disks to the kernel's EFI stub.
    if (word.startsWith(INITRD) && isSafeSegment(word.slice(INITRD.length))) continue;
    const [key = '', value] = split(word);
    if (key === MANIFEST_WORD) {
      manifestWords += 1;
      if (manifestWords > 1) throw wrong(`${MANIFEST_WORD} stands twice on the command line.`, word);
      if (value !== manifestSha256) {
        throw new Refusal('mixed-releases', 'The command line names another manifest than the one at hand.', {
          named: value,
          manifest: manifestSha256,
        });
      }
      continue;
    }
    const free = manifest.free.find(({ name }) => name === key);
    if (!free) throw wrong(unexpected(word, linux.cmdline), word);
    if (seen.has(key)) throw wrong(`${key} stands twice on the command line.`, word);
    if (value === undefined || !isOfType(value, free.type)) {
      throw wrong(`${show(word)} is no ${free.type}, which is all that ${key} may be.`, word);
    }
    seen.add(key);
  }
  const [missing] = fixed;
  if (missing !== undefined)
    throw wrong(`The signed word ${show(missing)} is missing or out of its place.`, missing);
  if (manifestWords === 0) throw wrong(`${MANIFEST_WORD} is missing on the command line.`, '');
}

/** `BOOT_IMAGE=…` of GRUB, or the kernel's bare file name of iPXE under UEFI: first, once. */
function skipLoaderWord(words: string[], kernel: string): void {
  const [first] = words;
  if (first === undefined) return;
  const name = kernel.slice(kernel.lastIndexOf('/') + 1);
  if (BOOT_IMAGE.test(first) || first === name) words.shift();
}

function unexpected(word: string, fixed: readonly string[]): string {
  return fixed.includes(word)
    ? `${show(word)} stands where the signed command line has no such word.`
    : `${show(word)} is on the command line, and nobody signed it.`;
}

function split(word: string): [string, string | undefined] {
  const at = word.indexOf('=');
  return at === -1 ? [word, undefined] : [word.slice(0, at), word.slice(at + 1)];
}

function show(word: string): string {
  return JSON.stringify(word.length > 80 ? `${word.slice(0, 80)}…` : word);
}

function wrong(message: string, word: string): Refusal {
  return new Refusal('wrong-command-line', message, { word: word.slice(0, 80) });
}
