import type { Booter } from '../machines/booter.ts';
import { machineBooter } from '../machines/machine-booter.ts';
import { releaseBooter } from '../machines/release-booter.ts';
import type { Offering } from './offering.ts';

/** What decides which script a machine gets: of a state its machines' rules, of a tree its one release. */
export function offeredBooter(offering: () => Offering): Booter {
  const usual = releaseBooter((arch) => {
    const { entry, byArch } = offering();
    return arch === undefined ? entry : ofArch(byArch, arch);
  });
  const byName = machineBooter(() => {
    const { machines, entry } = offering();
    if (!machines) throw new RangeError('a tree knows no machines');
    return {
      entry: machines.entry,
      scripts: machines.scripts,
      anchorId: entry.release.anchorId,
      usualArch: (channel) => usualOf(machines.channels.get(channel))?.release.manifest.arch,
      releases: (channel) => {
        if (channel === machines.entry) return usual;
        const ofChannel = machines.channels.get(channel);
        return (
          ofChannel &&
          releaseBooter((arch) => (arch === undefined ? usualOf(ofChannel) : ofArch(ofChannel, arch)))
        );
      },
      load: machines.load,
      known: machines.known,
    };
  });
  const now = () => (offering().machines ? byName : usual);
  return {
    boot: (machine, remote) => now().boot(machine, remote),
    known: (machine) => now().known?.(machine),
  };
}

/** As `defaultRelease` of a snapshot. */
function usualOf<T>(byArch: ReadonlyMap<string, T> | undefined): T | undefined {
  return byArch?.get('x86_64') ?? [...(byArch?.values() ?? [])][0];
}

/** A machine of 64 bits starts what was made for 32, and trees call it by several names. */
function ofArch<T>(byArch: ReadonlyMap<string, T>, arch: string): T | undefined {
  const exact = byArch.get(arch);
  if (exact !== undefined || arch !== 'x86_64') return exact;
  return [...byArch].find(([name]) => /^(amd64|i[3-6]86)$/.test(name))?.[1];
}
