import assert from 'node:assert/strict';
import { it } from 'node:test';
import { EventHub, type EventKind, MOST_LISTENERS, MOST_OF_SHARE } from '../../src/server/event-hub.ts';

const ALL: ReadonlySet<EventKind> = new Set(['boot', 'state', 'page']);

function hubOf(): { hub: EventHub; pass: (ms: number) => void } {
  let now = 0;
  const hub = new EventHub({ monotonic: () => now });
  return {
    hub,
    pass: (ms) => {
      now += ms;
    },
  };
}

it('who comes back is told what came meanwhile, of the kinds that were asked for', () => {
  const { hub } = hubOf();
  hub.touch();
  hub.push('boot', { n: 1 });
  const id = hub.last;
  hub.push('page', { n: 2 });
  hub.push('state', { n: 3 });
  const number = hub.numberOf(id) ?? -1;
  assert.deepEqual(
    hub.after(number, ALL)?.map(({ data }) => data),
    ['{"n":2}', '{"n":3}'],
  );
  assert.deepEqual(
    hub.after(number, new Set(['state']))?.map(({ kind }) => kind),
    ['state'],
  );
  assert.deepEqual(hub.after(hub.number, ALL), []);
});

it('an id of another process, or of the future, is known to be none', () => {
  const { hub } = hubOf();
  hub.touch();
  hub.push('boot', {});
  assert.equal(hub.numberOf('00000000-1'), undefined);
  assert.equal(hub.numberOf(hub.last.replace(/-1$/, '-2')), undefined);
  assert.equal(hub.numberOf('1'), undefined);
});

it('keeps a bounded number of events and of bytes, and says where something is missing', () => {
  const { hub } = hubOf();
  hub.touch();
  for (let count = 0; count < 5000; count += 1) hub.push('boot', { count });
  assert.equal(hub.after(0, ALL), undefined);
  assert.equal(hub.after(3000, ALL)?.length, 2000);
  const large = 'x'.repeat(1024 * 1024);
  for (let count = 0; count < 20; count += 1) hub.push('boot', large);
  const kept = hub.after(hub.number - 3, ALL) ?? [];
  assert.equal(kept.length, 3);
  assert.equal(hub.after(hub.number - 5, ALL), undefined);
});

it('nobody is told where nobody listens', () => {
  const { hub, pass } = hubOf();
  hub.push('boot', {});
  assert.equal(hub.number, 0);
  hub.touch();
  hub.push('boot', {});
  assert.equal(hub.number, 1);
  pass(120_000);
  hub.push('boot', {});
  assert.equal(hub.number, 1);
});

it('lets in so many of a share, for its weight, and so many of all', () => {
  const { hub } = hubOf();
  const leaves = Array.from({ length: MOST_OF_SHARE }, () => hub.join({ name: 'a', weight: 1 }));
  assert.equal(hub.join({ name: 'a', weight: 1 }), undefined);
  const [first] = leaves;
  first?.();
  first?.();
  assert.equal(hub.listeners, MOST_OF_SHARE - 1, 'left once');
  assert.ok(hub.join({ name: 'a', weight: 1 }));
  assert.equal(hub.join({ name: 'a', weight: 1 }), undefined);
  for (let count = 0; hub.listeners < MOST_LISTENERS; count += 1)
    assert.ok(hub.join({ name: `b${count}`, weight: 1 }));
  assert.equal(hub.join({ name: 'c', weight: 4 }), undefined);
});
