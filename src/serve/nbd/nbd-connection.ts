import type { Socket } from 'node:net';
import { Malformed } from '../../errors/malformed.ts';
import {
  decodeNbdClientFlags,
  encodeNbdGreeting,
  NBD_CLIENT_FLAG,
  NBD_CLIENT_FLAGS,
  NBD_GREETING_FLAG,
} from '../../formats/net/nbd.ts';
import { decodeNbdOptionFrame, nbdOptionLength } from '../../formats/net/nbd-option.ts';
import { NBD_REQUEST } from '../../formats/net/nbd-request.ts';
import { type Answer, Handshake } from './nbd-handshake.ts';
import type { ReplyMemory } from './nbd-memory.ts';
import { Transmission } from './nbd-transmission.ts';
import type { NbdEnding, NbdEvent, NbdExport, NbdExports, NbdLimits } from './nbd-types.ts';

/** What every connection of a server shares. */
export interface NbdContext {
  readonly exports: NbdExports;
  readonly limits: NbdLimits;
  readonly memory: ReplyMemory;
  onEvent(event: NbdEvent): void;
  /** Something that is ours to repair. */
  onFault(error: unknown): void;
}

type Phase =
  | { readonly name: 'greeting' }
  | { readonly name: 'options'; readonly handshake: Handshake }
  /** An option is being answered. */
  | { readonly name: 'answering' }
  | { readonly name: 'transmission'; readonly transmission: Transmission }
  /** Everything was said; what still comes is not looked at. */
  | { readonly name: 'leaving' };

/** One client's connection, from its greeting to its end. */
export class NbdConnection {
  readonly #context: NbdContext;
  readonly #socket: Socket;
  readonly #id: number;
  readonly #unwelcome: string | undefined;
  readonly #since = performance.now();
  readonly remote: string;
  /** Resolves when the socket and the export are closed. */
  readonly closed: Promise<void>;
  #phase: Phase = { name: 'greeting' };
  #transmission: Transmission | undefined;
  #export: string | undefined;
  #input: Buffer = NOTHING;
  #ending: NbdEnding | undefined;
  #timer: NodeJS.Timeout | undefined;
  #failed = false;
  #halfClosed = false;
  #closing = false;

  /** @param unwelcome why this client is told to go; undefined where it is let in. */
  constructor(context: NbdContext, socket: Socket, id: number, unwelcome: string | undefined) {
    this.#context = context;
    this.#socket = socket;
    this.#id = id;
    this.#unwelcome = unwelcome;
    this.remote = socket.remoteAddress ?? '';
    this.closed = new Promise((resolve) => {
      socket.once('close', () => resolve(this.#close()));
    });
    // `close` follows, and says all there is to say.
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) => {
      if (this.#phase.name === 'leaving') return;
      this.#input = this.#input.length === 0 ? chunk : Buffer.concat([this.#input, chunk]);
      this.#advance();
    });
    socket.on('end', () => this.#clientEnded());
    this.#timer = setTimeout(() => this.#cut('timeout'), context.limits.handshakeTimeoutMs);
    socket.write(encodeNbdGreeting(NBD_GREETING_FLAG.fixedNewstyle | NBD_GREETING_FLAG.noZeroes));
  }

  /** When the write under way began, by a monotonic clock: how long its client has not taken its replies. */
  get writingSince(): number | undefined {
    return this.#transmission?.writingSince;
  }

  /** Bytes that its replies hold. */
  get held(): number {
    return this.#transmission?.held ?? 0;
  }

  /** Requests that were answered, errors included. */
  get requests(): number {
    return this.#transmission?.requests ?? 0;
  }

  /** Bytes of the export that were sent. */
  get bytes(): number {
    return this.#transmission?.bytes ?? 0;
  }

  /** Answers what it has taken and takes nothing more. A connection with nothing under way ends at once. */
  drain(): void {
    this.#closing = true;
    if (this.#phase.name === 'transmission') this.#phase.transmission.leave('closed');
    else if (this.#phase.name !== 'leaving') this.#cut('closed');
  }

  /** Ends it without another word. */
  destroy(ending: NbdEnding): void {
    this.#cut(ending);
  }

  #advance(): void {
    try {
      while (this.#step());
    } catch (error) {
      if (!(error instanceof Malformed)) this.#context.onFault(error);
      this.#cut(error instanceof Malformed ? 'protocol' : 'failed');
    }
  }

  /** Takes one message, or many requests. @returns true where there may be more. @throws Malformed */
  #step(): boolean {
    const phase = this.#phase;
    switch (phase.name) {
      case 'greeting': {
        if (this.#input.length < NBD_CLIENT_FLAGS) return false;
        const flags = decodeNbdClientFlags(this.#shift(NBD_CLIENT_FLAGS));
        const noZeroes = (flags & NBD_CLIENT_FLAG.noZeroes) !== 0;
        const handshake = new Handshake(this.#context.exports, noZeroes, this.#unwelcome, {
          refused: (name, refusal) => this.#emit({ kind: 'refused', export: name, refusal }),
          failed: (error) => this.#context.onFault(error),
        });
        this.#phase = { name: 'options', handshake };
        return true;
      }
      case 'options': {
        const length = nbdOptionLength(this.#input);
        if (length === undefined || this.#input.length < length) return false;
        const frame = decodeNbdOptionFrame(this.#shift(length));
        this.#phase = { name: 'answering' };
        // One at a time: a client that asks without listening is not listened to.
        this.#socket.pause();
        phase.handshake.answer(frame).then(
          (answer) => this.#answered(phase.handshake, answer),
          (error: unknown) => {
            this.#context.onFault(error);
            this.#cut('failed');
          },
        );
        return false;
      }
      case 'transmission': {
        const used = phase.transmission.take(this.#input);
        const { blocked } = phase.transmission;
        if (blocked) this.#socket.pause();
        else if (this.#socket.isPaused()) this.#socket.resume();
        const rest = this.#input.subarray(used);
        // A few bytes must not keep the memory of all that came with them.
        this.#input = rest.length === 0 ? NOTHING : rest.length < NBD_REQUEST ? Buffer.from(rest) : rest;
        if (this.#halfClosed && !blocked) phase.transmission.leave('disconnected');
        return false;
      }
      default:
        this.#input = NOTHING;
        return false;
    }
  }

  #answered(handshake: Handshake, { reply, next }: Answer): void {
    const opened = typeof next === 'string' ? undefined : next;
    if (this.#socket.destroyed || this.#phase.name !== 'answering') {
      opened?.close().catch((error: unknown) => this.#context.onFault(error));
      return;
    }
    if (opened !== undefined) this.#begin(opened, handshake.structured);
    if (next === 'refused' || next === 'disconnected') {
      this.#socket.write(reply);
      this.#leave(next);
      return;
    }
    this.#socket.write(reply, (error) => {
      if (error || this.#socket.destroyed) return;
      if (this.#phase.name === 'answering') this.#phase = { name: 'options', handshake };
      this.#socket.resume();
      this.#advance();
    });
  }

  #begin(opened: NbdExport, structured: boolean): void {
    clearTimeout(this.#timer);
    const { limits, memory } = this.#context;
    const transmission = new Transmission(this.#socket, opened, structured, limits, memory, {
      resume: () => this.#advance(),
      finished: () =>
        this.#leave(this.#closing ? 'closed' : this.#halfClosed ? 'client-gone' : 'disconnected'),
      broken: () => this.#cut('failed'),
      failed: (refusal) => {
        if (!this.#failed) this.#emit({ kind: 'failed', export: opened.name, refusal });
        this.#failed = true;
      },
      fault: (error) => this.#context.onFault(error),
    });
    this.#export = opened.name;
    this.#transmission = transmission;
    this.#phase = { name: 'transmission', transmission };
    this.#emit({ kind: 'opened', export: opened.name, structured });
  }

  /** A client that half-closes still wants what it asked for; one that is gone will not take it. */
  #clientEnded(): void {
    this.#halfClosed = true;
    if (this.#phase.name === 'transmission') this.#advance();
    else if (this.#phase.name !== 'leaving') this.#cut('client-gone');
  }

  /** Closes our side once everything was sent, and waits a while for the client to close its own. */
  #leave(ending: NbdEnding): void {
    if (this.#phase.name === 'leaving') return;
    this.#ending ??= ending;
    this.#phase = { name: 'leaving' };
    this.#input = NOTHING;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#socket.destroy(), this.#context.limits.lingerMs);
    this.#socket.end();
    // Closing a socket with bytes unread would take the last replies from the client.
    this.#socket.resume();
  }

  #cut(ending: NbdEnding): void {
    this.#ending ??= ending;
    this.#phase = { name: 'leaving' };
    this.#socket.destroy();
  }

  async #close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#input = NOTHING;
    this.#phase = { name: 'leaving' };
    const transmission = this.#transmission;
    await transmission?.end().catch((error: unknown) => this.#context.onFault(error));
    this.#emit({
      kind: 'closed',
      export: this.#export,
      ending: this.#ending ?? 'client-gone',
      requests: this.requests,
      bytes: this.bytes,
      durationMs: performance.now() - this.#since,
    });
  }

  #shift(length: number): Buffer {
    const taken = this.#input.subarray(0, length);
    this.#input = this.#input.subarray(length);
    return taken;
  }

  #emit(event: Unplaced): void {
    this.#context.onEvent({ ...event, id: this.#id, remote: this.remote } as NbdEvent);
  }
}

/** An event of a connection, before it says of which. */
type Unplaced = NbdEvent extends infer Event
  ? Event extends { id: number }
    ? Omit<Event, 'id' | 'remote'>
    : never
  : never;

const NOTHING: Buffer = Buffer.alloc(0);
