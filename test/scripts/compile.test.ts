// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is how iPXE writes a setting
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ukiCommandLine } from '../../src/build/uki.ts';
import { Refusal } from '../../src/errors/refusal.ts';
import type { Manifest } from '../../src/formats/records/manifest.ts';
import { manifestOfRefusal } from '../../src/formats/script/ipxe-refusal.ts';
import { parseIpxeScript } from '../../src/formats/script/ipxe-script.ts';
import { TRUST_LEVELS } from '../../src/release/trust-level.ts';
import {
  commandLine,
  compileAutoexec,
  compileBootScript,
  compileEmbedded,
  compileUnverifiedScript,
  DEFAULT_BASE,
  type ReleaseScriptOptions,
} from '../../src/scripts/compile.ts';
import { lintScript } from '../../src/scripts/lint.ts';
import { readTemplate } from '../../src/scripts/template.ts';
import { BOOT, DIGEST, file, MANIFEST } from './scripts.ts';

const TYPED: ReleaseScriptOptions = { manifest: MANIFEST, manifestSha256: DIGEST, server: { kind: 'typed' } };
const LITERAL: ReleaseScriptOptions = { ...TYPED, server: { kind: 'literal', url: 'http://10.1.2.3:8080' } };
const ANCHOR = '0123456789abcdef';

function withManifest(change: Partial<Manifest>): ReleaseScriptOptions {
  return { ...TYPED, manifest: { ...MANIFEST, ...change } };
}

function refuses(run: () => unknown, code: string, message: RegExp): void {
  assert.throws(run, (error) => {
    assert.ok(error instanceof Refusal);
    assert.equal(error.code, code);
    assert.match(error.message, message);
    return true;
  });
}

/** The commands of a script, one line each, without `set` and `echo`. */
function commandsOf(script: string): string[] {
  return parseIpxeScript(Buffer.from(script, 'latin1'))
    .lines.flatMap(({ commands }) => commands.map(({ words }) => words.join(' ')))
    .filter((command) => /^(img|kernel|initrd|boot|chain|isset)/.test(command));
}

const IDENTITY =
  '?mac=${netX/mac:hexhyp}&uuid=${uuid}&arch=${buildarch}&firmware=${platform}&serial=${serial:uristring}&asset=${asset:uristring}&manufacturer=${manufacturer:uristring}&product=${product:uristring}&network=${bootseal-network:int32}';

const GAVE_UP =
  '/api/v1/boots/gave-up?mac=${netX/mac:hexhyp}&step=${bootseal-step:hexraw}&errno=${bootseal-errno:hexraw}';
/** What stands at the end of a refusal. */
const SAID = [`imgfetch --name bootseal.said --timeout 5000 http://10.1.2.3:8080${GAVE_UP}`, 'imgfree'];

describe('boot.ipxe', () => {
  it('fetches, verifies and boots kernel and initrds in load order, overlay last', () => {
    const files = `http://10.1.2.3:8080/releases/arch/2026.11.01/${BOOT}`;
    const image = (command: string, name: string): string[] => [
      `${command} --name ${name} ${files}/${name}`,
      `imgfetch --name bootseal.seal ${files}/${name}.ipxe.sig?mac=\${netX/mac:hexhyp}`,
      `imgverify --signer arch/2026.11.01 ${name} bootseal.seal`,
    ];
    const expected = [
      'imgfree',
      'imgtrust --permanent',
      ...image('kernel', 'vmlinuz-linux'),
      ...image('initrd', 'amd-ucode.img'),
      ...image('initrd', 'initramfs-linux.img'),
      ...image('initrd', 'bootseal-overlay.img'),
      'boot',
      'imgfree',
      ...SAID,
    ];
    expected[2] += ` ${commandLine(LITERAL)}`;
    assert.deepEqual(commandsOf(compileBootScript(LITERAL)), expected);
  });

  it('passes the fixed words in order, the free ones it can fill, initrds, the manifest', () => {
    assert.equal(
      commandLine(LITERAL),
      'archisobasedir=arch checksum=y verify=y ip=dhcp BOOTIF=01-${netX/mac:hexhyp} ' +
        'archiso_http_srv=http://10.1.2.3:8080/releases/arch/2026.11.01/ initrd=amd-ucode.img ' +
        `initrd=initramfs-linux.img initrd=bootseal-overlay.img bootseal.manifest=${DIGEST}`,
    );
  });

  it('starts nothing of a kernel that starts another: it has no word for that one', () => {
    const xen = withManifest({
      files: [file('kernel', 'xen.gz'), file('module', 'vmlinuz')],
      cmdline: ['console=com1'],
      moduleCmdline: ['quiet'],
    });
    refuses(() => ukiCommandLine(xen.manifest, DIGEST, undefined), 'unsafe-script', /as the module/);
    for (const text of [compileBootScript(xen), compileUnverifiedScript(xen)]) {
      assert.match(
        text,
        /^echo REFUSED \S+: this release starts by GRUB, since iPXE cannot start xen\.gz with /m,
      );
      assert.doesNotMatch(text, /^(kernel|initrd|imgfetch|boot|chain)\b/m);
      assert.equal(manifestOfRefusal(Buffer.from(text)), DIGEST);
      assert.deepEqual(lintScript(Buffer.from(text)), []);
    }
  });

  it('finds a typed server with port 8080 unless the loader set one', () => {
    const script = compileBootScript(TYPED);
    assert.match(script, /^isset \$\{next-server\} \|\| goto refuse$/m);
    assert.match(script, /^isset \$\{bootseal-port:int32\} \|\| set bootseal-port:int32 8080$/m);
    // iPXE writes unsigned types in hexadecimal, which is no port to curl.
    assert.doesNotMatch(script, /:uint/);
    assert.match(
      script,
      / archiso_http_srv=http:\/\/\$\{next-server\}:\$\{bootseal-port:int32\}\/releases\//,
    );
    assert.doesNotMatch(compileBootScript(LITERAL), /next-server/);
  });

  it('is ASCII lines, the same each time, and names what it could not do', () => {
    const script = compileBootScript(TYPED);
    assert.match(script, /^#!ipxe\n[\x20-\x7e\n]*\n$/);
    assert.equal(script, compileBootScript(TYPED));
    for (const step of ['fetch the kernel vmlinuz-linux', 'verify the initrd initramfs-linux.img']) {
      assert.ok(script.includes(`set bootseal-step ${step}\n`), step);
    }
  });

  it('says where it gave up once all is on the screen, and starts nothing behind that', () => {
    for (const [script, server] of [
      [compileBootScript(LITERAL), 'http://10.1.2.3:8080'],
      [compileBootScript(TYPED), 'http://${next-server}:${bootseal-port:int32}'],
      [
        compileEmbedded({ base: DEFAULT_BASE, anchorId: ANCHOR, bootSigner: 'b', arch: 'aarch64' }),
        DEFAULT_BASE,
      ],
      [
        compileAutoexec({ bootSigner: 'b', server: { kind: 'typed' }, allowUnverified: true }),
        'http://${next-server}:${bootseal-port:int32}',
      ],
    ] as const) {
      assert.deepEqual(script.trimEnd().split('\n').slice(-7), [
        'echo Nothing was started. This machine restarts in 30 seconds.',
        `imgfetch --name bootseal.said --timeout 5000 ${server}${GAVE_UP} ||`,
        'imgfree',
        'sleep 30 ||',
        'reboot ||',
        'poweroff ||',
        'exit 1',
      ]);
    }
    assert.doesNotMatch(compileUnverifiedScript(TYPED), /gave-up/);
  });

  it('gives images of one name names of their own: iPXE would verify the first and boot both', () => {
    const more = [
      'other/initramfs-linux.img',
      'third/initramfs-linux.img',
      'a/vmlinuz-linux',
      'a/bootseal.seal',
    ];
    const files = [...MANIFEST.files, ...more.map((path) => file('initrd', path))];
    const script = compileBootScript(withManifest({ files }));
    const named = [...script.matchAll(/^initrd --name (\S+) \S+\/(\S+\/\S+) /gm)].map(([, name]) => name);
    assert.deepEqual(named.slice(-5, -1), [
      '2-initramfs-linux.img',
      '3-initramfs-linux.img',
      '2-vmlinuz-linux',
      '2-bootseal.seal',
    ]);
    for (const name of named) {
      assert.ok(script.includes(`imgverify --signer ${MANIFEST.release} ${name} bootseal.seal`), name);
      assert.ok(script.includes(` initrd=${name}`), name);
    }
    assert.equal(new Set(named).size, named.length);
  });

  it('refuses a manifest without a kernel, a digest that is none, an unfit name', () => {
    refuses(() => compileBootScript(withManifest({ files: [] })), 'absent', /no kernel/);
    refuses(() => compileBootScript({ ...TYPED, manifestSha256: 'AB' }), 'unsafe-script', /64 hex digits/);
    for (const path of ['a/~x', 'a/x y', 'a/${filename}', 'a/x\nshell']) {
      refuses(
        () => compileBootScript(withManifest({ files: [file('kernel', path)] })),
        'unsafe-script',
        /cannot name/,
      );
    }
    refuses(() => compileBootScript(withManifest({ release: 'arch' })), 'unsafe-script', /not fit/);
  });

  it('refuses words that would leave the command line', () => {
    for (const word of ['||', 'a b', '${filename}', '#', 'a;b', 'a`b`', 'x\nshell']) {
      refuses(() => compileBootScript(withManifest({ cmdline: [word] })), 'unsafe-script', /not fit/);
    }
  });

  it('refuses a command line the kernel would cut, counting what settings can become', () => {
    // A UEFI iPXE puts the kernel's name first.
    const fits = 2047 - `vmlinuz-linux ${commandLine(withManifest({ cmdline: [], free: [] }))} `.length;
    assert.ok(compileBootScript(withManifest({ cmdline: ['x'.repeat(fits)], free: [] })));
    refuses(
      () => compileBootScript(withManifest({ cmdline: ['x'.repeat(fits + 1)], free: [] })),
      'unsafe-script',
      /2047/,
    );
    const free = MANIFEST.free.slice(1, 2);
    // A card's address has six bytes on Ethernet, and twenty on InfiniBand.
    const word = 'x'.repeat(fits - ` BOOTIF=01${'-ff'.repeat(20)}`.length);
    assert.ok(compileBootScript(withManifest({ cmdline: [word], free })));
    refuses(() => compileBootScript(withManifest({ cmdline: [`${word}x`], free })), 'unsafe-script', /2047/);
  });

  it('refuses an address that early userspace would refuse', () => {
    refuses(
      () => compileBootScript({ ...TYPED, server: { kind: 'literal', url: 'http://10.1.2.3:8080/' } }),
      'unsafe-script',
      /not fit/,
    );
  });
});

describe('unverified.ipxe', () => {
  it('boots the same release with the same command line, verifies nothing and says so', () => {
    const script = compileUnverifiedScript(TYPED);
    assert.match(script, /^echo UNVERIFIED LOADER: /m);
    assert.ok(script.includes(` ${commandLine(TYPED)} || goto refuse\n`));
    assert.doesNotMatch(script, /imgverify|ipxe\.sig/);
    assert.ok(lintScript(Buffer.from(script)).some(({ rule }) => rule === 'unverified'));
  });
});

describe('autoexec.ipxe', () => {
  const options = { bootSigner: 'boot.example', server: { kind: 'typed' } as const };

  it('refuses where the loader cannot verify', () => {
    const script = compileAutoexec({ ...options, allowUnverified: false });
    assert.deepEqual(lintScript(Buffer.from(script), { signers: ['boot.example'] }), []);
    assert.doesNotMatch(script, /unverified\.ipxe/);
    assert.match(script, /^imgtrust --permanent \|\| goto stock$/m);
    assert.match(script, /^echo UNVERIFIED LOADER: /m);
  });

  it('goes on to unverified.ipxe only where that is allowed, and the linter knows', () => {
    const script = compileAutoexec({ ...options, allowUnverified: true });
    const rules = new Set(lintScript(Buffer.from(script)).map(({ rule }) => rule));
    assert.deepEqual(rules, new Set(['trust', 'chain']));
    assert.match(script, /going on UNVERIFIED/);
  });
});

describe('autoexec.ipxe of a release with an image for firmware', () => {
  const options = { bootSigner: 'boot.example', server: { kind: 'typed' } as const, allowUnverified: false };
  const script = compileAutoexec({ ...options, uki: true });

  it('starts that image and nothing else, only where firmware enforces, and only on a loader without imgverify', () => {
    const lines = script.split('\n');
    const at = (line: string) => {
      const found = lines.indexOf(line);
      assert.ok(found >= 0, line);
      return found;
    };
    const start = at('chain --autofree http://${next-server}:${bootseal-port:int32}/uki.efi || goto refuse');
    assert.ok(at(':stock') < at('iseq ${platform} efi || goto unverifiable'));
    assert.ok(at('iseq ${efi/SecureBoot:int8} 1 || goto unverifiable') < start);
    assert.ok(start < at(':unverifiable'));
    assert.equal(lines[start + 1], 'goto refuse');
    assert.deepEqual(
      lintScript(Buffer.from(script), { signers: ['boot.example'], permits: ['firmware'] }),
      [],
    );
    assert.doesNotMatch(compileAutoexec(options), /uki\.efi|SecureBoot/);
  });

  it('of one architecture asks for that one’s image', () => {
    const text = compileAutoexec({ ...options, uki: true, arch: 'aarch64' });
    assert.match(text, /^chain --autofree \S+\/entries\/aarch64\/uki\.efi \|\| goto refuse$/m);
  });
});

describe('the scripts say their trust level', () => {
  const words = (text: string) => [...text.matchAll(/^echo Trust level: (.*)$/gm)].map(([, level]) => level);
  const { 'network-imgverify': network, 'local-imgverify': local } = TRUST_LEVELS;

  it('in the words of the one closed set', () => {
    const embedded = compileEmbedded({ base: DEFAULT_BASE, anchorId: ANCHOR, bootSigner: 'boot.example' });
    assert.deepEqual(words(embedded), ['${bootseal-trust}']);
    const set = [...embedded.matchAll(/set bootseal-trust (.*?)( \|\|)?$/gm)].map(([, level]) => level);
    assert.deepEqual(set, [local, network]);
    const autoexec = compileAutoexec({
      bootSigner: 'boot.example',
      server: { kind: 'typed' },
      allowUnverified: false,
      uki: true,
    });
    assert.deepEqual(words(autoexec), [network, TRUST_LEVELS['secure-boot'], TRUST_LEVELS.stock]);
    assert.deepEqual(words(compileUnverifiedScript(TYPED)), [TRUST_LEVELS.stock]);
    assert.ok(readTemplate('grub-loader.cfg').includes(`echo "Trust level: ${TRUST_LEVELS.grub}.`));
  });
});

describe('embedded.ipxe', () => {
  it('asks the anchor first, then the entry, and takes only the site’s signer', () => {
    const script = compileEmbedded({
      base: 'http://10.1.2.3:8080',
      anchorId: ANCHOR,
      bootSigner: 'boot.example',
    });
    assert.deepEqual(commandsOf(script), [
      'imgfree',
      'imgtrust --permanent',
      'isset ${cwuri}',
      'isset ${ip}',
      `imgfetch --name boot.ipxe http://10.1.2.3:8080/anchors/${ANCHOR}/boot.ipxe${IDENTITY}`,
      'imgfree',
      `imgfetch --name boot.ipxe http://10.1.2.3:8080/boot.ipxe${IDENTITY}`,
      `imgfetch --name bootseal.seal http://10.1.2.3:8080/boot.ipxe.sig${IDENTITY}`,
      `imgfetch --name bootseal.seal http://10.1.2.3:8080/anchors/${ANCHOR}/boot.ipxe.sig${IDENTITY}`,
      'imgverify --signer boot.example boot.ipxe bootseal.seal',
      'chain boot.ipxe',
      'imgfree',
      ...SAID,
    ]);
    // The sealed script that follows uses typed settings, and must find the same server.
    assert.match(script, /^set next-server 10\.1\.2\.3\nset bootseal-port:int32 8080$/m);
  });

  it('tells DHCP who it is before it asks, and asks for an IPv4 address alone before it asks for any', () => {
    const script = compileEmbedded({ base: DEFAULT_BASE, anchorId: ANCHOR, bootSigner: 'boot.example' });
    const asked = script.split('\n').filter((line) => /^(set user-class|ifconf|dhcp)/.test(line));
    assert.deepEqual(asked, [
      'set user-class bootseal',
      ...Array.from({ length: 3 }, () => 'ifconf --configurator dhcp && goto networked ||'),
      'dhcp || goto refuse',
    ]);
  });

  it('follows next-server by default, and sets the clock where a time server is named', () => {
    const plain = compileEmbedded({ base: DEFAULT_BASE, anchorId: ANCHOR, bootSigner: 'boot.example' });
    assert.match(plain, /^isset \$\{next-server\} \|\| goto refuse$/m);
    assert.doesNotMatch(plain, /^ntp/m);
    const timed = compileEmbedded({
      base: DEFAULT_BASE,
      anchorId: ANCHOR,
      bootSigner: 'boot.example',
      ntp: '10.1.2.4',
    });
    assert.match(timed, /^ntp 10\.1\.2\.4 \|\| echo /m);
  });

  it('keeps the port of its address for the scripts after it', () => {
    const script = compileEmbedded({
      base: 'http://${next-server}:9090',
      anchorId: ANCHOR,
      bootSigner: 'boot.example',
    });
    assert.match(script, /^isset \$\{bootseal-port:int32\} \|\| set bootseal-port:int32 9090$/m);
  });

  it('refuses values that are none', () => {
    const good = { base: DEFAULT_BASE, anchorId: ANCHOR, bootSigner: 'boot.example' };
    for (const bad of [
      { anchorId: 'xyz' },
      { anchorId: ANCHOR.toUpperCase() },
      { base: 'http://${filename}' },
      { base: 'http://10.1.2.3 shell' },
      { bootSigner: 'boot example' },
      { ntp: '${ntp}' },
    ]) {
      refuses(() => compileEmbedded({ ...good, ...bad }), 'unsafe-script', /./);
    }
  });
});
