import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { decodeGuid, EFI_GUID, encodeGuid } from '../../../src/formats/efi/efi-guid.ts';
import {
  decodeSignatureLists,
  encodeCertificateLists,
  encodeHashList,
  isSignatureLists,
} from '../../../src/formats/efi/efi-signature-list.ts';
import { decodeEfiTime, encodeEfiTime } from '../../../src/formats/efi/efi-time.ts';
import {
  decodeAuthenticatedVariable,
  isAuthenticatedVariable,
} from '../../../src/formats/efi/efi-variable.ts';
import { CertificateMaker } from '../../fixtures/certificates.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { makeKeys, NOW } from '../../fixtures/keys.ts';
import { demandFlipsHandled, malformed } from '../strict.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'), { secureBoot: true });
const variable = readFileSync(join(keys, 'secure-boot', 'db.auth'));
const { certificate } = new CertificateMaker(folder).make({ commonName: 'db' });
const OWNER = '11111111-2222-3333-4444-555555555555';
const [A, B] = ['aa'.repeat(32), 'bb'.repeat(32)];

describe('EFI_GUID', () => {
  it('has three numbers with the low byte first, as UEFI’s appendix A shows', () => {
    const octets = Buffer.from(encodeGuid(EFI_GUID.globalVariable)).toString('hex');
    assert.equal(octets, '61dfe48bca93d211aa0d00e098032b8c');
    for (const guid of Object.values(EFI_GUID)) assert.equal(decodeGuid(encodeGuid(guid)), guid);
  });

  it('is refused in other forms', () => {
    for (const text of ['', OWNER.slice(1), OWNER.toUpperCase().replaceAll('1', 'A'), `{${OWNER}}`])
      assert.throws(() => encodeGuid(text), malformed(/EFI_GUID/));
    assert.throws(() => decodeGuid(Buffer.alloc(15)), malformed(/15 bytes/));
  });
});

describe('EFI_TIME', () => {
  it('says back what was written, and 16 zeros are none', () => {
    for (const at of [NOW, 0, Date.UTC(2099, 11, 31, 23, 59, 59)])
      assert.equal(decodeEfiTime(encodeEfiTime(at)), at);
    assert.equal(decodeEfiTime(Buffer.alloc(16)), undefined);
  });

  for (const [what, change] of [
    ['a thirteenth month', [2, 13]],
    ['30 February', [2, 2, 30]],
    ['a padding byte', [7, 1]],
    ['a part of a second', [8, 1]],
    ['a time zone', [12, 1]],
  ] as const) {
    it(`is refused with ${what}`, () => {
      const bytes = Buffer.from(encodeEfiTime(NOW));
      const [at, ...values] = change;
      bytes.set(values, at);
      assert.throws(() => decodeEfiTime(bytes), malformed(/EFI_TIME/));
    });
  }
});

describe('signature lists', () => {
  const both = Buffer.concat([encodeCertificateLists([certificate], OWNER), encodeHashList([A, B], OWNER)]);

  it('of certificates and of images stand one behind the other', () => {
    assert.deepEqual(
      decodeSignatureLists(both).map((entry) =>
        entry.type === 'x509'
          ? entry.certificate.commonName
          : entry.type === 'sha256'
            ? entry.digest
            : entry.hash,
      ),
      ['db', A, B],
    );
    assert.deepEqual(decodeSignatureLists(Buffer.alloc(0)), []);
    assert.equal(encodeHashList([], OWNER).length, 0);
    assert.equal(isSignatureLists(both), true);
  });

  it('forbid a certificate by its hash, from some time on or always', () => {
    const entry = (time: Uint8Array) => {
      const list = Buffer.alloc(28 + 16 + 32 + 16);
      list.set(encodeGuid(EFI_GUID.x509Sha256));
      list.writeUInt32LE(list.length, 16);
      list.writeUInt32LE(64, 24);
      list.set(encodeGuid(OWNER), 28);
      list.fill(0xaa, 44, 76);
      list.set(time, 76);
      return decodeSignatureLists(list);
    };
    const common = { owner: OWNER, type: 'x509-hash', hash: 'sha256', digest: A };
    assert.deepEqual(entry(Buffer.alloc(16)), [{ ...common, revokedFrom: 0 }]);
    assert.deepEqual(entry(encodeEfiTime(NOW)), [{ ...common, revokedFrom: NOW }]);
  });

  for (const [what, change, fact] of [
    ['an unknown type', (b) => b.fill(7, 0, 16), /unknown type/],
    ['a list past the end', (b) => b.writeUInt32LE(0xffff_ffff, 16), /4294967295 bytes/],
    ['a list shorter than its header', (b) => b.writeUInt32LE(4, 16), /4 bytes/],
    ['signatures of no bytes', (b) => b.writeUInt32LE(0, 24), /signatures of 0/],
    ['signatures that do not fill it', (b) => b.writeUInt32LE(47, 24), /signatures of 47/],
    ['a header of its own', (b) => b.writeUInt32LE(1, 20), /unknown kind/],
  ] as readonly [string, (bytes: Buffer) => void, RegExp][]) {
    it(`are refused with ${what}`, () => {
      const bytes = Buffer.from(encodeHashList([A, B], OWNER));
      change(bytes);
      assert.throws(() => decodeSignatureLists(bytes), malformed(fact));
    });
  }

  it('give no other error than that they are malformed, cut or changed anywhere', () => {
    for (let length = 1; length < both.length; length++) {
      try {
        decodeSignatureLists(both.subarray(0, length));
        // Between two lists.
        assert.equal(length, both.length - 28 - 2 * 48);
      } catch (error) {
        assert.ok(malformed(/./)(error), String(error));
      }
    }
    assert.ok(demandFlipsHandled(decodeSignatureLists, both) > 100);
  });
});

describe('authenticated variables', () => {
  it('are known by their certificate’s type', () => {
    assert.equal(isAuthenticatedVariable(variable), true);
    assert.equal(isAuthenticatedVariable(encodeHashList([A], OWNER)), false);
    assert.equal(decodeAuthenticatedVariable(variable).time, NOW);
  });

  it('are refused cut before their content, and give no other error whatever byte is changed', () => {
    const { content } = decodeAuthenticatedVariable(variable);
    const head = variable.length - content.length;
    for (let length = 0; length < head; length++) {
      assert.throws(
        () => decodeAuthenticatedVariable(variable.subarray(0, length)),
        malformed(/./),
        `cut at ${length}`,
      );
    }
    assert.ok(demandFlipsHandled(decodeAuthenticatedVariable, Buffer.from(variable.subarray(0, head))) > 100);
  });
});
