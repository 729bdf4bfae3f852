import { setTimeout as sleep } from 'node:timers/promises';
import { Refusal } from '../errors/refusal.ts';
import type { PinnedFile } from '../release/pin.ts';
import { pinOf } from '../release/pin.ts';

/** Bytes a second: a gigabyte in half a minute, and clients of a slow disk hardly notice. */
const RATE = 32 * 1024 * 1024;

export interface ScrubOptions {
  /** What is served; asked once a round. */
  readonly files: () => Iterable<PinnedFile>;
  /** Milliseconds from the end of a round, or from the start, to the next round. */
  readonly everyMs: number;
  /** Bytes a second. */
  readonly rate?: number;
  /** Told once for each file that is not what was verified any more: nothing of it is served. */
  readonly onRefused: (file: PinnedFile, refusal: Refusal) => void;
  /** A file could not be read, for reasons that may pass. */
  readonly onFault: (file: PinnedFile, error: unknown) => void;
  /** A round has ended: all that could be read was, `bytes` of it. */
  readonly onRound?: (round: { readonly files: number; readonly bytes: number }) => void;
}

/**
 * Reads everything that is served from end to end, round after round, and holds it against what was verified. What
 * was verified once is served by its identity after that, and a disk that forgets changes no identity.
 *
 * @returns how to end it; resolves when nothing is read any more.
 */
export function startScrub(options: ScrubOptions): () => Promise<void> {
  const stop = new AbortController();
  const running = rounds(options, stop.signal);
  return () => {
    stop.abort();
    return running;
  };
}

async function rounds(options: ScrubOptions, signal: AbortSignal): Promise<void> {
  const told = new WeakSet<PinnedFile>();
  while (await slept(options.everyMs, signal)) {
    const round = { files: 0, bytes: 0 };
    for (const file of options.files()) {
      await scrubFile(file, options, signal).then(
        () => {
          round.files += 1;
          round.bytes += file.size;
        },
        (error: unknown) => {
          if (signal.aborted || told.has(file)) return;
          if (error instanceof Refusal) {
            told.add(file);
            options.onRefused(file, error);
          } else {
            options.onFault(file, error);
          }
        },
      );
      if (signal.aborted) return;
    }
    options.onRound?.(round);
  }
}

async function scrubFile(
  file: PinnedFile,
  { rate = RATE }: ScrubOptions,
  signal: AbortSignal,
): Promise<void> {
  const began = performance.now();
  const pace = async (bytes: number): Promise<void> => {
    const early = (bytes / rate) * 1000 - (performance.now() - began);
    if (early > 0) await slept(early, signal);
  };
  await pinOf(file).scrub({ pace, signal });
  // Small files are read in one go.
  await pace(file.size);
}

/** False where it was woken up to end. */
function slept(ms: number, signal: AbortSignal): Promise<boolean> {
  return sleep(ms, true, { signal }).catch((error) => {
    if (signal.aborted) return false;
    throw error;
  });
}
