import assert from 'node:assert/strict';
import { get } from 'node:http';
import { text } from 'node:stream/consumers';
import { it } from 'node:test';
import { boot } from '../../src/operations/boot.ts';
import { disarmMachine, listArmed } from '../../src/publish/arm.ts';
import type { Serving } from '../../src/server/serve.ts';
import { readLogEntries } from '../../src/store/log-proof.ts';
import { armedSite, HOUR, MAC, OTHER_MAC, REPORTING, SILENT, USUAL } from '../fixtures/armed-site.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';

/** Emulated machines that are armed for one boot, up to what they boot afterwards. */

const site = await armedSite(await temporaryFolder());
const { anchors, state } = site;
/** Of a machine that was never armed. */
const FRESH_MAC = '52:54:00:12:34:58';

/** What a machine boots: the release, or the first word of why not. */
async function booted({ url }: Serving, mac = MAC): Promise<string> {
  const { manifest, refusal, verified } = await boot({
    url: `${url}/boot.ipxe`,
    anchors,
    mac,
    now: NOW,
    anyKernel: true,
  });
  return verified && manifest ? manifest.release : (refusal?.code ?? 'not verified');
}

async function acts(): Promise<string[]> {
  const found: string[] = [];
  await readLogEntries(state, ({ entry: { act, origin = '' } }) => {
    if (['arm', 'disarm', 'consume'].includes(act)) found.push(`${act} ${origin}`);
  });
  return found;
}

for (const [release, how] of [
  [REPORTING, 'report'],
  [SILENT, 'files'],
] as const) {
  it(`${release} is booted once, consumed by ${how}, and then what the machine usually boots`, async (t) => {
    const server = await site.serve(t);
    assert.equal(await booted(server), USUAL);
    const { arming, warnings } = await site.arm({ release });
    assert.equal(arming.leaves === undefined, how === 'report');
    assert.equal(warnings.length, how === 'report' ? 0 : 1);
    assert.equal(await booted(server, OTHER_MAC), USUAL);
    assert.equal(await booted(server), release);
    assert.equal(await booted(server), USUAL);
    const [kept] = await listArmed(state);
    assert.equal(kept?.consumed?.how, how);
    assert.match(kept.consumed.address ?? '', /^(::ffff:)?127\.0\.0\.1$/);
    await server.close();
    const log = await acts();
    assert.match(log.at(-2) ?? '', new RegExp(`^arm ${MAC}, arming ${arming.id}, by a test$`));
    assert.match(
      log.at(-1) ?? '',
      new RegExp(`^consume ${MAC}, arming ${arming.id}, ${how}, claimed at .*127\\.0\\.0\\.1$`),
    );
  });
}

it('a server that starts anew knows what was armed, and another of the same state what was consumed', async (t) => {
  await site.arm({ release: SILENT });
  const [one, other] = [await site.serve(t), await site.serve(t)];
  assert.equal(await booted(one), SILENT);
  assert.equal(await booted(other), USUAL);
});

it('a machine that was answered at once a moment ago gets what it is armed with, and then what is usual', async (t) => {
  const server = await site.serve(t);
  /** As a loader asks, which says nothing that has to be looked at. */
  const script = () =>
    new Promise<string>((resolve, reject) => {
      get(`${server.url}/boot.ipxe?mac=${FRESH_MAC}`, (answer) => {
        text(answer).then(resolve, reject);
      }).once('error', reject);
    });
  const usual = await script();
  assert.match(usual, new RegExp(USUAL));
  assert.equal(await script(), usual);
  await site.arm({ release: SILENT, mac: FRESH_MAC });
  assert.match(await script(), new RegExp(SILENT));
  await disarmMachine({ state, mac: FRESH_MAC, by: 'a test', now: NOW });
  assert.equal(await script(), usual);
});

it('a mode that the arming gives is that of this boot', async (t) => {
  const server = await site.serve(t);
  await site.arm({ words: ['bootseal.mode=verity', 'hostname=lab-1'] });
  const { mode, refusal } = await boot({
    url: `${server.url}/boot.ipxe`,
    anchors,
    mac: MAC,
    now: NOW,
    anyKernel: true,
  });
  // Its policy says ram, and this release has a hash tree.
  assert.deepEqual([mode, refusal?.code], ['verity', undefined]);
});

it('what was armed for the local disk has a signed script for that, until an operator ends it', async (t) => {
  const server = await site.serve(t);
  await site.arm({ afterwards: 'local' });
  assert.equal(await booted(server), REPORTING);
  const answer = await fetch(`${server.url}/boot.ipxe?mac=${MAC}`);
  assert.match(await answer.text(), /^set bootseal-next local$/m);
  const { ipxe, refusal } = await boot({
    url: `${server.url}/boot.ipxe`,
    anchors,
    mac: MAC,
    now: NOW,
    anyKernel: true,
  });
  assert.equal(ipxe.outcome.kind, 'own-disk', refusal?.message);
  assert.ok(await disarmMachine({ state, mac: MAC, by: 'a test', now: NOW }));
  assert.equal(await disarmMachine({ state, mac: MAC, by: 'a test', now: NOW }), undefined);
  assert.equal(await booted(server), USUAL);
});

it('an arming that was taken back, or has ended, is not booted, whatever the clock says later', async (t) => {
  let now = NOW;
  const server = await site.serve(t, () => now);
  await site.arm();
  assert.ok(await disarmMachine({ state, mac: MAC, by: 'a test', now: NOW }));
  assert.equal(await booted(server), USUAL);
  await site.arm({ lasts: HOUR });
  now = NOW + HOUR;
  assert.equal(await booted(server), USUAL);
  now = NOW;
  assert.equal(await booted(server), USUAL);
  assert.equal((await listArmed(state))[0]?.consumed?.how, 'ended');
});
