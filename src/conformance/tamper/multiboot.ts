import type { RefusalCode } from '../../errors/refusal.ts';
import type { ManifestFile } from '../../formats/records/manifest.ts';
import { RECORD, SEAL } from '../../formats/records/seal-names.ts';
import { type Attack, type Expectation, type Expectations, expects, misses, must } from './attack.ts';
import type { TamperSite } from './site.ts';

/** What is tried on a hypervisor and its Linux: two files and two command lines, each good in one place. */

const OBEYS = 'GRUB does what a script says that the script key signed';
const UNSEEN = 'the hypervisor’s own words, and what it was loaded from, reach no early userspace';
const NO_ROLES = 'GRUB knows no file names: what the payload key signed passes for any payload';
const unsafe = must('unsafe-script');

/** None where the release has no module. */
export function multibootAttacks({ manifest, kernel }: TamperSite): Attack[] {
  const module = manifest.files.find(({ role }) => role === 'module');
  if (!module) return [];
  const passed = { grub: misses(OBEYS), manifest: misses(UNSEEN) };
  return [
    script(
      'the words of hypervisor and module swapped',
      expects({
        grub: misses(OBEYS),
        manifest: must('wrong-command-line'),
        tree: must('wrong-command-line'),
      }),
      (text) => {
        const [first = '', second = ''] = wordsOf(text);
        // The manifest is named where it was: its fixed words alone trade places.
        const fixed = second.replace(/ [^'].*$/, '');
        return withWords(text, fixed, first + second.slice(fixed.length));
      },
    ),
    script(
      'one word more for the hypervisor',
      expects({ ...passed, tree: must('wrong-command-line') }),
      (text) => withWords(text, `${wordsOf(text)[0]} 'dom0_mem=64M'`, wordsOf(text)[1] ?? ''),
    ),
    script(
      'words for the module on the line of the hypervisor',
      expects({ ...passed, tree: unsafe }),
      (text) => withWords(text, `${wordsOf(text)[0]} '--' 'break'`, wordsOf(text)[1] ?? ''),
    ),
    script('the module loaded as hypervisor, and the reverse', expects({ ...passed, tree: unsafe }), (text) =>
      text
        .replace(`/${kernel.path}"`, '/\0"')
        .replace(`/${module.path}"`, `/${kernel.path}"`)
        .replace('/\0"', `/${module.path}"`),
    ),
    script(
      'the module left out',
      expects({ grub: must('no-verdict'), manifest: must('no-verdict'), tree: must('mixed-releases') }),
      (text) => text.replace(/if module2 .*; then$/gm, 'if true; then'),
    ),
    script(
      'the module loaded and not asked whether it failed',
      expects({ ...passed, tree: unsafe }),
      (text) => text.replace(/if (module2 .*); then$/m, '$1\nif true; then'),
    ),
    served('module served as the hypervisor, and the reverse, with their seals', [kernel, module]),
    served('module served as the hypervisor, with its seals', [kernel], module),
  ];
}

/** What the two commands have behind their files. */
function wordsOf(text: string): readonly string[] {
  return [...text.matchAll(COMMANDS)].slice(0, 2).map(([, , words = '']) => words.trim());
}

function withWords(text: string, ...words: readonly string[]): string {
  let at = 0;
  return text.replace(COMMANDS, (whole, command: string) => {
    const next = words[at++];
    return next === undefined ? whole : `${command} ${next}; then`;
  });
}

const COMMANDS = /(if (?:multiboot2|module2 --nounzip) "[^"]*")(.*); then/g;

function script(name: string, expect: Expectations, change: (text: string) => string): Attack {
  return {
    name: `grub.cfg: ${name}, signed by the script key`,
    tuf: 'key compromise',
    expect,
    async stage(site) {
      const text = (await site.copy.read(RECORD.grubCfg)).toString('latin1');
      const changed = change(text);
      if (changed === text) throw new RangeError(`nothing to change in ${RECORD.grubCfg}: ${name}`);
      await site.signGrub(changed);
      return {};
    },
  };
}

/** Puts another file of the release, with all its seals, in a file's place: `by`, or those that are named for each other. */
function served(name: string, places: readonly ManifestFile[], by?: ManifestFile): Attack {
  return {
    name,
    tuf: 'wrong software',
    expect: expects({ grub: misses(NO_ROLES), manifest: misses(UNSEEN), tree: must('bad-signature') }),
    async stage({ copy }) {
      const from = by ? [by] : [...places].reverse();
      for (const suffix of ['', SEAL.ipxe, SEAL.cms, SEAL.openpgp]) {
        const contents = await Promise.all(from.map(({ path }) => copy.read(path + suffix)));
        for (const [at, { path }] of places.entries())
          await copy.write(path + suffix, contents[at] ?? new Uint8Array());
      }
      return {};
    },
  };
}

/**
 * An attack as the clients of such a release see it. No iPXE starts it, so that what iPXE alone would catch nobody on the
 * machine does: whoever verifies the tree is left.
 */
export function withoutIpxe(attack: Attack): Attack {
  const { ipxe, grub, manifest } = attack.expect;
  const codes = codesOf(manifest);
  // What early userspace refuses for a reason of its own stays.
  if (!ipxe || !manifest || !codes.some((code) => codesOf(ipxe).includes(code))) return attack;
  const seen = grub?.kind === 'must' ? grub : misses(NO_IPXE, ...codes);
  return { ...attack, expect: { ...attack.expect, manifest: seen } };
}

function codesOf(expectation: Expectation | undefined): readonly RefusalCode[] {
  if (expectation?.kind === 'must') return expectation.codes;
  return expectation?.kind === 'misses' ? expectation.or : [];
}

const NO_IPXE = 'no iPXE starts this release, and GRUB does not read what iPXE would';
