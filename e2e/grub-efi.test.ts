import { describeGrub, INSIDE } from '../lab/grub.ts';
import { describeRoles } from '../lab/grub-roles.ts';
import { INITRD, KERNEL } from '../lab/release.ts';

describeGrub('efi', ['grub.cfg', `${INSIDE}/${KERNEL}`, `${INSIDE}/${INITRD}`], describeRoles);
