import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { arm64Grub } from '../../lab/arm64.ts';
import { findLoaders } from '../../src/build/find-loaders.ts';
import { buildGrubImages, compileLoaderScript, tarOfFiles } from '../../src/build/grub-image.ts';
import { grubPlatforms, grubPlatformsOf } from '../../src/build/grub-platforms.ts';
import { Refusal } from '../../src/errors/refusal.ts';
import { decodePe, PE_MACHINE } from '../../src/formats/efi/pe.ts';
import { decodeOpenpgpKey } from '../../src/formats/openpgp/openpgp-key.ts';
import { decodePackets, encodePacket } from '../../src/formats/openpgp/openpgp-packet.ts';
import { grubCommand, grubCommands } from '../../src/formats/script/kernel-lines.ts';
import { GRUB_COMMANDS } from '../../src/scripts/grub-lint.ts';
import { misused } from '../fixtures/failed.ts';

/** Before any test: a file that waits between its tests is taken for one that has ended. */
const ARM64 = await arm64Grub();
const folder = mkdtempSync(join(tmpdir(), 'bootseal-test-grub-'));
const home = join(folder, 'gnupg');
mkdirSync(home, { mode: 0o700 });
after(() => {
  // gpg made keys, so it left an agent behind.
  execFileSync('gpgconf', ['--homedir', home, '--kill', 'all']);
  rmSync(folder, { recursive: true });
});

function gpg(...args: string[]): Buffer {
  return execFileSync('gpg', ['--homedir', home, '--batch', '--quiet', '--passphrase', '', ...args], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
}
gpg('--quick-gen-key', 'grub@example.org', 'rsa2048', 'sign', 'never');
gpg('--quick-gen-key', 'script@example.org', 'rsa2048', 'sign', 'never');
gpg('--quick-gen-key', 'next@example.org', 'rsa2048', 'sign', 'never');
gpg('--quick-gen-key', 'curve@example.org', 'ed25519', 'sign', 'never');
const payload = gpg('--export', 'grub@example.org');
const script = gpg('--export', 'script@example.org');
const nextScript = gpg('--export', 'next@example.org');

const KEYRINGS = { payloadKeyring: payload, scriptKeyring: script };

/** gpg made the keys just now. */
const NOW = Date.now() + 60_000;
const SERVER = { kind: 'dhcp', httpPort: 80 } as const;

async function refuses(key: Uint8Array, why: RegExp): Promise<void> {
  const outDir = join(folder, 'refused');
  await assert.rejects(
    buildGrubImages({ payloadKeyring: key, scriptKeyring: script, outDir, server: SERVER, now: NOW }),
    (error) => error instanceof Refusal && error.code === 'unsafe-keys' && why.test(error.message),
  );
  assert.throws(() => readdirSync(outDir), { code: 'ENOENT' });
}

test('images of both platforms hold the key, and the same key gives the same images', async () => {
  const digests: string[] = [];
  for (const name of ['one', 'two']) {
    const images = await buildGrubImages({
      ...KEYRINGS,
      now: NOW,
      outDir: join(folder, name),
      server: SERVER,
    });
    assert.deepEqual(
      images.map(({ platform }) => platform),
      ['i386-pc-pxe', 'x86_64-efi'],
    );
    for (const { file, size } of images) {
      const bytes = readFileSync(file);
      assert.equal(bytes.length, size);
      digests.push(createHash('sha256').update(bytes).digest('hex'));
    }
    assert.deepEqual(readdirSync(join(folder, name)).sort(), ['bootseal-grub.0', 'bootseal-grub.efi']);
  }
  assert.deepEqual(digests.slice(0, 2), digests.slice(2));
  // The BIOS image is compressed; the UEFI image shows what it carries.
  const efi = readFileSync(join(folder, 'one', 'bootseal-grub.efi'));
  for (const keyring of [payload, script]) {
    const [key, name] = decodePackets(keyring, 20);
    assert.ok(key && name && efi.includes(Buffer.from(key.raw)));
    // GRUB looks at nothing else, so it is given nothing else.
    assert.ok(!efi.includes(Buffer.from(name.raw)));
  }
  assert.ok(
    efi.includes(
      'set check_signatures=enforce\nexport check_signatures\nset superusers=nobody\nexport superusers\n',
    ),
  );
});

/** What `grub-mkimage` is called with, told by one in its place. */
async function calls(scriptKeyring: Uint8Array): Promise<string[]> {
  const bin = mkdtempSync(join(folder, 'bin-'));
  const told = join(bin, 'told');
  // Whatever it is given is kept: the builder removes its own folder.
  const recorder = `#!/bin/sh
if [ "$1" = --version ]; then echo '(GRUB) 2.06'; exit; fi
while [ $# -gt 0 ]; do
  case $1 in
    -k) sha256sum < "$2" | sed 's/^/key /' >> ${told} ;;
    -m) tar -xOf "$2" payload.gpg | sha256sum | sed 's/^/payload /' >> ${told}
        tar -xOf "$2" grub.cfg | grep '^ *if distrust' >> ${told} ;;
    -o) : > "$2" ;;
  esac
  shift
done
`;
  writeFileSync(join(bin, 'grub-mkimage'), recorder, { mode: 0o755 });
  const path = process.env.PATH;
  process.env.PATH = `${bin}:${path}`;
  try {
    await buildGrubImages({
      payloadKeyring: payload,
      scriptKeyring,
      now: NOW,
      outDir: join(bin, 'out'),
      server: SERVER,
      platforms: ['i386-pc-pxe'],
    });
  } finally {
    process.env.PATH = path;
  }
  return readFileSync(told, 'utf8').trim().split('\n');
}

function keyOf(keyring: Uint8Array) {
  const [packet] = decodePackets(keyring, 20);
  assert.ok(packet);
  const digest = createHash('sha256').update(packet.raw).digest('hex');
  return { digest, id: decodeOpenpgpKey(packet.body).keyId };
}

test('the image trusts each script key by a file of its own, and its memory disk strikes each off, twice', async () => {
  const keys = [keyOf(script), keyOf(nextScript)];
  assert.deepEqual(await calls(Buffer.concat([script, nextScript])), [
    ...keys.map(({ digest }) => `key ${digest}  -`),
    `payload ${keyOf(payload).digest}  -`,
    ...keys.flatMap(({ id }) => [
      `  if distrust ${id}; then`,
      `  if distrust ${id}; then bootseal_loader_refuse "the script key ${id} is still trusted."; fi`,
    ]),
  ]);
});

test('one key for both is refused', async () => {
  await assert.rejects(
    buildGrubImages({
      payloadKeyring: payload,
      scriptKeyring: Buffer.concat([script, payload]),
      outDir: join(folder, 'both'),
      server: SERVER,
      now: NOW,
    }),
    (error) => error instanceof Refusal && error.code === 'unsafe-keys' && /cannot tell/.test(error.message),
  );
});

test('a key that GRUB cannot read is refused before an image exists', async () => {
  await refuses(gpg('--export', '--armor', 'grub@example.org'), /armored/);
  await refuses(gpg('--export', 'curve@example.org'), /ed25519/);
  await refuses(payload.subarray(0, 40), /past the end/);
  await refuses(new Uint8Array(), /does not begin/);
});

test('a secret key is never built into a loader', async () => {
  await refuses(gpg('--export-secret-keys', 'grub@example.org'), /a secret key among public ones/);
  await refuses(
    Buffer.concat([payload, encodePacket(7, Uint8Array.of(4))]),
    /a secret key among public ones/,
  );
});

const LOADER = {
  server: { kind: 'literal', host: '10.77.0.1', port: 80 },
  protocols: ['tftp', 'http'],
  scriptKeyIds: ['0123456789abcdef'],
} as const;

test('GRUB parses the loader’s script, which tries the protocols in order and ends in a refusal', () => {
  const text = compileLoaderScript(LOADER);
  const path = join(folder, 'grub.cfg');
  for (const server of [LOADER.server, SERVER]) {
    writeFileSync(path, compileLoaderScript({ ...LOADER, server }));
    execFileSync('grub-script-check', [path]);
  }
  const tried = [...text.matchAll(/^ *set bootseal_config="(.*)"$/gm)].map(([, path]) => path);
  assert.deepEqual(tried, [
    '(tftp,$bootseal_server)$bootseal_machine/grub.cfg',
    '(tftp,$bootseal_server)/grub.cfg',
    '(http,$bootseal_server)$bootseal_machine/grub.cfg',
    '(http,$bootseal_server)/grub.cfg',
  ]);
  assert.match(text.trimEnd().split('\n').at(-1) ?? '', /^bootseal_loader_refuse /);
});

test('a port stands behind a colon, which GRUB 2.06 reads; behind a comma it does not', () => {
  const text = compileLoaderScript({ ...LOADER, server: { kind: 'literal', host: '10.77.0.1', port: 8080 } });
  assert.match(text, /"\(http,\$bootseal_server:8080\)\/grub\.cfg"/);
  assert.doesNotMatch(text, /,8080/);
});

test('the machine’s own path is asked for only where its card’s address has the form of one', () => {
  const text = compileLoaderScript(LOADER);
  const pair = '([0-9a-f][0-9a-f])';
  const form = `^${[pair, pair, pair, pair, pair, pair].join(':')}$`;
  const guard = text.indexOf(`if regexp '${form}' "$net_default_mac"; then`);
  const set = text.indexOf('set bootseal_machine="/machines/$net_default_mac"');
  assert.ok(guard > text.indexOf('set bootseal_machine=\n') && guard < set);
  assert.equal(text.match(/net_default_mac/g)?.length, 2);
  assert.equal(text.match(/if \[ -n "\$bootseal_machine" \]; then/g)?.length, 2);
});

test('the loader asks DHCP itself, whoever did before', () => {
  const text = compileLoaderScript(LOADER);
  assert.match(text, /^if net_dhcp; then true; else /m);
  assert.match(text, /^ {2}set net_default_interface=efinet0_dhcp$/m);
});

test('whatever comes back from grub.cfg is refused before another source is tried', () => {
  const commands = compileLoaderScript(LOADER)
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
  const runs = commands.flatMap((line, index) => (line.startsWith('configfile ') ? [index] : []));
  assert.equal(runs.length, 4);
  for (const index of runs) assert.match(commands[index + 1] ?? '', /^bootseal_loader_refuse "/);
});

test('the switch to the payload keys is made before it is said, and each step of it is answered', () => {
  const text = compileLoaderScript(LOADER);
  const body = /function bootseal_trust_payload \{\n([\s\S]*?)\n\}/.exec(text)?.[1] ?? '';
  const order = [
    'set check_signatures=enforce',
    'if trust "(memdisk)/payload.gpg"',
    'if distrust 0123456789abcdef',
  ]
    .concat('is still trusted', 'set bootseal_trusts=payload')
    .map((step) => body.indexOf(step));
  assert.ok(order.every((at, index) => at > (order[index - 1] ?? -1)));
  assert.equal(body.trimEnd().endsWith('set bootseal_trusts=payload'), true);
  assert.equal(body.match(/bootseal_loader_refuse "/g)?.length, 3);
});

/** Commands that GRUB's core brings, whatever the modules. */
const CORE = ['set', 'unset', 'ls', 'insmod'];
/** Of the machine's own packages, but for what is no package of it. */
for (const { folder: platform, modules } of grubPlatforms()) {
  const place = join(platform === 'arm64-efi' ? ARM64 : '/', 'usr/lib/grub', platform);
  const lines = (name: string) =>
    readFileSync(join(place, name), 'utf8')
      .trim()
      .split('\n')
      .map((line) => line.split(': '));
  const needs = new Map(
    lines('moddep.lst').map(([name = '', list = '']) => [name.replace(/:$/, ''), list.split(' ')]),
  );
  const inside = new Set<string>();
  const add = (name: string): void => {
    if (name === '' || inside.has(name)) return;
    inside.add(name);
    for (const other of needs.get(name) ?? []) add(other);
  };
  for (const name of modules) add(name);

  /** Of a menu, of a machine that is held, and of one that goes to its disk. */
  const OTHER_COMMANDS = ['menuentry', 'configfile', 'smbios', 'exit'];

  test(`every command of the loader and of grub.cfg is in the image, ${platform}`, () => {
    const brings = new Map(
      lines('command.lst').map(([command = '', module = '']) => [command.replace('*', ''), module]),
    );
    const text = compileLoaderScript({ ...LOADER, server: SERVER });
    const own = [...text.matchAll(/^function (\w+)/gm)].map(([, name]) => name);
    const used = grubCommands(text).map((words) => grubCommand(words)[0]);
    // What grub.cfg may use is a closed set of its own.
    for (const command of [...GRUB_COMMANDS, ...OTHER_COMMANDS, ...used]) {
      if (command === undefined || ['fi', 'done', 'function'].includes(command)) continue;
      if (CORE.includes(command) || own.includes(command)) continue;
      // There is no multiboot but on x86, and seal refuses such a kernel for other machines.
      if (platform === 'arm64-efi' && /^(multiboot|module)2$/.test(command)) continue;
      assert.ok(inside.has(brings.get(command) ?? ''), `${command} is not in the image`);
    }
  });

  test(`nothing that reads variables or modules from elsewhere is in the image, ${platform}`, () => {
    for (const name of ['loadenv', 'chain', 'loopback', 'search', 'multiboot', 'legacycfg', 'eval']) {
      assert.equal(inside.has(name), false, name);
    }
  });
}

test('tar takes the memory disk apart again', () => {
  const files: [string, Buffer][] = [
    ['grub.cfg', Buffer.from('x'.repeat(513))],
    ['payload.gpg', Buffer.alloc(512, 7)],
    ['empty', Buffer.alloc(0)],
  ];
  const archive = join(folder, 'several.tar');
  writeFileSync(archive, tarOfFiles(files));
  assert.equal(execFileSync('tar', ['-tf', archive], { encoding: 'utf8' }), 'grub.cfg\npayload.gpg\nempty\n');
  for (const [name, content] of files) {
    assert.deepEqual(execFileSync('tar', ['-xOf', archive, name]), content);
  }
});

test('installed loaders are those whose files are there, and only GRUB verifies', async () => {
  const root = join(folder, 'root');
  assert.deepEqual(await findLoaders({ root }), []);
  mkdirSync(join(root, 'usr/lib/grub/i386-pc'), { recursive: true });
  mkdirSync(join(root, 'usr/lib/ipxe'), { recursive: true });
  // GRUB without its pgp module verifies nothing and is not named.
  writeFileSync(join(root, 'usr/lib/grub/i386-pc/net.mod'), '');
  writeFileSync(join(root, 'usr/lib/ipxe/undionly.kpxe'), '');
  assert.deepEqual(
    (await findLoaders({ root })).map(({ path, verifies }) => [path, verifies]),
    [['/usr/lib/ipxe/undionly.kpxe', false]],
  );
  writeFileSync(join(root, 'usr/lib/grub/i386-pc/pgp.mod'), '');
  assert.deepEqual(
    (await findLoaders({ root })).map(({ path, verifies }) => [path, verifies]),
    [
      ['/usr/lib/grub/i386-pc', true],
      ['/usr/lib/ipxe/undionly.kpxe', false],
    ],
  );
});

test('an image for arm64 is made of modules that were unpacked, and looks at its own entry', async () => {
  const made = (modules: string | undefined, name = 'arm64') =>
    buildGrubImages({
      ...KEYRINGS,
      now: NOW,
      outDir: join(folder, name),
      server: SERVER,
      platforms: ['arm64-efi'],
      ...(modules === undefined ? {} : { modules }),
    });
  // The root, the folder of all platforms, that of one: the same image.
  const digests = new Set<string>();
  for (const place of ['', 'usr/lib/grub', 'usr/lib/grub/arm64-efi']) {
    const [image, ...others] = await made(join(ARM64, place));
    assert.deepEqual([image?.platform, others.length], ['arm64-efi', 0]);
    const bytes = readFileSync(image?.file ?? '');
    assert.equal(decodePe(bytes).machine, PE_MACHINE.aarch64);
    digests.add(createHash('sha256').update(bytes).digest('hex'));
  }
  assert.equal(digests.size, 1);
  const text = compileLoaderScript({ ...LOADER, arch: 'aarch64' });
  assert.match(text, /"\(http,\$bootseal_server\)\/entries\/aarch64\/grub\.cfg"/);
  assert.match(text, /"\(http,\$bootseal_server\)\/entries\/aarch64\$bootseal_machine\/grub\.cfg"/);
  assert.doesNotMatch(text, /\)\/grub\.cfg/);

  await assert.rejects(made(undefined), {
    name: 'IoError',
    message:
      /modules for arm64-efi are missing, .* grub-efi-arm64-bin: unpack it \("dpkg-deb -x"\) and name the folder with --modules/,
  });
  const empty = join(folder, 'empty');
  mkdirSync(empty);
  await assert.rejects(
    made(empty),
    misused(/no modules of GRUB for arm64-efi in .*; unpack the package grub-efi-arm64-bin/),
  );
  await assert.rejects(
    made('/usr/lib/grub/x86_64-efi'),
    misused(/x86_64-efi holds GRUB's modules for x86_64-efi, not for arm64-efi/),
  );
  const newer = join(folder, 'newer');
  cpSync(join(ARM64, 'usr/lib/grub/arm64-efi'), newer, { recursive: true });
  const info = join(newer, 'modinfo.sh');
  writeFileSync(info, readFileSync(info, 'utf8').replace(/^grub_version=.*$/m, 'grub_version="9.99"'));
  await assert.rejects(made(newer), misused(/are of GRUB 9\.99, and grub-mkimage here is of 2\./));
});

test('which images there are follows from the machines', () => {
  assert.deepEqual(grubPlatformsOf('x86_64'), ['i386-pc-pxe', 'x86_64-efi']);
  assert.deepEqual(grubPlatformsOf('aarch64'), ['arm64-efi']);
  for (const arch of ['arm64', 'riscv64', ''])
    assert.throws(() => grubPlatformsOf(arch), misused(/No GRUB image/));
});
