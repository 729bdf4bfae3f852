import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { readFile, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Refusal } from '../../src/errors/refusal.ts';
import { decodeArmor, decodePem, encodePem } from '../../src/formats/asn1/armor.ts';
import { recognise } from '../../src/operations/inspect/recognise.ts';
import { type InspectedKind, inspect } from '../../src/operations/inspect.ts';
import { misused } from '../fixtures/failed.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { refused } from '../trust/judge.ts';
import { otherForms, samples } from './inspected.ts';

const folder = await temporaryFolder();
const made = await samples(folder);
const { keys, files } = made;

/** What bytes are taken for; a refusal's code where they are for nothing. Anything else that is thrown is thrown. */
function taken(bytes: Uint8Array): string {
  try {
    return recognise('x', { bytes, size: bytes.length }).kind;
  } catch (error) {
    if (error instanceof Refusal) return `refused: ${error.code}`;
    throw error;
  }
}

/** Of these, what is left after a cut may be whole: a line, a packet or a block fewer. */
const CUTTABLE = new Map<InspectedKind, (kept: string) => boolean>([
  ['manifest', (kept) => kept.endsWith('\n')],
  ['log-entry', (kept) => kept.endsWith('\n')],
  ['seal-list', (kept) => kept.endsWith('\n')],
  ['request-index', (kept) => kept.endsWith('\n')],
  ['policy-floor', (kept) => kept.endsWith('\n')],
  ['openpgp-keys', () => true],
  // Without content it takes a variable away.
  ['efi-variable', () => true],
  // Its beginning says all; nobody here looks for its end.
  ['kernel', () => true],
  ['grub-configuration', () => true],
  ['ipxe-script', () => true],
]);

describe('a file cut short', () => {
  for (const [kind, bytes] of files) {
    it(`of kind ${kind} is refused, or says what is left`, () => {
      let refusals = 0;
      // A hash device is mostly tree: its superblock byte by byte, then block by block.
      for (let length = 0; length < bytes.length; length += length < 8192 ? 1 : 4096) {
        const kept = bytes.subarray(0, length);
        const as = taken(kept);
        if (as.startsWith('refused: ')) refusals += 1;
        // The first 64 digits of a checksum are a root hash; nothing but the name could tell.
        else if (kind === 'checksums' && as === 'root-hash') assert.equal(length, 64);
        else {
          assert.equal(as, kind, `cut at ${length}`);
          const whole = CUTTABLE.get(kind);
          assert.ok(whole?.(Buffer.from(kept).toString('latin1')), `cut at ${length}`);
        }
      }
      assert.ok(refusals > 6);
    });
  }

  it('is refused in its other wrappings, but for a whole block of several', async () => {
    for (const [kind, bytes] of await otherForms(made)) {
      for (let length = 0; length < bytes.length; length++) {
        const as = taken(bytes.subarray(0, length));
        if (as === kind)
          assert.match(
            bytes.subarray(0, length).toString(),
            /-----END (CERTIFICATE-----\n|PGP PUBLIC KEY BLOCK-----)$/,
          );
        else assert.equal(as, 'refused: malformed', `${kind} cut at ${length}`);
      }
    }
  });
});

describe('a file changed anywhere', () => {
  for (const [kind, bytes] of files) {
    it(`of kind ${kind} throws nothing but refusals`, () => {
      for (let at = 0; at < Math.min(bytes.length, 4096); at += 3) {
        for (const mask of [0x01, 0x80, 0xff]) {
          const changed = Buffer.from(bytes);
          changed[at] = (changed[at] ?? 0) ^ mask;
          taken(changed);
        }
      }
    });
  }
});

describe('garbage', () => {
  it('throws nothing but refusals, whatever it begins with', () => {
    const starts = [
      ...files.values(),
      Buffer.from('-----BEGIN PGP SIGNATURE-----\n\n'),
      Buffer.from('07070'),
    ];
    fc.assert(
      fc.property(
        fc.constantFrom(...starts),
        fc.nat(80),
        fc.uint8Array({ maxLength: 400 }),
        (start, kept, rest) => {
          const bytes = Buffer.concat([start.subarray(0, kept), rest]);
          assert.match(taken(bytes), /^[a-z]/);
        },
      ),
      { numRuns: 3000 },
    );
  });

  it('of no kind is refused in one sentence', async () => {
    for (const bytes of ['', 'hello\n', '\x00\x01', 'bootseal-unknown 1\n', 'f'.repeat(63), '#!/bin/sh\n']) {
      const target = join(folder, 'garbage');
      await writeFile(target, bytes);
      await assert.rejects(inspect({ target }), refused('malformed', /^[^\n]*\.$/));
    }
  });
});

describe('a private key', async () => {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  const ec = generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).privateKey;
  const ed = generateKeyPairSync('ed25519').privateKey;
  const secret = { cipher: 'aes-256-cbc', passphrase: 'secret' };
  const armored = await readFile(join(keys, 'private/openpgp.asc'), 'latin1');
  const packets = decodeArmor(armored).bytes;
  const certificate = join(keys, 'anchors/codesign.crt');
  const pkcs12 = execFileSync('openssl', [
    ...['pkcs12', '-export', '-in', certificate, '-inkey', join(keys, 'private/codesign.key')],
    ...['-passout', 'pass:secret'],
  ]);
  const forms: Readonly<Record<string, Uint8Array | string>> = {
    'by init': await readFile(join(keys, 'private/ca.key')),
    'PKCS #8, PEM': rsa.export({ format: 'pem', type: 'pkcs8' }),
    'PKCS #8, DER': rsa.export({ format: 'der', type: 'pkcs8' }),
    'PKCS #8 of Ed25519, DER': ed.export({ format: 'der', type: 'pkcs8' }),
    'PKCS #8, encrypted, PEM': ec.export({ format: 'pem', type: 'pkcs8', ...secret }),
    'PKCS #8, encrypted, DER': rsa.export({ format: 'der', type: 'pkcs8', ...secret }),
    'PKCS #1, PEM': rsa.export({ format: 'pem', type: 'pkcs1' }),
    'PKCS #1, DER': rsa.export({ format: 'der', type: 'pkcs1' }),
    'SEC 1, DER': ec.export({ format: 'der', type: 'sec1' }),
    'PKCS #12': pkcs12,
    'OpenPGP, armored': armored,
    'OpenPGP, binary': packets,
    'OpenPGP, behind a public key': Buffer.concat([files.get('openpgp-keys') ?? packets, packets]),
    'OpenPGP, called public': armored.replaceAll('PRIVATE', 'PUBLIC'),
    'behind a certificate': Buffer.concat([
      await readFile(certificate),
      await readFile(join(keys, 'private/codesign.key')),
    ]),
    OpenSSH: encodePem('OPENSSH PRIVATE KEY', Buffer.from('openssh-key-v1\0')),
  };
  for (const [what, key] of Object.entries(forms)) {
    it(`(${what}) is refused by name, whole or in part, and nothing of it is said`, () => {
      const bytes = Buffer.from(key);
      const refusal = refused('unsafe-keys', /^secret\.key is a private key; nothing of it is shown\.$/);
      assert.throws(() => recognise('secret.key', { bytes, size: bytes.length }), refusal);
      const lines = bytes.toString('latin1').split('\n');
      for (let length = 1; length < bytes.length; length += 7) {
        try {
          const kept = bytes.subarray(0, length);
          const { kind } = recognise('secret.key', { bytes: kept, size: length });
          assert.match(kind, /^(certificate|openpgp-keys)$/, `cut at ${length}`);
        } catch (error) {
          assert.ok(error instanceof Refusal, (error as Error).stack);
          const said = JSON.stringify(error);
          const leaked = lines.find(
            (line) => line.length > 20 && !line.startsWith('-') && said.includes(line),
          );
          assert.equal(leaked, undefined);
        }
      }
    });
  }

  it('of which only the middle is left is nothing that is known', () => {
    const [block] = decodePem(String(forms['PKCS #8, PEM']));
    const bytes = block?.bytes.subarray(40) ?? new Uint8Array();
    assert.match(taken(bytes), /^refused: /);
  });
});

describe('what is read', () => {
  it('is a regular file, and of no endless size', async () => {
    const fifo = join(folder, 'fifo');
    execFileSync('mkfifo', [fifo]);
    await assert.rejects(inspect({ target: fifo }), refused('unsafe-path', /not a regular file/));
    await assert.rejects(inspect({ target: '/dev/zero' }), refused('unsafe-path'));
    const large = join(folder, 'large');
    await writeFile(large, 'bootseal-manifest 1\n');
    await truncate(large, 64 * 2 ** 20 + 1);
    await assert.rejects(inspect({ target: large }), refused('too-large', /67108865 bytes/));
    await assert.rejects(
      inspect({ target: join(folder, 'nowhere') }),
      misused(/There is no .*nowhere; name/),
    );
  });

  it('is of a hash device the first block, however large it is', async () => {
    const device = join(folder, 'device');
    await writeFile(device, files.get('verity-superblock') ?? '');
    await truncate(device, 2 ** 36);
    assert.equal((await inspect({ target: device })).facts.size, 2 ** 36);
  });

  it('is what a link leads to, where the operator named the link', async () => {
    const link = join(folder, 'link');
    await symlink(join(keys, 'anchors/ca.crt'), link);
    assert.equal((await inspect({ target: link })).kind, 'certificate');
  });
});
