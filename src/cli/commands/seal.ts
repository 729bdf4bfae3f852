import type { Command } from 'commander';
import { type KernelFacts, kernelText } from '../../formats/efi/kernel-shape.ts';
import { isoSeconds } from '../../formats/records/lines.ts';
import { PACK } from '../../release/packed.ts';
import { act, folder, folders, newCommand } from '../context.ts';
import { EXIT } from '../exit.ts';
import { interruptible } from '../interrupt.ts';
import {
  addLayoutOptions,
  addTermOptions,
  type LayoutWords,
  layoutOf,
  noteAdded,
  noteUnlike,
  programWords,
  SIGNER_COMMAND_HELP,
  type TermWords,
  termsOf,
} from '../layout-options.ts';
import { addPassphraseOption, type PassphraseWords, passphrases } from '../passphrases.ts';
import { SUMMARIES } from '../summaries.ts';
import { octets } from '../terminal.ts';

interface Options extends LayoutWords, TermWords, PassphraseWords {
  readonly keys: string;
  readonly alsoKeys?: readonly string[];
  readonly signerCommand?: readonly string[];
  readonly state?: string;
}

export function sealCommand(): Command {
  const command = newCommand('seal', SUMMARIES.seal, 'bootseal seal out/netboot --keys keys')
    .argument(
      '<tree>',
      'a tree as its publisher lays it out, or one with a bootseal.toml; docs/trees.md',
      folder,
    )
    .requiredOption('--keys <dir>', 'the folder that "bootseal init" made', folder)
    .option(
      '--also-keys <dir>',
      'such a folder with another CA, whose loaders shall start this release too; may be repeated',
      folders,
    )
    .option('--signer-command <words>', SIGNER_COMMAND_HELP, programWords)
    .option('--state <dir>', 'a state folder whose log shall have an entry of this');
  return addPassphraseOption(addTermOptions(addLayoutOptions(command))).action(
    act<Options>(async ({ terminal, now }, options, tree = '') => {
      const { seal } = await import('../../operations/seal.ts');
      const { unverifiedThings } = await import('../../release/who-verifies.ts');
      const { printSignedWords, signedWords } = await import('../signed-words.ts');
      const { namesOf, printWhoVerifies } = await import('../who-verifies.ts');
      const { keys, alsoKeys, signerCommand, state } = options;
      const passphrase = passphrases(options);
      let bar: { update(done: number): void; stop(): void } | undefined;
      const done = new Map<string, number>();
      let packed = false;
      const kernels = new Map<string, KernelFacts>();
      const sealed = await interruptible(
        (stop, ended) =>
          seal({
            ended,
            ...layoutOf(options),
            ...termsOf(options),
            ...(alsoKeys ? { alsoKeys } : {}),
            ...(signerCommand ? { signerCommand } : {}),
            ...(passphrase ? { passphrase } : {}),
            ...(state === undefined ? {} : { state }),
            tree,
            keys,
            now,
            onPack: (bytes, all) => {
              stop();
              bar ??= terminal.progress(`packing ${PACK}`, all);
              bar.update(bytes);
              packed = bytes > 0;
            },
            onLayout: ({ release, artifacts }) => {
              bar?.stop();
              bar = terminal.progress(
                `sealing ${release}`,
                artifacts.reduce((sum, { size }) => sum + size, 0),
              );
            },
            onUnlike: noteUnlike(terminal),
            onKernel: ({ path }, kernel) => kernels.set(path, kernel),
            onProgress: ({ path }, octetsRead) => {
              stop();
              done.set(path, octetsRead);
              bar?.update([...done.values()].reduce((sum, octets) => sum + octets, 0));
            },
          }),
        () => (packed ? `no seal was written, and ${PACK} may lie in the tree` : undefined),
      ).finally(() => bar?.stop());
      const { manifest, files, manifestSha256, layout } = sealed;
      terminal.json({
        release: manifest.release,
        serial: manifest.serial,
        manifestSha256,
        ...signedWords(manifest),
        notes: layout.notes,
        kernels: [...kernels].map(([path, facts]) => ({ path, ...facts })),
        files,
      });
      printSignedWords(terminal, manifest);
      terminal.print();
      terminal.table(
        ['role', 'file', 'size', ''],
        manifest.files.map(({ role, path, size }) => {
          const kernel = kernels.get(path);
          return [
            { text: role, style: 'dim' },
            { text: path },
            { text: octets(size) },
            { text: kernel ? kernelText(kernel) : '', style: 'dim' },
          ];
        }),
      );
      terminal.print();
      printWhoVerifies(terminal, manifest);
      const written = files.filter(({ outcome }) => outcome === 'written').length;
      terminal.print();
      terminal.print(
        `${manifest.release}, serial ${manifest.serial}: ${written} files written, ${files.length - written} kept; best before ${isoSeconds(manifest.bestBefore)}.`,
        'good',
      );
      const nobody = unverifiedThings(manifest);
      if (nobody.length > 0)
        terminal.print(
          `On the machine NOBODY verifies ${namesOf(nobody)}: "publish" will refuse that; docs/trees.md has the ways out.`,
          'bad',
        );
      noteAdded(terminal, layout);
      for (const [path, { shape, packed }] of kernels) {
        if (shape !== 'arm64 Image' || packed === undefined) continue;
        terminal.note(
          `${path} is packed by ${packed}: a unified kernel image does not start that, and iPXE only where it was built with IMAGE_GZIP; unpack it for those.`,
        );
      }
      for (const { path } of manifest.files.filter(({ role }) => role === 'rootfs')) {
        if (manifest.verity.some((line) => line.path === path)) continue;
        terminal.note(
          `${path} does not end with a whole block of 4096 bytes, so there is no hash tree of it: no dm-verity.`,
        );
      }
      return EXIT.ok;
    }),
  );
}
