import type { Terminal } from './terminal.ts';

/** A progress bar over the files of a tree, of which the first octet read tells the size. */
export function treeProgress(
  terminal: Terminal,
  what: string,
): { update: (path: string, octets: number, size: number) => void; stop: () => void } {
  const done = new Map<string, { octets: number; size: number }>();
  let bar: ReturnType<Terminal['progress']> | undefined;
  let total = 0;
  return {
    update(path, octets, size) {
      done.set(path, { octets, size });
      const sizes = [...done.values()].reduce((sum, file) => sum + file.size, 0);
      bar ??= terminal.progress(what, sizes);
      if (sizes !== total) bar.grow(sizes);
      total = sizes;
      bar?.update([...done.values()].reduce((sum, file) => sum + file.octets, 0));
    },
    stop: () => bar?.stop(),
  };
}
