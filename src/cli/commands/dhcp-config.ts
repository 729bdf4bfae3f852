import { Argument, type Command, Option } from 'commander';
import { DHCP_DIALECTS, type DhcpDialect } from '../../operations/dhcp-config.ts';
import { act, folder, newCommand, port } from '../context.ts';
import { EXIT } from '../exit.ts';
import { SUMMARIES } from '../summaries.ts';

interface Options {
  readonly server: string;
  readonly httpPort: number;
  readonly loaders?: string;
  readonly ipxe?: 'script' | 'loader';
  readonly proxy?: boolean;
}

export function dhcpConfigCommand(): Command {
  return newCommand(
    'dhcp-config',
    SUMMARIES['dhcp-config'],
    'bootseal dhcp-config dnsmasq --server 10.0.0.1 --loaders loaders > bootseal.conf',
  )
    .addArgument(new Argument('<dialect>', 'whose language').choices(DHCP_DIALECTS))
    .requiredOption('--server <address>', 'where "bootseal serve" listens: an IPv4 address')
    .option('--http-port <n>', 'its port', port, 8080)
    .option('--loaders <dir>', 'the folder that it offers; default: the images of "loaders grub"', folder)
    .addOption(
      new Option(
        '--ipxe <what>',
        'what an iPXE gets that is not your own: script (/autoexec.ipxe) or loader (that of its firmware); default: script where an iPXE is among the loaders',
      ).choices(['script', 'loader']),
    )
    .option('--proxy', 'dnsmasq names boot files beside another DHCP server, and gives no addresses')
    .action(
      act<Options>(async ({ terminal }, { server, httpPort, loaders, ipxe, proxy }, name) => {
        const { dhcpConfig } = await import('../../operations/dhcp-config.ts');
        const config = await dhcpConfig({
          dialect: name as DhcpDialect,
          server,
          httpPort,
          ...(loaders === undefined ? {} : { loaders }),
          ...(ipxe === undefined ? {} : { otherIpxe: ipxe }),
          ...(proxy === undefined ? {} : { proxy }),
        });
        terminal.json(config);
        for (const line of config.lines) terminal.print(line);
        return EXIT.ok;
      }),
    );
}
