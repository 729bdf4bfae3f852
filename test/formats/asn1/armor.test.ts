import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Malformed } from '../../../src/errors/malformed.ts';
import { decodeArmor, decodePem, encodeArmor, encodePem } from '../../../src/formats/asn1/armor.ts';

const label = fc.constantFrom('CERTIFICATE', 'PRIVATE KEY', 'PKCS7', 'X509 CRL');
const content = fc.uint8Array({ minLength: 1, maxLength: 300 });
const BYTES = Buffer.from(Array.from({ length: 100 }, (_, index) => index));

describe('PEM', () => {
  it('reads back what it writes, several blocks in a row', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(label, content), { minLength: 1, maxLength: 4 }), (blocks) => {
        const text = blocks.map(([name, bytes]) => encodePem(name, bytes)).join('');
        const decoded = decodePem(text).map(({ label: name, bytes }) => [name, Uint8Array.from(bytes)]);
        assert.deepEqual(decoded, blocks);
      }),
    );
  });

  it('agrees with openssl', () => {
    const key = execFileSync('openssl', ['genpkey', '-algorithm', 'ed25519'], { encoding: 'utf8' });
    const [block] = decodePem(key);
    assert.ok(block);
    assert.equal(block.label, 'PRIVATE KEY');
    const der = execFileSync('openssl', ['pkey', '-outform', 'DER'], { input: key });
    assert.deepEqual(Buffer.from(block.bytes), der);
    assert.equal(encodePem('PRIVATE KEY', der), key);
  });

  it('refuses text cut at any length, with either line end', () => {
    for (const text of [encodePem('CERTIFICATE', BYTES), encodePem('X', BYTES).replaceAll('\n', '\r\n')]) {
      assert.equal(decodePem(text).length, 1);
      for (let length = 0; length < text.length; length++) {
        assert.throws(() => decodePem(text.slice(0, length)), Malformed, `cut at ${length}`);
      }
    }
  });

  it('refuses anything but boundaries and full lines of base64', () => {
    const good = encodePem('CERTIFICATE', BYTES);
    const bad: Record<string, string> = {
      'text before': `hello\n${good}`,
      'text after': `${good}hello\n`,
      'empty line after': `${good}\n`,
      'another end': good.replace('END CERTIFICATE', 'END PRIVATE KEY'),
      'no end': good.replace(/-----END.*\n/, ''),
      'a header': good.replace('-----\n', '-----\nProc-Type: 4,ENCRYPTED\n\n'),
      'an empty line inside': good.replace(/(.{64})\n/, '$1\n\n'),
      'a short line inside': good.replace(/(.{64})\n/, (line) => `${line.slice(0, 60)}\n${line.slice(60)}`),
      'a space': good.replace(/\n-----END/, ' \n-----END'),
      'bits behind the last byte': good.replace(/Yw==/, 'Yx=='),
      'a lower-case label': good.replaceAll('CERTIFICATE', 'certificate'),
      'no content': '-----BEGIN X-----\n-----END X-----\n',
      nothing: '',
    };
    for (const [what, text] of Object.entries(bad)) {
      assert.notEqual(text, good, what);
      assert.throws(() => decodePem(text), Malformed, what);
    }
  });

  it('takes explanatory text only where asked, and never a broken boundary', () => {
    const good = encodePem('CERTIFICATE', BYTES);
    const explained = `Certificate:\n    Data:\n${good}`;
    assert.throws(() => decodePem(explained), Malformed);
    assert.equal(decodePem(explained, { explanatoryText: true }).length, 1);
    assert.throws(() => decodePem(`----BEGIN X-----\n${good}`, { explanatoryText: true }), Malformed);
    assert.throws(() => decodePem(`${good}more\n`, { explanatoryText: true }), Malformed);
  });
});

describe('OpenPGP armor', () => {
  it('reads back what it writes', () => {
    fc.assert(
      fc.property(fc.constantFrom('SIGNATURE', 'PUBLIC KEY BLOCK'), content, (name, bytes) => {
        const decoded = decodeArmor(encodeArmor(name, bytes));
        assert.deepEqual([decoded.label, Uint8Array.from(decoded.bytes)], [name, bytes]);
      }),
    );
  });

  it('agrees with gpg', () => {
    const armored = execFileSync('gpg', ['--batch', '--no-options', '--enarmor'], {
      input: BYTES,
      encoding: 'utf8',
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    const decoded = decodeArmor(armored);
    assert.deepEqual(Buffer.from(decoded.bytes), BYTES);
    assert.equal(decoded.headers[0]?.[0], 'Comment');
    const dearmored = execFileSync('gpg', ['--batch', '--no-options', '--dearmor'], {
      input: encodeArmor('ARMORED FILE', BYTES),
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    assert.deepEqual(dearmored, BYTES);
  });

  it('refuses text cut at any length', () => {
    const text = encodeArmor('SIGNATURE', BYTES);
    for (let length = 0; length < text.length; length++) {
      assert.throws(() => decodeArmor(text.slice(0, length)), Malformed, `cut at ${length}`);
    }
  });

  it('checks a CRC-24 where there is one, and takes armor without', () => {
    const text = encodeArmor('SIGNATURE', BYTES);
    const without = text.replace(/^=.{4}\n/m, '');
    assert.deepEqual(Buffer.from(decodeArmor(without).bytes), BYTES);
    const wrong = text.replace(/^=.{4}$/m, (crc) => (crc === '=AAAA' ? '=BBBB' : '=AAAA'));
    assert.throws(() => decodeArmor(wrong), /CRC-24/);
  });

  it('refuses what is not exactly one armored object', () => {
    const good = encodeArmor('SIGNATURE', BYTES);
    const bad: Record<string, string> = {
      'two objects': good + good,
      'text before': `hello\n${good}`,
      'text after': `${good}hello\n`,
      'another end': good.replace('END PGP SIGNATURE', 'END PGP MESSAGE'),
      'a cleartext signature': good.replaceAll('SIGNATURE', 'SIGNED MESSAGE'),
      'no PGP': good.replaceAll('PGP ', ''),
      'no empty line': good.replace('\n\n', '\n'),
      'a header without value': good.replace('\n\n', '\nComment\n\n'),
      'a control character': good.replace('\n\n', '\nComment: \x1b[2J\n\n'),
      'too many headers': good.replace('\n\n', `\n${'Comment: x\n'.repeat(40)}\n`),
      'an overlong line': good.replace(/\n(.{64})\n/, '\n$1'),
      'a stray character': good.replace(/\n=/, ' \n='),
      'two checksums': good.replace(/(\n=.{4})\n/, '$1$1\n'),
    };
    for (const [what, text] of Object.entries(bad)) {
      assert.notEqual(text, good, what);
      assert.throws(() => decodeArmor(text), Malformed, what);
    }
  });
});
