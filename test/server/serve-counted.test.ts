import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import type { ServerEvent } from '../../src/release/server-event.ts';
import { serve } from '../../src/server/serve.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { sampleTree, sealFixture } from '../fixtures/release.ts';
import { dial } from '../serve/nbd/nbd-harness.ts';
import { fetchFile, rawSocket, rrq } from '../serve/tftp/tftp-harness.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const tree = await sampleTree(join(folder, 'tree'), keys);
await sealFixture(tree, keys);

it('every protocol is counted, and every refused request is logged once with what was asked for', async (t) => {
  const lines: { level: string; facts: Record<string, unknown>; message: string }[] = [];
  const say = (level: string) => (facts: object, message: string) =>
    lines.push({ level, facts: facts as Record<string, unknown>, message });
  const events: ServerEvent[] = [];
  const serving = await serve({
    ...{ tree, anchors: join(keys, 'anchors'), now: NOW, httpPort: 0, tftpPort: 0, nbdPort: 0 },
    log: { info: say('info'), warn: say('warn'), error: say('error') },
    onEvent: (event) => events.push(event),
  });
  t.after(() => serving.close(0));
  const [tftpPort, nbdPort] = [serving.tftp?.port ?? 0, serving.nbd?.port ?? 0];

  const script = Buffer.from(await (await fetch(`${serving.url}/boot.ipxe`)).arrayBuffer());
  assert.equal((await fetch(`${serving.url}/no%0Apath`)).status, 400);
  assert.equal((await fetch(`${serving.url}/boot.ipxe`, { method: 'DELETE' })).status, 405);
  assert.ok((await fetchFile(t, tftpPort, 'boot.ipxe')).data.equals(script));
  const stranger = await rawSocket(t);
  stranger.say(rrq('no\\such'), tftpPort);
  assert.equal((await stranger.hear()).packet.kind, 'error');
  const client = await dial(t, nbdPort);
  await client.greet();
  await client.ask({ kind: 'go', name: 'no\u202esuch', wants: [] });

  const text = await (await fetch(`${serving.url}/metrics`)).text();
  const told = (series: string) =>
    Number(
      text
        .split('\n')
        .find((line) => line.startsWith(`bootseal_${series} `))
        ?.split(' ')[1],
    );
  assert.equal(told('transfers_total{server="http",outcome="complete"}'), 1);
  assert.equal(told('transfers_total{server="http",outcome="refused"}'), 2);
  assert.equal(told('transfers_total{server="tftp",outcome="complete"}'), 1);
  assert.equal(told('sent_bytes_total{server="tftp"}'), script.length);
  assert.equal(told('tftp_retransmissions_total'), 0);
  assert.equal(told('refusals_total{server="http",code="unsafe-path"}'), 1);
  assert.equal(told('refusals_total{server="tftp",code="unsafe-path"}'), 1);
  assert.equal(told('refusals_total{server="nbd",code="absent"}'), 1);
  assert.equal(told('http_requests_total{status="405"}'), 1);
  assert.equal(told('connections{server="nbd"}'), 1);
  assert.equal(told('turned_away_total{server="nbd",reason="too-many"}'), 0);

  const asked = lines
    .filter(({ message }) => /: (refused|answered)$/.test(message))
    .map(({ facts, message }) => [message, facts.asked]);
  assert.deepEqual(asked, [
    ['http: refused', '/no%0Apath'],
    ['http: answered', '/boot.ipxe'],
    ['tftp: refused', 'no\\\\such'],
    ['nbd: refused', 'no\\u202esuch'],
  ]);
  assert.ok(events.some(({ kind, server }) => kind === 'ended' && server === 'tftp'));
});
