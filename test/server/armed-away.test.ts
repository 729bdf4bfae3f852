import assert from 'node:assert/strict';
import { it } from 'node:test';
import { IoError } from '../../src/errors/io.ts';
import type { BootScript } from '../../src/machines/booter.ts';
import { ArmedServing } from '../../src/server/armed.ts';
import { Away } from '../../src/server/away.ts';
import { ArmedBoots } from '../../src/store/armed-boots.ts';
import { DEFAULT_POLICY_FILE } from '../../src/trust/policy-file.ts';
import { MemoryBackend } from '../store/memory-backend.ts';

const MAC = '52:54:00:12:34:56';
const OTHER = '52:54:00:12:34:57';
const TIME = Date.UTC(2026, 10, 1, 10);

/** A bucket that may be away. */
class FarBackend extends MemoryBackend {
  away = false;

  override async get(key: string) {
    if (this.away) throw new IoError('The engine is away.', key, 'ECONNREFUSED');
    return super.get(key);
  }

  override async list(prefix: string) {
    if (this.away) throw new IoError('The engine is away.', prefix, 'ECONNREFUSED');
    return super.list(prefix);
  }
}

it('while the store is away machines get the usual, but those that were armed when they asked last', async () => {
  const records = new FarBackend();
  const said: string[] = [];
  const tell = (_facts: object, message: string) => void said.push(message);
  const log = { info: tell, warn: tell, error: tell };
  const armed = new ArmedServing({
    ...{ records, log, offered: () => [], clock: () => TIME, record: async () => {} },
    policy: async () => DEFAULT_POLICY_FILE,
    away: new Away(log),
  });
  const usual: BootScript = {
    name: 'boot.ipxe',
    bytes: Buffer.from('usual'),
    seal: Buffer.alloc(0),
    starts: 'release',
  };
  const booter = armed.booter({ boot: async () => usual });
  const boot = (mac: string) => booter.boot({ loader: 'ipxe', mac });
  await new ArmedBoots(records).add({
    ...{ id: '1'.padStart(16, '0'), mac: MAC, uuid: undefined, loader: 'ipxe', words: [], by: 'a test' },
    ...{ release: 'debian/2026.11.01', manifest: 'a'.repeat(64), script: 'b'.repeat(64) },
    ...{ armed: TIME, ends: TIME + 3_600_000, afterwards: 'usual', leaves: undefined },
  });
  // Armed with what is not offered here: it is said, and the machine boots as if nobody had armed it.
  assert.equal(await boot(MAC), usual);
  assert.deepEqual(armed.warnings, [
    `a machine that is armed booted as usual: debian/2026.11.01, which ${MAC} is armed with, is in no channel`,
  ]);
  assert.equal(await boot(OTHER), usual);
  records.away = true;
  assert.equal(await boot(OTHER), usual);
  assert.equal(await boot(OTHER), usual);
  await assert.rejects(boot(MAC), { name: 'IoError', message: /away/ });
  assert.deepEqual(said, [
    'an armed script is not served',
    'nobody can tell who is armed: other machines get what they usually boot',
  ]);
  armed.look();
  await armed.settled();
  assert.equal(armed.warnings.length, 1);
  records.away = false;
  await armed.once.cancel(MAC);
  armed.look();
  await armed.settled();
  assert.deepEqual(armed.warnings, []);
});
