import { randomBytes } from 'node:crypto';
import type { Share, Shares } from './shares.ts';

/** What a nonce was given for. It answers for nothing else. */
export interface NonceUse {
  /** `52:54:00:12:34:56` */
  readonly mac: string;
  /** The client's address, as its socket or a trusted proxy says it. */
  readonly address: string;
  /** What the report will be about: the id of an arming; empty where it is about none. */
  readonly about: string;
}

interface Given extends NonceUse {
  readonly share: Share;
  /** Milliseconds of the monotonic clock. */
  readonly at: number;
}

/** Milliseconds. A machine asks for one when it is about to report. */
export const NONCE_MS = 180_000;
/** All that are out at a time, and those of one share for its weight: a flood pushes out its own. */
const MOST = 4096;
const MOST_OF_SHARE = 64;

/**
 * Single-use nonces: each is good once, for one machine's report from one address, for a few minutes. They are in memory
 * alone; a server that starts again gives new ones.
 */
export class Nonces {
  readonly #shares: Shares;
  readonly #now: () => number;
  readonly #random: () => string;
  /** The oldest first. */
  readonly #given = new Map<string, Given>();
  readonly #byShare = new Map<string, Set<string>>();

  /** @param now milliseconds of a monotonic clock. @param random 128 random bits in hex. */
  constructor(shares: Shares, now: () => number, random = () => randomBytes(16).toString('hex')) {
    this.#shares = shares;
    this.#now = now;
    this.#random = random;
  }

  /** How many are out. */
  get size(): number {
    return this.#given.size;
  }

  /** 32 hex digits. Where there is no room, the oldest of whoever holds most gives way. */
  give(use: NonceUse): string {
    this.#expire();
    const share = this.#shares.of(use.address);
    const own = this.#byShare.get(share.name);
    if (own !== undefined && own.size >= MOST_OF_SHARE * share.weight) this.#drop(oldestOf(own));
    else if (this.#given.size >= MOST) this.#drop(oldestOf(this.#largest()));
    const nonce = this.#random();
    this.#given.set(nonce, { ...use, share, at: this.#now() });
    const group = this.#byShare.get(share.name) ?? new Set<string>();
    this.#byShare.set(share.name, group.add(nonce));
    return nonce;
  }

  /** Uses a nonce up. False where it was not given for this, or was used, or is too old; then it stays as it was. */
  take(nonce: string, use: NonceUse): boolean {
    this.#expire();
    const given = this.#given.get(nonce);
    if (!given || given.mac !== use.mac || given.address !== use.address || given.about !== use.about)
      return false;
    this.#drop(nonce);
    return true;
  }

  #expire(): void {
    const oldest = this.#now() - NONCE_MS;
    for (const [nonce, { at }] of this.#given) {
      if (at > oldest) return;
      this.#drop(nonce);
    }
  }

  #drop(nonce: string): void {
    const given = this.#given.get(nonce);
    if (!given) return;
    this.#given.delete(nonce);
    const group = this.#byShare.get(given.share.name);
    group?.delete(nonce);
    if (group?.size === 0) this.#byShare.delete(given.share.name);
  }

  /** Of the share that holds most: tables are small, and full only under a flood. */
  #largest(): ReadonlySet<string> {
    let most: ReadonlySet<string> = new Set();
    for (const group of this.#byShare.values()) if (group.size > most.size) most = group;
    return most;
  }
}

function oldestOf(group: ReadonlySet<string>): string {
  const [oldest = ''] = group;
  return oldest;
}
