import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import type { Booter, BootScript } from '../../src/machines/booter.ts';
import { stateArmed } from '../../src/server/armed.ts';
import { ArmedBoots } from '../../src/store/armed-boots.ts';
import { recordsOf } from '../../src/store/folder-backend.ts';
import { temporaryFolder } from '../fixtures/folder.ts';

const MAC = '52:54:00:12:34:56';
const TIME = Date.UTC(2026, 10, 1, 10);

it('whoever was never armed is answered without waiting; whoever was, is asked for', async () => {
  const state = join(await temporaryFolder(), 'state');
  const log = { info() {}, warn() {}, error() {} };
  const armed = stateArmed({ state, signer: undefined, offered: () => [], clock: () => TIME, log });
  const script: BootScript = {
    name: 'boot.ipxe',
    bytes: Buffer.from('usual'),
    seal: Buffer.alloc(0),
    starts: 'release',
  };
  const usual: Booter = { boot: async () => script, known: () => script };
  const known = (mac: string) => armed.booter(usual).known?.({ loader: 'ipxe', mac });
  assert.equal(known(MAC), script);
  await new ArmedBoots(recordsOf(state)).add({
    ...{ id: '1'.padStart(16, '0'), mac: MAC, uuid: undefined, loader: 'ipxe', words: [], by: 'a test' },
    ...{ release: 'debian/2026.11.01', manifest: 'a'.repeat(64), script: 'b'.repeat(64) },
    ...{ armed: TIME, ends: TIME + 3_600_000, afterwards: 'usual', leaves: undefined },
  });
  assert.equal(known(MAC), undefined);
  assert.equal(known('52:54:00:12:34:57'), script);
});
