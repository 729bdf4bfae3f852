import { it } from 'node:test';
import { expectAbsent, expectMilestones } from '../lab/console.ts';
import { describeGrub, type GrubKind, INSIDE, VERIFIED_BOOT } from '../lab/grub.ts';
import { addOverlay } from '../lab/overlay.ts';
import { HYPERVISOR, INITRD, KERNEL } from '../lab/release.ts';
import { REAL_ROOT_LINE } from '../lab/rootfs.ts';
import { labXen } from '../lab/xen.ts';

/** Debian's Xen, and its first domain, whose early userspace verifies what it would verify without. */

const WORDS = 'console=com1 com1=115200,8n1 dom0_mem=768M loglvl=warning';
const XEN_BANNER = /Xen version 4\.\d+/;
const [VERIFIED = '', ...EARLY] = VERIFIED_BOOT;
const xen: GrubKind = {
  what: 'Xen by GRUB',
  hypervisor: { file: await labXen(), words: WORDS },
  // Each with its own words: the hypervisor shows its line, and early userspace holds the other to the manifest.
  boot: [VERIFIED, XEN_BANNER, `Command line: ${WORDS}`, ...EARLY],
};

describeGrub(
  'bios',
  [`${INSIDE}/${HYPERVISOR}`, `${INSIDE}/${KERNEL}`, `${INSIDE}/${INITRD}`],
  (lab) => {
    it('early userspace refuses other words for its Linux, whoever signed grub.cfg', async () => {
      const { log } = await lab.attack(
        (site) => site.edit('grub.cfg', 'script', (text) => text.replace("'checksum=y'", "'checksum=n'")),
        async ({ ended }) => void (await ended),
      );
      expectMilestones(log, [
        VERIFIED,
        XEN_BANNER,
        'bootseal-early: started',
        'bootseal-early: REFUSED manifest',
      ]);
      expectAbsent(log, ['bootseal-early: root mounted', REAL_ROOT_LINE]);
    });
  },
  xen,
);

describeGrub('efi', [`${INSIDE}/${KERNEL}`], () => {}, xen);

describeGrub('bios', [], () => {}, {
  ...xen,
  what: 'Xen by GRUB, with an overlay,',
  prepare: (tree, keys) => addOverlay(tree, keys, 'verity'),
  boot: [
    VERIFIED,
    XEN_BANNER,
    'bootseal: started',
    'bootseal: manifest verified, arch/2026.11.01',
    'bootseal: dm-verity over NBD, root hash',
    'bootseal: root mounted',
    REAL_ROOT_LINE,
  ],
});
