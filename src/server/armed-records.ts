import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { cannotRead, codeOf, IoError, isAbsent } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import type { Consumption } from '../formats/records/armed-boot.ts';
import type { KeptArming, OnceRecords } from '../machines/boot-once.ts';
import { ArmedBoots } from '../store/armed-boots.ts';
import { recordsOf } from '../store/folder-backend.ts';
import type { ConsumeFacts, Signer } from './signer.ts';

/** Requests to a keyholder at once: it has room for eight of one account, and the API asks it, too. */
const AT_ONCE = 4;

/**
 * Armed boots of a state that may be somebody else's to write: what this server may not write down itself, it has written
 * down by whom the state belongs to. Where nobody does that, nothing that is armed is served.
 */
export class ArmedRecords implements OnceRecords {
  readonly #folder: string;
  readonly #records: ArmedBoots;
  readonly #consume: Signer['consume'];
  /** Armings whose time is over, though nobody could write that down. */
  readonly #over = new Map<string, Consumption>();
  readonly #waiting: (() => void)[] = [];
  #asking = 0;

  constructor(folder: string, signer: Signer | undefined) {
    this.#folder = folder;
    this.#records = new ArmedBoots(recordsOf(folder));
    this.#consume =
      signer?.consume && ((facts) => signer.consume?.(facts) ?? Promise.reject(new RangeError()));
  }

  /**
   * Why nothing that is armed may begin here, as the end of a sentence; undefined: it may.
   *
   * @throws IoError
   */
  async fault(): Promise<string | undefined> {
    if (this.#consume || (await this.isOwn())) return undefined;
    return 'this server may not write to the state, and has no keyholder that would write down that it was booted; start it with --keyholder';
  }

  /** Whether this process writes there itself. @throws IoError */
  async isOwn(): Promise<boolean> {
    try {
      await access(join(this.#folder, 'armed'), constants.W_OK);
      return true;
    } catch (error) {
      if (isAbsent(error)) return true;
      if (isNotOurs(error)) return false;
      throw cannotRead(this.#folder, error);
    }
  }

  async newest(mac: string): Promise<KeptArming | undefined> {
    const kept = await this.#records.newest(mac);
    const consumed = kept && this.#over.get(kept.arming.id);
    return kept && !kept.consumed && consumed ? { ...kept, consumed } : kept;
  }

  /** What is over was armed once. */
  wasSurelyNever(mac: string): boolean {
    return this.#records.wasSurelyNever(mac);
  }

  async consume(kept: KeptArming, consumption: Consumption): Promise<boolean> {
    const { mac, id } = kept.arming;
    const { how, address, nonce } = consumption;
    if (how === 'cancelled') return this.#records.consume(kept, consumption);
    const by = await this.#unlessOwn(
      () => this.#records.consume(kept, consumption),
      {
        ...{ mac, id, how },
        ...(address === undefined ? {} : { address }),
        ...(nonce === undefined ? {} : { nonce }),
      },
      // What is over by the clock is not served again by this process, whoever writes it down.
      how === 'ended'
        ? () => !this.#over.has(id) && this.#over.set(id, consumption) !== undefined
        : undefined,
    );
    return by;
  }

  left(kept: KeptArming): Promise<ReadonlySet<string>> {
    return this.#records.left(kept);
  }

  async leave(kept: KeptArming, path: string): Promise<void> {
    const { mac, id } = kept.arming;
    await this.#unlessOwn(
      async () => {
        await this.#records.leave(kept, path);
        return true;
      },
      { mac, id, how: 'left', path },
    );
  }

  dismiss(kept: KeptArming): Promise<void> {
    return this.#records.dismiss(kept);
  }

  /** @param remember does without anybody, where nobody can write. */
  async #unlessOwn(
    own: () => Promise<boolean>,
    facts: ConsumeFacts,
    remember?: () => boolean,
  ): Promise<boolean> {
    try {
      return await own();
    } catch (error) {
      if (!isNotOurs(error)) throw error;
      if (!this.#consume) {
        if (remember) return remember();
        throw error;
      }
    }
    await this.#turn();
    try {
      return (await this.#consume(facts)).changed;
    } catch (error) {
      if (remember && (error instanceof IoError || isForbidden(error))) return remember();
      throw error;
    } finally {
      this.#asking -= 1;
      this.#waiting.shift()?.();
    }
  }

  async #turn(): Promise<void> {
    while (this.#asking >= AT_ONCE) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#asking += 1;
  }
}

function isForbidden(error: unknown): boolean {
  return error instanceof Refusal && error.code === 'forbidden';
}

/** The state is somebody else's, or on a disk that takes nothing. */
export function isNotOurs(error: unknown): boolean {
  return ['EACCES', 'EPERM', 'EROFS'].includes(codeOf(error) ?? '');
}
