import { chmod, chown } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { IoError, inWords } from '../errors/io.ts';
import { Malformed } from '../errors/malformed.ts';
import { Refusal, type RefusalFacts } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { explain } from '../files/atomic-file.ts';
import type { Lock } from '../files/lock.ts';
import { isThere } from '../files/read-if-there.ts';
import { demandOfState } from '../publish/log-sign.ts';
import type { ServerAddress } from '../scripts/server-address.ts';
import type { Log } from '../serve/event-log.ts';
import { LineLimiter } from '../serve/line-limiter.ts';
import { type AskPassphrase, accessOf, type KeyAccess } from '../signing/keys/passphrase.ts';
import { readLoaderSealingKeys } from '../signing/keys/sealing-keys.ts';
import { readSnapshotKey } from '../signing/keys/snapshot-key.ts';
import { openExistingState } from '../store/state.ts';
import { fingerprint } from '../trust/chain.ts';
import { type AnchorFolders, readTrustRoots } from '../trust/trust-roots.ts';
import { type Acted, type Desk, perform, type ScriptDesk } from './acts.ts';
import type { Ask } from './asks.ts';
import { type ConsumeRequest, consumeArmed, logConsumed } from './consumed.ts';
import { readLine } from './line.ts';
import { demandPeers, OVERFLOW_UID, type Peer, peerOf } from './peer.ts';
import { decodeRequest, encodeAnswer, type KeyholderAnswer } from './protocol.ts';
import { RATE, type Rate, RateLimit } from './rate.ts';
import { claimSocketPath, safeSocketPath } from './socket-place.ts';
import { findUnfinished } from './unfinished.ts';

export interface KeyholderOptions {
  /** Path of the unix socket to make. Its folder must be there, and nobody else's to write. */
  readonly socket: string;
  /** A folder of the shape that `init` makes; of it only the snapshot key is read. */
  readonly keys: string;
  /** Asked where the key has a passphrase: once, when it starts. */
  readonly passphrase?: AskPassphrase;
  /** The STATE folder, which must be there. */
  readonly state: string;
  /** Needed to move channels: what a release must lead to. */
  readonly anchors?: AnchorFolders;
  /**
   * Needed to arm machines: what signs their scripts. An `init` folder with the key of the CA, or a folder that
   * `keys delegate` filled, with one for each day.
   */
  readonly scriptKeys?: string;
  /** Where machines find the server, for scripts; default: where a release's own scripts do. */
  readonly server?: ServerAddress;
  /** Who may ask beside root and the keyholder's own user. */
  readonly allowUids?: readonly number[];
  /** Who may ask for these things alone. */
  readonly allowAsks?: ReadonlyMap<number, readonly Ask[]>;
  /** The socket's group; default: the process's. */
  readonly gid?: number;
  /** Milliseconds since 1970; default: this machine's. */
  readonly clock?: () => number;
  /** Milliseconds of a monotonic clock; default: this machine's. */
  readonly monotonic?: () => number;
  readonly rate?: Rate;
  /** Milliseconds that a client has to say what it wants, and to take its answer. */
  readonly patienceMs?: number;
  /** Structured log lines; silent by default. */
  readonly log?: Log;
}

export interface Keyholder {
  /** The socket's path, links resolved. */
  readonly socket: string;
  /** SHA-256 of the snapshot key's certificate, lower-case hex. */
  readonly fingerprint: string;
  /** What was found half done when it started, in plain sentences. */
  readonly unfinished: readonly string[];
  /** Finishes the request at work, answers it, removes the socket. */
  close(): Promise<void>;
}

const MOST_CONNECTIONS = 32;
/** Of one account: it does not keep the others out. */
const MOST_OF_ONE = 8;
const PATIENCE = 10_000;
/** Milliseconds that one who is not heard has to take his answer. */
const BRIEF = 500;
const SILENT: Log = { info: () => {}, warn: () => {}, error: () => {} };

/**
 * Holds the snapshot key and signs with it what it builds itself, for those who may ask. It is told facts and never a
 * text; it judges, writes the log, and then signs.
 *
 * @throws UsageError where it cannot be told who asks, another keyholder answers there, or there is no state; Refusal
 *   `unsafe-path` for a place that others can write, `unsafe-keys` and what else the key is refused for; IoError.
 */
export async function startKeyholder(options: KeyholderOptions): Promise<Keyholder> {
  const { state, anchors, clock = Date.now, log = SILENT } = options;
  const allowed = allowedUids(options.allowUids ?? [], [...(options.allowAsks?.keys() ?? [])]);
  await demandPeers();
  const key = await readSnapshotKey(options.keys, accessOf(options));
  // What would end every move is said before the first is asked for.
  if (anchors !== undefined) await readTrustRoots(anchors);
  await demandWritable(state);
  await demandOfState(state, key);
  const unfinished = await findUnfinished(state);
  for (const fact of unfinished) log.warn({ state }, fact);
  const path = await safeSocketPath(options.socket);
  const lock = await claimSocketPath(path);
  try {
    const scripts =
      options.scriptKeys === undefined ? undefined : await scriptDesk(options, options.scriptKeys);
    const desk: Desk = { state, key, anchors, scripts, clock, log };
    const holder = new RunningKeyholder({ ...options, allowed, desk, lock, path, log });
    await holder.listen();
    return {
      socket: path,
      fingerprint: fingerprint(key.certificate),
      unfinished,
      close: () => holder.close(),
    };
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** What signs scripts. A passphrase is asked for now, and kept: nobody sits here later. */
async function scriptDesk(options: KeyholderOptions, keys: string): Promise<ScriptDesk> {
  const { passphrase, clock = Date.now, server } = options;
  const told = new Map<string, Promise<string | undefined>>();
  const access: KeyAccess = passphrase
    ? {
        passphrase: (path, attempt) => {
          const kept = attempt === 1 ? told.get(path) : undefined;
          if (kept !== undefined) return kept;
          const given = Promise.resolve(passphrase(path, attempt));
          told.set(path, given);
          return given;
        },
      }
    : {};
  if (await isThere(join(keys, 'private', 'ca.key'))) await readLoaderSealingKeys(keys, clock(), access);
  return { ...access, keys, server };
}

/** Also finishes what a crash cut short. Whoever writes there at the moment shows that it can be written. */
async function demandWritable(folder: string): Promise<void> {
  try {
    await (await openExistingState(folder)).release();
  } catch (error) {
    if (!(error instanceof IoError && error.code === 'EWOULDBLOCK')) throw error;
  }
}

/** @throws UsageError for a uid that stands for several people. */
function allowedUids(all: readonly number[], some: readonly number[]): ReadonlySet<number> {
  const given = [...all, ...some];
  if (given.includes(OVERFLOW_UID))
    throw new UsageError(
      `uid ${OVERFLOW_UID} cannot be allowed: the kernel says so of everybody whom it does not know here.`,
    );
  return new Set([0, process.geteuid?.() ?? 0, ...given]);
}

interface Running extends KeyholderOptions {
  readonly allowed: ReadonlySet<number>;
  readonly desk: Desk;
  readonly lock: Lock;
  readonly path: string;
  readonly log: Log;
}

class RunningKeyholder {
  readonly #running: Running;
  readonly #rate: RateLimit;
  readonly #lines: LineLimiter;
  readonly #patience: number;
  readonly #server: Server;
  readonly #connections = new Map<Socket, Promise<void>>();
  /** By connection, whose it is, once that is known. */
  readonly #uids = new Map<Socket, number>();
  /** Those that have said what they want. */
  readonly #heard = new Set<Socket>();
  /** One request at a time: the state has one writer, and waiting here costs nobody a refusal. */
  #last: Promise<unknown> = Promise.resolve();
  #ending = false;

  constructor(running: Running) {
    this.#running = running;
    const monotonic = running.monotonic ?? (() => performance.now());
    this.#rate = new RateLimit(running.rate ?? RATE, monotonic);
    this.#lines = new LineLimiter(monotonic);
    this.#patience = running.patienceMs ?? PATIENCE;
    // Nothing is read before it is known whose connection it is.
    this.#server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (connection) => {
      const done = this.#serve(connection).finally(() => {
        this.#connections.delete(connection);
        this.#uids.delete(connection);
        this.#heard.delete(connection);
      });
      this.#connections.set(connection, done);
    });
    this.#server.maxConnections = MOST_CONNECTIONS;
    this.#server.on('drop', () => this.#tell('others', {}, 'too many connections at once: one was closed'));
  }

  async listen(): Promise<void> {
    const { path, gid, log } = this.#running;
    const server = this.#server;
    const ready = new Promise<void>((done, reject) => server.once('listening', done).once('error', reject));
    // Made as narrow as it stays: Node binds in this very call.
    const before = process.umask(0o117);
    try {
      server.listen(path);
    } finally {
      process.umask(before);
    }
    try {
      await ready;
      if (gid !== undefined) await chown(path, process.geteuid?.() ?? 0, gid);
      await chmod(path, 0o660);
    } catch (error) {
      server.close();
      throw explain(error, path);
    }
    server.on('error', (error) => log.error({ err: error }, 'a connection could not be taken'));
  }

  async close(): Promise<void> {
    this.#ending = true;
    // It takes the socket's name away with it.
    const closed = new Promise((done) => this.#server.close(done));
    for (const connection of this.#connections.keys()) if (!this.#heard.has(connection)) connection.destroy();
    await this.#last;
    await Promise.all(this.#connections.values());
    await closed;
    await this.#running.lock.release();
  }

  /** A line about somebody who may not ask, or asks wrongly: a flood of them fills no disk. */
  #tell(whose: string, facts: object, message: string): void {
    const { log } = this.#running;
    if (this.#lines.mayWrite({ name: whose, weight: 1 })) log.warn(facts, message);
    const leftOut = this.#lines.tell();
    if (leftOut) log.warn(leftOut, 'lines were left out');
  }

  async #serve(connection: Socket): Promise<void> {
    connection.on('error', () => {});
    // Whoever says nothing, or takes no answer, is let go.
    const late = setTimeout(() => connection.destroy(), this.#patience);
    try {
      const answer = await this.#answer(connection, () => {
        clearTimeout(late);
        this.#heard.add(connection);
      });
      if (answer) await this.#send(connection, answer, this.#heard.has(connection) ? this.#patience : BRIEF);
    } catch (error) {
      this.#tell('others', { err: error }, 'a connection was given up');
    } finally {
      clearTimeout(late);
      connection.destroy();
    }
  }

  /** @param onHeard the client has said what it wants: from now on it waits for us. */
  async #answer(connection: Socket, onHeard: () => void): Promise<KeyholderAnswer | undefined> {
    let peer: Peer | undefined;
    try {
      peer = await peerOf(connection);
      this.#demandAllowed(peer);
      this.#uids.set(connection, peer.uid);
      const line = await readLine('request to the keyholder', connection);
      if (!line) return undefined;
      const request = decodeRequest(line);
      this.#demandMayAsk(peer, request.ask);
      onHeard();
      if (request.ask !== 'consume') return await this.#inTurn(request, peer);
      // As many as boot at once: who armed them has paid for it, and what repeats itself changes nothing.
      this.#rate.giveBack(peer.uid);
      return await this.#consume(request);
    } catch (error) {
      const { log } = this.#running;
      if (!isKnown(error)) log.error({ err: error, ...peer }, 'a request failed by a fault of this program');
      const whose = peer === undefined ? 'nobody known' : `uid ${peer.uid}`;
      this.#tell(
        whose,
        { ...peer, reason: error instanceof Error ? error.message : String(error) },
        'refused',
      );
      return inAnswer(error);
    }
  }

  /** Before anything is read: who may not ask is not listened to. */
  #demandAllowed({ uid }: Peer): void {
    if (!this.#running.allowed.has(uid))
      throw new IoError(
        `uid ${uid} may not ask this keyholder; who may is said with --allow-user when it is started.`,
        this.#running.path,
        'EACCES',
      );
    if ([...this.#uids.values()].filter((other) => other === uid).length >= MOST_OF_ONE)
      throw new IoError(
        `uid ${uid} has ${MOST_OF_ONE} requests open already; ask again when they are answered.`,
        this.#running.path,
        'EAGAIN',
      );
    const over = this.#rate.take(uid);
    if (over)
      throw new IoError(
        `uid ${uid} asked too often; ask again in ${Math.ceil(over.waitMs / 1000)} s.`,
        this.#running.path,
        'EAGAIN',
      );
  }

  /** A server that serves need not be able to arm a machine, or to move a channel. */
  #demandMayAsk({ uid }: Peer, ask: Ask): void {
    const { allowAsks, allowUids = [] } = this.#running;
    const asks = allowAsks?.get(uid);
    if (asks === undefined || asks.includes(ask) || allowUids.includes(uid)) return;
    if (uid === 0 || uid === process.geteuid?.()) return;
    throw new Refusal(
      'forbidden',
      `uid ${uid} may ask this keyholder for ${asks.join(', ')} only, and this is ${ask}; --allow-user says who may.`,
      { uid, ask },
    );
  }

  /** A machine waits for this one: at once, whatever is at work. Its entry in the log has its turn. */
  async #consume(request: ConsumeRequest): Promise<KeyholderAnswer> {
    const { desk, log } = this.#running;
    const { changed, over } = await consumeArmed(desk.state, request, desk.clock());
    if (over) {
      const { mac, release } = over.arming;
      const { id, how } = over.consumption;
      log.info({ mac, id, release, how }, 'an armed boot was consumed');
      this.#last = this.#last
        .then(() => logConsumed(desk.state, over, desk.key, desk.clock()))
        .catch((error) =>
          log.error({ err: error, mac, id }, 'an armed boot that was consumed is not in the log'),
        );
    }
    return { 'bootseal-keyholder': 1, answer: 'done', did: 'wrote', changed, warnings: [] };
  }

  #inTurn(request: Acted, peer: Peer): Promise<KeyholderAnswer> {
    const { desk, log, path } = this.#running;
    const turn = this.#last.then(async () => {
      if (this.#ending)
        throw new IoError('The keyholder is ending and began nothing; ask again.', path, undefined);
      const { 'bootseal-keyholder': _, ...facts } = request;
      log.info({ ...peer, ...facts }, 'asked');
      const done = await perform(desk, request, peer);
      log.info({ ...peer, ...facts }, 'done');
      return done;
    });
    this.#last = turn.catch(() => {});
    return turn;
  }

  /** Ends when the other side has taken it and gone, or had its time. */
  #send(connection: Socket, answer: KeyholderAnswer, patience: number): Promise<void> {
    return new Promise((done) => {
      if (connection.destroyed) return done();
      const late = setTimeout(() => connection.destroy(), patience);
      connection.on('close', () => {
        clearTimeout(late);
        done();
      });
      connection.end(encodeAnswer(answer));
      connection.resume();
    });
  }
}

function isKnown(error: unknown): boolean {
  return [Malformed, Refusal, UsageError, IoError].some((kind) => error instanceof kind);
}

function inAnswer(error: unknown): KeyholderAnswer {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof Malformed)
    return {
      'bootseal-keyholder': 1,
      answer: 'refused',
      code: 'malformed',
      message: `${message}.`,
      facts: {},
    };
  if (error instanceof Refusal) {
    const { code, facts } = error;
    return { 'bootseal-keyholder': 1, answer: 'refused', code, message, facts: told(facts) };
  }
  if (error instanceof UsageError) return { 'bootseal-keyholder': 1, answer: 'usage', message };
  const said = error instanceof IoError ? message : inWords(error);
  return { 'bootseal-keyholder': 1, answer: 'io', message: said || 'Something failed.' };
}

function told(facts: RefusalFacts): Record<string, string | number | boolean> {
  const known = Object.entries(facts).flatMap(([name, value]) =>
    value === undefined || Number.isNaN(value)
      ? []
      : [[name.slice(0, 64), typeof value === 'string' ? value.slice(0, 500) : value]],
  );
  return Object.fromEntries(known);
}
