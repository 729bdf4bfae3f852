import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { decodeDhcp } from '../../../src/formats/net/dhcp.ts';
import { DHCP_OPTION } from '../../../src/formats/net/dhcp-options.ts';
import { decodeIpPrefix } from '../../../src/formats/net/ip-address.ts';
import type { DhcpClientKind } from '../../../src/release/server-event.ts';
import { dhcpAnswer } from '../../../src/serve/dhcp/dhcp-answer.ts';
import { decideDhcp } from '../../../src/serve/dhcp/dhcp-decide.ts';
import type {
  DhcpArrival,
  DhcpInterface,
  DhcpLoader,
  DhcpTerms,
} from '../../../src/serve/dhcp/dhcp-types.ts';
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

const ETH0: DhcpInterface = { name: 'eth0', address: '10.89.0.1', network: decodeIpPrefix('10.89.0.0/24') };
const ETH1: DhcpInterface = { name: 'eth1', address: '10.90.0.1', network: decodeIpPrefix('10.90.0.0/24') };
const tftp = (path: string): DhcpLoader => ({ via: 'tftp', path });
const http = (path: string): DhcpLoader => ({ via: 'http', path });

const LOADERS = new Map<DhcpClientKind, DhcpLoader>([
  ['bootseal', http('boot.ipxe')],
  ['bootseal-arm64', http('entries/aarch64/boot.ipxe')],
  ['ipxe-bios', tftp('undionly.kpxe')],
  ['ipxe-x64', http('autoexec.ipxe')],
  ['ipxe-arm64', http('entries/aarch64/autoexec.ipxe')],
  ['ipxe', http('autoexec.ipxe')],
  ['bios', tftp('undionly.kpxe')],
  ['x64', tftp('ipxe.efi')],
  ['arm64', tftp('arm64.efi')],
  ['http-x64', http('ipxe.efi')],
  ['http-arm64', http('arm64.efi')],
  ['raspberry-pi', tftp('start4.elf')],
]);

const TERMS: DhcpTerms = {
  interfaces: [ETH0],
  relays: [decodeIpPrefix('10.20.0.1'), decodeIpPrefix('10.99.0.0/30')],
  networks: [decodeIpPrefix('10.20.0.0/16')],
  loaders: LOADERS,
  httpPort: 8080,
  tftpAtOnce: false,
  decide: () => 'boot',
};
const TO_ALL: DhcpArrival = { port: 'server', source: '0.0.0.0' };
const AT_4011: DhcpArrival = { port: 'boot-server', source: '10.89.0.117', to: '10.89.0.1' };

function decided(bytes: Buffer, arrival = TO_ALL, terms: Partial<DhcpTerms> = {}) {
  return decideDhcp(decodeDhcp(bytes), arrival, { ...TERMS, ...terms });
}

function silence(bytes: Buffer, arrival = TO_ALL, terms: Partial<DhcpTerms> = {}): string {
  const plan = decided(bytes, arrival, terms);
  return 'silent' in plan ? plan.silent : `answered with ${plan.loader.path}`;
}

/** An answer, as its fields and options say it; its options in order. */
function answered(bytes: Buffer, arrival = TO_ALL, terms: Partial<DhcpTerms> = {}, logServer = false) {
  const plan = decided(bytes, arrival, terms);
  assert.ok(!('silent' in plan), 'silent' in plan ? plan.silent : '');
  const [{ address }] = plan.interfaces as [DhcpInterface];
  const packet = decodeDhcp(bytes);
  const sent = dhcpAnswer(packet, plan, { address, httpPort: 8080, logServer, asked: bytes.length });
  assert.ok(sent);
  assert.ok(sent.length <= Math.max(300, bytes.length), `${sent.length} for ${bytes.length}`);
  const { options, ...fields } = decodeDhcp(sent);
  // What every answer has.
  assert.deepEqual([fields.op, fields.xid, fields.hops, fields.secs], [2, packet.xid, 0, 0]);
  assert.equal(Buffer.compare(fields.chaddr, packet.chaddr), 0);
  assert.deepEqual([fields.yiaddr, fields.siaddr, fields.sname], ['0.0.0.0', address, address]);
  return {
    kind: plan.client.kind,
    file: fields.file,
    fields,
    options: Object.fromEntries(
      [...options].map(([code, value]) => [
        code,
        [DHCP_OPTION.vendorClass, DHCP_OPTION.bootfileName].some((each) => each === code)
          ? Buffer.from(value).toString('latin1')
          : Buffer.from(value).toString('hex'),
      ]),
    ),
  };
}

const OFFER = { 53: '02', 54: '0a590001', 60: 'PXEClient', 97: SENT_UUID };
const IPXE = { ...OFFER, 175: '010101', 224: '00001f90' };
const AUTOEXEC = 'http://10.89.0.1:8080/autoexec.ipxe';

describe('what each kind of client is offered', () => {
  const rows: readonly [string, Buffer, DhcpClientKind, string, Record<number, string>][] = [
    ['a BIOS ROM that is iPXE', ipxeRom(), 'ipxe-bios', 'undionly.kpxe', IPXE],
    ['iPXE that this ROM loaded', chainedIpxe(), 'ipxe', AUTOEXEC, IPXE],
    ['iPXE for UEFI', ipxeEfi(), 'ipxe-x64', AUTOEXEC, IPXE],
    [
      'iPXE with a script of ours',
      chainedIpxe({}, 'bootseal'),
      'bootseal',
      'http://10.89.0.1:8080/boot.ipxe',
      IPXE,
    ],
    [
      'the same, as RFC 3004 writes it, for UEFI',
      ipxeEfi({}, '\x08bootseal'),
      'bootseal',
      'http://10.89.0.1:8080/boot.ipxe',
      IPXE,
    ],
    ['a PXE BIOS', firmwarePxe(0), 'bios', 'undionly.kpxe', { ...OFFER, 43: '060108ff' }],
    ['UEFI x64', firmwarePxe(7), 'x64', 'ipxe.efi', OFFER],
    ['UEFI x64 that says 9', firmwarePxe(9), 'x64', 'ipxe.efi', OFFER],
    ['UEFI arm64', firmwarePxe(11), 'arm64', 'arm64.efi', OFFER],
    [
      'UEFI HTTP Boot x64',
      firmwareHttp(16),
      'http-x64',
      'http://10.89.0.1:8080/ipxe.efi',
      { ...OFFER, 60: 'HTTPClient', 67: 'http://10.89.0.1:8080/ipxe.efi' },
    ],
    [
      'UEFI HTTP Boot arm64',
      firmwareHttp(19),
      'http-arm64',
      'http://10.89.0.1:8080/arm64.efi',
      { ...OFFER, 60: 'HTTPClient', 67: 'http://10.89.0.1:8080/arm64.efi' },
    ],
  ];
  for (const [name, bytes, kind, file, options] of rows) {
    it(name, () => {
      const answer = answered(bytes);
      assert.deepEqual([answer.kind, answer.file], [kind, file]);
      assert.deepEqual(answer.options, options);
      assert.equal(answer.fields.broadcast, decodeDhcp(bytes).broadcast);
    });
  }

  it('iPXE alone is told to send its lines here, where they are heard', () => {
    for (const [name, bytes, , , options] of rows) {
      const { 7: logServer, ...others } = answered(bytes, TO_ALL, {}, true).options;
      assert.deepEqual([logServer, others], [options === IPXE ? '0a590001' : undefined, options], name);
    }
  });

  it('a Raspberry Pi, by its architecture or by its address, unless its firmware says more', () => {
    const menu = `0914000011${Buffer.from('Raspberry Pi Boot').toString('hex')}0a0400505845ff`;
    for (const bytes of [firmwarePxe(41), firmwarePxe(0, { mac: 'dc:a6:32:00:00:01' })]) {
      const answer = answered(bytes);
      assert.deepEqual([answer.kind, answer.file, answer.options[43]], ['raspberry-pi', 'start4.elf', menu]);
    }
    assert.equal(answered(firmwarePxe(11, { mac: 'dc:a6:32:00:00:01' })).kind, 'arm64');
  });

  it('a machine of several architectures: the first that is known', () => {
    const said = Buffer.from('PXEClient').toString('hex');
    const several = sentPacket({}, `350101 3c09${said} 5d06 ffff 000b 0007`);
    assert.equal(answered(several).kind, 'arm64');
  });

  it('a machine without a UUID', () => {
    const said = Buffer.from('PXEClient').toString('hex');
    const answer = answered(sentPacket({}, `350101 3c09${said} 5d020007`));
    assert.equal(answer.options[97], undefined);
  });

  it('says what a machine is to whoever decides, and spares UEFI its second question where that says so', () => {
    const told: unknown[] = [];
    const answer = answered(firmwarePxe(7), TO_ALL, {
      decide(client) {
        told.push(client);
        return { boot: true, tftpAtOnce: true };
      },
    });
    assert.equal(answer.options[43], '060108ff');
    assert.deepEqual(told, [
      {
        ...{ kind: 'x64', mac: '52:54:00:89:00:03', architectures: [7], vendorClass: 'PXEClient' },
        ...{ uuid: UUID, uuidAsSent: '44332211-6655-8877-99aa-bbccddeeff00' },
      },
    ]);
    const all = { tftpAtOnce: true };
    assert.equal(answered(firmwarePxe(7), TO_ALL, all).options[43], '060108ff');
    const back = { ...all, decide: () => ({ boot: true, tftpAtOnce: false }) as const };
    assert.equal(answered(firmwarePxe(7), TO_ALL, back).options[43], undefined);
    // It is for firmware that asks by PXE.
    assert.equal(answered(firmwareHttp(16), TO_ALL, all).options[43], undefined);
    assert.equal(answered(ipxeEfi(), TO_ALL, all).options[43], undefined);
  });

  it('on each interface its own address', () => {
    const plan = decided(ipxeRom(), TO_ALL, { interfaces: [ETH0, ETH1] });
    assert.ok(!('silent' in plan));
    assert.deepEqual(plan.interfaces, [ETH0, ETH1]);
    const near = decided(ipxeRom(), { ...TO_ALL, source: '10.90.0.7' }, { interfaces: [ETH0, ETH1] });
    assert.deepEqual('silent' in near ? near.silent : near.interfaces, [ETH1]);
  });
});

describe('at port 4011', () => {
  it('UEFI gets the same file', () => {
    const answer = answered(firmwareAt4011(), AT_4011);
    assert.equal(answer.file, 'ipxe.efi');
    assert.deepEqual(answer.options, { ...OFFER, 53: '05' });
    assert.equal(answer.fields.ciaddr, '10.89.0.117');
  });

  it('any architecture is answered', () => {
    assert.deepEqual(answered(firmwareAt4011(0), AT_4011).options, { ...OFFER, 53: '05' });
  });

  it('what was chosen from a menu is repeated', () => {
    const from = { ...AT_4011, source: '10.89.0.115' };
    const answer = answered(ipxeAt4011({ item: '80010000' }, { xid: 0 }), from);
    assert.equal(answer.options[43], '470480010000ff');
    assert.equal(answer.fields.xid, 0);
    assert.equal(silence(ipxeAt4011({ item: '8001' }), from), 'malformed');
  });

  it('a question for us is answered, one for another server is not', () => {
    const from = { ...AT_4011, source: '10.89.0.115' };
    assert.equal(answered(ipxeAt4011({ server: '10.89.0.1' }), from).file, 'undionly.kpxe');
    assert.equal(silence(ipxeAt4011({ server: '10.89.0.2' }), from), 'for-another');
  });

  it('from the networks that are configured, and under the address that the client has', () => {
    const far = firmwareAt4011(7, { ciaddr: '10.20.3.4' });
    assert.equal(answered(far, { ...AT_4011, source: '10.20.3.4' }).file, 'ipxe.efi');
    for (const [ciaddr, source] of [
      ['10.21.3.4', '10.21.3.4'],
      ['10.89.0.117', '10.89.0.118'],
      ['0.0.0.0', '10.89.0.117'],
      ['0.0.0.0', '0.0.0.0'],
    ] as const) {
      assert.equal(silence(firmwareAt4011(7, { ciaddr }), { ...AT_4011, source }), 'from-elsewhere');
    }
    assert.equal(silence(firmwareAt4011(7, { giaddr: '10.20.0.1' }), AT_4011), 'from-elsewhere');
    assert.equal(silence(firmwareAt4011(), { ...AT_4011, to: '10.89.0.9' }), 'from-elsewhere');
  });

  it('a DISCOVER is for port 67, and a REQUEST there is for the DHCP server', () => {
    assert.equal(silence(firmwarePxe(), AT_4011), 'not-a-request');
    assert.equal(silence(firmwareAt4011()), 'not-a-request');
  });

  it('HTTP clients have no business there', () => {
    const class60 = Buffer.from('HTTPClient').toString('hex');
    const asks = sentPacket({ ciaddr: '10.89.0.117' }, `350103 3c0a${class60} 5d020010`);
    assert.equal(silence(asks, AT_4011), 'not-pxe');
  });
});

describe('through a relay', () => {
  const relayed = (giaddr: string, hops = 1) => firmwarePxe(7, { giaddr, hops, broadcast: false });
  const from = (source: string): DhcpArrival => ({ port: 'server', source, to: '10.89.0.1' });

  it('one that is configured', () => {
    const answer = answered(relayed('10.20.0.1'), from('10.20.0.1'));
    assert.deepEqual([answer.fields.giaddr, answer.fields.broadcast], ['10.20.0.1', true]);
    // A relay may send from another of its addresses, which is configured, too.
    const other = decided(relayed('10.99.0.1', 16), from('10.99.0.2'));
    assert.equal('silent' in other ? other.silent : other.relay, '10.99.0.1');
  });

  it('nobody else, no loop, and not too many', () => {
    for (const [packet, source] of [
      [relayed('10.66.0.1'), '10.66.0.1'],
      [relayed('10.20.0.1'), '10.66.0.1'],
      [relayed('10.66.0.1'), '10.20.0.1'],
      [relayed('10.20.0.1', 17), '10.20.0.1'],
      [relayed('10.89.0.1'), '10.89.0.1'],
    ] as const) {
      assert.equal(silence(packet, from(source)), 'unknown-relay');
    }
    const own = [...TERMS.relays, decodeIpPrefix('10.89.0.1')];
    assert.equal(silence(relayed('10.89.0.1'), from('10.89.0.1'), { relays: own }), 'unknown-relay');
    assert.equal(silence(relayed('10.20.0.1'), { port: 'server', source: '10.20.0.1' }), 'unknown-relay');
    assert.equal(silence(relayed('10.20.0.1'), from('10.20.0.1'), { relays: [] }), 'unknown-relay');
  });

  it('hops without a relay are somebody’s lie', () => {
    assert.equal(silence(firmwarePxe(7, { hops: 1 })), 'from-elsewhere');
  });
});

describe('silence', () => {
  const class60 = Buffer.from('PXEClient').toString('hex');
  it('to whoever does not boot from the network', () => {
    assert.equal(silence(bareDiscover()), 'not-pxe');
    assert.equal(silence(sentPacket({}, `350101 3c09${class60}`)), 'not-pxe');
    assert.equal(silence(sentPacket({}, '350101 5d020007')), 'not-pxe');
    assert.equal(silence(sentPacket({}, '350101 3c084d5346542035 2e30 5d020007')), 'not-pxe');
  });

  it('to replies, and to what is no question', () => {
    const asks = `3c09${class60} 5d020007`;
    assert.equal(silence(firmwarePxe(7, { op: 2 })), 'not-a-request');
    for (const type of ['02', '03', '04', '05', '06', '07', '08', '00', 'ff'])
      assert.equal(silence(sentPacket({}, `3501${type} ${asks}`)), 'not-a-request', type);
    assert.equal(silence(sentPacket({}, asks)), 'not-a-request');
    assert.equal(silence(sentPacket({}, `3501 02 ${asks}`)), 'not-a-request');
  });

  it('to what is no card', () => {
    assert.equal(silence(firmwarePxe(7, { htype: 6 })), 'not-ethernet');
    assert.equal(silence(firmwarePxe(7, { hlen: 8 })), 'not-ethernet');
    assert.equal(silence(firmwarePxe(7, { mac: '00:00:00:00:00:00' })), 'not-ethernet');
    assert.equal(silence(firmwarePxe(7, { mac: '01:00:5e:00:00:01' })), 'not-ethernet');
    assert.equal(silence(firmwarePxe(7, { mac: 'ff:ff:ff:ff:ff:ff' })), 'not-ethernet');
  });

  it('to machines and kinds for which there is nothing', () => {
    assert.equal(silence(firmwarePxe(6)), 'no-loader');
    assert.equal(silence(firmwarePxe(31)), 'unknown-kind');
    assert.equal(silence(firmwareHttp(7)), 'unknown-kind');
    const loaders = new Map<DhcpClientKind, DhcpLoader | 'no-tftp'>([...LOADERS, ['x64', 'no-tftp']]);
    assert.equal(silence(firmwarePxe(7), TO_ALL, { loaders }), 'no-tftp');
    for (const reason of ['local', 'blocked', 'not-enrolled'] as const)
      assert.equal(silence(firmwarePxe(7), TO_ALL, { decide: () => ({ silent: reason }) }), reason);
  });

  it('to what comes from elsewhere', () => {
    assert.equal(silence(firmwarePxe(7), { port: 'server', source: '192.0.2.1' }), 'from-elsewhere');
    assert.equal(silence(firmwarePxe(7), TO_ALL, { interfaces: [] }), 'from-elsewhere');
  });

  it('to classes that are longer than any ROM’s', () => {
    const long = sentPacket({}, `350101 3c41${class60}${'41'.repeat(56)} 5d020007`);
    assert.equal(silence(long), 'malformed');
    assert.equal(
      silence(sentPacket({}, `350101 3c09${class60} 4d41${'41'.repeat(65)} 5d020007`)),
      'malformed',
    );
  });

  it('where the answer would be larger than the question', () => {
    const small = sentPacket({}, `350101 3c0a${Buffer.from('HTTPClient').toString('hex')} 5d020010`);
    const plan = decided(small, TO_ALL, { loaders: new Map([['http-x64', http('a'.repeat(60))]]) });
    assert.ok(!('silent' in plan));
    const place = { address: '10.89.0.1', httpPort: 8080 };
    assert.equal(dhcpAnswer(decodeDhcp(small), plan, { ...place, asked: small.length }), undefined);
    assert.equal(dhcpAnswer(decodeDhcp(small), plan, { ...place, asked: 400 })?.length, 346);
    const long = { ...plan, loader: http('a'.repeat(110)) };
    assert.equal(dhcpAnswer(decodeDhcp(small), long, { ...place, asked: 1000 }), undefined);
  });
});
