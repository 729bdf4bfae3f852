import { Malformed } from '../../errors/malformed.ts';
import { type CpioEntry, decodeCpio, decodeCpioTarget } from '../../formats/archive/cpio.ts';
import type { Recognised } from './facts.ts';

/** Entries that are named; an initramfs may have thousands. */
const MOST = 500;

/** A plain initrd, as "seal --pack" makes one: what is in it, since its seal does not say. Throws `Malformed`. */
export function inspectInitrd(bytes: Uint8Array): Recognised {
  const entries = decodeCpio(bytes);
  return {
    kind: 'initrd',
    facts: {
      files: entries.length,
      ...(entries.length > MOST ? { shown: MOST } : {}),
      entries: entries.slice(0, MOST).map((entry) => ({
        name: entry.name,
        kind: entry.kind,
        mode: entry.mode.toString(8).padStart(4, '0'),
        size: entry.kind === 'file' ? entry.data.length : undefined,
        target: targetOf(entry),
      })),
    },
  };
}

function targetOf({ kind, data }: CpioEntry): string | undefined {
  return kind === 'symlink' ? decodeCpioTarget(data) : undefined;
}

/** Whether an archive is a bundle of ours: it has an index. One that cannot be read is left to whoever reads bundles. */
export function isBundle(bytes: Uint8Array): boolean {
  try {
    return decodeCpio(bytes).some(({ name }) => name.replace(/^\.\//, '') === 'index');
  } catch (error) {
    if (error instanceof Malformed) return true;
    throw error;
  }
}
