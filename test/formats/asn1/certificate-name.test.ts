import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { calledOf } from '../../../src/formats/asn1/certificate-name.ts';

const raw = Buffer.from('a certificate');
const called = (commonName: string, subject: string) =>
  calledOf({ commonName, subject: Buffer.from(subject, 'hex'), raw });
const DIGEST = `SHA-256 ${createHash('sha256').update(raw).digest('hex')}`;
/** Of one attribute: its type, then its value. */
const O_X = '300c310a3008060355040a0c0178';
const BMP_CN = '300d310b3009060355 04031e020064'.replace(' ', '');

describe('what a certificate is called', () => {
  it('is its common name', () => assert.equal(called('db.lab', O_X), 'db.lab'));

  it('is all of its name where the common one is missing or cannot be shown', () => {
    for (const name of ['', ' ', 'a\0b', 'gr\ufffdn']) assert.equal(called(name, O_X), 'O=x');
    assert.equal(called('\0d', BMP_CN), 'CN=#1E020064');
  });

  it('is its digest where there is no name, or none that can be read', () => {
    for (const subject of ['3000', '3102', '300c310a', '']) assert.equal(called('', subject), DIGEST);
  });
});
