import type { Terminal } from './terminal.ts';

/** What is read in well under a second: nobody wants to be told of that. Bytes. */
export const SOON_READ = 64 * 1024 * 1024;

/**
 * A progress bar over the files of a tree, of which the first byte read tells the size.
 *
 * @param least bytes below which nothing is said.
 */
export function treeProgress(
  terminal: Terminal,
  what: string,
  least = 0,
): { update: (path: string, octets: number, size: number) => void; stop: () => void } {
  const done = new Map<string, { octets: number; size: number }>();
  let bar: ReturnType<Terminal['progress']> | undefined;
  let total = 0;
  let stopped = false;
  return {
    update(path, octets, size) {
      // A server goes on to verify what is published later.
      if (stopped) return;
      done.set(path, { octets, size });
      const sizes = [...done.values()].reduce((sum, file) => sum + file.size, 0);
      if (sizes < least) return;
      bar ??= terminal.progress(what, sizes);
      if (sizes !== total) bar.grow(sizes);
      total = sizes;
      bar?.update([...done.values()].reduce((sum, file) => sum + file.octets, 0));
    },
    stop: () => {
      stopped = true;
      bar?.stop();
    },
  };
}
