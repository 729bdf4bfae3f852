import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { type LayoutOptions, recogniseTree } from '../../src/release/layout.ts';
import { asNobody } from '../files/nobody.ts';
import { type Failure, failed, misused } from '../fixtures/failed.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { INITRD, KERNEL, ROOTFS, writeTree } from '../fixtures/release.ts';

const folder = await temporaryFolder();
let trees = 0;
const newTree = (files: Record<string, string>) => writeTree(join(folder, String(trees++)), files);

const ARCH = {
  'arch/version': '2026.11.01\n',
  [KERNEL]: 'kernel',
  'arch/boot/intel-ucode.img': 'intel',
  'arch/boot/amd-ucode.img': 'amd',
  [INITRD]: 'initramfs',
  [ROOTFS]: 'root image',
};
const PLAIN = { vmlinuz: 'kernel', 'initrd.img': 'initrd', 'root.img': 'root image' };
const FLAGS = { release: 'school/2026.11.01', kernel: 'vmlinuz' };
const TOML = 'release = "school/2026.11.01"\nkernel = "vmlinuz"\n';

describe('an Arch tree', () => {
  it('is recognised with its release, its files in load order, and its command line', async () => {
    assert.deepEqual(await recogniseTree(await newTree(ARCH)), {
      release: 'arch/2026.11.01',
      arch: 'x86_64',
      layout: 'archiso',
      artifacts: [
        { role: 'kernel', path: KERNEL, size: 6 },
        { role: 'initrd', path: 'arch/boot/amd-ucode.img', size: 3 },
        { role: 'initrd', path: 'arch/boot/intel-ucode.img', size: 5 },
        { role: 'initrd', path: INITRD, size: 9 },
        { role: 'rootfs', path: ROOTFS, size: 10 },
      ],
      cmdline: ['archisobasedir=arch', 'checksum=y', 'verify=y', 'cms_verify=y'],
      free: [
        { name: 'ip', type: 'dhcp' },
        { name: 'BOOTIF', type: 'mac' },
        { name: 'archiso_http_srv', type: 'url' },
      ],
      notes: [],
    });
  });

  it('may have another install folder, architecture and image format', async () => {
    const tree = await newTree({
      'gigos/version': '7',
      'gigos/boot/i686/vmlinuz-linux-zen': 'kernel',
      'gigos/boot/i686/initramfs-linux-zen.img': 'initramfs',
      'gigos/i686/airootfs.erofs': 'root image',
    });
    const layout = await recogniseTree(tree);
    assert.equal(layout.release, 'gigos/7');
    assert.equal(layout.arch, 'i686');
    assert.equal(layout.cmdline[0], 'archisobasedir=gigos');
    assert.equal(layout.artifacts.at(-1)?.path, 'gigos/i686/airootfs.erofs');
  });

  it('is of the layout that its own file names, else of the one that its words show', async () => {
    const of = async (more: string) =>
      (await recogniseTree(await newTree({ ...PLAIN, 'bootseal.toml': TOML + more }))).layout;
    assert.equal(await of(''), 'plain');
    assert.equal(await of('cmdline = "archisobasedir=arch"\n'), 'archiso');
    assert.equal(await of('layout = "nixos"\ncmdline = "init=/nix/store/x/init"\n'), 'nixos');
    const named = { ...PLAIN, 'bootseal.toml': `${TOML}layout = "NixOS"\n` };
    await assert.rejects(recogniseTree(await newTree(named)), /no name of a layout/);
  });

  it('may free words of each type', async () => {
    const free = ['host name', 'serial hex 8', 'size choice small|large'];
    const toml = `${TOML}free = ${JSON.stringify(free)}\n`;
    const layout = await recogniseTree(await newTree({ ...PLAIN, 'bootseal.toml': toml }));
    assert.deepEqual(
      layout.free.map(({ name, type }) => `${name} ${type}`),
      free,
    );
    for (const bad of ['x hex', 'x hex 65', 'x choice', 'x choice a||b', 'x  name', 'x name 3']) {
      const spoilt = { ...PLAIN, 'bootseal.toml': `${TOML}free = ["${bad}"]\n` };
      await assert.rejects(recogniseTree(await newTree(spoilt)), /free\.0/, bad);
    }
  });

  it('is overruled by what the operator says', async () => {
    const options = { release: 'school/5', cmdline: ' quiet  copytoram=y ' };
    const layout = await recogniseTree(await newTree(ARCH), options);
    assert.equal(layout.release, 'school/5');
    assert.deepEqual(layout.cmdline, ['quiet', 'copytoram=y']);
  });

  it('may name its kernel by a version, dots and all', async () => {
    for (const name of ['vmlinuz-6.1.0-13-amd64', 'vmlinuz-6.6.30-lts', 'vmlinuz-6.12.43+deb13-amd64']) {
      const { [KERNEL]: kernel = '', ...rest } = ARCH;
      const path = `arch/boot/x86_64/${name}`;
      const tree = await newTree({
        ...rest,
        [path]: kernel,
        [`${path}.ipxe.sig`]: 'seal',
        [`${path}.sig`]: 's',
      });
      assert.equal((await recogniseTree(tree)).artifacts[0]?.path, path);
    }
  });

  it('that is sealed already is recognised as before', async () => {
    const sealed = {
      ...ARCH,
      [`${KERNEL}.ipxe.sig`]: 'seal',
      [`${INITRD}.sig`]: 'seal',
      'boot.ipxe': 'script',
    };
    const layout = await recogniseTree(await newTree(sealed));
    assert.equal(layout.artifacts.length, 5);
  });
});

describe('a plain tree', () => {
  it('is told by flags alone', async () => {
    const options = {
      ...FLAGS,
      initrds: ['initrd.img'],
      rootfs: 'root.img',
      arch: 'aarch64',
      cmdline: 'quiet',
    };
    const layout = await recogniseTree(await newTree(PLAIN), options);
    assert.equal(layout.layout, 'plain');
    assert.equal(layout.arch, 'aarch64');
    assert.deepEqual(layout.cmdline, ['quiet']);
    assert.deepEqual(
      layout.artifacts.map(({ role, path }) => `${role} ${path}`),
      ['kernel vmlinuz', 'initrd initrd.img', 'rootfs root.img'],
    );
  });

  it('is told by the small file in it', async () => {
    const toml = `${TOML}initrd = ["initrd.img"]\nrootfs = "root.img"\ncmdline = "quiet  ro"\nfree = ["ip ipv4"]\n`;
    const layout = await recogniseTree(await newTree({ ...PLAIN, 'bootseal.toml': toml }));
    assert.equal(layout.release, 'school/2026.11.01');
    assert.equal(layout.arch, 'x86_64');
    assert.deepEqual(layout.cmdline, ['quiet', 'ro']);
    assert.deepEqual(layout.free, [{ name: 'ip', type: 'ipv4' }]);
    assert.deepEqual(
      layout.artifacts.map(({ path }) => path),
      ['vmlinuz', 'initrd.img', 'root.img'],
    );
  });

  it('may be one that a hypervisor starts, by the small file or by flags', async () => {
    const files = { ...PLAIN, 'xen.gz': 'xen' };
    const toml =
      'release = "school/2026.11.01"\nkernel = "xen.gz"\nmodule = "vmlinuz"\ninitrd = ["initrd.img"]\n' +
      'rootfs = "root.img"\ncmdline = "com1=115200"\nmodule-cmdline = "archisobasedir=arch  quiet"\n';
    const layout = await recogniseTree(await newTree({ ...files, 'bootseal.toml': toml }));
    assert.deepEqual(
      layout.artifacts.map(({ role, path }) => `${role} ${path}`),
      ['kernel xen.gz', 'module vmlinuz', 'initrd initrd.img', 'rootfs root.img'],
    );
    assert.deepEqual(layout.cmdline, ['com1=115200']);
    assert.deepEqual(layout.moduleCmdline, ['archisobasedir=arch', 'quiet']);
    // What early userspace sees says what kind of system it is, and what loaders fill in.
    assert.equal(layout.layout, 'archiso');
    assert.equal(layout.free.length, 3);
    const flags = { release: 'school/2026.11.01', kernel: 'xen.gz', module: 'vmlinuz' };
    const told = await recogniseTree(await newTree(files), { ...flags, moduleCmdline: 'quiet' });
    assert.deepEqual([told.cmdline, told.moduleCmdline], [[], ['quiet']]);
    assert.deepEqual((await recogniseTree(await newTree(files), flags)).moduleCmdline, []);
  });

  it('has its overlay started on the line of the module, and joined with whatever stands before it', async () => {
    const files = { ...PLAIN, 'xen.gz': 'xen', 'bootseal-overlay.img': 'a packed initrd, and an overlay' };
    const options = { ...FLAGS, kernel: 'xen.gz', module: 'vmlinuz', rootfs: 'root.img', cmdline: 'com1' };
    const { cmdline, moduleCmdline } = await recogniseTree(await newTree(files), options);
    assert.deepEqual([cmdline, moduleCmdline], [['com1'], ['rdinit=/bootseal/init']]);
  });

  it('needs no more than a kernel', async () => {
    const layout = await recogniseTree(await newTree({ ...PLAIN, 'bootseal.toml': TOML }));
    assert.deepEqual(layout.artifacts, [{ role: 'kernel', path: 'vmlinuz', size: 6 }]);
  });

  it('frees nothing where it says nothing, and what archiso needs where its command line is archiso’s', async () => {
    const plain = await recogniseTree(await newTree({ ...PLAIN, 'bootseal.toml': TOML }));
    assert.deepEqual(plain.free, []);
    const options = { ...FLAGS, rootfs: 'root.img', cmdline: 'archisobasedir=arch' };
    const { free } = await recogniseTree(await newTree(PLAIN), options);
    assert.deepEqual(
      free.map(({ name }) => name),
      ['ip', 'BOOTIF', 'archiso_http_srv'],
    );
  });

  it('gets the word by which its overlay knows the server, and it shows', async () => {
    const word = { name: 'archiso_http_srv', type: 'url' };
    const toml = `${TOML}rootfs = "root.img"\nfree = ["ip dhcp"]\n`;
    const files = { ...PLAIN, 'bootseal-overlay.img': '07070100' };
    const lacking = await recogniseTree(await newTree({ ...files, 'bootseal.toml': toml }));
    assert.match(lacking.notes.join(), /"archiso_http_srv url" was added/);
    assert.deepEqual(lacking.free, [{ name: 'ip', type: 'dhcp' }, word]);
    const named = toml.replace('"ip dhcp"', '"archiso_http_srv url"');
    const whole = await recogniseTree(await newTree({ ...files, 'bootseal.toml': named }));
    assert.deepEqual([whole.notes, whole.free], [[], [word]]);
    const fixed = { cmdline: 'archiso_http_srv=http://10.0.0.1/' };
    const told = await recogniseTree(await newTree({ ...files, 'bootseal.toml': toml }), fixed);
    assert.deepEqual(told.notes, []);
  });

  it('takes a flag before its file', async () => {
    const tree = await newTree({ ...PLAIN, 'bootseal.toml': TOML });
    const layout = await recogniseTree(tree, { kernel: 'root.img', release: 'school/2' });
    assert.equal(layout.release, 'school/2');
    assert.deepEqual(layout.artifacts, [{ role: 'kernel', path: 'root.img', size: 10 }]);
  });
});

interface Unfit {
  readonly name: string;
  readonly files: Record<string, string>;
  readonly options?: LayoutOptions;
  readonly spoil?: (tree: string) => Promise<unknown>;
  readonly code: Failure;
  readonly says: RegExp;
}

const without = (...names: string[]) =>
  Object.fromEntries(Object.entries(ARCH).filter(([name]) => !names.includes(name)));
const elsewhere = join(folder, 'elsewhere');
await writeFile(elsewhere, 'out of the tree');

const UNFIT: readonly Unfit[] = [
  { name: 'an empty tree', files: {}, code: 'usage', says: /is empty: there is nothing to seal/ },
  {
    name: 'a tree of nothing known',
    files: { readme: 'x' },
    code: 'usage',
    says: /neither a bootseal.toml nor the files of a system that is known here.* --kernel/,
  },
  { name: 'no kernel', files: without(KERNEL), code: 'usage', says: /holds no kernel \(arch\/boot/ },
  { name: 'no initramfs', files: without(INITRD), code: 'usage', says: /holds no initramfs/ },
  { name: 'no root image', files: without(ROOTFS), code: 'usage', says: /holds no root image/ },
  {
    name: 'two kernels',
    files: { ...ARCH, 'arch/boot/x86_64/vmlinuz-linux-lts': 'x' },
    code: 'usage',
    says: /two kernels, vmlinuz-linux and vmlinuz-linux-lts; .*--kernel, --initrd and --rootfs/,
  },
  {
    name: 'two root images',
    files: { ...ARCH, 'arch/x86_64/airootfs.erofs': 'x' },
    code: 'usage',
    says: /two root images/,
  },
  {
    name: 'two install folders',
    files: { ...ARCH, 'other/boot/x': 'x' },
    code: 'usage',
    says: /two trees, arch and other/,
  },
  {
    name: 'a tree that does not say which release it is',
    files: without('arch/version'),
    code: 'usage',
    says: /name it with --release NAME\/VERSION/,
  },
  {
    name: 'a release that is no name',
    files: ARCH,
    options: { release: '../up' },
    code: 'usage',
    says: /"\.\.\/up" is no release id/,
  },
  {
    name: 'a version of two lines',
    files: { ...ARCH, 'arch/version': '1\n2' },
    code: 'usage',
    says: /is no release id/,
  },
  {
    name: 'a root image of no bytes',
    files: { ...ARCH, [ROOTFS]: '' },
    code: 'malformed',
    says: /is empty/,
  },
  { name: 'a kernel of no bytes', files: { ...ARCH, [KERNEL]: '' }, code: 'malformed', says: /is empty/ },
  {
    name: 'a root image that is a folder',
    files: { ...without(ROOTFS), [`${ROOTFS}/file`]: 'x' },
    code: 'unsafe-path',
    says: /airootfs\.sfs is a folder/,
  },
  {
    name: 'a root image that is a FIFO',
    files: ARCH,
    spoil: async (tree) => {
      await rm(join(tree, ROOTFS));
      execFileSync('mkfifo', [join(tree, ROOTFS)]);
    },
    code: 'unsafe-path',
    says: /airootfs\.sfs is a FIFO/,
  },
  {
    name: 'a root image that is a link out of the tree',
    files: ARCH,
    spoil: async (tree) => {
      await rm(join(tree, ROOTFS));
      await symlink(elsewhere, join(tree, ROOTFS));
    },
    code: 'unsafe-path',
    says: /symbolic link \(arch\/x86_64\/airootfs\.sfs\)/,
  },
  {
    name: 'an initramfs that is a dangling link',
    files: ARCH,
    spoil: async (tree) => {
      await rm(join(tree, INITRD));
      await symlink('nowhere', join(tree, INITRD));
    },
    code: 'unsafe-path',
    says: /symbolic link/,
  },
  {
    name: 'a folder that is a link',
    files: ARCH,
    spoil: async (tree) => {
      await rename(join(tree, 'arch/x86_64'), join(tree, 'moved'));
      await symlink('../moved', join(tree, 'arch/x86_64'));
    },
    code: 'unsafe-path',
    says: /arch\/x86_64 is a symbolic link/,
  },
  {
    name: 'a folder that may not be read',
    files: ARCH,
    spoil: (tree) => chmod(join(tree, 'arch/boot/x86_64'), 0o000),
    code: 'EACCES',
    says: /arch\/boot\/x86_64 cannot be read: permission is denied/,
  },
  {
    name: 'a flag that names a missing file',
    files: PLAIN,
    options: { ...FLAGS, initrds: ['none.img'] },
    code: 'usage',
    says: /initrd none\.img is missing/,
  },
  {
    name: 'a flag that leads out of the tree',
    files: PLAIN,
    options: { ...FLAGS, kernel: '../elsewhere' },
    code: 'usage',
    says: /"\.\.\/elsewhere" is no path for a kernel/,
  },
  {
    name: 'an absolute path',
    files: PLAIN,
    options: { ...FLAGS, rootfs: elsewhere },
    code: 'usage',
    says: /is no path for a rootfs/,
  },
  {
    name: 'a path below a file',
    files: PLAIN,
    options: { ...FLAGS, rootfs: 'vmlinuz/root' },
    code: 'unsafe-path',
    says: /lies below vmlinuz, which is not a folder/,
  },
  {
    name: 'an overlay without a root image',
    files: { ...PLAIN, 'bootseal-overlay.img': '07070100' },
    options: FLAGS,
    code: 'usage',
    says: /bootseal-overlay\.img is an overlay, and the release has no root image/,
  },
  {
    name: 'an overlay that would be told its server as something else',
    files: {
      ...PLAIN,
      'bootseal-overlay.img': '07070100',
      'bootseal.toml': `${TOML}rootfs = "root.img"\nfree = ["archiso_http_srv ipv4"]\n`,
    },
    code: 'usage',
    says: /of type ipv4, and the overlay takes only a url/,
  },
  {
    name: 'words for a module that is not there',
    files: PLAIN,
    options: { ...FLAGS, moduleCmdline: 'quiet' },
    code: 'usage',
    says: /There are words for a module, and no module/,
  },
  {
    name: 'a word of a module that a shell would run',
    files: { ...PLAIN, xen: 'xen' },
    options: { ...FLAGS, kernel: 'xen', module: 'vmlinuz', moduleCmdline: 'x=$(id)' },
    code: 'usage',
    says: /"x=\$\(id\)", which is not allowed/,
  },
  {
    name: 'one file in two roles',
    files: PLAIN,
    options: { ...FLAGS, initrds: ['vmlinuz'] },
    code: 'usage',
    says: /vmlinuz is named twice/,
  },
  {
    name: 'a command line that a shell would run',
    files: PLAIN,
    options: { ...FLAGS, cmdline: 'quiet x=$(id)' },
    code: 'usage',
    says: /"x=\$\(id\)", which is not allowed/,
  },
  ...[
    ['is not TOML', 'kernel =', /is not TOML/],
    ['names no kernel', 'release = "a/1"', /bootseal\.toml: kernel/],
    ['has an unknown key', `${TOML}kernal = "x"`, /bootseal\.toml.*kernal/],
    ['frees a parameter of no known type', `${TOML}free = ["x shell"]`, /bootseal\.toml: free\.0/],
  ].map(([name, toml, says]) => ({
    name: `a small file that ${name}`,
    files: { ...PLAIN, 'bootseal.toml': String(toml) },
    code: 'usage' as const,
    says: says as RegExp,
  })),
];

describe('refused', () => {
  for (const { name, files, options, spoil, code, says } of UNFIT) {
    it(name, async () => {
      const tree = await newTree(files);
      await mkdir(tree, { recursive: true });
      await spoil?.(tree);
      await asNobody(folder, () => assert.rejects(recogniseTree(tree, options), failed(code, says)));
    });
  }

  it('a tree that does not exist', async () => {
    await assert.rejects(recogniseTree(join(folder, 'none')), misused(/There is no folder/));
  });

  it('a tree that is a file', async () => {
    await assert.rejects(recogniseTree(elsewhere), misused(/is not a folder/));
  });
});
