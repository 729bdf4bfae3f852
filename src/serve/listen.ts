import { isIP, type Server } from 'node:net';
import { codeOf, IoError } from '../errors/io.ts';

/** What was to listen where. */
export interface ListenTarget {
  /** `HTTP`, `TFTP`, `NBD`. */
  readonly what: string;
  /** An IP address. */
  readonly address: string;
  /** 0 asks for an ephemeral one. */
  readonly port: number;
  /** Who holds it where it is taken, and what to do: the end of a sentence. */
  readonly taken?: string;
}

/** A server could not begin to listen. The message is one sentence: what, where, why, what to do. */
export class ListenError extends IoError {
  readonly address: string;
  readonly port: number;

  /** @param code the system's (`EADDRINUSE`), or `EINVAL` where the address or port was never tried. */
  constructor(target: ListenTarget, code: string, options?: ErrorOptions) {
    super(sentence(target, code), target.address, code, options);
    this.name = 'ListenError';
    this.address = target.address;
    this.port = target.port;
  }
}

function sentence({ what, address, port, taken }: ListenTarget, code: string): string {
  const where = `${address.includes(':') ? `[${address}]` : address} port ${port}`;
  switch (code) {
    case 'EADDRINUSE':
      return `${what} cannot listen on ${where}: ${taken ?? 'another program holds that port; stop it or choose another port'}.`;
    case 'EACCES':
    case 'EPERM':
      return `${what} cannot listen on ${where}: ports below 1024 need privileges; grant CAP_NET_BIND_SERVICE or choose a port above 1023.`;
    case 'EADDRNOTAVAIL':
      return `${what} cannot listen on ${where}: this machine has no such address; bind to one that "ip address" shows, or to 0.0.0.0.`;
    case 'EINVAL':
      return `${what} cannot listen on ${where}: that is not an IP address with a port from 0 to 65535; correct the address or the port.`;
    default:
      return `${what} cannot listen on ${where}: the system answered ${code}; check the address, the port and the limits of this process.`;
  }
}

/** Rejects an address or port that no system could accept, before one is asked. @throws ListenError */
export function checkListenTarget(target: ListenTarget): void {
  const port = Number.isInteger(target.port) && target.port >= 0 && target.port <= 65535;
  // A name would be looked up in DNS: which interface faces the LAN must not depend on an answer from it.
  if (!port || isIP(target.address) === 0) throw new ListenError(target, 'EINVAL');
}

/** Turns a system error into a `ListenError`; anything without a system code is returned as it is. */
export function toListenError(target: ListenTarget, error: unknown): unknown {
  const code = codeOf(error);
  return code !== undefined ? new ListenError(target, code, { cause: error }) : error;
}

/**
 * Listens with a stream server (HTTP, NBD).
 *
 * @param onFault is told of what goes wrong later, such as a connection that could not be taken because there are
 *   too many open files: no reason for a server to end.
 * @returns the address and port that were bound.
 * @throws ListenError
 */
export async function listenStream(
  server: Server,
  target: ListenTarget,
  onFault: (error: unknown) => void,
): Promise<{ address: string; port: number }> {
  checkListenTarget(target);
  await new Promise<void>((resolve, reject) => {
    const failed = (error: unknown): void => reject(toListenError(target, error));
    server.once('error', failed);
    server.listen({ host: target.address, port: target.port, backlog: 1024 }, () => {
      server.off('error', failed);
      server.on('error', onFault);
      resolve();
    });
  });
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new ListenError(target, 'EINVAL');
  return { address: bound.address, port: bound.port };
}
