import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { buildGrubImages, compileLoaderScript, tarOfOneFile } from '../../src/build/grub-image.ts';
import { installedLoaders } from '../../src/build/grub-loaders.ts';
import { Refusal } from '../../src/errors/refusal.ts';
import { decodePackets, encodePacket } from '../../src/formats/openpgp/openpgp-packet.ts';

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
gpg('--quick-gen-key', 'curve@example.org', 'ed25519', 'sign', 'never');
const rsa = gpg('--export', 'grub@example.org');

/** gpg made the keys just now. */
const NOW = Date.now() + 60_000;
const SERVER = { kind: 'dhcp', httpPort: 80 } as const;

async function refuses(key: Uint8Array, why: RegExp): Promise<void> {
  const outDir = join(folder, 'refused');
  await assert.rejects(
    buildGrubImages({ openpgpPublicKey: key, outDir, server: SERVER, now: NOW }),
    (error) => error instanceof Refusal && error.code === 'unsafe-keys' && why.test(error.message),
  );
  assert.throws(() => readdirSync(outDir), { code: 'ENOENT' });
}

test('images of both platforms hold the key, and the same key gives the same images', async () => {
  const digests: string[] = [];
  for (const name of ['one', 'two']) {
    const images = await buildGrubImages({
      openpgpPublicKey: rsa,
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
  const [key, name] = decodePackets(rsa, 20);
  assert.ok(key && name && efi.includes(Buffer.from(key.raw)));
  // GRUB looks at nothing else, so it is given nothing else.
  assert.ok(!efi.includes(Buffer.from(name.raw)));
  assert.ok(
    efi.includes(
      'set check_signatures=enforce\nexport check_signatures\nset superusers=nobody\nexport superusers\n',
    ),
  );
});

test('a key that GRUB cannot read is refused before an image exists', async () => {
  await refuses(gpg('--export', '--armor', 'grub@example.org'), /armored/);
  await refuses(gpg('--export', 'curve@example.org'), /ed25519/);
  await refuses(rsa.subarray(0, 40), /past the end/);
  await refuses(new Uint8Array(), /does not begin/);
});

test('a secret key is never built into a loader', async () => {
  await refuses(gpg('--export-secret-keys', 'grub@example.org'), /a secret key among public ones/);
  await refuses(Buffer.concat([rsa, encodePacket(7, Uint8Array.of(4))]), /a secret key among public ones/);
});

test('HTTP on another port than 80 is an error for a GRUB that cannot reach it', async (t) => {
  const [, minor] =
    /\) 2\.(\d+)/.exec(execFileSync('grub-mkimage', ['--version'], { encoding: 'utf8' })) ?? [];
  const server = { kind: 'dhcp', httpPort: 8080 } as const;
  const build = (protocols: readonly ('http' | 'tftp')[]) =>
    buildGrubImages({ openpgpPublicKey: rsa, outDir: join(folder, 'port'), server, protocols, now: NOW });
  t.diagnostic(`GRUB 2.${minor}`);
  if (Number(minor) < 12) await assert.rejects(build(['http', 'tftp']), /port 80 only, not on 8080/);
  else assert.equal((await build(['http'])).length, 2);
  assert.equal((await build(['tftp'])).length, 2);
});

test('GRUB parses the loader’s script, which tries the protocols in order and ends in a refusal', () => {
  const text = compileLoaderScript({
    server: { kind: 'literal', host: '10.77.0.1', port: 80 },
    protocols: ['tftp', 'http'],
  });
  const path = join(folder, 'grub.cfg');
  writeFileSync(path, text);
  execFileSync('grub-script-check', [path]);
  assert.ok(
    text.indexOf('"(tftp,$bootseal_server)/grub.cfg"') < text.indexOf('"(http,$bootseal_server)/grub.cfg"'),
  );
  assert.match(text.trimEnd().split('\n').at(-1) ?? '', /^bootseal_refuse /);
});

test('tar takes the memory disk apart again', () => {
  const content = Buffer.from('x'.repeat(513));
  const archive = join(folder, 'one.tar');
  writeFileSync(archive, tarOfOneFile('grub.cfg', content));
  assert.equal(execFileSync('tar', ['-tf', archive], { encoding: 'utf8' }), 'grub.cfg\n');
  assert.deepEqual(execFileSync('tar', ['-xOf', archive]), content);
});

test('installed loaders are those whose files are there, and only GRUB verifies', async () => {
  const root = join(folder, 'root');
  assert.deepEqual(await installedLoaders(root), []);
  mkdirSync(join(root, 'usr/lib/grub/i386-pc'), { recursive: true });
  mkdirSync(join(root, 'usr/lib/ipxe'), { recursive: true });
  // GRUB without its pgp module verifies nothing and is not named.
  writeFileSync(join(root, 'usr/lib/grub/i386-pc/net.mod'), '');
  writeFileSync(join(root, 'usr/lib/ipxe/undionly.kpxe'), '');
  assert.deepEqual(
    (await installedLoaders(root)).map(({ path, verifies }) => [path, verifies]),
    [['/usr/lib/ipxe/undionly.kpxe', false]],
  );
  writeFileSync(join(root, 'usr/lib/grub/i386-pc/pgp.mod'), '');
  assert.deepEqual(
    (await installedLoaders(root)).map(({ path, verifies }) => [path, verifies]),
    [
      ['/usr/lib/grub/i386-pc', true],
      ['/usr/lib/ipxe/undionly.kpxe', false],
    ],
  );
});
