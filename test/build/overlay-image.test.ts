import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { composeOverlay } from '../../src/build/overlay-image.ts';
import { collectModules, type ModuleSet } from '../../src/build/overlay-modules.ts';
import { collectTools, type ToolSet } from '../../src/build/overlay-tools.ts';
import { decodeCpio } from '../../src/formats/archive/cpio.ts';
import type { PolicyFloor } from '../../src/formats/records/policy-floor.ts';
import { misused } from '../fixtures/failed.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { refused } from '../trust/judge.ts';

const folder = await temporaryFolder();
const FLOOR: PolicyFloor = {
  name: undefined,
  minSerial: 1,
  graceDays: 0,
  require: ['manifest'],
  mode: 'verity',
};
const ANCHORS = {
  ca: Buffer.from('ca\n'),
  codesign: Buffer.from('codesign\n'),
  manifest: Buffer.from('manifest\n'),
  keyring: undefined,
};

/** `lib/modules/VERSION` as depmod leaves it; a module's content is its name. */
async function moduleRoot(
  files: Readonly<Record<string, string>>,
  index: Readonly<Record<string, string>> = {},
  version = '6.1.0-lab',
): Promise<string> {
  const root = await mkdtemp(join(folder, 'modules-'));
  const base = join(root, 'lib', 'modules', version);
  await mkdir(join(base, 'kernel'), { recursive: true });
  for (const name of Object.keys(files)) await writeFile(join(base, 'kernel', name), name);
  const dep = Object.entries(files).map(([name, needs]) => {
    const paths = needs.split(' ').filter(Boolean);
    return `kernel/${name}: ${paths.map((need) => `kernel/${need}`).join(' ')}`.trimEnd();
  });
  await writeFile(join(base, 'modules.dep'), `${dep.join('\n')}\n`);
  for (const [name, text] of Object.entries(index)) await writeFile(join(base, `modules.${name}`), text);
  return root;
}

const asIs = { decompress: async (_: string, bytes: Uint8Array) => bytes };
/** dm-verity's own closure, what must be loaded first at the end: as depmod writes it. */
const USUAL = {
  'nbd.ko': '',
  'dm-mod.ko': '',
  'dm-bufio.ko': 'dm-mod.ko',
  'dm-verity.ko': 'dm-bufio.ko dm-mod.ko',
  'overlay.ko': '',
  'squashfs.ko': '',
};

describe('modules for an overlay', () => {
  const names = (set: ModuleSet, file: string) => {
    const entry = set.entries.find(({ name }) => name.endsWith(`/${file}`));
    assert.ok(entry?.kind === 'file');
    return Buffer.from(entry.data).toString();
  };

  it('are loaded each after those it needs', async () => {
    const set = await collectModules(await moduleRoot(USUAL), undefined, asIs);
    assert.equal(set.version, '6.1.0-lab');
    const order = names(set, 'order').trim().split('\n');
    assert.ok(order.indexOf('dm_mod.ko') < order.indexOf('dm_bufio.ko'));
    assert.ok(order.indexOf('dm_bufio.ko') < order.indexOf('dm_verity.ko'));
  });

  it('are in the same order as modprobe would load them, for the kernel of this machine’s packages', async () => {
    const set = await collectModules(
      await moduleRoot(
        { 'r8169.ko': 'libphy.ko', 'libphy.ko': '', 'realtek.ko': 'libphy.ko' },
        {
          alias:
            'alias pci:v000010ECd00008168sv*sd*bc*sc*i* r8169\nalias fs-nothing odd\nalias of:N*T*Crealtek,r8169 r8169\n',
          softdep: 'softdep r8169 pre: realtek\n',
        },
      ),
      undefined,
      asIs,
    );
    assert.equal(
      names(set, 'drivers'),
      'of:N*T*Crealtek,r8169 libphy.ko realtek.ko r8169.ko\n' +
        'pci:v000010ECd00008168sv*sd*bc*sc*i* libphy.ko realtek.ko r8169.ko\n',
    );
    assert.equal(names(set, 'order'), '');
  });

  it('that are compressed are carried plain', async () => {
    const root = await moduleRoot({ 'nbd.ko.gz': '' });
    await writeFile(join(root, 'lib/modules/6.1.0-lab/kernel/nbd.ko.gz'), gzipSync('content'));
    const { gunzipSync } = await import('node:zlib');
    const set = await collectModules(root, undefined, { decompress: async (_, bytes) => gunzipSync(bytes) });
    assert.equal(names(set, 'nbd.ko'), 'content');
  });

  it('count as there when they are built in', async () => {
    const root = await moduleRoot({ 'nbd.ko': '' }, { builtin: 'kernel/fs/overlayfs/overlay.ko\n' });
    const set = await collectModules(root, undefined, asIs);
    assert.equal(set.has('overlay'), true);
    assert.equal(set.has('dm_verity'), false);
    assert.deepEqual(set.names, ['nbd']);
  });

  it('of several kernels are asked about', async () => {
    const root = await moduleRoot(USUAL);
    await cp(join(root, 'lib/modules/6.1.0-lab'), join(root, 'lib/modules/6.2.0'), { recursive: true });
    await assert.rejects(
      collectModules(root, undefined, asIs),
      misused(/6\.1\.0-lab and 6\.2\.0; name the one to take with --kernel/),
    );
    assert.equal((await collectModules(root, '6.2.0', asIs)).version, '6.2.0');
    await assert.rejects(collectModules(root, '7.0', asIs), misused(/lib\/modules\/7\.0/));
  });

  it('that were asked for and are not there are missed', async () => {
    await assert.rejects(
      collectModules(await moduleRoot(USUAL), undefined, { ...asIs, drivers: ['mlx5_core'] }),
      misused(/no module mlx5_core/),
    );
  });

  it('whose index points out of the folder are not read', async () => {
    const root = await moduleRoot(USUAL);
    await writeFile(join(root, 'lib/modules/6.1.0-lab/modules.dep'), '../../../../etc/nbd.ko:\n');
    assert.deepEqual((await collectModules(root, undefined, asIs)).names, []);
  });
});

describe('tools for an overlay', () => {
  it('come with every library that ldd names, and run through their own loader', async () => {
    const set = await collectTools('/', ['busybox', 'openssl', 'dmsetup']);
    const there = set.entries.map(({ name }) => name);
    for (const tool of ['openssl', 'dmsetup']) {
      const told = execFileSync('sh', ['-c', `ldd $(command -v ${tool})`], { encoding: 'utf8' });
      for (const [, library] of told.matchAll(/^\s+(?:\/\S*\/)?([^\s/]+\.so\S*) /gm)) {
        if (library?.startsWith('linux-vdso')) continue;
        assert.ok(there.includes(`bootseal/lib/${library}`), `${tool} needs ${library}`);
      }
    }
    const wrapper = set.entries.find(({ name }) => name === 'bootseal/bin/openssl');
    assert.ok(wrapper?.kind === 'file');
    assert.match(Buffer.from(wrapper.data).toString(), /ld-linux.*--library-path \/bootseal\/lib /);
  });

  it('that are missing are named with their package', async () => {
    await assert.rejects(
      collectTools(folder, ['busybox']),
      misused(/no program busybox below .*busybox-static/),
    );
  });

  it('need a busybox that is static', async () => {
    const root = await mkdtemp(join(folder, 'root-'));
    await cp('/usr/bin/openssl', join(root, 'busybox'));
    await assert.rejects(collectTools(root, ['busybox']), misused(/needs a static busybox/));
  });

  it('are refused by name where one is for other machines than the rest, or than was said', async () => {
    const root = await mkdtemp(join(folder, 'root-'));
    const busybox = await readFile('/bin/busybox');
    await writeFile(join(root, 'busybox'), busybox);
    const curl = Buffer.from(busybox);
    const AARCH64 = 183;
    curl.writeUInt16LE(AARCH64, 18);
    await writeFile(join(root, 'curl'), curl);
    const says = new RegExp(`^${root}/curl is for aarch64, and another tool is for x86_64\\.$`);
    await assert.rejects(collectTools(root, ['busybox', 'curl']), refused('wrong-machine', says));
    await assert.rejects(
      collectTools(root, ['curl', 'busybox'], { arch: 'aarch64' }),
      refused('wrong-machine', /busybox is for x86_64, and the overlay is for aarch64\.$/),
    );
    const { machine } = await collectTools(root, ['curl'], { arch: 'aarch64' });
    assert.equal(machine, 'aarch64');
    // The one that runs here is not taken for it, whatever the release is for.
    await assert.rejects(collectTools('/', ['busybox'], { arch: 'aarch64' }), refused('wrong-machine'));
    await assert.rejects(
      collectTools('/', ['busybox'], { arch: 'arm64' }),
      misused(/No overlay is built for arm64; x86_64, aarch64/),
    );
  });

  it('are missed when a library of theirs is', async () => {
    const root = await mkdtemp(join(folder, 'root-'));
    await cp('/usr/bin/openssl', join(root, 'openssl'));
    await assert.rejects(collectTools(root, ['openssl']), misused(/needs the library \S+, which/));
  });

  it('are looked for inside their root, where its links lead', async () => {
    const root = await mkdtemp(join(folder, 'root-'));
    await mkdir(join(root, 'usr/bin'), { recursive: true });
    await symlink('usr/bin', join(root, 'bin'));
    // Absolute, and of this root, not of the machine's.
    await symlink('/bin/real', join(root, 'usr/bin/busybox'));
    await cp('/bin/busybox', join(root, 'usr/bin/real'));
    const { entries } = await collectTools(root, ['busybox']);
    assert.deepEqual(
      entries.map(({ name }) => name),
      ['bootseal/bin/busybox'],
    );
    await assert.rejects(
      (async () => {
        await symlink('/etc/passwd', join(root, 'usr/bin/openssl'));
        return collectTools(root, ['openssl']);
      })(),
      misused(/no program openssl/),
    );
  });
});

describe('an overlay', () => {
  let tools: ToolSet;
  let modules: ModuleSet;
  before(async () => {
    tools = await collectTools('/', ['busybox', 'openssl', 'nbd-client', 'dmsetup']);
    modules = await collectModules(await moduleRoot(USUAL), undefined, asIs);
  });

  it('is an archive that cpio reads, with everything under bootseal and no link', () => {
    const archive = composeOverlay({ tools, modules, anchors: ANCHORS, floor: FLOOR });
    const listed = execFileSync('cpio', ['-itv', '--quiet'], { input: archive, encoding: 'utf8' })
      .trim()
      .split('\n');
    assert.equal(listed.length, decodeCpio(archive).length);
    for (const line of listed) {
      assert.match(line, /^[-d].* bootseal(\/|$)/);
      assert.doesNotMatch(line, / -> /);
    }
    for (const name of ['init', 'policy', 'anchors/codesign.crt', 'verify-manifest', 'bin/busybox']) {
      assert.ok(
        listed.some((line) => line.endsWith(` bootseal/${name}`)),
        name,
      );
    }
  });

  it('names each folder before what it holds, and everything once', () => {
    const names = decodeCpio(composeOverlay({ tools, modules, anchors: ANCHORS, floor: FLOOR })).map(
      ({ name }) => name,
    );
    assert.equal(new Set(names).size, names.length);
    for (const [index, name] of names.entries()) {
      const parent = name.slice(0, Math.max(0, name.lastIndexOf('/')));
      if (parent !== '') assert.ok(names.indexOf(parent) < index && names.indexOf(parent) >= 0, name);
    }
  });

  it('is a multiple of four bytes long, and the same each time', () => {
    const parts = { tools, modules, anchors: ANCHORS, floor: FLOOR };
    const first = composeOverlay(parts);
    assert.equal(first.length % 4, 0);
    assert.equal(Buffer.compare(first, composeOverlay(parts)), 0);
    assert.ok(decodeCpio(first).every(({ mtime, uid, gid }) => mtime === 0 && uid === 0 && gid === 0));
  });

  it('carries the scripts of the package, which may be run', () => {
    const entries = decodeCpio(composeOverlay({ tools, modules, anchors: ANCHORS, floor: FLOOR }));
    const init = entries.find(({ name }) => name === 'bootseal/init');
    const script = new URL('../../../early-userspace/init', import.meta.url);
    assert.equal(Buffer.compare(init?.data ?? Buffer.alloc(0), readFileSync(script)), 0);
    assert.equal(init?.mode, 0o755);
  });

  it('lets nothing be called that does not begin as a program, and nothing begin so that is only read', () => {
    const entries = decodeCpio(composeOverlay({ tools, modules, anchors: ANCHORS, floor: FLOOR }));
    const scripts = entries.filter(
      ({ name, data }) => /^bootseal\/[a-z-]+$/.test(name) && name !== 'bootseal/policy' && data.length > 0,
    );
    assert.ok(scripts.length > 10);
    for (const { name, mode, data } of scripts) {
      const program = Buffer.from(data).toString('latin1').startsWith('#!/bootseal/bin/busybox sh\n');
      // It stands alone, too, in an initramfs without an overlay.
      assert.equal(program || name === 'bootseal/verify-manifest', (mode & 0o111) !== 0, name);
    }
  });

  for (const [what, change, words] of [
    [
      'a tool that its mode needs',
      () => ({ tools: { ...tools, names: ['busybox', 'openssl'] as const } }),
      /nbd-client/,
    ],
    [
      'gpg, where the policy requires OpenPGP',
      () => ({ floor: { ...FLOOR, require: ['manifest', 'openpgp'] as const } }),
      /gpg/,
    ],
    ['a module that its mode needs', () => ({ modules: without('dm_verity') }), /module dm_verity/],
    ['overlayfs', () => ({ modules: without('overlay') }), /module overlay/],
    ['a file system for the root', () => ({ modules: without('squashfs') }), /neither squashfs nor EROFS/],
  ] as const) {
    it(`without ${what} is refused`, () => {
      const parts = { tools, modules, anchors: ANCHORS, floor: FLOOR, ...change() };
      assert.throws(() => composeOverlay(parts), misused(words));
    });
  }

  it('that may fall back needs the modules of the mode it falls back to', () => {
    const floor: PolicyFloor = { ...FLOOR, fallback: 'ram' };
    const parts = { tools, anchors: ANCHORS, floor };
    assert.throws(
      () => composeOverlay({ ...parts, modules: without('loop') }),
      misused(/module loop, which mode ram needs/),
    );
    const bare = { ...modules, has: (name: string) => name === 'loop' || without('nbd').has(name) };
    const text = decodeCpio(composeOverlay({ ...parts, modules: bare })).find(
      ({ name }) => name === 'bootseal/policy',
    );
    assert.match(Buffer.from(text?.data ?? '').toString(), /^mode verity\nfallback ram\n$/m);
  });

  function without(name: string): ModuleSet {
    return { ...modules, has: (other) => other !== name && modules.has(other) };
  }
});
