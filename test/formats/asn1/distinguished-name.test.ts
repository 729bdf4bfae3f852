import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { der, derOid, derSequence, derSetOf, TAG } from '../../../src/formats/asn1/der.ts';
import { canonicalName, nameText } from '../../../src/formats/asn1/distinguished-name.ts';
import { CertificateMaker } from '../../fixtures/certificates.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { demandCutsRefused, demandFlipsHandled, demandNothingAfter, malformed } from '../strict.ts';

const attribute = (oid: string, text: string | Uint8Array, tag: number = TAG.utf8String) =>
  derSequence(derOid(oid), der(tag, Buffer.from(text)));
const name = (...sets: Uint8Array[][]) => derSequence(...sets.map((set) => derSetOf(...set)));
const [CN, O] = ['2.5.4.3', '2.5.4.10'];

describe('the name of a certificate', async () => {
  const maker = new CertificateMaker(await temporaryFolder());
  for (const [subject, commonName] of [
    ['', 'boot.lab'],
    ['/O=Gymnasium Köln', 'release, a+b "c" <d>; e=f'],
    ['/O=# hash', ' blanks '],
    ['/O=back\\\\slash', 'arch\\/2026.11.01'],
  ] as const) {
    it(`${JSON.stringify(subject + commonName)} is written as openssl writes it`, () => {
      const { path, certificate } = maker.make({ subject, commonName });
      const flags = ['-noout', '-subject', '-nameopt', 'RFC2253,-esc_msb'];
      const said = execFileSync('openssl', ['x509', '-in', path, ...flags], { encoding: 'utf8' });
      assert.equal(`subject=${nameText(certificate.subject)}\n`, said);
    });
  }

  it('is one with another where OpenSSL says so', () => {
    const of = (text: string | Uint8Array, tag?: number) => canonicalName(name([attribute(CN, text, tag)]));
    const one = of('Own CA');
    const utf16 = Buffer.from('own CA', 'utf16le').swap16();
    for (const other of [
      of('Own CA', 0x13),
      of('own ca', 0x16),
      of('  OWN \t CA '),
      of('Own CA', 20),
      of(utf16, 30),
    ]) {
      assert.equal(other, one);
    }
    for (const other of [
      of('OwnCA'),
      of('Own CB'),
      of('Own CA', 4),
      of('Own CA', 30),
      of(Uint8Array.of(0xff)),
    ]) {
      assert.notEqual(other, one);
    }
    assert.notEqual(of('ä'), of('Ä'));
    assert.notEqual(
      canonicalName(name([attribute(CN, 'a')], [attribute(O, 'b')])),
      canonicalName(name([attribute(O, 'b')], [attribute(CN, 'a')])),
    );
    demandFlipsHandled(canonicalName, name([attribute(CN, 'a')]));
  });

  it('shows the last part first, and several attributes of one part together', () => {
    const both = name([attribute(O, 'A')], [attribute(CN, 'B'), attribute('2.5.4.11', 'C')]);
    assert.equal(nameText(both), 'CN=B+OU=C,O=A');
    assert.equal(nameText(name()), '');
  });

  it('shows what it does not know, and what is no text, as hexadecimal', () => {
    assert.equal(nameText(name([attribute('1.2.3.4', 'hi')])), '1.2.3.4=#0C026869');
    assert.equal(nameText(name([attribute(CN, Uint8Array.of(0xff))])), 'CN=#0C01FF');
    assert.equal(nameText(name([attribute(CN, 'hi', 0x1e)])), 'CN=#1E026869');
  });

  it('shows control characters as hexadecimal', () => {
    assert.equal(nameText(name([attribute(CN, 'a\x1b[2J\n\x7f')])), 'CN=a\\1B[2J\\0A\\7F');
  });

  it('is read strictly', () => {
    const golden = name([attribute(O, 'A')], [attribute(CN, 'B')]);
    demandCutsRefused(nameText, golden);
    demandNothingAfter(nameText, golden);
    assert.ok(demandFlipsHandled(nameText, golden) > 20);
    assert.throws(() => nameText(name([])), malformed(/no attribute/));
  });
});
