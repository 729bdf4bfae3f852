import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Malformed } from '../../../src/errors/malformed.ts';
import { type DhcpPacket, decodeDhcp, encodeDhcp } from '../../../src/formats/net/dhcp.ts';
import {
  DHCP_OPTION,
  decodeEncapsulated,
  encodeEncapsulated,
} from '../../../src/formats/net/dhcp-options.ts';
import {
  bootItem,
  clientArchitectures,
  dhcpText,
  encodeArchitectures,
  encodeMachineUuid,
  encodeUserClasses,
  IPXE_PRIORITY,
  machineUuid,
  messageType,
  TFTP_AT_ONCE,
  userClasses,
} from '../../../src/formats/net/dhcp-values.ts';
import {
  bareDiscover,
  chainedIpxe,
  firmwareAt4011,
  firmwareHttp,
  firmwarePxe,
  ipxeAt4011,
  ipxeEfi,
  ipxeRom,
  SENT_UUID,
  sentPacket,
  UUID,
} from '../../fixtures/dhcp-clients.ts';

const CLIENTS: readonly (readonly [string, Buffer])[] = [
  ['a ROM that is iPXE', ipxeRom()],
  ['iPXE under undionly.kpxe', chainedIpxe()],
  ['iPXE for UEFI', ipxeEfi()],
  ['UEFI by PXE', firmwarePxe()],
  ['UEFI by HTTP', firmwareHttp()],
  ['GRUB', bareDiscover()],
  ['UEFI at 4011', firmwareAt4011()],
  ['iPXE at 4011', ipxeAt4011({ item: '80010000' })],
];

const plain = (packet: DhcpPacket): unknown => ({
  ...packet,
  chaddr: Buffer.from(packet.chaddr).toString('hex'),
  options: [...packet.options].map(([code, value]) => [code, Buffer.from(value).toString('hex')]),
});

function refused(bytes: Uint8Array, says: RegExp): void {
  assert.throws(
    () => decodeDhcp(bytes),
    (error) => error instanceof Malformed && says.test(error.message),
  );
}

describe('DHCP messages', () => {
  it('reads what an iPXE ROM sends', () => {
    const packet = decodeDhcp(ipxeRom());
    const { op, htype, hlen, hops, xid, secs, broadcast, ciaddr, giaddr, options } = packet;
    assert.deepEqual([op, htype, hlen, hops, xid, secs, broadcast], [1, 1, 6, 0, 0x142bf131, 4, false]);
    assert.deepEqual([ciaddr, giaddr, packet.sname, packet.file], ['0.0.0.0', '0.0.0.0', '', '']);
    assert.equal(Buffer.from(packet.chaddr).toString('hex', 0, 6), '525400890002');
    assert.deepEqual([...options.keys()], [53, 57, 93, 94, 60, 77, 55, 175, 61, 97]);
    assert.equal(messageType(options), 1);
    assert.deepEqual(clientArchitectures(options), [0]);
    assert.equal(
      dhcpText(options.get(DHCP_OPTION.vendorClass) ?? Buffer.of()),
      'PXEClient:Arch:00000:UNDI:002001',
    );
    assert.deepEqual(userClasses(options), ['iPXE']);
    assert.deepEqual(machineUuid(options), { uuid: UUID, asSent: '44332211-6655-8877-99aa-bbccddeeff00' });
    const ipxe = decodeEncapsulated(options.get(DHCP_OPTION.ipxe) ?? Buffer.of());
    assert.equal(Buffer.from(ipxe.get(177) ?? []).toString('hex'), '018086100e');
    assert.deepEqual([...(ipxe.get(19) ?? [])], [1]);
  });

  it('reads what UEFI sends, broadcast flag and all', () => {
    const packet = decodeDhcp(firmwarePxe(9));
    assert.equal(packet.broadcast, true);
    assert.deepEqual(clientArchitectures(packet.options), [9]);
    assert.equal(packet.options.get(DHCP_OPTION.parameterRequest)?.length, 35);
    assert.equal(decodeDhcp(firmwareAt4011()).ciaddr, '10.89.0.117');
  });

  for (const [name, sent] of CLIENTS) {
    it(`writes what it read of ${name}`, () => {
      const packet = decodeDhcp(sent);
      assert.deepEqual(plain(decodeDhcp(encodeDhcp(packet))), plain(packet));
      // Padding apart, to the byte.
      const written = encodeDhcp(packet);
      const end = Math.min(written.length, sent.length);
      assert.equal(written.toString('hex', 0, end), sent.toString('hex', 0, end));
    });

    it(`refuses ${name} cut at each length before its end of options`, () => {
      const end = sent.lastIndexOf(255);
      for (let length = 0; length <= end; length += 1) {
        assert.throws(() => decodeDhcp(sent.subarray(0, length)), Malformed, String(length));
      }
      assert.doesNotThrow(() => decodeDhcp(sent.subarray(0, end + 1)));
    });
  }

  it('writes an offer to the byte', () => {
    const options = new Map<number, Uint8Array>([
      [53, Buffer.of(2)],
      [54, Buffer.of(10, 89, 0, 1)],
      [60, Buffer.from('PXEClient')],
      [97, Buffer.from(SENT_UUID, 'hex')],
      [175, IPXE_PRIORITY],
      [224, Buffer.of(0, 0, 0x1f, 0x90)],
    ]);
    const packet = decodeDhcp(ipxeRom());
    const written = encodeDhcp({
      ...packet,
      op: 2,
      secs: 0,
      siaddr: '10.89.0.1',
      sname: '10.89.0.1',
      file: 'http://10.89.0.1:8080/t.ipxe',
      options,
    });
    const expected = sentPacket(
      {
        op: 2,
        siaddr: '10.89.0.1',
        sname: Buffer.from('10.89.0.1'),
        file: Buffer.from('http://10.89.0.1:8080/t.ipxe'),
        length: 300,
      },
      `350102 36040a590001 3c09${Buffer.from('PXEClient').toString('hex')} 6111${SENT_UUID}
       af03010101 e00400001f90`,
    );
    assert.equal(written.toString('hex'), expected.toString('hex'));
  });

  it('refuses what is no DHCP message', () => {
    const sent = ipxeRom();
    const bootp = Buffer.from(sent);
    bootp.fill(0, 236, 240);
    refused(bootp, /no magic cookie/);
    refused(Buffer.concat([sent], 1473), /more than 1472/);
    refused(sentPacket({ hlen: 17 }, '350101'), /hardware address/);
    refused(sent.subarray(0, 239), /fewer than 240/);
    assert.doesNotThrow(() => decodeDhcp(Buffer.concat([sent], 1472)));
  });

  it('refuses lengths past the end of a field', () => {
    refused(sentPacket({}, '350101 3cff5058'), /option 60 goes past the end/);
    refused(sentPacket({}, '350101').subarray(0, 242), /goes past the end/);
    const cut = Buffer.concat([sentPacket({}, '350101').subarray(0, 243), Buffer.of(60)]);
    refused(cut, /option 60 without a length/);
    refused(sentPacket({}, '350101').subarray(0, 243), /without an end/);
  });

  it('refuses known options of another length, and carries unknown ones over', () => {
    for (const option of [
      ...['350101 350101', '35020101', '3500', '3603000000', '3600', '36050000000000', '5d0100', '5d00'],
      ...['5d03000000', `5d22${'0000'.repeat(17)}`, '5e020103', '5e0401020304', '6110 00'.padEnd(37, '0')],
      ...['3c00', '4d00', '3d0101', '2b00', 'af00', '3701', '390105', '3203000000', 'e0021f90', '520101'],
    ]) {
      const packet = sentPacket({}, option.startsWith('35') ? option : `350101${option}`);
      assert.throws(() => decodeDhcp(packet), Malformed, option);
    }
    const { options } = decodeDhcp(sentPacket({}, '350101 cb02abcd e100 0000 fe01ff'));
    assert.deepEqual(
      [...options].map(([code, value]) => [code, Buffer.from(value).toString('hex')]),
      [
        [53, '01'],
        [203, 'abcd'],
        [225, ''],
        [254, 'ff'],
      ],
    );
    // A ROM without a UUID says so in either way.
    assert.doesNotThrow(() => decodeDhcp(sentPacket({}, '350101 6100')));
  });

  it('joins the pieces of an option, and writes long ones in pieces', () => {
    const { options } = decodeDhcp(sentPacket({}, '3c035058 45 3c06436c69656e74 350101'));
    assert.equal(dhcpText(options.get(60) ?? Buffer.of()), 'PXEClient');
    const long = Buffer.alloc(600, 7);
    const packet = decodeDhcp(bareDiscover());
    const written = encodeDhcp({ ...packet, options: new Map([...packet.options, [203, long]]) });
    assert.deepEqual(Buffer.from(decodeDhcp(written).options.get(203) ?? []), long);
  });

  it('reads options in file and sname where 52 says so, each once', () => {
    const file = Buffer.from('3c0950584543 6c69656e74ff'.replace(/\s/g, ''), 'hex');
    const sname = Buffer.from('5d020007ff', 'hex');
    const both = decodeDhcp(sentPacket({ file, sname }, '350101 340103'));
    assert.deepEqual([...both.options.keys()], [53, 60, 93]);
    assert.deepEqual([both.file, both.sname], ['', '']);
    const one = decodeDhcp(sentPacket({ file, sname: Buffer.from('host') }, '350101 340101'));
    assert.deepEqual([[...one.options.keys()], one.sname], [[53, 60], 'host']);
    assert.deepEqual(plain(decodeDhcp(encodeDhcp(both))), plain(both));
    // In this order, whatever the fields stand in (RFC 3396).
    const split = decodeDhcp(
      sentPacket(
        { file: Buffer.from('cb0102ff', 'hex'), sname: Buffer.from('cb0103ff', 'hex') },
        '350101 cb0101 340103',
      ),
    );
    assert.equal(Buffer.from(split.options.get(203) ?? []).toString('hex'), '010203');
  });

  it('refuses overloads that lie, nest, or never end', () => {
    const nested = Buffer.from('340102ff', 'hex');
    for (const [fields, options] of [
      [{}, '350101 340100'],
      [{}, '350101 340104'],
      [{}, '350101 3400'],
      [{}, '350101 340101 340102'],
      [{ file: nested }, '350101 340101'],
      [{ sname: Buffer.from('340101ff', 'hex') }, '350101 340102'],
      [{ file: Buffer.alloc(128, 0) }, '350101 340101'],
      [{ file: Buffer.from('3cff', 'hex') }, '350101 340101'],
      [{ sname: Buffer.concat([Buffer.alloc(63), Buffer.of(60)]) }, '350101 340102'],
    ] as const) {
      assert.throws(
        () => decodeDhcp(sentPacket(fields, options)),
        Malformed,
        JSON.stringify([fields, options]),
      );
    }
  });

  it('writes nothing that it could not read', () => {
    const packet = decodeDhcp(bareDiscover());
    const long = 'a'.repeat(128);
    for (const change of [
      { file: long },
      { sname: 'a'.repeat(64) },
      { file: 'a\nb' },
      { options: new Map([[0, Buffer.of(1)]]) },
      { options: new Map([[255, Buffer.of(1)]]) },
      { options: new Map([[52, Buffer.of(1)]]) },
      { options: new Map([[203, Buffer.alloc(1300)]]) },
      { chaddr: Buffer.alloc(6) },
    ]) {
      assert.throws(() => encodeDhcp({ ...packet, ...change }), RangeError);
    }
  });
});

describe('values of DHCP options', () => {
  const options = (code: number, hex: string) =>
    new Map([[code, Buffer.from(hex.replace(/\s/g, ''), 'hex')]]);

  it('reads user classes as iPXE and as RFC 3004 writes them', () => {
    for (const [hex, classes] of [
      [Buffer.from('iPXE').toString('hex'), ['iPXE']],
      [Buffer.from('bootseal').toString('hex'), ['bootseal']],
      ['0469505845', ['iPXE']],
      ['0469505845 08626f6f747365616c', ['iPXE', 'bootseal']],
      ['0469505845 09626f6f747365616c', ['\x04iPXE\tbootseal']],
      ['00', ['']],
    ] as const) {
      assert.deepEqual(userClasses(options(77, hex)), classes);
    }
    assert.deepEqual(userClasses(new Map()), []);
    fc.assert(
      fc.property(fc.array(fc.stringMatching(/^[ -~]{1,40}$/), { minLength: 1, maxLength: 5 }), (classes) => {
        const value = encodeUserClasses(classes);
        assert.deepEqual(userClasses(new Map([[77, value]])), classes);
      }),
    );
    assert.throws(() => encodeUserClasses(['']), RangeError);
  });

  it('reads several architectures', () => {
    assert.deepEqual(clientArchitectures(options(93, '0007 0009 0010')), [7, 9, 16]);
    assert.deepEqual(clientArchitectures(new Map([[93, encodeArchitectures([0, 65535])]])), [0, 65535]);
    assert.deepEqual(clientArchitectures(new Map()), []);
  });

  it('reads the UUID in both orders, and none where it is nobody’s', () => {
    assert.deepEqual(machineUuid(options(97, SENT_UUID))?.uuid, UUID);
    assert.equal(encodeMachineUuid(UUID).toString('hex'), SENT_UUID);
    for (const none of [`00${'00'.repeat(16)}`, `00${'ff'.repeat(16)}`, `01${'11'.repeat(16)}`, '']) {
      assert.equal(machineUuid(options(97, none)), undefined);
    }
    assert.throws(() => encodeMachineUuid(UUID.toUpperCase()), RangeError);
  });

  it('reads sub-options, with an end and without', () => {
    assert.equal(Buffer.from(TFTP_AT_ONCE).toString('hex'), '060108ff');
    assert.equal(Buffer.from(IPXE_PRIORITY).toString('hex'), '010101');
    assert.deepEqual([...decodeEncapsulated(Buffer.from('0601080000ff99', 'hex'))], [[6, Buffer.of(8)]]);
    assert.equal(Buffer.from(bootItem(options(43, '470480010000ff')) ?? []).toString('hex'), '80010000');
    assert.equal(bootItem(options(43, '060108ff')), undefined);
    for (const hex of ['0602', '06', '060108060108', '0605ff']) {
      assert.throws(() => decodeEncapsulated(Buffer.from(hex, 'hex')), Malformed, hex);
    }
    assert.throws(() => bootItem(options(43, '47028001')), Malformed);
    assert.throws(() => encodeEncapsulated(new Map([[9, Buffer.alloc(256)]]), true), RangeError);
  });
});

describe('any bytes', () => {
  it('are a message that is written and read again, or Malformed, and nothing else', () => {
    const garbled = fc
      .tuple(
        fc.constantFrom(...CLIENTS.map(([, sent]) => sent)),
        fc.array(fc.tuple(fc.nat(400), fc.integer({ min: 0, max: 255 })), { maxLength: 6 }),
        fc.option(fc.nat(400)),
      )
      .map(([sent, changes, length]) => {
        const bytes = Buffer.from(sent);
        for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
        return length === null ? bytes : bytes.subarray(0, length);
      });
    fc.assert(
      fc.property(fc.oneof(garbled, fc.uint8Array({ maxLength: 1600 })), (bytes) => {
        let packet: DhcpPacket;
        try {
          packet = decodeDhcp(bytes);
        } catch (error) {
          assert.ok(error instanceof Malformed, String(error));
          return;
        }
        const again = { ...packet, sname: '', file: '' };
        assert.deepEqual(plain(decodeDhcp(encodeDhcp(again))), plain(again));
      }),
      { numRuns: 2000 },
    );
  });
});
