import type { Socket } from 'node:net';
import { Malformed } from '../../errors/malformed.ts';
import { viewOf } from '../../formats/net/nbd.ts';
import {
  encodeNbdChunk,
  NBD_DATA_CHUNK_HEADER,
  NBD_SIMPLE_REPLY,
  writeNbdDataChunk,
  writeNbdSimpleReply,
} from '../../formats/net/nbd-reply.ts';
import { decodeNbdRequest, NBD_REQUEST, type NbdRequest } from '../../formats/net/nbd-request.ts';
import { SMALLEST } from '../chunk-pool.ts';
import type { Share } from '../shares.ts';
import { CLOSING, decide, type NbdFault, READ_ONLY } from './nbd-decide.ts';
import type { ReplyChunk, ReplyMemory } from './nbd-memory.ts';
import { ReplyRoom } from './nbd-room.ts';
import { NBD_BLOCK_SIZES, type NbdExport, type NbdLimits } from './nbd-types.ts';
import { type LongReply, type Part, ReplyWire } from './nbd-wire.ts';

/**
 * Requests of one connection that are begun before it is another's turn. What is answered at once makes room at once, and a
 * mebibyte of requests for a byte each would otherwise keep everybody else waiting for a quarter of a second.
 */
const MOST_A_TURN = 1024;

export interface TransmissionEvents {
  /** It can take requests again. */
  resume(): void;
  /** The client has said that it leaves, or the server does, and everything was answered. */
  finished(): void;
  /** A reply that had begun cannot be finished. */
  broken(): void;
  /** Reads fail: a `Refusal`, or what this machine could not do. */
  failed(error: unknown): void;
}

/** What a transmission shares with others. */
export interface TransmissionContext {
  readonly limits: NbdLimits;
  readonly memory: ReplyMemory;
  /** The client's. */
  readonly share: Share;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
}

/** A connection after its handshake: requests in, replies out. */
export class Transmission {
  readonly #export: NbdExport;
  readonly #structured: boolean;
  readonly #limits: NbdLimits;
  readonly #room: ReplyRoom;
  readonly #events: TransmissionEvents;
  readonly #wire: ReplyWire;
  /** The reply whose reads have not all begun. Requests behind it wait, so that it never waits for them. */
  #issuing: LongReply | undefined;
  /** A WRITE whose data is still coming, to be refused when it has come. */
  #refusing: { readonly request: NbdRequest; left: number } | undefined;
  /** Requests that are not answered yet. */
  #open = 0;
  #reading = 0;
  #blocked = false;
  /** In `take`: there was no room; and there is some again. */
  #stuck = false;
  #freed = false;
  /** Requests that were begun in this turn of the event loop. */
  #thisTurn = 0;
  #leaving: 'disconnected' | 'closed' | undefined;
  #ended = false;
  #readAll: (() => void) | undefined;
  /** Requests that were answered. */
  requests = 0;
  /** Bytes of the export that were sent. */
  bytes = 0;

  constructor(
    socket: Socket,
    opened: NbdExport,
    structured: boolean,
    context: TransmissionContext,
    events: TransmissionEvents,
  ) {
    const { limits, memory, share, now } = context;
    this.#export = opened;
    this.#structured = structured;
    this.#limits = limits;
    this.#events = events;
    this.#room = new ReplyRoom(memory, limits.maxConnectionBytes, {
      share,
      resume: () => this.#resume(),
    });
    this.#wire = new ReplyWire(
      socket,
      structured,
      {
        check: () => {
          opened.check();
          return opened.generation;
        },
        again: (part) => this.#again(part),
        sent: (parts) => this.#sent(parts),
        dropped: ({ chunk }) => this.#room.release(chunk),
        failed: (error) => events.failed(error),
        broken: () => events.broken(),
      },
      now,
    );
  }

  /** When the write under way began, by a monotonic clock. */
  get writingSince(): number | undefined {
    return this.#wire.writingSince;
  }

  /** Bytes of memory that its replies hold. */
  get held(): number {
    return this.#room.held;
  }

  /** True where requests wait for room; the event `resume` says when there is some. */
  get blocked(): boolean {
    return this.#blocked;
  }

  /**
   * Begins what the requests in `input` ask for, as far as there is room, and sends what could be read at once: what
   * came together leaves together.
   *
   * @returns bytes that were used. What is left is a part of a request, or waits.
   * @throws Malformed where there is no request: what follows cannot be told apart any more.
   */
  take(input: Buffer): number {
    const view = new DataView(input.buffer, input.byteOffset, input.length);
    let at = 0;
    // While it is not blocked, nobody calls `resume`, and so nobody comes in here a second time.
    this.#blocked = false;
    do {
      this.#freed = false;
      this.#stuck = false;
      at = this.#takeFrom(input, view, at);
      this.#wire.flush();
    } while (this.#stuck && this.#freed && this.#thisTurn < MOST_A_TURN && !this.#ended);
    this.#blocked = this.#stuck;
    return at;
  }

  /** @returns where in `input` it came to; `#stuck` says whether for want of room. @throws Malformed */
  #takeFrom(input: Buffer, view: DataView, from: number): number {
    let at = from;
    while (!this.#ended) {
      if (!this.#issue()) break;
      // Nothing may come after DISC; what does is not looked at.
      if (this.#leaving === 'disconnected') return input.length;
      if (this.#refusing !== undefined) {
        const count = Math.min(this.#refusing.left, input.length - at);
        this.#refusing.left -= count;
        at += count;
        if (this.#refusing.left > 0) return at;
        if (!this.#refuse(this.#refusing.request, READ_ONLY)) break;
        this.#refusing = undefined;
      }
      if (input.length - at < NBD_REQUEST) return at;
      if (this.#thisTurn >= MOST_A_TURN || !this.#begin(decodeNbdRequest(view, at))) break;
      this.#count();
      at += NBD_REQUEST;
    }
    this.#stuck = true;
    return at;
  }

  #count(): void {
    this.#thisTurn += 1;
    if (this.#thisTurn > 1) return;
    setImmediate(() => {
      const isOver = this.#thisTurn >= MOST_A_TURN;
      this.#thisTurn = 0;
      if (isOver && this.#blocked) this.#resume();
    });
  }

  /** No further request is answered; the event `finished` says when those that were taken are. */
  leave(how: 'disconnected' | 'closed'): void {
    this.#leaving ??= how;
    this.#finishIfIdle();
  }

  /** The socket is gone. Resolves when no read is under way and the export is closed. */
  async end(): Promise<void> {
    this.#ended = true;
    this.#room.end();
    for (const { chunk } of this.#wire.end()) this.#room.release(chunk);
    if (this.#reading > 0) {
      await new Promise<void>((resolve) => {
        this.#readAll = resolve;
      });
    }
    await this.#export.close();
  }

  /** @returns false where there is no room for its answer yet. @throws Malformed */
  #begin(request: NbdRequest): boolean {
    if (this.#open >= this.#limits.maxRequests) return false;
    const decision = decide(request, this.#export.size, this.#structured);
    switch (decision) {
      case 'hang-up':
        throw new Malformed('NBD', 'a WRITE of more than 32 MiB');
      case 'leave':
        this.leave('disconnected');
        return true;
      case 'drain':
        this.#refusing = { request, left: request.length };
        return true;
      case 'read':
        return this.#leaving === undefined ? this.#read(request) : this.#refuse(request, CLOSING);
      case 'nothing':
        return this.#answerNothing(request);
      default:
        return this.#refuse(request, decision);
    }
  }

  #read({ cookie, offset, length }: NbdRequest): boolean {
    const header = this.#structured ? NBD_DATA_CHUNK_HEADER : NBD_SIMPLE_REPLY;
    if (header + length > SMALLEST) {
      this.#open += 1;
      this.#issuing = {
        cookie,
        offset,
        length,
        issued: 0,
        arrived: 0,
        sent: 0,
        queued: false,
        pieces: [],
        failure: undefined,
      };
      return true;
    }
    const chunk = this.#room.small(header + length);
    if (chunk === undefined) return false;
    this.#open += 1;
    const from = chunk.used;
    const to = from + header + length;
    chunk.used = to;
    if (this.#structured) writeNbdDataChunk(chunk.view, from, { cookie, offset, length, last: true });
    else writeNbdSimpleReply(chunk.view, from, 0, cookie);
    // Spelled out, here and below: an object that is put together of others costs more than the read.
    const part: Part = {
      chunk,
      from,
      to,
      head: undefined,
      data: length,
      cookie,
      offset,
      last: true,
      of: undefined,
      generation: this.#export.generation,
    };
    const reading = this.#export.read(chunk.buffer.subarray(from + header, to), offset);
    if (reading === undefined) this.#wire.add(part);
    else
      this.#await(
        reading,
        part,
        () => this.#wire.ready(part),
        (error) => this.#wire.failed(part, error),
      );
    return true;
  }

  /** Begins reads of the reply whose turn it is. @returns false where some of them have to wait. */
  #issue(): boolean {
    const reply = this.#issuing;
    if (reply === undefined) return true;
    while (reply.issued < reply.length) {
      const position = reply.offset + reply.issued;
      const left = reply.length - reply.issued;
      const chunk = this.#room.piece(left);
      if (chunk === undefined) return false;
      // Pieces end where blocks do, as far as that can be: clients and verifiers both like it.
      const full = chunk.buffer.length;
      const length = left <= full ? left : full - ((position + full) % NBD_BLOCK_SIZES.preferred);
      reply.issued += length;
      this.#fillPiece(reply, chunk, position, length);
    }
    this.#issuing = undefined;
    return true;
  }

  #fillPiece(reply: LongReply, chunk: ReplyChunk, offset: number, length: number): void {
    const part: Part = {
      chunk,
      from: 0,
      to: length,
      head: undefined,
      data: length,
      cookie: reply.cookie,
      offset,
      last: false,
      of: reply,
      generation: this.#export.generation,
    };
    const reading = this.#export.read(chunk.buffer.subarray(0, length), offset);
    if (reading === undefined) {
      this.#arrived(reply, part);
      return;
    }
    const failed = (error: unknown): void => {
      this.#room.release(chunk);
      if (reply === this.#issuing) this.#issuing = undefined;
      this.#wire.fail(reply, error, offset);
    };
    this.#await(reading, part, () => this.#arrived(reply, part), failed);
  }

  /** A piece was read: it gets its header. */
  #arrived(reply: LongReply, part: Part): void {
    const { cookie, offset, data: length } = part;
    reply.arrived += length;
    // Whichever is read last leaves last; simple replies have one header, and one order.
    part.last = this.#structured
      ? reply.arrived === reply.length
      : offset + length === reply.offset + reply.length;
    if (this.#structured) {
      part.head = Buffer.allocUnsafe(NBD_DATA_CHUNK_HEADER);
      writeNbdDataChunk(viewOf(part.head), 0, { cookie, offset, length, last: part.last });
    } else if (offset === reply.offset) {
      part.head = Buffer.allocUnsafe(NBD_SIMPLE_REPLY);
      writeNbdSimpleReply(viewOf(part.head), 0, 0, cookie);
    }
    this.#wire.arrived(reply, part);
  }

  /** Waits for the read of `part`. Where the connection has ended meanwhile, the part is given up. */
  #await(reading: Promise<void>, part: Part, done: () => void, failed: (error: unknown) => void): void {
    this.#reading += 1;
    reading.then(
      () => {
        if (!this.#isOver(part)) done();
      },
      (error: unknown) => {
        if (this.#isOver(part)) return;
        failed(error);
      },
    );
  }

  #isOver({ chunk }: Part): boolean {
    if (this.#ended) this.#room.release(chunk);
    this.#endRead();
    return this.#ended;
  }

  #endRead(): void {
    this.#reading -= 1;
    if (this.#ended && this.#reading === 0) this.#readAll?.();
  }

  /** Whoever holds the part goes on holding it, also where the connection ends meanwhile. */
  async #again(part: Part): Promise<void> {
    const { chunk, to, data, offset } = part;
    this.#reading += 1;
    try {
      part.generation = this.#export.generation;
      await this.#export.read((chunk as ReplyChunk).buffer.subarray(to - data, to), offset);
    } finally {
      this.#endRead();
    }
  }

  /** The answer to a READ of no bytes, which the protocol leaves open. */
  #answerNothing({ cookie }: NbdRequest): boolean {
    if (this.#structured) return this.#say(encodeNbdChunk(cookie, { kind: 'none' }, true), cookie);
    return this.#say(simpleReply(0, cookie), cookie);
  }

  #refuse({ cookie }: NbdRequest, { error, message }: NbdFault): boolean {
    return this.#say(
      this.#structured
        ? encodeNbdChunk(cookie, { kind: 'error', error, message }, true)
        : simpleReply(error, cookie),
      cookie,
    );
  }

  /** Has a reply without data sent. @returns false where there is no room for it yet. */
  #say(reply: Buffer, cookie: bigint): boolean {
    const chunk = this.#room.small(reply.length);
    if (chunk === undefined) return false;
    this.#open += 1;
    const from = chunk.used;
    const to = from + reply.length;
    chunk.used = to;
    reply.copy(chunk.buffer, from);
    this.#wire.add({
      chunk,
      from,
      to,
      head: undefined,
      data: 0,
      cookie,
      offset: 0,
      last: true,
      of: undefined,
      generation: 0,
    });
    return true;
  }

  #sent(parts: readonly Part[]): void {
    for (const { chunk, data, last } of parts) {
      this.#room.release(chunk);
      this.bytes += data;
      if (!last) continue;
      this.#open -= 1;
      this.requests += 1;
    }
    this.#freed = true;
    if (this.#blocked) this.#resume();
    this.#finishIfIdle();
  }

  /** There may be room again. */
  #resume(): void {
    if (!this.#ended) this.#events.resume();
  }

  #finishIfIdle(): void {
    if (this.#leaving !== undefined && this.#open === 0 && !this.#ended) this.#events.finished();
  }
}

function simpleReply(error: number, cookie: bigint): Buffer {
  const bytes = Buffer.allocUnsafe(NBD_SIMPLE_REPLY);
  writeNbdSimpleReply(viewOf(bytes), 0, error, cookie);
  return bytes;
}
