import type { Command } from 'commander';
import type { PromoteResult } from '../../mirrors/promote.ts';
import { accessOf } from '../../signing/keys/passphrase.ts';
import { act, channelName, files, folder, folders, newCommand } from '../context.ts';
import { EXIT, statusOf } from '../exit.ts';
import { addPassphraseOption, type PassphraseWords, passphrases } from '../passphrases.ts';
import { SUMMARIES } from '../summaries.ts';
import type { Terminal } from '../terminal.ts';
import { treeProgress } from '../tree-progress.ts';
import { movedJson, showGates, showMoved } from './publish.ts';

interface Options extends PassphraseWords {
  readonly channel: string;
  readonly state: string;
  readonly anchors: readonly string[];
  readonly signature?: readonly string[];
  readonly snapshotKey?: string;
  readonly scriptKeys?: string;
}

export function promoteCommand(): Command {
  const command = newCommand(
    'promote',
    SUMMARIES.promote,
    'bootseal promote out/netboot --channel stable --state /srv/bootseal --anchors keys/anchors --signature ada.sig',
  )
    .argument('<tree|release>', 'a sealed tree, or NAME/VERSION that the state holds')
    .requiredOption('--channel <name>', 'which channel shall point at it', channelName)
    .requiredOption('--state <dir>', 'where releases and channels live')
    .requiredOption('--anchors <dir>', 'what the build’s seals must lead to; once for each CA', folders)
    .option(
      '--signature <file>',
      'by a person, over release.manifest: "gpg --detach-sign"; may stand several times',
      files,
    )
    .option('--snapshot-key <dir>', 'a folder as "init" makes it; default: a key of the state’s own', folder)
    .option('--script-keys <dir>', 'who signs the scripts that machines get by name', folder);
  return addPassphraseOption(command).action(
    act<Options>(async ({ terminal, now }, options, target = '') => {
      const { promote } = await import('../../mirrors/promote.ts');
      const { readScriptKeys } = await import('../../signing/keys/script-keys.ts');
      const { channel, state, anchors, signature = [], snapshotKey, scriptKeys } = options;
      const passphrase = passphrases(options);
      const keys =
        scriptKeys === undefined
          ? undefined
          : await readScriptKeys(scriptKeys, now, accessOf(passphrase ? { passphrase } : {}));
      const bar = treeProgress(terminal, `judging ${target}`);
      const result = await promote({
        ...{ target, channel, state, anchors, signatures: signature, now },
        ...(snapshotKey === undefined ? {} : { snapshotKey }),
        ...(keys ? { scriptKeys: keys } : {}),
        onProgress: bar.update,
      }).finally(bar.stop);
      return show(terminal, channel, result);
    }),
  );
}

function show(
  terminal: Terminal,
  channel: string,
  { release, manifest, promoters, least, published }: PromoteResult,
): number {
  terminal.json({
    ...{ release, manifest, channel, promoters, least },
    promoted: published?.moved !== undefined,
    refusal: published?.refusal?.toJSON(),
    ...(published?.moved ? movedJson(published.moved) : {}),
  });
  terminal.table(
    ['stands by it', 'key'],
    promoters.map(({ name, fingerprint }) => [{ text: name }, { text: fingerprint, style: 'dim' }]),
  );
  terminal.print();
  if (!published) {
    terminal.print(
      `${release} has ${promoters.length} of ${least} signatures for ${channel}: kept; the channel stays where it is.`,
    );
    return EXIT.ok;
  }
  showGates(terminal, published.gates);
  if (published.refusal) {
    terminal.refused(`REFUSED: ${published.refusal.message} [${published.refusal.code}]`);
    return statusOf(published.refusal);
  }
  if (published.moved) showMoved(terminal, published.moved);
  return EXIT.ok;
}
