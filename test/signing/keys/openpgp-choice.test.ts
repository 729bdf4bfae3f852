import assert from 'node:assert/strict';
import { cp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { RefusalCode } from '../../../src/errors/refusal.ts';
import { readKeyFolder, readOpenpgpOf } from '../../../src/signing/keys/key-folder.ts';
import { readOpenpgpPublic } from '../../../src/signing/keys/public-half.ts';
import { sealRecordOpenpgp } from '../../../src/signing/seal-record.ts';
import { openpgpSigner } from '../../../src/signing/signatories.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { makeKeys, NOW } from '../../fixtures/keys.ts';
import { GnupgHome, gpgvStatus } from '../../fixtures/openpgp.ts';
import { refused } from '../../trust/judge.ts';

/** Certificates that gpg made, put into a key folder: the key that signs is one that gpgv takes, or none. */

const DAY = 86_400_000;
const CONTENT = Buffer.from('content\n');
const folder = await temporaryFolder();
const ours = await makeKeys(join(folder, 'keys'));
let count = 0;

class Site {
  readonly home = new GnupgHome(folder);
  readonly primary: string;

  constructor(usage: 'cert' | 'sign', validity = '0') {
    this.home.run(
      ['--quick-gen-key', 'Release <release@site.example>', 'rsa2048', usage, validity],
      NOW - 2 * DAY,
    );
    this.primary = this.fingerprints()[0] ?? '';
  }

  /** Primary first. */
  fingerprints(): string[] {
    const listed = this.home.run(['--with-colons', '-K']).toString();
    return [...listed.matchAll(/^fpr:+([0-9A-F]{40}):/gm)].map(([, fingerprint = '']) =>
      fingerprint.toLowerCase(),
    );
  }

  addSubkey(validity = '0', at = NOW - DAY, usage = 'sign'): void {
    this.home.run(['--quick-add-key', this.primary.toUpperCase(), 'rsa2048', usage, validity], at);
  }

  /** A copy of a key folder with this certificate. */
  async folder(secret = this.home.run(['--armor', '--export-secret-keys'])): Promise<string> {
    const path = join(folder, `site-${count++}`);
    await cp(ours, path, { recursive: true });
    await writeFile(join(path, 'private', 'openpgp.asc'), secret);
    await writeFile(join(path, 'anchors', 'pubring.gpg'), this.home.run(['--export']));
    return path;
  }
}

const sites: Site[] = [];
const site = (...given: ConstructorParameters<typeof Site>): Site => {
  const made = new Site(...given);
  sites.push(made);
  return made;
};
after(() => {
  for (const { home } of sites) home.close();
});

async function chosen(path: string, now = NOW): Promise<string> {
  const { payload: openpgp } = (await readKeyFolder(path, now)).openpgp;
  const signature = await sealRecordOpenpgp(CONTENT, openpgpSigner('openpgp', openpgp), now);
  const keyring = sites.at(-1)?.home.run(['--export']) ?? Buffer.alloc(0);
  const status = gpgvStatus(folder, { keyring, signature, content: CONTENT });
  assert.ok(
    status.some((line) => line.startsWith('GOODSIG ')),
    status.join('\n'),
  );
  // Who has only the public half must name the same key.
  const publicKey = await readOpenpgpPublic(join(path, 'anchors', 'pubring.gpg'), now);
  assert.equal(publicKey.fingerprint, openpgp.key.fingerprint);
  return openpgp.key.fingerprint;
}

describe('the OpenPGP key that signs', () => {
  it('is the subkey, where the primary only certifies', async () => {
    const made = site('cert');
    made.addSubkey();
    assert.equal(await chosen(await made.folder()), made.fingerprints()[1]);
  });

  it('is the subkey, where the primary is kept elsewhere', async () => {
    const made = site('cert');
    made.addSubkey();
    const secret = made.home.run(['--armor', '--export-secret-subkeys']);
    assert.equal(await chosen(await made.folder(secret)), made.fingerprints()[1]);
  });

  it('is the primary, where the subkey encrypts', async () => {
    const made = site('sign');
    made.addSubkey('0', NOW - DAY, 'encr');
    assert.equal(await chosen(await made.folder()), made.primary);
  });

  it('is the one made last of those that may', async () => {
    const made = site('sign');
    made.addSubkey('0', NOW);
    assert.equal(await chosen(await made.folder()), made.fingerprints()[1]);
  });
});

const NONE: readonly [
  what: string,
  code: RefusalCode,
  make: () => Promise<readonly [path: string, now: number]>,
][] = [
  ['the one key only certifies', 'wrong-purpose', async () => [await site('cert').folder(), NOW]],
  [
    'the subkey that signs has ended',
    'expired',
    async () => {
      const made = site('cert');
      made.addSubkey('1d');
      return [await made.folder(), NOW + 3 * DAY];
    },
  ],
  ['the certificate has ended', 'expired', async () => [await site('sign', '1d').folder(), NOW + 3 * DAY]],
  [
    'the anchors hold another certificate',
    'wrong-purpose',
    async () => {
      const path = await site('sign').folder();
      await cp(join(ours, 'anchors', 'pubring.gpg'), join(path, 'anchors', 'pubring.gpg'));
      return [path, NOW];
    },
  ],
];

describe('no OpenPGP key signs', () => {
  for (const [what, code, make] of NONE) {
    it(`where ${what}`, async () => {
      const [path, now] = await make();
      await assert.rejects(readKeyFolder(path, now), refused(code, /pubring\.gpg|The key/));
    });
  }

  it('for a request that names one which only certifies', async () => {
    const made = site('cert');
    made.addSubkey();
    const path = await made.folder();
    await assert.rejects(
      readOpenpgpOf(path, 'openpgp', made.primary, NOW),
      refused('wrong-purpose', /lets it sign/),
    );
    assert.ok(await readOpenpgpOf(path, 'openpgp', made.fingerprints()[1] ?? '', NOW));
    assert.equal(await readOpenpgpOf(path, 'openpgp', '0'.repeat(40), NOW), undefined);
  });
});
