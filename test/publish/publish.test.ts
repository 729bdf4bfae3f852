import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { cpioEntries, encodeCpio } from '../../src/formats/archive/cpio.ts';
import { renewChannel, rollbackChannel, showChannel } from '../../src/publish/channel.ts';
import { setPolicy } from '../../src/publish/policy.ts';
import { type PublishOptions, publish } from '../../src/publish/publish.ts';
import { misused } from '../fixtures/failed.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { INITRD, KERNEL, ROOTFS, sampleTree, sealFixture, writeTree } from '../fixtures/release.ts';
import { refused } from '../trust/judge.ts';

const DAY = 86_400_000;
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const anchors = join(keys, 'anchors');

/** A sealed sample of another version; its root image is small, since it is read many times. */
async function release(version: string, change?: (tree: string) => Promise<void>, cmdline?: string) {
  const tree = await sampleTree(join(folder, `tree-${version}`), keys);
  await writeFile(join(tree, 'arch/version'), `${version}\n`);
  await writeFile(join(tree, ROOTFS), Buffer.alloc(100_000, version));
  await change?.(tree);
  await sealFixture(tree, keys, cmdline === undefined ? {} : { cmdline });
  return tree;
}

const good = await release('2026.11.01');
const newer = await release('2026.11.02');

let states = 0;
const newState = () => join(folder, `state-${++states}`);
const request = (state: string, tree = good): PublishOptions => ({
  tree,
  channel: 'stable',
  state,
  anchors,
  now: NOW,
  rsaBits: 2048,
});
const gate = (name: string, { gates }: Awaited<ReturnType<typeof publish>>) => {
  const row = gates.find((candidate) => candidate.gate === name);
  assert.ok(row, name);
  return row;
};

it('a sealed tree passes every gate, appears, and the channel points at it', async () => {
  const state = newState();
  const result = await publish(request(state));
  assert.deepEqual(
    result.gates.map(({ gate: name, refusal }) => [name, refusal?.code]),
    [
      ['seals', undefined],
      ['keys in initramfs', undefined],
      ['command line', undefined],
      ['on the machine', undefined],
      ['serial', undefined],
      ['certificates', undefined],
      ['client ipxe', undefined],
      ['client ipxe-efi', undefined],
      ['client grub', undefined],
      ['client archiso', undefined],
      ['client manifest', undefined],
    ],
  );
  assert.equal(result.moved?.snapshot.counter, 1);
  const published = join(state, 'releases/arch/2026.11.01');
  for (const path of [KERNEL, INITRD, ROOTFS, `${ROOTFS}.sig`, 'release.manifest', 'boot.ipxe.sig']) {
    assert.deepEqual(await readFile(join(published, path)), await readFile(join(good, path)), path);
    const { mode, ino } = await stat(join(published, path));
    assert.equal(mode & 0o777, 0o444, path);
    assert.notEqual(
      ino,
      (await stat(join(good, path))).ino,
      'the store never links into the operator’s tree',
    );
  }
  // Nothing but what the seals account for.
  await assert.rejects(stat(join(published, 'arch/version')));
  assert.equal((await stat(join(state, 'private/snapshot.key'))).mode & 0o777, 0o600);
});

it('openssl verifies the snapshot', async () => {
  const state = newState();
  await publish(request(state));
  const current = join(state, 'channels/stable/1');
  const crt = join(state, 'anchors/snapshot.crt');
  const words = `cms -verify -binary -noattr -nointern -inform DER -purpose any -in ${current}/snapshot.cms.sig -content ${current}/snapshot -certfile ${crt} -CAfile ${crt} -attime ${NOW / 1000} -out /dev/null`;
  await promisify(execFile)('openssl', words.split(' '));
});

it('a dry run asks the same gates and changes nothing', async () => {
  const state = newState();
  const result = await publish({ ...request(state), dryRun: true });
  assert.deepEqual([result.gates.length, result.refusal, result.moved], [11, undefined, undefined]);
  await assert.rejects(stat(state));
});

it('story 1: an initramfs without the public key is refused, for exactly that reason', async () => {
  const bare = await release('2026.11.03', async (tree) => {
    const archive = encodeCpio(
      cpioEntries([{ kind: 'file', name: 'README', data: Buffer.from('no keys') }], 0),
    );
    await writeFile(join(tree, INITRD), gzipSync(archive));
  });
  const state = newState();
  const result = await publish(request(state, bare));
  assert.equal(gate('seals', result).refusal, undefined);
  assert.match(
    result.refusal?.message ?? '',
    /initramfs holds no \/codesign\.crt: it cannot verify what it boots/,
  );
  assert.equal(result.refusal?.code, 'absent');
  assert.deepEqual(
    [await readdir(join(state, 'releases')), await readdir(join(state, 'channels'))],
    [[], []],
  );
  assert.match(await readFile(join(state, 'log/entries'), 'utf8'), /^act refuse$[\s\S]*^refusal absent$/m);
});

it('an initramfs with the keys of another site is refused', async () => {
  const others = await makeKeys(join(folder, 'other-keys'));
  const foreign = await release('2026.11.04', async (tree) => {
    const theirs = await sampleTree(join(folder, 'theirs'), others);
    await cp(join(theirs, INITRD), join(tree, INITRD));
  });
  const result = await publish(request(newState(), foreign));
  assert.equal(gate('keys in initramfs', result).refusal?.code, 'untrusted-signer');
  assert.equal(gate('client archiso', result).refusal?.code, 'untrusted-signer');
});

it('a command line that asks for one check too few is refused', async () => {
  const lax = await release('2026.11.05', undefined, 'archisobasedir=arch checksum=y verify=y');
  const result = await publish(request(newState(), lax));
  assert.equal(gate('command line', result).refusal?.code, 'wrong-command-line');
  assert.match(result.refusal?.message ?? '', /does not ask for cms \(cms_verify=y\)/);
});

it('a flipped byte is refused by the seals, and no other gate is asked', async () => {
  const tree = join(folder, 'flipped');
  await cp(good, tree, { recursive: true });
  const bytes = await readFile(join(tree, ROOTFS));
  bytes[50_000] = (bytes[50_000] ?? 0) ^ 1;
  await writeFile(join(tree, ROOTFS), bytes);
  const result = await publish(request(newState(), tree));
  assert.equal(result.refusal?.code, 'bad-signature');
  assert.deepEqual(new Set(result.gates.slice(1).map(({ fact }) => fact)), new Set(['not asked']));
});

it('serials grow, and a rollback is an act of its own', async () => {
  const state = newState();
  await publish(request(state, newer));
  const back = await publish(request(state, good));
  assert.equal(gate('serial', back).refusal?.code, 'rolled-back');
  const absent = rollbackChannel({ ...request(state), release: 'arch/2026.11.01' });
  await assert.rejects(absent, misused(/was never published/));

  const other = newState();
  await publish(request(other, good));
  await publish(request(other, newer));
  const { snapshot } = await rollbackChannel({ ...request(other), release: 'arch/2026.11.01' });
  assert.deepEqual(
    [snapshot.counter, snapshot.releases[0]?.release, snapshot.releases[0]?.rollbackFrom],
    [3, 'arch/2026.11.01', 'arch/2026.11.02'],
  );
  const entries = await readFile(join(other, 'log/entries'), 'utf8');
  assert.deepEqual(entries.match(/^act .*$/gm), ['act publish', 'act publish', 'act rollback']);
});

it('what nobody verifies is published where the policy lets it go by name, and not gone back to where it does no more', async () => {
  const state = newState();
  const policy = join(folder, 'lenient.toml');
  await writeFile(policy, '[publish]\nunverified = ["file notes.txt"]\n');
  const tree = await writeTree(join(folder, 'notes'), {
    'bootseal.toml': 'release = "notes/2026.11.01"\nkernel = "linux"\nfiles = ["notes.txt"]\n',
    linux: 'a kernel\0',
    'notes.txt': 'for whoever fetches it',
  });
  await sealFixture(tree, keys);
  const without = await publish(request(state, tree));
  assert.equal(without.refusal?.code, 'no-verdict');
  assert.match(without.refusal?.message ?? '', /unverified = \["file notes\.txt"\]/);
  assert.equal((await publish({ ...request(newState(), tree), policy })).refusal, undefined);

  const lenient = newState();
  await publish({ ...request(lenient, tree), policy });
  await publish(request(lenient, newer));
  const strict = join(folder, 'strict.toml');
  await writeFile(strict, '');
  assert.equal(await setPolicy({ state: lenient, policy: strict, now: NOW }), true);
  const back = rollbackChannel({ ...request(lenient), release: 'notes/2026.11.01' });
  await assert.rejects(back, refused('no-verdict', /notes\.txt/));
});

it('a serial far ahead would shut out all that follow', async () => {
  const far = await release('2028.11.02');
  const result = await publish(request(newState(), far));
  assert.equal(gate('serial', result).refusal?.code, 'unsafe-serial');
});

it('certificates that end too soon after best-before are named with their day', async () => {
  const policy = join(folder, 'margin.toml');
  await writeFile(policy, '[publish]\nmargin_days = 101\n');
  const result = await publish({ ...request(newState()), policy });
  const { refusal } = gate('certificates', result);
  assert.equal(refusal?.code, 'expired');
  assert.match(refusal?.message ?? '', /the signer of .* ends on 2027-05-10/);
});

it('a published release never changes under its name', async () => {
  const state = newState();
  await publish(request(state));
  const tree = await release('2026.11.01', (changed) =>
    writeFile(join(changed, KERNEL), 'MZ another kernel\0'),
  );
  await assert.rejects(publish(request(state, tree)), refused('mixed-releases', /published already/));
  await rm(tree, { recursive: true });
});

it('a renewal needs the snapshot key alone', async () => {
  const state = newState();
  await publish(request(state, newer));
  const later = NOW + 6 * DAY;
  const { snapshot } = await renewChannel({ channel: 'stable', state, now: later });
  assert.deepEqual([snapshot.counter, snapshot.releases[0]?.release], [2, 'arch/2026.11.02']);
  assert.equal((await showChannel({ channel: 'stable', state, now: later + 7 * DAY })).refusal, undefined);
  const late = await showChannel({ channel: 'stable', state, now: later + 8 * DAY });
  assert.equal(late.refusal?.code, 'stale');
});

it('a channel’s name stays inside its folder', async () => {
  for (const channel of ['..', 'a/b', '', 'UP', '.hidden']) {
    await assert.rejects(publish({ ...request(newState()), channel }), misused(/is no name for a channel/));
  }
});
