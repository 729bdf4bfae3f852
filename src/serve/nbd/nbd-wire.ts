import type { Socket } from 'node:net';
import { NBD_ERROR } from '../../formats/net/nbd.ts';
import { encodeNbdChunk, NBD_SIMPLE_REPLY, writeNbdSimpleReply } from '../../formats/net/nbd-reply.ts';
import { failureText } from './nbd-decide.ts';
import type { ReplyChunk } from './nbd-memory.ts';

/** Bytes of a piece that leaves at once: while it waited for others it would leave the processor's cache. */
const EAGER = 128 * 1024;
/**
 * Bytes that one client gets before it is another's turn. What the kernel takes at once makes room at once, so a client
 * that asks for much and takes as much would otherwise be the only one.
 */
const TURN = 1024 * 1024;
/** Bytes of one write: a client that takes so many in `stallTimeoutMs` is slow, not gone. */
const WRITE = 1024 * 1024;

/** A piece of a reply: `head`, then what stands in `chunk` from `from` to `to`. */
export interface Part {
  readonly chunk: ReplyChunk | undefined;
  readonly from: number;
  readonly to: number;
  /** Of a piece of a long reply, once it was read. */
  head: Buffer | undefined;
  /** Bytes of the export in it. */
  readonly data: number;
  readonly cookie: bigint;
  /** Of the data, in the export. */
  readonly offset: number;
  /** True where nothing of its reply follows. Of a piece of a long reply, once it was read. */
  last: boolean;
  /** The reply that it is a piece of, where it has several. */
  readonly of: LongReply | undefined;
  /** Of the export, when its read began. */
  generation: number;
}

/** A reply to a READ that does not fit into one chunk of memory. */
export interface LongReply {
  readonly cookie: bigint;
  readonly offset: number;
  readonly length: number;
  /** Bytes for which a read was begun. */
  issued: number;
  /** Bytes that were read. */
  arrived: number;
  /** Bytes on the wire (simple replies, whose pieces leave in order). */
  sent: number;
  /** True where it waits for the wire, has it, or had it (simple replies). */
  queued: boolean;
  /** Pieces that were read and wait (simple replies). */
  readonly pieces: Part[];
  /** What was thrown where a part of it could not be read. */
  failure: unknown;
}

export interface WireEvents {
  /** Looks whether what was read may leave. @returns the export's generation. @throws Refusal */
  check(): number;
  /** Reads once more what a part holds. Rejects with a `Refusal`. */
  again(part: Part): Promise<void>;
  /** Parts that left. */
  sent(parts: readonly Part[]): void;
  /** A part that never will. */
  dropped(part: Part): void;
  /** Reads fail: a `Refusal`, or what this machine could not do. */
  failed(error: unknown): void;
  /** A reply that had begun cannot be finished. */
  broken(): void;
}

/**
 * What leaves a connection in its transmission phase. Replies leave in the order in which they are ready, as
 * many with one write as are; there is never more than one write under way, so whatever becomes ready meanwhile
 * leaves together.
 */
export class ReplyWire {
  readonly #socket: Socket;
  readonly #structured: boolean;
  readonly #events: WireEvents;
  readonly #now: () => number;
  readonly #ready: (Part | LongReply)[] = [];
  #next = 0;
  /** Simple replies of which some piece was read, but not the first. */
  readonly #headless = new Set<LongReply>();
  /** The simple reply in the middle of which the wire is: nothing else may leave before its end. */
  #owner: LongReply | undefined;
  #writing: readonly Part[] = [];
  /** Parts that are being read once more; nothing leaves meanwhile. */
  #renewing: readonly Part[] = [];
  #scheduled = false;
  /** Bytes of large writes in this turn of the event loop. */
  #thisTurn = 0;
  /** What the kernel has taken, and is not told before the next turn. */
  #late: readonly Part[] | undefined;
  #ended = false;
  /** When the write under way began, by a monotonic clock. */
  writingSince: number | undefined;

  /** @param now milliseconds of a monotonic clock. */
  constructor(socket: Socket, structured: boolean, events: WireEvents, now: () => number) {
    this.#socket = socket;
    this.#structured = structured;
    this.#events = events;
    this.#now = now;
  }

  /** What may leave; of a long simple reply, the reply itself. It does at the end of this turn of the event loop. */
  ready(what: Part | LongReply): void {
    this.#ready.push(what);
    this.schedule();
  }

  /** What may leave with the next `flush`, which whoever adds it calls when he has added all. */
  add(what: Part): void {
    this.#ready.push(what);
  }

  /** Has everything that is ready sent, at the end of this turn of the event loop. */
  schedule(): void {
    if (this.#scheduled || this.writingSince !== undefined || this.#ended) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.flush();
    });
  }

  /** The socket is gone. @returns parts that never left; those of a write that was cut off are marked so. */
  end(): readonly Part[] {
    this.#ended = true;
    for (const { chunk } of [...this.#writing, ...this.#renewing]) if (chunk !== undefined) chunk.cut = true;
    const left = [...this.#writing];
    for (const item of this.#ready.slice(this.#next)) left.push(...('pieces' in item ? item.pieces : [item]));
    if (this.#owner !== undefined) left.push(...this.#owner.pieces);
    for (const { pieces } of this.#headless) left.push(...pieces);
    this.#headless.clear();
    this.#writing = [];
    this.#ready.length = 0;
    this.#next = 0;
    this.#owner = undefined;
    return left;
  }

  /** What `part` was for could not be read. */
  failed(part: Part, failure: unknown): void {
    this.#events.failed(failure);
    this.#drop(part);
    this.ready(this.#errorPart(part, failure));
  }

  /** A reply of several pieces cannot be finished: what is read of it from now on is given up. */
  fail(reply: LongReply, failure: unknown, offset: number): void {
    if (reply.failure !== undefined) return;
    reply.failure = failure;
    reply.issued = reply.length;
    this.#events.failed(failure);
    if (this.#structured) {
      this.ready(this.#errorPart({ cookie: reply.cookie, offset }, failure));
    } else if (reply.sent > 0) {
      this.#events.broken();
    } else {
      this.#headless.delete(reply);
      for (const piece of reply.pieces.splice(0)) this.#drop(piece);
      if (!reply.queued) this.ready(reply);
      reply.queued = true;
    }
  }

  /** A piece of `reply` was read: it waits for its turn, or is given up. */
  arrived(reply: LongReply, piece: Part): void {
    if (reply.failure !== undefined) {
      this.#drop(piece);
    } else if (this.#structured) {
      this.ready(piece);
    } else {
      reply.pieces.push(piece);
      if (!reply.queued && piece.offset === reply.offset) {
        reply.queued = true;
        this.#headless.delete(reply);
        this.ready(reply);
      } else if (reply === this.#owner) {
        this.schedule();
      } else if (!reply.queued) {
        this.#headless.add(reply);
      }
    }
    if (piece.data >= EAGER) this.flush();
  }

  /** Writes what is ready, unless a write is under way: then all of it leaves together after that one. */
  flush(): void {
    while (this.#write());
  }

  /** @returns true where something left at once: there may be more. */
  #write(): boolean {
    if (this.#ended || this.#renewing.length > 0 || this.writingSince !== undefined) return false;
    if (this.#next === this.#ready.length && this.#owner === undefined) return false;
    try {
      const stale = this.#readBefore(this.#events.check());
      if (stale.length > 0) {
        void this.#renew(stale);
        return false;
      }
    } catch (error) {
      this.#refuse(error);
      if (this.#ended) return false;
    }
    const parts = this.#collect();
    if (parts.length === 0) return false;
    const socket = this.#socket;
    const bytes = gathered(parts);
    this.#writing = parts;
    this.writingSince = this.#now();
    const written = (error?: Error | null): void => {
      // What could not be written belongs to a socket that is about to close; what left at once is not under way.
      if (error || this.#ended || this.#writing !== parts) return;
      if (this.#thisTurn >= TURN) this.#late = parts;
      else this.#left(parts);
    };
    if (bytes.length > 1) socket.cork();
    for (let index = 0; index < bytes.length - 1; index += 1) socket.write(bytes[index] as Buffer);
    socket.write(bytes.at(-1) as Buffer, written);
    if (bytes.length > 1) socket.uncork();
    this.#count(parts);
    // The stream calls back a little later even where the kernel has taken everything. A buffer that is filled again
    // before then is still in the processor's cache.
    const isTaken = !socket.destroyed && socket.errored === null && socket.writableLength === 0;
    if (!isTaken || this.#thisTurn >= TURN) return false;
    this.#forgetWrite();
    this.#events.sent(parts);
    return !this.#ended;
  }

  /** The kernel has taken what was under way. */
  #left(parts: readonly Part[]): void {
    this.#forgetWrite();
    this.#events.sent(parts);
    if (this.#next < this.#ready.length || this.#owner !== undefined) this.schedule();
  }

  #forgetWrite(): void {
    this.writingSince = undefined;
    this.#writing = [];
  }

  /** Counts what leaves in this turn of the event loop. Small writes are not worth counting: each answers a request. */
  #count(parts: readonly Part[]): void {
    const bytes = parts.reduce((sum, { from, to }) => sum + to - from, 0);
    if (bytes < EAGER) return;
    if (this.#thisTurn === 0) setImmediate(() => this.#nextTurn());
    this.#thisTurn += bytes;
  }

  #nextTurn(): void {
    this.#thisTurn = 0;
    const late = this.#late;
    this.#late = undefined;
    if (late === undefined || this.#ended) return;
    this.#left(late);
    this.flush();
  }

  /** Parts that wait with what was read before `generation`. */
  #readBefore(generation: number): Part[] {
    const stale: Part[] = [];
    const look = (part: Part): void => {
      if (part.data > 0 && part.generation !== generation) stale.push(part);
    };
    for (let index = this.#next; index < this.#ready.length; index += 1) {
      const item = this.#ready[index] as Part | LongReply;
      if (!('pieces' in item)) look(item);
      else for (const piece of item.pieces) look(piece);
    }
    for (const piece of this.#owner?.pieces ?? []) look(piece);
    return stale;
  }

  /**
   * The file was found to be another one, perhaps, after these were read and before they left. They keep their
   * places: a reply's last piece must not come before its others.
   */
  async #renew(stale: readonly Part[]): Promise<void> {
    this.#renewing = stale;
    // All of them, also where one fails: no buffer may be used again while a read still fills it.
    const ends = await Promise.allSettled(stale.map((part) => this.#events.again(part)));
    this.#renewing = [];
    if (this.#ended) return;
    const failed = ends.find((end) => end.status === 'rejected');
    if (failed !== undefined) this.#refuse(failed.reason);
    this.flush();
  }

  /** What leaves next, in order. */
  #collect(): Part[] {
    const parts: Part[] = [];
    let bytes = 0;
    while (bytes < WRITE) {
      const part = this.#owner === undefined ? this.#take() : this.#piece(this.#owner);
      if (part === undefined) break;
      bytes += part.to - part.from;
      parts.push(part);
    }
    return parts;
  }

  #take(): Part | undefined {
    const item = this.#ready[this.#next];
    if (item === undefined) return undefined;
    this.#next += 1;
    if (this.#next === this.#ready.length) {
      this.#ready.length = 0;
      this.#next = 0;
    }
    if (!('pieces' in item)) return item;
    if (item.failure !== undefined) return this.#errorPart(item, item.failure);
    this.#owner = item;
    return this.#piece(item);
  }

  /** The next piece of a simple reply. */
  #piece(reply: LongReply): Part | undefined {
    const index = reply.pieces.findIndex(({ offset }) => offset === reply.offset + reply.sent);
    if (index === -1) return undefined;
    const [piece] = reply.pieces.splice(index, 1) as [Part];
    reply.sent += piece.data;
    if (reply.sent === reply.length) this.#owner = undefined;
    return piece;
  }

  /** Nothing that was read may leave: errors do, in its place. */
  #refuse(error: unknown): void {
    if (this.#owner !== undefined) {
      this.#events.failed(error);
      this.#events.broken();
      return;
    }
    const items = this.#ready.splice(0).slice(this.#next);
    this.#next = 0;
    for (const item of items) {
      if ('pieces' in item) {
        this.fail(item, error, item.offset);
        this.#ready.push(item);
      } else if (item.data === 0) {
        this.#ready.push(item);
      } else {
        if (item.of === undefined) {
          this.failed(item, error);
        } else {
          this.#drop(item);
          this.fail(item.of, error, item.offset);
        }
      }
    }
  }

  #drop(part: Part): void {
    if (part.chunk !== undefined && this.#renewing.includes(part)) part.chunk.cut = true;
    this.#events.dropped(part);
  }

  #errorPart(
    { cookie, offset }: { readonly cookie: bigint; readonly offset: number },
    failure: unknown,
  ): Part {
    const head = this.#structured
      ? encodeNbdChunk(
          cookie,
          { kind: 'error-offset', error: NBD_ERROR.io, message: failureText(failure), offset },
          true,
        )
      : simpleError(cookie);
    return {
      chunk: undefined,
      from: 0,
      to: 0,
      head,
      data: 0,
      cookie,
      offset,
      last: true,
      of: undefined,
      generation: 0,
    };
  }
}

function simpleError(cookie: bigint): Buffer {
  const bytes = Buffer.alloc(NBD_SIMPLE_REPLY);
  writeNbdSimpleReply(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0, NBD_ERROR.io, cookie);
  return bytes;
}

/** Parts as buffers: those that lie side by side are one. */
function gathered(parts: readonly Part[]): Buffer[] {
  const bytes: Buffer[] = [];
  let index = 0;
  while (index < parts.length) {
    const { chunk, from, head, to } = parts[index] as Part;
    let end = to;
    index += 1;
    if (head !== undefined) bytes.push(head);
    if (chunk === undefined) continue;
    for (let next = parts[index]; next?.chunk === chunk; next = parts[index]) {
      if (next.head !== undefined || next.from !== end) break;
      end = next.to;
      index += 1;
    }
    if (end > from) bytes.push(chunk.buffer.subarray(from, end));
  }
  return bytes;
}
