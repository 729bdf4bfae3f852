import type { Refusal } from '../../errors/refusal.ts';

/** What the NBD server serves. */
export interface NbdExports {
  /** What LIST tells. */
  list(): readonly NbdListed[];
  /**
   * Opens an export for one connection; the empty name asks for the default one. Undefined where there is none
   * of that name; rejects with a `Refusal` (`drifted`, …) where there is one that may not be served.
   */
  open(name: string): Promise<NbdExport | undefined>;
}

/** What there is to open. */
export interface NbdListed {
  readonly name: string;
  /** For people; may be empty. */
  readonly description: string;
}

/** One export, open for one connection. */
export interface NbdExport extends NbdListed {
  /** Bytes; never changes. */
  readonly size: number;
  /**
   * Fills `into` from `position`, all of it: the server asks for nothing beyond `size`. Rejects with a `Refusal`
   * where that cannot be done with the bytes that were verified. Undefined where it was done at once: what was
   * just read is then sent while it is in the processor's cache.
   */
  read(into: Buffer, position: number): Promise<void> | undefined;
  /**
   * Grows when `check` found that everything must be looked at anew: what a read began to fetch at a lower one
   * must not leave before it was read once more.
   */
  readonly generation: number;
  /**
   * Called after reads and before what they read leaves, once for many of them: throws a `Refusal` where the
   * file is no longer the one that was verified. Must not block.
   */
  check(): void;
  /** Called once, when no read is under way any more. */
  close(): Promise<void>;
}

/** Where log lines go; pino's logger fits. */
export interface NbdLog {
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
  error(facts: object, message: string): void;
}

/** Bounds on what clients may cost. Times are milliseconds, sizes bytes. */
export interface NbdLimits {
  readonly maxConnections: number;
  /** Connections of one address. Sixty machines with four connections each, behind one NAT, fit. */
  readonly maxConnectionsPerAddress: number;
  /** Connections beyond those bounds that are told so before they are closed; more are closed without a word. */
  readonly maxToldRefusals: number;
  /** From connecting to the end of the handshake. */
  readonly handshakeTimeoutMs: number;
  /** A client that takes nothing of its replies for this long is dropped. */
  readonly stallTimeoutMs: number;
  /** The same while others wait for the memory that its replies hold. */
  readonly pressureTimeoutMs: number;
  /** How long a connection that has been told everything may take to close its side. */
  readonly lingerMs: number;
  /** Requests of one connection that are answered at a time. Further ones wait where they are. */
  readonly maxRequests: number;
  /** What replies of one connection may hold. */
  readonly maxConnectionBytes: number;
  /** What replies of all connections may hold. */
  readonly bufferBytes: number;
}

export const DEFAULT_NBD_LIMITS: NbdLimits = {
  maxConnections: 10_000,
  maxConnectionsPerAddress: 1024,
  maxToldRefusals: 64,
  handshakeTimeoutMs: 10_000,
  stallTimeoutMs: 60_000,
  pressureTimeoutMs: 3_000,
  lingerMs: 2_000,
  maxRequests: 4096,
  maxConnectionBytes: 4 * 1024 * 1024,
  bufferBytes: 256 * 1024 * 1024,
};

/** Bytes: what is told of every export, and the longest read that is answered. */
export const NBD_BLOCK_SIZES = { minimum: 1, preferred: 4096, maximum: 32 * 1024 * 1024 } as const;

/** How a connection ended. */
export type NbdEnding =
  /** The client said so. */
  | 'disconnected'
  /** The client left without a word. */
  | 'client-gone'
  /** There is no such export, it may not be served, or there were too many connections. */
  | 'refused'
  /** The client sent what is not NBD, or what cannot be answered. */
  | 'protocol'
  /** The handshake took too long. */
  | 'timeout'
  /** The client did not take its replies. */
  | 'stalled'
  /** A read failed when its reply had begun, where only an end can say so. */
  | 'failed'
  /** The server closed. */
  | 'closed';

interface ConnectionFacts {
  /** Counts connections from 1. */
  readonly id: number;
  readonly remote: string;
}

/** What happens at the NBD edge, for metrics, logs, and the dashboard. */
export type NbdEvent =
  | ({ readonly kind: 'opened'; readonly export: string; readonly structured: boolean } & ConnectionFacts)
  | ({
      /** An export was asked for that is not served. */
      readonly kind: 'refused';
      /** Hostile text. */
      readonly export: string;
      readonly refusal: Refusal;
    } & ConnectionFacts)
  | ({
      /** Reads fail: the first one of each connection. */
      readonly kind: 'failed';
      readonly export: string;
      readonly refusal: Refusal;
    } & ConnectionFacts)
  | ({
      readonly kind: 'closed';
      /** Undefined where the handshake never ended. */
      readonly export: string | undefined;
      readonly ending: NbdEnding;
      /** Requests that were answered, errors included. */
      readonly requests: number;
      /** Bytes of the export that were sent. */
      readonly bytes: number;
      /** Milliseconds from connecting, by a monotonic clock. */
      readonly durationMs: number;
    } & ConnectionFacts)
  | {
      /** A connection that was not let in. */
      readonly kind: 'rejected';
      readonly remote: string;
      readonly reason: string;
    };
