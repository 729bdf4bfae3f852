import { UsageError } from '../errors/usage.ts';
import type { ScriptServer } from './compile.ts';
import type { GrubServer } from './grub-server.ts';

/** Where machines will find the server, as each loader's scripts want to be told. */
export interface ServerAddress {
  readonly script: ScriptServer;
  readonly grub: GrubServer;
}

/** Of a server that DHCP names. */
export const DEFAULT_PORT = 8080;

/**
 * Reads `seal --url`. Undefined: the host that DHCP names, port 8080, since a script sealed beforehand cannot
 * know the LAN.
 *
 * @param url `http://HOST[:PORT]`. Throws a `Refusal` (`malformed`) for anything else.
 */
export function serverAddress(url: string | undefined): ServerAddress {
  if (url === undefined) {
    return { script: { kind: 'typed' }, grub: { kind: 'dhcp', httpPort: DEFAULT_PORT } };
  }
  if (/^https?:\/\/\[/.test(url)) {
    throw new UsageError(
      `${JSON.stringify(url)} is an address of IPv6, and machines are given addresses of IPv4 alone by the DHCP that loaders and early userspace ask; name one of IPv4, or a host.`,
    );
  }
  const match = /^http:\/\/([A-Za-z0-9][A-Za-z0-9.-]*)(?::([1-9][0-9]{0,4}))?\/?$/.exec(url);
  const [, host, port = '80'] = match ?? [];
  if (host === undefined || Number(port) > 65535) {
    throw new UsageError(
      `${JSON.stringify(url)} is no address of a server; write http://HOST or http://HOST:PORT.`,
    );
  }
  return {
    script: { kind: 'literal', url: url.replace(/\/$/, '') },
    grub: { kind: 'literal', host, port: Number(port) },
  };
}
