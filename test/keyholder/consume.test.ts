import assert from 'node:assert/strict';
import { chmod, chown, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { type ArmFacts, KeyholderClient } from '../../src/keyholder/client.ts';
import { boot } from '../../src/operations/boot.ts';
import { addToken } from '../../src/operations/tokens.ts';
import { listArmed } from '../../src/publish/arm.ts';
import { readLogEntries } from '../../src/store/log-proof.ts';
import { serving } from '../cli/command.ts';
import { copier } from '../faults/copies.ts';
import { keyholder, keyholderSite, NEW, OLD, socketIn } from './sites.ts';

/** Armed boots of a state that is not the server's to write, as the packages install it. */

const site = await keyholderSite();
const { folder, anchors, keys } = site;
const fresh = copier(folder, site.state);
await chmod(folder, 0o755);
const MAC = '52:54:00:12:34:56';
const SERVER = 12_346;
const isRoot = process.geteuid?.() === 0;
const facts: ArmFacts = {
  ...{ mac: MAC, release: NEW, words: [], lasts: 3_600_000 },
  afterwards: 'usual',
  loader: 'ipxe',
};

async function held(t: TestContext, state: string): Promise<{ socket: string; client: KeyholderClient }> {
  const socket = await socketIn(folder);
  const more = ['--anchors', anchors, '--script-keys', keys, '--allow-user', `${SERVER}:consume`];
  await keyholder(t, { keys, state }, socket, more);
  // Of a group that the server is in, where it is installed.
  await chmod(socket, 0o777);
  return { socket, client: new KeyholderClient({ socket }) };
}

/** A server of another account than the state's. */
async function served(t: TestContext, state: string, more: readonly string[]) {
  const receipts = join(state, 'boots');
  await mkdir(receipts);
  await chown(receipts, SERVER, SERVER);
  const words = ['serve', '--state', state, '--anchors', anchors, '--channel', 'stable', '--json'];
  const ports = ['--http-port', '0', '--no-tftp', '--no-nbd'];
  const running = serving(t, [...words, ...ports, ...more], { uid: SERVER, cwd: '/' });
  const [line] = await running.until('out', /^\{.*\}$/m);
  const url = (JSON.parse(line) as { url: string }).url;
  return { url, running };
}

async function booted(url: string): Promise<string> {
  const { manifest, refusal, verified } = await boot({
    ...{ url: `${url}/boot.ipxe`, anchors, mac: MAC, now: Date.now(), anyKernel: true },
  });
  return verified && manifest ? manifest.release : (refusal?.code ?? 'not verified');
}

async function lastActs(state: string): Promise<string[]> {
  const found: string[] = [];
  await readLogEntries(state, ({ entry: { act, origin = '' } }) => {
    found.push(`${act} ${origin}`);
  });
  return found;
}

describe('an armed boot, where the state is not the server’s to write', () => {
  it('is booted once: the keyholder writes down that it was', async (t) => {
    // Only root can be somebody else.
    if (!isRoot) return assert.notEqual(process.geteuid?.(), 0);
    const state = await fresh();
    const { socket, client } = await held(t, state);
    const { url, running } = await served(t, state, ['--keyholder', socket]);
    assert.equal(await booted(url), OLD);
    const { arming } = await client.arm(facts);
    assert.equal(await booted(url), NEW);
    assert.equal(await booted(url), OLD);
    const [kept] = await listArmed(state);
    assert.equal(kept?.consumed?.how, 'files');
    assert.match(kept.consumed.address ?? '', /127\.0\.0\.1$/);
    // Whatever is asked next has its turn behind the entry.
    assert.equal((await client.checkpoint()).signed, 0, 'it is signed already');
    const log = await lastActs(state);
    assert.match(
      log.at(-1) ?? '',
      new RegExp(`^consume ${MAC}, arming ${arming.id}, files, claimed at .*127\\.0\\.0\\.1$`),
    );
    assert.doesNotMatch(running.said.err, /"level":50/);
  });

  it('is not begun where nobody would write it down: the machine boots as usual, and the log says why', async (t) => {
    if (!isRoot) return assert.notEqual(process.geteuid?.(), 0);
    const state = await fresh();
    const { client } = await held(t, state);
    await client.arm(facts);
    const { url, running } = await served(t, state, []);
    assert.equal(await booted(url), OLD);
    await running.until('err', /may not write to the state, and has no keyholder/);
    // Where the doctor and the page have it from.
    assert.match(
      await (await fetch(`${url}/readyz`)).text(),
      /^warning: a machine that is armed booted as usual: .*has no keyholder.*; start it with --keyholder$/m,
    );
    assert.equal((await listArmed(state))[0]?.consumed, undefined);
    // Its end cannot be written down either, and keeps the machine from nothing.
    const { arming } = await client.arm({ ...facts, lasts: 1000 });
    while (Date.now() < arming.ends) assert.equal(await booted(url), OLD);
    assert.equal(await booted(url), OLD);
    assert.doesNotMatch(running.said.err, /"status":5/);
  });
});

it('what a keyholder does not let a server ask for is answered so, and not as a fault', async (t) => {
  if (!isRoot) return assert.notEqual(process.geteuid?.(), 0);
  const state = await fresh();
  const { secret } = await addToken({
    ...{ state, name: 'lab', scopes: ['arm'], now: Date.now(), snapshotKey: keys },
  });
  // For the group that server and keyholder share.
  await chown(join(state, 'tokens'), 0, SERVER);
  const { socket } = await held(t, state);
  const { url } = await served(t, state, ['--keyholder', socket]);
  const answer = await fetch(`${url}/api/v1/machines/${MAC}/arm`, {
    method: 'POST',
    headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
    body: JSON.stringify({ release: NEW }),
  });
  const told = (await answer.json()) as { code: string; message: string };
  assert.deepEqual([answer.status, told.code], [403, 'forbidden']);
  assert.match(told.message, /may ask this keyholder for consume only, and this is arm;/);
});

describe('a keyholder that is told how far an armed boot is', () => {
  it('believes nothing that its records contradict', async (t) => {
    const state = await fresh();
    const { client } = await held(t, state);
    const { arming } = await client.arm(facts);
    const { id, leaves = [] } = arming;
    const told = { mac: MAC, id };
    assert.ok(leaves.length > 1);
    const refused = (why: RegExp, code = 'wrong-purpose') => ({ name: 'Refusal', code, message: why });
    await assert.rejects(client.consume({ ...told, how: 'ended' }), refused(/its time is not over/));
    await assert.rejects(client.consume({ ...told, how: 'report' }), refused(/not consumed by a report/));
    await assert.rejects(
      client.consume({ ...told, how: 'files' }),
      refused(/not all of its files have left/),
    );
    const other = { ...told, how: 'left', path: 'boot.ipxe' } as const;
    await assert.rejects(client.consume(other), refused(/no file by which it is counted/));
    const wrong = { ...told, id: '0'.repeat(16), how: 'files' } as const;
    await assert.rejects(client.consume(wrong), refused(/armed anew/, 'stale'));
    const stranger = { ...told, mac: '52:54:00:12:34:57', how: 'files' } as const;
    await assert.rejects(client.consume(stranger), refused(/is not armed/, 'absent'));
    assert.equal((await listArmed(state))[0]?.consumed, undefined);
    // More of them than one account is heard of anything else.
    for (let round = 0; round < 80; round += leaves.length)
      for (const path of leaves) await client.consume({ ...told, how: 'left', path });
    const address = '10.0.0.15';
    assert.equal((await client.consume({ ...told, how: 'files', address })).changed, true);
    assert.equal((await client.consume({ ...told, how: 'files', address })).changed, false);
    const [kept] = await listArmed(state);
    assert.deepEqual([kept?.consumed?.how, kept?.consumed?.address], ['files', address]);
  });
});
