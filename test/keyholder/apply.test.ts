import assert from 'node:assert/strict';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { KeyholderClient } from '../../src/keyholder/client.ts';
import { serve } from '../../src/server/serve.ts';
import { channelNames, readChannel } from '../../src/store/channels.ts';
import { copier } from '../faults/copies.ts';
import { hearing } from '../server/hearing.ts';
import { sayAs } from './raw-client.ts';
import { keyholder, keyholderSite, socketIn } from './sites.ts';

const MAC = '52:54:00:00:00:0a';
const site = await keyholderSite();
const { folder, anchors, keys } = site;
const fresh = copier(folder, site.state);
const [channel = ''] = await channelNames(site.state);

async function write(state: string, gets: string): Promise<void> {
  await mkdir(join(state, 'machines'), { recursive: true });
  const text = `[[machine]]\nname = "a"\nmac = "${MAC}"\ngets = ${gets}\n`;
  await writeFile(join(state, 'machines', 'all.toml'), text);
}
const scriptsOf = async (state: string) => (await readChannel(state, channel))?.snapshot.scripts;

it('a keyholder signs the scripts of machines by what is written in its state', async (t) => {
  const state = await fresh();
  await write(state, `{ channel = "${channel}" }`);
  const socket = await socketIn(folder);
  await keyholder(t, { keys, state }, socket, ['--anchors', anchors, '--script-keys', keys]);
  const { snapshot } = await new KeyholderClient({ socket }).apply(channel);
  assert.match(snapshot.scripts ?? '', /^[0-9a-f]{64}$/);
  assert.equal(await scriptsOf(state), snapshot.scripts);
  // What it would sign must be free in the release, whoever wrote it.
  await write(state, `{ channel = "${channel}", words = ["init=/bin/sh"] }`);
  await assert.rejects(new KeyholderClient({ socket }).apply(channel), { code: 'wrong-command-line' });
  assert.equal(await scriptsOf(state), snapshot.scripts);
});

it('a keyholder without keys for scripts signs none', async (t) => {
  const state = await fresh();
  await write(state, `{ channel = "${channel}" }`);
  const socket = await socketIn(folder);
  await keyholder(t, { keys, state }, socket, ['--anchors', anchors]);
  await assert.rejects(new KeyholderClient({ socket }).apply(channel), {
    name: 'UsageError',
    message: /2 of the 2 scripts that machines get/,
  });
});

it('a server has changed rules signed, and says where nobody does', async (t) => {
  const state = await fresh();
  const socket = await socketIn(folder);
  await keyholder(t, { keys, state }, socket, ['--anchors', anchors, '--script-keys', keys]);
  const client = new KeyholderClient({ socket });
  const { log, heard } = hearing();
  const given = { state, anchors, channel, httpPort: 0, tftpPort: false, nbdPort: false } as const;
  const server = await serve({
    ...given,
    log,
    signer: client,
  });
  t.after(() => server.close(0));
  await write(state, `{ channel = "${channel}" }`);
  await heard('the scripts of its machines were signed');
  assert.match((await scriptsOf(state)) ?? '', /^[0-9a-f]{64}$/);
  // A file with a fault changes nothing, and is told with its line.
  await write(state, '{ boot = "nothing" }');
  await heard('the files of machines are not read');
  const ready = await (await fetch(`${server.url}/readyz`)).text();
  assert.match(ready, /what is written about machines is not read.*all\.toml, line 4: machine\.gets\.boot/);
});

it('an account that may ask for some things is refused all others', async (t) => {
  if (process.getuid?.() !== 0) throw new Error('Only root can ask as somebody else.');
  const SERVER = 61_234;
  const state = await fresh();
  await write(state, `{ channel = "${channel}" }`);
  const socket = await socketIn(folder);
  const more = [
    '--anchors',
    anchors,
    '--script-keys',
    keys,
    '--allow-user',
    `${SERVER}:apply`,
    '--group',
    String(SERVER),
  ];
  await keyholder(t, { keys, state }, socket, more);
  // Its mode alone is not what guards it.
  await chmod(folder, 0o755);
  await chmod(socket, 0o777);
  const ask = (facts: object) =>
    sayAs(SERVER, socket, `${JSON.stringify({ 'bootseal-keyholder': 1, ...facts })}\n`);
  assert.match(
    await ask({ ask: 'renew', channel }),
    /"refused","code":"forbidden","message":"uid 61234 may ask this keyholder for apply only, and this is renew; --allow-user says who may\."/,
  );
  assert.match(await ask({ ask: 'apply', channel }), /"answer":"done"/);
});
