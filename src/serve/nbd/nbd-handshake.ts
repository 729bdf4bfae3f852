import { Malformed } from '../../errors/malformed.ts';
import { Refusal } from '../../errors/refusal.ts';
import { encodeNbdExportAnswer, NBD_EXPORT_FLAG } from '../../formats/net/nbd.ts';
import {
  decodeNbdOption,
  NBD_INFO,
  NBD_OPTION,
  type NbdOption,
  type NbdOptionFrame,
} from '../../formats/net/nbd-option.ts';
import {
  encodeNbdOptionReply,
  NBD_REFUSED,
  type NbdInfo,
  type NbdOptionReply,
} from '../../formats/net/nbd-option-reply.ts';
import { refusalText } from './nbd-decide.ts';
import { NBD_BLOCK_SIZES, type NbdExport, type NbdExports } from './nbd-types.ts';

/** What an option is answered with, and what comes after it. */
export interface Answer {
  readonly reply: Buffer;
  /** The next option, an end of the connection, or the transmission of an export. */
  readonly next: 'option' | 'disconnected' | 'refused' | NbdExport;
}

/** What a handshake tells its connection. */
export interface HandshakeEvents {
  /** An export was asked for that is not served. */
  refused(name: string, refusal: Refusal): void;
  /** An export was asked for that this machine cannot open. */
  failed(name: string, error: unknown): void;
  /** Something else that is ours to repair. */
  fault(error: unknown): void;
}

/** A handshake's options, one after the other. */
export class Handshake {
  readonly #exports: NbdExports;
  readonly #noZeroes: boolean;
  readonly #unwelcome: string | undefined;
  readonly #events: HandshakeEvents;
  #structured = false;

  /**
   * @param noZeroes whether the client asked to be spared the zeroes after EXPORT_NAME.
   * @param unwelcome why every option of this client is refused; undefined where none is for that reason.
   */
  constructor(
    exports: NbdExports,
    noZeroes: boolean,
    unwelcome: string | undefined,
    events: HandshakeEvents,
  ) {
    this.#exports = exports;
    this.#noZeroes = noZeroes;
    this.#unwelcome = unwelcome;
    this.#events = events;
  }

  /** True where the client wants structured replies. */
  get structured(): boolean {
    return this.#structured;
  }

  /** Never rejects. */
  async answer(frame: NbdOptionFrame): Promise<Answer> {
    const { option } = frame;
    let asked: NbdOption;
    try {
      asked = decodeNbdOption(frame);
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      // The one option that cannot be refused in words.
      if (option === NBD_OPTION.exportName) return CLOSE;
      return more(option, refused(NBD_REFUSED.invalid, 'That option does not look like this'));
    }
    if (asked.kind === 'abort') return { reply: encodeNbdOptionReply(option, ACK), next: 'disconnected' };
    if (this.#unwelcome !== undefined) {
      if (asked.kind === 'export-name') return CLOSE;
      return more(option, refused(NBD_REFUSED.policy, this.#unwelcome));
    }
    switch (asked.kind) {
      case 'list': {
        const servers = this.#exports
          .list()
          .map(({ name, description }) => ({ kind: 'server', name, details: description }) as const);
        return more(option, ...servers, ACK);
      }
      case 'structured-reply':
        this.#structured = true;
        return more(option, ACK);
      case 'export-name': {
        const opened = await this.#open(asked.name);
        if ('kind' in opened) return CLOSE;
        return { reply: encodeNbdExportAnswer(this.#facts(opened), this.#noZeroes), next: opened };
      }
      case 'info':
      case 'go':
        return this.#tell(asked, option);
      case 'other':
        return more(option, refused(NBD_REFUSED.unsupported, 'This server does not know that option'));
    }
  }

  async #tell(asked: NbdOption & { readonly kind: 'info' | 'go' }, option: number): Promise<Answer> {
    const opened = await this.#open(asked.name);
    if ('kind' in opened) return more(option, opened);
    const infos: NbdInfo[] = [{ kind: 'export', ...this.#facts(opened) }];
    const wants = (type: number): boolean => asked.wants.includes(type);
    if (wants(NBD_INFO.name) || opened.name !== asked.name) infos.push({ kind: 'name', name: opened.name });
    if (wants(NBD_INFO.description) && opened.description !== '') {
      infos.push({ kind: 'description', text: opened.description });
    }
    if (wants(NBD_INFO.blockSize)) infos.push({ kind: 'block-size', ...NBD_BLOCK_SIZES });
    const answer = more(option, ...infos.map((info) => ({ kind: 'info', info }) as const), ACK);
    if (asked.kind === 'go') return { reply: answer.reply, next: opened };
    await opened.close().catch((error: unknown) => this.#events.fault(error));
    return answer;
  }

  async #open(name: string): Promise<NbdExport | (NbdOptionReply & { readonly kind: 'refused' })> {
    try {
      const opened = await this.#exports.open(name);
      if (opened !== undefined) return opened;
      this.#events.refused(name, new Refusal('absent', 'There is no export of that name.'));
      return refused(NBD_REFUSED.unknownExport, 'There is no export of that name');
    } catch (error) {
      if (error instanceof Refusal) {
        this.#events.refused(name, error);
        return refused(NBD_REFUSED.policy, refusalText(error));
      }
      this.#events.failed(name, error);
      return refused(NBD_REFUSED.policy, 'The server failed to answer');
    }
  }

  #facts({ size }: NbdExport): { readonly size: number; readonly flags: number } {
    const { hasFlags, readOnly, canMultiConn, sendDf } = NBD_EXPORT_FLAG;
    // A client that did not ask for structured replies must not be told that they need not be fragmented.
    return { size, flags: hasFlags | readOnly | canMultiConn | (this.#structured ? sendDf : 0) };
  }
}

const ACK = { kind: 'ack' } as const;
const CLOSE: Answer = { reply: Buffer.alloc(0), next: 'refused' };

function refused(type: number, message: string): NbdOptionReply & { readonly kind: 'refused' } {
  return { kind: 'refused', type, message };
}

function more(option: number, ...replies: readonly NbdOptionReply[]): Answer {
  return {
    reply: Buffer.concat(replies.map((reply) => encodeNbdOptionReply(option, reply))),
    next: 'option',
  };
}
