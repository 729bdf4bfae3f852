import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { refuse } from '../../lab/s3-stub.ts';
import { boot } from '../../src/operations/boot.ts';
import { collectObjects } from '../../src/store/collect.ts';
import { runHere as run } from '../cli/here.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';
import { keys, site } from './bucket-site.ts';

const MAC = '52:54:00:00:00:0a';
const DAY = 86_400_000;
const anchors = `${keys}/anchors`;
const booted = (url: string) =>
  boot({ url: `${url}/boot.ipxe`, anchors, mac: MAC, now: NOW, anyKernel: true });

describe('receipts of a server of a state in a bucket', () => {
  it('lie there, are known after a restart and to the command, and are nothing that anybody is sent', async (t) => {
    const { stub, state, begin } = await site(t);
    const { server } = await begin();
    assert.equal((await booted(server.url)).refusal, undefined);
    assert.equal((await server.boots.ended(MAC, 0)).outcome, 'served');
    await server.close(0);
    const written = [...stub.objects.keys()].filter((key) => key.startsWith('site/boots/'));
    assert.equal(written.length, 1);
    assert.match(written[0] ?? '', /^site\/boots\/[\w.-]+-[0-9a-f]{8}\/[0-9]{8}T[0-9]{9}Z\.jsonl$/);
    const path = (written[0] ?? '').slice('site'.length);
    const { server: next } = await begin();
    const receipt = await next.boots.ended(MAC, 0);
    assert.deepEqual([receipt.outcome, receipt.machine], ['served', MAC]);
    for (const asked of [path, '/boots', '/boots/', `/releases/..${path}`, `/releases/%2e%2e${path}`]) {
      const answer = await fetch(next.url + asked);
      assert.equal(answer.status, 404, asked);
      assert.ok(!(await answer.text()).includes('jsonl":'), asked);
    }
    const table = await run(['boots', '--state', state, '--since', '2026-01-01']);
    assert.equal(table.code, 0, table.err);
    assert.match(table.out, new RegExp(`${MAC} .* served whole`));
    const one = await run(['boots', receipt.boot, '--state', state]);
    assert.match(one.out, /served whole/);
    const before = [...stub.objects].filter(([key]) => key.startsWith('site/boots/'));
    for (const now of [NOW, NOW + 8 * DAY, NOW + 800 * DAY]) await collectObjects({ state, now });
    assert.deepEqual(
      [...stub.objects].filter(([key]) => key.startsWith('site/boots/')),
      before,
    );
  });

  it('stay in memory where its credentials may not write there: it says so, and boots go on', async (t) => {
    const { stub, begin } = await site(t);
    stub.trick = (request) => {
      if (request.method !== 'PUT' && request.method !== 'DELETE') return false;
      request.message.resume();
      refuse(request, 403, 'AccessDenied');
      return true;
    };
    const { server, heard } = await begin();
    assert.equal((await booted(server.url)).refusal, undefined);
    await heard('receipts of boots cannot be written; boots go on');
    const ready = await fetch(`${server.url}/readyz`);
    assert.equal(ready.status, 200);
    assert.match(
      await ready.text(),
      /receipts of boots are not written at the moment: .*denies access to the bucket/,
    );
    assert.match(await (await fetch(`${server.url}/metrics`)).text(), /^bootseal_receipts_written 0$/m);
    assert.equal((await booted(server.url)).refusal, undefined);
    assert.equal((await server.boots.find({ machine: MAC }, 9)).length, 2);
    await server.close(0);
    await heard('the last receipts of boots are lost');
    assert.ok(![...stub.objects.keys()].some((key) => key.startsWith('site/boots/')));
  });

  it('are not put there where it has a folder for them', async (t) => {
    const { stub, begin } = await site(t);
    const receipts = await temporaryFolder();
    const { server } = await begin({ receipts });
    await booted(server.url);
    await server.boots.ended(MAC, 0);
    await server.close(0);
    assert.ok(!stub.asked.some((asked) => asked.includes('boots')));
    const table = await run(['boots', '--receipts', receipts, '--since', '2026-01-01']);
    assert.match(table.out, new RegExp(`${MAC} .* served whole`));
  });
});
