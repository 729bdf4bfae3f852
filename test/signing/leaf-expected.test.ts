import assert from 'node:assert/strict';
import { appendFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { readyKeyPair } from '../fixtures/ready-keys.ts';
import { KERNEL, sampleTree, sealFixture } from '../fixtures/release.ts';
import { look } from './judges.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const tree = await sampleTree(join(folder, 'tree'), keys);

/** Seals, and says in which order keys of leaves were begun and pieces of payload were read. */
async function sealing() {
  const order: string[] = [];
  await sealFixture(tree, keys, {
    makeKeyPair: (kind, bits) => {
      order.push('key');
      return readyKeyPair(kind, bits);
    },
    onProgress: () => order.push('read'),
  });
  return order;
}

describe('the key of a release leaf', () => {
  it('is begun before payload is read where no seal stands, and once', async () => {
    const order = await sealing();
    assert.equal(order[0], 'key');
    assert.equal(order.filter((step) => step === 'key').length, 1);
    assert.ok(order.includes('read'));
  });

  it('is not made where every seal holds', async () => {
    assert.ok(!(await sealing()).includes('key'));
  });

  it('is made once payload was read where a seal stands that does not hold', async () => {
    await appendFile(join(tree, KERNEL), 'changed');
    const order = await sealing();
    assert.ok(order.indexOf('key') > order.indexOf('read'));
    assert.equal(order.filter((step) => step === 'key').length, 1);
  });

  it('that cannot be made ends the sealing, and nothing is written', async () => {
    await rm(join(tree, `${KERNEL}.ipxe.sig`));
    const before = look(tree);
    const makeKeyPair = () => Promise.reject(new Error('no primes'));
    await assert.rejects(sealFixture(tree, keys, { makeKeyPair }), /no primes/);
    assert.deepEqual(look(tree), before);
  });

  it('that nobody asks for any more is no fault of its own', async () => {
    const makeKeyPair = () => Promise.reject(new Error('no primes'));
    const onProgress = () => {
      throw new Error('the reader of progress');
    };
    await assert.rejects(sealFixture(tree, keys, { makeKeyPair, onProgress }), /the reader of progress/);
  });
});
