import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { it } from 'node:test';
import type { ServerEvent } from '../../../src/release/server-event.ts';
import type { Connection } from '../../../src/serve/http/connections.ts';
import { EndOfTurn } from '../../../src/serve/http/end-of-turn.ts';
import { sendHeld } from '../../../src/serve/http/http-held.ts';

it('all of a turn is done at its end, in its order, whatever one of them throws; what comes then is for the next', async () => {
  const turn = new EndOfTurn();
  const done: unknown[] = [];
  const failed = (error: unknown) => void done.push(error);
  turn.add(() => void done.push(1), failed);
  turn.add(() => {
    turn.add(() => void done.push(3), failed);
    throw 'broken';
  }, failed);
  turn.add(() => void done.push(2), failed);
  await new Promise((resolve) => process.nextTick(resolve));
  assert.deepEqual(done, []);
  await new Promise(setImmediate);
  assert.deepEqual(done, [1, 'broken', 2]);
  await new Promise(setImmediate);
  assert.deepEqual(done, [1, 'broken', 2, 3]);
});

it('who is cut off before the end of a turn is told so, and the process goes on', async (t) => {
  const told: ServerEvent[] = [];
  const server = createServer((req, res) => {
    const connection = { socket: req.socket, remote: '127.0.0.1', port: 1 } as Connection;
    const ways = { connection, id: 1, timeoutMs: 1000, turn: new EndOfTurn() };
    const answer = { asked: '/x', fields: ['Content-Length', '2'], content: Buffer.from('ok') };
    const over = () => void server.close();
    sendHeld(
      req,
      res,
      answer,
      ways,
      (event) => void told.push(event),
      over,
      (error) => assert.fail(String(error)),
    );
    // As where room is made for somebody else.
    connection.current?.cut('stalled');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1').on('error', () => {});
  t.after(() => client.destroy());
  client.write('GET /x HTTP/1.1\r\nHost: x\r\n\r\n');
  await once(server, 'close');
  await new Promise(setImmediate);
  assert.deepEqual(
    told.map((one) => (one.kind === 'ended' ? [one.outcome, one.bytes] : one.kind)),
    ['started', ['stalled', 0]],
  );
});
