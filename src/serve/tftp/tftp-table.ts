import type { Transfer } from './tftp-transfer.ts';
import type { TftpLimits, TftpPeer } from './tftp-types.ts';

type TableLimits = Pick<TftpLimits, 'maxTransfers' | 'maxTransfersPerAddress'>;

/** A transfer with this many unanswered retransmissions may make room for a new one. */
const SILENT_RETRIES = 2;

/**
 * The transfers of one server: who holds how many, and which one goes when there is no room.
 *
 * Ten thousand requests with made-up addresses cost at most `maxTransfers` entries: those that nobody has
 * answered give way first, the oldest first. A machine that is there answers within a round trip, long
 * before a flood reaches its entry.
 */
export class TransferTable {
  readonly #limits: TableLimits;
  readonly #all = new Set<Transfer>();
  readonly #unanswered = new Set<Transfer>();
  readonly #byAddress = new Map<string, Set<Transfer>>();

  constructor(limits: TableLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#all.size;
  }

  /** Ends a transfer where there is no room for one more of `peer`; false where none can be spared. */
  makeRoom({ address }: TftpPeer): boolean {
    const own = this.#byAddress.get(address);
    if (own !== undefined && own.size >= this.#limits.maxTransfersPerAddress) return retire(own);
    if (this.#all.size < this.#limits.maxTransfers) return true;
    return retire(this.#unanswered) || retire(this.#all);
  }

  add(transfer: Transfer): void {
    const { address } = transfer.peer;
    this.#all.add(transfer);
    this.#unanswered.add(transfer);
    const own = this.#byAddress.get(address);
    if (own === undefined) this.#byAddress.set(address, new Set([transfer]));
    else own.add(transfer);
  }

  answered(transfer: Transfer): void {
    this.#unanswered.delete(transfer);
  }

  delete(transfer: Transfer): void {
    const { address } = transfer.peer;
    this.#all.delete(transfer);
    this.#unanswered.delete(transfer);
    const own = this.#byAddress.get(address);
    own?.delete(transfer);
    if (own?.size === 0) this.#byAddress.delete(address);
  }

  [Symbol.iterator](): Iterator<Transfer> {
    return this.#all.values();
  }
}

/** Ends the oldest that was never answered, else the one that has been silent longest. Iterates oldest first. */
function retire(transfers: Iterable<Transfer>): boolean {
  let silent: Transfer | undefined;
  for (const transfer of transfers) {
    if (!transfer.answered) {
      transfer.end('retired');
      return true;
    }
    if (transfer.retries >= SILENT_RETRIES && transfer.retries > (silent?.retries ?? 0)) silent = transfer;
  }
  silent?.end('retired');
  return silent !== undefined;
}
