import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Manifest, Role } from '../../src/formats/records/manifest.ts';
import { unverifiedThings, whoVerifies } from '../../src/release/who-verifies.ts';

/** Who verifies what: a word more or less on a line, and somebody no longer looks. */

const file = (role: Role, path: string) => ({ role, path, size: 1, sha256: '', sha512: '' });
const KERNEL = file('kernel', 'vmlinuz');
const INITRD = file('initrd', 'initrd.img');
const ROOT = file('rootfs', 'live/root.squashfs');
const OVERLAY = file('overlay', 'bootseal-overlay.img');

function manifest(layout: string, cmdline: string, files = [KERNEL, INITRD]): Manifest {
  return {
    ...{ release: 'a/1', serial: 1, issued: 0, bestBefore: 1, arch: 'x86_64', layout, shell: false },
    ...{ cmdline: cmdline.split(' ').filter(Boolean), free: [], files, verity: [], fsverity: [] },
  };
}

const said = (of: Manifest) =>
  whoVerifies(of).map(({ name, by }) => `${name.replace(/^(word|file) /, '')} ${by}`);
const LOADED = ['vmlinuz loader', 'initrd.img loader'];
const URL = 'http://10.0.0.1/x';

describe('who verifies what:', () => {
  for (const [layout, cmdline, files, wanted] of [
    ['memtest', '', [KERNEL], ['vmlinuz loader']],
    ['nixos', 'init=/nix/store/x/init', undefined, LOADED],
    // The root image: archiso's checks are what the line asks for.
    [
      'archiso',
      'archisobasedir=arch verify=y',
      [KERNEL, ROOT],
      ['vmlinuz loader', 'live/root.squashfs system'],
    ],
    ['archiso', 'archisobasedir=arch cms_verify=y', [ROOT], ['live/root.squashfs system']],
    ['archiso', 'archisobasedir=arch checksum=y', [ROOT], ['live/root.squashfs nobody']],
    ['archiso', 'archisobasedir=arch verify=y verify=n', [ROOT], ['live/root.squashfs nobody']],
    [
      'archiso',
      `archisobasedir=arch verify=y archiso_http_srv=${URL}/`,
      [ROOT],
      ['live/root.squashfs system'],
    ],
    ['plain', 'root=/dev/sda', [ROOT], ['live/root.squashfs nobody']],
    ['live-boot', 'boot=live', [ROOT], ['live/root.squashfs nobody', 'own-disks nobody']],
    ['live-boot', `boot=live fetch=${URL}`, undefined, [...LOADED, 'fetch nobody']],
    [
      'live-boot',
      'boot=live fetch=http://h/live/root.squashfs',
      [ROOT],
      ['live/root.squashfs nobody', 'fetch nobody'],
    ],
    // Where an address ends with the path of a file of the release, it is no less somebody else's.
    ['plain', 'whatever=http://h/vmlinuz', [KERNEL], ['vmlinuz loader', 'whatever nobody']],
    ['plain', 'whatever=http://h/bigvmlinuz', [KERNEL], ['vmlinuz loader', 'whatever nobody']],
    // archiso without a root image in the release fetches one all the same.
    [
      'archiso',
      `archisobasedir=arch archiso_http_srv=${URL}/`,
      undefined,
      [...LOADED, 'archiso_http_srv nobody'],
    ],
    [
      'archiso',
      'archisobasedir=arch verify=y cow_label=x',
      [ROOT],
      ['live/root.squashfs system', 'cow_label nobody'],
    ],
    ['alpine', 'modloop=http://h/boot/modloop-evil', undefined, [...LOADED, 'modloop nobody']],
    ['coreos', 'ignition.platform.id=openstack', undefined, [...LOADED, 'ignition.platform.id nobody']],
    ['plain', 'root=dhcp', undefined, [...LOADED, 'root nobody']],
    ['plain', 'boot=nfs ip=dhcp', undefined, [...LOADED, 'boot nobody']],
    ['plain', 'root=/dev/nbd0 nbdroot=10.0.0.1,x', undefined, [...LOADED, 'root nobody', 'nbdroot nobody']],
    ['plain', 'root=/dev/cifs cifsroot=//h/s', undefined, [...LOADED, 'root nobody', 'cifsroot nobody']],
    ['plain', 'rd.iscsi.firmware=1', undefined, [...LOADED, 'rd.iscsi.firmware nobody']],
    ['plain', 'systemd.mount-extra=//h/s:/etc:cifs', undefined, [...LOADED, 'systemd.mount-extra nobody']],
    ['plain', 'whatever=10.0.0.1:/x', undefined, [...LOADED, 'whatever nobody']],
    ['plain', `netroot.proxy=${URL}`, undefined, [...LOADED, 'netroot.proxy nobody']],
    ['dracut-live', `root=live:/bootseal-root.img netroot=${URL}`, undefined, [...LOADED, 'netroot nobody']],
    ['live-boot', 'boot=live live-media=/bootseal-medium', undefined, LOADED],
    ['live-boot', 'boot=live live-media=/m persistence', undefined, [...LOADED, 'persistence nobody']],
    // Where nothing names a root, it is the first disk that has one.
    ['live-boot', 'boot=live', undefined, [...LOADED, 'own-disks nobody']],
    ['casper', 'boot=casper', undefined, [...LOADED, 'own-disks nobody']],
    ['casper', 'boot=casper live-media=/bootseal-medium toram', undefined, LOADED],
    ['anaconda', 'inst.ks=file:/ks.cfg', undefined, [...LOADED, 'own-disks nobody']],
    ['live-boot', 'boot=live netboot=nfs', undefined, [...LOADED, 'netboot nobody']],
    ['live-boot', 'boot=live root=/dev/nfs', undefined, [...LOADED, 'root nobody']],
    ['live-boot', 'boot=live plainroot', undefined, [...LOADED, 'plainroot nobody']],
    ['live-boot', 'boot=live live-media=/dev/sr0', undefined, [...LOADED, 'live-media nobody']],
    ['live-boot', 'boot=live bootfrom=removable-usb', undefined, [...LOADED, 'bootfrom nobody']],
    ['live-boot', 'boot=live findiso=/x.iso', undefined, [...LOADED, 'findiso nobody']],
    [
      'live-boot',
      'boot=live live-media=/m nfsoverlay=10.0.0.1:/x',
      undefined,
      [...LOADED, 'nfsoverlay nobody'],
    ],
    ['live-boot', 'boot=live live-media=/m hooks=10.0.0.1/x', undefined, [...LOADED, 'hooks nobody']],
    ['live-boot', 'boot=live live-media=/m hooks=filesystem', undefined, LOADED],
    [
      'live-boot',
      `boot=live live-media=/m live-config.debconf-preseed=${URL}`,
      undefined,
      [...LOADED, 'live-config.debconf-preseed nobody'],
    ],
    ['casper', 'boot=casper netboot=nfs', undefined, [...LOADED, 'netboot nobody']],
    ['casper', 'boot=casper iso-scan/filename=/x.iso', undefined, [...LOADED, 'iso-scan/filename nobody']],
    ['casper', 'boot=casper nfsroot=10.0.0.1:/x', undefined, [...LOADED, 'nfsroot nobody']],
    ['ltsp', 'root=/dev/nfs nfsroot=10.0.0.1:/x', undefined, [...LOADED, 'root nobody', 'nfsroot nobody']],
    ['dracut-live', `root=live:${URL}`, undefined, [...LOADED, 'root nobody']],
    ['dracut-live', 'root=live:/bootseal-root.img', undefined, LOADED],
    ['dracut-live', `live.updates=${URL}`, undefined, [...LOADED, 'live.updates nobody']],
    ['dracut-live', 'root=live:CDLABEL=Fedora', undefined, [...LOADED, 'root nobody']],
    ['dracut-live', 'root=live:/dev/sr0', undefined, [...LOADED, 'root nobody']],
    ['dracut-live', 'iso-scan/filename=/x.iso', undefined, [...LOADED, 'iso-scan/filename nobody']],
    [
      'dracut-live',
      'root=live:/bootseal-root.img overlay=LABEL=x:/y',
      undefined,
      [...LOADED, 'overlay nobody'],
    ],
    ['dracut-live', 'root=live:/bootseal-root.img rd.live.overlay=NONE', undefined, LOADED],
    ['anaconda', 'root=live:/i.img ks', undefined, [...LOADED, 'ks nobody']],
    ['anaconda', 'root=live:/i.img inst.ks=hd:sda1:/ks.cfg', undefined, [...LOADED, 'inst.ks nobody']],
    ['anaconda', 'root=live:/i.img inst.ks=file:/ks.cfg inst.ks.sendmac', undefined, LOADED],
    ['anaconda', 'inst.repo=cdrom', undefined, [...LOADED, 'inst.repo nobody']],
    ['anaconda', 'root=live:/i.img inst.dd', undefined, [...LOADED, 'inst.dd nobody']],
    ['anaconda', 'root=live:/install.img inst.ks=file:/ks.cfg', undefined, LOADED],
    [
      'anaconda',
      `inst.stage2=${URL} inst.ks=${URL}`,
      undefined,
      [...LOADED, 'inst.stage2 nobody', 'inst.ks nobody'],
    ],
    ['anaconda', `root=live:${URL}`, undefined, [...LOADED, 'root nobody']],
    ['coreos', `coreos.live.rootfs_url=${URL}`, undefined, [...LOADED, 'coreos.live.rootfs_url system']],
    ['coreos', `ignition.config.url=${URL}`, undefined, [...LOADED, 'ignition.config.url nobody']],
    [
      'alpine',
      `alpine_repo=${URL} apkovl=${URL}`,
      undefined,
      [...LOADED, 'alpine_repo system', 'apkovl nobody'],
    ],
    ['alpine', 'apkovl=/site.apkovl.tar.gz', undefined, LOADED],
    ['systemd', `rd.systemd.pull=raw,machine:x:${URL}`, undefined, [...LOADED, 'rd.systemd.pull system']],
    ['systemd', `rd.systemd.pull=raw,verify=no:x:${URL}`, undefined, [...LOADED, 'rd.systemd.pull nobody']],
    [
      'systemd',
      `rd.systemd.pull=raw,verify=checksum:x:${URL}`,
      undefined,
      [...LOADED, 'rd.systemd.pull nobody'],
    ],
    // What nobody knows here is still seen to hold an address.
    ['plain', `whatever=${URL}`, undefined, [...LOADED, 'whatever nobody']],
    ['plain', 'nfsroot=10.0.0.1:/x', undefined, [...LOADED, 'nfsroot nobody']],
    ['plain', 'root=nbd:10.0.0.1:x', undefined, [...LOADED, 'root nobody']],
    ['plain', `http_proxy=${URL} console=ttyS0`, undefined, LOADED],
    // What the loader never sees.
    ['plain', '', [KERNEL, file('file', 'board.dtb')], ['vmlinuz loader', 'board.dtb nobody']],
  ] as const) {
    it(`${layout}: ${cmdline || 'no words'}`, () => {
      assert.deepEqual(said(manifest(layout, cmdline, files && [...files])), wanted);
    });
  }

  const STATIC = 'netcfg/disable_autoconfig=true';
  const DHCP = 'a preseed that DHCP names';

  it('an installer’s packages are checked by it, and its preseed by nobody', () => {
    const line = `auto=true url=${URL} ${STATIC}`;
    assert.deepEqual(said(manifest('debian-installer', line)), [
      ...LOADED,
      'url nobody',
      'installer components and packages system',
    ]);
    assert.deepEqual(
      unverifiedThings(manifest('debian-installer', `preseed/file=/preseed.cfg ${STATIC}`)),
      [],
    );
  });

  for (const [line, nobody] of [
    ['', [DHCP]],
    ['auto=true priority=critical preseed/file=/preseed.cfg', [DHCP]],
    [STATIC, []],
    ['netcfg/disable_dhcp=true', []],
    ['netcfg/enable=false', []],
    [`${STATIC} d-i:${STATIC}`, []],
    [`--- ${STATIC}`, []],
    // What only looks like it.
    ['netcfg/disable_autoconfig=false', [DHCP]],
    ['netcfg/disable_autoconfig', [DHCP]],
    ['netcfg/enable=true', [DHCP]],
    [`${STATIC} netcfg/disable_autoconfig=false`, [DHCP]],
    [`${STATIC} d-i:netcfg/disable_autoconfig=false`, [DHCP]],
    [`a.b:${STATIC}`, [DHCP]],
    [`-- ${STATIC}`, [DHCP]],
    // A question’s owner changes nothing.
    [`${STATIC} d-i:preseed/url=seed`, ['d-i:preseed/url']],
    [`${STATIC} x:preseed/run=${URL}`, ['x:preseed/run']],
  ] as const) {
    it(`debian-installer asks DHCP for a preseed: ${line || 'no words'}`, () => {
      const names = unverifiedThings(manifest('debian-installer', line)).map(({ name }) => name);
      assert.deepEqual(
        names.map((name) => name.replace(/^word /, '')),
        nobody,
      );
    });
  }

  it('a word that a loader may fill in does not keep it from that', () => {
    const free = [{ name: 'netcfg/disable_autoconfig', type: 'choice true|false' as const }];
    const of = (line: string) => unverifiedThings({ ...manifest('debian-installer', line), free }).length;
    assert.equal(of(''), 1);
    assert.equal(of(STATIC), 1);
  });

  it('an overlay verifies the root image, where the kernel starts it', () => {
    const files = [KERNEL, OVERLAY, ROOT];
    const started = manifest('live-boot', 'boot=live rdinit=/bootseal/init', files);
    assert.deepEqual(unverifiedThings(started), []);
    assert.deepEqual(said(started).at(-1), 'live/root.squashfs overlay');
    assert.deepEqual(
      unverifiedThings(manifest('live-boot', 'boot=live', files)).map(({ name }) => name),
      ['file live/root.squashfs', 'own-disks'],
    );
    // No other root is entered.
    for (const word of [`fetch=${URL}`, 'netboot=nfs', 'live-media=/dev/sr0']) {
      assert.deepEqual(
        unverifiedThings(manifest('live-boot', `boot=live ${word} rdinit=/bootseal/init`, files)),
        [],
      );
    }
    // And nothing that its own system still fetches.
    const fetching = manifest('live-boot', `boot=live hooks=${URL} rdinit=/bootseal/init`, files);
    assert.deepEqual(
      unverifiedThings(fetching).map(({ name }) => name),
      ['word hooks'],
    );
  });

  it('a word that a loader may fill in with an address is one that fetches', () => {
    const free = { ...manifest('live-boot', 'boot=live'), free: [{ name: 'fetch', type: 'url' as const }] };
    assert.deepEqual(
      unverifiedThings(free).map(({ what }) => what),
      ['fetch=(url): the root image'],
    );
  });

  it('of a multiboot kernel and its module, the module’s words count', () => {
    const two = { ...manifest('plain', 'dom0_mem=1G'), moduleCmdline: [`whatever=${URL}`] };
    assert.deepEqual(
      unverifiedThings(two).map(({ name }) => name),
      ['word whatever'],
    );
  });
});
