import { type Fragment, renderFragment, type Value } from './template.ts';

/**
 * Where GRUB fetches from. `dhcp`: the address that DHCP names in its own answer (next-server; that of a ProxyDHCP is
 * not seen by GRUB 2.06, which then needs `literal`). Ports are HTTP's; TFTP is always at 69.
 */
export type GrubServer =
  | { readonly kind: 'dhcp'; readonly httpPort: number }
  | { readonly kind: 'literal'; readonly host: string; readonly port: number };

/** An IPv4 address, as GRUB's `regexp` holds a text to one. */
export const GRUB_ADDRESS = `^${['[0-9]{1,3}', '[0-9]{1,3}', '[0-9]{1,3}', '[0-9]{1,3}'].join('\\.')}$`;

const PAIR = '([0-9a-f][0-9a-f])';
/** A MAC address as GRUB writes it, in six parts. */
export const GRUB_MAC = `^${[PAIR, PAIR, PAIR, PAIR, PAIR, PAIR].join(':')}$`;

/** Text that may be shown, whoever wrote it: no control character, nothing that a terminal obeys. */
export const GRUB_PLAIN = '^[A-Za-z0-9 ._:,()+/@=-]{1,64}$';

/** Seconds for a person to read a refusal before the machine restarts. */
export const GRUB_PAUSE = 30;

export function httpPortOf(server: GrubServer): number {
  return server.kind === 'dhcp' ? server.httpPort : server.port;
}

/**
 * Lines that set `bootseal_server`. From DHCP only an address is taken: where it names none, GRUB takes the
 * server's name from it, a text of any content.
 *
 * @param refuse a function that never returns: the script's own.
 */
export function serverLines(
  server: GrubServer,
  refuse: 'bootseal_refuse' | 'bootseal_loader_refuse',
): Fragment {
  if (server.kind === 'literal') {
    return lines("set bootseal_server='{{host}}'\n", { host: { kind: 'host', text: server.host } });
  }
  // A GRUB started by the PXE stack may know the server under that name only.
  return lines(
    `set bootseal_server="$net_default_server"
if [ -z "$bootseal_server" ]; then set bootseal_server="$pxe_default_server"; fi
if regexp '${GRUB_ADDRESS}' "$bootseal_server"; then
  true
else
  ${refuse} "DHCP named no server address."
fi
`,
    {},
  );
}

/**
 * GRUB's name of the server's HTTP: `http,HOST`, and `http,HOST:PORT` where that is not 80. The port behind a comma, as
 * upstream's documents write it, goes unread in 2.06 (Debian's, Fedora's), which then asks port 80; both read this form.
 */
export function httpDevice(server: GrubServer): Fragment {
  const port = httpPortOf(server);
  return port === 80
    ? lines('http,$bootseal_server\n', {})
    : lines('http,$bootseal_server:{{port}}\n', { port: { kind: 'hex', text: String(port) } });
}

/** Lines of a script that are too short for a file of their own. */
export function lines(text: string, values: Readonly<Record<string, Value>>): Fragment {
  return renderFragment('a part of a GRUB script', `\n\n${text}`, values);
}
