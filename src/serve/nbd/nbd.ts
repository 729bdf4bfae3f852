import { createServer, type Server as NetServer, type Socket } from 'node:net';
import { SMALLEST } from '../chunk-pool.ts';
import type { Emit } from '../emit.ts';
import { FairSlots } from '../fair-slots.ts';
import { type Bind, type Bound, listenStream, type StreamListener } from '../listen.ts';
import type { Share, Shares } from '../shares.ts';
import { NbdConnection, type NbdContext } from './nbd-connection.ts';
import { ReplyMemory } from './nbd-memory.ts';
import { DEFAULT_NBD_LIMITS, type NbdExports, type NbdLimits } from './nbd-types.ts';

export interface NbdServerOptions {
  readonly exports: NbdExports;
  /** IP addresses. */
  readonly bind: Bind;
  /** 0 asks for an ephemeral one. */
  readonly port: number;
  /** Descriptors of sockets that were handed over (`HandedSockets`): where there are any, the two above say nothing. */
  readonly sockets?: readonly number[] | undefined;
  readonly shares: Shares;
  readonly emit: Emit;
  readonly limits?: Partial<NbdLimits>;
  /** Milliseconds of a monotonic clock; default: the system's. */
  readonly now?: () => number;
}

export interface NbdServer {
  /** The first of them. */
  readonly address: string;
  readonly port: number;
  readonly bound: readonly Bound[];
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
 * @throws ListenError, UsageError for a descriptor that is no such socket.
 */
export async function startNbdServer(options: NbdServerOptions): Promise<NbdServer> {
  const server = new Server(options);
  await server.listen();
  return server;
}

/** Part of the memory for which others wait that is freed at a time. */
const RELIEF = 1 / 16;
/** A share that holds so many times what the neediest holds, and would, gives some of it up. */
const MUCH_MORE = 2;
/** A kernel that has its root here says nothing for days; one that has lost its power, for ever. */
const SOCKETS = { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 };
const TOO_MANY = 'There are too many connections';

class Server implements NbdServer {
  readonly #options: NbdServerOptions;
  readonly #limits: NbdLimits;
  readonly #memory: ReplyMemory;
  readonly #context: NbdContext;
  readonly #server: NetServer;
  readonly #welcome: FairSlots<NbdConnection>;
  /** Those that are told that there is no room for them. */
  readonly #unwelcome: FairSlots<NbdConnection>;
  readonly #open = new Set<NbdConnection>();
  #listener: StreamListener | undefined;
  #sweeping: NodeJS.Timeout | undefined;
  #count = 0;
  /** Of connections that have ended. */
  #done = { requests: 0, bytes: 0 };
  #closed: Promise<void> | undefined;

  constructor(options: NbdServerOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULT_NBD_LIMITS, ...options.limits };
    const { bufferBytes, pressureTimeoutMs, maxConnections, maxToldRefusals } = this.#limits;
    this.#welcome = new FairSlots(maxConnections);
    this.#unwelcome = new FairSlots(maxToldRefusals);
    this.#memory = new ReplyMemory(bufferBytes, pressureTimeoutMs, (neediest) => this.#relieve(neediest));
    this.#context = {
      exports: options.exports,
      limits: this.#limits,
      memory: this.#memory,
      now: options.now ?? (() => performance.now()),
      emit: options.emit,
    };
    this.#server = createServer(SOCKETS, (socket) => this.#admit(socket));
  }

  get address(): string {
    return this.bound[0]?.address ?? '';
  }

  get port(): number {
    return this.bound[0]?.port ?? 0;
  }

  get bound(): readonly Bound[] {
    return this.#listener?.bound ?? [];
  }

  get connections(): number {
    return this.#welcome.size;
  }

  get heldBytes(): number {
    return this.#memory.held;
  }

  get requests(): number {
    return [...this.#open].reduce((sum, { requests }) => sum + requests, this.#done.requests);
  }

  get bytes(): number {
    return [...this.#open].reduce((sum, { bytes }) => sum + bytes, this.#done.bytes);
  }

  async listen(): Promise<void> {
    const { bind, port, sockets, emit } = this.#options;
    const target = { what: 'NBD', bind, port, sockets };
    this.#listener = await listenStream(this.#server, target, SOCKETS, (error) => {
      emit({ kind: 'fault', server: 'nbd', error, what: 'take a connection' });
      this.#welcome.relieve();
    });
    this.#sweeping = setInterval(() => this.#sweep(), Math.ceil(this.#limits.stallTimeoutMs / 4));
    this.#sweeping.unref();
  }

  close({ graceMs }: { readonly graceMs: number }): Promise<void> {
    this.#closed ??= this.#close();
    // Every call counts: a second one may end the wait that the first one allowed.
    const timer = setTimeout(() => {
      for (const connection of this.#open) connection.destroy('closed');
    }, graceMs);
    return this.#closed.finally(() => clearTimeout(timer));
  }

  async #close(): Promise<void> {
    const listening = this.#listener?.close();
    const all = [...this.#open];
    for (const connection of all) connection.drain();
    await Promise.all([listening, ...all.map(({ closed }) => closed)]);
    clearInterval(this.#sweeping);
  }

  #admit(socket: Socket): void {
    const { remoteAddress: remote = '', remotePort: port = 0 } = socket;
    this.#count += 1;
    const peer = { id: this.#count, remote, port, share: this.#options.shares.of(remote) };
    const connection = new NbdConnection(this.#context, socket, peer);
    const slots = [this.#welcome, this.#unwelcome].find((each) => each.admit(connection));
    if (slots !== this.#welcome) {
      this.#options.emit({ kind: 'turned-away', server: 'nbd', remote, reason: 'too-many', asked: '' });
    }
    if (slots === undefined) {
      socket.destroy();
      return;
    }
    this.#open.add(connection);
    connection.greet(slots === this.#welcome ? undefined : TOO_MANY);
    void connection.closed.then(() => {
      slots.leave(connection);
      this.#open.delete(connection);
      this.#done.requests += connection.requests;
      this.#done.bytes += connection.bytes;
    });
  }

  /** Drops clients that do not take their replies. */
  #sweep(): void {
    const since = this.#context.now() - this.#limits.stallTimeoutMs;
    for (const connection of this.#open) {
      if ((connection.writingSince ?? since) < since) connection.destroy('stalled');
    }
  }

  /**
   * Others wait for memory. A share that holds much more than they do gives up the connections that hold most;
   * where there is none, those of theirs that have not taken their replies for longest make room.
   */
  #relieve(neediest: Share): void {
    const holding = [...this.#welcome].filter(({ held }) => held > 0);
    const wanted = this.#limits.bufferBytes * RELIEF;
    const least = this.#memory.load(neediest);
    const top = holding
      .map(({ share }) => share)
      .reduce((one, other) => (this.#memory.load(other) > this.#memory.load(one) ? other : one), neediest);
    let freed = 0;
    if (top.name !== neediest.name && this.#memory.load(top) > MUCH_MORE * least + SMALLEST) {
      const theirs = holding.filter(({ share }) => share.name === top.name);
      for (const connection of theirs.sort((one, other) => other.held - one.held)) {
        if (freed >= wanted) return;
        freed += connection.held;
        connection.destroy('gave-way');
      }
      return;
    }
    const since = this.#context.now() - this.#limits.pressureTimeoutMs;
    const slow = holding
      .filter(
        ({ writingSince, share }) => (writingSince ?? since) < since && this.#memory.load(share) >= least,
      )
      .sort((one, other) => (one.writingSince ?? 0) - (other.writingSince ?? 0));
    for (const connection of slow) {
      if (freed >= wanted) return;
      freed += connection.held;
      connection.destroy('stalled');
    }
  }
}
