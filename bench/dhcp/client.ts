/**
 * What machines on the LAN of bench/rows/dhcp.ts send, a process of its own in a namespace:
 *
 *     node client.js ask QUESTIONS    prints `waits [MS, …]`
 *     node client.js flood            until it is ended
 */
import { createSocket, type Socket } from 'node:dgram';
import { firmwarePxe } from '../../test/fixtures/dhcp-clients.ts';
import { FLOOD, inventedMac, MACHINES, macOf } from './machine.ts';

/** With those that count fewer than the 200 that are answered in a second, all machines together. */
const WARM = 30;
/** From one machine that asks to the next. */
const STRIDE = 7919;
const EVERYBODY = '255.255.255.255';
/** A server that answers none of so many answers nobody. */
const MOST_ASKED = 30;

const [what, word] = process.argv.slice(2);
if (what === 'flood') await flood();
else await ask(Number(word));

async function bound(port: number): Promise<Socket> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(port, '0.0.0.0', resolve));
  socket.setBroadcast(true);
  return socket;
}

/** One question after the other, each of another machine. The first ones do not count: a server runs for days. */
async function ask(questions: number): Promise<void> {
  const socket = await bound(68);
  const waits: number[] = [];
  const first = Math.floor(Math.random() * MACHINES);
  for (let question = -WARM; question < questions; question += 1) {
    // None twice: one that asks again at once is not answered again at once.
    const mac = macOf((first + (question + WARM) * STRIDE) % MACHINES);
    const bytes = firmwarePxe(7, { mac, xid: WARM + question + 1 });
    const since = performance.now();
    await new Promise<void>((resolve) => {
      // Lost, or not answered: it asks again, and has waited all the while.
      let asked = 1;
      const again = setInterval(() => {
        if (++asked > MOST_ASKED) throw new Error(`${mac} asked ${MOST_ASKED} times and was told nothing`);
        socket.send(bytes, 67, EVERYBODY);
      }, 1000);
      const hear = (answer: Buffer): void => {
        if (answer.readUInt32BE(4) !== WARM + question + 1) return;
        if (answer.toString('hex', 28, 34) !== mac.replaceAll(':', '')) return;
        socket.off('message', hear);
        clearInterval(again);
        resolve();
      };
      socket.on('message', hear);
      socket.send(bytes, 67, EVERYBODY);
    });
    if (question >= 0) waits.push(performance.now() - since);
  }
  socket.close();
  process.stdout.write(`waits ${JSON.stringify(waits)}\n`);
}

async function flood(): Promise<void> {
  const socket = await bound(0);
  let sent = 0;
  const since = performance.now();
  setInterval(() => {
    const due = ((performance.now() - since) * FLOOD) / 1000;
    for (; sent < due; sent += 1)
      socket.send(firmwarePxe(7, { mac: inventedMac(sent), xid: 0x4000_0000 + sent }), 67, EVERYBODY);
  }, 2);
  process.stdout.write('flooding\n');
}
