import { createServer, isIP, isIPv4, isIPv6, type Server, type ServerOpts } from 'node:net';
import { codeOf, IoError } from '../errors/io.ts';
import { UsageError } from '../errors/usage.ts';
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

/** Whether what listens at these addresses is there for whoever asks at another one. */
export function isBoundAt(bound: readonly Bound[], address: string): boolean {
  const addresses = bound.map((each) => each.address);
  // Beside an address of IPv4, :: is IPv6 alone.
  const everywhere = addresses.includes('0.0.0.0') || addresses.every((each) => each === '::');
  return everywhere || addresses.includes(address);
}

/** Where a stream server shall listen. */
export interface StreamTarget {
  /** `HTTP`, `NBD`. */
  readonly what: string;
  readonly bind: Bind;
  readonly port: number;
  /** Descriptors of sockets that were handed over: where there are any, `bind` and `port` say nothing. */
  readonly sockets?: readonly number[] | undefined;
}

/** A stream server that listens. */
export interface StreamListener {
  /** In the order of the addresses that were asked for, all with one port; or in that of the sockets, each with its own. */
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
 * @throws ListenError, UsageError for a descriptor that is no such socket: then nothing listens.
 */
export async function listenStream(
  server: Server,
  { what, bind, port, sockets = [] }: StreamTarget,
  options: ServerOpts,
  onFault: (error: unknown) => void,
): Promise<StreamListener> {
  const listening: Server[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(listening.map((each) => new Promise<void>((resolve) => each.close(() => resolve()))));
  };
  /** The first with the server itself, further ones with sockets beside it. */
  const listen = async (start: (each: Server) => Promise<Bound>): Promise<Bound> => {
    const each =
      listening.length === 0
        ? server
        : createServer(options, (connection) => server.emit('connection', connection));
    const bound = await start(each);
    each.on('error', onFault);
    listening.push(each);
    return bound;
  };
  try {
    const [handed, ...more] = sockets;
    if (handed !== undefined) {
      const first = await listen((each) => listenHanded(each, what, handed));
      const rest: Bound[] = [];
      for (const fd of more) rest.push(await listen((each) => listenHanded(each, what, fd)));
      return { bound: [first, ...rest], close };
    }
    const addresses = boundAddresses(what, bind, port);
    const [address, ...further] = addresses;
    for (const each of addresses) checkListenTarget({ what, address: each, port });
    const first = await listen((each) =>
      listenAt(each, { what, address, port }, isIpv6Only(address, addresses)),
    );
    const rest: Bound[] = [];
    for (const other of further) {
      const at = { what, address: other, port: first.port };
      rest.push(await listen((each) => listenAt(each, at, isIpv6Only(other, addresses))));
    }
    return { bound: [first, ...rest], close };
  } catch (error) {
    await close();
    throw error;
  }
}

const BACKLOG = 1024;

async function listenAt(server: Server, target: ListenTarget, ipv6Only: boolean): Promise<Bound> {
  const { address: host, port } = target;
  try {
    await listening(server, () => server.listen({ host, port, backlog: BACKLOG, ipv6Only }));
  } catch (error) {
    throw toListenError(target, error);
  }
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new ListenError(target, 'EINVAL');
  return { address: bound.address, port: bound.port };
}

/** Of an object with a descriptor Node reads no backlog: it is an argument of its own. */
async function listenHanded(server: Server, what: string, fd: number): Promise<Bound> {
  const wrong = (cause?: unknown) =>
    new UsageError(
      `${what} was handed the descriptor ${fd}, which is no TCP socket that listens; its socket unit needs ListenStream= with a port, and Accept=no.`,
      { cause },
    );
  try {
    await listening(server, () => server.listen({ fd }, BACKLOG));
  } catch (error) {
    throw codeOf(error) === undefined ? error : wrong(error);
  }
  const bound = server.address();
  if (bound !== null && typeof bound !== 'string') return { address: bound.address, port: bound.port };
  server.close();
  throw wrong();
}

function listening(server: Server, listen: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.once('listening', () => {
      server.off('error', reject);
      resolve();
    });
    listen();
  });
}
