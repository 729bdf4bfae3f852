import { describeGrub, INSIDE } from '../lab/grub.ts';
import { describeRoles } from '../lab/grub-roles.ts';
import { KERNEL } from '../lab/release.ts';

describeGrub('efi', ['grub.cfg', `${INSIDE}/${KERNEL}`], describeRoles);
