import type { Command } from 'commander';
import type { Demo } from '../../operations/demo.ts';
import { dnsmasqLines } from '../../operations/dnsmasq.ts';
import { act, newCommand, port } from '../context.ts';
import { EXIT } from '../exit.ts';
import { SUMMARIES } from '../summaries.ts';
import type { Terminal } from '../terminal.ts';
import { showOutcome } from './boot.ts';
import { untilStopped } from './serve.ts';

interface Options {
  readonly state?: string;
  readonly bind: string;
  readonly httpPort?: number;
  readonly once?: boolean;
}

export function demoCommand(): Command {
  return newCommand('demo', SUMMARIES.demo, 'bootseal demo')
    .option('--state <dir>', 'where keys and sample stay; default: below ~/.local/state')
    .option('--bind <address>', 'an IP address', '127.0.0.1')
    .option('--http-port <n>', 'default: 8080, or any free one', port)
    .option('--once', 'end after the boot')
    .action(
      act<Options>(async ({ terminal, openLog, now }, options) => {
        const { demo, demoStateFolder } = await import('../../operations/demo.ts');
        // The demo tells its own story; the server's log would talk over it.
        const log = await openLog();
        log.level = process.env.BOOTSEAL_LOG ?? 'warn';
        const shown = await demo({
          state: options.state ?? demoStateFolder(),
          bind: options.bind,
          ...(options.httpPort === undefined ? {} : { httpPort: options.httpPort }),
          now,
          log,
          onStep: (text) => terminal.note(text),
        });
        terminal.print();
        const status = showOutcome(terminal, shown.verdict);
        terminal.json({
          verified: shown.verdict.verified,
          url: shown.serving.url,
          keys: shown.keys,
          tree: shown.tree,
        });
        explain(terminal, shown);
        if (options.once || status !== EXIT.ok) await shown.serving.close(0);
        else {
          terminal.print();
          terminal.print(`Serving on ${shown.serving.url} until Ctrl-C.`, 'bold');
          await untilStopped(shown.serving);
        }
        return status;
      }),
    );
}

function explain(terminal: Terminal, { keys, tree, serving }: Demo): void {
  terminal.print();
  terminal.print('Try it:', 'bold');
  terminal.print(`  bootseal boot ${serving.url}/boot.ipxe --anchors ${keys}/anchors`);
  terminal.print(`  bootseal verify ${tree} --anchors ${keys}/anchors`);
  terminal.print(
    `  bootseal boot ${serving.url}/autoexec.ipxe        (a stock iPXE: it says why it refuses)`,
  );
  terminal.print();
  terminal.print('A real machine, with a release of your own (the sample holds nothing to run):', 'bold');
  terminal.print('  bootseal init keys && bootseal seal TREE --keys keys');
  terminal.print('  bootseal loaders grub --anchors keys/anchors --out loaders');
  terminal.print('  bootseal serve --tree TREE --anchors keys/anchors --loaders loaders --bind ADDRESS');
  terminal.print();
  terminal.print('and in the dnsmasq that answers DHCP on that LAN:', 'bold');
  for (const line of dnsmasqLines('ADDRESS', { bios: 'bootseal-grub.0', efi: 'bootseal-grub.efi' }))
    terminal.print(`  ${line}`);
}
