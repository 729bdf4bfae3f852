import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { IoError } from '../../src/errors/io.ts';
import { Malformed } from '../../src/errors/malformed.ts';
import { Refusal } from '../../src/errors/refusal.ts';
import { UsageError } from '../../src/errors/usage.ts';
import { DHCP_MESSAGE, decodeDhcp, encodeDhcp } from '../../src/formats/net/dhcp.ts';
import { judgeClock } from '../../src/operations/doctor/clock.ts';
import { judgeDhcp } from '../../src/operations/doctor/dhcp.ts';
import { decodeOffer, encodeDiscover, type LanOffer } from '../../src/operations/doctor/dhcp-offer.ts';
import { judgeDisk } from '../../src/operations/doctor/disk.ts';
import type { Finding } from '../../src/operations/doctor/finding.ts';
import { look } from '../../src/operations/doctor/look.ts';
import { judgePorts, type PortFacts } from '../../src/operations/doctor/ports.ts';
import { judgeProgram } from '../../src/operations/doctor/program.ts';
import { judgeServer } from '../../src/operations/doctor/server.ts';

/** What a test cannot plant on any machine, by the facts alone. */
const codes = (findings: readonly Finding[]) =>
  findings.map(({ state, code }) => [state, code].filter(Boolean).join(' '));

describe('doctor judges facts', () => {
  it('of a disk: what the next release needs, and file systems that do not lock', () => {
    const GIB = 1024 ** 3;
    const disk = {
      path: '/s',
      free: 9 * GIB,
      freeInodes: 1e6,
      largestRelease: 0,
      remote: undefined,
      readOnly: false,
    };
    assert.deepEqual(codes(judgeDisk(disk)), ['ok']);
    assert.deepEqual(codes(judgeDisk({ ...disk, free: GIB - 1 })), ['fault disk-full']);
    assert.deepEqual(codes(judgeDisk({ ...disk, free: 2 * GIB - 1 })), ['warning disk-low']);
    assert.deepEqual(codes(judgeDisk({ ...disk, free: 2 * GIB })), ['ok']);
    assert.deepEqual(codes(judgeDisk({ ...disk, largestRelease: 10 * GIB })), ['fault disk-full']);
    assert.deepEqual(codes(judgeDisk({ ...disk, largestRelease: 5 * GIB })), ['warning disk-low']);
    assert.deepEqual(codes(judgeDisk({ ...disk, remote: 'NFS' })), ['fault no-locks']);
    assert.deepEqual(codes(judgeDisk({ ...disk, freeInodes: undefined })), ['ok']);
    assert.deepEqual(codes(judgeDisk({ ...disk, freeInodes: 1000 })), ['warning few-inodes']);
  });

  it('of a program: an older Node.js, the limit of open files', () => {
    const program = { node: '20.19.0', wanted: '20.19', descriptors: 1 << 20, missing: new Set<string>() };
    assert.deepEqual(codes(judgeProgram(program)), ['ok', 'ok', 'ok']);
    for (const node of ['20.18.9', '18.20.0', '9.99.9'])
      assert.equal(codes(judgeProgram({ ...program, node }))[0], 'fault old-node', node);
    for (const node of ['20.20.0', '22.0.0', '100.1.0'])
      assert.equal(codes(judgeProgram({ ...program, node }))[0], 'ok', node);
    assert.equal(codes(judgeProgram({ ...program, descriptors: 1024 }))[1], 'warning few-descriptors');
    assert.equal(codes(judgeProgram({ ...program, descriptors: undefined }))[1], 'ok');
  });

  it('of a clock: nobody keeps it right, or nobody can tell', () => {
    const now = Date.UTC(2026, 10, 1);
    const signed = [
      { what: 'arch/2026.11.01', at: now - 1 },
      { what: 'the snapshot of stable', at: now + 30_000 },
    ];
    // Two clocks that are both kept right differ by so much.
    assert.deepEqual(codes(judgeClock({ now, signed, synchronised: true })), ['ok']);
    assert.deepEqual(codes(judgeClock({ now, signed, synchronised: false })), ['ok', 'warning clock-alone']);
    assert.deepEqual(codes(judgeClock({ now: now - 60_000, signed, synchronised: undefined })), [
      'fault clock-behind',
      'not-checked',
    ]);
  });

  it('of ports: ours, somebody’s whom only root is told of, an address that is not here', () => {
    const port: PortFacts = {
      ...{ what: 'HTTP', transport: 'tcp', address: '10.0.0.1', port: 80 },
      ...{ code: undefined, holder: undefined, isOurs: false },
    };
    const taken = { ...port, code: 'EADDRINUSE' };
    assert.deepEqual(codes(judgePorts([port])), ['ok']);
    assert.deepEqual(codes(judgePorts([taken])), ['fault port-taken']);
    assert.deepEqual(codes(judgePorts([{ ...taken, holder: { pid: 7, name: 'node' }, isOurs: true }])), [
      'ok',
    ]);
    assert.deepEqual(codes(judgePorts([{ ...port, code: 'EACCES' }])), ['fault port-privileged']);
    assert.deepEqual(codes(judgePorts([{ ...port, code: 'EADDRNOTAVAIL' }])), ['not-checked']);
  });

  it('of a server: what it warns of, line by line', () => {
    const said = (status: number, text: string) => ({
      url: 'http://10.0.0.1',
      health: { status: 200, text: 'ok\n' },
      ready: { status, text },
    });
    assert.deepEqual(codes(judgeServer(said(200, 'ready\n'))), ['ok']);
    const warned = judgeServer(said(200, 'ready\nwarning: one\nwarning: two\n'));
    assert.deepEqual(codes(warned), ['warning server-warns', 'warning server-warns']);
    assert.deepEqual(
      warned.map(({ found }) => found),
      ['the server says: one', 'the server says: two'],
    );
    assert.deepEqual(codes(judgeServer(said(503, 'stale: it ended.\n'))), ['fault not-ready']);
    assert.deepEqual(codes(judgeServer({ ...said(200, 'ready\n'), health: { status: 200, text: 'OK' } })), [
      'fault not-ours',
    ]);
  });

  it('of offers: ours beside a DHCP server that names a boot file, ours in silence', () => {
    const giver: LanOffer = {
      ...{ server: '10.0.0.2', network: '10.0.0.0/24', file: '', nextServer: '10.0.0.2', noProxy: false },
    };
    const own: LanOffer = {
      ...giver,
      server: '10.0.0.1',
      network: undefined,
      file: 'ipxe.efi',
      nextServer: '10.0.0.1',
    };
    const lan = {
      ...{ interface: 'eth0', address: '10.0.0.1', ownAddresses: new Set(['10.0.0.1']), unreadable: [] },
      ...{ offers: [giver, own], weRun: true, waited: 5 },
    };
    assert.deepEqual(codes(judgeDhcp(lan)), ['ok', 'ok']);
    const named = { ...giver, file: 'pxelinux.0' };
    assert.deepEqual(codes(judgeDhcp({ ...lan, offers: [named, own] })), ['warning dhcp-boots', 'ok']);
    // As "dhcp-config" has it.
    const ours = { ...named, nextServer: '10.0.0.1' };
    assert.deepEqual(codes(judgeDhcp({ ...lan, offers: [ours], weRun: false })), ['ok']);
    assert.deepEqual(codes(judgeDhcp({ ...lan, offers: [giver] })), ['warning we-are-silent']);
    // An address of ours, and nothing of ours that runs.
    assert.deepEqual(codes(judgeDhcp({ ...lan, weRun: false })), ['fault other-proxy']);
    assert.deepEqual(codes(judgeDhcp({ ...lan, unreadable: ['10.0.0.7'] })), ['warning odd-dhcp', 'ok']);
  });
});

describe('doctor’s question over DHCP', () => {
  const mac = '52:54:00:12:34:56';
  const question = decodeDhcp(encodeDiscover(mac, 7));
  const answer = (more: Partial<typeof question>, options: readonly (readonly [number, Uint8Array])[] = []) =>
    encodeDhcp({
      ...question,
      op: 2,
      options: new Map([[53, Buffer.of(DHCP_MESSAGE.offer)], [54, Buffer.of(10, 0, 0, 2)], ...options]),
      ...more,
    });

  it('is heard in offers to itself alone', () => {
    assert.deepEqual(
      decodeOffer(answer({ yiaddr: '10.0.0.77' }, [[1, Buffer.of(255, 255, 254, 0)]]), 7, '10.0.0.9'),
      {
        ...{ server: '10.0.0.2', network: '10.0.0.0/23', file: '', nextServer: '10.0.0.2', noProxy: false },
      },
    );
    assert.equal(decodeOffer(answer({ xid: 8 }), 7, '10.0.0.9'), undefined);
    assert.equal(decodeOffer(answer({ op: 1 }), 7, '10.0.0.9'), undefined);
    assert.equal(decodeOffer(answer({}, [[53, Buffer.of(DHCP_MESSAGE.ack)]]), 7, '10.0.0.9'), undefined);
    assert.equal(decodeOffer(answer({}, [[175, Buffer.of(176, 1, 1)]]), 7, '10.0.0.9')?.noProxy, true);
    assert.equal(decodeOffer(answer({}, [[175, Buffer.of(176)]]), 7, '10.0.0.9')?.noProxy, false);
    assert.throws(() => decodeOffer(Buffer.alloc(100), 7, '10.0.0.9'), Malformed);
  });
});

describe('doctor tells what it could not look at from what is wrong', () => {
  const of = (error: unknown) =>
    look(
      'state',
      () => {
        throw error;
      },
      'Mend it.',
    );

  it('a verdict and a mistake are faults, a disk is neither, and our own fault is thrown', async () => {
    assert.deepEqual(codes(await of(new Refusal('drifted', 'x was changed.'))), ['fault drifted']);
    assert.deepEqual(codes(await of(new UsageError('x is none.'))), ['fault mistake']);
    const [unlooked] = await of(new IoError('x cannot be read: EIO.', 'x', 'EIO'));
    assert.deepEqual([unlooked?.state, unlooked?.couldNotLook], ['not-checked', true]);
    await assert.rejects(of(new TypeError('x')), TypeError);
  });
});
