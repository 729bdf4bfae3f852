import { type Command, InvalidArgumentError } from 'commander';
import { UsageError } from '../../errors/usage.ts';
import { isoSeconds } from '../../formats/records/lines.ts';
import { act, file, files, folder, folders, found, newCommand } from '../context.ts';
import { EXIT } from '../exit.ts';
import { Interrupted, interruptible } from '../interrupt.ts';
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
import { octets, type Terminal } from '../terminal.ts';
import { treeProgress } from '../tree-progress.ts';

interface RequestWords extends LayoutWords, TermWords {
  readonly anchors?: string;
  readonly alsoAnchors?: readonly string[];
  readonly certificate?: readonly string[];
  readonly pcr?: boolean;
  readonly out: string;
}

export function requestCommand(): Command {
  const command = newCommand(
    'request',
    SUMMARIES.request,
    'bootseal request out/netboot --anchors anchors --out request.cpio',
  )
    .argument('<tree|image>', 'a tree to be sealed, or an EFI image to be signed for Secure Boot', there)
    .option('--pcr', 'of an image: ask for signatures over PCR values; they come before its own')
    .option('--anchors <dir>', 'the public half of an "init" folder: whose seals the tree shall get', folder)
    .option('--certificate <file>', 'of an image, instead of --anchors: whose signature it shall get', files)
    .option(
      '--also-anchors <dir>',
      'anchors of another CA whose loaders shall start this release too',
      folders,
    )
    .requiredOption('--out <file>', 'where the request goes');
  return addTermOptions(addLayoutOptions(command)).action(
    act<RequestWords>(async (context, options, tree = '') => {
      if (isFile(tree)) {
        const { requestImage } = await import('./image-request.ts');
        return requestImage(context, options, tree);
      }
      if (options.pcr) throw new UsageError('--pcr goes with an image, not with a tree.');
      if (options.certificate) throw new UsageError('--certificate goes with an image, not with a tree.');
      const { terminal, now } = context;
      const { anchors, out, alsoAnchors } = options;
      if (anchors === undefined)
        throw new UsageError(
          'Say whose seals the tree shall get: --anchors DIR, the public half of an "init" folder.',
        );
      const { showRequest } = await import('../shown-request.ts');
      const { signedWords } = await import('../signed-words.ts');
      const { requestSignatures } = await import('../../operations/request.ts');
      const progress = treeProgress(terminal, 'reading');
      const sizes = new Map<string, number>();
      const made = await interruptible((stop) =>
        requestSignatures({
          ...layoutOf(options),
          ...termsOf(options),
          tree,
          now,
          out,
          anchors,
          ...(alsoAnchors ? { alsoAnchors } : {}),
          onLayout: ({ artifacts }) => {
            for (const { path, size } of artifacts) sizes.set(path, size);
          },
          onUnlike: noteUnlike(terminal),
          onProgress: ({ path }, done) => {
            stop();
            progress.update(path, done, sizes.get(path) ?? done);
          },
        }),
      ).finally(() => progress.stop());
      const { request, manifest, size } = made;
      const count = request.signatures.length + request.texts.length;
      terminal.json({
        release: request.release,
        out,
        octets: size,
        ...signedWords(manifest),
        signatures: request.signatures,
        texts: request.texts,
      });
      showRequest(terminal, request, manifest);
      noteAdded(terminal, made.layout);
      terminal.print();
      terminal.print(
        count > 0
          ? `${out}: ${count} signatures to make, ${octets(size)}; carry it to the keys: bootseal sign-request ${out} --keys DIR --out RESPONSE`
          : `${out}: no signature is missing; bootseal attach ${tree} ${out} writes what else is.`,
        'good',
      );
      return EXIT.ok;
    }),
  );
}

interface SignWords extends PassphraseWords {
  readonly keys?: readonly string[];
  readonly signerCommand?: readonly string[];
  readonly image?: string;
  readonly blind?: boolean;
  readonly journal?: string;
  readonly out: string;
}

export function signRequestCommand(): Command {
  const command = newCommand(
    'sign-request',
    SUMMARIES['sign-request'],
    'bootseal sign-request request.cpio --keys keys --out response.cpio',
  )
    .argument('<request>', 'what "bootseal request" wrote', file)
    .option('--keys <dir>', 'an "init" folder, whole or with some of its keys; may be repeated', folders)
    .option('--signer-command <words>', `instead: ${SIGNER_COMMAND_HELP}`, programWords)
    .option('--journal <dir>', 'keep here what was signed, and show what changed since')
    .option('--image <file>', 'for Secure Boot: the image itself, which is shown before it is signed', file)
    .option('--blind', 'for Secure Boot: sign an image unseen; the journal says so')
    .requiredOption('--out <file>', 'where the response goes: the request with the signatures in it');
  return addPassphraseOption(command).action(
    act<SignWords>(async (context, { keys = [], out, ...options }, path = '') => {
      const { isImageRequestFile } = await import('../../operations/image-request.ts');
      const { isScriptsRequestFile } = await import('../../operations/machine-scripts.ts');
      const { signerCommand, journal, image, blind } = options;
      const passphrase = passphrases(options);
      const { terminal, now } = context;
      if (keys.length > 0 === (signerCommand !== undefined)) {
        throw new UsageError('Say who signs: --keys DIR, or --signer-command.');
      }
      const signing = { keys, ...(passphrase ? { passphrase } : {}), out };
      if (await isImageRequestFile(path)) {
        const { signImageWords } = await import('./image-request.ts');
        return signImageWords(context, { ...options, ...signing }, path);
      }
      if (await isScriptsRequestFile(path)) {
        const { signScriptsWords } = await import('./machines-scripts.ts');
        return signScriptsWords(context, signing, path);
      }
      if (image !== undefined || blind)
        throw new UsageError('--image and --blind go with a request about an image, not about a tree.');
      const { showChanges, showRequest } = await import('../shown-request.ts');
      const { signedWords } = await import('../signed-words.ts');
      const { signRequest } = await import('../../operations/request.ts');
      let bar: ReturnType<Terminal['progress']> | undefined;
      let kept = 0;
      const signed = await interruptible((stop, ended) =>
        signRequest({
          ended,
          request: path,
          keys,
          ...(signerCommand ? { signerCommand } : {}),
          ...(passphrase ? { passphrase } : {}),
          ...(journal === undefined ? {} : { journal }),
          out,
          now,
          onRequest: (seen) => {
            showRequest(terminal, seen.request, seen.manifest);
            showChanges(terminal, seen, journal !== undefined);
            terminal.print();
          },
          onSignature: (done, of) => {
            stop();
            bar ??= terminal.progress('signing', of);
            bar.update(done);
          },
          onPart: (made) => {
            kept = made;
          },
        }),
      )
        .catch((error: unknown) => {
          if (kept === 0) throw error;
          const left = `${out} holds the ${kept} signatures that were made; bootseal sign-request ${out} goes on from there`;
          if (error instanceof Interrupted) throw new Interrupted(error.signal, left);
          terminal.note(`${left}.`);
          throw error;
        })
        .finally(() => bar?.stop());
      const { request, manifest, since, answered, left } = signed;
      terminal.json({ release: request.release, out, ...signedWords(manifest), since, answered, left });
      terminal.print(
        `${out}: ${answered.length} of ${answered.length + left.length} signatures for ${request.release}.`,
        left.length > 0 ? undefined : 'good',
      );
      if (left.length > 0) {
        const others = [...new Set(left.map(({ key }) => key))].join(', ');
        terminal.print(`${left.length} signatures are left for others to make, with these keys: ${others}.`);
      }
      return EXIT.ok;
    }),
  );
}

export function attachCommand(): Command {
  return newCommand('attach', SUMMARIES.attach, 'bootseal attach out/netboot response.cpio')
    .argument('<tree|image>', 'what the request was made of', there)
    .option('--state <dir>', 'a state folder whose log shall have an entry of this')
    .argument(
      '<response...>',
      'the answers, in any order and in parts; the request itself where they lack it',
    )
    .action(
      act<{ state?: string }>(async (context, { state }, tree = '', ...rest) => {
        const responses = (rest as unknown as [readonly string[]])[0];
        if (isFile(tree)) {
          const { attachImageWords } = await import('./image-request.ts');
          return attachImageWords(context, tree, responses);
        }
        const { printSignedWords, signedWords } = await import('../signed-words.ts');
        const { attach } = await import('../../operations/request.ts');
        const { terminal, now } = context;
        const progress = treeProgress(terminal, 'checking');
        const { request, manifest, manifestSha256, files } = await interruptible((stop) =>
          attach({
            tree,
            responses: [...responses],
            ...(state === undefined ? {} : { log: { state, now } }),
            onProgress: (path, done, size) => {
              stop();
              progress.update(path, done, size);
            },
          }),
        ).finally(() => progress.stop());
        terminal.json({
          release: request.release,
          serial: manifest.serial,
          manifestSha256,
          ...signedWords(manifest),
          files,
        });
        printSignedWords(terminal, manifest);
        terminal.print();
        const written = files.filter(({ outcome }) => outcome === 'written').length;
        terminal.print(
          `${request.release}, serial ${manifest.serial}: ${written} files written, ${files.length - written} kept; best before ${isoSeconds(manifest.bestBefore)}.`,
          'good',
        );
        return EXIT.ok;
      }),
    );
}

function there(text: string): string {
  if (found(text)) return text;
  throw new InvalidArgumentError('There is no such folder or image.');
}

function isFile(path: string): boolean {
  return found(path)?.isFile() === true;
}
