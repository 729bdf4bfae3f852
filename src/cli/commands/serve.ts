import { isIP } from 'node:net';
import { type Command, InvalidArgumentError } from 'commander';
import { UsageError } from '../../errors/usage.ts';
import type { Configuration } from '../../server/configuration.ts';
import type { DhcpOffer } from '../../server/proxy-dhcp.ts';
import type { Serving } from '../../server/serve.ts';
import { isBucketState } from '../../store/s3/location.ts';
import { act, folder, folders, newCommand, port, stateAt } from '../context.ts';
import { EXIT } from '../exit.ts';
import { listenFds } from '../listen-fds.ts';
import { SUMMARIES } from '../summaries.ts';
import type { Cell } from '../table.ts';
import { SOON_READ, treeProgress } from '../tree-progress.ts';

interface Options {
  readonly tree?: string;
  readonly state?: string;
  readonly channel?: string;
  readonly anchors?: readonly string[];
  readonly policy?: string;
  readonly config?: string;
  readonly loaders?: string;
  readonly cache?: string;
  readonly cacheSize?: number;
  readonly receipts?: string;
  readonly bind?: readonly string[];
  readonly httpPort: number;
  readonly tftpPort: number;
  readonly tftp: boolean;
  readonly tftpSinglePort?: boolean;
  readonly nbdPort: number;
  readonly nbd: boolean;
  readonly proxydhcp?: readonly string[];
  readonly keyholder?: string;
  readonly keyholderUser?: string;
}

export function serveCommand(): Command {
  return newCommand(
    'serve',
    SUMMARIES.serve,
    'bootseal serve --tree out/netboot --anchors keys/anchors --bind 10.0.0.1 --loaders loaders',
  )
    .option('--tree <dir>', 'a sealed tree', folder)
    .option('--state <dir>', 'or what "bootseal publish" made: the server follows its channels', stateAt)
    .option(
      '--cache <dir>',
      'with a state in a bucket: where what was fetched is kept; default: a temporary folder',
    )
    .option('--cache-size <mib>', 'with a state in a bucket: how much of it', mebibytes)
    .option('--receipts <dir>', 'where receipts of boots are kept; default: STATE/boots')
    .option('--channel <name>', 'with --state: the channel whose release machines boot by default')
    .option(
      '--anchors <dir>',
      'what its seals must lead to, once for each CA; without it everything is labelled "unanchored"',
      folders,
    )
    .option('--policy <file>', 'dates, pins and revocations of your own (TOML); a state has its own')
    .option('--config <file>', 'the operator’s configuration (TOML)')
    .option('--loaders <dir>', 'a folder of loaders to offer; default: STATE/loaders, where that is', folder)
    .option(
      '--bind <address>',
      'an IP address, once for each; default: 127.0.0.1, or where --proxydhcp sends machines',
      addresses,
    )
    .option('--http-port <n>', '0: any free one', port, 8080)
    .option('--tftp-port <n>', '0: any free one', port, 69)
    .option('--no-tftp', 'leave TFTP out')
    .option('--tftp-single-port', 'TFTP answers from the port that was asked, for clients behind NAT')
    .option('--nbd-port <n>', '0: any free one', port, 10_809)
    .option('--no-nbd', 'leave NBD out')
    .option(
      '--proxydhcp <interface>',
      'tell machines on this network what to boot, beside its DHCP server; once for each interface',
      interfaces,
    )
    .option(
      '--keyholder <socket>',
      'with --state: whom to ask for signatures when what is written about machines has changed, and for what is asked for by the API',
    )
    .option('--keyholder-user <name|uid>', 'the user that it runs as, where that is neither root nor you')
    .action(
      act<Options>(async ({ terminal, openLog }, options) => {
        const { serve } = await import('../../server/serve.ts');
        const { DEFAULT_CONFIGURATION, readConfiguration } = await import('../../server/configuration.ts');
        const { tree, state, channel } = options;
        if ((tree === undefined) === (state === undefined))
          throw new UsageError('Name either --tree or --state.');
        if (tree !== undefined && channel !== undefined) throw new UsageError('--channel needs --state.');
        if (state !== undefined && options.anchors === undefined)
          throw new UsageError('--state needs --anchors.');
        const keyholder = await keyholderOfServer(options);
        if (keyholder && state === undefined) throw new UsageError('--keyholder needs --state.');
        const { cache: place, cacheSize } = options;
        if (
          (place !== undefined || cacheSize !== undefined) &&
          !(state !== undefined && isBucketState(state))
        )
          throw new UsageError('--cache and --cache-size are for a state in a bucket (s3://BUCKET/PREFIX).');
        const configuration: Partial<Configuration> =
          options.config === undefined ? {} : await readConfiguration(options.config);
        const sockets = listenFds(process.env, process.pid);
        const bar = treeProgress(terminal, `verifying ${tree ?? state}`, SOON_READ);
        const serving = await serve({
          ...(tree === undefined ? {} : { tree }),
          ...(state === undefined ? {} : { state }),
          ...(channel === undefined ? {} : { channel }),
          ...(options.anchors === undefined ? {} : { anchors: options.anchors }),
          ...(options.policy === undefined ? {} : { policy: options.policy }),
          configuration: {
            ...configuration,
            cache: {
              ...(configuration.cache ?? DEFAULT_CONFIGURATION.cache),
              ...(place === undefined ? {} : { folder: place }),
              ...(cacheSize === undefined ? {} : { size_mib: cacheSize }),
            },
            ...(options.tftpSinglePort ? { tftp_single_port: true } : {}),
          },
          ...(options.loaders === undefined ? {} : { loaders: options.loaders }),
          ...(options.receipts === undefined ? {} : { receipts: options.receipts }),
          ...(options.bind === undefined ? {} : { bind: options.bind }),
          httpPort: options.httpPort,
          tftpPort: options.tftp ? options.tftpPort : false,
          nbdPort: options.nbd ? options.nbdPort : false,
          sockets,
          ...(options.proxydhcp === undefined ? {} : { proxyDhcp: { interfaces: options.proxydhcp } }),
          ...(keyholder ? { signer: keyholder } : {}),
          log: await openLog(),
          onProgress: bar.update,
        }).finally(bar.stop);
        const { release, anchored, url, http, https, tftp, nbd, syslog, dhcp } = serving;
        terminal.json({
          ...{ release, anchored, url, http, https: https ?? null },
          ...{ tftp: tftp ?? null, nbd: nbd ?? null, syslog: syslog ?? null, dhcp: dhcp ?? null },
        });
        const listening = [http, https, tftp, nbd, syslog].flatMap((where) => where?.urls ?? []).join(', ');
        terminal.print(`${release} on ${listening}${anchored ? '' : ' (unanchored)'}`);
        if (dhcp !== undefined)
          terminal.table(['DHCP ON', 'KIND OF CLIENT', 'IS TOLD TO LOAD'], dhcp.map(offerRow));
        if (dhcp && !dhcp.some(({ loads = '' }) => /\.(efi|kpxe|pxe|0)$/.test(loads)))
          terminal.print(
            'no-loader: nothing is served that such a client starts; put loaders into STATE/loaders, or name their folder with --loaders.',
            'bad',
          );
        await untilStopped(serving);
        return EXIT.ok;
      }),
    );
}

function offerRow({ interface: name, client, loads, silent }: DhcpOffer): Cell[] {
  return [
    { text: name },
    { text: client },
    loads === undefined ? { text: `nothing (${silent})`, style: 'dim' } : { text: loads },
  ];
}

/** Gathers what `--proxydhcp` names. */
function interfaces(name: string, before: readonly string[] = []): readonly string[] {
  return [...before, name];
}

function mebibytes(text: string): number {
  const size = Number(text);
  if (/^[1-9][0-9]{1,9}$/.test(text) && size >= 64) return size;
  throw new InvalidArgumentError('A whole number of MiB, 64 or more.');
}

function addresses(text: string, before: readonly string[] = []): readonly string[] {
  if (isIP(text) === 0) throw new InvalidArgumentError('That is not an IP address.');
  return [...before, text];
}

/** Whoever signs is another process: nothing of it is loaded where nobody asks for it. */
async function keyholderOfServer({ keyholder, keyholderUser }: Options) {
  if (keyholder === undefined && keyholderUser === undefined) return undefined;
  const { keyholderOf } = await import('../keyholder-options.ts');
  return keyholderOf({
    ...(keyholder === undefined ? {} : { keyholder }),
    ...(keyholderUser === undefined ? {} : { keyholderUser }),
  });
}

/** Waits for SIGINT or SIGTERM and drains; a second signal ends the wait for slow clients. */
export async function untilStopped(serving: Serving): Promise<void> {
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
  });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void serving.close(0));
  await serving.close();
}
