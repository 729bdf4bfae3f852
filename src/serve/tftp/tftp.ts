import type { RemoteInfo, Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { Malformed } from '../../errors/malformed.ts';
import { Refusal } from '../../errors/refusal.ts';
import {
  decodeTftp,
  encodeTftp,
  TFTP_ERROR,
  TFTP_HEADER,
  TFTP_OPCODE,
  type TftpRequest,
  tftpOpcode,
} from '../../formats/net/tftp.ts';
import type { Asking, TurnedAway } from '../../release/server-event.ts';
import type { Resource } from '../../release/site.ts';
import { askedText } from '../asked.ts';
import { ChunkPool } from '../chunk-pool.ts';
import { FairSlots } from '../fair-slots.ts';
import { type Bound, boundAddresses, checkListenTarget, isIpv6Only } from '../listen.ts';
import { agree, no, requestedPath, siteRefusal, type Terms, type TftpNo, thrown } from './tftp-request.ts';
import {
  closing,
  type Door,
  handedDoor,
  isPeer,
  mayBeTold,
  openDoor,
  sendDatagram,
  TransferSocket,
} from './tftp-socket.ts';
import { Transfer } from './tftp-transfer.ts';
import {
  DEFAULT_TFTP_LIMITS,
  type TftpLimits,
  type TftpPeer,
  type TftpServer,
  type TftpServerOptions,
} from './tftp-types.ts';

/**
 * Serves a site over TFTP, read-only (RFC 1350, 2347, 2348, 2349, 7440), until it is closed.
 *
 * @throws ListenError, UsageError for a descriptor that is no such socket.
 */
export async function startTftpServer(options: TftpServerOptions): Promise<TftpServer> {
  const server = new Server(options);
  await server.listen();
  return server;
}

const BUSY = no(TFTP_ERROR.undefined, 'The server is busy, try again later');
const CLOSING = no(TFTP_ERROR.undefined, 'The server is closing');

/** Bytes that are shown of a datagram that is no request. */
const MOST_SHOWN = 64;

interface Asked {
  readonly door: Door;
  readonly peer: TftpPeer;
  readonly asking: Asking;
  /** As the site is asked for it. */
  readonly path: string;
  readonly key: string;
}

class Server implements TftpServer {
  readonly #options: TftpServerOptions;
  readonly #limits: TftpLimits;
  readonly #pool: ChunkPool;
  readonly #transfers: FairSlots<Transfer>;
  readonly #doors: Door[] = [];
  /** The newest transfer of a client's port, and the request that began it. */
  readonly #byPeer = new Map<string, { readonly transfer: Transfer; readonly request: Buffer }>();
  /** What must be over before the server is closed: sockets, files. */
  readonly #pending = new Set<Promise<void>>();
  #requests = 0;
  #draining = false;
  #drained: (() => void) | undefined;
  #closed: Promise<void> | undefined;

  constructor(options: TftpServerOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULT_TFTP_LIMITS, ...options.limits };
    this.#pool = new ChunkPool(this.#limits.bufferBytes);
    this.#transfers = new FairSlots(this.#limits.maxTransfers);
  }

  get address(): string {
    return this.#doors[0]?.address ?? '';
  }

  get port(): number {
    return this.#doors[0]?.port ?? 0;
  }

  get bound(): readonly Bound[] {
    return this.#doors.map(({ address, port }) => ({ address, port }));
  }

  get transfers(): number {
    return this.#transfers.size;
  }

  get heldBytes(): number {
    return this.#pool.held;
  }

  async listen(): Promise<void> {
    try {
      await this.#openDoors();
    } catch (error) {
      this.#closeDoors();
      throw error;
    }
    for (const door of this.#doors) {
      door.socket.on('error', (error) => this.#fault(error, 'send a datagram'));
      door.socket.on('message', (bytes, peer) => this.#receive(door, bytes, peer));
      this.#track(closing(door.socket));
    }
  }

  async #openDoors(): Promise<void> {
    const { bind, port, sockets = [] } = this.#options;
    if (sockets.length > 0) {
      for (const fd of sockets) this.#doors.push(handedDoor('TFTP', fd));
      return;
    }
    const addresses = boundAddresses('TFTP', bind, port);
    const targets = addresses.map((address) => ({ what: 'TFTP', address, port }));
    for (const target of targets) checkListenTarget(target);
    for (const target of targets) {
      const { address } = target;
      // A port that was chosen for the first is the others', too.
      const at = { ...target, port: this.#doors[0]?.port ?? port };
      this.#doors.push(await openDoor(at, isIpv6Only(address, addresses)));
    }
  }

  close({ graceMs }: { readonly graceMs: number }): Promise<void> {
    this.#closed ??= this.#close();
    // Every call counts: a second one may end the wait that the first one allowed.
    const timer = setTimeout(() => this.#drained?.(), graceMs);
    return this.#closed.finally(() => clearTimeout(timer));
  }

  async #close(): Promise<void> {
    this.#draining = true;
    if (!this.#options.singlePort) this.#closeDoors();
    if (this.#transfers.size > 0) {
      await new Promise<void>((resolve) => {
        this.#drained = resolve;
      });
    }
    for (const transfer of [...this.#transfers]) {
      // Whoever never answered may not have asked either, and is left alone.
      transfer.end('closed', transfer.proven ? CLOSING : undefined);
    }
    if (this.#options.singlePort) this.#closeDoors();
    while (this.#pending.size > 0) await Promise.all(this.#pending);
  }

  #closeDoors(): void {
    for (const { socket } of this.#doors) socket.close();
  }

  /** A datagram to the port that everyone knows. */
  #receive(door: Door, bytes: Buffer, rinfo: RemoteInfo): void {
    const peer = { address: rinfo.address, port: rinfo.port };
    if (!isPeer(peer)) return;
    const opcode = tftpOpcode(bytes);
    if (opcode === TFTP_OPCODE.rrq || opcode === TFTP_OPCODE.wrq) {
      this.#request(door, bytes, peer);
      return;
    }
    if (this.#options.singlePort) {
      const known = this.#byPeer.get(keyOf(door, peer));
      if (known !== undefined) {
        known.transfer.receive(bytes);
        return;
      }
    }
    this.#stray(door.socket, bytes, peer);
  }

  /** A datagram that belongs to nothing. ERROR is never answered, nor what is too short to be a packet. */
  #stray(socket: Socket, bytes: Buffer, peer: TftpPeer): void {
    this.#turnAway(peer, 'stranger', bytes);
    const opcode = tftpOpcode(bytes);
    if (bytes.length < TFTP_HEADER || opcode === TFTP_OPCODE.error || !mayBeTold(peer)) return;
    const known = opcode !== undefined && opcode >= TFTP_OPCODE.rrq && opcode <= TFTP_OPCODE.oack;
    const [code, message] = known
      ? [TFTP_ERROR.unknownTransferId, 'Unknown transfer ID']
      : [TFTP_ERROR.illegalOperation, 'Illegal TFTP operation'];
    sendDatagram(socket, encodeTftp({ kind: 'error', code, message }), peer);
  }

  #request(door: Door, bytes: Buffer, peer: TftpPeer): void {
    const key = keyOf(door, peer);
    const known = this.#byPeer.get(key);
    // A client that asks again has not heard us. A second transfer to the same port would only earn it an ERROR 5
    // (RFC 1350 §4).
    if (known !== undefined && !known.transfer.proven && known.request.equals(bytes)) {
      known.transfer.repeat();
      return;
    }

    let packet: TftpRequest;
    try {
      packet = decodeTftp(bytes) as TftpRequest;
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      this.#tell(door, peer, no(TFTP_ERROR.illegalOperation, 'That is not a request'));
      this.#turnAway(peer, 'not-a-request', bytes);
      return;
    }
    this.#requests += 1;
    const { address: remote, port } = peer;
    const asking = {
      server: 'tftp',
      id: this.#requests,
      remote,
      port,
      asked: askedText(packet.filename),
    } as const;
    const path = requestedPath(packet);
    if (typeof path !== 'string') {
      this.#refuse(door, peer, asking, path);
      return;
    }
    if (this.#draining) {
      this.#refuse(door, peer, asking, CLOSING);
      return;
    }
    if (this.#options.singlePort) known?.transfer.end('replaced');
    this.#admit({ door, peer, asking, path, key }, packet, bytes);
  }

  /** The entry is in the table before the site is asked: what a request may cost is bounded from here on. */
  #admit({ door, peer, asking, path, key }: Asked, packet: TftpRequest, request: Buffer): void {
    const startedAt = performance.now();
    let own: TransferSocket | undefined;
    let refused = false;
    let started = false;
    const share = this.#options.shares.of(peer.address);
    const transfer = new Transfer({ id: asking.id, peer, share }, this.#limits, this.#pool, {
      send: (datagram) => {
        if (own !== undefined) own.send(datagram);
        else if (started) sendDatagram(door.socket, datagram, peer);
      },
      answered: () => this.#transfers.prove(transfer),
      ignored: (bytes) => this.#turnAway(peer, 'not-a-request', bytes),
      ended: ({ outcome, bytes, retransmissions, said, no }) => {
        this.#transfers.leave(transfer);
        if (this.#byPeer.get(key)?.transfer === transfer) this.#byPeer.delete(key);
        this.#track(transfer.closed);
        own?.close();
        if (this.#transfers.size === 0) this.#drained?.();
        if (!started) {
          if (!refused && outcome === 'gave-way') this.#turnAway(peer, 'too-many', asking.asked);
          return;
        }
        if (no !== undefined && (outcome === 'refused' || outcome === 'failed')) this.#explain(asking, no);
        const durationMs = performance.now() - startedAt;
        const facts = { outcome, bytes, durationMs, retransmissions };
        const words = said === undefined ? {} : { said: askedText(said) };
        this.#options.emit({ kind: 'ended', ...asking, ...facts, ...words });
      },
    });
    if (!this.#transfers.admit(transfer)) {
      this.#tell(door, peer, BUSY);
      this.#turnAway(peer, 'too-many', asking.asked);
      return;
    }
    this.#byPeer.set(key, { transfer, request });

    const refuse = (why: TftpNo): void => {
      if (transfer.ended) return;
      refused = true;
      transfer.end('refused');
      this.#refuse(door, peer, asking, why);
    };
    this.#decide(packet, path, asking.remote).then(
      (decision) => {
        if ('error' in decision) refuse(decision);
        if (transfer.ended || 'error' in decision) return;
        try {
          if (!this.#options.singlePort) own = this.#transferSocket(door, transfer);
        } catch (error) {
          refuse({ ...BUSY, why: error });
          return;
        }
        started = true;
        this.#options.emit({ kind: 'started', ...asking });
        transfer.begin(decision.resource, decision.terms);
      },
      (error: unknown) => refuse(thrown(error)),
    );
  }

  async #decide(
    packet: TftpRequest,
    path: string,
    remote: string,
  ): Promise<TftpNo | { readonly resource: Resource; readonly terms: Terms }> {
    const resource = await this.#options.site.find(path, { remote, server: 'tftp' });
    if (resource instanceof Refusal) return siteRefusal(resource);
    const maxBlksize = this.#options.limits?.maxBlksize ?? maxBlksizeFor(remote);
    const terms = agree(packet.options, resource.size, { ...this.#limits, maxBlksize });
    return 'error' in terms ? terms : { resource, terms };
  }

  #transferSocket(door: Door, transfer: Transfer): TransferSocket {
    const socket = new TransferSocket(door, transfer.peer);
    this.#track(socket.closed);
    socket.hear(
      (bytes) => transfer.receive(bytes),
      // RFC 1350 §4: the stranger is told, the transfer goes on as if nothing had come.
      (bytes, stranger) => this.#strange(socket, bytes, stranger),
    );
    return socket;
  }

  #strange(socket: TransferSocket, bytes: Buffer, peer: TftpPeer): void {
    this.#turnAway(peer, 'stranger', bytes);
    if (tftpOpcode(bytes) === TFTP_OPCODE.error || !mayBeTold(peer)) return;
    const code = TFTP_ERROR.unknownTransferId;
    socket.tell(encodeTftp({ kind: 'error', code, message: 'Unknown transfer ID' }), peer);
  }

  #refuse(door: Door, peer: TftpPeer, asking: Asking, why: TftpNo): void {
    this.#tell(door, peer, why);
    this.#explain(asking, why);
  }

  #tell({ socket }: Door, peer: TftpPeer, { error, text }: TftpNo): void {
    sendDatagram(socket, encodeTftp({ kind: 'error', code: error, message: text }), peer);
  }

  /** Says why something was not given, once. */
  #explain(asking: Asking, { why, error: status, text }: TftpNo): void {
    const { emit } = this.#options;
    if (why === undefined) emit({ kind: 'answered', ...asking, status, message: text });
    else if (why instanceof Refusal) emit({ kind: 'refused', ...asking, status, refusal: why });
    else emit({ kind: 'failed', ...asking, status, error: why });
  }

  #turnAway({ address: remote }: TftpPeer, reason: TurnedAway, what: Uint8Array | string): void {
    const asked = askedText(
      typeof what === 'string' ? what : Buffer.from(what).toString('latin1', 0, MOST_SHOWN),
    );
    this.#options.emit({ kind: 'turned-away', server: 'tftp', remote, reason, asked });
  }

  #fault(error: unknown, what: string): void {
    this.#options.emit({ kind: 'fault', server: 'tftp', error, what });
  }

  #track(work: Promise<void>): void {
    const tracked = work
      .catch((error: unknown) => this.#fault(error, 'close a file'))
      .finally(() => this.#pending.delete(tracked));
    this.#pending.add(tracked);
  }
}

/** An IPv6 header is 20 bytes longer. IPv4 that comes to a socket of IPv6 travels as IPv4. */
function maxBlksizeFor(remote: string): number {
  const ipv6 = isIPv6(remote) && !remote.startsWith('::ffff:');
  return DEFAULT_TFTP_LIMITS.maxBlksize - (ipv6 ? 20 : 0);
}

function keyOf(door: Door, { address, port }: TftpPeer): string {
  return `${door.address} ${door.port} ${address} ${port}`;
}
