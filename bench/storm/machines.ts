import { createSocket } from 'node:dgram';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../lab/command.ts';
import { CARD } from '../../lab/host.ts';
import { LAN_ADDRESS } from '../../lab/lan.ts';
import { connected } from '../../lab/nbd-root.ts';
import { tftpTransport } from '../../src/emulator/transports/tftp.ts';
import { decodeDhcp } from '../../src/formats/net/dhcp.ts';
import { boot } from '../../src/operations/boot.ts';
import { chainedIpxe, firmwarePxe } from '../../test/fixtures/dhcp-clients.ts';
import type { Arrival, Machine, Order } from './order.ts';

/*
 * Some of the machines of a storm, all switched on at once, as a program of its own in a namespace of its own:
 *
 *     node machines.js ORDER
 *
 * prints `arrivals [...]`. DHCP, TFTP, script, kernel and initrd, the root by dm-verity, then blocks of it over NBD.
 */

/** iPXE asks again after a second, then after twice as long, and so on (core/retry.c). */
const FIRST_WAIT_MS = 1000;
const LAST_WAIT_MS = 16_000;
/** What a machine reads of its root until it has a prompt is spread over the image, in pieces of this size. */
const READ = 128 * 1024;

const { machines, anchors, loader, reads, network } = JSON.parse(process.argv[2] ?? '{}') as Order;
const since = performance.now();
const at = () => performance.now() - since;
const ask = await dhcpAsker();
const told = await Promise.all(
  machines.map(async ({ mac }, index) => ({ file: await ask(mac, index + 1), at: at() })),
);
ask.close();
// From here on they have addresses: a machine that asks over DHCP has none yet, and no server would answer one.
await addAddresses();
const arrivals = await Promise.all(machines.map((machine, index) => arrive(machine, told[index])));
process.stdout.write(`arrivals ${JSON.stringify(arrivals)}\n`);

async function arrive(
  { mac, address }: Machine,
  told: { readonly file: string; readonly at: number } | undefined,
): Promise<Arrival> {
  const url = told?.file.includes('://') ? told.file : `http://${LAN_ADDRESS}:8080/boot.ipxe`;
  if (loader) await fetchLoader(loader);
  const mode = reads ? ('verity' as const) : ('ram' as const);
  const verdict = await boot({ url, anchors, mac, address, mode, now: Date.now(), anyKernel: true });
  const { verified, refusal, cmdline = '' } = verdict;
  if (verified && reads) await readRoot(reads);
  const facts = { verified, cmdline, ...(refusal ? { refusal: refusal.message } : {}) };
  return { told: told?.at ?? 0, arrived: at(), ...facts };
}

async function fetchLoader({ path, size }: NonNullable<Order['loader']>): Promise<void> {
  const tftp = tftpTransport({ timeoutMs: 1000, retries: 10, maxBytes: size + 1 });
  const { body } = await tftp.fetch(`tftp://${LAN_ADDRESS}/${path}`);
  let got = 0;
  for await (const piece of body) got += piece.length;
  if (got !== size) throw new Error(`${path}: ${got} bytes instead of ${size}`);
}

async function readRoot({ name, size, count }: NonNullable<Order['reads']>): Promise<void> {
  const root = await connected(10809, name, LAN_ADDRESS);
  const pieces = Math.floor(size / READ);
  for (let read = 0; read < count; read += 1) await root.read(((read * 7919) % pieces) * READ, READ);
  root.close();
}

async function addAddresses(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'bench-storm-addresses-'));
  const file = join(folder, 'batch');
  await writeFile(file, machines.map(({ address }) => `addr add ${address}/16 dev ${CARD}\n`).join(''));
  await run('ip', ['-batch', file]);
  await rm(folder, { recursive: true });
}

/** Asks until it is told a boot file: as firmware does where a loader is fetched, else as the iPXE of a site. */
async function dhcpAsker() {
  const waiting = new Map<string, (file: string) => void>();
  const socket = createSocket('udp4');
  socket.on('message', (bytes) => {
    const { chaddr, file } = decodeDhcp(bytes);
    waiting.get(Buffer.from(chaddr.subarray(0, 6)).toString('hex'))?.(file);
  });
  await new Promise<void>((resolve) => socket.bind(68, '0.0.0.0', resolve));
  socket.setBroadcast(true);
  const packet = (mac: string, xid: number) =>
    network === 'firmware' ? firmwarePxe(7, { mac, xid }) : chainedIpxe({ mac, xid }, 'bootseal');
  const one = (mac: string, xid: number) =>
    new Promise<string>((resolve) => {
      const bytes = packet(mac, xid);
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
  return Object.assign(one, { close: () => socket.close() });
}
