import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describe, it } from 'node:test';
import { type CpioSource, cpioEntries, encodeCpio } from '../../../src/formats/archive/cpio.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { makeKeys } from '../../fixtures/keys.ts';
import { early, initrd, keyFiles, onDisk, outcomes, sealedRoot, without } from './release.ts';

const folder = await temporaryFolder();
const ours = await makeKeys(join(folder, 'ours'));
const theirs = await makeKeys(join(folder, 'theirs'), { site: 'elsewhere' });
const files = await sealedRoot(folder, ours);
/** Those for payload: archiso as it is knows no others. */
const payloadKeys = async (of: string) =>
  without(await keyFiles(of), 'bootseal/manifest.crt', 'bootseal/manifest.gpg');
const keys = await payloadKeys(ours);
const strange = await payloadKeys(theirs);
const GOOD = { checksum: 'verified', openpgp: 'verified', cms: 'verified' };

describe('the keys of early userspace', () => {
  it('are those of its initramfs', async () => {
    const ran = await early({ files, initrds: [initrd(keys)] });
    assert.deepEqual(outcomes(ran), GOOD);
    assert.equal(ran.refusal, undefined);
    assert.equal(ran.verified?.size, 200_000);
  });

  it('lie behind links, as generators of initramfs images place them', async () => {
    const sources: CpioSource[] = [
      { kind: 'directory', name: 'store' },
      { kind: 'symlink', name: 'gpg', target: '/store' },
      ...Object.entries(keys).map(
        ([name, data]) => ({ kind: 'file', name: `store/${basename(name)}`, data }) as const,
      ),
      { kind: 'symlink', name: 'codesign.crt', target: 'gpg/codesign.crt' },
      { kind: 'link', name: 'codesign_CA.crt', to: 'store/codesign_CA.crt' },
    ];
    const image = encodeCpio(cpioEntries(sources, 0));
    assert.deepEqual(outcomes(await early({ files, initrds: [image] })), GOOD);
  });

  it('are never taken from the server, which offers some', async () => {
    const offered = { ...files, ...keys, 'arch/codesign.crt': keys['codesign.crt'] as Uint8Array };
    const ran = await early({ files: offered, initrds: [initrd({})] });
    assert.deepEqual(outcomes(ran), { checksum: 'verified', openpgp: 'absent', cms: 'absent' });
    assert.equal(ran.refusal?.code, 'absent');
    assert.equal(ran.verified, undefined);
    assert.ok(ran.asked.every((asked) => !/crt|gpg|pubring/.test(asked)));
  });

  for (const [missing, lost] of [
    ['codesign.crt', { ...GOOD, cms: 'absent' }],
    ['gpg/pubring.gpg', { ...GOOD, openpgp: 'absent' }],
  ] as const) {
    it(`are refused by name where /${missing} is missing, as on 2021-11-01`, async () => {
      const ran = await early({ files, initrds: [initrd(without(keys, missing))] });
      assert.deepEqual(outcomes(ran), lost);
      assert.match(ran.refusal?.message ?? '', /^The initramfs holds no \/(codesign\.crt|gpg\/pubring)/);
      assert.equal(ran.verified, undefined);
    });
  }

  it('lead nowhere where /codesign_CA.crt is missing and the leaf is not self-signed, as openssl says', async () => {
    const ran = await early({ files, initrds: [initrd(without(keys, 'codesign_CA.crt'))] });
    assert.deepEqual(outcomes(ran), { ...GOOD, cms: 'untrusted-signer' });
    const disk = await onDisk(join(folder, 'openssl'), { ...files, ...keys });
    assert.equal(openssl(disk, 'codesign_CA.crt'), true);
    assert.equal(openssl(disk, 'codesign.crt'), false);
  });

  for (const name of Object.keys(keys)) {
    it(`are the wrong ones where /${name} is another site's`, async () => {
      const mixed = { ...keys, [name]: strange[name] as Uint8Array };
      const ran = await early({ files, initrds: [initrd(mixed)] });
      const check = name.startsWith('gpg') ? 'openpgp' : 'cms';
      assert.deepEqual(outcomes(ran), { ...GOOD, [check]: 'untrusted-signer' });
      assert.equal(ran.verified, undefined);
    });

    it(`are refused where /${name} cannot be read`, async () => {
      for (const octets of ['', 'no key', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n']) {
        const broken = { ...keys, [name]: Buffer.from(octets) };
        const ran = await early({ files, initrds: [initrd(broken)] });
        assert.notEqual(ran.refusal, undefined, JSON.stringify(octets));
        assert.equal(ran.verified, undefined, JSON.stringify(octets));
      }
    });
  }

  it('are those of a later initrd, which overrides an earlier one', async () => {
    const overlay = initrd({ 'codesign.crt': strange['codesign.crt'] as Uint8Array });
    const ran = await early({ files, initrds: [initrd(keys), overlay] });
    assert.deepEqual(outcomes(ran), { ...GOOD, cms: 'untrusted-signer' });
    const healed = await early({ files, initrds: [initrd(strange), initrd(keys)] });
    assert.deepEqual(outcomes(healed), GOOD);
  });

  it('come from the keybox that gpg itself made, before an old keyring', async () => {
    const home = join(folder, 'gnupg');
    await mkdir(home, { mode: 0o700 });
    const pubkey = join(ours, 'anchors', 'pubkey.asc');
    execFileSync('gpg', ['--homedir', home, '--batch', '--quiet', '--import', pubkey], { stdio: 'ignore' });
    const keybox = await readFile(join(home, 'pubring.kbx'));
    const both = {
      ...strange,
      'codesign.crt': keys['codesign.crt'],
      'codesign_CA.crt': keys['codesign_CA.crt'],
    };
    const ran = await early({
      files,
      initrds: [initrd({ ...both, 'gpg/pubring.kbx': keybox } as typeof keys)],
    });
    assert.deepEqual(outcomes(ran), GOOD);
  });

  it('may be many: one of several certificates and keys is enough', async () => {
    const joined = Object.fromEntries(
      Object.entries(keys).map(([name, bytes]) => [
        name,
        Buffer.concat([strange[name] as Uint8Array, bytes]),
      ]),
    );
    assert.deepEqual(outcomes(await early({ files, initrds: [initrd(joined)] })), GOOD);
  });
});

/** archiso's own command, with one certificate or another as its CA. */
function openssl(cwd: string, ca: string): boolean {
  const flags = ['-binary', '-noattr', '-nointern', '-purpose', 'any', '-inform', 'DER', '-out', '/dev/null'];
  const given = ['-in', 'airootfs.sfs.cms.sig', '-content', 'airootfs.sfs', '-certfile', 'codesign.crt'];
  return spawnSync('openssl', ['cms', '-verify', ...flags, ...given, '-CAfile', ca], { cwd }).status === 0;
}
