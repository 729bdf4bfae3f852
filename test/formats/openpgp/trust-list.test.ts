import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Malformed } from '../../../src/errors/malformed.ts';
import {
  decodeRevokedList,
  decodeTrustedList,
  encodeRevokedList,
  encodeTrustedList,
} from '../../../src/formats/openpgp/trust-list.ts';

const A = '2AC0A42EFB0B5CBC7A0402ED4DC95B6D7BE9892E';
const B = '3572FA2A1B067F22C58AF155F8B821B42A6FDCD7';

describe('the list of trusted keys', () => {
  it('is read as gpg --export-ownertrust writes it, and written back', () => {
    const text = `# List of assigned trustvalues\n\n${A}:4:\r\n${B.toLowerCase()}:6:`;
    const entries = decodeTrustedList(Buffer.from(text));
    assert.deepEqual(entries, [
      { fingerprint: A.toLowerCase(), level: 4 },
      { fingerprint: B.toLowerCase(), level: 6 },
    ]);
    assert.equal(Buffer.from(encodeTrustedList(entries)).toString(), `${A}:4:\n${B}:6:\n`);
  });

  const wrong = [
    `${A}`,
    `${A}:4`,
    `${A}:2:`,
    `${A}:7:`,
    `${A}:132:`,
    `${A}:4: x`,
    ` ${A}:4:`,
    `${A.slice(1)}:4:`,
    `0x${A}:4:`,
    '\0',
  ];
  for (const line of wrong) {
    it(`is refused with the line ${JSON.stringify(line)}, which is named`, () => {
      assert.throws(
        () => decodeTrustedList(Buffer.from(`${B}:4:\n${line}\n`)),
        (error: Error) => {
          assert.ok(error instanceof Malformed);
          assert.match(error.message, /line 2/);
          return true;
        },
      );
    });
  }
});

describe('the list of revoked keys', () => {
  it('is read and written back', () => {
    const list = decodeRevokedList(Buffer.from(`${A}\n#\n${B.toLowerCase()}\n`));
    assert.deepEqual(list, [A.toLowerCase(), B.toLowerCase()]);
    assert.equal(Buffer.from(encodeRevokedList(list)).toString(), `${A}\n${B}\n`);
    assert.deepEqual(decodeRevokedList(Buffer.alloc(0)), []);
  });

  for (const line of [`${A}:`, A.slice(1), `${A} `, 'x']) {
    it(`is refused with the line ${JSON.stringify(line)}`, () => {
      assert.throws(() => decodeRevokedList(Buffer.from(`${line}\n`)), Malformed);
    });
  }

  it('is refused where it is longer than any list', () => {
    assert.throws(() => decodeRevokedList(Buffer.alloc(4 * 2 ** 20 + 1, '\n')), Malformed);
  });
});
