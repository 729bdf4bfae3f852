import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FairSlots, type Holder } from '../../src/serve/fair-slots.ts';
import type { Share } from '../../src/serve/shares.ts';

const share = (name: string, weight = 1): Share => ({ name, weight });
const HOG = share('hog');
const HONEST = share('honest');

interface Tested extends Holder {
  readonly name: string;
  gone: boolean;
}

function holder(of: Share, more: Partial<Tested> = {}): Tested {
  return {
    name: '',
    share: of,
    owed: 0,
    spare: false,
    proven: true,
    gone: false,
    ...more,
    giveWay() {
      this.gone = true;
    },
  };
}

/** Slots that `count` holders of a share have filled. */
function filled(count: number, of: Share, more: (index: number) => Partial<Tested> = () => ({})) {
  const slots = new FairSlots<Tested>(count);
  const holders = Array.from({ length: count }, (_, index) => holder(of, more(index)));
  for (const each of holders) assert.ok(slots.admit(each));
  return { slots, holders };
}

describe('fair slots', () => {
  it('bind nobody while there is room', () => {
    const { slots, holders } = filled(1000, HOG);
    assert.equal(slots.size, 1000);
    assert.ok(holders.every(({ gone }) => !gone));
  });

  it('the share that holds most gives to a newcomer, again and again, until both hold as much', () => {
    const { slots, holders } = filled(10, HOG);
    const honest = Array.from({ length: 6 }, () => holder(HONEST));
    assert.deepEqual(
      honest.map((each) => slots.admit(each)),
      [true, true, true, true, true, false],
    );
    assert.equal(holders.filter(({ gone }) => gone).length, 5);
    assert.equal(slots.size, 10);
    assert.ok(!slots.admit(holder(HOG)), 'and does not get it back');
    assert.ok(honest.every(({ gone }) => !gone));
  });

  it('a lone connection is never asked, however many others come, and whatever their weight', () => {
    const slots = new FairSlots<Tested>(100);
    const lone = Array.from({ length: 100 }, (_, index) => holder(share(`address ${index}`), { owed: 1e9 }));
    for (const each of lone) assert.ok(slots.admit(each));
    for (let count = 0; count < 50; count += 1) assert.ok(!slots.admit(holder(share(`late ${count}`))));
    assert.ok(!slots.admit(holder(share('classroom', 40))));
    assert.ok(lone.every(({ gone }) => !gone));
  });

  it('a prefix with a weight may hold so many times as much before it gives', () => {
    const classroom = share('classroom', 40);
    const slots = new FairSlots<Tested>(50);
    const machines = Array.from({ length: 40 }, () => holder(classroom));
    for (const each of machines) assert.ok(slots.admit(each));
    for (let count = 0; count < 1000; count += 1) slots.admit(holder(HOG));
    assert.ok(slots.admit(holder(HONEST)));
    assert.ok(machines.every(({ gone }) => !gone));
  });

  it('gives what is spare first, the oldest of it, then what is owed most, then the newest', () => {
    const { slots, holders } = filled(6, HOG, (index) => ({
      spare: index === 2 || index === 4,
      owed: [0, 500, 0, 900, 0, 0][index] ?? 0,
    }));
    const order: number[] = [];
    for (let count = 0; count < 3; count += 1) {
      slots.admit(holder(share(`other ${count}`)));
      order.push(holders.findIndex(({ gone }, index) => gone && !order.includes(index)));
    }
    assert.deepEqual(order, [2, 4, 3]);
    const { slots: idle, holders: disks } = filled(3, HOG);
    idle.admit(holder(HONEST));
    assert.deepEqual(
      disks.map(({ gone }) => gone),
      [false, false, true],
      'a disk that was there first outlives what came after it',
    );
  });

  it('one who holds most makes room for itself out of what it can spare, or is not let in', () => {
    const { slots, holders } = filled(3, HOG, (index) => ({ spare: index === 1 }));
    assert.ok(slots.admit(holder(HOG)));
    assert.ok(holders[1]?.gone);
    assert.ok(!slots.admit(holder(HOG)));
  });

  it('addresses that nobody has shown to be true give way to everybody, the oldest first', () => {
    const slots = new FairSlots<Tested>(3);
    const forged = [1, 2, 3].map((index) => holder(share(`forged ${index}`), { proven: false }));
    for (const each of forged) slots.admit(each);
    slots.prove(forged[0] as Tested);
    assert.ok(slots.admit(holder(HONEST)));
    assert.deepEqual(
      forged.map(({ gone }) => gone),
      [false, true, false],
    );
  });

  it('a place is free at once, and who leaves twice leaves once', () => {
    const { slots, holders } = filled(2, HOG);
    slots.leave(holders[0] as Tested);
    slots.leave(holders[0] as Tested);
    assert.equal(slots.size, 1);
    assert.ok(slots.admit(holder(HOG)));
    assert.ok(!holders[1]?.gone);
  });

  it('relief ends one of the share that holds most, and none where nobody holds more than its part', () => {
    const { slots, holders } = filled(2, HOG);
    slots.relieve();
    slots.relieve();
    assert.equal(holders.filter(({ gone }) => gone).length, 1);
  });
});
