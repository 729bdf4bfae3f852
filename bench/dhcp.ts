/**
 * How long a machine waits for its answer over DHCP, with 10,000 machines known: beside dnsmasq as a ProxyDHCP server
 * in the same run, on a quiet LAN and while somebody floods it with invented MACs. An answer should leave within 50 ms.
 *
 *     node dist/bench/dhcp.js [QUESTIONS]
 *
 * Needs root: a LAN of its own, in namespaces.
 */
import { createSocket } from 'node:dgram';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createHost } from '../lab/host.ts';
import { createLan, type Lan } from '../lab/lan.ts';
import { waitForOutput } from '../lab/output.ts';
import { startProxyDhcp } from '../src/serve/dhcp/dhcp.ts';
import { firmwarePxe } from '../test/fixtures/dhcp-clients.ts';

const MACHINES = 10_000;
/** Invented MACs in a second. */
const FLOOD = 5_000;
/** Longer than the window in which one machine is answered only so often. */
const BETWEEN_ROUNDS_MS = 1_500;
const ROUNDS = 3;
const SELF = fileURLToPath(import.meta.url);

const [mode, word] = process.argv.slice(2);
if (mode === '--serve') await serve();
else if (mode === '--ask') await ask(Number(word));
else if (mode === '--flood') await flood();
else await main(Number(mode ?? 150));

function macOf(machine: number): string {
  return `52:54:00${Buffer.of(machine >> 16, machine >> 8, machine)
    .toString('hex')
    .replace(/../g, ':$&')}`;
}

/** The server half, in a process of its own, as dnsmasq is. */
async function serve(): Promise<void> {
  const known = new Map(Array.from({ length: MACHINES }, (_, machine) => [macOf(machine), 'boot' as const]));
  const loaders = new Map([['x64', { via: 'tftp', path: 'ipxe.efi' }]] as const);
  await startProxyDhcp({
    interfaces: ['br0'],
    loaders: () => loaders,
    httpPort: 8080,
    decide: ({ mac }) => known.get(mac) ?? { silent: 'not-enrolled' },
    isKnown: (mac) => known.has(mac),
    emit: () => {},
  });
  process.stdout.write('serving\n');
}

/** One question after the other, each of another machine; prints how long each waited, in milliseconds. */
async function ask(questions: number): Promise<void> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(68, '0.0.0.0', resolve));
  socket.setBroadcast(true);
  const waits: number[] = [];
  for (let question = 0; question < questions; question += 1) {
    const mac = macOf(Math.floor(Math.random() * MACHINES));
    const bytes = firmwarePxe(7, { mac, xid: question + 1 });
    const since = performance.now();
    await new Promise<void>((resolve) => {
      // Lost, or not answered: it asks again, and has waited all the while.
      const again = setInterval(() => socket.send(bytes, 67, '255.255.255.255'), 1000);
      const hear = (answer: Buffer): void => {
        if (
          answer.readUInt32BE(4) !== question + 1 ||
          answer.toString('hex', 28, 34) !== mac.replaceAll(':', '')
        )
          return;
        socket.off('message', hear);
        clearInterval(again);
        resolve();
      };
      socket.on('message', hear);
      socket.send(bytes, 67, '255.255.255.255');
    });
    waits.push(performance.now() - since);
  }
  socket.close();
  process.stdout.write(`waits ${JSON.stringify(waits)}\n`);
}

async function flood(): Promise<void> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(0, '0.0.0.0', resolve));
  socket.setBroadcast(true);
  let sent = 0;
  const since = performance.now();
  setInterval(() => {
    const due = ((performance.now() - since) * FLOOD) / 1000;
    for (; sent < due; sent += 1) {
      const mac = `52:54:01${Buffer.of(sent >> 16, sent >> 8, sent)
        .toString('hex')
        .replace(/../g, ':$&')}`;
      socket.send(firmwarePxe(7, { mac, xid: 0x4000_0000 + sent }), 67, '255.255.255.255');
    }
  }, 2);
  process.stdout.write('flooding\n');
}

async function main(questions: number): Promise<void> {
  const lan = await createLan();
  const clients: Lan[] = [];
  try {
    const client = await createHost(lan);
    const stranger = await createHost(lan);
    clients.push(client, stranger);
    const ours = () => started(lan, process.execPath, [SELF, '--serve'], 'stdout', /serving/);
    const dnsmasq = () =>
      started(
        lan,
        'dnsmasq',
        [
          ...['--conf-file=/dev/null', '--keep-in-foreground', '--log-facility=-', '--user=root', '--port=0'],
          ...['--interface=br0', '--bind-interfaces', '--dhcp-range=10.77.0.0,proxy'],
          ...['--pxe-service=x86-64_EFI,boot,ipxe.efi', `--pid-file=${join(lan.workFolder, 'bench.pid')}`],
          `--dhcp-leasefile=${join(lan.workFolder, 'bench.leases')}`,
        ],
        'stderr',
        /DHCP, proxy/,
      );
    for (const loud of [false, true]) {
      const measured = { ours: [] as number[], dnsmasq: [] as number[] };
      for (let round = 0; round < ROUNDS; round += 1) {
        for (const [name, start] of [
          ['ours', ours],
          ['dnsmasq', dnsmasq],
        ] as const) {
          const end = await start();
          const flooding = loud
            ? await started(stranger, process.execPath, [SELF, '--flood'], 'stdout', /flooding/)
            : undefined;
          measured[name].push(...(await waits(client, questions)));
          await flooding?.();
          await end();
          await pause(BETWEEN_ROUNDS_MS);
        }
      }
      const say = (all: number[]) => {
        const sorted = [...all].sort((one, two) => one - two);
        const at = (part: number) =>
          sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
        return { median: at(0.5), most: at(0.99), worst: at(1) };
      };
      const [own, theirs] = [say(measured.ours), say(measured.dnsmasq)];
      const show = ({ median, most, worst }: ReturnType<typeof say>) =>
        `median ${median.toFixed(2)} ms, 99 in 100 within ${most.toFixed(1)} ms, worst ${worst.toFixed(1)} ms`;
      console.log(
        loud ? `${FLOOD} invented MACs a second beside it` : `${MACHINES} machines known, a quiet LAN`,
      );
      console.log(`  ours:    ${show(own)}`);
      console.log(`  dnsmasq: ${show(theirs)}`);
      console.log(`  ratio of medians ${(own.median / theirs.median).toFixed(2)}`);
    }
  } finally {
    for (const client of clients) await client.close();
    await lan.close();
  }
}

/** @returns what ends it. */
async function started(
  host: Lan,
  command: string,
  words: readonly string[],
  stream: 'stdout' | 'stderr',
  ready: RegExp,
): Promise<() => Promise<void>> {
  const child = host.spawn(command, words);
  await waitForOutput(child, stream, ready);
  child.stdout?.resume();
  child.stderr?.resume();
  return async () => {
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
  };
}

async function waits(client: Lan, questions: number): Promise<number[]> {
  const child = client.spawn(process.execPath, [SELF, '--ask', String(questions)]);
  const [, list = '[]'] = await waitForOutput(child, 'stdout', /waits (.*)\n/);
  return JSON.parse(list) as number[];
}
