import { join } from 'node:path';
import { serveByCli } from '../../lab/cli.ts';
import { run } from '../../lab/command.ts';
import { CARD } from '../../lab/host.ts';
import { createLan, LAN_ADDRESS, type Lan } from '../../lab/lan.ts';
import { createLossyHost } from '../../lab/lossy-host.ts';
import { startDnsmasqTftp, startTftpdHpa } from '../../lab/tftp-servers.ts';
import { type Compared, compare, type Sample, seconds } from '../frame/compare.ts';
import { processorTime } from '../frame/process.ts';
import { type SealedSite, sealedSite, startProduct } from '../frame/product.ts';
import type { Part, PartContext } from '../frame/row.ts';

/** What most PXE ROMs ask for: it fits an Ethernet frame. */
const BLKSIZE = '1428';
/** Addresses of their own, since each of them wants port 69. */
const DNSMASQ = '127.0.0.69';
const HPA = '127.0.0.70';
const HOST = '10.77.0.2';
/** Seconds. */
const DELAY = 0.0002;

/** Large files over TFTP. Ours verified before, and compares the identity of the file before the last block leaves. */
export const part: Part = {
  name: 'tftp',
  packages: [
    { packageName: 'tftpd-hpa', needs: ['in.tftpd'] },
    { packageName: 'atftp', needs: ['atftp'] },
  ],
  rows: [
    {
      name: 'tftp/one-client',
      job: 'TFTP, blocks of 1428 bytes one at a time, one client (curl)',
      against: 'the faster of dnsmasq and tftpd-hpa',
      unit: 'times',
      goal: { atLeast: 1 },
      limit:
        'Node’s datagram sockets. Three quarters of the time are the kernel’s. A bare loop on such a socket, which sends a file out of memory and does nothing else, took as much processor time a block as dnsmasq with several clients, and more with one: each datagram costs a second recvmsg that finds nothing, a buffer of 64 KiB, and the objects that tell whose it is. The socket of a long transfer is connected, which made a datagram cheaper; a smaller young generation changed nothing.',
    },
    {
      name: 'tftp/eight-clients',
      job: 'TFTP, eight clients at once',
      against: 'the faster of dnsmasq and tftpd-hpa',
      unit: 'times',
      goal: { atLeast: 1 },
      limit:
        'All transfers are one thread’s, and it is busy without a pause, with what a block costs for one client. tftpd-hpa has a process for each transfer, which two processors share with the clients. Several threads were not tried: a datagram socket cannot be handed from one to another, and admission, pins and events must stay one.',
    },
    {
      name: 'tftp/window',
      job: 'TFTP, sixteen blocks at a time (atftp), over a network that takes 0.2 ms either way',
      against: 'tftpd-hpa, which knows no windows',
      unit: 'times',
      goal: { atLeast: 4 },
    },
    {
      name: 'tftp/window-loopback',
      job: 'the same over loopback, where one block at a time costs no waiting',
      against: 'tftpd-hpa, which knows no windows',
      unit: 'times',
    },
  ],
  async run(context) {
    const { folder, quick, say } = context;
    const megabytes = quick ? 1 : 40;
    say(`seals ${megabytes} MB`);
    const site = await sealedSite(folder, megabytes);
    await overLoopback(context, site, megabytes);
    await overNetwork(context, quick ? 1 : 8);
  },
};

async function overLoopback({ rounds, say, tell }: PartContext, site: SealedSite, megabytes: number) {
  const ours = await startProduct(['--tree', site.tree, '--anchors', site.anchors]);
  const peers = [await startDnsmasqTftp(site.tree, DNSMASQ), await startTftpdHpa(site.tree, HPA)];
  try {
    const path = { ours: `releases/${site.release}/${site.rootfs}`, peers: site.rootfs };
    for (const [row, clients] of [
      ['tftp/one-client', 1],
      ['tftp/eight-clients', 8],
    ] as const) {
      say(`${clients} client(s)`);
      const job =
        (url: string, pid = 0) =>
        async (): Promise<Sample> => {
          const before = pid && (await processorTime(pid));
          const took = await seconds(() => Promise.all(Array.from({ length: clients }, () => curl(url))));
          return { seconds: took, processor: pid && (await processorTime(pid)) - before };
        };
      const sides = {
        ours: job(`tftp://127.0.0.1:${ours.tftpPort}/${path.ours}`, ours.pid),
        dnsmasq: job(`tftp://${DNSMASQ}/${path.peers}`, peers[0]?.child.pid),
        hpa: job(`tftp://${HPA}/${path.peers}`),
      };
      const compared = await compare(sides, { rounds });
      const rate = (side: keyof typeof sides) =>
        `${Math.round((clients * megabytes) / compared.seconds(side))} MB/s`;
      const micros = (side: 'ours' | 'dnsmasq') =>
        `${((compared.processor(side) * 1428) / (clients * megabytes)).toFixed(1)} µs a block`;
      tell(row, {
        values: behindTheFaster(compared),
        ours: `${rate('ours')}, ${micros('ours')}`,
        peer: `dnsmasq ${rate('dnsmasq')}, ${micros('dnsmasq')}; tftpd-hpa ${rate('hpa')}`,
      });
    }
    say('windows over loopback');
    const window = (port: number, address: string, path: string) => () =>
      seconds(() => run('atftp', atftp(address, port, path)));
    const compared = await compare(
      { ours: window(ours.tftpPort, '127.0.0.1', path.ours), hpa: window(69, HPA, path.peers) },
      { rounds },
    );
    tell('tftp/window-loopback', rates(compared, megabytes));
  } finally {
    await ours.stop();
    for (const peer of peers) await peer.stop();
  }
}

/** A machine behind a network as slow as one of a few switches: what windows are for. */
async function overNetwork({ folder, rounds, say, tell }: PartContext, megabytes: number) {
  say('windows over a network');
  const site = await sealedSite(join(folder, 'network'), megabytes);
  const lan = await createLan();
  let host: Lan | undefined;
  try {
    host = await createLossyHost(lan, 0, DELAY);
    await run('ip', ['-n', host.name, 'addr', 'add', `${HOST}/24`, 'dev', CARD]);
    const client = host;
    const fetch = (port: number, path: string) => () =>
      seconds(async () => {
        const { status, stderr } = await client.execute('atftp', atftp(LAN_ADDRESS, port, path));
        if (status !== 0) throw new Error(`atftp ended with ${status}: ${stderr}`);
      });
    await serveByCli(lan, [
      ...['--tree', site.tree, '--anchors', site.anchors, '--bind', LAN_ADDRESS],
      ...['--tftp-port', '6969', '--no-nbd'],
    ]);
    await startTftpdHpa(site.tree, LAN_ADDRESS, lan);
    const compared = await compare(
      { ours: fetch(6969, `releases/${site.release}/${site.rootfs}`), hpa: fetch(69, site.rootfs) },
      { rounds },
    );
    tell('tftp/window', rates(compared, megabytes));
  } finally {
    await host?.close();
    await lan.close();
  }
}

/** Round by round, beside whichever peer was faster in that round. */
function behindTheFaster(compared: Compared<'ours' | 'dnsmasq' | 'hpa'>): readonly number[] {
  const hpa = compared.faster('hpa');
  return compared.faster('dnsmasq').map((ratio, round) => Math.min(ratio, hpa[round] ?? ratio));
}

function rates(compared: Compared<'ours' | 'hpa'>, megabytes: number) {
  const rate = (side: 'ours' | 'hpa') => `${(megabytes / compared.seconds(side)).toFixed(1)} MB/s`;
  return { values: compared.faster('hpa'), ours: rate('ours'), peer: rate('hpa') };
}

async function curl(url: string): Promise<void> {
  await run('curl', ['-sSf', '--tftp-blksize', BLKSIZE, '-o', '/dev/null', url]);
}

function atftp(address: string, port: number, path: string): readonly string[] {
  const options = ['--option', 'windowsize 16', '--option', `blksize ${BLKSIZE}`];
  return [...options, '-g', '-r', path, '-l', '/dev/null', address, String(port)];
}
