import { it } from 'node:test';
import { expectAbsent, expectMilestones } from '../lab/console.ts';
import { describeGrub, INSIDE, VERIFIED_BOOT } from '../lab/grub.ts';
import { describeRoles, describeScripts } from '../lab/grub-roles.ts';
import { INITRD, KERNEL, ROOTFS } from '../lab/release.ts';
import { REAL_ROOT_LINE } from '../lab/rootfs.ts';

const FLIPS = ['grub.cfg', 'grub.cfg.sig', `${INSIDE}/${KERNEL}`, `${INSIDE}/${INITRD}`];

describeGrub('bios', FLIPS, (lab) => {
  describeRoles(lab);
  describeScripts(lab);

  it('boots over TFTP where nothing but DHCP names the server', async () => {
    expectMilestones(await lab.goodBoot(), VERIFIED_BOOT);
  });

  it('early userspace refuses a flipped byte in the root image', async () => {
    const log = await lab.tamperedBoot(`${INSIDE}/${ROOTFS}`, true);
    expectMilestones(log, [
      'Verified: arch/2026.11.01',
      'bootseal-early: started',
      'bootseal-early: REFUSED checksum',
    ]);
    expectAbsent(log, ['bootseal-early: root mounted', REAL_ROOT_LINE]);
  });
});
