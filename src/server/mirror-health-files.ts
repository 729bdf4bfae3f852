import type { Stats } from 'node:fs';
import { IoError } from '../errors/io.ts';
import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import { openRegular } from '../files/measure.ts';
import { statIfThere } from '../files/read-if-there.ts';
import { readInto, reading } from '../files/reading.ts';
import { isoSeconds } from '../formats/records/lines.ts';
import { decodeMirrorHealth, MAX_HEALTH, type MirrorHealth } from '../formats/records/mirror-health.ts';

/** Milliseconds that an audit may be ahead of this clock. */
const AHEAD_MS = 5 * 60_000;

interface Followed {
  readonly path: string;
  mark: string;
  health: MirrorHealth | undefined;
  /** Why nothing is known by it; one sentence without its stop. */
  fault: string | undefined;
}

/** What audits wrote of mirrors, followed while the server runs: what is too old, or cannot be read, says nothing. */
export class MirrorHealthFiles {
  readonly #files: readonly Followed[];
  readonly #maxAgeMs: number;
  readonly #clock: () => number;
  #looking: Promise<void> | undefined;

  /** @param maxAgeMs milliseconds. @param clock milliseconds since 1970. */
  constructor(paths: readonly string[], maxAgeMs: number, clock: () => number) {
    this.#files = paths.map((path) => ({ path, mark: '', health: undefined, fault: 'it was not read yet' }));
    this.#maxAgeMs = maxAgeMs;
    this.#clock = clock;
  }

  /** What is known now. */
  get known(): readonly MirrorHealth[] {
    return this.#files.flatMap(({ health }) => (health && this.#age(health) === undefined ? [health] : []));
  }

  get warnings(): readonly string[] {
    return this.#files.flatMap(({ path, health, fault }) => {
      const why = fault ?? (health && this.#age(health));
      return why === undefined ? [] : [`no machine is sent to a mirror by ${path}: ${why}`];
    });
  }

  /** Reads what has changed, unless the last look goes on. */
  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #look(): Promise<void> {
    for (const file of this.#files) {
      try {
        const stat = await statIfThere(file.path);
        const mark = stat ? markOf(stat) : 'absent';
        if (mark === file.mark) continue;
        const bytes = stat && (await readBounded(file.path));
        file.health = bytes && decodeMirrorHealth(bytes);
        file.fault = bytes ? undefined : stat ? 'it is too long' : 'it is not there; audit the mirrors';
        file.mark = mark;
      } catch (error) {
        if (!(error instanceof Malformed || error instanceof Refusal || error instanceof IoError))
          throw error;
        file.health = undefined;
        file.fault = error.message.replace(/\.$/, '');
      }
    }
  }

  #age({ audited }: MirrorHealth): string | undefined {
    const age = this.#clock() - audited;
    if (age > this.#maxAgeMs)
      return `the last audit, of ${isoSeconds(audited)}, is too old; is its timer running?`;
    return age < -AHEAD_MS ? `its audit is of ${isoSeconds(audited)}, which is yet to come` : undefined;
  }
}

/**
 * Undefined: it is too long. Another user writes it, who may put something in its place that never ends, or that an open
 * waits at: the server would wait with it.
 */
async function readBounded(path: string): Promise<Uint8Array | undefined> {
  const { handle } = await openRegular(path);
  return reading(path, handle, async () => {
    const buffer = Buffer.alloc(MAX_HEALTH + 1);
    const octets = await readInto(handle, buffer, 0);
    return octets > MAX_HEALTH ? undefined : Uint8Array.from(buffer.subarray(0, octets));
  });
}

function markOf({ dev, ino, size, mtimeMs, ctimeMs }: Stats): string {
  return [dev, ino, size, mtimeMs, ctimeMs].join(' ');
}
