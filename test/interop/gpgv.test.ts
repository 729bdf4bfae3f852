import assert from 'node:assert/strict';
import { sign, verify } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { decodeArmor } from '../../src/formats/asn1/armor.ts';
import { readKeyFolder } from '../../src/signing/keys/key-folder.ts';
import { chooseSecret } from '../../src/signing/keys/openpgp-choice.ts';
import { readOpenpgpSecrets } from '../../src/signing/keys/openpgp-keys.ts';
import { sealRecordOpenpgp } from '../../src/signing/seal-record.ts';
import { openpgpSigner } from '../../src/signing/signatories.ts';
import { decodeOpenpgpCertificates } from '../../src/trust/openpgp-certificate.ts';
import { openpgpCheck } from '../../src/trust/openpgp-check.ts';
import { defaultPolicy } from '../../src/trust/policy.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { GnupgHome, gpgvStatus } from '../fixtures/openpgp.ts';
import { judge, type Verdict } from '../trust/judge.ts';
import { CONTENT, openpgpVectors } from '../trust/openpgp-vectors.ts';

const DAY = 86_400_000;
const folder = await temporaryFolder();
const file = join(folder, 'content');
writeFileSync(file, CONTENT);
const keys = await makeKeys(join(folder, 'keys'));
const { payload: openpgp } = (await readKeyFolder(keys, NOW)).openpgp;
const pubring = readFileSync(join(keys, 'anchors', 'pubring.gpg'));
const armored = join(keys, 'anchors', 'pubkey.asc');

async function ourSeal(issued: number): Promise<Uint8Array> {
  return sealRecordOpenpgp(CONTENT, openpgpSigner('openpgp', openpgp), issued);
}

const has = (status: readonly string[], word: string) => status.some((line) => line.startsWith(`${word} `));

describe('gpg and what we make', () => {
  const home = new GnupgHome(folder);
  after(() => home.close());

  it('gpgv says GOODSIG for our seal with the exported keyring', async () => {
    const status = gpgvStatus(folder, { keyring: pubring, signature: await ourSeal(NOW), content: CONTENT });
    assert.ok(has(status, 'GOODSIG'), status.join('\n'));
    assert.ok(status.some((line) => line.startsWith(`VALIDSIG ${openpgp.key.fingerprint.toUpperCase()}`)));
  });

  it('gpgv says GOODSIG for a seal of a release that was issued before the key was made', async () => {
    const signature = await ourSeal(NOW - 1000 * DAY);
    const status = gpgvStatus(folder, { keyring: pubring, signature, content: CONTENT });
    assert.ok(has(status, 'GOODSIG'), status.join('\n'));
    const check = openpgpCheck(
      'x',
      signature,
      decodeOpenpgpCertificates(pubring),
      defaultPolicy(NOW),
      NOW,
      'grub',
    );
    assert.equal(await judge(check, CONTENT), 'verified');
  });

  it('gpg reads our armored key and says GOODSIG, and BADSIG for other content', async () => {
    assert.deepEqual(Buffer.from(decodeArmor(readFileSync(armored, 'latin1')).bytes), pubring);
    home.run(['--import', armored]);
    const listed = home.run(['--with-colons', '--list-keys']).toString();
    assert.ok(listed.includes(`fpr:::::::::${openpgp.key.fingerprint.toUpperCase()}:`), listed);
    const [, , bits, , , , , , , , , capabilities] = /^pub:.*$/m.exec(listed)?.[0].split(':') ?? [];
    assert.equal(bits, '2048');
    assert.match(capabilities ?? '', /s/);
    const seal = join(folder, 'content.sig');
    writeFileSync(seal, await ourSeal(NOW));
    assert.match(home.run(['--status-fd', '1', '--verify', seal, file]).toString(), /^\[GNUPG:\] GOODSIG /m);
    const other = join(folder, 'other');
    writeFileSync(other, 'other');
    assert.throws(
      () => home.run(['--status-fd', '1', '--verify', seal, other]),
      (error) => /^\[GNUPG:\] BADSIG /m.test(String((error as { stdout: Buffer }).stdout)),
    );
  });
});

describe('we and what gpg makes', () => {
  const home = new GnupgHome(folder);
  after(() => home.close());
  const CREATED = NOW - 10 * DAY;
  const user = (name: string) => `${name} <${name}@example.org>`;
  const make = (name: string, ...args: string[]) =>
    home.run(['--quick-generate-key', user(name), ...args], CREATED);
  const exported = (name: string) => home.run(['--export', user(name)]);
  const sign = (name: string, ...flags: string[]) => {
    const out = join(folder, `${name}.sig`);
    home.run(['--local-user', user(name), '--output', out, ...flags, file]);
    return readFileSync(out);
  };
  const ask = (keyring: Uint8Array, seal: Uint8Array, now = NOW): Promise<Verdict> =>
    judge(openpgpCheck('x', seal, decodeOpenpgpCertificates(keyring), defaultPolicy(now), now), CONTENT);
  const DETACH = ['--no-armor', '--detach-sign'];

  make('rsa', 'rsa2048', 'sign', 'never');
  make('ed25519', 'ed25519', 'sign', 'never');
  make('mortal', 'rsa2048', 'sign', '20d');
  const ring = exported('rsa');
  const seal = sign('rsa', ...DETACH);

  it('an RSA seal by an RSA key holds', async () => {
    assert.equal(await ask(ring, seal), 'verified');
  });

  it('so does one by Ed25519, which GRUB could not read', async () => {
    assert.equal(await ask(exported('ed25519'), sign('ed25519', ...DETACH)), 'verified');
  });

  it('one with SHA-1 is refused', async () => {
    assert.equal(await ask(ring, sign('rsa', '--digest-algo', 'SHA1', ...DETACH)), 'weak-algorithm');
  });

  it('one of text is refused', async () => {
    assert.equal(await ask(ring, sign('rsa', '--textmode', ...DETACH)), 'wrong-purpose');
  });

  it('an opaque message is refused, whatever it holds', async () => {
    for (const compression of [['--compress-level', '0'], []]) {
      assert.equal(await ask(ring, sign('rsa', '--no-armor', ...compression, '--sign')), 'malformed');
    }
  });

  it('a clear-signed text and an armored seal are refused: one spelling is enough', async () => {
    assert.equal(await ask(ring, sign('rsa', '--clear-sign')), 'malformed');
    assert.equal(await ask(ring, sign('rsa', '--armor', '--detach-sign')), 'malformed');
  });

  it('a key that ends is refused when it has', async () => {
    const [keyring, mortal] = [exported('mortal'), sign('mortal', ...DETACH)];
    assert.equal(await ask(keyring, mortal), 'verified');
    assert.equal(await ask(keyring, mortal, CREATED + 21 * DAY), 'expired');
  });

  it('a key bound with SHA-1 is refused', async () => {
    home.run(
      ['--cert-digest-algo', 'SHA1', '--quick-generate-key', user('old'), 'rsa2048', 'sign', 'never'],
      CREATED,
    );
    assert.equal(await ask(exported('old'), sign('old', ...DETACH)), 'wrong-purpose');
  });

  it('a subkey that signs holds, and is refused once it is revoked', async () => {
    make('sub', 'rsa2048', 'cert', 'never');
    const fingerprint = /^fpr:+([0-9A-F]{40}):/m.exec(
      home.run(['--with-colons', '--list-keys', user('sub')]).toString(),
    )?.[1];
    home.run(['--quick-add-key', fingerprint ?? '', 'rsa2048', 'sign', 'never'], CREATED + DAY);
    const bySub = sign('sub', ...DETACH);
    assert.equal(await ask(exported('sub'), bySub), 'verified');
    const commands = 'key 1\nrevkey\ny\n0\n\ny\nsave\n';
    home.run(['--command-fd', '0', '--no-batch', '--edit-key', user('sub')], NOW, commands);
    assert.equal(await ask(exported('sub'), bySub), 'revoked');
  });
});

describe('what gpgv does not call good', () => {
  for (const { name, keyring, seal, verdict, gpgvTakesIt } of openpgpVectors) {
    const takes = verdict === 'verified' || gpgvTakesIt === true;
    it(`${takes ? 'is not' : 'we refuse, too'}: a seal ${name}`, () => {
      const status = gpgvStatus(folder, { keyring, signature: seal, content: CONTENT });
      const bad = ['BADSIG', 'ERRSIG', 'EXPSIG', 'EXPKEYSIG', 'REVKEYSIG'].some((word) => has(status, word));
      assert.equal(has(status, 'GOODSIG') && !bad, takes, status.join('\n'));
    });
  }
});

describe('a secret key that gpg exported', () => {
  it('is read, with its numbers in gpg’s order, and the one that signs is chosen', () => {
    const home = new GnupgHome(folder);
    after(() => home.close());
    home.run(['--quick-generate-key', 'ours <ours@example.org>', 'rsa2048', 'sign', 'never']);
    const listed = home.run(['--with-colons', '--list-keys']).toString();
    const [, fingerprint = ''] = /^fpr:+([0-9A-F]{40}):/m.exec(listed) ?? [];
    home.run(['--quick-add-key', fingerprint, 'rsa2048', 'encr']);
    const keyring = { path: 'pubring.gpg', bytes: home.run(['--export']) };
    const binary = home.run(['--export-secret-keys']);
    const armored = home.run(['--armor', '--export-secret-keys']).toString();
    const texts = [
      armored,
      armored.replaceAll('\n', '\r\n'),
      `\n${armored}`,
      `Keep this safe.\n\n${armored}`,
    ];
    for (const bytes of [binary, ...texts.map((text) => Buffer.from(text))]) {
      const parts = readOpenpgpSecrets(bytes, 'ours.asc');
      assert.equal(parts.length, 2);
      const { key, privateKey } = chooseSecret(parts, 'ours.asc', keyring, NOW);
      assert.equal(key.fingerprint, fingerprint.toLowerCase());
      assert.ok(key.object && verify('sha256', CONTENT, key.object, sign('sha256', CONTENT, privateKey)));
    }
  });
});

describe('gpg --verify with one argument', () => {
  it('is what an opaque message fools, and why it is malformed here', () => {
    const home = new GnupgHome(folder);
    after(() => home.close());
    home.run(['--quick-generate-key', 'fool <fool@example.org>', 'rsa2048', 'sign', 'never']);
    const tampered = join(folder, 'tampered');
    writeFileSync(tampered, 'evil');
    home.run(['--output', `${tampered}.sig`, '--sign', file]);
    assert.match(home.run(['--status-fd', '1', '--verify', `${tampered}.sig`]).toString(), /GOODSIG/);
  });
});
