import { linuxOf } from '../../formats/records/manifest.ts';
import { RECORD } from '../../formats/records/seal-names.ts';
import { type Attack, type Expectation, expects, misses, must, type Staged } from './attack.ts';
import { appendFile, type TamperSite } from './site.ts';

/** What scripts say: changed by somebody on the way, or by whoever stole the key that signs them. */

/** One word less, one more, or another in its place. */
interface WordEdit {
  readonly name: string;
  edit(words: readonly string[]): readonly string[];
}

const PASSES_ON = 'a loader hands over whatever command line a well-signed script gives';
const OBEYS = 'archiso does what its command line says, and nothing holds that to anything';

export function scriptAttacks(site: TamperSite): Attack[] {
  // The boot.ipxe of a release that GRUB starts has no words, and starts nothing.
  const ipxe = (attacks: readonly Attack[]) => (site.startsByGrub ? [] : attacks);
  return [
    ...wordEdits(site).flatMap((edit) => [...ipxe(ipxeEdits(edit)), ...grubEdits(edit)]),
    ...ipxe(signedScripts(site)),
  ];
}

function grubEdits({ name, edit }: WordEdit): Attack[] {
  return [
    {
      name: `grub.cfg: ${name}, not signed anew`,
      tuf: 'arbitrary software',
      expect: edited('grub', must('bad-signature')),
      async stage({ copy }) {
        await copy.write(RECORD.grubCfg, Buffer.from(editGrub(await grubText(copy), edit), 'latin1'));
        return { words: edit };
      },
    },
    {
      name: `grub.cfg: ${name}, signed by the script key`,
      tuf: 'key compromise',
      expect: resigned('grub', must('wrong-command-line')),
      async stage(at) {
        await at.signGrub(editGrub(await grubText(at.copy), edit));
        return { words: edit };
      },
    },
  ];
}

function ipxeEdits({ name, edit }: WordEdit): Attack[] {
  return [
    {
      name: `boot.ipxe: ${name}, not signed anew`,
      tuf: 'arbitrary software',
      expect: edited('ipxe', must('bad-signature')),
      async stage({ copy }) {
        await copy.write(RECORD.bootIpxe, Buffer.from(editBoot(await bootText(copy), edit), 'latin1'));
        return { words: edit };
      },
    },
    {
      name: `boot.ipxe: ${name}, signed by the boot key`,
      tuf: 'key compromise',
      expect: resigned('ipxe', must('wrong-command-line')),
      async stage(at) {
        await at.signBoot(editBoot(await bootText(at.copy), edit));
        return { words: edit };
      },
    },
  ];
}

function wordEdits({ manifest, asked }: TamperSite): WordEdit[] {
  const flags = [
    ...(asked.checksum ? ['checksum=y'] : []),
    ...(asked.verify ? ['verify=y'] : []),
    ...(asked.cmsVerify ? ['cms_verify=y'] : []),
  ].filter((flag) => linuxOf(manifest).cmdline.includes(flag));
  const [first] = flags;
  const last = flags.at(-1);
  return [
    // The root image still has a check with a key behind it, so archiso goes on.
    ...(first && flags.length > 1
      ? [
          {
            name: `${first.replace(/y$/, 'n')} in the place of ${first}`,
            edit: (words: readonly string[]) =>
              words.map((word) => (word === first ? first.replace(/y$/, 'n') : word)),
          },
        ]
      : []),
    ...(last && flags.length > 1
      ? [
          {
            name: `${last} dropped`,
            edit: (words: readonly string[]) => words.filter((word) => word !== last),
          },
        ]
      : []),
    { name: 'break=premount added', edit: (words) => [...words, 'break=premount'] },
  ];
}

/** Somebody on the way: the loader sees it, and whoever verifies the tree. */
function edited(loader: 'ipxe' | 'grub', refuses: Expectation): Attack['expect'] {
  return expects({ [loader]: refuses, archiso: misses(OBEYS), manifest: refuses, tree: refuses });
}

/** Whoever holds a script key: only the manifest, which that key cannot sign, is left. */
function resigned(loader: 'ipxe' | 'grub', manifest: Expectation): Attack['expect'] {
  return expects({ [loader]: misses(PASSES_ON), archiso: misses(OBEYS), manifest, tree: manifest });
}

const EXPANDS = 'iPXE expands whatever setting a well-signed script names';
const NOT_EXECUTED = 'imgtrust speaks of what is executed, and an initrd is not';
const BENEATH = 'that initrd is laid over the one that verifies';
const BY_NAME = 'a well-signed script need not ask for the release’s name';

function signedScripts({ release, manifest }: TamperSite): Attack[] {
  const script = (
    name: string,
    expect: Attack['expect'],
    change: (text: string) => string,
    more: {
      readonly tuf?: Attack['tuf'];
      readonly prepare?: (site: TamperSite) => Promise<unknown>;
      readonly staged?: Staged;
    } = {},
  ): Attack => ({
    name: `boot.ipxe: ${name}, signed by the boot key`,
    tuf: more.tuf ?? 'key compromise',
    expect,
    async stage(site) {
      await more.prepare?.(site);
      const text = await bootText(site.copy);
      const changed = change(text);
      if (changed === text) throw new RangeError(`nothing to change in ${RECORD.bootIpxe}: ${name}`);
      await site.signBoot(changed);
      return more.staged ?? {};
    },
  });
  const unsafe = must('unsafe-script');
  // Beside the kernel: not every release has an initrd.
  const inside = manifest.files.find(({ role }) => role === 'kernel')?.path ?? '';
  const folder = inside.slice(0, inside.lastIndexOf('/') + 1);
  return [
    script(
      'a text from DHCP on the command line',
      expects({
        ipxe: misses(EXPANDS),
        archiso: misses(OBEYS),
        manifest: must('wrong-command-line'),
        tree: unsafe,
      }),
      (text) => editBoot(text, (words) => [...words, 'root=$' + '{root-path}']),
      { staged: { words: (words) => [...words, 'root=/dev/nbd0'] } },
    ),
    script(
      'an initrd that nothing verifies added',
      expects({
        ipxe: misses(NOT_EXECUTED),
        archiso: misses(BENEATH),
        manifest: misses(BENEATH),
        tree: unsafe,
      }),
      (text) => {
        const [, beside = ''] = /^kernel --name \S+ (\S+\/)/m.exec(text) ?? [];
        const added = `initrd --name added.img ${beside}added.img || goto refuse`;
        // As it stands: an address has settings in it.
        return text.replace(/^set bootseal-step start the kernel.*$/m, (line) => `${added}\n${line}`);
      },
      {
        tuf: 'extraneous dependencies',
        staged: { initrds: [`${folder}added.img`] },
        prepare: async ({ copy }) => {
          await copy.write(`${folder}added.img`, new Uint8Array());
          await appendFile(copy.path(`${folder}added.img`), 'etc/added', Buffer.from('added\n'));
        },
      },
    ),
    script(
      'imgverify of the kernel dropped',
      expects({ ipxe: must('no-verdict'), manifest: must('no-verdict'), tree: unsafe }),
      (text) => text.replace(/^imgverify --signer \S+ (\S+) bootseal\.seal .*$/m, 'imgfree bootseal.seal ||'),
    ),
    script(
      'imgverify without a name to ask for',
      expects({ ipxe: misses(BY_NAME), manifest: misses(BY_NAME), tree: unsafe }),
      (text) => text.replaceAll(`imgverify --signer ${release} `, 'imgverify '),
    ),
    script(
      'a shell where it refused',
      expects({ ipxe: misses(PASSES_ON), manifest: misses(PASSES_ON), tree: unsafe }),
      (text) => text.replace(/^sleep 30 \|\|$/m, 'shell ||'),
    ),
  ];
}

async function bootText(copy: TamperSite['copy']): Promise<string> {
  return (await copy.read(RECORD.bootIpxe)).toString('latin1');
}

async function grubText(copy: TamperSite['copy']): Promise<string> {
  return (await copy.read(RECORD.grubCfg)).toString('latin1');
}

/** The words that follow the kernel's address. */
function editBoot(text: string, edit: WordEdit['edit']): string {
  return text.replace(
    /^(kernel --name \S+ \S+)((?: \S+)*?)( \|\| .*)$/m,
    (_, head, words, tail) => [head, ...edit(words.trim().split(' '))].join(' ') + tail,
  );
}

/** GRUB's words stand in quotes of their own. */
function editGrub(text: string, edit: WordEdit['edit']): string {
  return text.replace(
    /^(if linux "[^"]*"| *if module2 --nounzip "[^"]*")((?: \S+)*?)(; then)$/m,
    (_, head, words, tail) => {
      const quoted: string[] = words.trim().split(' ');
      const plain = quoted.map((word) => word.replace(/^'(.*)'$/, '$1'));
      return [head, ...edit(plain).map((word) => (word.includes('$') ? word : `'${word}'`))].join(' ') + tail;
    },
  );
}
