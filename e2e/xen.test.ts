import { it } from 'node:test';
import { expectAbsent, expectMilestones } from '../lab/console.ts';
import { describeGrub, INSIDE, VERIFIED_BOOT } from '../lab/grub.ts';
import { HYPERVISOR, INITRD, KERNEL } from '../lab/release.ts';
import { REAL_ROOT_LINE } from '../lab/rootfs.ts';
import { labXen } from '../lab/xen.ts';

/** Debian's Xen, and a dom0 that verifies what its first domain's early userspace verifies. */

const WORDS = 'console=com1 com1=115200,8n1 dom0_mem=768M loglvl=warning';
const XEN_BANNER = /Xen version 4\.\d+/;
const hypervisor = { file: await labXen(), words: WORDS };

describeGrub(
  'bios',
  [`${INSIDE}/${HYPERVISOR}`, `${INSIDE}/${KERNEL}`, `${INSIDE}/${INITRD}`],
  (lab) => {
    it('early userspace of dom0 refuses other words for it, whoever signed grub.cfg', async () => {
      const { log } = await lab.attack(
        (site) => site.edit('grub.cfg', 'script', (text) => text.replace("'checksum=y'", "'checksum=n'")),
        async ({ ended }) => void (await ended),
      );
      expectMilestones(log, [
        'Verified: arch/2026.11.01',
        XEN_BANNER,
        'bootseal-early: started',
        'bootseal-early: REFUSED manifest',
      ]);
      expectAbsent(log, ['bootseal-early: root mounted', REAL_ROOT_LINE]);
    });

    it('the hypervisor ran beneath all of it, with its own words', async () => {
      const log = await lab.goodBoot('http://10.77.0.1');
      expectMilestones(log, [XEN_BANNER, `Command line: ${WORDS}`, ...VERIFIED_BOOT.slice(1)]);
    });
  },
  { what: 'Xen by GRUB', hypervisor },
);

describeGrub('efi', [`${INSIDE}/${KERNEL}`], () => {}, { what: 'Xen by GRUB', hypervisor });
