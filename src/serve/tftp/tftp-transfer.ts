import { Malformed } from '../../errors/malformed.ts';
import { Refusal } from '../../errors/refusal.ts';
import {
  decodeTftp,
  encodeTftp,
  TFTP_ERROR,
  TFTP_HEADER,
  TFTP_OPCODE,
  tftpOpcode,
  writeTftpDataHeader,
} from '../../formats/net/tftp.ts';
import type { Outcome } from '../../release/server-event.ts';
import type { OpenResource, Resource } from '../../release/site.ts';
import type { ChunkPool } from '../chunk-pool.ts';
import type { Holder } from '../fair-slots.ts';
import type { Share } from '../shares.ts';
import { BlockReader } from './tftp-blocks.ts';
import { no, type Terms, type TftpNo, thrown } from './tftp-request.ts';
import type { TftpLimits, TftpPeer } from './tftp-types.ts';

/** How a transfer ended. */
export interface TransferEnd {
  readonly outcome: Outcome;
  /** Bytes of content that were acknowledged. */
  readonly bytes: number;
  /** Datagrams that were sent again. */
  readonly retransmissions: number;
  /** What the client said when it broke off. Hostile text. */
  readonly said: string | undefined;
  /** Why it was not given: `refused`, `failed`. */
  readonly no: TftpNo | undefined;
}

/** What a transfer needs of the socket and the table that it lives in. */
export interface TransferEdge {
  /** Sends one datagram to the client, or loses it. */
  send(packet: Buffer): void;
  /** The client answered for the first time: its address is its own. */
  answered(): void;
  /** A datagram of the client was ignored. */
  ignored(bytes: Uint8Array): void;
  /** Once. The file may still be closing: `closed` says when it is. */
  ended(end: TransferEnd): void;
}

type TransferLimits = Pick<TftpLimits, 'retransmitMs' | 'maxRetries' | 'handshakeMs'>;

/** A transfer with this many unanswered retransmissions may make room for a new one. */
const SILENT_RETRIES = 3;
/**
 * What part of the usual time a first retransmission waits, until the client has shown that it needs longer. Most
 * machines are milliseconds away; a client that names seconds (RFC 2349: no less than one can be named) waits no longer
 * than that, and after this one as long.
 */
const HASTE = 1 / 4;

/**
 * One file on its way to one client: RFC 1350 with windows (RFC 7440). Knows no socket.
 *
 * Blocks are counted from 1 without end; on the wire their number is that modulo 65536, so block 65536 is 0,
 * as every client that boots files of this size expects.
 *
 * Only an ACK that acknowledges something new makes a block leave. A repeated ACK never does: answering it
 * doubles every packet for the rest of the transfer (the Sorcerer's Apprentice, RFC 1123 §4.2.3.1). What was
 * lost is sent again by our timer alone, or after an ACK in the middle of a window, which is new.
 *
 * Before the first ACK there is no such timer: anyone can write anyone's address on a request, and its owner gets
 * one datagram for each, no more. A client whose request or whose answer was lost asks again, and is answered again.
 */
export class Transfer implements Holder {
  readonly id: number;
  readonly peer: TftpPeer;
  readonly share: Share;
  readonly #limits: TransferLimits;
  readonly #pool: ChunkPool;
  readonly #edge: TransferEdge;

  #resource: Resource | undefined;
  #terms: Terms = { blksize: 512, windowsize: 1, timeoutMs: undefined, accepted: new Map() };
  /** Number of the last block; always shorter than the others, perhaps empty. */
  #last = 0;
  /** The OACK that waits for its ACK. */
  #oack: Buffer | undefined;
  #open: OpenResource | undefined;
  #reader: BlockReader | undefined;
  #busy = false;
  #loading: Promise<unknown> = Promise.resolve();

  /** Blocks in flight, each a whole packet, reused every `windowsize` blocks. */
  readonly #slots: Buffer[] = [];
  #lastPacket: Buffer | undefined;
  #acked = 0;
  #next = 1;
  #filled = 0;

  #timer: NodeJS.Timeout | undefined;
  #timerMs = 0;
  #retries = 0;
  /** How long a first retransmission waits. */
  #hasteMs: number;
  /** Whether the ACK before was of a block that had left twice. */
  #doubtful = false;
  #retransmissions = 0;
  #answered = false;
  #ended = false;
  #closing: Promise<void> = Promise.resolve();

  constructor(
    facts: { readonly id: number; readonly peer: TftpPeer; readonly share: Share },
    limits: TransferLimits,
    pool: ChunkPool,
    edge: TransferEdge,
  ) {
    this.id = facts.id;
    this.peer = facts.peer;
    this.share = facts.share;
    this.#limits = limits;
    this.#pool = pool;
    this.#edge = edge;
    this.#hasteMs = limits.retransmitMs * HASTE;
  }

  /** False until the client has shown that it receives what it asked for: until then its address is a claim. */
  get answered(): boolean {
    return this.#answered;
  }

  get proven(): boolean {
    return this.#answered;
  }

  /** Where its client has fallen silent. */
  get spare(): boolean {
    return this.#retries >= SILENT_RETRIES;
  }

  get owed(): number {
    return (this.#resource?.size ?? 0) - this.#bytes();
  }

  giveWay(): void {
    this.end('gave-way', this.#answered ? BUSY : undefined);
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Resolves when the file is closed, after the transfer has ended. */
  get closed(): Promise<void> {
    return this.#closing;
  }

  /**
   * Sends the first packet: OACK, or block 1 where no option was agreed on. With OACK the file is not opened
   * before the client has answered: neither spoofed requests nor ROMs that only want tsize cost a descriptor.
   */
  begin(resource: Resource, terms: Terms): void {
    if (this.#ended) return;
    this.#resource = resource;
    this.#terms = terms;
    this.#last = Math.floor(resource.size / terms.blksize) + 1;
    this.#timer = setTimeout(() => this.end('timeout'), this.#limits.handshakeMs);
    if (terms.accepted.size === 0) {
      this.#pump();
      return;
    }
    this.#oack = encodeTftp({ kind: 'oack', options: terms.accepted });
    this.#edge.send(this.#oack);
  }

  /** The same request has come again, before an answer to what was sent: that is sent once more. */
  repeat(): void {
    // While its first packet is still being made, that is the answer.
    if (this.#ended || this.#answered || this.#resource === undefined || this.#busy) return;
    this.#retransmissions += 1;
    if (this.#oack !== undefined) {
      this.#edge.send(this.#oack);
    } else {
      this.#next = 1;
      this.#pump();
    }
  }

  /** Takes a datagram that came from the client's address and port. */
  receive(bytes: Uint8Array): void {
    if (this.#ended) return;
    const opcode = tftpOpcode(bytes);
    if (opcode === TFTP_OPCODE.ack && bytes.length === TFTP_HEADER) {
      this.#acknowledged(((bytes[2] ?? 0) << 8) | (bytes[3] ?? 0));
    } else if (opcode === TFTP_OPCODE.error) {
      // Never answered, and it ends the transfer even where its text is odd: a client that says no in bad
      // grammar means it. Intel's ROM says `TFTP Aborted`, UEFI `User aborted the transfer`, both after OACK
      // has told them the size; they then ask anew.
      this.end(this.#acked === 0 ? 'probe' : 'client-gone', undefined, errorText(bytes));
    } else if (bytes.length < TFTP_HEADER) {
      this.#edge.ignored(bytes);
    } else if (opcode === TFTP_OPCODE.ack) {
      this.#edge.ignored(bytes);
    } else {
      this.end('protocol', no(TFTP_ERROR.illegalOperation, 'That has no place in a transfer'));
    }
  }

  /** Ends the transfer where it has not ended; `tell` is the ERROR that the client gets. */
  end(outcome: Outcome, tell?: TftpNo, said?: string): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#timer);
    if (tell !== undefined) {
      this.#edge.send(encodeTftp({ kind: 'error', code: tell.error, message: tell.text }));
    }
    this.#closing = this.#close();
    const retransmissions = this.#retransmissions;
    this.#edge.ended({ outcome, bytes: this.#bytes(), retransmissions, said, no: tell });
  }

  /** Bytes that the client has. */
  #bytes(): number {
    return Math.min(this.#acked * this.#terms.blksize, this.#resource?.size ?? 0);
  }

  #acknowledged(block: number): void {
    if (this.#oack !== undefined) {
      if (block !== 0) return;
      this.#oack = undefined;
      this.#progress();
      this.#pump();
      return;
    }
    // Of the past, a repetition, or of a block that never left: each is ignored.
    const more = (block - this.#acked) & 0xffff;
    if (more === 0) this.#repeated();
    if (more === 0 || more > this.#filled - this.#acked) return;
    this.#acked += more;
    this.#progress();
    if (this.#acked === this.#last) {
      this.end('complete');
      return;
    }
    this.#rewind();
    this.#pump();
  }

  #progress(): void {
    this.#doubtful = this.#retries > 0;
    this.#retries = 0;
    if (this.#answered) return;
    this.#answered = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#edge.answered();
  }

  /**
   * Both of what left twice were answered: nothing had been lost, and this client, or the way to it, is slower than was
   * thought. RFC 1123 §4.2.3.2 demands that the time adapts. No datagram leaves for it.
   */
  #repeated(): void {
    if (!this.#doubtful) return;
    this.#doubtful = false;
    this.#hasteMs = Math.min(this.#hasteMs * 2, this.#terms.timeoutMs ?? this.#limits.retransmitMs);
    this.#arm();
  }

  /** What left and was not acknowledged leaves again (RFC 7440 §4: from the block after the acknowledged). */
  #rewind(): void {
    this.#retransmissions += this.#next - 1 - this.#acked;
    this.#next = this.#acked + 1;
  }

  /** Sends what the window has room for. */
  #pump(): void {
    if (this.#busy || this.#ended) return;
    const end = Math.min(this.#acked + this.#terms.windowsize, this.#last);
    while (this.#next <= end) {
      const block = this.#next;
      if (block > this.#filled) {
        if (!this.#fill(block)) {
          this.#load(block);
          return;
        }
        this.#filled = block;
      }
      this.#next = block + 1;
      this.#edge.send(block === this.#last && this.#lastPacket ? this.#lastPacket : this.#slot(block));
    }
    this.#arm();
  }

  /** Makes the packet of a block out of what is in memory; false where that is not enough. */
  #fill(block: number): boolean {
    if (block === this.#last || this.#reader === undefined) return false;
    const packet = this.#slot(block);
    writeTftpDataHeader(packet, block & 0xffff);
    return this.#reader.take(packet, TFTP_HEADER, this.#terms.blksize);
  }

  /**
   * The packet in which a block stands. A datagram that the kernel did not take at once may still refer to
   * it when it is filled again: then a newer block leaves twice, whole, which a client passes over. The last
   * block is shorter and has a packet of its own, since there a mix of lengths would be a wrong file.
   */
  #slot(block: number): Buffer {
    const index = block % this.#terms.windowsize;
    this.#slots[index] ??= Buffer.allocUnsafeSlow(TFTP_HEADER + this.#terms.blksize);
    return this.#slots[index];
  }

  #load(block: number): void {
    this.#busy = true;
    const loading = this.#loaded(block);
    this.#loading = loading;
    loading.then(
      () => {
        this.#busy = false;
        this.#filled = Math.max(this.#filled, block);
        this.#pump();
      },
      (error: unknown) => {
        this.end(error instanceof Refusal ? 'refused' : 'failed', thrown(error));
      },
    );
  }

  async #loaded(block: number): Promise<void> {
    const { blksize } = this.#terms;
    const resource = this.#resource;
    if (resource === undefined) throw new Error('a transfer without its resource');
    const reader = this.#reader ?? (await this.#opened(resource));
    const last = block === this.#last;
    const length = last ? resource.size % blksize : blksize;
    const packet = last ? Buffer.allocUnsafeSlow(TFTP_HEADER + length) : this.#slot(block);
    writeTftpDataHeader(packet, block & 0xffff);
    await reader.load(packet, TFTP_HEADER, length);
    if (!last) return;
    // Without its last block no client has the file: a file that changed on the way never becomes complete.
    await this.#open?.check();
    this.#lastPacket = packet;
  }

  async #opened(resource: Resource): Promise<BlockReader> {
    // The last block waits for `check`.
    const open = await resource.open('whole');
    if (this.#ended) {
      await open.close();
      throw new Error('the transfer ended while its file was being opened');
    }
    this.#open = open;
    this.#reader = new BlockReader(open, this.#pool, this.share, resource.size);
    return this.#reader;
  }

  async #close(): Promise<void> {
    await this.#reader?.release();
    // A file that is just being opened closes itself as soon as it is; its failure has had its listener.
    await this.#loading.catch(() => {});
    await this.#open?.close();
  }

  /** Waits for an ACK; not for the first one, which may never come from where the request claims to be. */
  #arm(): void {
    if (!this.#answered) return;
    const ms = this.#retries === 0 ? this.#hasteMs : this.#patienceMs();
    if (this.#timer !== undefined && ms === this.#timerMs) {
      this.#timer.refresh();
      return;
    }
    clearTimeout(this.#timer);
    this.#timerMs = ms;
    this.#timer = setTimeout(() => this.#late(), ms);
  }

  /** How long a retransmission that is not the first waits for its answer. */
  #patienceMs(): number {
    const { retransmitMs } = this.#limits;
    return this.#terms.timeoutMs ?? retransmitMs * 2 ** Math.min(this.#retries - 1, 3);
  }

  #late(): void {
    if (this.#ended) return;
    if (this.#busy) {
      this.#arm();
      return;
    }
    if (this.#retries >= this.#limits.maxRetries) {
      this.end('stalled', no(TFTP_ERROR.undefined, 'The client stopped answering'));
      return;
    }
    this.#retries += 1;
    this.#rewind();
    this.#pump();
  }
}

/** What one is told who has to make room. */
const BUSY = no(TFTP_ERROR.undefined, 'The server is busy, try again later');

function errorText(bytes: Uint8Array): string | undefined {
  try {
    const packet = decodeTftp(bytes);
    return packet.kind === 'error' ? `${packet.code} ${packet.message}` : undefined;
  } catch (error) {
    if (error instanceof Malformed) return undefined;
    throw error;
  }
}
