import { constants } from 'node:crypto';
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { createSecureContext, createServer, type TLSSocket, type Server as TlsServer } from 'node:tls';
import { askedText } from '../asked.ts';
import type { Emit } from '../emit.ts';
import type { Connections } from './connections.ts';

/** What a TLS server shows of itself: PEM both, the certificate with whatever stands between it and a root. */
export interface TlsPair {
  readonly certificate: Uint8Array;
  readonly key: Uint8Array;
}

export interface TlsDoorOptions {
  readonly pair: TlsPair;
  /** Who answers what comes through the door. */
  readonly server: Server;
  readonly connections: Connections;
  /** Milliseconds that a client has to show itself. */
  readonly handshakeTimeoutMs: number;
  readonly emit: Emit;
}

/**
 * A second door to an HTTP server: what comes through it over TLS is that server's connection, with its limits and its
 * answers. A connection is counted from its first packet on, so one that never shakes hands is as dear as any other.
 */
export function tlsDoor({ pair, server, connections, handshakeTimeoutMs, emit }: TlsDoorOptions): TlsServer {
  const options = { ...contextOf(pair), handshakeTimeout: handshakeTimeoutMs, noDelay: true };
  const door = createServer({ ...options, ALPNProtocols: ['http/1.1'] }, (socket) => {
    if (connections.secured(socket)) server.emit('connection', socket);
    else socket.destroy();
  });
  const turnAway = (socket: Socket, reason: 'too-many' | 'too-slow' | 'not-a-request', why: string) =>
    emit({
      kind: 'turned-away',
      server: 'http',
      remote: socket.remoteAddress ?? '',
      reason,
      asked: askedText(why),
    });
  door.on('connection', (socket: Socket) => {
    if (connections.admit(socket, true) !== undefined) return;
    turnAway(socket, 'too-many', '');
    socket.destroy();
  });
  door.on('tlsClientError', (error: NodeJS.ErrnoException, socket: TLSSocket) => {
    // Whoever went away asked for nothing; whoever speaks no TLS, or none of ours, is told by an alert where that can be.
    if (error.code === 'ERR_TLS_HANDSHAKE_TIMEOUT') turnAway(socket, 'too-slow', 'TLS handshake');
    else if (error.code !== 'ECONNRESET')
      turnAway(socket, 'not-a-request', `TLS handshake: ${error.code ?? error.message}`);
    socket.destroy();
  });
  return door;
}

/** From now on the door shows another certificate; connections that are open keep theirs. */
export function changePair(door: TlsServer, pair: TlsPair): void {
  door.setSecureContext(contextOf(pair));
}

/** Throws what OpenSSL says where a pair is none: another key, no PEM, a key that is encrypted. */
export function demandPair(pair: TlsPair): void {
  createSecureContext(contextOf(pair));
}

/** Without renegotiation, which only makes work; and without tickets: their key lives as long as the process, and whoever has it later reads what was recorded before. */
function contextOf({ certificate, key }: TlsPair) {
  return {
    cert: Buffer.from(certificate),
    key: Buffer.from(key),
    minVersion: 'TLSv1.2' as const,
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
  };
}
