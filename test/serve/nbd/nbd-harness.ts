import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import {
  decodeNbdGreeting,
  encodeNbdClientFlags,
  NBD_CLIENT_FLAG,
  NBD_GREETING,
} from '../../../src/formats/net/nbd.ts';
import { encodeNbdOption, NBD_OPTION, type NbdOption } from '../../../src/formats/net/nbd-option.ts';
import {
  decodeNbdOptionReply,
  type NbdInfo,
  type NbdOptionReply,
  nbdOptionReplyLength,
} from '../../../src/formats/net/nbd-option-reply.ts';
import {
  decodeNbdChunk,
  decodeNbdReplyHeader,
  NBD_CHUNK_DONE,
  nbdReplyHeaderLength,
} from '../../../src/formats/net/nbd-reply.ts';
import { encodeNbdRequest, NBD_COMMAND, type NbdRequest } from '../../../src/formats/net/nbd-request.ts';
import { type NbdServer, type NbdServerOptions, startNbdServer } from '../../../src/serve/nbd/nbd.ts';
import type { NbdExport, NbdExports, NbdLimits } from '../../../src/serve/nbd/nbd-types.ts';
import { Shares } from '../../../src/serve/shares.ts';
import { type Told, takeDown } from '../events.ts';

/** Bytes that repeat at no power of two, so that a block in another's place shows. */
export function content(size: number): Buffer {
  const bytes = Buffer.allocUnsafe(size);
  for (let at = 0; at < size; at += 1) bytes[at] = (at * 31 + (at >> 9) * 7 + (at >> 17)) & 0xff;
  return bytes;
}

export interface Running extends NbdServer, Told {}

/** A server on an ephemeral loopback port that closes with the test. */
export async function nbd(
  t: TestContext,
  exports: NbdExports,
  limits: Partial<NbdLimits> = {},
  options: Partial<NbdServerOptions> = {},
): Promise<Running> {
  const { told, emit } = takeDown();
  const server = await startNbdServer({
    exports,
    bind: '127.0.0.1',
    port: 0,
    shares: new Shares(),
    emit,
    limits,
    ...options,
  });
  t.after(() => server.close({ graceMs: 0 }));
  return {
    bound: server.bound,
    address: server.address,
    port: server.port,
    get connections() {
      return server.connections;
    },
    get heldBytes() {
      return server.heldBytes;
    },
    get requests() {
      return server.requests;
    },
    get bytes() {
      return server.bytes;
    },
    close: (options) => server.close(options),
    ...told,
  };
}

export interface MemoryExports extends NbdExports {
  /** Exports that are open now. */
  open: NbdExports['open'];
  readonly opened: number;
  /** Bytes that were read. */
  readonly bytes: number;
}

export interface MemoryExportParts {
  readonly data: Buffer;
  /** Called before each read; may wait, or throw. */
  readonly before?: (position: number, length: number) => Promise<void> | void;
  readonly check?: () => void;
  readonly generation?: () => number;
  /** `open` itself fails. */
  readonly refuses?: Error;
  /** It is in memory: what is read is there when `read` comes back. */
  readonly atOnce?: boolean;
  readonly description?: string;
}

/** Exports in memory; the first is the default one. */
export function memoryExports(parts: Readonly<Record<string, MemoryExportParts>>): MemoryExports {
  let opened = 0;
  let bytes = 0;
  const names = Object.keys(parts);
  const list = names.map((name) => ({ name, description: parts[name]?.description ?? '' }));
  return {
    list: () => list,
    get opened() {
      return opened;
    },
    get bytes() {
      return bytes;
    },
    async open(asked) {
      const name = asked === '' ? (names[0] ?? '') : asked;
      const part = parts[name];
      if (part === undefined) return undefined;
      if (part.refuses !== undefined) throw part.refuses;
      opened += 1;
      return {
        name,
        description: part.description ?? '',
        size: part.data.length,
        get generation() {
          return part.generation?.() ?? 0;
        },
        read(into, position) {
          const fill = (): void => {
            part.data.copy(into, 0, position, position + into.length);
            bytes += into.length;
          };
          const fillLater = async (): Promise<void> => {
            await part.before?.(position, into.length);
            fill();
          };
          if (!part.atOnce) return fillLater();
          part.before?.(position, into.length);
          fill();
          return undefined;
        },
        check: () => part.check?.(),
        async close() {
          opened -= 1;
        },
      } satisfies NbdExport;
    },
  };
}

/** What a READ was answered with: data where `error` is 0. */
export interface Reply {
  readonly cookie: bigint;
  readonly error: number;
  readonly message: string;
  readonly data: Buffer;
  /** Chunks with data, of a structured reply. */
  readonly chunks: number;
}

/** A client that says what it is told and hears everything. */
export class Client {
  readonly socket: Socket;
  structured = false;
  #input: Buffer[] = [];
  #arrived = 0;
  #waiting: (() => void) | undefined;
  #over = false;
  #cookie = 0n;
  /** Lengths of READs by cookie, since simple replies do not say. */
  readonly #lengths = new Map<bigint, number>();
  readonly #partial = new Map<
    bigint,
    { data: Buffer; filled: number; chunks: number; error: number; message: string }
  >();
  readonly #offsets = new Map<bigint, number>();

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      this.#input.push(chunk);
      this.#arrived += chunk.length;
      this.#waiting?.();
    });
    socket.on('close', () => {
      this.#over = true;
      this.#waiting?.();
    });
    socket.on('end', () => {
      this.#over = true;
      this.#waiting?.();
    });
  }

  /** The next bytes; rejects where the connection ends before. */
  async hear(length: number): Promise<Buffer> {
    while (this.#arrived < length) {
      if (this.#over) throw new Error(`the server closed with ${this.#arrived} of ${length} bytes`);
      await new Promise<void>((resolve) => {
        this.#waiting = resolve;
      });
    }
    if ((this.#input[0]?.length ?? 0) < length) this.#input = [Buffer.concat(this.#input)];
    const [first = Buffer.alloc(0)] = this.#input;
    this.#input[0] = first.subarray(length);
    this.#arrived -= length;
    return first.subarray(0, length);
  }

  /** Everything until the server closes. */
  async rest(): Promise<Buffer> {
    while (!this.#over) {
      await new Promise<void>((resolve) => {
        this.#waiting = resolve;
      });
    }
    return Buffer.concat(this.#input);
  }

  /** Hears the greeting, says the client's flags. */
  async greet(flags: number = NBD_CLIENT_FLAG.fixedNewstyle | NBD_CLIENT_FLAG.noZeroes): Promise<number> {
    const heard = decodeNbdGreeting(await this.hear(NBD_GREETING));
    this.socket.write(encodeNbdClientFlags(flags));
    return heard;
  }

  async optionReply(option: number): Promise<NbdOptionReply> {
    const header = await this.hear(20);
    const length = nbdOptionReplyLength(header) ?? 0;
    return decodeNbdOptionReply(Buffer.concat([header, await this.hear(length - 20)]), option);
  }

  /** Every answer to an option. */
  async answers(option: number): Promise<NbdOptionReply[]> {
    const answers: NbdOptionReply[] = [];
    for (;;) {
      const answer = await this.optionReply(option);
      answers.push(answer);
      if (answer.kind === 'ack' || answer.kind === 'refused') return answers;
    }
  }

  async ask(option: NbdOption): Promise<NbdOptionReply[]> {
    this.socket.write(encodeNbdOption(option));
    return this.answers(numberOf(option));
  }

  /** Goes on to transmission. @returns what was told. */
  async go(name: string, structured: boolean): Promise<NbdInfo[]> {
    if (structured) await this.ask({ kind: 'structured-reply' });
    this.structured = structured;
    const answers = await this.ask({ kind: 'go', name, wants: [] });
    if (answers.at(-1)?.kind !== 'ack') throw new Error(`GO: ${JSON.stringify(answers)}`);
    return answers.flatMap((answer) => (answer.kind === 'info' ? [answer.info] : []));
  }

  /** Sends a request, and says under which cookie. */
  request(parts: Partial<NbdRequest>): bigint {
    const bytes = this.requestBytes(parts);
    this.socket.write(bytes);
    return this.#cookie;
  }

  requestBytes(parts: Partial<NbdRequest>): Buffer {
    this.#cookie += 1n;
    const request = {
      flags: 0,
      command: NBD_COMMAND.read,
      cookie: this.#cookie,
      offset: 0,
      length: 0,
      ...parts,
    };
    if (request.command === NBD_COMMAND.read) this.#lengths.set(request.cookie, request.length);
    this.#offsets.set(request.cookie, request.offset);
    return encodeNbdRequest(request);
  }

  /** The next reply that is whole. Structured ones may arrive in between each other. */
  async reply(): Promise<Reply> {
    for (;;) {
      const magic = await this.hear(4);
      const length = nbdReplyHeaderLength(magic) ?? 0;
      const header = decodeNbdReplyHeader(Buffer.concat([magic, await this.hear(length - 4)]));
      const { cookie } = header;
      const asked = this.#lengths.get(cookie) ?? 0;
      if (header.kind === 'simple') {
        const data = header.error === 0 ? Buffer.from(await this.hear(asked)) : Buffer.alloc(0);
        return { cookie, error: header.error, message: '', data, chunks: 0 };
      }
      const partial = this.#partial.get(cookie) ?? {
        data: Buffer.alloc(asked),
        filled: 0,
        chunks: 0,
        error: 0,
        message: '',
      };
      this.#partial.set(cookie, partial);
      const chunk = decodeNbdChunk(header, await this.hear(header.length));
      if (chunk.kind === 'offset-data') {
        partial.data.set(chunk.data, chunk.offset - (this.#offsets.get(cookie) ?? 0));
        partial.filled += chunk.data.length;
        partial.chunks += 1;
      } else if ('error' in chunk) {
        partial.error = chunk.error;
        partial.message = chunk.message;
      }
      if ((header.flags & NBD_CHUNK_DONE) === 0) continue;
      this.#partial.delete(cookie);
      if (partial.error === 0 && partial.filled !== asked) throw new Error('a reply that is not whole');
      return { cookie, ...partial };
    }
  }

  async read(offset: number, length: number): Promise<Reply> {
    this.request({ offset, length });
    return this.reply();
  }
}

function numberOf(option: NbdOption): number {
  switch (option.kind) {
    case 'export-name':
      return NBD_OPTION.exportName;
    case 'structured-reply':
      return NBD_OPTION.structuredReply;
    case 'other':
      return option.option;
    default:
      return NBD_OPTION[option.kind];
  }
}

/** A client that has connected and said nothing. */
export async function dial(t: TestContext, port: number, from = '127.0.0.1'): Promise<Client> {
  const socket = connect({ host: '127.0.0.1', port, localAddress: from, noDelay: true });
  const client = new Client(socket);
  t.after(() => socket.destroy());
  await once(socket, 'connect');
  return client;
}

/** A client in its transmission phase. */
export async function transmitting(
  t: TestContext,
  port: number,
  {
    name = '',
    structured = false,
    from,
  }: { readonly name?: string; readonly structured?: boolean; readonly from?: string } = {},
): Promise<Client> {
  const client = await dial(t, port, from);
  await client.greet();
  await client.go(name, structured);
  return client;
}
