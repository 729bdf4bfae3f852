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

/** Bounds on what clients may cost. Times are milliseconds, sizes bytes. */
export interface NbdLimits {
  readonly maxConnections: number;
  /** Connections beyond that bound that are told so before they are closed; more are closed without a word. */
  readonly maxToldRefusals: number;
  /** From connecting to the end of the handshake. */
  readonly handshakeTimeoutMs: number;
  /** A client that takes nothing of its replies for this long is dropped. */
  readonly stallTimeoutMs: number;
  /** The same while others wait for memory that its replies hold; and how long they wait until it is looked for. */
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
