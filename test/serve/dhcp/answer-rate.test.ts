import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AnswerRate } from '../../../src/serve/dhcp/answer-rate.ts';
import { MacTable } from '../../../src/serve/dhcp/mac-table.ts';

const mac = (number: number) =>
  `52:54:${number
    .toString(16)
    .padStart(8, '0')
    .replace(/..(?!$)/g, '$&:')}`;

describe('how often DHCP is answered', () => {
  it('one machine ten times in ten seconds', () => {
    let now = 0;
    const rate = new AnswerRate(() => now);
    const answers = () => Array.from({ length: 12 }, () => rate.take(mac(1), false) ?? 'answered');
    assert.deepEqual(answers(), [...Array(10).fill('answered'), 'too-often', 'too-often']);
    assert.equal(rate.take(mac(2), false), undefined);
    now = 9_999;
    assert.equal(rate.take(mac(1), false), 'too-often');
    now = 10_000;
    assert.equal(rate.take(mac(1), false), undefined);
  });

  it('all together 200 a second, and a flood of invented MACs keeps no known machine out', () => {
    let now = 0;
    const rate = new AnswerRate(() => now);
    let strangers = 0;
    let known = 0;
    for (let packet = 0; packet < 20_000; packet += 1) {
      now = packet / 5;
      if (rate.take(mac(packet), false) === undefined) strangers += 1;
      // 100 known machines, 5 times each in these four seconds.
      if (packet % 40 === 0 && rate.take(`00:00:00:00:00:${(packet / 40) % 100}`, true) === undefined)
        known += 1;
    }
    assert.equal(known, 500);
    assert.ok(strangers <= 4 * 200 + 200 - known && strangers > 200, String(strangers));
  });

  it('strangers push out strangers alone', () => {
    const table = new MacTable<number>(100);
    for (let number = 0; number < 50; number += 1) table.set(mac(number), true, number);
    for (let number = 1000; number < 6000; number += 1) table.set(mac(number), false, number);
    assert.equal(table.size, 150);
    for (let number = 0; number < 50; number += 1) assert.equal(table.get(mac(number), true), number);
    assert.equal(table.get(mac(5899), false), undefined);
    assert.equal(table.get(mac(5900), false), 5900);
    assert.equal(table.get(mac(1), false), undefined);
  });
});
