import { connect, type Socket } from 'node:net';
import { codeOf, IoError, inWords } from '../errors/io.ts';
import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { claimedMac } from '../formats/net/machine-claims.ts';
import { type Arming, decodeArming } from '../formats/records/armed-boot.ts';
import { decodeSnapshot, type Snapshot } from '../formats/records/snapshot.ts';
import { ASSIGNED, type Assigned } from '../machines/assigned-file.ts';
import type { WithdrawFacts } from '../store/withdraw.ts';
import { readLine } from './line.ts';
import { type Done, decodeAnswer, encodeRequest, type Facts, type KeyholderRequest } from './protocol.ts';
import { safeSocketPath, socketAt } from './socket-place.ts';

export interface KeyholderClientOptions {
  /** Path of its socket. */
  readonly socket: string;
  /** The uid that it runs as, where that is neither root nor ours. */
  readonly keyholderUid?: number;
  /** Milliseconds that an answer may take; moving a channel reads the whole release. */
  readonly patienceMs?: number;
}

export interface MovedByKeyholder {
  readonly snapshot: Snapshot;
  /** SHA-256 of the snapshot key's certificate, lower-case hex. */
  readonly fingerprint: string;
  readonly warnings: readonly string[];
}

export interface SignedByKeyholder {
  /** Entries of the log, all of them under its checkpoint. */
  readonly size: number;
  /** How many of them had waited. */
  readonly signed: number;
  /** The oldest of those, in words. */
  readonly entries: readonly string[];
}

/** What an arming is asked for by. */
export type ArmFacts = Omit<Facts<Extract<KeyholderRequest, { ask: 'arm' }>>, 'ask' | 'words' | 'by'> & {
  readonly words: readonly string[];
};

/** How far an armed boot is. */
export type ConsumeFacts = Omit<Facts<Extract<KeyholderRequest, { ask: 'consume' }>>, 'ask' | 'by'>;

export interface WrittenByKeyholder {
  /** False: it was so already. */
  readonly changed: boolean;
  readonly warnings: readonly string[];
}

export interface ArmedByKeyholder {
  readonly arming: Arming;
  readonly warnings: readonly string[];
}

const PATIENCE = 30 * 60_000;

/**
 * Asks a keyholder. What it refuses is thrown as it would be by the act itself: a `Refusal`, a `UsageError`, an
 * `IoError`; the last also where nobody answers. `by` names the token of whoever has a server ask: for the log.
 */
export class KeyholderClient {
  readonly #options: KeyholderClientOptions;

  constructor(options: KeyholderClientOptions) {
    this.#options = options;
  }

  /** A fresh snapshot of what a channel names. */
  renew(channel: string, by?: string): Promise<MovedByKeyholder> {
    return this.#moved({ ask: 'renew', channel, ...byOf(by) });
  }

  /** Moves a channel to a release that the keyholder's state holds. */
  move(channel: string, release: string, by?: string): Promise<MovedByKeyholder> {
    return this.#moved({ ask: 'move', channel, release, ...byOf(by) });
  }

  /** Publishes a sealed tree of this machine, which the keyholder's user can read. @param tree an absolute path. */
  publish(channel: string, tree: string): Promise<MovedByKeyholder> {
    return this.#moved({ ask: 'publish', channel, tree });
  }

  /** Arms a machine for one boot of a release that the keyholder's state holds. @param mac in any spelling. */
  async arm(
    { mac, uuid, release, words, lasts, afterwards, loader, id }: ArmFacts,
    by?: string,
  ): Promise<ArmedByKeyholder> {
    const done = await this.#ask({
      ask: 'arm',
      mac: claimedMac(mac) ?? mac,
      ...(uuid === undefined ? {} : { uuid }),
      release,
      words: [...words],
      lasts,
      afterwards,
      loader,
      ...(id === undefined ? {} : { id }),
      ...byOf(by),
    });
    if (done.did !== 'armed') throw this.#odd('something else was done');
    return {
      arming: this.#decoded(() => decodeArming(Buffer.from(done.arming, 'latin1'))),
      warnings: done.warnings,
    };
  }

  /** Has what is written about machines count: scripts are compiled there, signed, and named by a fresh snapshot. */
  apply(channel: string, by?: string): Promise<MovedByKeyholder> {
    return this.#moved({ ask: 'apply', channel, ...byOf(by) });
  }

  /** Takes an arming back, or ends what followed one. @param mac in any spelling. */
  disarm(mac: string, by?: string): Promise<WrittenByKeyholder> {
    return this.#wrote({ ask: 'disarm', mac: claimedMac(mac) ?? mac, ...byOf(by) });
  }

  /** Writes down that an armed boot has begun or ended, or that a file of it has left whole. */
  consume({ mac, id, how, path, address, nonce }: ConsumeFacts): Promise<WrittenByKeyholder> {
    return this.#wrote({
      ...{ ask: 'consume', mac, id, how },
      ...(path === undefined ? {} : { path }),
      ...(address === undefined ? {} : { address }),
      ...(nonce === undefined ? {} : { nonce }),
    });
  }

  /** Writes down what a machine gets; it counts once it is applied. @param assigned undefined: nothing of its own any more. */
  assign(mac: string, assigned: Assigned | undefined, by?: string): Promise<WrittenByKeyholder> {
    // In the one way in which it is written.
    const said = assigned && ASSIGNED.parse(assigned);
    return this.#wrote({
      ask: 'assign',
      mac: claimedMac(mac) ?? mac,
      ...(said === undefined ? {} : { assigned: said }),
      ...byOf(by),
    });
  }

  /** Takes a release out of use for good. */
  withdraw({ release, reason, cutRunning }: WithdrawFacts, by?: string): Promise<WrittenByKeyholder> {
    return this.#wrote({ ask: 'withdraw', release, reason, cutRunning, ...byOf(by) });
  }

  /** Signs the log's head where entries wait for it. */
  async checkpoint(): Promise<SignedByKeyholder> {
    const done = await this.#ask({ ask: 'checkpoint' });
    if (done.did !== 'signed') throw this.#odd('something else was done');
    const { size, signed, entries } = done;
    return { size, signed, entries };
  }

  /**
   * Whether somebody answers there, without asking anything.
   *
   * @returns why not, as the end of a sentence; undefined where somebody does.
   * @throws Refusal `unsafe-path`, UsageError
   */
  async reach(): Promise<string | undefined> {
    try {
      (await this.#connect()).destroy();
      return undefined;
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      return error.message.replace(/^.*?: /, '').replace(/\.$/, '');
    }
  }

  async #moved(facts: Facts<KeyholderRequest>): Promise<MovedByKeyholder> {
    const done = await this.#ask(facts);
    if (done.did !== 'moved') throw this.#odd('something else was done');
    const { key: fingerprint, warnings } = done;
    return {
      snapshot: this.#decoded(() => decodeSnapshot(Buffer.from(done.snapshot))),
      fingerprint,
      warnings,
    };
  }

  async #wrote(facts: Facts<KeyholderRequest>): Promise<WrittenByKeyholder> {
    const done = await this.#ask(facts);
    if (done.did !== 'wrote') throw this.#odd('something else was done');
    const { changed, warnings } = done;
    return { changed, warnings };
  }

  async #ask(facts: Facts<KeyholderRequest>): Promise<Done> {
    const line = this.#encoded(facts);
    const answered = await this.#exchange(line);
    const answer = this.#decoded(() => decodeAnswer(answered));
    switch (answer.answer) {
      case 'done':
        return answer;
      case 'refused':
        throw new Refusal(answer.code, answer.message, answer.facts);
      case 'usage':
        throw new UsageError(answer.message);
      case 'io':
        throw new IoError(answer.message, this.#options.socket, undefined);
    }
  }

  #encoded(facts: Facts<KeyholderRequest>): Uint8Array {
    try {
      return encodeRequest(facts);
    } catch (error) {
      if (error instanceof Malformed) throw new UsageError(`That cannot be asked: ${error.message}.`);
      throw error;
    }
  }

  async #exchange(line: Uint8Array): Promise<Uint8Array> {
    const { socket, patienceMs = PATIENCE } = this.#options;
    const connection = await this.#connect();
    const late = setTimeout(() => {
      connection.destroy(new Error(`it gave no answer within ${patienceMs / 1000} s`));
    }, patienceMs);
    try {
      connection.end(line);
      const answer = await readLine('answer of the keyholder', connection);
      if (answer) return answer;
    } catch (error) {
      if (error instanceof Malformed) throw this.#odd(error.message);
      throw new IoError(`The keyholder at ${socket} was lost: ${inWords(error)}.`, socket, codeOf(error), {
        cause: error,
      });
    } finally {
      clearTimeout(late);
      connection.destroy();
    }
    throw new IoError(
      `The keyholder at ${socket} went away without an answer; "bootseal channel show" and "bootseal log show" say what it did.`,
      socket,
      undefined,
    );
  }

  /** A stranger's socket is not asked: it would learn what is wanted, and could say that it was done. */
  async #connect(): Promise<Socket> {
    const { socket, keyholderUid } = this.#options;
    const path = await safeSocketPath(socket, keyholderUid);
    const found = await socketAt(path);
    if (!found)
      throw new IoError(`No keyholder answers at ${socket}: there is no such socket.`, socket, 'ENOENT');
    if (![0, process.geteuid?.(), keyholderUid].includes(found.uid)) {
      throw new Refusal(
        'unsafe-path',
        `${socket} is a socket of uid ${found.uid}'s, who is neither root nor you nor the keyholder's user.`,
        { path: socket, uid: found.uid },
      );
    }
    return new Promise((done, reject) => {
      const connection = connect({ path, allowHalfOpen: true });
      connection.once('error', (error) => {
        const why = codeOf(error) === 'ECONNREFUSED' ? 'it does not run' : inWords(error);
        reject(
          new IoError(`No keyholder answers at ${socket}: ${why}.`, socket, codeOf(error), { cause: error }),
        );
      });
      connection.once('connect', () => done(connection.removeAllListeners('error').on('error', () => {})));
    });
  }

  #decoded<T>(decode: () => T): T {
    try {
      return decode();
    } catch (error) {
      if (error instanceof Malformed) throw this.#odd(error.message);
      throw error;
    }
  }

  #odd(why: string): IoError {
    const { socket } = this.#options;
    return new IoError(
      `What answers at ${socket} is no keyholder of this Bootseal: ${why}.`,
      socket,
      undefined,
    );
  }
}

function byOf(by: string | undefined): { by?: string } {
  return by === undefined ? {} : { by };
}
