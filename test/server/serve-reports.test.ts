import assert from 'node:assert/strict';
import { it } from 'node:test';
import { boot } from '../../src/operations/boot.ts';
import type { ServerEvent } from '../../src/release/server-event.ts';
import { serve } from '../../src/server/serve.ts';
import { armedSite, MAC, REPORTING } from '../fixtures/armed-site.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';

/** What a server hears of the boots of emulated machines, at each place where one can end. */

const { anchors, state } = await armedSite(await temporaryFolder());
const DAY = 86_400_000;

type Said = Extract<ServerEvent, { kind: 'reported' | 'gave-up' }>;

/** @param now the machine's clock; the server's stays where it was. */
async function bootedAt(
  t: { after: (work: () => Promise<void>) => void },
  now: number,
): Promise<{ said: Said[]; code: string | undefined }> {
  const said: Said[] = [];
  const server = await serve({
    ...{
      state,
      anchors,
      channel: 'reporting',
      clock: () => NOW,
      httpPort: 0,
      tftpPort: false,
      nbdPort: false,
    },
    onEvent: (event) => {
      if (event.kind === 'reported' || event.kind === 'gave-up') said.push(event);
    },
  });
  t.after(() => server.close(0));
  const { refusal } = await boot({ url: `${server.url}/boot.ipxe`, anchors, mac: MAC, now, anyKernel: true });
  return { said, code: refusal?.code };
}

it('early userspace reports a root that was verified, once', async (t) => {
  const { said, code } = await bootedAt(t, NOW);
  assert.equal(code, undefined);
  const [{ remote = '' } = {}] = said;
  assert.deepEqual(said, [
    {
      ...{ kind: 'reported', server: 'http', remote, mac: MAC, outcome: 'verified' },
      ...{ release: REPORTING, root: 'ram', lines: [] },
    },
  ]);
});

it('early userspace reports why it refuses, with what its console showed', async (t) => {
  // Its loader's certificates last longer than what the release is best before.
  const { said, code } = await bootedAt(t, NOW + 95 * DAY);
  assert.equal(code, 'stale');
  const [event, ...more] = said;
  assert.ok(event?.kind === 'reported' && more.length === 0);
  assert.deepEqual(
    [event.outcome, event.code, event.mac, event.release],
    ['refused', 'stale', MAC, undefined],
  );
  assert.match(event.message ?? '', /best before/);
  assert.equal(event.lines.at(-1), `ERROR: ${event.message}`.slice(0, 128));
});

it('a loader says at which step it gave up', async (t) => {
  const { said, code } = await bootedAt(t, NOW + 4000 * DAY);
  assert.ok(code);
  const [event, ...more] = said;
  assert.ok(event?.kind === 'gave-up' && more.length === 0, JSON.stringify(said));
  assert.match(event.step, /^verify boot\.ipxe as signed by boot\./);
  assert.equal(event.mac, MAC);
  assert.match(event.errno ?? '', /^0x[0-9a-f]+$/);
});
