import type { Command } from 'commander';
import type { ArchPullResult } from '../../mirrors/arch/arch-pull.ts';
import type { ArchRow } from '../../mirrors/arch/arch-release.ts';
import { day } from '../../trust/policy.ts';
import { act, file, files, folder, newCommand, time } from '../context.ts';
import { EXIT, statusOf } from '../exit.ts';
import { interruptible } from '../interrupt.ts';
import { octetsArgument } from '../octets-argument.ts';
import { count, readOr, showMirrors, words } from '../pulling.ts';
import type { Cell } from '../table.ts';
import { octets, type Terminal } from '../terminal.ts';

interface Options {
  readonly out: string;
  readonly anchors?: string;
  readonly keyring?: readonly string[];
  readonly policy?: string;
  readonly at?: number;
  readonly release?: string;
  readonly kind?: string;
  readonly mirror?: readonly string[];
  readonly parallel?: number;
  readonly limitRate?: number;
  readonly maxRoot?: number;
  readonly allowPrivate?: boolean;
  readonly tlsCa?: string;
}

export function mirrorFetchCommand(): Command {
  return newCommand(
    'fetch',
    'bring a netboot tree of Arch’s own here, judged by Arch’s own signatures; ready for "seal"',
    'bootseal mirror fetch https://mirror.example/iso/ --out arch --anchors arch-anchors --keyring arch.gpg',
  )
    .argument(
      '<source>',
      'what holds VERSION/ or netboot-VERSION/, and latest: http(s)://HOST/PATH/, rsync://HOST/MODULE/, s3://BUCKET/PREFIX, or a folder',
    )
    .requiredOption('--out <dir>', 'gets VERSION/, VERSION.json and the floor; made where it does not exist')
    .option(
      '--anchors <dir>',
      'Arch’s codesigning CA as ca.crt; perhaps codesign.crt and pubring.gpg',
      folder,
    )
    .option(
      '--keyring <file>',
      'a curated OpenPGP keyring, as "keyring build" makes it; may stand several times',
      files,
    )
    .option('--mirror <source>', 'another that has the same; may stand several times', words)
    .option('--release <version>', 'this version in the place of the latest')
    .option('--kind <name>', 'what promotions call this kind of release; netboot by default')
    .option(
      '--at <time>',
      'the time at which certificates, keys and algorithms are judged; default: now',
      time,
    )
    .option('--policy <file>', 'dates, pins and revocations of your own (TOML)', file)
    .option('--max-root <bytes>', 'what a root image may have, as 2G; 4 GiB by default', octetsArgument)
    .option('--parallel <n>', 'files at once; 4 by default', count)
    .option('--limit-rate <rate>', 'bytes a second, as 500k, 20M', octetsArgument)
    .option('--allow-private', 'follow redirects to this machine and to private networks')
    .option('--tls-ca <file>', 'certificates that TLS trusts in the place of the system’s', file)
    .action(
      act<Options>(async ({ terminal, now }, options, source = '') => {
        const { pullArch } = await import('../../mirrors/arch/arch-pull.ts');
        const { mirror = [], keyring, tlsCa, release, ...same } = options;
        let bar: ReturnType<Terminal['progress']> | undefined;
        let size = 0;
        const result = await interruptible(
          async (_stop, signal) =>
            pullArch({
              ...same,
              ...{ sources: [source, ...mirror], now, signal },
              ...(keyring === undefined ? {} : { keyrings: keyring }),
              ...(release === undefined ? {} : { version: release }),
              ...(tlsCa === undefined ? {} : { tlsCa: await readOr(tlsCa) }),
              onNote: (text) => terminal.note(text),
              onProgress: (done, total) => {
                bar ??= terminal.progress('fetching', total);
                if (total !== size) bar.grow(total);
                size = total;
                bar.update(done);
              },
            }),
          () => 'what arrived is kept, and the same command goes on with it',
        ).finally(() => bar?.stop());
        const { refusal, mirrors, ...rest } = result;
        terminal.json({
          fetched: refusal === undefined,
          ...{ version: rest.version, outcome: rest.outcome, tree: rest.folder },
          refusal: refusal?.toJSON(),
          record: rest.record,
          mirrors: mirrors.map(({ refusal: no, ...row }) => ({ ...row, refusal: no?.toJSON() })),
          ...{ octets: rest.fetched, resumed: rest.resumed },
        });
        showMirrors(terminal, mirrors);
        return show(terminal, result, options.at ?? now, options.at !== undefined);
      }),
    );
}

function show(
  terminal: Terminal,
  { refusal, version, folder: tree, record, fetched }: ArchPullResult,
  at: number,
  onWord: boolean,
): number {
  const when = `Judged as of ${day(at)}${onWord ? ', on your word' : ''}.`;
  if (refusal) {
    terminal.refused(`REFUSED: ${refusal.message} [${refusal.code}]`);
    if (OF_TIME.has(refusal.code))
      terminal.print(
        `${when} "--at TIME" judges it as of another time, on your word; machines go by their own clocks.`,
      );
    return statusOf(refusal);
  }
  if (!record) {
    terminal.print(`${version} is here already: ${tree}. Nothing was fetched.`, 'good');
    return EXIT.ok;
  }
  terminal.table(['file', 'size', 'verified by'], record.files.map(cells));
  terminal.print();
  for (const { name, signer } of record.lists)
    terminal.print(`${name}: ${signer === undefined ? 'nobody signed it' : `signed by ${signer}`}.`, 'dim');
  const nobody = record.files.filter(({ signed }) => !signed).map(({ path }) => path);
  if (nobody.length > 0) terminal.print(`Nobody signed ${nobody.join(', ')}.`);
  if (record.files.some(({ path, signed }) => path === 'arch/version' && !signed))
    terminal.print(
      `That this is ${version} is the mirrors’ word: no signature says which version its file is of.`,
    );
  terminal.print(when, onWord ? 'bad' : 'dim');
  terminal.print(`FETCHED: ${tree}, ${octets(fetched)}; what was verified stands in ${tree}.json.`, 'good');
  return EXIT.ok;
}

/** Where another time may change the verdict. */
const OF_TIME: ReadonlySet<string> = new Set(['expired', 'not-yet-valid', 'weak-algorithm', 'revoked']);

function cells({ path, size, by, unjudged, signed }: ArchRow): Cell[] {
  const said = [
    ...by.map(({ seal, signer, remark }) =>
      [`${signer === '' ? 'sums, unsigned' : signer} (${suffixOf(path, seal)})`, remark]
        .filter(Boolean)
        .join(': '),
    ),
    ...unjudged.map((seal) => `not judged (${suffixOf(path, seal)})`),
  ];
  return [
    { text: path },
    { text: octets(size) },
    signed ? { text: said.join(', ') } : { text: ['nobody', ...said].join(', '), style: 'bad' },
  ];
}

function suffixOf(path: string, seal: string): string {
  return seal.startsWith(path) ? seal.slice(path.length) : seal.slice(seal.lastIndexOf('/') + 1);
}
