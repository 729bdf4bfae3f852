import { createSocket, type RemoteInfo } from 'node:dgram';
import type { TestContext } from 'node:test';
import { decodeTftp, encodeTftp, type TftpPacket, type TftpRequest } from '../../../src/formats/net/tftp.ts';
import type { Site } from '../../../src/release/site.ts';
import { Shares } from '../../../src/serve/shares.ts';
import { startTftpServer } from '../../../src/serve/tftp/tftp.ts';
import type { TftpLimits, TftpServer } from '../../../src/serve/tftp/tftp-types.ts';
import { type Told, takeDown } from '../events.ts';

export interface Running extends TftpServer, Told {}

export interface Served {
  readonly limits?: Partial<TftpLimits>;
  readonly singlePort?: boolean;
  readonly bind?: string;
}

/** A server on an ephemeral loopback port that closes with the test. */
export async function tftp(t: TestContext, site: Site, options: Served = {}): Promise<Running> {
  const { told, emit } = takeDown();
  const server = await startTftpServer({
    site,
    bind: '127.0.0.1',
    port: 0,
    shares: new Shares(),
    emit,
    ...options,
  });
  t.after(() => server.close({ graceMs: 0 }));
  return {
    bound: server.bound,
    address: server.address,
    port: server.port,
    get transfers() {
      return server.transfers;
    },
    get heldBytes() {
      return server.heldBytes;
    },
    close: (grace) => server.close(grace),
    ...told,
  };
}

export interface Heard {
  readonly packet: TftpPacket;
  readonly bytes: Buffer;
  readonly from: { readonly address: string; readonly port: number };
}

/** A bare socket on loopback that hears everything and says what it is told. */
export interface Raw {
  readonly port: number;
  /** Sends bytes, or a packet, to a port. */
  say(what: Buffer | TftpPacket, port: number): void;
  /** The next datagram, in the order of arrival. */
  hear(): Promise<Heard>;
  /** Datagrams that arrived and were not heard yet. */
  readonly unheard: number;
  close(): void;
}

export async function rawSocket(t: TestContext, address = '127.0.0.1', port = 0): Promise<Raw> {
  const socket = createSocket({
    type: address.includes(':') ? 'udp6' : 'udp4',
    recvBufferSize: 1 << 20,
    lookup: (host, _options, callback) => callback(null, host, address.includes(':') ? 6 : 4),
  });
  const heard: Heard[] = [];
  const waiting: ((heard: Heard) => void)[] = [];
  socket.on('message', (bytes: Buffer, { address: from, port: fromPort }: RemoteInfo) => {
    const item = { packet: decodeTftp(bytes), bytes, from: { address: from, port: fromPort } };
    const next = waiting.shift();
    if (next === undefined) heard.push(item);
    else next(item);
  });
  await new Promise<void>((resolve) => socket.bind(port, address, resolve));
  let open = true;
  const close = (): void => {
    if (open) socket.close();
    open = false;
  };
  t.after(close);
  return {
    port: socket.address().port,
    say: (what, to) => socket.send(Buffer.isBuffer(what) ? what : encodeTftp(what), to, address),
    async hear() {
      return heard.shift() ?? new Promise((resolve) => waiting.push(resolve));
    },
    get unheard() {
      return heard.length;
    },
    close,
  };
}

export const rrq = (filename: string, options: Readonly<Record<string, string>> = {}): TftpRequest => ({
  kind: 'rrq',
  filename,
  mode: 'octet',
  options: new Map(Object.entries(options)),
});

export const ack = (block: number): TftpPacket => ({ kind: 'ack', block: block & 0xffff });

export interface Fetching {
  readonly options?: Readonly<Record<string, string>>;
  /** True where the DATA packet that arrives as the n-th, from 1, is to be lost. */
  readonly loses?: (arrival: number) => boolean;
  /** Says every ACK so many times. */
  readonly repeats?: number;
}

export interface Got {
  readonly data: Buffer;
  /** What OACK said. */
  readonly options: Readonly<Record<string, string>>;
  /** DATA packets that arrived, the lost ones included. */
  readonly arrivals: number;
}

/** Fetches a whole file as RFC 1350 and RFC 7440 say, through a network as bad as asked for. */
export async function fetchFile(
  t: TestContext,
  port: number,
  filename: string,
  { options = {}, loses = () => false, repeats = 1 }: Fetching = {},
): Promise<Got> {
  const raw = await rawSocket(t);
  raw.say(rrq(filename, options), port);
  const pieces: Uint8Array[] = [];
  let agreed: Record<string, string> = {};
  let blksize = 512;
  let windowsize = 1;
  let block = 0;
  let inWindow = 0;
  let gap = false;
  let arrivals = 0;
  for (;;) {
    const { packet, from } = await raw.hear();
    const say = (number: number): void => {
      for (let time = 0; time < repeats; time += 1) raw.say(ack(number), from.port);
    };
    if (packet.kind === 'error') throw new Error(`ERROR ${packet.code} ${packet.message}`);
    if (packet.kind === 'oack') {
      agreed = Object.fromEntries(packet.options);
      blksize = Number(agreed.blksize ?? 512);
      windowsize = Number(agreed.windowsize ?? 1);
      say(0);
    }
    if (packet.kind !== 'data') continue;
    arrivals += 1;
    if (loses(arrivals)) continue;
    if (packet.block !== ((block + 1) & 0xffff)) {
      // RFC 7440 §4: one ACK for the last block in order, once for each gap; a repetition is passed over.
      if (!gap && inWindow > 0) say(block);
      gap = true;
      inWindow = 0;
      continue;
    }
    gap = false;
    block += 1;
    inWindow += 1;
    pieces.push(packet.data);
    const last = packet.data.length < blksize;
    if (last || inWindow === windowsize) {
      say(block);
      inWindow = 0;
    }
    if (!last) continue;
    raw.close();
    return { data: Buffer.concat(pieces), options: agreed, arrivals };
  }
}
