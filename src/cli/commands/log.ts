import { type Command, InvalidArgumentError, Option } from 'commander';
import { UsageError } from '../../errors/usage.ts';
import { isoSeconds } from '../../formats/records/lines.ts';
import { ACT_KINDS, type ActKind, type LogEntry } from '../../formats/records/log-entry.ts';
import type { SignedLog } from '../../publish/log-sign.ts';
import type { ProvenEntry } from '../../trust/log-proof-check.ts';
import { act, folder, newCommand, releaseId, stateAt } from '../context.ts';
import { EXIT } from '../exit.ts';
import { demandState, keyholderOf, type SignedByOptions, withKeyholder } from '../keyholder-options.ts';
import { SUMMARIES } from '../summaries.ts';
import type { Cell } from '../table.ts';
import type { Terminal } from '../terminal.ts';

interface Options extends SignedByOptions {
  readonly release?: string;
  readonly act?: ActKind;
  readonly n?: number;
  readonly index?: number;
  readonly out: string;
  readonly anchors?: string;
  readonly since?: string;
  readonly allowWaiting?: boolean;
}

const EXAMPLE = 'bootseal log';

export function logCommand(): Command {
  return newCommand(
    'log',
    SUMMARIES.log,
    `${EXAMPLE} check --state /srv/bootseal --since checkpoint-of-last-month`,
  )
    .addCommand(showCommand())
    .addCommand(proveCommand())
    .addCommand(checkCommand())
    .addCommand(signCommand());
}

function showCommand(): Command {
  return newCommand(
    'show',
    'its entries, the newest last',
    `${EXAMPLE} show --state /srv/bootseal --release arch/2026.11.01`,
  )
    .requiredOption('--state <dir>', 'where releases and channels live', stateAt)
    .option('--release <name>', 'entries about this release only', releaseId)
    .addOption(new Option('--act <act>', 'entries of this act only').choices(ACT_KINDS))
    .option('-n <number>', 'only so many, the newest', count)
    .action(
      act<Options>(async ({ terminal }, { state = '', release, act: kind, n }) => {
        const { showLog } = await import('../../store/log-reader.ts');
        const { readWaiting } = await import('../../store/log-waiting.ts');
        // Before the entries: one that comes meanwhile is then no entry that was signed.
        const { signed } = await readWaiting(state);
        const entries = await showLog({
          state,
          ...(release === undefined ? {} : { release }),
          ...(kind === undefined ? {} : { act: kind }),
          ...(n === undefined ? {} : { last: n }),
        });
        terminal.json({
          entries: entries.map((entry) => ({ ...entryJson(entry), signed: entry.index < signed })),
        });
        terminal.table(
          ['entry', 'time', 'act', 'release', 'channel', ''],
          entries.map((entry) => [
            { text: String(entry.index).padStart(5) },
            { text: isoSeconds(entry.time) },
            actCell(entry),
            { text: entry.release ?? '–' },
            { text: entry.channel ?? '–' },
            { text: remark(entry, entry.index < signed), style: 'dim' },
          ]),
        );
        return EXIT.ok;
      }),
    );
}

function proveCommand(): Command {
  return newCommand(
    'prove',
    'a file that proves to others that a release is in the log, and since when',
    `${EXAMPLE} prove arch/2026.11.01 --state /srv/bootseal --out proof.txt`,
  )
    .argument('<release>', 'NAME/VERSION', releaseId)
    .requiredOption('--state <dir>', 'where releases and channels live', stateAt)
    .requiredOption('--out <file>', 'where to write the proof')
    .addOption(
      new Option(
        '--act <act>',
        'the newest entry of this act; default: the newest that sealed or published it',
      ).choices(ACT_KINDS),
    )
    .option('--index <number>', 'this very entry', count)
    .option('--anchors <file|dir>', 'the log’s certificate (snapshot.crt); default: the state’s own')
    .action(
      act<Options>(async ({ terminal, now }, options, release = '') => {
        const { proveLog } = await import('../../store/log-reader.ts');
        const { state = '', out, act: kind, index, anchors } = options;
        const proven = await proveLog({
          state,
          release,
          out,
          now,
          ...(kind === undefined ? {} : { act: kind }),
          ...(index === undefined ? {} : { index }),
          ...(anchors === undefined ? {} : { certificates: anchors }),
        });
        terminal.json({ proof: out, ...provenJson(proven) });
        terminal.print(`${out}: ${provenText(proven)}.`, 'good');
        return EXIT.ok;
      }),
    );
}

function checkCommand(): Command {
  return newCommand(
    'check',
    'read the whole log and verify it; or verify one proof, offline',
    `${EXAMPLE} check --state /srv/bootseal --since checkpoint\n${EXAMPLE} check proof.txt --anchors keys/anchors`,
  )
    .argument('[proof]', 'a file that "log prove" wrote')
    .option('--state <dir>', 'where releases and channels live', stateAt)
    .option('--allow-waiting', 'entries that wait for a signature are counted, and no reason to refuse')
    .option('--since <file>', 'a checkpoint that you kept: the log must be a continuation of it')
    .option(
      '--anchors <file|dir>',
      'the log’s certificate (snapshot.crt); default with --state: the state’s own',
    )
    .action(
      act<Options>(async ({ terminal, now }, { state, since, anchors, allowWaiting = false }, proof) => {
        const { checkLog, checkLogProof } = await import('../../store/log-reader.ts');
        if (proof !== undefined) {
          if (state !== undefined || since !== undefined || allowWaiting || anchors === undefined)
            throw new UsageError('A proof is verified with --anchors alone: the log itself is not asked.');
          return told(terminal, await checkLogProof({ proof, certificates: anchors, now }));
        }
        if (state === undefined)
          throw new UsageError('Name a proof and --anchors, or the folder of a log with --state.');
        const audit = await checkLog({
          state,
          now,
          allowWaiting,
          ...(since === undefined ? {} : { since }),
          ...(anchors === undefined ? {} : { certificates: anchors }),
        });
        const { log, size, waiting, checkpoint, torn } = audit;
        const time = isoSeconds(checkpoint.time);
        terminal.json({
          verified: true,
          log,
          size,
          waiting,
          root: checkpoint.root,
          time,
          since: audit.since && { size: audit.since.size, time: isoSeconds(audit.since.time) },
          torn,
        });
        if (torn > 0)
          terminal.print('An entry was being written, or its writer was killed: not counted.', 'dim');
        if (audit.since)
          terminal.print(`A continuation of the checkpoint of ${entries(audit.since.size)} that was kept.`);
        else
          terminal.print(
            'Without --since, a log that was replaced by an older one of its own cannot be told from the newest.',
            'dim',
          );
        if (waiting > 0)
          terminal.print(
            `${entries(waiting)} from ${size - waiting} on: waiting for a signature, and nobody vouches for them.`,
            'bad',
          );
        terminal.print(`VERIFIED: log ${log}, ${entries(size - waiting)}, the last of ${time}`, 'good');
        return EXIT.ok;
      }),
    );
}

function signCommand(): Command {
  return withKeyholder(
    newCommand(
      'sign',
      'sign its head, where entries wait for a signature',
      `${EXAMPLE} sign --keyholder /run/bootseal-keyholder/socket`,
    )
      .option('--state <dir>', 'where releases and channels live', stateAt)
      .option(
        '--snapshot-key <dir>',
        'a folder as "init" makes it; default: a key of the state’s own',
        folder,
      ),
  ).action(
    act<Options>(async ({ terminal }, options) => {
      const { entryInWords } = await import('../../store/log-waiting.ts');
      const keyholder = await keyholderOf(options);
      const { state, snapshotKey } = options;
      const signed = keyholder
        ? await keyholder.checkpoint()
        : await signHere(demandState(state), snapshotKey);
      const lines = signed.entries.map((entry) => (typeof entry === 'string' ? entry : entryInWords(entry)));
      const { size, signed: count } = signed;
      terminal.json({ size, signed: count, entries: lines });
      for (const line of lines) terminal.print(line);
      if (count > lines.length) terminal.print(`and ${entries(count - lines.length)} more`, 'dim');
      if (count === 0) terminal.print(`Nothing waits: all of ${entries(size)} are signed.`);
      else terminal.print(`Signed: ${entries(size)}, ${count} of which had waited.`, 'good');
      return EXIT.ok;
    }),
  );
}

/** Loaded when it is called: whoever only reads a log waits for no signer. */
async function signHere(state: string, snapshotKey: string | undefined): Promise<SignedLog> {
  const { signLog } = await import('../../publish/log-sign.ts');
  return signLog({ state, ...(snapshotKey === undefined ? {} : { snapshotKey }) });
}

function told(terminal: Terminal, proven: ProvenEntry): number {
  terminal.json({ verified: true, ...provenJson(proven) });
  terminal.print(`VERIFIED: ${provenText(proven)}`, 'good');
  return EXIT.ok;
}

function provenText({ entry, checkpoint }: ProvenEntry): string {
  const about = entry.release === undefined ? '' : ` ${entry.release}`;
  return `${entry.act}${about} of ${isoSeconds(entry.time)} is entry ${entry.index} of ${checkpoint.size} of log ${checkpoint.log}`;
}

function provenJson({ entry, checkpoint }: ProvenEntry): object {
  return { entry: entryJson(entry), log: checkpoint.log, size: checkpoint.size, root: checkpoint.root };
}

function entryJson({ time, clock, ...entry }: LogEntry): object {
  return {
    ...entry,
    time: isoSeconds(time),
    ...(clock === undefined ? {} : { clock: isoSeconds(clock) }),
  };
}

function actCell({ act: kind, refusal }: LogEntry): Cell {
  return refusal ? { text: kind, style: 'bad' } : { text: kind };
}

function remark(
  { act: kind, refusal, rollbackFrom, counter, clock, origin, file, signers }: LogEntry,
  signed: boolean,
): string {
  return [
    refusal && `${refusal.message} [${refusal.code}]`,
    counter === undefined ? undefined : `snapshot ${counter}`,
    rollbackFrom && `back from ${rollbackFrom}`,
    kind === 'promote' ? `by ${signers.join(', ')}` : undefined,
    file?.path,
    origin && (kind === 'token' ? origin : `from ${origin}`),
    signed ? undefined : 'waiting for a signature',
    clock === undefined ? undefined : `the clock said ${isoSeconds(clock)}`,
  ]
    .filter((part) => part !== undefined)
    .join('; ');
}

function entries(count: number): string {
  return count === 1 ? '1 entry' : `${count} entries`;
}

function count(text: string): number {
  if (/^(0|[1-9][0-9]{0,14})$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Write a whole number.');
}
