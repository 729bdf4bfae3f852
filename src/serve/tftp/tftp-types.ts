import type { Refusal } from '../../errors/refusal.ts';

/** Where log lines go; pino's logger fits. */
export interface TftpLog {
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
  error(facts: object, message: string): void;
}

/** Bounds on what clients may cost, and how patient the server is. Times are milliseconds, sizes bytes. */
export interface TftpLimits {
  /** Transfers at a time, those that no client has answered yet included. Each may hold two descriptors. */
  readonly maxTransfers: number;
  /** Transfers of one address. A classroom of sixty that boots behind one NAT fits, with room for retries. */
  readonly maxTransfersPerAddress: number;
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
  /** Time until the first retransmission, where the client did not name it (RFC 2349). Doubles, up to eightfold. */
  readonly retransmitMs: number;
  /** Retransmissions without any progress before a transfer is given up. */
  readonly maxRetries: number;
  /**
   * The same before the client's first answer. Anyone can write anyone's address on a request: this is how
   * often its owner is then bothered, with one datagram each.
   */
  readonly maxHandshakeRetries: number;
  /** What read buffers of all transfers may hold before chunks become small. */
  readonly bufferBytes: number;
  /** How long `close` lets running transfers go on. */
  readonly closeGraceMs: number;
}

export const DEFAULT_TFTP_LIMITS: TftpLimits = {
  maxTransfers: 1024,
  maxTransfersPerAddress: 128,
  maxBlksize: 1468,
  maxWindowsize: 64,
  maxWindowBytes: 256 * 1024,
  retransmitMs: 1000,
  maxRetries: 6,
  maxHandshakeRetries: 2,
  bufferBytes: 128 * 1024 * 1024,
  closeGraceMs: 5000,
};

/** Why a transfer ended before its last block was acknowledged. */
export type TftpAbort =
  /** The client broke off before it took data: how PXE ROMs and UEFI learn a file's size. No fault. */
  | 'probe'
  /** The client sent ERROR in the middle. */
  | 'client'
  /** The client fell silent. */
  | 'timeout'
  /** The client sent what has no place in a transfer. */
  | 'protocol'
  /** The file drifted or could not be read; the client was told instead of getting the last block. */
  | 'refused'
  /** It had not been answered yet and made room for a newer request. */
  | 'retired'
  /** The same client port asked anew (single port). */
  | 'replaced'
  /** The server closed. */
  | 'closed';

interface TransferFacts {
  /** Counts requests from 1. */
  readonly id: number;
  readonly remote: string;
  readonly port: number;
  /** As it was asked of the site. */
  readonly path: string;
}

interface TransferEnd extends TransferFacts {
  /** Bytes of content that the client acknowledged. */
  readonly bytes: number;
  /** Milliseconds from the request, by a monotonic clock. */
  readonly durationMs: number;
  /** Datagrams that were sent again. */
  readonly retransmits: number;
}

/** What happens at the TFTP edge, for metrics, logs, and the dashboard. */
export type TftpEvent =
  | ({ readonly kind: 'request' } & TransferFacts)
  | {
      /** Answered with ERROR instead of a transfer. */
      readonly kind: 'refused';
      readonly remote: string;
      readonly port: number;
      /** Undefined where the name was refused: it is hostile and goes nowhere. */
      readonly path: string | undefined;
      /** Code of the ERROR that was sent. */
      readonly error: number;
      readonly refusal: Refusal;
    }
  | ({ readonly kind: 'completed' } & TransferEnd)
  | ({
      readonly kind: 'aborted';
      readonly reason: TftpAbort;
      /** What the client said (`probe`, `client`), or the refusal's code and sentence. Hostile text. */
      readonly message: string | undefined;
    } & TransferEnd)
  | {
      /** Datagrams that are no request and belong to no transfer. */
      readonly kind: 'rejected';
      readonly remote: string;
      readonly port: number;
      readonly reason: string;
    };

/** A client's end of a transfer. */
export interface TftpPeer {
  readonly address: string;
  readonly port: number;
}
