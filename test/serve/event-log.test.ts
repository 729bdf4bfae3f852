import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { Refusal } from '../../src/errors/refusal.ts';
import type { Protocol, ServerEvent } from '../../src/release/server-event.ts';
import { askedText } from '../../src/serve/asked.ts';
import { eventLog } from '../../src/serve/event-log.ts';
import { Shares } from '../../src/serve/shares.ts';

type Line = readonly [level: string, facts: Record<string, unknown>, message: string];

function logging(t: TestContext, shares = new Shares()) {
  const lines: Line[] = [];
  const clock = { now: 0 };
  let leftOut = 0;
  const say = (level: string) => (facts: object, message: string) =>
    lines.push([level, facts as Record<string, unknown>, message]);
  const log = { info: say('info'), warn: say('warn'), error: say('error') };
  const { write, close } = eventLog({ log, shares, now: () => clock.now, onLeftOut: () => (leftOut += 1) });
  t.after(close);
  return { lines, clock, write, close, leftOut: () => leftOut };
}

const refused = (remote: string, server: Protocol = 'http'): ServerEvent => ({
  ...{ kind: 'refused', server, id: 1, remote, port: 2, asked: '/nope', status: 404 },
  refusal: new Refusal('absent', 'It is not there.'),
});

describe('the log of what happens', () => {
  it('tells a refusal once, with what was asked for', (t) => {
    const { lines, write } = logging(t);
    write(refused('10.0.0.1'));
    write({
      ...{ kind: 'ended', server: 'http', id: 1, remote: '10.0.0.1', port: 2, asked: '/nope', status: 404 },
      ...{ bytes: 0, durationMs: 1, outcome: 'refused' },
    });
    assert.equal(lines.length, 1);
    const [level, facts, message] = lines[0] as Line;
    assert.deepEqual([level, message, facts.asked], ['info', 'http: refused', '/nope']);
  });

  it('one who floods, over whatever protocol, is written so often and no more; others are written still', (t) => {
    const { lines, write, leftOut } = logging(t);
    for (let count = 0; count < 3000; count += 1) {
      write(refused('10.0.0.66', (['http', 'tftp', 'nbd'] as const)[count % 3]));
    }
    const flood = lines.length;
    assert.ok(flood > 100 && flood < 600, String(flood));
    assert.equal(leftOut(), 3000 - flood);
    for (let count = 0; count < 20; count += 1) write(refused('10.0.0.1'));
    assert.equal(lines.length, flood + 20);
  });

  it('what a LAN says over DHCP: each transaction once, and nothing of what is for others', (t) => {
    const { lines, write } = logging(t);
    const asking = { server: 'dhcp', remote: '0.0.0.0', mac: '52:54:00:00:00:01', known: false } as const;
    const offered = { kind: 'offered', message: 'offer', client: 'x64', interface: 'eth0' } as const;
    const place = { file: 'ipxe.efi', from: '10.0.0.1' };
    write({ ...offered, ...asking, ...place, again: false });
    write({ ...offered, ...asking, ...place, again: true });
    for (const reason of ['not-pxe', 'not-a-request', 'local', 'unknown-relay'] as const)
      write({ kind: 'silent', ...asking, again: false, reason, said: '' });
    assert.deepEqual(
      lines.map(([level, { reason }, message]) => [level, message, reason]),
      [
        ['info', 'dhcp: offered', undefined],
        ['info', 'dhcp: silent', 'local'],
        ['warn', 'dhcp: silent', 'unknown-relay'],
      ],
    );
    assert.deepEqual(Object.keys(lines[0]?.[1] ?? {}).includes('again'), false);
    write({ kind: 'interface', server: 'dhcp', interface: 'eth0', why: 'It has no address.' });
    assert.deepEqual(lines.at(-1)?.[0], 'error');
  });

  it('strangers who flood DHCP keep out no line about a machine that is known', (t) => {
    const { lines, write } = logging(t);
    const silent = { kind: 'silent', server: 'dhcp', remote: '0.0.0.0', again: false, said: '' } as const;
    for (let count = 0; count < 5000; count += 1) {
      const mac = `52:54:01:00:${count >> 8}:${count & 255}`;
      write({ ...silent, mac, known: false, reason: 'too-many' });
    }
    const flood = lines.length;
    assert.ok(flood < 600, String(flood));
    write({ ...silent, mac: '52:54:00:00:00:01', known: true, reason: 'blocked' });
    write(refused('10.0.0.1'));
    assert.equal(lines.length, flood + 2);
  });

  it('a classroom with a weight is written more', (t) => {
    const { lines, write } = logging(t, new Shares([{ prefix: '10.1.0.0/16', weight: 40 }]));
    for (let machine = 1; machine <= 40; machine += 1) {
      for (let count = 0; count < 14; count += 1) write(refused(`10.1.0.${machine}`));
    }
    assert.equal(lines.length, 560);
  });

  it('says how much was left out and whose it was, and goes on when the time is over', (t) => {
    t.mock.timers.enable({ apis: ['setInterval'] });
    const { lines, clock, write, leftOut } = logging(t);
    for (let count = 0; count < 1000; count += 1) write(refused('10.0.0.66'));
    const before = lines.length;
    clock.now += 10_000;
    t.mock.timers.tick(10_000);
    const [level, facts, message] = lines.at(-1) as Line;
    assert.deepEqual([level, message], ['warn', 'lines were left out']);
    assert.deepEqual(facts, { lines: leftOut(), shares: 1, most: '10.0.0.66', linesOfMost: leftOut() });
    write(refused('10.0.0.66'));
    assert.equal(lines.length, before + 2);
  });

  it('says at its end what it had not said yet', (t) => {
    const { lines, write, close } = logging(t);
    for (let count = 0; count < 1000; count += 1) write(refused('10.0.0.66'));
    close();
    assert.equal((lines.at(-1) as Line)[2], 'lines were left out');
  });
});

describe('what was asked for', () => {
  for (const [asked, shown] of [
    ['/boot.ipxe', '/boot.ipxe'],
    ['\u001b[2J\n', '\\u001b[2J\\u000a'],
    ['a\\b', 'a\\\\b'],
    ['\u202egpj', '\\u202egpj'],
    ['x'.repeat(1000), `${'x'.repeat(200)}…`],
    ['\0'.repeat(200), `${'\\u0000'.repeat(34).slice(0, 200)}…`],
  ] as const) {
    it(JSON.stringify(asked.slice(0, 12)), () => assert.equal(askedText(asked), shown));
  }
});
