import assert from 'node:assert/strict';
import { it } from 'node:test';
import { NONCE_MS, Nonces } from '../../src/serve/nonces.ts';
import { Shares } from '../../src/serve/shares.ts';

const use = (address: string, more: object = {}) => ({
  mac: '52:54:00:12:34:56',
  address,
  about: '',
  ...more,
});

it('a nonce is good once, for what it was given for, and for some minutes', () => {
  let now = 0;
  const nonces = new Nonces(new Shares(), () => now);
  const nonce = nonces.give(use('10.0.0.1'));
  assert.match(nonce, /^[0-9a-f]{32}$/);
  for (const other of [
    use('10.0.0.2'),
    use('10.0.0.1', { mac: '52:54:00:12:34:57' }),
    use('10.0.0.1', { about: 'x' }),
  ])
    assert.equal(nonces.take(nonce, other), false);
  now = NONCE_MS - 1;
  assert.equal(nonces.take(nonce, use('10.0.0.1')), true);
  assert.equal(nonces.take(nonce, use('10.0.0.1')), false);
  const late = nonces.give(use('10.0.0.1'));
  now += NONCE_MS;
  assert.equal(nonces.take(late, use('10.0.0.1')), false);
  assert.equal(nonces.size, 0);
});

it('one address takes the place of its own nonces alone, and a flood from many that of those who hold most', () => {
  const nonces = new Nonces(new Shares([{ prefix: '10.9.0.0/16', weight: 40 }]), () => 0);
  const mine = nonces.give(use('10.0.0.1'));
  for (let times = 0; times < 1000; times += 1) nonces.give(use('10.0.0.2'));
  assert.ok(nonces.size <= 65);
  const classroom = Array.from({ length: 200 }, (_, index) => nonces.give(use(`10.9.0.${index}`)));
  for (let host = 0; host < 250; host += 1)
    for (let times = 0; times < 50; times += 1) nonces.give(use(`10.1.${host}.1`));
  assert.ok(nonces.size <= 4096);
  assert.equal(nonces.take(mine, use('10.0.0.1')), true);
  const left = classroom.filter((nonce, index) => nonces.take(nonce, use(`10.9.0.${index}`)));
  assert.ok(left.length > 0, `${left.length} of a classroom behind one router`);
});
