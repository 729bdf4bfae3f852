import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { boot } from '../../src/operations/boot.ts';
import { applyMachines, renewChannel } from '../../src/publish/channel.ts';
import { publish } from '../../src/publish/publish.ts';
import { withdrawRelease } from '../../src/publish/withdraw.ts';
import { resignStore } from '../../src/resigning/store.ts';
import { type Serving, serve } from '../../src/server/serve.ts';
import { readScriptKeys } from '../../src/signing/keys/script-keys.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { ROOTFS, sampleTree, sealFixture } from '../fixtures/release.ts';
import { hearing } from './hearing.ts';

const A = '52:54:00:00:00:0a';
const B = '52:54:00:00:00:0b';
const C = '52:54:00:00:00:0c';
const STRANGER = '52:54:00:99:99:99';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const anchors = join(keys, 'anchors');
const state = join(folder, 'state');
const given = { state, anchors, now: NOW, snapshotKey: keys };
const scriptKeys = await readScriptKeys(keys, NOW);

for (const version of ['2026.11.01', '2026.11.02', '2026.11.03']) {
  const tree = await sampleTree(join(folder, version), keys);
  await writeFile(join(tree, 'arch/version'), `${version}\n`);
  await writeFile(join(tree, ROOTFS), Buffer.alloc(100_000, version));
  await sealFixture(tree, keys, { free: ['ip dhcp', 'BOOTIF mac', 'archiso_http_srv url', 'hostname name'] });
}
await publish({ ...given, channel: 'stable', tree: join(folder, '2026.11.01') });
await publish({ ...given, channel: 'testing', tree: join(folder, '2026.11.02') });
await mkdir(join(state, 'machines'));
const rules = (text: string) => writeFile(join(state, 'machines', 'all.toml'), text);
const RULES = `
[[machine]]
name = "a"
mac = "${A}"
labels = "lab"

[[machine]]
name = "b"
mac = "${B}"
gets = { channel = "testing" }

[[machine]]
name = "c"
mac = "${C}"
gets = { boot = "refuse" }

[[group]]
name = "lab"
labels = "lab"
gets = { channel = "stable", words = ["hostname=lab"] }

[unknown]
gets = { boot = "hold" }
`;
await rules(RULES);

async function started(
  clock = () => NOW,
): Promise<{ server: Serving; heard: (message: string) => Promise<void> }> {
  const { log, heard } = hearing();
  const server = await serve({
    state,
    anchors,
    channel: 'stable',
    clock,
    httpPort: 0,
    tftpPort: false,
    nbdPort: false,
    log,
  });
  return { server, heard };
}

const boots = (server: Serving, mac: string) =>
  boot({ url: `${server.url}/boot.ipxe`, anchors, mac, now: NOW, anyKernel: true });

it('refuses to apply what nobody signed, and changes nothing', async () => {
  const before = await readFile(join(state, 'channels/stable/current'));
  await assert.rejects(applyMachines({ ...given, channel: 'stable' }), {
    name: 'UsageError',
    message:
      /^[1-9][0-9]* of the [0-9]+ scripts that machines get of stable are not signed \(for iPXE and GRUB\)/,
  });
  assert.deepEqual(await readFile(join(state, 'channels/stable/current')), before);
});

it('gives each machine what it was assigned, and a stranger a script that says who it is', async (t) => {
  for (const channel of ['stable', 'testing']) await applyMachines({ ...given, channel, scriptKeys });
  const { server } = await started();
  t.after(() => server.close(0));
  const a = await boots(server, A);
  assert.equal(a.refusal, undefined);
  assert.equal(a.verified, true);
  assert.match(a.cmdline ?? '', / hostname=lab /);
  assert.equal(a.manifest?.release, 'arch/2026.11.01');
  const b = await boots(server, B);
  assert.equal(b.manifest?.release, 'arch/2026.11.02');
  assert.doesNotMatch(b.cmdline ?? '', /hostname/);
  const c = await boots(server, C);
  assert.equal(c.verified, false);
  const stranger = await boots(server, STRANGER);
  assert.equal(stranger.verified, false);
  assert.match(stranger.ipxe.console, new RegExp(STRANGER));
});

it('gives a script that verified a moment ago to nobody once its leaf has ended', async (t) => {
  const leaf = new X509Certificate(await readFile(join(anchors, 'boot.crt')));
  const end = Date.parse(leaf.validTo);
  // iPXE allows for clocks that are half a day off, and so does what judges for it.
  let now = end - 10_000;
  const { server } = await started(() => now);
  t.after(() => server.close(0));
  const asked = async () => (await fetch(`${server.url}/boot.ipxe?mac=${STRANGER}`)).status;
  assert.equal(await asked(), 200);
  now = end + 13 * 3_600_000;
  assert.notEqual(await asked(), 200);
});

it('refuses on B what was signed for A', async (t) => {
  const { server } = await started();
  t.after(() => server.close(0));
  const query = `mac=${A.replaceAll(':', '-')}`;
  const script = await (await fetch(`${server.url}/boot.ipxe?${query}`)).text();
  assert.ok(script.includes(`iseq \${netX/mac} ${A} `));
  const seal = await fetch(`${server.url}/boot.ipxe.sig?${query}`);
  assert.equal(seal.status, 200);
  const none = await fetch(`${server.url}/boot.ipxe?mac=${C.replaceAll(':', '-')}`);
  assert.equal(none.status, 403);
  assert.match(await none.text(), /The machine 52:54:00:00:00:0c gets nothing here: it is c/);
  // GRUB would take a no for a file that is not there, and ask for the next.
  const held = await fetch(`${server.url}/machines/${C}/grub.cfg`);
  assert.equal(held.status, 200);
  assert.doesNotMatch(await held.text(), /^ *(if )?(linux|configfile) /m);
  // By the path, as GRUB asks, and a loader over TFTP.
  assert.equal(await (await fetch(`${server.url}/machines/${A}/boot.ipxe`)).text(), script);
  const config = await (await fetch(`${server.url}/machines/${A}/grub.cfg`)).text();
  assert.match(config, new RegExp(`net_default_mac" = '${A}'`));
});

it('goes on with the newest rules when a channel is renewed that has older ones', async (t) => {
  const refused = RULES.replace('gets = { channel = "testing" }', 'gets = { boot = "refuse" }');
  await rules(refused);
  await applyMachines({ ...given, channel: 'stable', scriptKeys });
  await renewChannel({ ...given, channel: 'testing', now: NOW + 5000 });
  const { server } = await started(() => NOW + 5000);
  t.after(() => server.close(0));
  const query = `mac=${B.replaceAll(':', '-')}`;
  assert.equal((await fetch(`${server.url}/boot.ipxe?${query}`)).status, 403);
  await rules(RULES);
  for (const channel of ['stable', 'testing']) await applyMachines({ ...given, channel, scriptKeys });
});

it('gives whoever adds nothing and names no channel what the entry names', async (t) => {
  await rules(`[[machine]]\nname = "a"\nmac = "${A}"\ngets = {}\n`);
  for (const channel of ['stable', 'testing']) await applyMachines({ ...given, channel, scriptKeys });
  const { server } = await started();
  t.after(() => server.close(0));
  assert.equal((await boots(server, A)).manifest?.release, 'arch/2026.11.01');
  assert.equal((await fetch(`${server.url}/machines/${A}/grub.cfg`)).status, 200);
  await rules(RULES);
  for (const channel of ['stable', 'testing']) await applyMachines({ ...given, channel, scriptKeys });
});

it('keeps a machine at its release, and offers a menu that nobody gave a title', async (t) => {
  await rules(
    `[[machine]]\nname = "a"\nmac = "${A}"\ngets = { channel = "testing", release = "arch/2026.11.01" }\n[unknown]\ngets = { boot = "menu" }\n`,
  );
  for (const channel of ['stable', 'testing']) await applyMachines({ ...given, channel, scriptKeys });
  const { server } = await started();
  t.after(() => server.close(0));
  assert.equal((await boots(server, A)).manifest?.release, 'arch/2026.11.01');
  assert.match(await (await fetch(`${server.url}/boot.ipxe`)).text(), /^item entry-2 testing$/m);
  await rules(RULES);
  for (const channel of ['stable', 'testing']) await applyMachines({ ...given, channel, scriptKeys });
});

it('moves scripts and channel together, and machines boot the former until then', async (t) => {
  const { server, heard } = await started();
  t.after(() => server.close(0));
  const newer = { ...given, channel: 'stable', tree: join(folder, '2026.11.03') };
  await assert.rejects(publish(newer), /are not signed/);
  await assert.rejects(publish({ ...newer, dryRun: true }), /are not signed/);
  assert.equal((await publish({ ...newer, dryRun: true, scriptKeys })).refusal, undefined);
  assert.equal((await boots(server, A)).manifest?.release, 'arch/2026.11.01');
  await publish({ ...newer, scriptKeys });
  await heard('the channel moved');
  const a = await boots(server, A);
  assert.equal(a.manifest?.release, 'arch/2026.11.03');
  assert.match(a.cmdline ?? '', / hostname=lab /);
});

it('keeps what was signed where a file of machines has a fault, or wants what cannot be', async (t) => {
  const { server } = await started();
  t.after(() => server.close(0));
  await rules(RULES.replace('hostname=lab', 'init=/bin/sh'));
  await assert.rejects(applyMachines({ ...given, channel: 'stable', scriptKeys }), {
    code: 'wrong-command-line',
    message: /init=\/bin\/sh fills no free word/,
  });
  await rules(`${RULES}\n[[machine]\n`);
  await assert.rejects(
    applyMachines({ ...given, channel: 'stable', scriptKeys }),
    /all\.toml, line 25: it is not TOML/,
  );
  assert.equal((await boots(server, A)).verified, true);
  await rules(RULES);
});

it('moves scripts with a release whose records are signed anew', async (t) => {
  const { rows } = await resignStore({
    ...{ state, keys, now: NOW + 60_000, snapshotKey: keys, rsaBits: 2048 },
    only: ['arch/2026.11.03'],
    issued: NOW + 60_000,
  });
  assert.deepEqual(
    rows.map(({ outcome, channels }) => [outcome, channels]),
    [['resigned', ['stable']]],
  );
  const { server } = await started(() => NOW + 60_000);
  t.after(() => server.close(0));
  const a = await boots(server, A);
  assert.equal(a.refusal, undefined);
  assert.match(a.cmdline ?? '', / hostname=lab /);
});

it('signs nothing for a release that was withdrawn', async () => {
  await withdrawRelease({
    state,
    release: 'arch/2026.11.01',
    reason: 'bad',
    cutRunning: false,
    now: NOW,
    snapshotKey: keys,
  });
  await rules(`[unknown]\ngets = { channel = "stable", release = "arch/2026.11.01" }\n`);
  await assert.rejects(applyMachines({ ...given, channel: 'stable', scriptKeys }), { code: 'withdrawn' });
  await rules(RULES);
});

it('boots nobody where the scripts that a snapshot names are gone', async (t) => {
  const { server } = await started();
  t.after(() => server.close(0));
  assert.equal((await boots(server, A)).verified, true);
  await rm(join(state, 'scripts'), { recursive: true });
  const again = await started();
  t.after(() => again.server.close(0));
  assert.equal((await boots(again.server, A)).verified, false);
  const ready = await fetch(`${again.server.url}/readyz`);
  assert.equal(ready.status, 503);
  assert.match(await ready.text(), /No machine boots: scripts\/[0-9a-f]{64}\.batch is missing\./);
});
