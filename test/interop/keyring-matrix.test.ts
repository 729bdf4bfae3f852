import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { createMessage, readKeys, readSignature, verify } from 'openpgp';
import { buildKeyring } from '../../src/keyrings/keyring.ts';
import { decodeOpenpgpCertificates } from '../../src/trust/openpgp-certificate.ts';
import { openpgpCheck } from '../../src/trust/openpgp-check.ts';
import { defaultPolicy } from '../../src/trust/policy.ts';
import { NOW } from '../fixtures/keys.ts';
import { GnupgHome, gpgvStatus } from '../fixtures/openpgp.ts';
import { judge } from '../trust/judge.ts';

/**
 * Keys, certifications and revocations by the real gpg; the list that is built of them; and four readers who
 * must agree on every signature.
 */

const DAY = 86_400_000;
const MADE = NOW - 900 * DAY;
const SIGNED = NOW - 800 * DAY;
const CONTENT = Buffer.from('what a machine boots\n');

const folder = await mkdtemp(join(tmpdir(), 'bs-'));
const home = new GnupgHome(folder);
after(async () => {
  home.close();
  await rm(folder, { recursive: true, force: true });
});

function fingerprintOf(name: string): string {
  const lines = home
    .run(['--with-colons', '--list-keys', `=${name}`])
    .toString()
    .split('\n');
  return lines.find((line) => line.startsWith('fpr:'))?.split(':')[9] ?? '';
}

interface Wish {
  readonly algorithm?: string;
  readonly usage?: string;
  readonly expires?: string;
  readonly options?: readonly string[];
  /** Trusted keys that certify it. */
  readonly by?: number;
  /** Answers to gpg's questions on why it is revoked. */
  readonly revoked?: string;
}

/** Names the user id by its place in the matrix: `rsa` is `rsa <rsa@example.org>`. */
const uid = (name: string): string => `${name} <${name}@example.org>`;

function make(name: string, wish: Wish): string {
  const { algorithm = 'rsa2048', usage = 'sign', expires = 'never', options = [] } = wish;
  home.run([...options, '--quick-gen-key', uid(name), algorithm, usage, expires], MADE);
  return fingerprintOf(uid(name));
}

const MAINS = ['first', 'second', 'third'];
const WISHES: Readonly<Record<string, Wish>> = {
  rsa: { by: 3 },
  ed25519: { algorithm: 'ed25519', by: 3 },
  subkey: { algorithm: 'ed25519', usage: 'cert', by: 3 },
  lonely: { by: 2 },
  sha1: { options: ['--cert-digest-algo', 'SHA1'], by: 3 },
  expired: { expires: '850d', by: 3 },
  compromised: { by: 3, revoked: 'y\n1\n\ny\n' },
  superseded: { by: 3, revoked: 'y\n2\n\ny\n' },
};
const KEPT = ['first', 'second', 'third', 'rsa', 'ed25519', 'subkey'];

const fingerprints = new Map<string, string>();
for (const name of MAINS) fingerprints.set(name, make(name, { algorithm: 'ed25519' }));
for (const [name, wish] of Object.entries(WISHES)) fingerprints.set(name, make(name, wish));
const of = (name: string): string => fingerprints.get(name) ?? '';
home.run(['--quick-add-key', of('subkey'), 'rsa2048', 'sign', 'never'], MADE);
for (const [name, { by = 0 }] of Object.entries(WISHES)) {
  for (const main of MAINS.slice(0, by)) {
    home.run(['--local-user', of(main), '--quick-sign-key', of(name)], MADE + DAY);
  }
}

const signatures = new Map<string, Buffer>();
for (const name of fingerprints.keys()) {
  const words = ['--local-user', of(name), '--digest-algo', 'SHA512', '--detach-sign'];
  signatures.set(name, home.run(words, SIGNED, CONTENT));
}
for (const [name, { revoked }] of Object.entries(WISHES)) {
  if (revoked === undefined) continue;
  const words = ['--no-batch', '--command-fd', '0', '--gen-revoke', of(name)];
  home.run(['--import'], NOW - 10 * DAY, home.run(words, NOW - 10 * DAY, revoked));
}

const sourcePath = join(folder, 'lab.gpg');
const original = home.run(['--export']);
await writeFile(sourcePath, original);
await writeFile(join(folder, 'lab-trusted'), MAINS.map((name) => `${of(name)}:4:\n`).join(''));
const out = join(folder, 'out');
const built = await buildKeyring({ sources: [sourcePath], out, at: NOW });
const list = await readFile(join(out, 'lab.gpg'));

type Reader = (keyring: Uint8Array, signature: Uint8Array) => Promise<boolean>;
const said = (lines: readonly string[]) => lines.some((line) => line.startsWith('GOODSIG '));

const READERS: Readonly<Record<string, Reader>> = {
  async gpgv(keyring, signature) {
    return said(gpgvStatus(folder, { keyring, signature, content: CONTENT }));
  },
  async gpg(keyring, signature) {
    const reader = new GnupgHome(folder);
    try {
      reader.run(['--import'], NOW, keyring);
      await writeFile(join(folder, 'content'), CONTENT);
      await writeFile(join(folder, 'sig'), signature);
      const words = ['--status-fd', '1', '--verify', join(folder, 'sig'), join(folder, 'content')];
      return said(reader.run(words).toString().replaceAll('[GNUPG:] ', '').split('\n'));
    } catch (error) {
      assert.match(String((error as { stdout?: Buffer }).stdout), /NO_PUBKEY/);
      return false;
    } finally {
      reader.close();
    }
  },
  async 'openpgp.js'(keyring, signature) {
    const { signatures: found } = await verify({
      message: await createMessage({ binary: CONTENT, format: 'binary' }),
      signature: await readSignature({ binarySignature: signature }),
      verificationKeys: await readKeys({ binaryKeys: keyring }),
      date: new Date(NOW),
    });
    const [only] = found;
    assert.ok(only);
    return only.verified.then(
      () => true,
      () => false,
    );
  },
  async Bootseal(keyring, signature) {
    const certificates = decodeOpenpgpCertificates(keyring);
    const check = openpgpCheck('content.sig', signature, certificates, defaultPolicy(NOW), NOW);
    return (await judge(check, CONTENT)) === 'verified';
  },
};

describe('a keyring built of keys by gpg', () => {
  it('keeps and drops what it should, and says why', () => {
    const why = new Map(built.dropped.map(({ fingerprint, reason }) => [fingerprint, reason]));
    const verdicts = [...fingerprints].map(([name, fingerprint]) => {
      const found = built.kept.find(({ fingerprint: kept }) => kept === fingerprint.toLowerCase());
      return [name, found?.basis ?? why.get(fingerprint.toLowerCase())];
    });
    assert.deepEqual(Object.fromEntries(verdicts), {
      first: 'trusted',
      second: 'trusted',
      third: 'trusted',
      rsa: 'certified',
      ed25519: 'certified',
      subkey: 'certified',
      lonely: 'below-threshold',
      sha1: 'sha1-binding',
      expired: 'expired',
      compromised: 'revoked',
      superseded: 'revoked',
    });
  });

  it('took nothing for good that gpg’s own web of trust does not, and left out SHA-1 alone', () => {
    const reader = new GnupgHome(folder);
    try {
      reader.run(['--import'], NOW, original);
      reader.run(['--quick-gen-key', uid('local'), 'ed25519', 'cert', 'never'], MADE);
      const colons = () => reader.run(['--with-colons', '--list-keys']).toString().split('\n');
      const local = colons().find((line) => line.startsWith('uid:') && line.includes('local@'));
      assert.ok(local);
      for (const name of MAINS) reader.run(['--local-user', uid('local'), '--quick-lsign-key', of(name)]);
      reader.run(['--import-ownertrust'], NOW, MAINS.map((name) => `${of(name)}:4:\n`).join(''));
      reader.run(['--check-trustdb']);
      let valid = false;
      const full: string[] = [];
      for (const line of colons()) {
        const [kind, validity, , , , , , , , value = ''] = line.split(':');
        if (kind === 'pub') valid = validity === 'f';
        else if (kind === 'fpr' && valid) {
          full.push(value);
          valid = false;
        }
      }
      assert.deepEqual(new Set(full), new Set([...KEPT, 'sha1'].map(of)));
    } finally {
      reader.close();
    }
  });

  for (const [reader, verifies] of Object.entries(READERS)) {
    it(`verifies the same signatures under ${reader} as under all others`, async () => {
      const row: Record<string, boolean> = {};
      for (const [name, signature] of signatures) row[name] = await verifies(list, signature);
      const expected = [...signatures.keys()].map((name) => [name, KEPT.includes(name)]);
      assert.deepEqual(row, Object.fromEntries(expected));
    });
  }

  it('is needed: from the source gpgv takes signatures that the list does not carry', async () => {
    const verifies = READERS.gpgv as Reader;
    for (const name of ['sha1', 'lonely']) {
      assert.equal(await verifies(original, signatures.get(name) ?? Buffer.alloc(0)), true, name);
    }
  });

  it('is read by gpg from its VOA files, each of which bears the name of the key in it', async () => {
    const reader = new GnupgHome(folder);
    try {
      for (const { fingerprint } of built.kept) {
        const armored = await readFile(join(out, `voa/lab/image/netboot/openpgp/${fingerprint}.openpgp`));
        const colons = reader.run(
          ['--with-colons', '--import-options', 'show-only', '--import'],
          NOW,
          armored,
        );
        const named = colons
          .toString()
          .match(/^fpr:.*$/gm)?.[0]
          ?.split(':')[9];
        assert.equal(named?.toLowerCase(), fingerprint);
      }
    } finally {
      reader.close();
    }
  });
});
