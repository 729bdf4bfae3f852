import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { grubBoot } from '../../../src/formats/script/grub-boot.ts';

const KNOWN = new Map([['net_default_server', '10.0.0.1']]);

function read(text: string) {
  return grubBoot(Buffer.from(text, 'latin1'), KNOWN);
}

describe('what a GRUB configuration boots', () => {
  it('is read with its variables expanded, and split where GRUB splits', () => {
    const text = [
      'set device="(http,$net_default_server,8080)"',
      'set extra="ip=dhcp  quiet"',
      'set none=',
      `if linux "$device/releases/a/1/kernel" 'one=1' $extra $none two=\${net_default_server}; then`,
      '  if initrd "$device/a.img" "$device/b.img"; then boot; fi',
      'fi',
    ].join('\n');
    assert.deepEqual(read(text), {
      device: '(http,10.0.0.1,8080)',
      kernel: '/releases/a/1/kernel',
      initrds: ['/a.img', '/b.img'],
      cmdline: 'BOOT_IMAGE=(http,10.0.0.1,8080)/releases/a/1/kernel one=1 ip=dhcp quiet two=10.0.0.1',
      cmdlines: ['BOOT_IMAGE=(http,10.0.0.1,8080)/releases/a/1/kernel one=1 ip=dhcp quiet two=10.0.0.1'],
      switched: false,
    });
  });

  it('takes a variable for what was set last before it, and GRUB’s own for what they are', () => {
    const text =
      'set a=1\nset net_default_server=6.6.6.6\nset a=2\nlinux /k $a $net_default_server $unset\ninitrd /i\nset a=3\n';
    assert.equal(read(text)?.cmdline, 'BOOT_IMAGE=/k 2 10.0.0.1');
  });

  it('is a kernel alone where there is no initrd', () => {
    assert.deepEqual(read('linux /k a\n'), {
      device: '',
      kernel: '/k',
      initrds: [],
      cmdline: 'BOOT_IMAGE=/k a',
      cmdlines: ['BOOT_IMAGE=/k a'],
      switched: false,
    });
  });

  it('is a hypervisor with its own words, the Linux that it starts with others, and initrds', () => {
    const text = [
      'bootseal_trust_payload',
      'set device="(http,$net_default_server,8080)"',
      'set mac=',
      'if [ x = y ]; then set mac="BOOTIF=01"; fi',
      `if multiboot2 "$device/xen.gz" 'console=com1' $mac; then`,
      `  if module2 --nounzip "$device/vmlinuz" 'quiet' $mac bootseal.manifest=aa; then`,
      '    if module2 --nounzip "$device/a.img"; then boot; fi',
      '  fi',
      'fi',
    ].join('\n');
    assert.deepEqual(read(text), {
      device: '(http,10.0.0.1,8080)',
      kernel: '/xen.gz',
      module: { path: '/vmlinuz', kernelCmdlines: ['console=com1 BOOTIF=01', 'console=com1'] },
      initrds: ['/a.img'],
      // No BOOT_IMAGE: GRUB leaves a module's words as they are.
      cmdline: 'quiet BOOTIF=01 bootseal.manifest=aa',
      cmdlines: ['quiet BOOTIF=01 bootseal.manifest=aa', 'quiet bootseal.manifest=aa'],
      switched: true,
    });
  });

  it('gets every command line that some way gives, that of the last branches first', () => {
    const text = [
      'set a=1',
      'if [ x = y ]; then set a=2; else set a=3; fi',
      'if [ x = y ]; then set b=4; fi',
      'linux /k $a $b',
    ].join('\n');
    const boot = read(text);
    const all = ['3 4', '3', '2 4', '2', '1 4', '1'].map((words) => `BOOT_IMAGE=/k ${words}`);
    assert.equal(boot?.cmdline, all[0]);
    assert.deepEqual(boot?.cmdlines, all);
  });

  it('keeps a variable in single quotes as it stands', () => {
    assert.equal(read('set a=1\nlinux /k \'$a\' "$a"\n')?.cmdline, 'BOOT_IMAGE=/k $a 1');
  });

  it('is opened with the payload keys where the loader was asked for them before', () => {
    assert.equal(read('bootseal_trust_payload\nlinux /k\n')?.switched, true);
    assert.equal(read('linux /k\nbootseal_trust_payload\n')?.switched, false);
    assert.equal(read('# bootseal_trust_payload\nlinux /k\n')?.switched, false);
  });

  for (const [what, text] of [
    ['nothing', 'echo linux /k\n'],
    ['two kernels', 'linux /k\nlinux /l\ninitrd /i\n'],
    ['two sets of initrds', 'linux /k\ninitrd /i\ninitrd /j\n'],
    ['a kernel that depends on the way', 'if [ a = b ]; then set k=/l; else set k=/k; fi\nlinux $k\n'],
    [
      'more ways than anybody would look at',
      `${'if [ a = b ]; then set x="$x$x"; else set x="$x"1; fi\n'.repeat(12)}linux /k $x\n`,
    ],
    ['a hypervisor without a module', 'multiboot2 /x a\n'],
    ['two hypervisors', 'multiboot2 /x\nmodule2 /k\nmultiboot2 /y\n'],
    ['a kernel beside a hypervisor', 'multiboot2 /x\nmodule2 /k\nlinux /k\n'],
    ['a kernel with a module', 'linux /k\nmodule2 /i\n'],
    ['a hypervisor with an initrd of a kernel', 'multiboot2 /x\nmodule2 /k\ninitrd /i\n'],
    [
      'a module that depends on the way',
      'if [ a = b ]; then set k=/l; else set k=/k; fi\nmultiboot2 /x\nmodule2 $k\n',
    ],
    ['a comment', '# linux /k\n# initrd /i\n'],
  ] as const) {
    it(`is not told of ${what}`, () => assert.equal(read(text), undefined));
  }
});
