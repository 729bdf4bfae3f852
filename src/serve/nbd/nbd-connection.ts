import type { Socket } from 'node:net';
import { Malformed } from '../../errors/malformed.ts';
import { Refusal } from '../../errors/refusal.ts';
import {
  decodeNbdClientFlags,
  encodeNbdGreeting,
  NBD_CLIENT_FLAG,
  NBD_CLIENT_FLAGS,
  NBD_ERROR,
  NBD_GREETING_FLAG,
} from '../../formats/net/nbd.ts';
import { decodeNbdOptionFrame, nbdOptionLength } from '../../formats/net/nbd-option.ts';
import { NBD_REFUSED } from '../../formats/net/nbd-option-reply.ts';
import { NBD_REQUEST } from '../../formats/net/nbd-request.ts';
import type { Asking, Outcome, TurnedAway } from '../../release/server-event.ts';
import { askedText } from '../asked.ts';
import type { Emit } from '../emit.ts';
import type { Holder } from '../fair-slots.ts';
import type { Share } from '../shares.ts';
import { type Answer, Handshake } from './nbd-handshake.ts';
import type { ReplyMemory } from './nbd-memory.ts';
import { Transmission } from './nbd-transmission.ts';
import type { NbdExport, NbdExports, NbdLimits } from './nbd-types.ts';

/** What every connection of a server shares. */
export interface NbdContext {
  readonly exports: NbdExports;
  readonly limits: NbdLimits;
  readonly memory: ReplyMemory;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
  readonly emit: Emit;
}

/** Who has connected. */
export interface NbdPeer {
  /** Counts connections from 1. */
  readonly id: number;
  readonly remote: string;
  readonly port: number;
  readonly share: Share;
}

type Phase =
  | { readonly name: 'greeting' }
  | { readonly name: 'options'; readonly handshake: Handshake }
  /** An option is being answered. */
  | { readonly name: 'answering' }
  | { readonly name: 'transmission'; readonly transmission: Transmission }
  /** Everything was said; what still comes is not looked at. */
  | { readonly name: 'leaving' };

/** How a connection ends that nobody was let into an export by. */
const TURNED_AWAY: Partial<Record<Outcome, TurnedAway>> = {
  timeout: 'too-slow',
  protocol: 'not-a-request',
  'gave-way': 'too-many',
};

/** One client's connection, from its greeting to its end. */
export class NbdConnection implements Holder {
  readonly #context: NbdContext;
  readonly #socket: Socket;
  readonly #peer: NbdPeer;
  #unwelcome: string | undefined;
  #since = 0;
  /** Resolves when the socket and the export are closed. */
  readonly closed: Promise<void>;
  #phase: Phase = { name: 'greeting' };
  #transmission: Transmission | undefined;
  #export: string | undefined;
  #input: Buffer = NOTHING;
  #ending: Outcome | undefined;
  #timer: NodeJS.Timeout | undefined;
  #readsFail: 'refused' | 'failed' | undefined;
  #halfClosed = false;
  #closing = false;

  constructor(context: NbdContext, socket: Socket, peer: NbdPeer) {
    this.#context = context;
    this.#socket = socket;
    this.#peer = peer;
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
  }

  /** Begins. @param unwelcome why this client is told to go; undefined where it is let in. */
  greet(unwelcome: string | undefined): void {
    this.#unwelcome = unwelcome;
    this.#timer = setTimeout(() => this.#cut('timeout'), this.#context.limits.handshakeTimeoutMs);
    this.#socket.write(encodeNbdGreeting(NBD_GREETING_FLAG.fixedNewstyle | NBD_GREETING_FLAG.noZeroes));
  }

  get share(): Share {
    return this.#peer.share;
  }

  get owed(): number {
    return this.held;
  }

  /** Until it has an export: a root disk that is idle is not to spare. */
  get spare(): boolean {
    return this.#transmission === undefined;
  }

  /** It has answered a SYN. */
  readonly proven = true;

  giveWay(): void {
    this.#cut('gave-way');
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
  destroy(ending: Outcome): void {
    this.#cut(ending);
  }

  #advance(): void {
    try {
      while (this.#step());
    } catch (error) {
      if (!(error instanceof Malformed)) this.#fault(error);
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
          refused: (name, refusal) => {
            const status = refusal.code === 'absent' ? NBD_REFUSED.unknownExport : NBD_REFUSED.policy;
            this.#context.emit({ kind: 'refused', ...this.#asking(name), refusal, status });
          },
          failed: (name, error) =>
            this.#context.emit({ kind: 'failed', ...this.#asking(name), error, status: NBD_REFUSED.policy }),
          fault: (error) => this.#fault(error),
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
            this.#fault(error);
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
      opened?.close().catch((error: unknown) => this.#fault(error));
      return;
    }
    if (opened !== undefined) this.#begin(opened, handshake.structured);
    if (next === 'refused' || next === 'disconnected') {
      this.#socket.write(reply);
      this.#leave('complete');
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
    const { limits, memory, now } = this.#context;
    const shared = { limits, memory, now, share: this.share };
    const transmission = new Transmission(this.#socket, opened, structured, shared, {
      resume: () => this.#advance(),
      finished: () => this.#leave(this.#closing ? 'closed' : this.#halfClosed ? 'client-gone' : 'complete'),
      broken: () => this.#cut(this.#readsFail ?? 'failed'),
      failed: (error) => this.#readFailed(opened.name, error),
    });
    this.#export = opened.name;
    this.#transmission = transmission;
    this.#since = now();
    this.#phase = { name: 'transmission', transmission };
    this.#context.emit({ kind: 'started', ...this.#asking(opened.name) });
  }

  /** Told of the first read of each connection that fails: a disk that is gone fails thousands. */
  #readFailed(name: string, error: unknown): void {
    if (this.#readsFail !== undefined) return;
    const asking = this.#asking(name);
    const status = NBD_ERROR.io;
    if (error instanceof Refusal) {
      this.#readsFail = 'refused';
      this.#context.emit({ kind: 'refused', ...asking, refusal: error, status });
    } else {
      this.#readsFail = 'failed';
      this.#context.emit({ kind: 'failed', ...asking, error, status });
    }
  }

  /** A client that half-closes still wants what it asked for; one that is gone will not take it. */
  #clientEnded(): void {
    this.#halfClosed = true;
    if (this.#phase.name === 'transmission') this.#advance();
    else if (this.#phase.name !== 'leaving') this.#cut('client-gone');
  }

  /** Closes our side once everything was sent, and waits a while for the client to close its own. */
  #leave(ending: Outcome): void {
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

  #cut(ending: Outcome): void {
    this.#ending ??= ending;
    this.#phase = { name: 'leaving' };
    this.#socket.destroy();
  }

  async #close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#input = NOTHING;
    this.#phase = { name: 'leaving' };
    const transmission = this.#transmission;
    await transmission?.end().catch((error: unknown) => this.#fault(error));
    const ending = this.#ending ?? 'client-gone';
    if (this.#export === undefined) {
      const reason = TURNED_AWAY[ending];
      const { remote } = this.#peer;
      if (reason === undefined || this.#unwelcome !== undefined) return;
      this.#context.emit({ kind: 'turned-away', server: 'nbd', remote, reason, asked: '' });
      return;
    }
    const { requests, bytes } = this;
    const durationMs = this.#context.now() - this.#since;
    const facts = { outcome: ending, bytes, durationMs, requests };
    this.#context.emit({ kind: 'ended', ...this.#asking(this.#export), ...facts });
  }

  #shift(length: number): Buffer {
    const taken = this.#input.subarray(0, length);
    this.#input = this.#input.subarray(length);
    return taken;
  }

  #asking(name: string): Asking {
    const { id, remote, port } = this.#peer;
    return { server: 'nbd', id, remote, port, asked: askedText(name) };
  }

  #fault(error: unknown): void {
    this.#context.emit({ kind: 'fault', server: 'nbd', error, what: 'answer' });
  }
}

const NOTHING: Buffer = Buffer.alloc(0);
