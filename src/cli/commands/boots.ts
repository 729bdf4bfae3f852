import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, InvalidArgumentError } from 'commander';
import { BOOT_OUTCOMES, type BootOutcome, isFailure } from '../../boots/boot-outcome.ts';
import type { BootQuery } from '../../boots/boot-query.ts';
import type { Receipt } from '../../boots/receipt.ts';
import type { Receipts } from '../../boots/receipts.ts';
import type { SegmentShelf } from '../../boots/segment-shelf.ts';
import { adviceOf, JOIN_WORDS, OUTCOME_WORDS, STAGE_WORDS } from '../../boots/words.ts';
import { UsageError } from '../../errors/usage.ts';
import { claimedMac } from '../../formats/net/machine-claims.ts';
import { isoSeconds } from '../../formats/records/lines.ts';
import { TRUST_LEVELS } from '../../release/trust-level.ts';
import { act, folder, newCommand, stateAt, time } from '../context.ts';
import { EXIT } from '../exit.ts';
import { Interrupted, interruptible } from '../interrupt.ts';
import { SUMMARIES } from '../summaries.ts';
import type { Cell } from '../table.ts';
import type { Terminal } from '../terminal.ts';

interface Options {
  readonly state?: string;
  readonly receipts?: string;
  readonly failed?: boolean;
  readonly outcome?: BootOutcome;
  readonly release?: string;
  readonly since?: number;
  readonly n: number;
  readonly follow?: boolean;
}

const DAY = 86_400_000;
/** Milliseconds between two looks at what was written: in a folder, and in a bucket, which counts requests. */
const FOLLOW_MS = 500;
const FOLLOW_BUCKET_MS = 5_000;

export function bootsCommand(): Command {
  return newCommand(
    'boots',
    SUMMARIES.boots,
    'bootseal boots --state /srv/bootseal --since 1d --failed\nbootseal boots 52:54:00:12:34:56 --state /srv/bootseal',
  )
    .argument('[machine]', 'a card’s address (MAC), or the id of one boot')
    .option('--state <dir>', 'where releases and channels live', stateAt)
    .option('--receipts <dir>', 'or what "bootseal serve --receipts" was given', folder)
    .option('--failed', 'those that were refused, failed or stalled')
    .option('--outcome <outcome>', `those that ended so: ${BOOT_OUTCOMES.join(', ')}`, outcome)
    .option('--release <name>', 'of this release, NAME/VERSION')
    .option(
      '--since <time>',
      'that began since: 30m, 12h, 7d, or a time; default: 7d, of one machine all',
      ago,
    )
    .option('-n <number>', 'at most so many, the newest', count, 50)
    .option('--follow', 'goes on: each boot once more whenever something of it is written down')
    .action(
      act<Options>(async ({ terminal, now, json }, options, word) => {
        const { decodeBootId, receiptFacts } = await import('../../boots/receipt.ts');
        const { Receipts } = await import('../../boots/receipts.ts');
        const where = await receiptsOf(options);
        const receipts = new Receipts(where);
        if (word !== undefined && decodeBootId(word)) {
          const { failed, outcome: wanted, release, since: from, follow: on } = options;
          if (failed || on || [wanted, release, from].some((each) => each !== undefined))
            throw new UsageError(
              'An id names one boot: --failed, --outcome, --release, --since and --follow choose among several.',
            );
          return showOne(terminal, receipts, word);
        }
        const machine = word === undefined ? undefined : claimedMac(word);
        if (word !== undefined && machine === undefined)
          throw new UsageError(
            `"${word}" is no address of a card, such as 52:54:00:12:34:56, and no id of a boot.`,
          );
        const since =
          options.since === undefined ? undefined : options.since < 0 ? now + options.since : options.since;
        const query: BootQuery = {
          ...(machine === undefined
            ? { since: since ?? now - 7 * DAY }
            : since === undefined
              ? {}
              : { since }),
          ...(machine === undefined ? {} : { machine }),
          ...(options.failed ? { failed: true } : {}),
          ...(options.outcome === undefined ? {} : { outcome: options.outcome }),
          ...(options.release === undefined ? {} : { release: options.release }),
        };
        await receipts.read(query.since);
        const found = await receipts.find(query, options.n);
        const counts = receipts.count(query);
        if (options.follow) {
          terminal.print(lineOf(HEADER), 'bold');
          for (const receipt of found.toReversed()) await tellOne(terminal, receipt, json);
          const pause = typeof where === 'string' ? FOLLOW_MS : FOLLOW_BUCKET_MS;
          return follow(terminal, receipts, query, json, pause);
        }
        terminal.json({ boots: found.map(receiptFacts), total: counts.total, outcomes: counts.byOutcome });
        if (found.length === 0) terminal.print('No boot is on record that fits.');
        else terminal.table(HEADER, found.map(rowOf));
        for (const line of notesOf(found)) terminal.print(line, 'dim');
        if (counts.total > 0) terminal.print(summaryOf(counts.total, counts.byOutcome, found.length));
        return EXIT.ok;
      }),
    );
}

async function receiptsOf({ state, receipts }: Options): Promise<string | SegmentShelf> {
  const { demandState } = await import('../../store/state.ts');
  if (receipts !== undefined && state === undefined) return receipts;
  if (state === undefined || receipts !== undefined)
    throw new UsageError(
      'Say whose boots: --state DIR, or --receipts DIR where a server keeps them elsewhere.',
    );
  await demandState(state);
  const { bucketOf } = await import('../../store/s3/buckets.ts');
  const bucket = bucketOf(state);
  if (!bucket) return join(state, 'boots');
  const { BucketShelf } = await import('../../boots/bucket-shelf.ts');
  return new BucketShelf(bucket);
}

async function showOne(terminal: Terminal, receipts: Receipts, boot: string): Promise<number> {
  const { decodeBootId, receiptFacts } = await import('../../boots/receipt.ts');
  await receipts.read((decodeBootId(boot)?.began ?? 0) - DAY);
  const receipt = await receipts.get(boot);
  if (!receipt) throw new UsageError(`There is no boot ${boot} on record here.`);
  terminal.json(receiptFacts(receipt));
  terminal.table(HEADER, [rowOf(receipt)]);
  const advice = adviceOf(receipt);
  terminal.print();
  if (receipt.message !== undefined) terminal.print(receipt.message);
  if (advice !== undefined) terminal.print(advice);
  if (receipt.incomplete !== undefined) terminal.print(receipt.incomplete, 'bad');
  if ([receipt.message, advice, receipt.incomplete].some((text) => text !== undefined)) terminal.print();
  terminal.table(
    ['STAGE', 'BEGAN', 'TOOK', 'BYTES', 'ENDED', 'JOINED', 'WHAT'],
    receipt.stages.map(({ stage, begin, end, bytes, byMirror, outcome: how, join: by, what }) => [
      { text: stage },
      { text: new Date(begin).toISOString().slice(11) },
      { text: end === undefined ? '–' : seconds(end - begin) },
      { text: bytesText(bytes, byMirror) },
      { text: how ?? 'goes on' },
      { text: JOIN_WORDS[by], style: 'dim' },
      { text: what },
    ]),
  );
  for (const line of receipt.lines) terminal.print(`  ${line}`, 'dim');
  return EXIT.ok;
}

/** What left from the server, and what a mirror was to send. */
function bytesText(bytes: number, byMirror = 0): string {
  const texts = [
    ...(bytes === 0 ? [] : [bytes.toLocaleString('en')]),
    ...(byMirror === 0 ? [] : [`${byMirror.toLocaleString('en')} by mirror`]),
  ];
  return texts.join(' + ') || '–';
}

async function follow(
  terminal: Terminal,
  receipts: Receipts,
  query: BootQuery,
  json: boolean,
  pause: number,
): Promise<number> {
  const { fitsQuery } = await import('../../boots/boot-query.ts');
  try {
    await interruptible(async (stop, ended) => {
      for (;;) {
        await sleep(pause, undefined, { signal: ended }).catch(() => stop());
        const told = await receipts.read(query.since);
        for (const boot of told) {
          const receipt = await receipts.get(boot);
          if (receipt && fitsQuery(receipt, query)) await tellOne(terminal, receipt, json);
        }
      }
    });
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
  }
  return EXIT.ok;
}

/** One line, as it comes: nobody knows how wide what follows will be. */
async function tellOne(terminal: Terminal, receipt: Receipt, json: boolean): Promise<void> {
  if (json) {
    const { receiptFacts } = await import('../../boots/receipt.ts');
    terminal.jsonLine(receiptFacts(receipt));
    return;
  }
  const row = rowOf(receipt).map(({ text }) => text);
  terminal.print(lineOf(row), isFailure(receipt.outcome) ? 'bad' : undefined);
}

/** Characters of each column but the last. */
const WIDTHS = [17, 20, 17, 20, 18, 9, 26];

function lineOf(cells: readonly string[]): string {
  return cells
    .map((cell, column) => cell.padEnd(WIDTHS[column] ?? 0))
    .join('  ')
    .trimEnd();
}

const HEADER = ['BOOT', 'BEGAN', 'MACHINE', 'RELEASE', 'OUTCOME', 'CAME TO', 'LOADER', 'WHY'];

function rowOf(receipt: Receipt): Cell[] {
  const { boot, began, machine, release, outcome: how, stage, trust, code, message, addresses } = receipt;
  const style = isFailure(how) ? 'bad' : how === 'verified' ? 'good' : undefined;
  return [
    { text: boot },
    { text: isoSeconds(began) },
    { text: machine === '' ? `? ${addresses[0] ?? ''}`.trim() : machine },
    { text: release ?? '–' },
    { text: OUTCOME_WORDS[how], ...(style === undefined ? {} : { style }) },
    { text: stage },
    { text: trust === undefined ? '–' : TRUST_LEVELS[trust] },
    {
      text:
        code === undefined
          ? how === 'stalled'
            ? `it ${STAGE_WORDS[stage]}, and was not heard of again`
            : ''
          : `${code}: ${brief(message ?? '')}`,
    },
  ];
}

function notesOf(receipts: readonly Receipt[]): string[] {
  const guessed = receipts.some(({ machine }) => machine === '');
  return guessed
    ? ['? is a machine that never said who it is: its stages are joined by its address alone.']
    : [];
}

function summaryOf(total: number, by: Readonly<Record<BootOutcome, number>>, shown: number): string {
  const parts = BOOT_OUTCOMES.filter((each) => by[each] > 0).map(
    (each) => `${by[each]} ${OUTCOME_WORDS[each]}`,
  );
  const left = shown < total ? `; ${shown === 1 ? 'the newest is' : `the newest ${shown} are`} shown` : '';
  return `${total} ${total === 1 ? 'boot' : 'boots'}: ${parts.join(', ')}${left}. What machines say of themselves is claimed.`;
}

function brief(text: string): string {
  return text.length > 100 ? `${text.slice(0, 99)}…` : text;
}

function seconds(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** Milliseconds since 1970, or, below 0, from now. */
function ago(text: string): number {
  const [, number, unit = ''] = /^([1-9][0-9]{0,5})(m|h|d)$/.exec(text) ?? [];
  if (number === undefined) {
    try {
      return time(text);
    } catch {
      throw new InvalidArgumentError('It is 30m, 12h, 7d, 2026-11-01, 2026-11-01T00:00:00Z or @SECONDS.');
    }
  }
  return -Number(number) * ({ m: 60_000, h: 3_600_000, d: DAY }[unit] ?? DAY);
}

function count(text: string): number {
  if (!/^[1-9][0-9]{0,5}$/.test(text)) throw new InvalidArgumentError('It is a number from 1 on.');
  return Number(text);
}

function outcome(text: string): BootOutcome {
  const found = BOOT_OUTCOMES.find((each) => each === text);
  if (!found) throw new InvalidArgumentError(`It is one of ${BOOT_OUTCOMES.join(', ')}.`);
  return found;
}
