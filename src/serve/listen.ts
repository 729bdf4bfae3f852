import { createServer, isIP, isIPv4, isIPv6, type Server, type ServerOpts } from 'node:net';
import { codeOf, IoError } from '../errors/io.ts';
import { urlHost } from '../formats/net/ip-address.ts';

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
  const where = `${urlHost(address)} port ${port}`;
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

/** Where a server listens: one address, or several that have its port. */
export type Bind = string | readonly string[];

/** An address that was bound. */
export interface Bound {
  readonly address: string;
  readonly port: number;
}

/**
 * The addresses of a `Bind`, each once.
 *
 * @throws ListenError where there is none.
 */
export function boundAddresses(what: string, bind: Bind, port: number): readonly [string, ...string[]] {
  const [first, ...more] = new Set(typeof bind === 'string' ? [bind] : bind);
  if (first === undefined) throw new ListenError({ what, address: '', port }, 'EINVAL');
  return [first, ...more];
}

/**
 * `::` is every address of the machine, IPv4 among them. Beside an IPv4 address it is IPv6 alone: else one of the two
 * could not be bound.
 */
export function isIpv6Only(address: string, all: readonly string[]): boolean {
  return isIPv6(address) && all.some((other) => isIPv4(other));
}

/** A stream server that listens. */
export interface StreamListener {
  /** In the order of the addresses that were asked for, all with one port. */
  readonly bound: readonly [Bound, ...Bound[]];
  /** Takes no more connections. Resolves when those that were taken have ended. */
  close(): Promise<void>;
}

/**
 * Listens with a stream server (HTTP, NBD). Further addresses have sockets of their own, whose connections are the
 * server's: whoever counts them counts all.
 *
 * @param target of the first address; further ones get the port that this one has.
 * @param options of the server, which its further sockets must have as well.
 * @param onFault is told of what goes wrong later, such as a connection that could not be taken because there are
 *   too many open files: no reason for a server to end.
 * @throws ListenError: then nothing listens.
 */
export async function listenStream(
  server: Server,
  target: { readonly what: string; readonly bind: Bind; readonly port: number },
  options: ServerOpts,
  onFault: (error: unknown) => void,
): Promise<StreamListener> {
  const { what, bind } = target;
  const addresses = boundAddresses(what, bind, target.port);
  const [address, ...further] = addresses;
  for (const each of addresses) checkListenTarget({ what, address: each, port: target.port });
  const listening: Server[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(listening.map((each) => new Promise<void>((resolve) => each.close(() => resolve()))));
  };
  const listen = async (each: Server, at: ListenTarget): Promise<Bound> => {
    const bound = await listenOne(each, at, isIpv6Only(at.address, addresses), onFault);
    listening.push(each);
    return bound;
  };
  try {
    const first = await listen(server, { what, address, port: target.port });
    const rest: Bound[] = [];
    for (const other of further) {
      const socket = createServer(options, (connection) => server.emit('connection', connection));
      rest.push(await listen(socket, { what, address: other, port: first.port }));
    }
    return { bound: [first, ...rest], close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function listenOne(
  server: Server,
  target: ListenTarget,
  ipv6Only: boolean,
  onFault: (error: unknown) => void,
): Promise<Bound> {
  await new Promise<void>((resolve, reject) => {
    const failed = (error: unknown): void => reject(toListenError(target, error));
    server.once('error', failed);
    server.listen({ host: target.address, port: target.port, backlog: 1024, ipv6Only }, () => {
      server.off('error', failed);
      server.on('error', onFault);
      resolve();
    });
  });
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new ListenError(target, 'EINVAL');
  return { address: bound.address, port: bound.port };
}
