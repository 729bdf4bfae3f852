import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Malformed } from '../../../src/errors/malformed.ts';
import { decodeKeybox } from '../../../src/formats/openpgp/keybox.ts';

const home = mkdtempSync(join(tmpdir(), 'bootseal-kbx-'));

function gpg(...args: string[]): Buffer {
  return execFileSync('gpg', ['--homedir', home, '--batch', '--no-options', ...args], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
}

const keybox = (): Buffer => readFileSync(join(home, 'pubring.kbx'));

/** Where the blobs of a keybox begin, and how long they are. */
function blobs(bytes: Buffer): { at: number; length: number }[] {
  const found: { at: number; length: number }[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt32BE(at);
    found.push({ at, length });
    at += length;
  }
  return found;
}

/** A copy of the first key's blob changed by `edit`, with a checksum that fits again. */
function forged(edit: (blob: Buffer) => void): Buffer {
  const bytes = Buffer.from(keybox());
  const [, first] = blobs(bytes);
  assert.ok(first);
  const blob = bytes.subarray(first.at, first.at + first.length);
  edit(blob);
  const body = blob.subarray(0, blob.length - 20);
  createHash('sha1')
    .update(body)
    .digest()
    .copy(blob, blob.length - 20);
  return bytes;
}

describe('GnuPG keybox', () => {
  before(() => {
    for (const [user, algorithm] of [
      ['Release <release@example.test>', 'rsa2048'],
      ['Second <second@example.test>', 'ed25519'],
      ['Third <third@example.test>', 'ed25519'],
    ] as const) {
      gpg('--passphrase', '', '--quick-gen-key', user, algorithm, 'sign,cert', '1y');
    }
    const listing = gpg('--with-colons', '--list-keys', 'Second').toString();
    const fingerprint = /^fpr:+([0-9A-F]+):/m.exec(listing)?.[1];
    assert.ok(fingerprint);
    gpg('--passphrase', '', '--quick-add-key', fingerprint, 'cv25519', 'encr');
  });
  after(() => {
    execFileSync('gpgconf', ['--homedir', home, '--kill', 'all'], { stdio: 'ignore' });
    rmSync(home, { recursive: true, force: true });
  });

  it('yields what gpg exports', () => {
    const keys = decodeKeybox(keybox());
    assert.equal(keys.length, 3);
    assert.deepEqual(Buffer.concat(keys), gpg('--export'));
    const [first, second] = keys;
    assert.deepEqual(Buffer.from(first ?? []), gpg('--export', 'Release'));
    assert.deepEqual(Buffer.from(second ?? []), gpg('--export', 'Second'));
  });

  it('passes over what gpg has deleted', () => {
    const before = keybox();
    gpg(
      '--yes',
      '--delete-secret-and-public-key',
      gpg('--with-colons', '--list-keys', 'Third')
        .toString()
        .match(/^fpr:+([0-9A-F]+):/m)?.[1] ?? '',
    );
    const keys = decodeKeybox(keybox());
    assert.equal(keys.length, 2);
    assert.deepEqual(Buffer.concat(keys), gpg('--export'));
    // gpg may compress the file or only mark the blob; the mark itself is this.
    const [, , , third] = blobs(before);
    assert.ok(third);
    before[third.at + 4] = 0;
    assert.equal(decodeKeybox(before).length, 2);
  });

  it('passes over ephemeral and X.509 blobs', () => {
    const ephemeral = forged((blob) => blob.writeUInt16BE(2, 6));
    assert.equal(decodeKeybox(ephemeral).length, decodeKeybox(keybox()).length - 1);
    const x509 = forged((blob) => blob.writeUInt8(3, 4));
    assert.equal(decodeKeybox(x509).length, decodeKeybox(keybox()).length - 1);
  });

  it('refuses a file cut anywhere but between blobs', () => {
    const bytes = keybox();
    const ends = new Set(blobs(bytes).map(({ at, length }) => at + length));
    for (let length = 0; length < bytes.length; length++) {
      if (ends.has(length)) continue;
      assert.throws(() => decodeKeybox(bytes.subarray(0, length)), Malformed, `cut at ${length}`);
    }
  });

  it('refuses a key of which any byte changed', () => {
    const bytes = keybox();
    const [, first] = blobs(bytes);
    assert.ok(first);
    // The type and flags bytes in front are what gpg itself changes in place.
    for (let at = first.at + 8; at < first.at + first.length; at += 7) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ 0x40;
      assert.throws(() => decodeKeybox(changed), Malformed, `byte ${at}`);
    }
  });

  it('refuses what is no keybox of OpenPGP public keys', () => {
    const bad: Record<string, Buffer> = {
      'an unknown blob type': forged((blob) => blob.writeUInt8(9, 4)),
      'an unknown blob version': forged((blob) => blob.writeUInt8(3, 5)),
      'a secret key flag': forged((blob) => blob.writeUInt16BE(1, 6)),
      'a keyblock beyond the blob': forged((blob) => blob.writeUInt32BE(blob.length, 12)),
      'a keyblock over the index': forged((blob) => blob.writeUInt32BE(0, 8)),
      'no keys': forged((blob) => blob.writeUInt16BE(0, 16)),
      'a keyblock that begins elsewhere': forged((blob) => {
        blob.writeUInt32BE(blob.readUInt32BE(8) + 1, 8);
        blob.writeUInt32BE(blob.readUInt32BE(12) - 1, 12);
      }),
      'a secret key packet': forged((blob) => {
        const at = blob.readUInt32BE(8);
        blob.writeUInt8((5 << 2) | (blob.readUInt8(at) & 0xc3), at);
      }),
      'a plain keyring': gpg('--export'),
    };
    for (const [what, bytes] of Object.entries(bad)) {
      assert.throws(() => decodeKeybox(bytes), Malformed, what);
    }
    const headless = keybox();
    headless.write('KBXg', 8);
    assert.throws(() => decodeKeybox(headless), /keybox header/);
  });
});
