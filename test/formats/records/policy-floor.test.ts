import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  decodePolicyFloor,
  encodePolicyFloor,
  type PolicyFloor,
  REQUIRED_CHECKS,
} from '../../../src/formats/records/policy-floor.ts';
import { demandFlipsHandled, malformed } from '../strict.ts';

const GOLDEN = `bootseal-policy 1
name arch
min-serial 2026110100
grace-days 7
require manifest
require checksum
require openpgp
require cms
`;
const VALUE: PolicyFloor = {
  name: 'arch',
  minSerial: 2026110100,
  graceDays: 7,
  require: ['manifest', 'checksum', 'openpgp', 'cms'],
};

const decode = (text: string): PolicyFloor => decodePolicyFloor(Buffer.from(text, 'latin1'));
const encode = (floor: PolicyFloor): string => Buffer.from(encodePolicyFloor(floor)).toString('latin1');

describe('a policy floor', () => {
  it('is these bytes and means these values', () => {
    assert.deepEqual(decode(GOLDEN), VALUE);
    assert.equal(encode(VALUE), GOLDEN);
  });

  it('may name no release and require nothing', () => {
    const least: PolicyFloor = { name: undefined, minSerial: 0, graceDays: 0, require: [] };
    assert.equal(encode(least), 'bootseal-policy 1\nmin-serial 0\ngrace-days 0\n');
    assert.deepEqual(decode(encode(least)), least);
  });

  it('may name a mode, what to fall back to, and that it hands over', () => {
    const text = `${GOLDEN}mode verity\nfallback ram\nhand-over yes\n`;
    const floor: PolicyFloor = { ...VALUE, mode: 'verity', fallback: 'ram', handOver: true };
    assert.deepEqual(decode(text), floor);
    assert.equal(encode(floor), text);
  });

  it('may say when it was issued, and whom to ask the time', () => {
    const text = GOLDEN.replace('days 7\n', 'days 7\nissued 2026-11-01T00:00:00Z\nntp time.example.org\n');
    const floor: PolicyFloor = { ...VALUE, issued: Date.UTC(2026, 10, 1), ntp: 'time.example.org' };
    assert.deepEqual(decode(text), floor);
    assert.equal(encode(floor), text);
  });

  it('has one spelling: what is read is written again byte for byte', () => {
    const floors = fc.record(
      {
        name: fc.option(fc.stringMatching(/^[a-z0-9][A-Za-z0-9._+-]{0,20}$/), { nil: undefined }),
        minSerial: fc.integer({ min: 0, max: 999_999_999_999_999 }),
        graceDays: fc.integer({ min: 0, max: 366 }),
        require: fc.subarray([...REQUIRED_CHECKS]),
        issued: fc.integer({ min: 0, max: 4_000_000_000 }).map((seconds) => seconds * 1000),
        ntp: fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6()),
      },
      { noNullPrototype: true, requiredKeys: ['name', 'minSerial', 'graceDays', 'require'] },
    );
    fc.assert(
      fc.property(floors, (floor) => {
        assert.deepEqual(decode(encode(floor)), floor);
      }),
    );
  });

  it('is refused cut anywhere but after a line that may be the last', () => {
    const whole: number[] = [];
    for (let length = 0; length < GOLDEN.length; length++) {
      try {
        decode(GOLDEN.slice(0, length));
        whole.push(length);
      } catch (error) {
        assert.ok(malformed(/./)(error), String(error));
      }
    }
    assert.ok(whole.every((length) => GOLDEN[length - 1] === '\n'));
    assert.equal(whole.length, 4);
  });

  it('never breaks its reader with a byte changed', () => {
    assert.ok(demandFlipsHandled(decodePolicyFloor, Buffer.from(GOLDEN)) > GOLDEN.length);
  });

  const vectors: Readonly<Record<string, [string, RegExp]>> = {
    'falls back from mode ram': [`${GOLDEN}mode ram\nfallback ram\n`, /a fallback from no mode verity/],
    'falls back from no mode': [`${GOLDEN}fallback ram\n`, /a fallback from no mode verity/],
    'falls back to what there is not': [`${GOLDEN}mode verity\nfallback nfs\n`, /unknown line/],
    'falls back before it names its mode': [`${GOLDEN}fallback ram\nmode verity\n`, /unknown line/],
    'falls back after it hands over': [
      `${GOLDEN}mode verity\nhand-over yes\nfallback ram\n`,
      /a fallback from no mode verity/,
    ],
    'is empty': ['', /no newline at the end/],
    'lacks its last newline': [GOLDEN.slice(0, -1), /no newline at the end/],
    'has an empty line at its end': [`${GOLDEN}\n`, /unknown line/],
    'has carriage returns': [GOLDEN.replaceAll('\n', '\r\n'), /the first line is not/],
    'has another version': [GOLDEN.replace('policy 1', 'policy 2'), /the first line is not/],
    'has a name that climbs': [GOLDEN.replace('name arch', 'name ..'), /name/],
    'has a name with a slash': [GOLDEN.replace('name arch', 'name arch/2026'), /name/],
    'has an empty name': [GOLDEN.replace('name arch', 'name '), /name/],
    'has two names': [
      GOLDEN.replace('name arch', 'name arch\nname school'),
      /"min-serial NUMBER" belongs here/,
    ],
    'has no serial': [GOLDEN.replace(/min-serial.*\n/, ''), /"min-serial NUMBER" belongs here/],
    'has a serial with a leading zero': [GOLDEN.replace('2026110100', '02026'), /"min-serial NUMBER"/],
    'has a serial of 16 digits': [GOLDEN.replace('2026110100', '1'.repeat(16)), /"min-serial NUMBER"/],
    'has a negative grace': [GOLDEN.replace('days 7', 'days -7'), /"grace-days NUMBER" belongs here/],
    'has a grace of more than a year': [GOLDEN.replace('days 7', 'days 367'), /grace-days over 366/],
    'has no grace': [GOLDEN.replace(/grace-days.*\n/, ''), /"grace-days NUMBER" belongs here/],
    'requires what nobody knows': [`${GOLDEN}require luck\n`, /unknown line "require luck"/],
    'requires one check twice': [`${GOLDEN}require cms\n`, /require cms repeated or out of order/],
    'requires in another order': [
      GOLDEN.replace('require openpgp\nrequire cms', 'require cms\nrequire openpgp'),
      /require openpgp repeated or out of order/,
    ],
    'has a blank at the end of a line': [GOLDEN.replace('cms\n', 'cms \n'), /unknown line/],
    'is over 4096 bytes': [GOLDEN.padEnd(4097, '\n'), /4097 bytes, more than 4096/],
  };
  for (const [what, [text, reason]] of Object.entries(vectors)) {
    it(`is refused when it ${what}`, () => {
      assert.throws(() => decode(text), malformed(reason));
    });
  }

  it('is never written in a form that would not be read', () => {
    assert.throws(() => encodePolicyFloor({ ...VALUE, name: 'a b' }), malformed(/name/));
    assert.throws(() => encodePolicyFloor({ ...VALUE, graceDays: 1000 }), malformed(/grace-days/));
    assert.throws(() => encodePolicyFloor({ ...VALUE, minSerial: -1 }), malformed(/min-serial/));
    assert.throws(() => encodePolicyFloor({ ...VALUE, require: ['cms', 'openpgp'] }), malformed(/order/));
    assert.throws(() => encodePolicyFloor({ ...VALUE, ntp: '-l' }), malformed(/ntp is no host/));
    assert.throws(() => encodePolicyFloor({ ...VALUE, ntp: 'a\nmode ram' }), malformed(/unknown line/));
  });
});
