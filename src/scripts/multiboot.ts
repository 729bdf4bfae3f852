import { Refusal } from '../errors/refusal.ts';
import { linuxOf, type Manifest } from '../formats/records/manifest.ts';

/**
 * Our scripts and images give one kernel one command line. A multiboot kernel has a second one, for the Linux that it
 * starts, and a script that left it out would boot that without a word of what was signed.
 *
 * @throws Refusal `unsafe-script`
 */
export function demandOneCommandLine(manifest: Manifest): void {
  if (manifest.moduleCmdline === undefined) return;
  const { path } = linuxOf(manifest);
  throw new Refusal(
    'unsafe-script',
    `${manifest.release} starts ${path} as the module of another kernel, and no script of ours does that.`,
    { release: manifest.release, path },
  );
}
