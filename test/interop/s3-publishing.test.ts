import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { GetObjectCommand } from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { bootseal } from '../../lab/cli.ts';
import { run } from '../../lab/command.ts';
import { s3Engine } from '../../lab/s3.ts';
import { newBucket, s3Client } from '../../lab/s3-bucket.ts';
import { objectKey } from '../../src/store/objects.ts';
import { S3Backend } from '../../src/store/s3/backend.ts';
import { bucketPlace } from '../../src/store/s3/location.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { KERNEL, ROOTFS, sampleTree, sealFixture } from '../fixtures/release.ts';

/** Whoever publishes into a bucket, as processes of their own; Ceph keeps it. */

const engine = await s3Engine(after);
Object.assign(process.env, engine.environment());
const bucket = await newBucket(engine);
const folder = await temporaryFolder();
const now = Date.now();
const keys = await makeKeys(join(folder, 'keys'), { now });
const trees = new Map<string, string>();
for (const version of ['2026.11.01', '2026.11.02', '2026.11.03', '2026.11.04']) {
  const tree = await sampleTree(join(folder, `tree-${version}`), keys);
  await writeFile(join(tree, 'arch/version'), `${version}\n`);
  await writeFile(join(tree, ROOTFS), Buffer.alloc(100_000, version));
  await sealFixture(tree, keys, { now });
  trees.set(version, tree);
}
const treeOf = (version: string) => trees.get(version) ?? '';
const anchors = ['--anchors', join(keys, 'anchors')];
const signed = ['--snapshot-key', keys];

const into = (state: string, version: string) => [
  ...['publish', treeOf(version), '--channel', 'stable', '--state', state, ...anchors],
];

async function done(...words: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await bootseal(...words);
  assert.equal(status, 0, `${words.join(' ')}: ${stdout}${stderr}`);
  return stdout;
}

it('all that is done to a state in a bucket, by the commands that do it to a folder', async () => {
  const state = `s3://${bucket}/site`;
  const at = ['--state', state];
  const keyless = await bootseal(...into(state, '2026.11.01'));
  assert.equal(keyless.status, 2);
  assert.match(keyless.stderr, /^s3:.* is in a bucket, which holds no private key: .* --snapshot-key\.$/m);
  await done(...into(state, '2026.11.01'), ...signed);
  await done(...into(state, '2026.11.02'), ...signed);
  await done('channel', 'renew', 'stable', ...at, ...signed);
  await done('channel', 'rollback', 'stable', 'arch/2026.11.01', ...at, ...anchors, ...signed);
  await done('withdraw', 'arch/2026.11.02', '--reason', 'eats disks', ...at, ...signed);
  const records = new S3Backend(bucketPlace(state));
  const rules =
    '[[machine]]\nname = "kiosk"\nmac = "52:54:00:12:34:56"\ngets = { release = "arch/2026.11.01" }\n';
  await records.put('machines/lab.toml', Buffer.from(rules));
  await done('machines', 'apply', ...at, ...anchors, ...signed, '--script-keys', keys);
  const only = ['--only', 'arch/2026.11.01'];
  assert.match(await done('resign', ...at, '--keys', keys, ...signed, ...only), /1 resigned\./);
  const checkpoint = join(folder, 'checkpoint');
  await writeFile(checkpoint, (await records.get('log/checkpoint'))?.bytes ?? '');
  await done('state', 'restore', '--after', '41', '--checkpoint', checkpoint, ...at, ...signed);
  assert.match(await done(...into(state, '2026.11.03'), ...signed), /snapshot 42,/);
  const shown = await done('channel', 'show', 'stable', ...at);
  assert.match(shown, /^VERIFIED: stable → arch\/2026\.11\.03$/m);
  assert.deepEqual(shown.match(/^[0-9]+/gm), ['1', '2', '3', '4', '5', '6', '42']);
  assert.match(await done('log', 'check', ...at), /^VERIFIED: /m);
});

it('a release is there for any web client, by the copies below releases/', async () => {
  const state = `s3://${bucket}/plain`;
  await done(...into(state, '2026.11.01'), ...signed);
  const client = s3Client(engine);
  after(() => client.destroy());
  for (const path of [KERNEL, 'boot.ipxe', 'release.manifest.cms.sig']) {
    const at = { Bucket: bucket, Key: `plain/releases/arch/2026.11.01/${path}` };
    const url = await getSignedUrl(client, new GetObjectCommand(at));
    const got = join(folder, 'got');
    await run('curl', ['--fail', '--silent', '--show-error', '--output', got, url]);
    assert.deepEqual(await readFile(got), await readFile(join(treeOf('2026.11.01'), path)), path);
  }
});

it('three who publish at once: what wins stands, and who comes late is told so and changes nothing', async () => {
  const state = `s3://${bucket}/race`;
  await done(...into(state, '2026.11.01'), ...signed);
  const versions = ['2026.11.02', '2026.11.03', '2026.11.04'];
  const ended = await Promise.all(versions.map((version) => bootseal(...into(state, version), ...signed)));
  for (const { status, stdout, stderr } of ended) {
    if (status === 0) continue;
    assert.equal(status, 1, stdout + stderr);
    assert.match(stdout + stderr, /Somebody else moved channel stable meanwhile|was published before/);
  }
  const won = versions.filter((_, at) => ended[at]?.status === 0);
  assert.ok(won.length > 0);
  const { history } = JSON.parse(await done('channel', 'show', 'stable', '--state', state, '--json'));
  assert.deepEqual(
    history.map(({ releases }: { releases: { release: string }[] }) => releases[0]?.release),
    ['2026.11.01', ...won].map((version) => `arch/${version}`),
  );
  const log = await done('log', 'show', '--state', state);
  assert.equal(log.match(/ refuse /g)?.length ?? 0, versions.length - won.length);
  // Who was overtaken between its entry in the log and the move is there twice: that it was about to, and that it was refused.
  assert.match(await done('log', 'check', '--state', state), /^VERIFIED: /m);
});

it('an object that another program replaced is not accepted, goes to quarantine, and comes back with what it was', async () => {
  const state = `s3://${bucket}/hurt`;
  const at = ['--state', state];
  await done(...into(state, '2026.11.01'), ...signed);
  await done(...into(state, '2026.11.02'), ...signed);
  const records = new S3Backend(bucketPlace(state));
  const root = await readFile(join(treeOf('2026.11.01'), ROOTFS));
  const key = objectKey(createHash('sha256').update(root).digest('hex'));
  const changed = Buffer.from(root);
  changed[50_000] = 1;
  await records.put(key, changed);
  const back = await bootseal(
    'channel',
    'rollback',
    'stable',
    'arch/2026.11.01',
    ...at,
    ...anchors,
    ...signed,
  );
  assert.equal(back.status, 1);
  assert.match(back.stdout + back.stderr, /\[drifted\] .*airootfs\.sfs is not what was stored/);
  await records.put(key, root.subarray(1));
  const only = ['--only', 'arch/2026.11.01'];
  const resigned = await bootseal('resign', ...at, '--keys', keys, ...signed, ...only);
  assert.equal(resigned.status, 1);
  assert.match(resigned.stdout, /quarantined +.*\[drifted\]/);
  assert.deepEqual(await records.list('lists/arch'), ['2026.11.02']);
  assert.deepEqual(await records.list('releases/arch'), ['2026.11.02/']);
  const restore = ['resign', ...at, '--keys', keys, '--restore', 'arch/2026.11.01', ...signed];
  assert.equal((await bootseal(...restore)).status, 1);
  await records.put(key, root);
  await done(...restore);
  assert.deepEqual(await records.list('lists/arch'), ['2026.11.01', '2026.11.02']);
  await done('channel', 'rollback', 'stable', 'arch/2026.11.01', ...at, ...anchors, ...signed);
});
