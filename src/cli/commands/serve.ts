import type { Command } from 'commander';
import { readConfiguration } from '../../verbs/configuration.ts';
import { type Serving, serve } from '../../verbs/serve.ts';
import { act, newCommand, port } from '../context.ts';
import { EXIT } from '../exit.ts';

interface Options {
  readonly tree: string;
  readonly anchors?: string;
  readonly config?: string;
  readonly loaders?: string;
  readonly bind: string;
  readonly httpPort: number;
  readonly tftpPort: number;
  readonly tftp: boolean;
}

export function serveCommand(): Command {
  return newCommand(
    'serve',
    'verify a sealed tree, then serve it over HTTP and TFTP',
    'bootseal serve --tree out/netboot --anchors keys/anchors --bind 10.0.0.1 --loaders loaders',
  )
    .requiredOption('--tree <dir>', 'a sealed tree')
    .option('--anchors <dir>', 'what its seals must lead to; without it everything is labelled "unanchored"')
    .option('--config <file>', 'the operator’s configuration (TOML)')
    .option('--loaders <dir>', 'a folder of loaders to offer')
    .option('--bind <address>', 'an IP address', '127.0.0.1')
    .option('--http-port <n>', '0: any free one', port, 8080)
    .option('--tftp-port <n>', '0: any free one', port, 69)
    .option('--no-tftp', 'leave TFTP out')
    .action(
      act<Options>(async ({ terminal, log, now }, options) => {
        const serving = await serve({
          tree: options.tree,
          ...(options.anchors === undefined ? {} : { anchors: options.anchors }),
          ...(options.config === undefined ? {} : { configuration: await readConfiguration(options.config) }),
          ...(options.loaders === undefined ? {} : { loaders: options.loaders }),
          bind: options.bind,
          httpPort: options.httpPort,
          tftpPort: options.tftp ? options.tftpPort : false,
          now,
          log,
        });
        const { release, anchored, url, http, tftp } = serving;
        terminal.json({ release, anchored, url, http, tftp: tftp ?? null });
        terminal.print(
          `${release} on ${url}${tftp ? ` and tftp://${tftp.address}:${tftp.port}` : ''}${anchored ? '' : ' (unanchored)'}`,
        );
        await untilStopped(serving);
        return EXIT.ok;
      }),
    );
}

/** Waits for SIGINT or SIGTERM and drains; a second signal ends the wait for slow clients. */
export async function untilStopped(serving: Serving): Promise<void> {
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
  });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void serving.close(0));
  await serving.close();
}
