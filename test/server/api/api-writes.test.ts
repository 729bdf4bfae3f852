import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmod, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { KeyholderClient } from '../../../src/keyholder/client.ts';
import { listArmed } from '../../../src/publish/arm.ts';
import type { Serving } from '../../../src/server/serve.ts';
import { readChannel } from '../../../src/store/channels.ts';
import { checkLog } from '../../../src/store/log-reader.ts';
import { openState } from '../../../src/store/state.ts';
import { withdrawnReason } from '../../../src/store/withdrawals.ts';
import { copier } from '../../faults/copies.ts';
import { keyholder, NEW, OLD, socketIn } from '../../keyholder/sites.ts';
import { apiSite, ask, MAC, OTHER_MAC, SILENT, serving } from './api-site.ts';

const run = promisify(execFile);
const MAIN = fileURLToPath(new URL('../../../src/cli/main.js', import.meta.url));

const site = await apiSite();
const { folder, keys, anchors, tokens } = site;
const fresh = copier(folder, site.state);

/** A server that has a keyholder, as two processes of one machine would stand. */
async function signed(t: TestContext): Promise<{ readonly state: string; readonly server: Serving }> {
  const state = await fresh();
  // What nobody has signed yet the server would have signed by itself, between two things that are asked.
  await rm(join(state, 'machines', '10-room.toml'));
  const socket = await socketIn(folder);
  await keyholder(t, { keys, state }, socket, ['--anchors', anchors, '--script-keys', keys]);
  const server = await serving(t, site, state, { signer: new KeyholderClient({ socket }) });
  return { state, server };
}

/** The same without anybody who signs. */
async function alone(t: TestContext): Promise<{ readonly state: string; readonly server: Serving }> {
  const state = await fresh();
  return { state, server: await serving(t, site, state) };
}

/** Acts of the log with where they came from, the newest first. */
async function logged(server: Serving, most = 4): Promise<string[]> {
  const { entries } = (await ask(server, 'GET', `/log?limit=${most}`)).value;
  return entries.map(
    ({ act, origin = '', signed: isSigned }: { act: string; origin: string; signed: boolean }) =>
      `${act} ${origin}${isSigned ? '' : ' (waits)'}`,
  );
}

/** What the answer says does it where the keys are. */
async function obey(command: string, state: string): Promise<string> {
  const folders = `STATE=${state} ANCHORS=${anchors} KEYS=${keys}`;
  const shell = `bootseal() { ${process.execPath} ${MAIN} "$@"; }\n${folders}\n${command}`;
  return (await run('sh', ['-ec', shell])).stdout;
}

it('a keyholder arms a machine, once for each request, and takes it back', async (t) => {
  const { state, server } = await signed(t);
  const body = { release: OLD, minutes: 60, afterwards: 'usual', id: '0123456789abcdef' };
  const told = await ask(server, 'POST', `/machines/${MAC}/arm`, { token: tokens.arm, body });
  assert.equal(told.status, 200, JSON.stringify(told.value));
  assert.deepEqual([told.value.answer, told.value.changed], ['armed', true]);
  assert.match(told.value.armed.by, /^keyholder, uid [0-9]+, token only-arm$/);
  assert.equal(Date.parse(told.value.armed.ends) - Date.parse(told.value.armed.armed), 3_600_000);
  const again = await ask(server, 'POST', `/machines/${MAC}/arm`, { token: tokens.arm, body });
  assert.deepEqual([again.status, again.value.changed], [200, false]);
  assert.equal((await listArmed(state)).length, 1);
  assert.match(
    (await logged(server))[1] ?? '',
    /^ask keyholder: arm .*, asked by uid [0-9]+ for the token only-arm$/,
  );
  const back = await ask(server, 'DELETE', `/machines/${MAC}/arm`, { token: tokens.arm });
  assert.deepEqual([back.status, back.value], [200, { answer: 'not armed', changed: true, warnings: [] }]);
  assert.equal((await listArmed(state))[0]?.consumed?.how, 'cancelled');
  assert.match(
    (await logged(server))[0] ?? '',
    /^disarm 52:54:00:00:00:0a, arming 0123456789abcdef, by keyholder.*token only-arm$/,
  );
  const nothing = await ask(server, 'DELETE', `/machines/${OTHER_MAC}/arm`, { token: tokens.arm });
  assert.deepEqual([nothing.status, nothing.value.changed], [200, false]);
  // What it is refused by, it is refused by as without the API, and nothing is armed.
  const word = { ...body, id: '00000000000000aa', words: ['init=/bin/sh'] };
  const refused = await ask(server, 'POST', `/machines/${MAC}/arm`, { token: tokens.arm, body: word });
  assert.deepEqual([refused.status, refused.value.code], [403, 'wrong-command-line']);
  const reused = await ask(server, 'POST', `/machines/${OTHER_MAC}/arm`, {
    token: tokens.arm,
    body: { release: 'arch/1999.01.01' },
  });
  assert.deepEqual([reused.status, reused.value.code], [404, 'absent']);
  assert.equal((await listArmed(state))[0]?.consumed?.how, 'cancelled');
  await checkLog({ state, now: Date.now() });
});

it('a keyholder moves and renews a channel', async (t) => {
  const { state, server } = await signed(t);
  const given = { token: tokens.channels };
  const moved = await ask(server, 'POST', '/channels/stable/move', { ...given, body: { release: NEW } });
  assert.equal(moved.status, 200, JSON.stringify(moved.value));
  assert.deepEqual([moved.value.changed, moved.value.snapshot.releases[0].release], [true, NEW]);
  assert.equal((await readChannel(state, 'stable'))?.snapshot.releases[0]?.release, NEW);
  const same = await ask(server, 'POST', '/channels/stable/move', { ...given, body: { release: NEW } });
  assert.deepEqual([same.status, same.value.changed], [200, false]);
  const back = await ask(server, 'POST', '/channels/stable/move', { ...given, body: { release: OLD } });
  assert.equal(back.value.snapshot.releases[0].rollbackFrom, NEW);
  const renewed = await ask(server, 'POST', '/channels/stable/renew', { ...given, body: {} });
  assert.equal(renewed.value.snapshot.counter, back.value.snapshot.counter + 1);
  const acts = await logged(server, 6);
  assert.match(acts[1] ?? '', /^ask keyholder: renew, asked by uid [0-9]+ for the token only-channels$/);
  // Each on record once by whoever asked, and once as what was done.
  assert.equal(acts.filter((act) => act.startsWith('ask ')).length, 3);
  const none = await ask(server, 'POST', '/channels/stable/move', {
    ...given,
    body: { release: 'arch/1999.01.01' },
  });
  assert.deepEqual([none.status, none.value.code], [404, 'absent']);
});

it('a keyholder withdraws a release, on record with whose token it was', async (t) => {
  const { state, server } = await signed(t);
  const path = `/releases/${NEW}/withdraw`;
  const body = { reason: "It doesn't start." };
  const told = await ask(server, 'POST', path, { token: tokens.withdraw, body });
  assert.equal(told.status, 200, JSON.stringify(told.value));
  assert.equal(told.value.changed, true);
  assert.match(told.value.warnings[0], /^next still names arch\/2026\.11\.02/);
  assert.deepEqual((await withdrawnReason(state, NEW))?.reason, body.reason);
  assert.match((await logged(server))[0] ?? '', /^withdraw by uid [0-9]+ for the token only-withdraw$/);
  const again = await ask(server, 'POST', path, { token: tokens.withdraw, body });
  assert.equal(again.value.changed, false);
  assert.equal((await logged(server, 500)).filter((act) => act.startsWith('withdraw')).length, 1);
  // Nothing that was withdrawn is armed, assigned or moved to.
  const given = { token: tokens.channels, body: { release: NEW } };
  assert.equal((await ask(server, 'POST', '/channels/stable/move', given)).status, 410);
});

it('a keyholder writes and signs what a machine is assigned', async (t) => {
  const { state, server } = await signed(t);
  const path = `/machines/${OTHER_MAC.replaceAll(':', '-')}/assignment`;
  const body = { name: 'kiosk', gets: { channel: 'next' } };
  const told = await ask(server, 'PUT', path, { token: tokens.assign, body });
  assert.equal(told.status, 200, JSON.stringify(told.value));
  assert.deepEqual(told.value, {
    ...{ answer: 'signed', changed: true, assigned: 'named kiosk; gets what next names', warnings: [] },
  });
  const file = join(state, 'machines', 'api-52-54-00-00-00-0b.toml');
  assert.match(await readFile(file, 'utf8'), /^# Written by the API of Bootseal/);
  assert.match((await readChannel(state, 'stable'))?.snapshot.scripts ?? '', /^[0-9a-f]{64}$/);
  const acts = await logged(server, 20);
  const at = acts.findIndex((act) => act.startsWith('assign '));
  assert.match(
    acts[at] ?? '',
    /^assign 52:54:00:00:00:0b, by uid [0-9]+ for the token only-assign: named kiosk; gets what next names$/,
  );
  assert.match(acts[at + 1] ?? '', /^ask keyholder: assign 52:54:00:00:00:0b, asked by/);
  // Written by the same words again, nothing is written.
  const again = await ask(server, 'PUT', path, { token: tokens.assign, body });
  assert.deepEqual([again.status, again.value.changed], [200, false]);
  const off = await ask(server, 'DELETE', path, { token: tokens.assign });
  assert.deepEqual([off.status, off.value.changed], [200, true]);
  assert.deepEqual(await readdir(join(state, 'machines')), []);
  assert.equal((await readChannel(state, 'stable'))?.snapshot.scripts, undefined);
});

it('what somebody else wrote about a machine stays, and what could not be signed is not written', async (t) => {
  const { state, server } = await alone(t);
  const before = await readFile(join(state, 'machines', '10-room.toml'), 'utf8');
  const put = (mac: string, body: unknown) =>
    ask(server, 'PUT', `/machines/${mac}/assignment`, { token: tokens.assign, body });
  const theirs = await put(MAC, { gets: { channel: 'next' } });
  assert.equal(theirs.status, 409);
  assert.equal(
    theirs.value.message,
    `10-room.toml in the folder of machines says what ${MAC} gets already: it is reader-1 there; change it in that file.`,
  );
  for (const [body, status, words] of [
    [{ gets: { channel: 'nightly' } }, 404, /no channel nightly/],
    [{ gets: { channel: 'stable', release: 'arch/1999.01.01' } }, 404, /no release/],
    [{ gets: { channel: 'stable', words: ['init=/bin/sh'] } }, 403, /fills no free word/],
    [{ gets: { channel: 'stable', boot: 'local' } }, 400, /boots no release/],
    [{ name: 'reader-1', labels: ['readers'] }, 409, /the name reader-1 is another machine's already/],
    [{}, 400, /neither labels nor gets/],
    [{ labels: ['readers'], colour: 'red' }, 400, /colour/],
    [{ labels: ['a"]\nmac = "x'] }, 400, /is no name/],
  ] as const) {
    const { status: told, value } = await put(OTHER_MAC, body);
    assert.equal(told, status, JSON.stringify(value));
    assert.match(value.message, words);
    assert.ok(!value.message.includes(folder), value.message);
  }
  assert.equal(await readFile(join(state, 'machines', '10-room.toml'), 'utf8'), before);
  assert.deepEqual(await readdir(join(state, 'machines')), ['10-room.toml']);
});

it('what was assigned here is taken away also where somebody has written the machine down since', async (t) => {
  const { state, server } = await alone(t);
  const path = `/machines/${OTHER_MAC}/assignment`;
  const given = { token: tokens.assign };
  assert.equal((await ask(server, 'PUT', path, { ...given, body: { labels: ['readers'] } })).status, 202);
  await writeFile(
    join(state, 'machines', '20-more.toml'),
    `[[machine]]\nname = "kiosk"\nmac = "${OTHER_MAC}"\n`,
  );
  const { fault } = (await ask(server, 'GET', '/machines')).value;
  assert.match(
    fault,
    /^machines\/api-52-54-00-00-00-0b\.toml, line 2: the address .* is another machine's already/,
  );
  const gone = await ask(server, 'DELETE', path, given);
  assert.equal(gone.status, 202, JSON.stringify(gone.value));
  assert.deepEqual(await readdir(join(state, 'machines')), ['10-room.toml', '20-more.toml']);
  assert.equal((await ask(server, 'GET', '/machines')).value.fault, undefined);
});

it('without anybody who signs, what needs no key is done and what needs one waits, with what does it', async (t) => {
  const { state, server } = await alone(t);
  // 1. Armed: nothing is done, and the command does it.
  const body = { release: OLD, minutes: 90, afterwards: 'usual' };
  const arm = await ask(server, 'POST', `/machines/${MAC}/arm`, { token: tokens.arm, body });
  assert.equal(arm.status, 202);
  assert.equal(arm.value.answer, 'waiting for a signature');
  assert.deepEqual(arm.value.request, { mac: MAC, words: [], loader: 'ipxe', ...body });
  assert.deepEqual(await listArmed(state), []);
  await obey(arm.value.command, state);
  assert.equal((await listArmed(state))[0]?.arming.release, OLD);
  // 2. Taken back: no key is needed, and the log waits for one.
  const back = await ask(server, 'DELETE', `/machines/${MAC}/arm`, { token: tokens.arm });
  assert.deepEqual([back.status, back.value.changed], [200, true]);
  assert.match((await logged(server))[0] ?? '', /^disarm .*, by token only-arm \(waits\)$/);
  // 3. Moved and renewed.
  const given = { token: tokens.channels };
  const move = await ask(server, 'POST', '/channels/stable/move', { ...given, body: { release: NEW } });
  assert.equal(move.status, 202);
  assert.equal((await readChannel(state, 'stable'))?.snapshot.releases[0]?.release, OLD);
  await obey(move.value.command, state);
  assert.equal((await readChannel(state, 'stable'))?.snapshot.releases[0]?.release, NEW);
  const renew = await ask(server, 'POST', '/channels/stable/renew', { ...given, body: {} });
  assert.equal(renew.status, 202);
  await obey(renew.value.command, state);
  // 4. Assigned: written, and it counts once it is signed.
  const assign = await ask(server, 'PUT', `/machines/${OTHER_MAC}/assignment`, {
    token: tokens.assign,
    body: { labels: ['readers'] },
  });
  assert.equal(assign.status, 202, JSON.stringify(assign.value));
  assert.equal(assign.value.request.file, 'machines/api-52-54-00-00-00-0b.toml');
  assert.equal(await readFile(join(state, assign.value.request.file), 'utf8'), assign.value.request.text);
  assert.match(
    (await logged(server))[0] ?? '',
    /^assign .*, by token only-assign: labels readers \(waits\)$/,
  );
  await obey(assign.value.command, state);
  const { written, signed: counts } = (await ask(server, 'GET', `/machines/${OTHER_MAC}`)).value;
  assert.deepEqual([written.by, counts.by], ['the group readers', 'the group readers']);
  // 5. Withdrawn: counts at once.
  const gone = await ask(server, 'POST', `/releases/${NEW}/withdraw`, {
    token: tokens.withdraw,
    body: { reason: 'It loses data.', now: true },
  });
  assert.equal(gone.status, 200, JSON.stringify(gone.value));
  assert.equal((await withdrawnReason(state, NEW))?.now, true);
  assert.match((await logged(server))[0] ?? '', /^withdraw by token only-withdraw \(waits\)$/);
  await obey('bootseal log sign --state "$STATE" --snapshot-key "$KEYS"', state);
  await checkLog({ state, now: Date.now() });
});

it('many that ask at once are done one after the other, and a state that others write to is waited for', async (t) => {
  const { state, server } = await alone(t);
  const held = await openState(state);
  const asked = Array.from({ length: 8 }, (_, at) =>
    ask(server, 'PUT', `/machines/52:54:00:00:02:0${at}/assignment`, {
      token: tokens.assign,
      body: { labels: ['readers'] },
    }),
  );
  await held.release();
  const told = await Promise.all(asked);
  assert.deepEqual(new Set(told.map(({ status }) => status)), new Set([202]));
  assert.equal((await readdir(join(state, 'machines'))).length, 9);
  assert.equal((await logged(server, 500)).filter((act) => act.startsWith('assign')).length, 8);
});

it('where the state is locked for long, it says so and nothing is done', async (t) => {
  const { state, server } = await alone(t);
  const held = await openState(state);
  t.after(() => held.release());
  const { status, value, headers } = await ask(server, 'POST', `/releases/${NEW}/withdraw`, {
    token: tokens.withdraw,
    body: { reason: 'It does not start.' },
  });
  assert.equal(status, 503);
  assert.match(value.message, /Somebody else writes to the state/);
  assert.equal(headers.get('retry-after'), '1');
  assert.equal(await withdrawnReason(state, NEW), undefined);
});

it('a keyholder that is away changes nothing, and its absence is no success', async (t) => {
  const state = await fresh();
  const said: string[] = [];
  const log = { ...SILENT, error: (facts: { err?: Error }) => void said.push(String(facts.err?.message)) };
  const signer = new KeyholderClient({ socket: await socketIn(folder) });
  const server = await serving(t, site, state, { signer, log });
  const { status, value } = await ask(server, 'POST', '/channels/stable/renew', {
    token: tokens.channels,
    body: {},
  });
  assert.equal(status, 503);
  assert.ok(!value.message.includes(folder));
  assert.match(said.join(), /No keyholder answers/);
  // Nor is what needs no key done behind the back of whoever keeps the state.
  const { status: withdrawn } = await ask(server, 'POST', `/releases/${NEW}/withdraw`, {
    token: tokens.withdraw,
    body: { reason: 'It does not start.' },
  });
  assert.equal(withdrawn, 503);
});

it('a body is JSON, small, whole, and holds nothing that nobody asked for', async (t) => {
  const { server } = await alone(t);
  const path = `/machines/${MAC}/arm`;
  const send = (body: string, type = 'application/json') =>
    ask(server, 'POST', path, { token: tokens.arm, body, headers: { 'content-type': type } });
  const good = JSON.stringify({ release: OLD });
  for (const [what, told, status] of [
    ['good', await send(good), 202],
    ['good, with a charset', await send(good, 'application/json; charset=utf-8'), 202],
    ['a form', await send(`release=${OLD}`, 'application/x-www-form-urlencoded'), 415],
    ['text', await send(good, 'text/plain'), 415],
    ['no JSON', await send('{'), 400],
    ['not UTF-8', await send('{"release":"\ud800"}'), 400],
    ['a list', await send('[]'), 400],
    ['nothing', await send(' '), 400],
    ['another key', await send(JSON.stringify({ release: OLD, by: 'root' })), 400],
    ['a prototype', await send(`{"release":"${OLD}","__proto__":{"minutes":1}}`), 400],
    ['too long a time', await send(JSON.stringify({ release: OLD, minutes: 1441 })), 400],
    ['a text for a number', await send(JSON.stringify({ release: OLD, minutes: '60' })), 400],
    ['a release that climbs', await send(JSON.stringify({ release: '../private' })), 400],
    ['a word with a blank', await send(JSON.stringify({ release: OLD, words: ['a=b c=d'] })), 400],
    ['too many words', await send(JSON.stringify({ release: OLD, words: Array(17).fill('a=b') })), 400],
    ['too large', await send(`${good}${' '.repeat(17_000)}`), 413],
  ] as const)
    assert.equal(told.status, status, `${what}: ${JSON.stringify(told.value)}`);
});

it('a server that may not write to its state says what is to be done instead', async () => {
  if (process.getuid?.() !== 0) throw new Error('Only root can become somebody else.');
  const state = await fresh();
  await chmod(folder, 0o755);
  // As a user of its own that reads the state, and owns no file of it.
  const script = join(folder, 'reader.mjs');
  const at = (name: string) => JSON.stringify(new URL(`../../../src/${name}`, import.meta.url).href);
  await writeFile(
    script,
    `import { byOneself } from ${at('server/api/writer.js')};
     import { withdrawStored } from ${at('store/withdraw.js')};
     process.setgid(65533); process.setuid(65533);
     const facts = { release: '${NEW}', reason: 'It does not start.', cutRunning: false };
     const done = await byOneself('${state}', (record) => withdrawStored('${state}', facts, Date.now(), 'x', record));
     console.log(JSON.stringify(done ?? null));`,
  );
  await chmod(script, 0o644);
  const { stdout } = await run(process.execPath, [script]);
  assert.equal(stdout, 'null\n');
  assert.equal(await withdrawnReason(state, NEW), undefined);
  await rm(script);
});
