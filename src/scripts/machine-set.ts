import { Refusal } from '../errors/refusal.ts';
import { swappedUuid } from '../formats/net/machine-claims.ts';
import { lines } from './grub-server.ts';
import { type Fragment, joinFragments, readTemplate, renderFragment, type Value } from './template.ts';

/** One machine, as a script can tell it from others. At least one of the two. */
export interface MachineIdentity {
  /** Addresses of its cards, with colons, in small letters. */
  readonly macs: readonly string[];
  /** Lower-case hex with dashes. */
  readonly uuid?: string | undefined;
}

/** Machines of one script: a loader compares them one after the other. */
export const MOST_MACHINES = 256;

/** What a script says on a machine that it is not for, among other words. */
export const OTHER_MACHINES = 'this script is for other machines';

/**
 * Lines by which an iPXE script goes on only on these machines.
 *
 * @throws Refusal `unsafe-script` for none at all, too many, and one that says nothing a script can compare.
 */
export function ipxeMachines(machines: readonly MachineIdentity[]): Fragment {
  demandComparable(machines);
  const these = machines.flatMap(({ macs, uuid }) => [
    // iPXE writes `mac` with colons, in small letters; `netX` is the card that was opened last.
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a setting, spelled as iPXE spells it
    ...macs.map((mac) => comparison('${netX/mac}', { kind: 'mac', text: mac })),
    // Firmware of before SMBIOS 2.6 said nothing of the order of its first three fields.
    ...(uuid === undefined
      ? []
      : [...new Set([uuid, swappedUuid(uuid)])].map((text) =>
          // biome-ignore lint/suspicious/noTemplateCurlyInString: a setting, spelled as iPXE spells it
          comparison('${uuid}', { kind: 'uuid', text }),
        )),
  ]);
  return renderFragment('machines.ipxe', readTemplate('machines.ipxe'), { these: joinFragments(these) });
}

function comparison(setting: string, value: Value): Fragment {
  return lines(`iseq ${setting} {{value}} && goto bootseal-mine ||\n`, { value });
}

/** The same for GRUB, which knows its card and no UUID. @throws Refusal `unsafe-script` */
export function grubMachines(machines: readonly MachineIdentity[]): Fragment {
  demandComparable(machines);
  const these = machines.flatMap(({ macs }) =>
    macs.map((text) =>
      lines(`if [ "$net_default_mac" = '{{mac}}' ]; then set bootseal_mine=yes; fi\n`, {
        mac: { kind: 'mac', text },
      }),
    ),
  );
  if (these.length === 0)
    throw unsafe('GRUB compares the addresses of cards, and none of these machines has one');
  return renderFragment('grub-machines.cfg', readTemplate('grub-machines.cfg'), {
    these: joinFragments(these),
  });
}

function demandComparable(machines: readonly MachineIdentity[]): void {
  if (machines.length === 0) throw unsafe('it is for no machine at all');
  if (machines.length > MOST_MACHINES) throw unsafe(`it is for more than ${MOST_MACHINES} machines`);
  if (machines.some(({ macs, uuid }) => macs.length === 0 && uuid === undefined))
    throw unsafe('a machine of it has neither an address nor a UUID');
}

function unsafe(why: string): Refusal {
  return new Refusal('unsafe-script', `A script for certain machines cannot be made: ${why}.`, {});
}
