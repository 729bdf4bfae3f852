import { IoError } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import { claimedMac } from '../formats/net/machine-claims.ts';
import {
  type Arming,
  type Consumption,
  decodeArming,
  decodeConsumption,
  encodeArming,
  encodeConsumption,
  isKeptMac,
} from '../formats/records/armed-boot.ts';
import { macFolder } from '../formats/records/armed-folder.ts';
import { decodeOr } from '../trust/check.ts';
import type { StoreBackend } from './backend.ts';

/**
 * Armed boots at rest: `armed/52-54-00-12-34-56/N/arming` for the N-th arming of a machine, beside it `left-I` for each file
 * that has left whole, `consumed` once it is over and `dismissed` where an operator ended what followed.
 *
 * Every one of these is written where there is none, whole, and never changed or removed: a folder and a bucket can both do
 * that without a lock, so that several servers of one state cannot consume one arming twice, and none waits for a
 * publisher.
 */

/** An arming as it is kept, and what has become of it. */
export interface StoredArming {
  readonly arming: Arming;
  readonly number: number;
  readonly consumed: Consumption | undefined;
  readonly dismissed: boolean;
}

export class ArmedBoots {
  readonly #records: StoreBackend;

  constructor(records: StoreBackend) {
    this.#records = records;
  }

  /**
   * The newest arming of a machine, which alone counts.
   *
   * @throws Refusal `malformed`, `drifted` where a record is not as it was written; IoError.
   */
  async newest(mac: string): Promise<StoredArming | undefined> {
    for (const number of (await this.#numbers(mac)).reverse()) {
      const found = await this.#read(mac, number);
      if (found) return found;
    }
    return undefined;
  }

  /** Whether a machine was never armed, as far as that is known without waiting; false says nothing: `newest` knows. */
  wasSurelyNever(mac: string): boolean {
    return this.#records.isSurelyEmpty?.(machineFolder(mac)) ?? false;
  }

  /** The newest of every machine that was ever armed, by address. Throws as `newest`. */
  async all(): Promise<StoredArming[]> {
    const found: StoredArming[] = [];
    for (const name of await this.#records.list('armed')) {
      const mac = name.endsWith('/') ? claimedMac(name.slice(0, -1)) : undefined;
      const kept = mac === undefined ? undefined : await this.newest(mac);
      if (kept) found.push(kept);
    }
    return found;
  }

  /**
   * Arms a machine: from here on this arming counts, and no earlier one. What it names must be in the state already.
   *
   * @throws IoError where another arms the same machine at this moment.
   */
  async add(arming: Arming): Promise<StoredArming> {
    const bytes = decodeOr('The arming', () => encodeArming(arming));
    const number = ((await this.#numbers(arming.mac)).at(-1) ?? 0) + 1;
    const key = keyOf(arming.mac, number, 'arming');
    if (await this.#records.putIfAbsent(key, bytes))
      return { arming, number, consumed: undefined, dismissed: false };
    throw new IoError(
      `Somebody else arms ${arming.mac} at this moment; look, and try again.`,
      key,
      undefined,
    );
  }

  /** Writes the one consumption of an arming; false, and nothing is changed, where it has one. */
  consume({ arming, number }: StoredArming, consumption: Consumption): Promise<boolean> {
    return this.#records.putIfAbsent(keyOf(arming.mac, number, 'consumed'), encodeConsumption(consumption));
  }

  /** Files that have left whole, by their path in the release. */
  async left({ arming, number }: StoredArming): Promise<ReadonlySet<string>> {
    const names = new Set(await this.#records.list(folderOf(arming.mac, number)));
    return new Set((arming.leaves ?? []).filter((_, index) => names.has(`left-${index}`)));
  }

  async leave({ arming, number }: StoredArming, path: string): Promise<void> {
    const index = arming.leaves?.indexOf(path) ?? -1;
    if (index < 0) throw new RangeError(`${path} is no file of the arming ${arming.id}`);
    await this.#records.putIfAbsent(keyOf(arming.mac, number, `left-${index}`), Buffer.from(`${path}\n`));
  }

  async dismiss({ arming, number }: StoredArming): Promise<void> {
    await this.#records.putIfAbsent(keyOf(arming.mac, number, 'dismissed'), Buffer.from(`${arming.id}\n`));
  }

  /** Ascending. A crash may have left a folder without its arming. */
  async #numbers(mac: string): Promise<number[]> {
    const names = await this.#records.list(machineFolder(mac));
    return names
      .flatMap((name) => {
        const [, digits] = /^([1-9][0-9]{0,14})\/$/.exec(name) ?? [];
        return digits === undefined ? [] : [Number(digits)];
      })
      .sort((a, b) => a - b);
  }

  async #read(mac: string, number: number): Promise<StoredArming | undefined> {
    const key = keyOf(mac, number, 'arming');
    const record = await this.#records.get(key);
    if (!record) return undefined;
    const arming = decodeOr(key, () => decodeArming(record.bytes));
    if (arming.mac !== mac)
      throw new Refusal('drifted', `${key} is of ${arming.mac}: it was moved.`, { path: key });
    const end = await this.#records.get(keyOf(mac, number, 'consumed'));
    const consumed = end && decodeOr(keyOf(mac, number, 'consumed'), () => decodeConsumption(end.bytes));
    if (consumed && consumed.id !== arming.id)
      throw new Refusal('drifted', `${keyOf(mac, number, 'consumed')} is of another arming: it was moved.`, {
        path: key,
      });
    const dismissed = consumed ? await this.#records.get(keyOf(mac, number, 'dismissed')) : undefined;
    return { arming, number, consumed, dismissed: dismissed !== undefined };
  }
}

function machineFolder(mac: string): string {
  if (!isKeptMac(mac)) throw new RangeError(`${JSON.stringify(mac)} is no hardware address`);
  return `armed/${macFolder(mac)}`;
}

function folderOf(mac: string, number: number): string {
  return `${machineFolder(mac)}/${number}`;
}

function keyOf(mac: string, number: number, name: string): string {
  return `${folderOf(mac, number)}/${name}`;
}
