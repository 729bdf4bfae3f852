import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  type Arming,
  type Consumption,
  decodeArming,
  decodeConsumption,
  encodeArming,
  encodeConsumption,
  WAYS_CONSUMED,
} from '../../../src/formats/records/armed-boot.ts';
import { armedFolder, armedPathOf } from '../../../src/formats/records/armed-folder.ts';

const TIME = Date.UTC(2026, 10, 1, 10);
const HOUR = 3_600_000;
const ARMING: Arming = {
  id: '0123456789abcdef',
  mac: '52:54:00:12:34:56',
  uuid: '564d0000-0000-0000-0000-000000000001',
  loader: 'ipxe',
  release: 'debian/2026.11.01',
  manifest: 'a'.repeat(64),
  script: 'b'.repeat(64),
  words: ['bootseal.once=0123456789abcdef', 'hostname=lab-1'],
  armed: TIME,
  ends: TIME + 4 * HOUR,
  by: 'uid 1000',
  afterwards: 'local',
  leaves: undefined,
};
const TEXT = `bootseal-arming 1
id 0123456789abcdef
mac 52:54:00:12:34:56
uuid 564d0000-0000-0000-0000-000000000001
loader ipxe
release debian/2026.11.01
manifest ${'a'.repeat(64)}
script ${'b'.repeat(64)}
words bootseal.once=0123456789abcdef hostname=lab-1
armed 2026-11-01T10:00:00Z
ends 2026-11-01T14:00:00Z
by uid 1000
then local
proof report
`;
const COUNTED: Arming = { ...ARMING, uuid: undefined, words: [], leaves: ['vmlinuz', 'boot/initrd.img'] };

describe('an arming', () => {
  it('is written in one way', () => {
    assert.equal(Buffer.from(encodeArming(ARMING)).toString(), TEXT);
    for (const arming of [ARMING, COUNTED]) assert.deepEqual(decodeArming(encodeArming(arming)), arming);
    assert.match(
      Buffer.from(encodeArming(COUNTED)).toString(),
      /\nproof files\nleaves vmlinuz\nleaves boot\/initrd\.img\n$/,
    );
  });

  it('is read whole, or not at all', () => {
    for (let length = 0; length < TEXT.length; length += 1)
      assert.throws(() => decodeArming(Buffer.from(TEXT.slice(0, length))), { name: 'Malformed' });
    for (const [from, to] of [
      ['id 0123456789abcdef', 'id 0123456789ABCDEF'],
      ['52:54:00:12:34:56', '52-54-00-12-34-56'],
      ['52:54:00:12:34:56', '01:54:00:12:34:56'],
      ['uuid 564d', 'uuid 564D'],
      ['loader ipxe', 'loader uki'],
      ['words ', 'words  '],
      ['hostname=lab-1', 'hostname=$(id)'],
      ['T14:00:00Z', 'T10:00:00Z'],
      ['ends 2026-11-01T14:00:00Z', 'ends 2026-11-02T10:00:01Z'],
      ['then local', 'then again'],
      ['proof report', 'proof none'],
      ['proof report', 'proof files'],
      ['proof report', 'proof report\nleaves vmlinuz'],
      ['proof report', 'proof files\nleaves ../vmlinuz'],
      ['proof report', 'proof files\nleaves vmlinuz\nleaves vmlinuz'],
      ['bootseal-arming 1', 'bootseal-arming 2'],
      ['by uid 1000\n', ''],
      ['then local\n', 'then local\nthen local\n'],
    ] as const) {
      assert.ok(TEXT.includes(from), from);
      assert.throws(() => decodeArming(Buffer.from(TEXT.replace(from, to))), { name: 'Malformed' }, to);
    }
    assert.throws(() => encodeArming({ ...ARMING, by: 'uid 1\nthen usual' }), { name: 'Malformed' });
    assert.throws(() => encodeArming({ ...ARMING, ends: TIME + 24 * HOUR + 1000 }), { name: 'Malformed' });
  });
});

describe('a consumption', () => {
  it('is written in one way, and read whole or not at all', () => {
    const whole: Consumption = {
      id: ARMING.id,
      how: 'report',
      time: TIME,
      address: '::ffff:10.0.0.15',
      nonce: 'c'.repeat(64),
    };
    const text = Buffer.from(encodeConsumption(whole)).toString();
    assert.equal(
      text,
      `bootseal-consumption 1\nid 0123456789abcdef\nhow report\ntime 2026-11-01T10:00:00Z\naddress ::ffff:10.0.0.15\nnonce ${'c'.repeat(64)}\n`,
    );
    assert.deepEqual(decodeConsumption(Buffer.from(text)), whole);
    for (const how of WAYS_CONSUMED) {
      const bare = { id: ARMING.id, how, time: TIME, address: undefined, nonce: undefined };
      assert.deepEqual(decodeConsumption(encodeConsumption(bare)), bare);
    }
    for (const wrong of [
      text.replace('report', 'armed'),
      text.replace('10.0.0.15', '10.0.0.15 x'),
      `${text}id x\n`,
      text.slice(0, -1),
    ])
      assert.throws(() => decodeConsumption(Buffer.from(wrong)), { name: 'Malformed' });
  });
});

it('the folder of an arming says which machine and which arming, and nothing else does', () => {
  const path = `/${armedFolder(ARMING.mac, ARMING.id)}/releases/debian/2026.11.01/vmlinuz`;
  assert.equal(path, '/armed/52-54-00-12-34-56/0123456789abcdef/releases/debian/2026.11.01/vmlinuz');
  const { mac, id } = ARMING;
  assert.deepEqual(armedPathOf(path), { mac, id, rest: '/releases/debian/2026.11.01/vmlinuz' });
  for (const other of [
    path.slice(1),
    path.replaceAll('-', ':'),
    path.replace('52-54', '53-54'),
    path.replace('abcdef', 'ABCDEF'),
    path.replace('/armed', '/x/armed'),
    '/armed/52-54-00-12-34-56/0123456789abcdef',
    '/armed/52-54-00-12-34-56/0123456789abcdef/',
  ])
    assert.equal(armedPathOf(other), undefined, other);
});
