import { realpath } from 'node:fs/promises';
import type { Command } from 'commander';
import type { Fault, Finding } from '../../operations/sentinel.ts';
import { act, folder, newCommand } from '../context.ts';
import { EXIT } from '../exit.ts';
import { octetsArgument } from '../octets-argument.ts';
import { octets, type Terminal } from '../terminal.ts';

interface Options {
  readonly state: string;
  readonly rate?: number;
  readonly once?: boolean;
  readonly snapshotKey?: string;
}

export function watchCommand(): Command {
  return newCommand(
    'watch',
    'watch over the store: what is changed, missing or extra is quarantined and told',
    'bootseal state watch --state /srv/bootseal --rate 50M\nbootseal state watch --once --state /srv/bootseal',
  )
    .requiredOption('--state <dir>', 'where releases and channels live', folder)
    .option(
      '--rate <bytes>',
      'read so many a second: 500k, 50M, 1G; default: 32M, with --once what the disk gives',
      octetsArgument,
    )
    .option('--once', 'read everything once and end: exit status 1 where something was found')
    .option('--snapshot-key <dir>', 'what signs the log; default: a key of the state’s own', folder)
    .action(
      act<Options>(async ({ terminal, openLog, json }, options) => {
        const { scrubStore, startSentinel } = await import('../../operations/sentinel.ts');
        const { rate: octetsASecond, once = false, snapshotKey } = options;
        const ending = new AbortController();
        const end = () => ending.abort();
        process.once('SIGINT', end);
        process.once('SIGTERM', end);
        const findings: Finding[] = [];
        const faults: Fault[] = [];
        const given = {
          // Where it moves things to is written down, for whoever reads it elsewhere.
          state: await realpath(options.state),
          clock: Date.now,
          signal: ending.signal,
          ...(octetsASecond === undefined ? {} : { rate: octetsASecond }),
          ...(snapshotKey === undefined ? {} : { snapshotKey }),
          onFinding: (finding: Finding) => {
            findings.push(finding);
            if (once) return;
            terminal.jsonLine({ finding });
            show(terminal, finding);
          },
          onFault: (fault: Fault) => {
            faults.push(fault);
            if (once) return;
            terminal.jsonLine({ fault: faultJson(fault) });
            terminal.error(fault.error.message);
          },
          onNote: (note: string) => {
            if (json) terminal.jsonLine({ note });
            else terminal.note(note);
          },
        };
        if (once) {
          const round = await scrubStore(given);
          terminal.json({
            findings,
            faults: faults.map(faultJson),
            complete: round !== undefined,
            files: round?.files,
            bytes: round?.bytes,
            restored: round?.restored,
          });
          for (const finding of findings) show(terminal, finding);
          for (const { error } of faults) terminal.error(error.message);
          for (const release of round?.restored ?? [])
            terminal.print(`${release} is whole again, and no longer held.`, 'good');
          if (round && findings.length === 0 && faults.length === 0)
            terminal.print(
              `${round.files} files, ${octets(round.bytes)}: all of it is what the state was given.`,
              'good',
            );
          if (findings.length > 0) return EXIT.refused;
          return faults.length > 0 || !round ? EXIT.fault : EXIT.ok;
        }
        const { ready, ended } = await startSentinel(given);
        await ready;
        if (!ending.signal.aborted) {
          const log = await openLog();
          log.info({ state: given.state }, 'watching');
          terminal.jsonLine({ watching: given.state });
        }
        await ended;
        return EXIT.ok;
      }),
    );
}

function show(terminal: Terminal, { why, movedTo, held, release }: Finding): void {
  const moved = movedTo === undefined ? '' : ` It is in ${movedTo} now.`;
  const mark = held ? ` ${release} is held: the rest of it goes on being served.` : '';
  terminal.print(`${why}${moved}${mark}`, 'bad');
}

function faultJson({ path, error }: Fault): object {
  return { path, error: error.message };
}
