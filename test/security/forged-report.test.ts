import assert from 'node:assert/strict';
import { rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { after, beforeEach, describe, it } from 'node:test';
import { encodeBootReport, MAX_REPORT } from '../../src/formats/records/boot-report.ts';
import { listArmed } from '../../src/publish/arm.ts';
import type { ServerEvent } from '../../src/release/server-event.ts';
import { serve } from '../../src/server/serve.ts';
import { ArmedBoots } from '../../src/store/armed-boots.ts';
import { recordsOf } from '../../src/store/folder-backend.ts';
import { keepScript, readScript } from '../../src/store/signed-scripts.ts';
import { armedSite, HOUR, MAC, OTHER_MAC, REPORTING, SILENT, USUAL } from '../fixtures/armed-site.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';

/**
 * A neighbour who forges, repeats or floods what early userspace reports: it may end an arming, since nobody can tell the
 * machine from somebody at its address, and it can never make one.
 */

const site = await armedSite(await temporaryFolder());
const { state, anchors, keys } = site;
let now = NOW;
const told: ServerEvent[] = [];
const server = await serve({
  onEvent: (event) => {
    if (event.kind === 'reported' || event.kind === 'gave-up') told.push(event);
  },
  state,
  anchors,
  channel: 'stable',
  clock: () => now,
  bind: '0.0.0.0',
  httpPort: 0,
  tftpPort: false,
  nbdPort: false,
});
after(() => server.close(0));

/** By an address of this machine's own; each is another client. */
function ask(
  method: string,
  path: string,
  body = '',
  from = '127.0.0.1',
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const headers =
      body === '' ? {} : { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) };
    const { port } = server.http;
    const req = request(
      { host: '127.0.0.1', port, method, path, localAddress: from, headers, agent: false },
      (res) => {
        let text = '';
        res.setEncoding('utf8').on('data', (piece: string) => {
          text += piece;
        });
        res.on('end', () => resolve({ status: res.statusCode ?? 0, text }));
        res.on('error', reject);
      },
    );
    req.on('error', reject);
    req.end(body);
  });
}

async function nonceFor(once: string, from?: string, mac = MAC): Promise<string> {
  const about = once === '' ? '' : `&once=${once}`;
  const { text } = await ask('GET', `/api/v1/boots/nonce?mac=${mac}${about}`, '', from);
  return (JSON.parse(text) as { nonce: string }).nonce;
}

function report(nonce: string, once: string | undefined, from?: string, mac = MAC) {
  const whose = { mac, nonce, ...(once === undefined ? {} : { once }) };
  const text = encodeBootReport({ ...whose, outcome: 'verified', release: REPORTING, root: 'verity' });
  return ask('POST', '/api/v1/boots', text, from);
}

function refusal(nonce: string, once: string | undefined, from?: string) {
  const whose = { mac: MAC, nonce, ...(once === undefined ? {} : { once }) };
  const said = { code: 'stale', message: 'It is stale.', lines: ['bootseal: started'] } as const;
  return ask('POST', '/api/v1/boots', encodeBootReport({ ...whose, outcome: 'refused', ...said }), from);
}

async function isArmed(): Promise<boolean> {
  const [kept] = await listArmed(state);
  return kept !== undefined && kept.consumed === undefined;
}

const script = async (mac: string | undefined): Promise<string> =>
  (await ask('GET', `/boot.ipxe${mac === undefined ? '' : `?mac=${mac}`}`)).text;

let id = '';
beforeEach(async () => {
  now = NOW;
  ({
    arming: { id },
  } = await site.arm());
});

describe('a report', () => {
  it('with the nonce of another address is refused, and the nonce stays good for whom it was given to', async () => {
    const nonce = await nonceFor(id);
    assert.equal((await report(nonce, id, '127.0.0.2')).status, 409);
    assert.ok(await isArmed());
    assert.deepEqual(await report(nonce, id), { status: 200, text: '{"answer":"consumed"}\n' });
  });

  it('with a nonce of another machine, another arming or none is refused', async () => {
    for (const nonce of [
      await nonceFor(id, undefined, OTHER_MAC),
      await nonceFor('0123456789abcdef'),
      await nonceFor(''),
      'f'.repeat(32),
    ])
      assert.equal((await report(nonce, id)).status, 409);
    assert.ok(await isArmed());
  });

  it('that is sent twice is answered twice, and consumes once; for a new arming its nonce is none', async () => {
    const nonce = await nonceFor(id);
    for (let times = 0; times < 3; times += 1) assert.equal((await report(nonce, id)).status, 200);
    // Whoever has seen it on the wire learns nothing and ends nothing by sending it again.
    assert.equal((await report(nonce, id, '127.0.0.2')).status, 409);
    const { arming } = await site.arm();
    assert.equal((await report(nonce, arming.id)).status, 409);
    assert.equal((await report(nonce, id)).status, 409);
    assert.ok(await isArmed());
  });

  it('of one boot after another has consumed it is refused', async () => {
    const [first, second] = [await nonceFor(id), await nonceFor(id)];
    assert.equal((await report(first, id)).status, 200);
    const { status, text } = await report(second, id);
    assert.deepEqual([status, /was booted, and boots once/.test(text)], [410, true]);
  });

  it('arms nothing, whatever it says', async () => {
    const nonce = await nonceFor(id);
    await report(nonce, id);
    const before = await listArmed(state);
    const fresh = async () => nonceFor(id);
    const bodies = [
      { mac: MAC, nonce: await fresh(), once: id, outcome: 'armed' },
      { mac: MAC, nonce: await fresh(), once: id, outcome: 'verified', state: 'armed' },
      { mac: MAC, nonce: await fresh(), arm: REPORTING, outcome: 'verified' },
      {
        mac: OTHER_MAC,
        nonce: await nonceFor('0123456789abcdef', undefined, OTHER_MAC),
        once: '0123456789abcdef',
        outcome: 'verified',
      },
      [],
      null,
    ];
    for (const body of bodies) {
      const { status } = await ask('POST', '/api/v1/boots', JSON.stringify(body));
      assert.ok([400, 404].includes(status), `${JSON.stringify(body)}: ${status}`);
    }
    for (const method of ['PUT', 'DELETE', 'PATCH'])
      assert.equal((await ask(method, '/api/v1/boots', '{}')).status, 405);
    // A key that stands twice: two readers could read two things.
    const twice = `{"mac":"${MAC}","nonce":"${await fresh()}","nonce":"${await fresh()}","outcome":"verified","release":"${REPORTING}","root":"ram"}`;
    assert.equal((await ask('POST', '/api/v1/boots', twice)).status, 400);
    assert.deepEqual(await listArmed(state), before);
  });

  it('that is too long is refused by its length, and with a length that it does not keep', async () => {
    const { status } = await ask('POST', '/api/v1/boots', `{"mac":"${'a'.repeat(MAX_REPORT)}"}`);
    assert.equal(status, 413);
    assert.ok(await isArmed());
  });

  it('of a refusal is told, and ends no arming, whoever sends it and how often', async () => {
    told.length = 0;
    for (const from of ['127.0.0.1', '127.0.0.2', '127.0.0.1']) {
      const nonce = await nonceFor(id, from);
      assert.deepEqual(await refusal(nonce, id, from), { status: 200, text: '{"answer":"noted"}\n' });
      // Neither again, nor as the other kind.
      assert.equal((await refusal(nonce, id, from)).status, 409);
      assert.equal((await report(nonce, id, from)).status, 409);
      assert.ok(await isArmed());
    }
    // What was given for another arming, or for none, is not good for this one.
    assert.equal((await refusal(await nonceFor(''), id)).status, 409);
    assert.equal((await refusal(await nonceFor(id), undefined)).status, 409);
    assert.deepEqual(
      told.map((event) => ('remote' in event ? event.remote : '')),
      ['127.0.0.1', '127.0.0.2', '127.0.0.1'],
    );
    assert.deepEqual(told[0], {
      ...{ kind: 'reported', server: 'http', remote: '127.0.0.1', mac: MAC, once: id, outcome: 'refused' },
      ...{ code: 'stale', message: 'It is stale.', lines: ['bootseal: started'] },
    });
    assert.match(await script(MAC), new RegExp(`--signer ${REPORTING}`));
    assert.equal((await report(await nonceFor(id), id)).status, 200);
    assert.deepEqual(told.at(-1), {
      ...{ kind: 'reported', server: 'http', remote: '127.0.0.1', mac: MAC, once: id, outcome: 'verified' },
      ...{ release: REPORTING, root: 'verity', lines: [] },
    });
    // The arming is over, and a refusal brings nothing back.
    assert.equal((await refusal(await nonceFor(id), id)).status, 200);
    assert.ok(!(await isArmed()));
  });

  it('is told of one that floods no more than of all others', async () => {
    told.length = 0;
    const begun = performance.now();
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        for (let times = 0; times < 50; times += 1)
          await ask('GET', `/api/v1/boots/gave-up?mac=${MAC}&step=78&errno=`, '', '127.0.0.9');
      }),
    );
    const flooded = told.length;
    // So many in any ten seconds; a machine with other work takes longer for all of it.
    const most = 400 * Math.ceil((performance.now() - begun) / 10_000);
    assert.ok(flooded > 0 && flooded <= most, `${flooded} of ${most}`);
    assert.equal((await refusal(await nonceFor(id), id)).status, 200);
    assert.deepEqual([told.length, told.at(-1)?.kind], [flooded + 1, 'reported']);
  });

  it('comes through a thousand nonces that a neighbour asks for', async () => {
    const nonce = await nonceFor(id);
    await Promise.all(
      Array.from({ length: 40 }, async () => {
        for (let times = 0; times < 25; times += 1) await nonceFor(id, '127.0.0.3');
      }),
    );
    assert.equal((await report(nonce, id)).status, 200);
  });
});

describe('an armed script', () => {
  it('is of the machine that it was armed for, and of no other that asks', async () => {
    assert.match(await script('52-54-00-12-34-56'), new RegExp(`Release ${REPORTING}|--signer ${REPORTING}`));
    for (const mac of [undefined, OTHER_MAC, '52:54:00:12:34:5', '', '../..', `${MAC}&mac=${OTHER_MAC}`])
      assert.match(await script(mac), new RegExp(`--signer ${USUAL}`));
    // Whoever gets it all the same starts nothing by it.
    assert.match(await script(MAC), /iseq \$\{netX\/mac\} 52:54:00:12:34:56 && goto bootseal-mine/);
  });

  it('is not served any more after its end, nor are its reports taken', async () => {
    const nonce = await nonceFor(id);
    now = NOW + 4 * HOUR;
    assert.match(await script(MAC), new RegExp(`--signer ${USUAL}`));
    assert.equal((await report(nonce, id)).status, 410);
    now = NOW;
    assert.match(await script(MAC), new RegExp(`--signer ${USUAL}`));
  });

  it('is not served where its arming was written by somebody who has no key', async () => {
    const records = recordsOf(state);
    const { arming } = await site.arm({ release: SILENT });
    const { bytes, seal } = await readScript(records, 'ipxe', arming.script);
    const forge = async (change: object) => {
      const [before] = await listArmed(state);
      assert.ok(before);
      await new ArmedBoots(records).add({ ...arming, ...change });
      assert.match(await script(MAC), new RegExp(`--signer ${USUAL}`));
    };
    assert.match(await script(MAC), new RegExp(`--signer ${SILENT}`));
    // Another script, the same without its seal, a seal of another's.
    const other = Buffer.from(bytes.toString().replace('imgfree', 'imgfree '));
    await forge({ script: await keepScript(records, 'ipxe', { bytes: other, seal }) });
    await forge({ script: 'c'.repeat(64) });
    await forge({ manifest: 'd'.repeat(64) });
    // The everyday script of a release, whose leaf lasts for years.
    const own = await readScript(records, 'ipxe', arming.script);
    await rm(join(state, `scripts/${arming.script}.ipxe`));
    await writeFile(
      join(state, `scripts/${arming.script}.ipxe`),
      Buffer.concat([own.bytes, Buffer.from('\n')]),
    );
    await forge({});
  });

  it('whose leaf lasts is not served, though the boot key signed it', async () => {
    const records = recordsOf(state);
    const { readScriptKeys, sealScript } = await import('../../src/signing/keys/script-keys.ts');
    const { arming } = await site.arm({ release: SILENT });
    const { bytes } = await readScript(records, 'ipxe', arming.script);
    // As a batch is signed: by the leaf of two years.
    const longer = Buffer.from(`${Buffer.from(bytes).toString('latin1')}exit 1\n`, 'latin1');
    const seal = await sealScript(await readScriptKeys(keys, NOW), 'ipxe', longer, NOW);
    assert.ok(seal);
    await new ArmedBoots(records).add({
      ...arming,
      script: await keepScript(records, 'ipxe', { bytes: longer, seal }),
    });
    assert.match(await script(MAC), new RegExp(`--signer ${USUAL}`));
  });
});

describe('what leaves for an arming', () => {
  it('leaves for nobody once it was consumed, whoever asks, and only under its own name', async () => {
    const { arming } = await site.arm({ release: SILENT });
    const { leaves = [] } = arming;
    const at = (path: string, mac = '52-54-00-12-34-56', which = arming.id) =>
      ask('GET', `/armed/${mac}/${which}/releases/${SILENT}/${path}`);
    const [first = '', ...rest] = leaves;
    assert.ok(rest.length > 0);
    assert.equal((await at(first, '52-54-00-12-34-57')).status, 404);
    assert.equal((await at(first, undefined, '0123456789abcdef')).status, 410);
    assert.equal(
      (await ask('GET', `/armed/52-54-00-12-34-56/${arming.id}/releases/${USUAL}/${first}`)).status,
      404,
    );
    assert.equal((await ask('GET', `/armed/52-54-00-12-34-56/${arming.id}/boot.ipxe`)).status, 404);
    for (const path of leaves) {
      assert.ok(await isArmed());
      assert.equal((await at(path)).status, 200);
    }
    assert.ok(!(await isArmed()));
    for (const path of leaves) assert.equal((await at(path)).status, 410);
    // The seal of the last one comes behind it.
    assert.equal((await at(`${rest.at(-1)}.ipxe.sig`)).status, 200);
  });
});
