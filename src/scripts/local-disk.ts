import { fragment, linted } from './compile.ts';
import { lintedGrub } from './grub-config.ts';
import { GRUB_PAUSE } from './grub-server.ts';
import { grubMachines, ipxeMachines, type MachineIdentity } from './machine-set.ts';
import { joinFragments, readTemplate, renderTemplate } from './template.ts';

/** Signed scripts after which a machine starts from its own disk. They name no server, since nothing is fetched. */

export interface LocalDiskOptions {
  /** The machines that it is for: any other refuses it. Undefined: whoever runs it. */
  readonly machines?: readonly MachineIdentity[];
  /** Of GRUB: seconds between a refusal and the restart; 30 by default. */
  readonly pause?: number;
}

/** `boot.ipxe` of such a machine. What verified and ran it ends well then, and its firmware goes on to the disk. */
export function compileLocalDisk(options: LocalDiskOptions = {}): string {
  const text = renderTemplate('local-disk.ipxe', readTemplate('local-disk.ipxe'), {
    machines: options.machines ? ipxeMachines(options.machines) : joinFragments([]),
    'own-disk': fragment('own-disk.ipxe', {}),
  });
  return linted('local-disk.ipxe', text, [], ['own-disk']);
}

/** `grub.cfg` of such a machine: GRUB ends, and the firmware goes on to its next boot entry. */
export function compileGrubLocalDisk(options: LocalDiskOptions = {}): string {
  const text = renderTemplate('local-disk.cfg', readTemplate('local-disk.cfg'), {
    pause: { kind: 'hex', text: String(options.pause ?? GRUB_PAUSE) },
    machines: options.machines ? grubMachines(options.machines) : joinFragments([]),
  });
  return lintedGrub('local-disk.cfg', text, 'own-disk');
}
