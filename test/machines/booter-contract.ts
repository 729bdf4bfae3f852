import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Refusal } from '../../src/errors/refusal.ts';
import type { Booter } from '../../src/machines/booter.ts';

/**
 * What every booter must answer, however it decides: scripts for each loader with the seal of these very bytes, the
 * same for the same machine, and a refusal instead of an exception.
 *
 * @param sealOf the seal that belongs to a script's bytes.
 */
export function booterContract(
  name: string,
  booter: Booter,
  sealOf: (bytes: Uint8Array) => Uint8Array,
): void {
  for (const loader of ['ipxe', 'grub'] as const) {
    it(`${name}: a script for ${loader} comes with its own seal, each time the same`, async () => {
      const machine = { loader, mac: '52:54:00:12:34:56' };
      const first = await booter.boot(machine);
      assert.ok(!(first instanceof Refusal), loader);
      assert.equal(first.name, loader === 'grub' ? 'grub.cfg' : 'boot.ipxe');
      assert.deepEqual(first.seal, sealOf(first.bytes));
      assert.deepEqual(await booter.boot(machine), first);
      // Nothing has to be waited for here.
      if (booter.known) assert.deepEqual(booter.known(machine), first);
    });
  }

  it(`${name}: a loader of a CA that nothing was sealed for is refused, not served another's script`, async () => {
    const answer = await booter.boot({ loader: 'ipxe', anchor: '0'.repeat(16) });
    assert.ok(answer instanceof Refusal);
    assert.equal(answer.code, 'absent');
    assert.equal(booter.known?.({ loader: 'ipxe', anchor: '0'.repeat(16) }), undefined);
  });
}
