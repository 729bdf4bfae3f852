import type { Site } from '../../release/site.ts';
import type { Emit } from '../emit.ts';
import type { Bind, Bound } from '../listen.ts';
import type { Shares } from '../shares.ts';

/** Bounds on what clients may cost, and how patient the server is. Times are milliseconds, sizes bytes. */
export interface TftpLimits {
  /** Transfers at a time, those that no client has answered yet included. Each may hold two descriptors. */
  readonly maxTransfers: number;
  /**
   * Largest block that is agreed to, however much a client offers (RFC 2348 lets a server answer less). The
   * default fills one Ethernet frame over IPv4: a fragmented block is lost whole with any of its fragments,
   * and many ROMs cannot reassemble. Over IPv6 it is 20 less.
   */
  readonly maxBlksize: number;
  /** Most blocks in flight (RFC 7440). */
  readonly maxWindowsize: number;
  /** Bytes that the blocks in flight of one transfer may hold; a window of large blocks is shortened. */
  readonly maxWindowBytes: number;
  /**
   * Time until a retransmission, where the client did not name it (RFC 2349). Doubles, up to eightfold. The first one
   * comes sooner, after a quarter of it, unless the client has shown that it was only slow.
   */
  readonly retransmitMs: number;
  /** Retransmissions without any progress before a transfer is given up. */
  readonly maxRetries: number;
  /**
   * How long a transfer is kept whose client has not answered yet. Nothing is sent to it meanwhile but one datagram
   * for each time that it asks.
   */
  readonly handshakeMs: number;
  /** What read buffers of all transfers may hold before chunks become small. */
  readonly bufferBytes: number;
}

export const DEFAULT_TFTP_LIMITS: TftpLimits = {
  maxTransfers: 1024,
  maxBlksize: 1468,
  maxWindowsize: 64,
  maxWindowBytes: 256 * 1024,
  retransmitMs: 1000,
  maxRetries: 7,
  handshakeMs: 20_000,
  bufferBytes: 128 * 1024 * 1024,
};

/** A client's end of a transfer. */
export interface TftpPeer {
  readonly address: string;
  readonly port: number;
}

export interface TftpServerOptions {
  readonly site: Site;
  /** IP addresses, each that of one interface. A wildcard works where the machine has only one. */
  readonly bind: Bind;
  /** 0 asks for an ephemeral one. */
  readonly port: number;
  /** Descriptors of sockets that were handed over (`HandedSockets`): where there are any, the two above say nothing. */
  readonly sockets?: readonly number[] | undefined;
  readonly shares: Shares;
  readonly emit: Emit;
  /**
   * Sends everything from the port that was asked, for clients behind NAT and firewalls. It gives up the
   * transfer identifier (RFC 1350 §4): whoever writes another's address on a request can then write its ACKs
   * too and have the file sent there. Default false.
   */
  readonly singlePort?: boolean;
  readonly limits?: Partial<TftpLimits>;
}

export interface TftpServer {
  /** The first of them. */
  readonly address: string;
  readonly port: number;
  readonly bound: readonly Bound[];
  /** Transfers under way. */
  readonly transfers: number;
  /** Bytes that read buffers of running transfers hold now. */
  readonly heldBytes: number;
  /**
   * Takes no more requests, lets running transfers finish for up to `graceMs` milliseconds, ends the rest with
   * ERROR. Resolves when every socket and file is closed.
   */
  close(options: { readonly graceMs: number }): Promise<void>;
}
