import { type Command, InvalidArgumentError } from 'commander';
import { UsageError } from '../../errors/usage.ts';
import type { MirrorVerdict } from '../../formats/records/mirror-health.ts';
import type { AuditDepth, AuditReport } from '../../mirrors/audit/audit.ts';
import type { MirrorRow } from '../../mirrors/audit/audit-mirror.ts';
import type { Sampled } from '../../mirrors/audit/audit-release.ts';
import { act, channelName, file, folders, newCommand } from '../context.ts';
import { EXIT } from '../exit.ts';
import { octetsArgument } from '../octets-argument.ts';
import type { Style } from '../table.ts';
import { octets, type Terminal } from '../terminal.ts';
import { channelReleaseJson } from './publish.ts';

interface Options {
  readonly anchors: readonly string[];
  readonly channel: string;
  readonly snapshotCert?: string;
  readonly policy?: string;
  readonly config?: string;
  readonly freshness?: boolean;
  readonly complete?: boolean;
  readonly sample: number;
  readonly range: number;
  readonly tampered: number;
  readonly lag: number;
  readonly connections: number;
  readonly perHost: number;
  readonly maxBytes?: number;
  readonly slowRate: number;
  readonly slowAfter: number;
  readonly allowPrivate?: boolean;
  readonly out?: string;
}

const STYLES: Readonly<Record<MirrorVerdict, Style>> = {
  verified: 'good',
  stale: 'bad',
  drifted: 'bad',
  slow: 'bad',
  unreachable: 'bad',
  unfinished: 'bad',
};

export function mirrorAuditCommand(): Command {
  return newCommand(
    'audit',
    'look at mirrors from outside: which hold what was signed, which are stale, drifted, slow or unreachable',
    'bootseal mirror audit https://a.example.org/netboot/ https://b.example.org/ --channel stable --anchors keys/anchors',
  )
    .argument(
      '[url...]',
      'a server of Bootseal, or a folder with "channels" and "releases" on any web server',
    )
    .requiredOption('--anchors <dir>', 'what to start from, with snapshot.crt; once for each CA', folders)
    .requiredOption('--channel <name>', 'the channel whose releases are looked at', channelName)
    .option(
      '--snapshot-cert <file>',
      'the snapshot key’s certificate; default: snapshot.crt among the anchors',
      file,
    )
    .option('--policy <file>', 'dates, pins and revocations of your own (TOML)', file)
    .option('--config <file>', 'audit the [[mirrors]] of this configuration of the server, too', file)
    .option('--freshness', 'the snapshot and its seal alone')
    .option('--complete', 'read and hash every byte')
    .option('--sample <share>', 'how much of each image is drawn, as 1% or 0.01', share, 0.01)
    .option('--range <size>', 'bytes of the ranges that are drawn, as 32Ki', octetsArgument, 32 * 1024)
    .option(
      '--tampered <share>',
      'say how likely it is that changing this share of an image shows',
      share,
      0.01,
    )
    .option('--lag <hours>', 'how far behind the newest a mirror may be', hours, 0)
    .option('--connections <n>', 'connections at once', count, 32)
    .option('--per-host <n>', 'connections at once to one host', count, 4)
    .option(
      '--max-bytes <size>',
      'bytes that all mirrors together may send, as 2G; default: no limit',
      octetsArgument,
    )
    .option('--slow-rate <size>', 'bytes a second that a mirror must send', octetsArgument, 16 * 1024)
    .option('--slow-after <seconds>', 'how long one is waited for before it is called slow', count, 10)
    .option('--allow-private', 'redirects may lead to this machine and to private networks')
    .option('--out <file>', 'write what a server reads that sends machines to mirrors')
    .action(
      act<Options>(async ({ terminal, now }, options, ...words) => {
        const { audit, encodeHealth } = await import('../../mirrors/audit/audit.ts');
        const { writeOutput } = await import('../../release/write-output.ts');
        const { readConfiguration } = await import('../../server/configuration.ts');
        if (options.freshness && options.complete)
          throw new UsageError('--freshness and --complete are two depths: name one.');
        const { anchors, channel, config, snapshotCert, policy, maxBytes } = options;
        const configured = config === undefined ? [] : (await readConfiguration(config)).mirrors;
        const named = words.flat();
        const mirrors = [...named, ...configured.map(({ url }) => url).filter((url) => !named.includes(url))];
        const bar =
          mirrors.length > 1
            ? terminal.progress(`auditing ${mirrors.length} mirrors`, mirrors.length, String)
            : undefined;
        const report = await audit({
          mirrors,
          channel,
          anchors,
          depth: depthOf(options),
          share: options.sample,
          rangeBytes: options.range,
          tampered: options.tampered,
          lagMs: options.lag * 3_600_000,
          connections: options.connections,
          perHost: options.perHost,
          slowRate: options.slowRate,
          slowAfterMs: options.slowAfter * 1000,
          allowPrivate: options.allowPrivate === true,
          now,
          ...(maxBytes === undefined ? {} : { maxBytes }),
          ...(snapshotCert === undefined ? {} : { snapshotCertificates: snapshotCert }),
          ...(policy === undefined ? {} : { policy }),
          ...(bar ? { onProgress: (done) => bar.update(done) } : {}),
        }).finally(() => bar?.stop());
        if (options.out !== undefined) await writeOutput(options.out, encodeHealth(report));
        terminal.json({
          ...{ channel, depth: report.depth, newest: report.newest },
          mirrors: report.rows.map((row) => ({ ...row, releases: row.releases.map(channelReleaseJson) })),
        });
        show(terminal, report);
        return statusOf(report);
      }),
    );
}

function depthOf({ freshness, complete }: Options): AuditDepth {
  return freshness ? 'freshness' : complete ? 'complete' : 'sampled';
}

/** 0: all are verified. 1: one at least is stale or drifted. 3: else one at least could not be judged. */
function statusOf({ rows }: AuditReport): number {
  if (rows.every(({ verdict }) => verdict === 'verified')) return EXIT.ok;
  return rows.some(({ verdict }) => verdict === 'stale' || verdict === 'drifted') ? EXIT.refused : EXIT.fault;
}

function show(terminal: Terminal, { rows, channel, newest }: AuditReport): void {
  terminal.table(
    ['mirror', 'verdict', 'snapshot', 'release', 'read', 'time', 'why'],
    rows.map((row) => [
      { text: row.url },
      { text: verdictText(row), style: STYLES[row.verdict] },
      { text: row.counter === undefined ? '–' : String(row.counter) },
      { text: [...new Set(row.releases.map(({ release }) => release))].join(', ') || '–' },
      { text: octets(row.bytes) },
      { text: `${(row.durationMs / 1000).toFixed(1)} s` },
      { text: row.why, style: 'dim' },
    ]),
  );
  terminal.print();
  for (const row of rows)
    for (const { path, block, message } of row.drifted.slice(row.verdict === 'drifted' ? 1 : 0))
      terminal.print(`${row.url}${path}${block === undefined ? '' : `, block ${block}`}: ${message}`, 'bad');
  const told = new Set(rows.flatMap(({ sampled }) => sampled.map(oddsText)));
  for (const text of told) terminal.print(text, 'dim');
  const unsampled = new Set(rows.flatMap((row) => row.unsampled));
  if (unsampled.size > 0)
    terminal.print(`Not read but for their length, on some mirror: ${[...unsampled].join(', ')}.`, 'dim');
  const unjudged = new Set(rows.flatMap((row) => row.unjudged));
  if (unjudged.size > 0)
    terminal.print(`Seals that only the whole file can tell about: ${[...unjudged].join(', ')}.`, 'dim');
  const good = rows.filter(({ verdict }) => verdict === 'verified').length;
  const all = rows.length;
  const what = `of ${all} ${all === 1 ? 'mirror' : 'mirrors'} of ${channel}${newest === undefined ? '' : `, whose newest snapshot is ${newest}`}`;
  if (good === all) terminal.print(`VERIFIED: all ${what}.`, 'good');
  else terminal.refused(`NOT VERIFIED: ${all - good} ${what}.`);
}

function verdictText({ verdict, behindDays, endedDays }: MirrorRow): string {
  if (verdict !== 'stale') return verdict;
  const days = Math.max(behindDays, endedDays);
  return days === 0 ? 'stale by hours' : `stale by ${days} ${days === 1 ? 'day' : 'days'}`;
}

function oddsText({ path, drawn, ranges, rangeBlocks, blocks, tampered, caught }: Sampled): string {
  const part = `${drawn} of ${ranges} ranges of ${octets(rangeBlocks * 4096)} of ${path} (${octets(blocks * 4096)})`;
  return `${part}: a mirror that changed ${percent(tampered)} of the blocks is caught with ${percent(caught)} at least.`;
}

/** Rounded down: no chance is made better than it is. */
function percent(part: number): string {
  const thousandth = Math.floor(part * 100_000) / 1000;
  return `${thousandth >= 1 ? Math.floor(thousandth * 10) / 10 : thousandth} %`;
}

function share(text: string): number {
  const [, number = '', sign] = /^(\d{1,3}(?:\.\d{1,6})?)(%?)$/.exec(text) ?? [];
  const value = Number(number) / (sign === '%' ? 100 : 1);
  if (number === '' || value <= 0 || value > 1)
    throw new InvalidArgumentError('A share is 1%, or 0.01, and at most all.');
  return value;
}

function count(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new InvalidArgumentError('That is a number from 1 on.');
  return Number(text);
}

function hours(text: string): number {
  if (!/^\d{1,5}$/.test(text)) throw new InvalidArgumentError('That is a number of hours.');
  return Number(text);
}
