import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { Malformed } from '../../../src/errors/malformed.ts';
import { decodePkcs11Uri, encodePkcs11Path } from '../../../src/formats/asn1/pkcs11-uri.ts';
import { malformed } from '../strict.ts';

/** What a URI says, as text; `id` in hexadecimal digits. */
function said(text: string): Record<string, string> {
  const { path, query } = decodePkcs11Uri(text);
  return Object.fromEntries(
    [...path, ...query].map(([name, value]) => [
      name,
      Buffer.from(value).toString(name === 'id' ? 'hex' : 'utf8'),
    ]),
  );
}

/** RFC 7512 §3, but for the one with vendors' attributes. */
const examples: readonly [string, Record<string, string>][] = [
  ['pkcs11:', {}],
  ['pkcs11:object=my-pubkey;type=public', { object: 'my-pubkey', type: 'public' }],
  [
    'pkcs11:object=my-key;type=private?pin-source=file:/etc/token',
    { object: 'my-key', type: 'private', 'pin-source': 'file:/etc/token' },
  ],
  [
    'pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;' +
      'object=my-certificate;type=cert;id=%69%95%3E%5C%F4%BD%EC%91;serial=?pin-source=file:/etc/token_pin',
    {
      token: 'The Software PKCS#11 Softtoken',
      manufacturer: 'Snake Oil, Inc.',
      model: '1.0',
      object: 'my-certificate',
      type: 'cert',
      id: '69953e5cf4bdec91',
      serial: '',
      'pin-source': 'file:/etc/token_pin',
    },
  ],
  [
    'pkcs11:object=my-sign-key;type=private?module-name=mypkcs11',
    { object: 'my-sign-key', type: 'private', 'module-name': 'mypkcs11' },
  ],
  [
    'pkcs11:object=my-sign-key;type=private?module-path=/mnt/libmypkcs11.so.1',
    { object: 'my-sign-key', type: 'private', 'module-path': '/mnt/libmypkcs11.so.1' },
  ],
  [
    'pkcs11:token=Software%20PKCS%2311%20softtoken;manufacturer=Snake%20Oil,%20Inc.?pin-value=the-pin',
    { token: 'Software PKCS#11 softtoken', manufacturer: 'Snake Oil, Inc.', 'pin-value': 'the-pin' },
  ],
  ['pkcs11:slot-description=Sun%20Metaslot', { 'slot-description': 'Sun Metaslot' }],
  [
    'pkcs11:library-manufacturer=Snake%20Oil,%20Inc.;library-description=Soft%20Token%20Library;library-version=1.23',
    {
      'library-manufacturer': 'Snake Oil, Inc.',
      'library-description': 'Soft Token Library',
      'library-version': '1.23',
    },
  ],
  [
    'pkcs11:token=Software%20PKCS%2311%20softtoken?pin-source=|/usr/lib/pinomatic',
    { token: 'Software PKCS#11 softtoken', 'pin-source': '|/usr/lib/pinomatic' },
  ],
  [
    'pkcs11:token=My%20token%25%20created%20by%20Joe;library-version=3;id=%01%02%03%Ba%dd%Ca%fe%04%05%06',
    { token: 'My token% created by Joe', 'library-version': '3', id: '010203baddcafe040506' },
  ],
  [
    'pkcs11:token=A%20name%20with%20a%20substring%20%25%3B;object=my-certificate;type=cert',
    { token: 'A name with a substring %;', object: 'my-certificate', type: 'cert' },
  ],
  [
    'pkcs11:token=Name%20with%20a%20small%20A%20with%20acute:%20%C3%A1;object=my-certificate;type=cert',
    { token: 'Name with a small A with acute: á', object: 'my-certificate', type: 'cert' },
  ],
];
for (const [uri, expected] of examples) {
  it(`${uri} is read`, () => {
    assert.deepEqual(said(uri), expected);
  });
}

const bad: readonly [string, RegExp][] = [
  ['', /does not begin/],
  ['pkcs12:token=a', /does not begin/],
  ['token=a;object=b', /does not begin/],
  ['pkcs11:token=a;', /none of token/],
  ['pkcs11:token', /none of token/],
  ['pkcs11:=a', /none of token/],
  ['pkcs11:Token=a', /none of token/],
  ['pkcs11:label=a', /none of token/],
  ['pkcs11:vendor-aaa=value-a', /none of token/],
  ['pkcs11:token=a;pin-value=1234', /none of token/],
  ['pkcs11:token=a?object=b', /none of pin-source/],
  ['pkcs11:token=a?pin-source=a;object=b', /percent-encoded/],
  ['pkcs11:token=a;token=a', /token twice/],
  ['pkcs11:token=a?pin-source=a&pin-source=b', /pin-source twice/],
  ['pkcs11:token=a b', /percent-encoded/],
  ['pkcs11:token=a/b', /percent-encoded/],
  ['pkcs11:token=a#b', /percent-encoded/],
  ['pkcs11:token=á', /percent-encoded/],
  ['pkcs11:token=a%2', /percent-encoded/],
  ['pkcs11:token=a%zz', /percent-encoded/],
  ['pkcs11:token=a\n', /percent-encoded/],
  ['pkcs11:token=a%00b', /control character/],
  ['pkcs11:token=a%1Bb', /control character/],
  ['pkcs11:token=%ff', /not UTF-8/],
  ['pkcs11:token=a;id=', /id is empty/],
  ['pkcs11:object=a;type=key', /unknown type/],
  ['pkcs11:slot-id=one', /no number/],
  ['pkcs11:library-version=1.2.3', /no version/],
  [`pkcs11:object=${'a'.repeat(2048)}`, /2062 characters/],
];
for (const [uri, fact] of bad) {
  it(`${JSON.stringify(uri.slice(0, 60))} is malformed`, () => {
    assert.throws(() => decodePkcs11Uri(uri), malformed(fact));
  });
}

it('no error repeats a PIN', () => {
  for (const tail of [
    '?pin-value=9876 54',
    '?pin-value=987654;x=1',
    '?pin-value=a&987654=b',
    ';pin-value=987654',
  ]) {
    assert.throws(
      () => decodePkcs11Uri(`pkcs11:token=a${tail}`),
      (error: unknown) => error instanceof Malformed && !/9876/.test(error.message),
    );
  }
});

it('what is shown leaves the query out, and has one spelling', () => {
  const { path } = decodePkcs11Uri('PKCS11:id=a%0A;object=x&y%3bz;token=s:1?pin-value=987654&module-path=/x');
  assert.equal(encodePkcs11Path(path), 'pkcs11:token=s%3A1;object=x%26y%3Bz;id=%61%0A');
});

it('paths come out as they went in', () => {
  const text = fc
    .string({ unit: 'grapheme', maxLength: 12 })
    .filter((value) => !/[\x00-\x1f\x7f-\x9f]/.test(value));
  fc.assert(
    fc.property(text, text, fc.uint8Array({ minLength: 1, maxLength: 20 }), (token, object, id) => {
      const path = new Map([
        ['token', Buffer.from(token)],
        ['object', Buffer.from(object)],
        ['id', Buffer.from(id)],
      ] as const);
      assert.deepEqual(said(encodePkcs11Path(path)), { token, object, id: Buffer.from(id).toString('hex') });
    }),
  );
});
