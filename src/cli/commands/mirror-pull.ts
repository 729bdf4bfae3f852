import type { Command } from 'commander';
import type { PullResult } from '../../mirrors/pull.ts';
import { act, channelName, file, folder, folders, newCommand, releaseIds } from '../context.ts';
import { EXIT, statusOf } from '../exit.ts';
import { interruptible } from '../interrupt.ts';
import { octetsArgument } from '../octets-argument.ts';
import { count, readOr, showMirrors, words } from '../pulling.ts';
import { octets, type Terminal } from '../terminal.ts';
import { snapshotJson } from './publish.ts';

interface Options {
  readonly channel: string;
  readonly state: string;
  readonly anchors: readonly string[];
  readonly snapshotCert?: string;
  readonly mirror?: readonly string[];
  readonly backTo?: readonly string[];
  readonly parallel?: number;
  readonly limitRate?: number;
  readonly allowPrivate?: boolean;
  readonly tlsCa?: string;
  readonly staging?: string;
  readonly snapshotKey?: string;
  readonly keep?: number;
}

export function mirrorPullCommand(): Command {
  return newCommand(
    'pull',
    'follow a channel of somebody else: verified, through the gate, and never backwards',
    'bootseal mirror pull https://netboot.example/ --channel stable --state /srv/mirror --anchors curated --keep 2',
  )
    .argument(
      '<source>',
      'where it is: http(s)://HOST/, rsync://HOST/MODULE/, HOST::MODULE, s3://BUCKET/PREFIX, or a folder',
    )
    .requiredOption('--channel <name>', 'which channel is followed', channelName)
    .requiredOption('--state <dir>', 'where this mirror keeps it; made where it does not exist')
    .requiredOption(
      '--anchors <dir>',
      'what its seals must lead to, by ways other than this mirror; once for each CA',
      folders,
    )
    .option(
      '--snapshot-cert <file>',
      'of the key that signs the channel; default: snapshot.crt among the anchors',
      file,
    )
    .option('--mirror <source>', 'another that has the same; may stand several times', words)
    .option(
      '--back-to <release>',
      'the upstream went back to this on purpose while nobody pulled',
      releaseIds,
    )
    .option('--parallel <n>', 'files at once; 4 by default', count)
    .option('--limit-rate <rate>', 'bytes a second, as 500k, 20M', octetsArgument)
    .option('--allow-private', 'follow redirects to this machine and to private networks')
    .option('--tls-ca <file>', 'certificates that TLS trusts in the place of the system’s', file)
    .option('--staging <dir>', 'where files lie until they are whole; default: incoming in the state')
    .option('--snapshot-key <dir>', 'signs this mirror’s own log; without one its entries wait', folder)
    .option('--keep <n>', 'take older releases away, but for so many and all that a snapshot names', count0)
    .action(
      act<Options>(async ({ terminal, now }, options, source = '') => {
        const { pull } = await import('../../mirrors/pull.ts');
        const { demandCanKeep, keepReleases } = await import('../../mirrors/keep-releases.ts');
        const { mirror = [], backTo, keep, tlsCa, anchors, channel, state } = options;
        if (keep !== undefined) demandCanKeep(state);
        const { parallel, limitRate, allowPrivate, staging, snapshotKey, snapshotCert } = options;
        let bar: ReturnType<Terminal['progress']> | undefined;
        let size = 0;
        const result = await interruptible(
          async (_stop, signal) =>
            pull({
              ...{ channel, state, anchors, now, signal },
              sources: [source, ...mirror],
              ...(snapshotCert === undefined ? {} : { snapshotCertificate: snapshotCert }),
              ...(backTo === undefined ? {} : { back: backTo }),
              ...(parallel === undefined ? {} : { parallel }),
              ...(limitRate === undefined ? {} : { limitRate }),
              ...(allowPrivate ? { allowPrivate } : {}),
              ...(tlsCa === undefined ? {} : { tlsCa: await readOr(tlsCa) }),
              ...(staging === undefined ? {} : { staging }),
              ...(snapshotKey === undefined ? {} : { snapshotKey }),
              onNote: (text) => terminal.note(text),
              onProgress: (done, total) => {
                bar ??= terminal.progress(`pulling ${channel}`, total);
                if (total !== size) bar.grow(total);
                size = total;
                bar.update(done);
              },
            }),
          () => 'what arrived is kept, and the same command goes on with it',
        ).finally(() => bar?.stop());
        const removed =
          keep === undefined || result.refusal
            ? []
            : await keepReleases({ state, keep, now, ...(snapshotKey === undefined ? {} : { snapshotKey }) });
        terminal.json(pulledJson(channel, result, removed));
        showMirrors(terminal, result.mirrors);
        return show(terminal, channel, result, removed);
      }),
    );
}

function pulledJson(channel: string, result: PullResult, removed: readonly string[]): object {
  const { rows, refusal, snapshot, moved, mirrors, files, fetched, resumed } = result;
  return {
    channel,
    pulled: refusal === undefined,
    moved,
    refusal: refusal?.toJSON(),
    ...(snapshot ? { snapshot: snapshotJson(snapshot) } : {}),
    releases: rows.map(({ release, outcome, refusal: no, gates }) => ({
      release,
      outcome,
      refusal: no?.toJSON(),
      gates: gates.map(({ refusal: not, ...row }) => ({ ...row, refusal: not?.toJSON() })),
    })),
    mirrors: mirrors.map(({ refusal: no, ...row }) => ({ ...row, refusal: no?.toJSON() })),
    files,
    fetched,
    resumed,
    removed,
  };
}

function show(
  terminal: Terminal,
  channel: string,
  { rows, refusal, snapshot, moved, fetched, resumed }: PullResult,
  removed: readonly string[],
): number {
  for (const { release, outcome, gates, refusal: no } of rows) {
    if (no) terminal.print(`${release}: ${no.message}`, 'bad');
    else if (outcome === 'stored') terminal.print(`${release} passed ${gates.length} gates, and is here.`);
    for (const { gate, warnings } of gates)
      for (const warning of warnings) terminal.print(`${gate} ${warning}.`, 'dim');
  }
  if (refusal) {
    terminal.refused(`REFUSED: ${refusal.message} [${refusal.code}]`);
    return statusOf(refusal);
  }
  const at = snapshot?.releases.map(({ release }) => release).join(', ') ?? '';
  terminal.print(
    moved
      ? `${channel} → ${at}: snapshot ${snapshot?.counter} of the upstream; ${octets(fetched)} were fetched${resumed > 0 ? `, ${octets(resumed)} were here from before` : ''}.`
      : `${channel} is at ${at} already, snapshot ${snapshot?.counter} of the upstream.`,
    'good',
  );
  for (const release of removed)
    terminal.print(
      `${release} was taken away: no snapshot names it; its content stays until it is collected, and while a process has it open.`,
    );
  return EXIT.ok;
}

function count0(text: string): number {
  return text === '0' ? 0 : count(text);
}
