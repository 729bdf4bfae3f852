import type { Command } from 'commander';
import { isoSeconds } from '../../formats/records/lines.ts';
import { demandOrigin } from '../../publish/demand-origin.ts';
import { act, file, folder, folders, newCommand, releaseIds, understood } from '../context.ts';
import { EXIT, statusOf } from '../exit.ts';
import { interruptible } from '../interrupt.ts';
import { SUMMARIES } from '../summaries.ts';
import { snapshotJson } from './publish.ts';

interface Options {
  readonly state: string;
  readonly anchors: readonly string[];
  readonly snapshotCert?: string;
  readonly snapshotKey?: string;
  readonly origin?: string;
  readonly backTo?: readonly string[];
}

function fileOrInput(text: string): string {
  return text === '-' ? text : file(text);
}

export function importCommand(): Command {
  return newCommand(
    'import',
    SUMMARIES.import,
    'bootseal import stable.bundle --state /srv/bootseal --anchors anchors',
  )
    .argument('<file>', 'the bundle; - for standard input', fileOrInput)
    .requiredOption('--state <dir>', 'where releases and channels live; made where it does not exist')
    .requiredOption('--anchors <dir>', 'what its seals must lead to; once for each CA', folders)
    .option(
      '--snapshot-cert <file>',
      'of the key that signs the channel there; default: snapshot.crt in the first --anchors',
      file,
    )
    .option('--snapshot-key <dir>', 'what signs this state’s log; without one its entries wait', folder)
    .option(
      '--origin <url>',
      'where it came from, for the record; default: the file',
      understood(demandOrigin),
    )
    .option(
      '--back-to <release>',
      'an older release that the channel may go back to; may stand several times',
      releaseIds,
    )
    .action(
      act<Options>(async ({ terminal, now }, options, path = '') => {
        const { importBundle } = await import('../../mirrors/import.ts');
        const { state, anchors, snapshotCert, snapshotKey, origin, backTo } = options;
        const bar = terminal.progress(`importing ${path}`, 0);
        const result = await interruptible((stop) =>
          importBundle({
            bundle: path === '-' ? process.stdin : path,
            state,
            anchors,
            now,
            ...(snapshotCert === undefined ? {} : { snapshotCertificate: snapshotCert }),
            ...(snapshotKey === undefined ? {} : { snapshotKey }),
            ...(origin === undefined ? {} : { origin }),
            ...(backTo === undefined ? {} : { back: backTo }),
            onProgress: (done, size) => {
              stop();
              bar.grow(size);
              bar.update(done);
            },
          }),
        ).finally(() => bar.stop());
        const { channel, rows, refusal, snapshot, moved, logged } = result;
        terminal.json({
          channel,
          imported: refusal === undefined,
          moved,
          refusal: refusal?.toJSON(),
          releases: rows.map(({ release, outcome, refusal: no }) => {
            const at = logged.get(release);
            return {
              release,
              outcome,
              refusal: no?.toJSON(),
              logged: at && { log: at.log, index: at.index, time: isoSeconds(at.time) },
            };
          }),
          ...(snapshot ? { snapshot: snapshotJson(snapshot) } : {}),
        });
        terminal.table(
          ['release', '', 'in the log there'],
          rows.map(({ release, outcome, refusal: no }) => {
            const at = logged.get(release);
            return [
              { text: release },
              { text: outcome, style: no ? 'bad' : 'good' },
              {
                text: at ? `entry ${at.index} of ${isoSeconds(at.time)}` : 'no proof came along',
                style: 'dim' as const,
              },
            ];
          }),
        );
        for (const { gates } of rows)
          for (const { gate, warnings } of gates)
            for (const warning of warnings) terminal.print(`${gate} ${warning}.`, 'dim');
        if (refusal) {
          terminal.refused(`REFUSED: ${refusal.message} [${refusal.code}]`);
          return statusOf(refusal);
        }
        if (snapshot) {
          const releases = snapshot.releases.map(({ release }) => release).join(', ');
          const where = `snapshot ${snapshot.counter}, until ${isoSeconds(snapshot.expires)}`;
          terminal.print(`${channel} ${moved ? '→' : 'is at'} ${releases}: ${where}.`, 'good');
        } else {
          terminal.print(
            'No channel came along: export the channel to follow it here, or move one of this state’s own with "bootseal channel move".',
            'dim',
          );
        }
        return EXIT.ok;
      }),
    );
}
