import assert from 'node:assert/strict';
import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { type LayoutOptions, recogniseTree } from '../../src/release/layout.ts';
import { layoutOfWords } from '../../src/release/layouts/all.ts';
import { failed, misused } from '../fixtures/failed.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { LAYOUT_TREES, LIVE, named } from '../fixtures/layout-trees.ts';
import { writeTree } from '../fixtures/release.ts';

/** Each kind of tree as its publisher lays it out: only the names count, and what a script beside them says. */

const folder = await temporaryFolder();
let trees = 0;
const newTree = (files: Record<string, string>) => writeTree(join(folder, String(trees++)), files);
const RELEASE = { release: 'site/2026.11.01' };
const recognise = async (files: Record<string, string>, options: LayoutOptions = {}) =>
  recogniseTree(await newTree(files), { ...RELEASE, ...options });

describe('a tree is recognised by its files:', () => {
  for (const { layout, files, arch = 'x86_64', loads, cmdline } of LAYOUT_TREES) {
    it(layout, async () => {
      const seen = await recognise(files);
      assert.equal(seen.layout, layout);
      assert.equal(seen.arch, arch);
      assert.deepEqual(
        seen.artifacts.map(({ role, path }) => `${role} ${path}`),
        loads,
      );
      assert.equal(seen.cmdline.join(' '), cmdline);
    });

    it(`${layout}, sealed already`, async () => {
      const seals = loads
        .map((text) => text.replace(/^\w+ /, ''))
        .flatMap((path) => [`${path}.sig`, `${path}.cms.sig`]);
      const seen = await recognise({ ...files, ...named(...seals, 'boot.ipxe', 'release.manifest') });
      assert.equal(seen.layout, layout);
      assert.equal(seen.artifacts.length, loads.length);
    });
  }

  it('archisos’s words do not go into it, and nothing is free that nobody named', async () => {
    assert.deepEqual((await recognise(LIVE)).free, []);
    const { free } = await recognise(LIVE, { free: ['ip dhcp'] });
    assert.deepEqual(free, [{ name: 'ip', type: 'dhcp' }]);
  });

  it('links are none of its files', async () => {
    const tree = await newTree(named('debian-installer/amd64/linux', 'debian-installer/amd64/initrd.gz'));
    await symlink('debian-installer/amd64/initrd.gz', join(tree, 'initrd.gz'));
    assert.equal((await recogniseTree(tree, RELEASE)).layout, 'debian-installer');
  });

  it('two layouts that both fit are refused, and one that is named wins', async () => {
    const both = { ...LIVE, ...named('casper/vmlinuz', 'casper/initrd') };
    await assert.rejects(recognise(both), misused(/fits two layouts, live-boot and casper; .*--layout/));
    assert.equal((await recognise(both, { layout: 'casper' })).layout, 'casper');
  });

  it('two kernels of one layout are refused by name', async () => {
    const two = { ...LIVE, ...named('live/vmlinuz-6.1') };
    await assert.rejects(
      recognise(two),
      misused(/two of what could be the kernel, live\/vmlinuz and live\/vmlinuz-6\.1/),
    );
  });

  it('a layout that was named and does not fit', async () => {
    await assert.rejects(
      recognise(LIVE, { layout: 'casper' }),
      misused(/is no tree of casper as its publisher lays one out/),
    );
    await assert.rejects(
      recognise(LIVE, { layout: 'gentoo' }),
      misused(/There is no layout "gentoo"; there are archiso, /),
    );
  });
});

describe('a command line shows its layout:', () => {
  for (const [words, layout] of [
    ['archisobasedir=arch', 'archiso'],
    ['boot=live fetch=http://10.0.0.1/x.squashfs', 'live-boot'],
    ['boot=casper', 'casper'],
    ['auto=true preseed/url=http://10.0.0.1/p', 'debian-installer'],
    ['ltsp.image=a', 'ltsp'],
    ['root=live:http://10.0.0.1/x', 'dracut-live'],
    ['root=live:/install.img rd.live.image inst.ks=file:/ks.cfg', 'anaconda'],
    ['coreos.live.rootfs_url=http://10.0.0.1/x', 'coreos'],
    ['alpine_repo=http://10.0.0.1/', 'alpine'],
    ['rd.systemd.pull=raw,machine:x:http://10.0.0.1/x', 'systemd'],
    ['root=/dev/sda1 quiet', undefined],
  ] as const) {
    it(words, () => assert.equal(layoutOfWords(words.split(' '))?.name, layout));
  }

  it('of two it is neither', () => {
    assert.throws(
      () => layoutOfWords(['boot=live', 'rd.live.image']),
      /fits two layouts, live-boot and dracut-live; name the one that it is with --layout\.$/,
    );
  });
});

describe('words that cannot be meant:', () => {
  const PLAIN = named('vmlinuz', 'initrd.img', 'ltsp.img', 'root.img');
  const flags = { kernel: 'vmlinuz', initrds: ['initrd.img'] };
  const OVERLAY = { ...PLAIN, 'bootseal-overlay.img': '07070100' };

  it('one that a layout fetches by, twice', async () => {
    const cmdline = 'boot=live fetch=http://10.0.0.1/a fetch=http://10.0.0.1/b';
    await assert.rejects(
      recognise(PLAIN, { ...flags, cmdline }),
      misused(/fetch stands twice .* the root image both times/),
    );
    const several = 'rd.systemd.pull=raw:a:http://10.0.0.1/a rd.systemd.pull=raw:b:http://10.0.0.1/b';
    assert.equal((await recognise(PLAIN, { ...flags, cmdline: several })).cmdline.length, 2);
  });

  for (const [character, word, way] of [
    ['a semicolon', 'ds=nocloud-net;s=http://10.0.0.1/', /can ride in an initrd instead: .*--pack/],
    ['quotes', 'dyndbg="file', /can ride in an initrd instead/],
    ['a question mark', 'ignition.config.url=http://10.0.0.1/x?uuid=1', /give each a path of its own/],
    ['a setting', `inst.ks=http://10.0.0.1/\${mac}`, /give each a path of its own/],
    ['an exclamation mark', 'acpi_osi=!Linux', /letters, digits and \._:,=\/@%\+\[\]- are\.$/],
  ] as const) {
    it(`${character}, with the way out where there is one`, async () => {
      await assert.rejects(recognise(PLAIN, { ...flags, cmdline: word }), misused(way));
    });
  }

  for (const [what, initrds, cmdline, says] of [
    ['LTSP that mounts its image', ['ltsp.img', 'initrd.img'], 'ltsp.image=images/a', /leave that word out/],
    ['LTSP with an overlayfs of its own', ['ltsp.img', 'initrd.img'], 'ltsp.x=1', /add ltsp\.overlay=0/],
    [
      'LTSP that takes it back',
      ['initrd.img', 'ltsp.img'],
      'ltsp.overlay=0 ltsp.overlay=1',
      /add ltsp\.overlay=0/,
    ],
  ] as const) {
    it(`an overlay under ${what} would halt every machine`, async () => {
      const options = { kernel: 'vmlinuz', initrds, rootfs: 'root.img', cmdline };
      await assert.rejects(recognise(OVERLAY, options), misused(says));
    });
  }

  it('LTSP’s own initrd may be loaded before the other or behind it', async () => {
    for (const initrds of [
      ['ltsp.img', 'initrd.img'],
      ['initrd.img', 'ltsp.img'],
    ]) {
      const options = { kernel: 'vmlinuz', initrds, rootfs: 'root.img', cmdline: 'ltsp.overlay=0' };
      const { artifacts } = await recognise(OVERLAY, options);
      const loaded = artifacts.map(({ path }) => path);
      assert.deepEqual(loaded, ['vmlinuz', ...initrds, 'bootseal-overlay.img', 'root.img']);
    }
  });

  it('an overlay under NixOS would halt every machine', async () => {
    const options = { ...flags, rootfs: 'root.img', layout: 'nixos' };
    await assert.rejects(recognise(OVERLAY, options), misused(/no overlay can hand over to it/));
  });
});

describe('a root image that is packed', () => {
  it('goes where its system looks for one, and says so', async () => {
    const made: unknown[] = [];
    const options = {
      pack: ['live/filesystem.squashfs', 'live/initrd.img=extra/initrd.img'],
      makePack: async (tree: string, path: string, entries: unknown) => {
        made.push(entries);
        await writeTree(tree, { [path]: 'x'.repeat(17 * 2 ** 20) });
      },
    };
    const { artifacts, cmdline, notes } = await recognise(LIVE, options);
    assert.deepEqual(made, [
      [
        { from: 'live/filesystem.squashfs', at: 'bootseal-medium/live/filesystem.squashfs' },
        { from: 'live/initrd.img', at: 'extra/initrd.img' },
      ],
    ]);
    assert.deepEqual(
      artifacts.map(({ role, path }) => `${role} ${path}`),
      ['kernel live/vmlinuz', 'initrd live/initrd.img', 'initrd bootseal-pack.img'],
    );
    assert.deepEqual(cmdline, ['boot=live', 'live-media=/bootseal-medium', 'rootfstype=ramfs']);
    assert.match(notes.join('\n'), /were added: live-media=\/bootseal-medium rootfstype=ramfs\./);
    assert.match(notes.join('\n'), /needs about 131 MiB of memory/);
  });

  it('is not packed where a word brings the limit back', async () => {
    const makePack = (tree: string, path: string) =>
      writeTree(tree, { [path]: 'x'.repeat(17 * 2 ** 20) }).then(() => {});
    const pack = ['live/filesystem.squashfs'];
    for (const cmdline of ['boot=live rootfstype=tmpfs', 'boot=live root=x rootfstype=ramfs,tmpfs']) {
      await assert.rejects(
        recognise(LIVE, { cmdline, pack, makePack }),
        misused(/says rootfstype=.*tmpfs, by which machines would cut off what was packed at half of their/),
      );
    }
    const { cmdline } = await recognise(LIVE, { cmdline: 'boot=live root=', pack, makePack });
    assert.equal(cmdline.at(-1), 'rootfstype=ramfs', 'a root= that names nothing lifts no limit');
  });

  it('is not packed where nobody knows how its system would find it', async () => {
    const options = {
      kernel: 'live/vmlinuz',
      rootfs: 'live/filesystem.squashfs',
      pack: ['live/filesystem.squashfs'],
    };
    await assert.rejects(
      recognise(LIVE, options),
      misused(/plain is not known to take a root image out of an initrd/),
    );
  });

  it('is not packed beside a word that leads elsewhere', async () => {
    const makePack = (tree: string, path: string) => writeTree(tree, { [path]: 'x' }).then(() => {});
    const options = {
      cmdline: 'boot=live live-media=/dev/sr0',
      pack: ['live/filesystem.squashfs'],
      makePack,
    };
    await assert.rejects(
      recognise(LIVE, options),
      misused(/says live-media=\/dev\/sr0, and the root image that was packed needs/),
    );
  });

  it('or anything else, out of the tree, is refused', async () => {
    await assert.rejects(recognise(LIVE, { pack: ['../up'] }), misused(/nothing to pack/));
    await assert.rejects(
      recognise(LIVE, { pack: ['live/vmlinuz=a/../b'] }),
      failed('usage', /nothing to pack/),
    );
  });
});

describe('a small file without a kernel', () => {
  it('adds to what the files show', async () => {
    const toml = 'release = "site/2026.11.02"\ncmdline = "boot=live live-media=/m"\nfree = ["ip dhcp"]\n';
    const seen = await recogniseTree(await newTree({ ...LIVE, 'bootseal.toml': toml }));
    assert.equal(seen.layout, 'live-boot');
    assert.equal(seen.release, 'site/2026.11.02');
    assert.deepEqual(seen.cmdline, ['boot=live', 'live-media=/m']);
    assert.deepEqual(seen.free, [{ name: 'ip', type: 'dhcp' }]);
    assert.equal(seen.artifacts.length, 3);
  });

  it('is refused where they show nothing', async () => {
    const files = { 'bootseal.toml': 'release = "site/1"\n', readme: 'x' };
    await assert.rejects(recogniseTree(await newTree(files)), misused(/bootseal\.toml: kernel is not named/));
  });
});

describe('what is said beside a tree', () => {
  it('names what was packed, what lies there unused, and what an earlier sealing left', async () => {
    const makePack = (tree: string, path: string) => writeTree(tree, { [path]: 'x' }).then(() => {});
    const { notes } = await recognise(
      { ...LIVE, ...named('preseed.cfg', 'site.conf') },
      { pack: ['site.conf=etc/site.conf'], makePack },
    );
    assert.deepEqual(notes, [
      'bootseal-pack.img holds site.conf as /etc/site.conf.',
      'preseed.cfg lies in the tree and is no part of this release; --pack preseed.cfg makes it one.',
    ]);
    const left = await recognise({ ...LIVE, ...named('bootseal-pack.img') });
    assert.match(left.notes.join(), /bootseal-pack\.img of an earlier sealing .* may be removed/);
  });

  it('further initrds go behind those that its files show', async () => {
    const { artifacts } = await recognise({ ...LIVE, ...named('site.img') }, { addInitrds: ['site.img'] });
    assert.deepEqual(
      artifacts.map(({ role, path }) => `${role} ${path}`),
      ['kernel live/vmlinuz', 'initrd live/initrd.img', 'initrd site.img', 'rootfs live/filesystem.squashfs'],
    );
  });
});
