import { createServer, type Server as NetServer, type Socket } from 'node:net';
import { listenStream } from '../listen.ts';
import { NbdConnection, type NbdContext } from './nbd-connection.ts';
import { nbdEventLog } from './nbd-log.ts';
import { ReplyMemory } from './nbd-memory.ts';
import {
  DEFAULT_NBD_LIMITS,
  type NbdEvent,
  type NbdExports,
  type NbdLimits,
  type NbdLog,
} from './nbd-types.ts';

export interface NbdServerOptions {
  readonly exports: NbdExports;
  /** An IP address. */
  readonly bind: string;
  /** 0 asks for an ephemeral one. */
  readonly port: number;
  readonly log: NbdLog;
  readonly limits?: Partial<NbdLimits>;
  /** Must not block. What it throws is logged and goes no further. */
  readonly onEvent?: (event: NbdEvent) => void;
}

export interface NbdServer {
  readonly address: string;
  readonly port: number;
  /** Connections that were let in. */
  readonly connections: number;
  /** Bytes that replies hold now. */
  readonly heldBytes: number;
  /** Requests that were answered so far, errors included. */
  readonly requests: number;
  /** Bytes of exports that were sent so far. */
  readonly bytes: number;
  /**
   * Takes no more connections, closes those with nothing under way, lets requests that were taken be answered
   * for up to `graceMs` milliseconds (later ones get ESHUTDOWN), ends the rest. Resolves when every socket and
   * export is closed.
   */
  close(options: { readonly graceMs: number }): Promise<void>;
}

/**
 * Serves exports over NBD, fixed newstyle, read-only, until it is closed.
 *
 * @throws ListenError
 */
export async function startNbdServer(options: NbdServerOptions): Promise<NbdServer> {
  const server = new Server(options);
  await server.listen();
  return server;
}

const TOO_MANY = 'too many connections';
const TOO_MANY_OF_ONE = 'too many connections from one address';

class Server implements NbdServer {
  readonly #options: NbdServerOptions;
  readonly #limits: NbdLimits;
  readonly #memory: ReplyMemory;
  readonly #context: NbdContext;
  readonly #server: NetServer;
  readonly #welcome = new Set<NbdConnection>();
  readonly #unwelcome = new Set<NbdConnection>();
  readonly #byAddress = new Map<string, number>();
  readonly #logEvent: (event: NbdEvent) => void;
  #bound: { readonly address: string; readonly port: number };
  #sweeping: NodeJS.Timeout | undefined;
  #count = 0;
  /** Of connections that have ended. */
  #done = { requests: 0, bytes: 0 };
  #closed: Promise<void> | undefined;

  constructor(options: NbdServerOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULT_NBD_LIMITS, ...options.limits };
    const { bufferBytes, pressureTimeoutMs, maxConnections, maxToldRefusals } = this.#limits;
    this.#memory = new ReplyMemory(bufferBytes, pressureTimeoutMs, () => this.#relieve());
    this.#logEvent = nbdEventLog(options.log);
    this.#context = {
      exports: options.exports,
      limits: this.#limits,
      memory: this.#memory,
      onEvent: (event) => this.#emit(event),
      onFault: (error) => options.log.error({ err: error }, 'nbd: an export failed'),
    };
    this.#bound = { address: options.bind, port: options.port };
    this.#server = createServer(
      // A kernel that has its root here says nothing for days; one that has lost its power, for ever.
      { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 },
      (socket) => this.#admit(socket),
    );
    this.#server.maxConnections = maxConnections + maxToldRefusals;
    this.#server.on('drop', (dropped) => this.#reject(dropped?.remoteAddress, TOO_MANY));
  }

  get address(): string {
    return this.#bound.address;
  }

  get port(): number {
    return this.#bound.port;
  }

  get connections(): number {
    return this.#welcome.size;
  }

  get heldBytes(): number {
    return this.#memory.held;
  }

  get requests(): number {
    return [...this.#welcome].reduce((sum, { requests }) => sum + requests, this.#done.requests);
  }

  get bytes(): number {
    return [...this.#welcome].reduce((sum, { bytes }) => sum + bytes, this.#done.bytes);
  }

  async listen(): Promise<void> {
    const { bind: address, port, log } = this.#options;
    this.#bound = await listenStream(this.#server, { what: 'NBD', address, port });
    this.#server.on('error', (error) => log.error({ err: error }, 'nbd: a connection could not be taken'));
    this.#sweeping = setInterval(() => this.#sweep(), Math.ceil(this.#limits.stallTimeoutMs / 4));
    this.#sweeping.unref();
  }

  close({ graceMs }: { readonly graceMs: number }): Promise<void> {
    this.#closed ??= this.#close();
    // Every call counts: a second one may end the wait that the first one allowed.
    const timer = setTimeout(() => {
      for (const connection of [...this.#welcome, ...this.#unwelcome]) connection.destroy('closed');
    }, graceMs);
    return this.#closed.finally(() => clearTimeout(timer));
  }

  async #close(): Promise<void> {
    const listening = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    const all = [...this.#welcome, ...this.#unwelcome];
    for (const connection of all) connection.drain();
    await Promise.all([listening, ...all.map(({ closed }) => closed)]);
    clearInterval(this.#sweeping);
  }

  #admit(socket: Socket): void {
    const remote = socket.remoteAddress ?? '';
    const { maxConnections, maxConnectionsPerAddress, maxToldRefusals } = this.#limits;
    const ofAddress = this.#byAddress.get(remote) ?? 0;
    const why =
      this.#welcome.size >= maxConnections
        ? TOO_MANY
        : ofAddress >= maxConnectionsPerAddress
          ? TOO_MANY_OF_ONE
          : undefined;
    if (why !== undefined) {
      this.#reject(remote, why);
      if (this.#unwelcome.size >= maxToldRefusals) {
        socket.destroy();
        return;
      }
    }
    this.#count += 1;
    const connection = new NbdConnection(this.#context, socket, this.#count, why && `There are ${why}`);
    const all = why === undefined ? this.#welcome : this.#unwelcome;
    all.add(connection);
    if (why === undefined) this.#byAddress.set(remote, ofAddress + 1);
    void connection.closed.then(() => {
      all.delete(connection);
      this.#done.requests += connection.requests;
      this.#done.bytes += connection.bytes;
      if (why !== undefined) return;
      const left = (this.#byAddress.get(remote) ?? 1) - 1;
      if (left === 0) this.#byAddress.delete(remote);
      else this.#byAddress.set(remote, left);
    });
  }

  /** Drops clients that do not take their replies. */
  #sweep(): void {
    const since = performance.now() - this.#limits.stallTimeoutMs;
    for (const connection of this.#welcome) {
      if ((connection.writingSince ?? since) < since) connection.destroy('stalled');
    }
  }

  /** Others wait for memory: those that have not taken their replies for longest make room. */
  #relieve(): void {
    const since = performance.now() - this.#limits.pressureTimeoutMs;
    const slow = [...this.#welcome]
      .filter(({ writingSince }) => (writingSince ?? since) < since)
      .sort((one, other) => (one.writingSince ?? 0) - (other.writingSince ?? 0));
    let freed = 0;
    for (const connection of slow) {
      if (freed >= this.#limits.bufferBytes / 16) return;
      freed += connection.held;
      connection.destroy('stalled');
    }
  }

  #reject(remote: string | undefined, reason: string): void {
    this.#emit({ kind: 'rejected', remote: remote ?? '', reason });
  }

  #emit(event: NbdEvent): void {
    this.#logEvent(event);
    try {
      this.#options.onEvent?.(event);
    } catch (error) {
      this.#options.log.error({ err: error, event: event.kind }, 'nbd: a listener of events failed');
    }
  }
}
