import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Refusal } from '../../src/errors/refusal.ts';
import { bytesResource } from '../../src/release/bytes-resource.ts';
import type { ServerEvent } from '../../src/release/server-event.ts';
import type { Client } from '../../src/release/site.ts';
import { withBootBegins } from '../../src/serve/boot-begins.ts';

const ANCHOR = '/anchors/0123456789abcdef/boot.ipxe';

function watched() {
  let now = 0;
  const told: string[] = [];
  const emit = (event: ServerEvent): void => {
    if (event.kind === 'boot-began')
      told.push(`${event.server} ${event.remote} ${event.asked} ${event.trust}`);
  };
  const site = withBootBegins(
    {
      find: async (path) =>
        path.includes('absent') || path === '/machines/none/boot.ipxe'
          ? new Refusal('absent', 'Not here.', {})
          : bytesResource('a', new Uint8Array(), false),
    },
    { emit, loaders: new Set(['undionly.kpxe']), now: () => now },
  );
  const ask = (path: string, query?: string, more: Partial<Client> = {}) =>
    site.find(path, {
      remote: '10.0.0.9',
      ...(query === undefined ? {} : { query: new URLSearchParams(query) }),
      ...more,
    });
  return {
    told,
    ask,
    later: (ms: number) => {
      now += ms;
    },
  };
}

describe('the beginning of a boot', () => {
  it('is told with the trust that its loader claims', async () => {
    for (const [path, query, trust] of [
      [ANCHOR, 'network=0', 'local-imgverify'],
      [ANCHOR, 'network=1', 'network-imgverify'],
      [ANCHOR, 'network=0&network=0', 'network-imgverify'],
      [ANCHOR, undefined, 'network-imgverify'],
      ['/boot.ipxe', 'network=1', 'network-imgverify'],
      ['/entries/aarch64/boot.ipxe', 'network=0', 'local-imgverify'],
      ['/grub.cfg', undefined, 'grub'],
      ['/machines/52:54:00:12:34:56/grub.cfg', undefined, 'grub'],
      ['/entries/aarch64/grub.cfg', undefined, 'grub'],
      ['/uki.efi', undefined, 'secure-boot'],
      ['/unverified.ipxe', undefined, 'stock'],
    ] as const) {
      const { told, ask } = watched();
      await ask(path, query);
      assert.deepEqual(told, [`http 10.0.0.9 ${path} ${trust}`]);
    }
  });

  it('is not a seal, a script that a menu goes on to, a file of a release, or what there is not', async () => {
    const { told, ask } = watched();
    for (const path of [
      '/boot.ipxe.sig',
      '/channels/stable/boot.ipxe',
      '/releases/arch/1/boot.ipxe',
      '/releases/arch/1/uki.efi',
      '/autoexec.ipxe',
      '/machines/none/boot.ipxe',
    ])
      await ask(path, 'network=0');
    assert.deepEqual(told, []);
  });

  it('of a loader that was fetched here is of a network loader, whatever it says, until that is long ago', async () => {
    const { told, ask, later } = watched();
    await ask('/undionly.kpxe', undefined, { server: 'tftp' });
    await ask(ANCHOR, 'network=0');
    await ask(ANCHOR, 'network=0', { remote: '10.0.0.10' });
    later(10 * 60_000);
    await ask(ANCHOR, 'network=0');
    assert.deepEqual(
      told.map((line) => line.split(' ').at(-1)),
      ['network-imgverify', 'local-imgverify', 'local-imgverify'],
    );
  });

  it('is told once where a size is asked for before the file, and again for the next boot', async () => {
    const { told, ask, later } = watched();
    await ask('/grub.cfg', undefined, { server: 'tftp' });
    later(1000);
    await ask('/grub.cfg', undefined, { server: 'tftp' });
    assert.deepEqual(told, ['tftp 10.0.0.9 /grub.cfg grub']);
    later(30_000);
    await ask('/grub.cfg');
    assert.equal(told.length, 2);
  });
});
