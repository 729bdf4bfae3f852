import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, it } from 'node:test';
import { startKeyholder } from '../../src/keyholder/keyholder.ts';
import { showLog } from '../../src/store/log-reader.ts';
import { say } from './raw-client.ts';
import { keyholderSite, socketIn } from './sites.ts';

const { folder, keys, state } = await keyholderSite();
const RENEW = '{"bootseal-keyholder":1,"ask":"renew","channel":"stable"}\n';
const RATE = { burst: 10_000, everyMs: 1 };

interface Line {
  readonly facts: object;
  readonly message: string;
}

async function holder(more: object = {}) {
  const lines: Line[] = [];
  const note = (facts: object, message: string) => void lines.push({ facts, message });
  const log = { info: note, warn: note, error: note };
  const socket = await socketIn(folder);
  const keyholder = await startKeyholder({ socket, keys, state, log, rate: RATE, ...more });
  return { socket, keyholder, lines };
}
const entries = async () => (await showLog({ state })).length;

describe('a client of a keyholder', () => {
  it('that talks nonsense is told so, and nothing is done or logged for it', async () => {
    const { socket, keyholder } = await holder();
    try {
      const before = await entries();
      for (const [text, fact] of [
        ['GET / HTTP/1.1\r\n\r\n', /more than one line/],
        ['x\n', /no JSON/],
        ['\n', /no JSON/],
        [Buffer.alloc(16_384, 0x20), /longer than 16384 bytes/],
        [Buffer.alloc(4_000_000, 0x7b), /longer than 16384 bytes/],
        [RENEW.slice(0, -1), /without its end/],
        [RENEW + RENEW, /more than one line/],
        [RENEW.replace('stable', '../stable'), /no name of a channel/],
        [RENEW.replace('renew', 'sign'), /ask: /],
        [RENEW.replace('}', ',"digest":"00"}'), /is no key that is known/],
        [Buffer.from([0xff, 0xfe, 0x0a]), /no JSON/],
      ] as const) {
        const { answer, code, message } = JSON.parse(await say(socket, text));
        assert.deepEqual([answer, code], ['refused', 'malformed']);
        assert.match(message, fact);
      }
      assert.equal(await say(socket, ''), '');
      assert.equal(await entries(), before);
      assert.match(await say(socket, RENEW), /"answer":"done"/);
      // It need not end to be heard.
      assert.match(await say(socket, RENEW, false), /"answer":"done"/);
    } finally {
      await keyholder.close();
    }
  });

  it('that says nothing, or half of it, is let go', async () => {
    const { socket, keyholder } = await holder({ patienceMs: 300 });
    try {
      const before = await entries();
      assert.equal(await say(socket, '', false), '');
      assert.equal(await say(socket, RENEW.slice(0, 20), false), '');
      assert.equal(await entries(), before);
    } finally {
      await keyholder.close();
    }
  });

  it('that takes no answer, or goes away, keeps nobody waiting', async () => {
    const { socket, keyholder } = await holder({ patienceMs: 4000 });
    try {
      const before = await entries();
      const deaf = connect({ path: socket, allowHalfOpen: true }).on('error', () => {});
      deaf.write(RENEW);
      const gone = connect(socket).on('error', () => {});
      gone.write(RENEW, () => gone.destroy());
      assert.match(await say(socket, RENEW), /"answer":"done"/);
      assert.ok((await entries()) >= before + 4);
      // It ends though one of them never takes its answer.
      await keyholder.close();
      deaf.destroy();
    } finally {
      await keyholder.close();
    }
  });

  it('cannot have more than a few connections, and a crowd waits its turn', async () => {
    const { socket, keyholder } = await holder();
    try {
      const crowd = Array.from({ length: 60 }, () => connect(socket).on('error', () => {}));
      // All but a few are let go, with a word or, where there are too many at once, without.
      let told = 0;
      await new Promise<void>((done) => {
        let gone = 0;
        for (const one of crowd) {
          one.on('data', (piece) => {
            told += /has 8 requests open already/.test(String(piece)) ? 1 : 0;
          });
          one.on('close', () => {
            gone += 1;
            if (gone === crowd.length - 8) done();
          });
        }
      });
      assert.ok(told > 0);
      for (const one of crowd) one.destroy();
      await Promise.all(crowd.map((one) => (one.closed ? undefined : once(one, 'close'))));
      // Until the keyholder has seen that the crowd is gone, there is no room.
      const heard = async (): Promise<string> => {
        for (;;) {
          const answer = await say(socket, RENEW);
          if (answer !== '' && !/requests open/.test(answer)) return answer;
        }
      };
      const answers = await Promise.all(Array.from({ length: 5 }, heard));
      assert.ok(
        answers.every((answer) => /"answer":"done"/.test(answer)),
        answers.join(''),
      );
      const counters = answers.map((answer) => /counter (\d+)/.exec(answer)?.[1]);
      assert.equal(new Set(counters).size, 5);
    } finally {
      await keyholder.close();
    }
  });

  it('is in the log lines by uid and pid, and the key is in none', async () => {
    const { socket, keyholder, lines } = await holder();
    await say(socket, RENEW);
    await say(socket, 'x\n');
    await keyholder.close();
    const who = { uid: process.geteuid?.(), pid: process.pid };
    const what = { ask: 'renew', channel: 'stable' };
    assert.deepEqual(lines, [
      { facts: { ...who, ...what }, message: 'asked' },
      { facts: { ...who, ...what }, message: 'done' },
      { facts: { ...who, reason: 'request to the keyholder: no JSON' }, message: 'refused' },
    ]);
  });
});
