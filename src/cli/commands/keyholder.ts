import type { Command } from 'commander';
import { UsageError } from '../../errors/usage.ts';
import { gidOf, uidOf } from '../../keyholder/accounts.ts';
import { ASKS, type Ask } from '../../keyholder/asks.ts';
import { serverAddress } from '../../scripts/server-address.ts';
import { act, folder, folders, newCommand, understood } from '../context.ts';
import { EXIT } from '../exit.ts';
import { addPassphraseOption, type PassphraseWords, passphrases } from '../passphrases.ts';
import { SUMMARIES } from '../summaries.ts';

interface Options extends PassphraseWords {
  readonly socket: string;
  readonly keys: string;
  readonly state: string;
  readonly anchors?: readonly string[];
  readonly scriptKeys?: string;
  readonly url?: string;
  readonly allowUser: readonly string[];
  readonly group?: string;
}

export function keyholderCommand(): Command {
  return addPassphraseOption(
    newCommand(
      'keyholder',
      SUMMARIES.keyholder,
      'bootseal keyholder --socket /run/bootseal-keyholder/socket --keys /etc/bootseal/snapshot --state /srv/bootseal --anchors /etc/bootseal/anchors',
    ),
  )
    .requiredOption('--socket <path>', 'where to listen, in a folder that nobody else may write')
    .requiredOption(
      '--keys <dir>',
      'a folder as "init" makes it; of it only the snapshot key is read',
      folder,
    )
    .requiredOption('--state <dir>', 'where releases and channels live', folder)
    .option(
      '--anchors <dir>',
      'what a release must lead to that a channel is moved to; once for each CA. Without it channels are renewed and not moved',
      folders,
    )
    .option(
      '--script-keys <dir>',
      'to sign what machines get by name, and to arm them: a folder of "init" with the key of the CA, or one that "keys delegate" filled',
      folder,
    )
    .option(
      '--url <url>',
      'where machines find the server; default: where the scripts of the release do',
      understood(serverAddress),
    )
    .option(
      '--allow-user <name|uid[:asks]>',
      `who may ask beside root and the user that this runs as; only for some things: serve:apply,renew. May be given several times (${ASKS.join(', ')})`,
      several,
      [],
    )
    .option('--group <name|gid>', 'the group of the socket, whose members may connect')
    .action(
      act<Options>(async ({ terminal, openLog }, options) => {
        const { startKeyholder } = await import('../../keyholder/keyholder.ts');
        const { socket, keys, state, anchors, scriptKeys, url, allowUser, group } = options;
        const { allowUids, allowAsks } = await allowedOf(allowUser);
        const gid = group === undefined ? {} : { gid: await gidOf(group) };
        const passphrase = passphrases(options);
        const given = {
          ...(anchors === undefined ? {} : { anchors }),
          ...(scriptKeys === undefined
            ? {}
            : { scriptKeys, ...(url === undefined ? {} : { server: serverAddress(url) }) }),
          ...(passphrase === undefined ? {} : { passphrase }),
        };
        // From before there is a socket: whoever sees one may end us, and it is taken away.
        const { told, forget } = signals();
        const started = startKeyholder({
          socket,
          keys,
          state,
          log: await openLog(),
          allowUids,
          allowAsks,
          ...given,
          ...gid,
        });
        const keyholder = await started.catch((error: unknown) => {
          forget();
          throw error;
        });
        const { fingerprint, unfinished } = keyholder;
        terminal.json({ socket: keyholder.socket, snapshotKey: fingerprint, unfinished });
        terminal.print(`The keyholder listens at ${keyholder.socket}, snapshot key sha256 ${fingerprint}.`);
        for (const fact of unfinished) terminal.print(`Unfinished: ${fact}.`, 'bad');
        await told;
        await keyholder.close();
        return EXIT.ok;
      }),
    );
}

/** Names with what they may ask for, `serve:apply,renew`; a name alone may ask for all. @throws UsageError */
async function allowedOf(words: readonly string[]) {
  const allowUids: number[] = [];
  const allowAsks = new Map<number, readonly Ask[]>();
  for (const word of words) {
    const [name = '', asks] = word.split(':');
    const uid = await uidOf(name);
    if (asks === undefined) {
      allowUids.push(uid);
      continue;
    }
    const wanted = asks.split(',').map((text) => {
      const ask = ASKS.find((one) => one === text);
      if (ask) return ask;
      throw new UsageError(
        `${JSON.stringify(text)} is nothing to ask a keyholder for; there are ${ASKS.join(', ')}.`,
      );
    });
    allowAsks.set(uid, [...(allowAsks.get(uid) ?? []), ...wanted]);
  }
  return { allowUids, allowAsks };
}

/** `told` ends at SIGINT or SIGTERM; a second signal ends the process as signals do. */
function signals(): { readonly told: Promise<void>; readonly forget: () => void } {
  let end = (): void => {};
  const told = new Promise<void>((resolve) => {
    end = resolve;
  });
  const heard = (): void => {
    forget();
    end();
  };
  const forget = (): void => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, heard);
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, heard);
  return { told, forget };
}

function several(text: string, before: readonly string[]): readonly string[] {
  return [...before, text];
}
