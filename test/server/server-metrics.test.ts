import assert from 'node:assert/strict';
import { appendFile, chmod, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { REFUSAL_CODES } from '../../src/errors/refusal.ts';
import { readPackageFile } from '../../src/files/package-file.ts';
import { boot } from '../../src/operations/boot.ts';
import { publish } from '../../src/publish/publish.ts';
import { type ServeOptions, type Serving, serve } from '../../src/server/serve.ts';
import { quarantineRelease } from '../../src/store/quarantine.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { overlayOf } from '../fixtures/overlay.ts';
import { KERNEL, sampleTree, sealFixture } from '../fixtures/release.ts';
import { tlsPair } from '../fixtures/tls-pair.ts';
import { dial } from '../serve/nbd/nbd-harness.ts';
import { rawSocket, rrq } from '../serve/tftp/tftp-harness.ts';
import { openssl } from '../signing/judges.ts';
import { Exposition } from './exposition.ts';

const DAY = 86_400_000;
const RELEASE = 'arch/2026.11.01';
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const anchors = join(keys, 'anchors');
const tree = await sampleTree(join(folder, 'tree'), keys);
await sealFixture(tree, keys);

async function started(t: TestContext, options: Partial<ServeOptions> = { tree }): Promise<Serving> {
  const ports = { httpPort: 0, tftpPort: 0, nbdPort: 0 } as const;
  const server = await serve({ anchors, clock: () => NOW, ...ports, ...options });
  t.after(() => server.close(0));
  return server;
}

async function published(name: string): Promise<string> {
  const state = join(folder, name);
  await publish({ tree, channel: 'stable', state, anchors, now: NOW, rsaBits: 2048 });
  return state;
}

test('says what it is, since when, and what of it ends when, as openssl prints it', async (t) => {
  const state = await published('state-ends');
  const { url } = await started(t, { state });
  const told = await Exposition.of(url);
  const { version } = JSON.parse(readPackageFile('.', 'package.json').toString());
  assert.equal(told.value(`build_info{version="${version}"}`), 1);
  assert.equal(told.value('start_timestamp_seconds'), NOW / 1000);
  assert.equal(told.value('ready'), 1);
  assert.equal(told.value('releases_offered'), 1);
  const ends = (kind: string) => told.value(`expiry_timestamp_seconds{kind="${kind}"}`);
  for (const [kind, path] of [
    ['ca', join(anchors, 'ca.crt')],
    ['codesign', join(anchors, 'codesign.crt')],
    ['boot', join(anchors, 'boot.crt')],
    ['manifest', join(anchors, 'manifest.crt')],
    ['snapshot key', join(state, 'anchors', 'snapshot.crt')],
  ] as const) {
    const printed = openssl('x509', '-in', path, '-noout', '-enddate').stdout;
    assert.equal(ends(kind), Date.parse(printed.replace(/^notAfter=/, '')) / 1000, kind);
  }
  assert.equal(ends('snapshot'), (NOW + 7 * DAY) / 1000);
  assert.equal(ends('best-before'), (NOW + 90 * DAY) / 1000);
  for (const kind of ['openpgp', 'loader', 'tls']) assert.equal(ends(kind), Number.POSITIVE_INFINITY, kind);
  assert.equal(told.value('expiry_due{kind="snapshot"}'), 0);
  const { rss } = process.memoryUsage();
  const memory = told.series.get('process_resident_memory_bytes') ?? 0;
  assert.ok(memory > rss / 2 && memory < rss * 2);
  const descriptors = (await readdir('/proc/self/fd')).length;
  assert.ok(Math.abs((told.series.get('process_open_fds') ?? 0) - descriptors) < 20);
});

test('the certificate of HTTPS ends when openssl says so, whoever issued it', async (t) => {
  const pair = await tlsPair(folder, 'shown', 5);
  const { url } = await started(t, { tree, configuration: { tls: { ...pair, port: 0 } } });
  const told = await Exposition.of(url);
  const printed = openssl('x509', '-in', pair.certificate, '-noout', '-enddate').stdout;
  const ends = Date.parse(printed.replace(/^notAfter=/, '')) / 1000;
  assert.equal(told.value('expiry_timestamp_seconds{kind="tls"}'), ends);
});

test('what has ended is due, and nothing is ready', async (t) => {
  const state = await published('state-ended');
  const { url } = await started(t, { state, clock: () => NOW + 91 * DAY });
  const told = await Exposition.of(url);
  assert.equal(told.value('ready'), 0);
  assert.equal(told.value('releases_ended'), 1);
  assert.equal(told.value('expiry_due{kind="snapshot"}'), 1);
  assert.equal(told.value('expiry_due{kind="best-before"}'), 1);
  assert.equal(told.value('expiry_due{kind="ca"}'), 0);
});

test('a machine that boots is counted by its way, and by what came of it', async (t) => {
  const { url } = await started(t);
  const verdict = await boot({ url: `${url}/boot.ipxe`, anchors: keys, now: NOW });
  assert.equal(verdict.verified, true);
  const told = await Exposition.of(url);
  assert.equal(told.value('boots_begun_total{trust="local-imgverify"}'), 1);
  assert.equal(told.value('boots_total{route="ipxe",outcome="served"}'), 1);
  assert.equal(told.value('receipts_total{trust="local-imgverify"}'), 1);
  assert.equal(told.value('boot_stage_seconds_count{stage="script"}'), 1);
  assert.equal(told.value('boot_stage_seconds_count{stage="kernel"}'), 1);
});

test('a machine whose early userspace reports counts by what it says: verified, or refused and why', async (t) => {
  const own = await sampleTree(join(folder, 'reports'), keys);
  await writeFile(join(own, 'bootseal-overlay.img'), await overlayOf(keys, { mode: 'ram' }));
  await sealFixture(own, keys, { free: ['ip dhcp', 'BOOTIF mac', 'archiso_http_srv url'] });
  const { url } = await started(t, { tree: own });
  const machine = (now: number) => boot({ url: `${url}/boot.ipxe`, anchors: keys, now });
  assert.equal((await machine(NOW)).refusal, undefined);
  // Its clock is past best-before, which neither the server's is nor iPXE cares about.
  assert.equal((await machine(NOW + 91 * DAY)).refusal?.code, 'stale');
  const told = await Exposition.of(url);
  assert.equal(told.value('boots_total{route="ipxe",outcome="verified"}'), 1);
  assert.equal(told.value('boots_total{route="ipxe",outcome="refused"}'), 1);
  assert.equal(told.value('boots_refused_total{code="stale"}'), 1);
  assert.equal(told.value('boot_stage_seconds_count{stage="kernel"}'), 2);
});

test('quarantine, and one that cannot be read', async (t) => {
  const state = await published('state-quarantine');
  const { url } = await started(t, { state });
  assert.equal((await Exposition.of(url)).value('quarantined_releases'), 0);
  const reason = {
    ...{ release: RELEASE, manifest: '', origin: 'here', code: 'bad-signature' },
    ...{ message: 'It is another one.', command: 'bootseal state restore' },
  };
  await quarantineRelease(state, reason, NOW, true);
  assert.equal((await Exposition.of(url)).value('quarantined_releases'), 1);
  await rm(join(state, 'quarantine'), { recursive: true });
  await symlink('quarantine', join(state, 'quarantine'));
  const told = await Exposition.of(url);
  assert.equal(told.value('quarantined_releases'), Number.NaN);
});

test('a folder of receipts that cannot be written is told from the start', async (t) => {
  const state = await published('state-receipts');
  await rm(join(state, 'boots'), { recursive: true, force: true });
  await writeFile(join(state, 'boots'), 'no folder');
  const { url } = await started(t, { state });
  assert.equal((await Exposition.of(url)).value('receipts_written'), 0);
  const other = await started(t);
  assert.equal((await Exposition.of(other.url)).value('receipts_written'), 1);
});

test('a file that changed is refused, and counted by reason', async (t) => {
  const own = join(folder, 'own');
  await sampleTree(own, keys);
  await sealFixture(own, keys);
  const { url } = await started(t, { tree: own });
  await chmod(join(own, KERNEL), 0o600);
  await appendFile(join(own, KERNEL), 'x');
  assert.equal((await fetch(`${url}/releases/${RELEASE}/${KERNEL}`)).status, 503);
  assert.equal((await Exposition.of(url)).value('refusals_total{server="http",code="drifted"}'), 1);
});

test('nothing that a client says becomes a label, and no client adds a series', async (t) => {
  const { url, tftp, nbd } = await started(t, { tree, configuration: { allow_unverified_loaders: true } });
  const before = await Exposition.of(url);
  const MARK = 'zq7evil';
  const hostile = `${MARK}"} 1\n# ${MARK}{a="`;
  const quoted = encodeURIComponent(hostile);
  for (const path of [
    `/${quoted}`,
    `/releases/${quoted}/1/x`,
    `/boot.ipxe?mac=${quoted}&uuid=${quoted}&arch=${quoted}&boot=${quoted}`,
    `/boot.ipxe?mac=52-54-00-12-34-56&arch=${MARK}&uuid=${MARK}`,
    `/unverified.ipxe?arch=${quoted}`,
    `/machines/${MARK}/boot.ipxe`,
    `/metrics?${quoted}=${quoted}`,
    `/api/v1/boots/nonce?mac=${quoted}`,
  ])
    await (await fetch(url + path, { headers: { 'User-Agent': MARK, Referer: MARK, Range: MARK } })).text();
  await (
    await fetch(`${url}/api/v1/boots`, { method: 'POST', body: JSON.stringify({ [MARK]: hostile }) })
  ).text();
  await (await fetch(`${url}/boot.ipxe`, { method: 'PROPFIND' })).text();
  const stranger = await rawSocket(t);
  stranger.say(rrq(MARK), tftp?.port ?? 0);
  await stranger.hear();
  const client = await dial(t, nbd?.port ?? 0);
  await client.greet();
  await client.ask({ kind: 'go', name: MARK, wants: [] });
  const after = await Exposition.of(url);
  assert.ok((after.value('refusals_total{server="nbd",code="absent"}') ?? 0) > 0);
  assert.ok((after.value('refusals_total{server="tftp",code="absent"}') ?? 0) > 0);
  assert.ok(!after.text.includes(MARK));
  assert.deepEqual([...after.series.keys()], [...before.series.keys()]);
  // A boot whose addresses, release and machine are known says none of them.
  for (const said of ['127.0.0.1', '52:54', RELEASE, 'boot.ipxe', KERNEL])
    assert.ok(!after.text.includes(said), said);
});

test('docs/metrics.md holds every number, its labels and its words, and no other', async (t) => {
  const { url } = await started(t);
  const { text, names } = await Exposition.of(url);
  const helps = new Map(
    [...text.matchAll(/^# HELP (\S+) (.*)$/gm)].map(([, name = '', help = '']) => [name, help]),
  );
  const rows = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = '', type = '']) => {
    const of = names.get(name) ?? names.get(`${name}_bucket`) ?? new Map<string, Set<string>>();
    const labels = [...of]
      .filter(([label]) => label !== 'le')
      .map(([label, values]) => `\`${label}\`${meaning(label, [...values])}`);
    return `| \`${name}\` | ${type} | ${labels.join('; ')} | ${helps.get(name) ?? ''} |`;
  });
  assert.ok(rows.length > 40);
  const page = readPackageFile('docs', 'metrics.md').toString();
  const written = page.split('\n').filter((line) => line.startsWith('| `'));
  assert.deepEqual(written, rows, `the table is\n${rows.join('\n')}`);
});

/** Its values, where those are not told elsewhere. */
function meaning(label: string, values: readonly string[]): string {
  if (label === 'version') return '';
  if (label !== 'code') return `: ${values.join(', ')}`;
  assert.deepEqual(values, REFUSAL_CODES);
  return ': a refusal';
}
