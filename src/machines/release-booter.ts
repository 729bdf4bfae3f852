import { Refusal } from '../errors/refusal.ts';
import { otherBootIpxe, RECORD, SEAL } from '../formats/records/seal-names.ts';
import type { Booter, BootScript, Machine } from './booter.ts';

/** The scripts of a verified release, as far as booting needs to know it. */
export interface BootableRelease {
  /** `arch/2026.11.01` */
  readonly release: string;
  /** Records and their seals, by path. */
  readonly records: ReadonlyMap<string, Uint8Array>;
  /** First 16 hex digits of the CA's SHA-256. */
  readonly anchorId: string;
}

/** What machines boot, and why none starts it any more, where that is so. */
export interface CurrentRelease {
  readonly release: BootableRelease;
  readonly refusal: Refusal | undefined;
}

/**
 * Every machine of an architecture boots the same release.
 *
 * @param current what is booted at the moment by machines of this architecture (`uname -m`), or, where that is
 *   undefined, by whoever does not say; undefined where there is nothing for such machines.
 */
export function releaseBooter(current: (arch: string | undefined) => CurrentRelease | undefined): Booter {
  return {
    async boot(machine) {
      const found = current(machine.arch);
      if (!found) return nothingFor(machine);
      const { release, refusal } = found;
      return refusal ?? scriptFor(machine, release) ?? none(machine, release);
    },
    known(machine) {
      const found = current(machine.arch);
      return found && !found.refusal ? scriptFor(machine, found.release) : undefined;
    },
  };
}

function nothingFor({ loader, arch }: Machine): Refusal {
  return new Refusal('absent', `No release is offered for machines of ${arch}.`, { arch, loader });
}

function scriptFor({ loader, anchor }: Machine, release: BootableRelease): BootScript | undefined {
  const { records, anchorId } = release;
  const name = loader === 'grub' ? RECORD.grubCfg : RECORD.bootIpxe;
  const other = loader === 'ipxe' && anchor !== undefined && anchor !== anchorId;
  const path = other ? otherBootIpxe(anchor) : name;
  const bytes = records.get(path);
  const seal = records.get(path + SEAL.openpgp);
  return bytes && seal ? { name, bytes, seal } : undefined;
}

function none({ loader, anchor }: Machine, { release }: BootableRelease): Refusal {
  const what = anchor === undefined ? `script for ${loader}` : `script for loaders of the CA ${anchor}`;
  return new Refusal('absent', `${release} has no ${what}.`, { release, loader });
}
