import { describeGrub, INSIDE } from '../lab/grub.ts';
import { INITRD, KERNEL } from '../lab/release.ts';

describeGrub('efi', ['grub.cfg', `${INSIDE}/${KERNEL}`, `${INSIDE}/${INITRD}`], () => {});
