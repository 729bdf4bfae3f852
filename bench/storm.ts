/**
 * The morning of a school: all machines are switched on at once, on a LAN that loses one frame in a hundred either way.
 * Each asks over DHCP with packets of its own, then boots from one `bootseal serve --state … --proxydhcp …`: its own
 * script, kernel, initrds, root image, every one verified (emulated loaders and early userspace). Beside it, in the same
 * run, the same storm on a LAN that loses nothing: quote the ratio.
 *
 *     node dist/bench/storm.js [MACHINES]
 *
 * Needs root: a LAN of its own, in namespaces. The machines are emulated on the processors that the server runs on, and
 * most of the time is theirs.
 */
import { createSocket } from 'node:dgram';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { serveByCli } from '../lab/cli.ts';
import { run } from '../lab/command.ts';
import { CARD } from '../lab/host.ts';
import { createLan, type Lan } from '../lab/lan.ts';
import { createLossyHost } from '../lab/lossy-host.ts';
import { waitForOutput } from '../lab/output.ts';
import { decodeDhcp } from '../src/formats/net/dhcp.ts';
import { init, publish, seal } from '../src/index.ts';
import { boot } from '../src/operations/boot.ts';
import { applyMachines } from '../src/publish/channel.ts';
import { readScriptKeys } from '../src/signing/keys/script-keys.ts';
import { chainedIpxe } from '../test/fixtures/dhcp-clients.ts';
import { sampleTree } from '../test/fixtures/release.ts';

const LOSS = 0.01;
const CHANNEL = 'stable';
/** iPXE asks again after a second, then after twice as long, and so on (core/retry.c). */
const FIRST_WAIT_MS = 1000;
const LAST_WAIT_MS = 16_000;
const SELF = fileURLToPath(import.meta.url);

interface Machine {
  readonly mac: string;
  readonly address: string;
}

/** How one machine fared, in milliseconds since all were switched on. */
interface Arrival {
  readonly told: number;
  readonly arrived: number;
  readonly verified: boolean;
  readonly cmdline: string;
  readonly refusal?: string;
}

const [mode, ...words] = process.argv.slice(2);
if (mode === '--boot') await bootAll(JSON.parse(words[0] ?? '[]'), words[1] ?? '');
else await main(Number(mode ?? 500));

function machine(index: number): Machine {
  const [high, low] = [Math.floor(index / 250), (index % 250) + 1];
  return {
    mac: `52:54:02:00${Buffer.of(high, low).toString('hex').replace(/../g, ':$&')}`,
    address: `10.77.${16 + high}.${low}`,
  };
}

/** Boots machines of one host, all at once; prints what became of them. */
async function bootAll(machines: readonly Machine[], anchors: string): Promise<void> {
  const since = performance.now();
  const ask = await dhcpAsker();
  const told = await Promise.all(
    machines.map(async ({ mac }, index) => ({
      url: await ask(mac, index + 1),
      at: performance.now() - since,
    })),
  );
  // From here on they have addresses: a machine that asks over DHCP has none yet, and the server would not answer one.
  await addAddresses(machines);
  const arrivals = await Promise.all(
    machines.map(async ({ mac, address }, index): Promise<Arrival> => {
      const { url = '', at = 0 } = told[index] ?? {};
      const verdict = await boot({ url, anchors, mac, address, now: Date.now(), anyKernel: true });
      const { verified, refusal, cmdline = '' } = verdict;
      const arrived = performance.now() - since;
      return { told: at, arrived, verified, cmdline, ...(refusal ? { refusal: refusal.message } : {}) };
    }),
  );
  ask.close();
  process.stdout.write(`arrivals ${JSON.stringify(arrivals)}\n`);
}

async function addAddresses(machines: readonly Machine[]): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'bench-storm-addresses-'));
  const file = join(folder, 'batch');
  await writeFile(file, machines.map(({ address }) => `addr add ${address}/16 dev ${CARD}\n`).join(''));
  await run('ip', ['-batch', file]);
  await rm(folder, { recursive: true });
}

/** Asks as the iPXE of a site does, until it is told a URL. */
async function dhcpAsker() {
  const waiting = new Map<string, (file: string) => void>();
  const socket = createSocket('udp4');
  socket.on('message', (bytes) => {
    const { chaddr, file } = decodeDhcp(bytes);
    waiting.get(Buffer.from(chaddr.subarray(0, 6)).toString('hex'))?.(file);
  });
  await new Promise<void>((resolve) => socket.bind(68, '0.0.0.0', resolve));
  socket.setBroadcast(true);
  const ask = (mac: string, xid: number) =>
    new Promise<string>((resolve) => {
      const bytes = chainedIpxe({ mac, xid }, 'bootseal');
      const key = mac.replaceAll(':', '');
      let wait = FIRST_WAIT_MS;
      let again: NodeJS.Timeout;
      const send = () => {
        socket.send(bytes, 67, '255.255.255.255');
        again = setTimeout(send, wait);
        wait = Math.min(wait * 2, LAST_WAIT_MS);
      };
      waiting.set(key, (file) => {
        waiting.delete(key);
        clearTimeout(again);
        resolve(file);
      });
      send();
    });
  return Object.assign(ask, { close: () => socket.close() });
}

async function main(count: number): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'bench-storm-'));
  try {
    const machines = Array.from({ length: count }, (_, index) => machine(index));
    const { state, anchors } = await makeState(folder, machines);
    const quiet = await storm({ state, anchors, machines, loss: 0 });
    console.log(`${count} machines at once, nothing lost: ${said(quiet)}`);
    const lossy = await storm({ state, anchors, machines, loss: LOSS });
    console.log(`the same, ${LOSS * 100} % of the frames lost either way: ${said(lossy)}`);
    console.log(`ratio of the last to arrive ${(last(lossy) / last(quiet)).toFixed(2)}`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A release in a channel, and every machine written down, in a group with a word of its own. */
async function makeState(folder: string, machines: readonly Machine[]) {
  const now = Date.now();
  const [keys, state] = [join(folder, 'keys'), join(folder, 'state')];
  await init(keys, { site: 'lab', kind: 'rsa', now });
  const anchors = join(keys, 'anchors');
  const tree = await sampleTree(join(folder, 'tree'), keys);
  const free = ['ip dhcp', 'BOOTIF mac', 'archiso_http_srv url', 'hostname name'];
  await seal({ tree, keys, free, now });
  const { refusal } = await publish({ tree, anchors, channel: CHANNEL, state, now });
  if (refusal) throw refusal;
  await mkdir(join(state, 'machines'));
  await writeFile(
    join(state, 'machines/all.toml'),
    [
      ...machines.map(
        ({ mac }, index) => `[[machine]]\nname = "pc-${index}"\nmac = "${mac}"\nlabels = "lab"\n`,
      ),
      `[[group]]\nname = "lab"\nlabels = "lab"\ngets = { channel = "${CHANNEL}", words = ["hostname=lab"] }\n`,
      '[unknown]\ngets = { boot = "hold" }\n',
    ].join('\n'),
  );
  const scriptKeys = await readScriptKeys(keys, now);
  await applyMachines({ state, anchors, channel: CHANNEL, scriptKeys, now });
  return { state, anchors };
}

interface Storm {
  readonly state: string;
  readonly anchors: string;
  readonly machines: readonly Machine[];
  readonly loss: number;
}

async function storm({ state, anchors, machines, loss }: Storm): Promise<readonly Arrival[]> {
  const lan = await createLan();
  const hosts: Lan[] = [];
  try {
    // Machines have addresses of a larger network than the lab's: each is one for the server.
    await run('ip', ['-n', lan.name, 'route', 'add', '10.77.0.0/16', 'dev', 'br0']);
    const server = await serveByCli(lan, [
      ...['--state', state, '--anchors', anchors, '--channel', CHANNEL, '--proxydhcp', 'br0'],
      ...['--no-tftp', '--no-nbd'],
    ]);
    const groups = Array.from(
      { length: availableParallelism() * 2 },
      (_, group, all = availableParallelism() * 2) =>
        machines.filter((_machine, index) => index % all === group),
    );
    while (hosts.length < groups.length) hosts.push(await createLossyHost(lan, loss));
    const arrivals = await Promise.all(
      hosts.map(async (host, index) => {
        const child = host.spawn(process.execPath, [SELF, '--boot', JSON.stringify(groups[index]), anchors]);
        const [, list = '[]'] = await waitForOutput(child, 'stdout', /arrivals (.*)\n/);
        return JSON.parse(list) as Arrival[];
      }),
    );
    await server.stop();
    return arrivals.flat();
  } finally {
    for (const host of hosts) await host.close();
    await lan.close();
  }
}

function last(arrivals: readonly Arrival[]): number {
  return Math.max(...arrivals.map(({ arrived }) => arrived));
}

function said(arrivals: readonly Arrival[]): string {
  const good = arrivals.filter(({ verified, cmdline }) => verified && cmdline.includes(' hostname=lab '));
  const refused = arrivals.find(({ refusal }) => refusal !== undefined)?.refusal;
  const seconds = (of: (arrival: Arrival) => number) => {
    const sorted = arrivals.map(of).sort((one, two) => one - two);
    const at = (part: number) => ((sorted[Math.floor((sorted.length - 1) * part)] ?? 0) / 1000).toFixed(1);
    return `half of them within ${at(0.5)} s, all within ${at(1)} s`;
  };
  return [
    `${good.length} of ${arrivals.length} arrived verified with their own words${refused ? ` (${refused})` : ''}`,
    `${seconds(({ arrived }) => arrived)}`,
    `told over DHCP: ${seconds(({ told }) => told)}`,
  ].join('; ');
}
