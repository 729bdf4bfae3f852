import { createSocket } from 'node:dgram';

/**
 * A time server that says whatever it was told to (RFC 5905 §7.3, RFC 4330): from then on its clock goes on as everybody's.
 * Runs as a process of its own inside the lab's namespace:
 *
 *     node sntp-server.js ADDRESS SECONDS
 *
 * where SECONDS are since 1970, or `silent`, and prints `listening`, then one line for each question.
 */
const [address = '', said = ''] = process.argv.slice(2);
/** Seconds from 1900, where NTP begins, to 1970. */
const ERA = 2_208_988_800;
const PORT = 123;

const began = process.hrtime.bigint();
const socket = createSocket('udp4');
socket.on('message', (question, { address: from, port }) => {
  process.stdout.write(`asked by ${from}\n`);
  if (said === 'silent' || question.length < 48) return;
  const now = Number(said) + ERA + Number((process.hrtime.bigint() - began) / 1_000_000_000n);
  const answer = Buffer.alloc(48);
  // No leap second, the version that was asked in, a server, of stratum 1.
  answer[0] = ((question[0] ?? 0) & 0x38) | 4;
  answer[1] = 1;
  answer[2] = question[2] ?? 0;
  answer.writeInt8(-20, 3);
  answer.write('LOCL', 12, 'latin1');
  // Whoever asked knows by his own time that this is the answer.
  question.copy(answer, 24, 40, 48);
  for (const at of [16, 32, 40]) answer.writeUInt32BE(now % 2 ** 32, at);
  socket.send(answer, port, from);
});
socket.bind(PORT, address, () => process.stdout.write('listening\n'));
