import { setTimeout as sleep } from 'node:timers/promises';
import { Refusal } from '../../errors/refusal.ts';
import type { OpenResource } from '../../release/site.ts';
import type { NbdExport } from './nbd-types.ts';

/** Milliseconds that a store may be silent before the machine whose root it is learns of it. */
const PATIENCE = 120_000;
const PAUSE = 500;

export interface FetchedExportOptions {
  /** The name that clients ask for. */
  readonly name: string;
  readonly description: string;
  /** Bytes. */
  readonly size: number;
  /** Opens what it is of, to read any part: what is handed out was verified. */
  readonly open: () => Promise<OpenResource>;
  /** Told once, when it is given out no more. */
  readonly onShut: (refusal: Refusal) => void;
  /** Milliseconds; default two minutes. */
  readonly patience?: number;
}

/**
 * A file as an export whose content comes from elsewhere as it is read. A machine that runs from it waits while the store is
 * silent, since an error here would be the end of its root; what is not what was sealed is an error at once.
 */
export class FetchedExport {
  readonly name: string;
  readonly description: string;
  readonly #options: FetchedExportOptions;
  readonly #ending = new AbortController();
  #shut: Refusal | undefined;

  constructor(options: FetchedExportOptions) {
    this.name = options.name;
    this.description = options.description;
    this.#options = options;
  }

  /** @throws Refusal where it may not be served, or cannot be had now. */
  async open(): Promise<NbdExport> {
    const { name, description, size, open } = this.#options;
    if (this.#shut) throw this.#shut;
    const opened = await open();
    const check = (): void => {
      if (this.#shut) throw this.#shut;
    };
    return {
      ...{ name, description, size, generation: 0, check },
      read: (into, position) => this.#read(opened, into, position),
      close: () => opened.close(),
    };
  }

  /** Gives out nothing of it any more, to clients that have it open neither. */
  withdraw(refusal: Refusal): void {
    if (this.#shut) return;
    this.#shut = refusal;
    this.#options.onShut(refusal);
  }

  /** Whoever waits waits no more: the server ends. */
  end(): void {
    this.#ending.abort();
  }

  async #read(open: OpenResource, into: Buffer, position: number): Promise<void> {
    const { signal } = this.#ending;
    const until = performance.now() + (this.#options.patience ?? PATIENCE);
    for (let at = 0; at < into.length; ) {
      if (this.#shut) throw this.#shut;
      try {
        const count = await open.read(into.subarray(at), position + at);
        if (count <= 0) throw new Refusal('drifted', `${this.name} is shorter than it was.`, { position });
        at += count;
      } catch (error) {
        const passes = error instanceof Refusal && error.code === 'unreachable';
        if (!passes || signal.aborted || performance.now() > until) throw error;
        await sleep(PAUSE, undefined, { signal }).catch(() => {});
      }
    }
  }
}
