import assert from 'node:assert/strict';
import { it } from 'node:test';
import { KeyholderClient } from '../../src/keyholder/client.ts';
import { listArmed } from '../../src/publish/arm.ts';
import { readLogEntries } from '../../src/store/log-proof.ts';
import { copier } from '../faults/copies.ts';
import { keyholder, keyholderSite, OLD, socketIn } from './sites.ts';

const site = await keyholderSite();
const { folder, anchors, keys } = site;
const fresh = copier(folder, site.state);
const MAC = '52:54:00:12:34:56';
const facts = {
  mac: MAC,
  release: OLD,
  words: [],
  lasts: 3_600_000,
  afterwards: 'usual',
  loader: 'ipxe',
} as const;

it('a keyholder arms a machine by facts, on record with who asked', async (t) => {
  const state = await fresh();
  const socket = await socketIn(folder);
  await keyholder(t, { keys, state }, socket, ['--anchors', anchors, '--script-keys', keys]);
  const client = new KeyholderClient({ socket });
  const { arming, warnings } = await client.arm({ ...facts, mac: MAC.replaceAll(':', '-') });
  assert.equal(arming.by, `keyholder, asked by uid ${process.getuid?.()}`);
  assert.match(warnings.join(), /does not report its boots/);
  const [kept] = await listArmed(state);
  assert.deepEqual([kept?.arming, kept?.consumed], [arming, undefined]);
  const origins: string[] = [];
  await readLogEntries(state, ({ entry: { act, origin = '' } }) => {
    if (act === 'ask' || act === 'arm') origins.push(origin);
  });
  assert.match(origins.at(-2) ?? '', new RegExp(`^keyholder: arm ${MAC}, asked by uid `));
  assert.match(origins.at(-1) ?? '', new RegExp(`^${MAC}, arming ${arming.id}, by keyholder`));
  // A word of nobody's, and a release of nobody's, are refused as by the act itself.
  await assert.rejects(client.arm({ ...facts, words: ['init=/bin/sh'] }), { code: 'wrong-command-line' });
  await assert.rejects(client.arm({ ...facts, release: 'arch/2020.01.01' }), { name: 'UsageError' });
  await assert.rejects(client.arm({ ...facts, lasts: 25 * 3_600_000 }), { name: 'UsageError' });
});

it('a keyholder without keys for scripts arms nothing', async (t) => {
  const state = await fresh();
  const socket = await socketIn(folder);
  await keyholder(t, { keys, state }, socket, ['--anchors', anchors]);
  await assert.rejects(new KeyholderClient({ socket }).arm(facts), {
    name: 'UsageError',
    message: /arms no machine/,
  });
  assert.deepEqual(await listArmed(state), []);
});
