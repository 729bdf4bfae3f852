import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { promisify } from 'node:util';
import { promote } from '../../src/mirrors/promote.ts';
import { renewChannel } from '../../src/publish/channel.ts';
import { setPolicy } from '../../src/publish/policy.ts';
import { publish } from '../../src/publish/publish.ts';
import { resignStore } from '../../src/resigning/store.ts';
import { readChannel } from '../../src/store/channels.ts';
import { run } from '../cli/command.ts';
import { failed, misused } from '../fixtures/failed.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeUpstream } from '../fixtures/upstream.ts';

/** People sign with their own gpg, as Arch's do. */

const folder = await temporaryFolder();
const now = Date.now();
const site = await makeUpstream(join(folder, 'site'), now);
const { state, anchors, keys } = site;

async function person(name: string) {
  const home = join(folder, name);
  await mkdir(home, { mode: 0o700 });
  after(() => promisify(execFile)('gpgconf', ['--homedir', home, '--kill', 'all']));
  const gpg = async (...words: string[]): Promise<string> => {
    // A clock that is ahead of ours by a second would make a key of tomorrow.
    const time = ['--faked-system-time', `${Math.floor(now / 1000) - 3600}!`];
    const all = [
      '--homedir',
      home,
      ...time,
      '--batch',
      '--pinentry-mode',
      'loopback',
      '--passphrase',
      '',
      ...words,
    ];
    return (await promisify(execFile)('gpg', all)).stdout;
  };
  await gpg('--quick-generate-key', `${name} <${name}@example.org>`, 'ed25519', 'sign', 'never');
  return {
    certificate: await gpg('--armor', '--export'),
    async sign(tree: string, ...words: string[]): Promise<string> {
      const out = join(folder, `${name}-${Math.random().toString(36).slice(2)}.sig`);
      await gpg(...words, '--detach-sign', '--output', out, join(tree, 'release.manifest'));
      return out;
    },
  };
}

const ada = await person('ada');
const bob = await person('bob');
const eve = await person('eve');
const policy = join(folder, 'policy.toml');
const policyText = (people: string, least = 2) =>
  `[promote]\nchannels = ["stable"]\nleast = ${least}\npeople = """\n${people}"""\n`;
await writeFile(policy, policyText(ada.certificate + bob.certificate));
await setPolicy({ state, policy, now, snapshotKey: keys });

const tree = await site.seal('2026.11.01');
const RELEASE = 'arch/2026.11.01';
const base = { channel: 'stable', state, anchors, snapshotKey: keys, now };
const to = { ...base, target: tree };

it('nobody publishes to a channel that wants people, and what is refused is not kept', async () => {
  await assert.rejects(
    publish({ ...base, tree }),
    failed('untrusted-signer', /waits for 2 of 2 people: nobody has signed its manifest yet/),
  );
  await assert.rejects(publish({ ...base, tree, dryRun: true }), failed('untrusted-signer'));
  assert.deepEqual(await readdir(join(state, 'releases')), []);
  // Another channel is nobody's.
  const { refusal } = await publish({ ...base, channel: 'testing', tree });
  assert.equal(refusal, undefined);
});

it('one of two is kept, and the channel stays; the same person again is still one', async () => {
  for (let count = 0; count < 2; count += 1) {
    const found = await promote({ ...to, signatures: [await ada.sign(tree)] });
    assert.deepEqual(
      [found.published, found.promoters.map(({ name }) => name), found.least],
      [undefined, ['ada <ada@example.org>'], 2],
    );
  }
  assert.equal(await readChannel(state, 'stable'), undefined);
  await assert.rejects(publish({ ...base, tree }), failed('untrusted-signer', /signed by 1 of the 2 keys/));
});

it('strangers, other manifests and what is no signature count for nothing', async () => {
  await assert.rejects(promote({ ...to, signatures: [await eve.sign(tree)] }), failed('untrusted-signer'));
  const other = await site.seal('2026.11.02');
  await assert.rejects(
    promote({ ...to, signatures: [await bob.sign(other)] }),
    failed('bad-signature', /is not over the release\.manifest of arch\/2026\.11\.01 as it is here: /),
  );
  const text = join(folder, 'text');
  await writeFile(text, 'yes');
  await assert.rejects(promote({ ...to, signatures: [text] }), failed('malformed'));
  assert.equal(await readChannel(state, 'stable'), undefined);
});

it('the second person moves the channel, by the command line, and gpg verifies what was kept', async () => {
  const { code, out, err } = await run([
    ...['promote', RELEASE, '--channel', 'stable', '--state', state, '--anchors', anchors],
    ...['--snapshot-key', keys, '--signature', await bob.sign(tree), '--json'],
  ]);
  assert.equal(code, 0, err);
  const found = JSON.parse(out);
  assert.deepEqual([found.promoted, found.promoters.length, found.snapshot.counter], [true, 2, 1]);
  assert.equal((await readChannel(state, 'stable'))?.snapshot.releases[0]?.release, RELEASE);
  assert.match(await readFile(join(state, 'log/entries'), 'utf8'), /^act promote$/m);
  const shown = await run(['log', 'show', '--state', state, '--act', 'promote']);
  for (const { fingerprint } of found.promoters)
    assert.match(shown.out, new RegExp(` by ${fingerprint}$`, 'm'));
  const kept = join(state, 'provenance', RELEASE, 'promotions');
  const [manifest = ''] = await readdir(kept);
  const seals = await readdir(join(kept, manifest));
  assert.equal(seals.length, 2);
  const keyring = join(folder, 'people.gpg');
  const { stdout } = await promisify(execFile)('gpg', ['--dearmor', '--output', '-', policyPart()], {
    encoding: 'buffer',
  });
  await writeFile(keyring, stdout);
  for (const name of seals)
    await promisify(execFile)('gpgv', [
      ...[
        '--keyring',
        keyring,
        join(kept, manifest, name),
        join(state, 'releases', RELEASE, 'release.manifest'),
      ],
    ]);
});

function policyPart(): string {
  return join(folder, 'people.asc');
}
await writeFile(policyPart(), ada.certificate + bob.certificate);

it('a renewal needs nobody; signing anew would be another manifest, and is refused', async () => {
  await renewChannel({ ...base, now: now + 1000 });
  const { rows } = await resignStore({ state, keys, now: now + 86_400_000, snapshotKey: keys });
  const row = rows.find(({ release }) => release === RELEASE);
  assert.equal(row?.outcome, 'refused', JSON.stringify(row));
  assert.match(row?.refusal?.message ?? '', /another manifest; seal a new release, and promote that/);
  assert.equal((await readChannel(state, 'stable'))?.snapshot.counter, 2);
});

it('whose signature has ended signs again, and counts again', async () => {
  const target = await site.seal('2026.11.03');
  const names = async (at: number, ...signatures: string[]) =>
    (await promote({ ...base, now: at, target, signatures })).promoters.map(({ name }) => name);
  const ada1 = 'ada <ada@example.org>';
  assert.deepEqual(await names(now, await ada.sign(target, '--default-sig-expire', '1d')), [ada1]);
  const later = now + 2 * 86_400_000;
  assert.deepEqual(await names(later), []);
  assert.deepEqual(await names(later, await ada.sign(target)), [ada1]);
});

it('a policy that cannot be meant is told of', async () => {
  const wrong = join(folder, 'wrong.toml');
  for (const [text, why] of [
    [policyText(ada.certificate, 2), /holds 1 keys, and 2 people have to sign/],
    [policyText('nothing\n', 1), /holds no OpenPGP keys/],
    ['[promote]\nchannels = []\nleast = 1\npeople = "x"\n', /channels/],
  ] as const) {
    await writeFile(wrong, text);
    await assert.rejects(setPolicy({ state, policy: wrong, now, snapshotKey: keys }), misused(why));
  }
  await assert.rejects(
    promote({ ...to, channel: 'testing', signatures: [] }),
    misused(/names no people for testing/),
  );
  // Who builds is nobody who looked at what was built.
  const building = await promisify(execFile)('gpg', [
    ...['--enarmor', '--output', '-', join(anchors, 'manifest.gpg')],
  ]);
  await rm(wrong);
  const armored = building.stdout
    .replaceAll('ARMORED FILE', 'PUBLIC KEY BLOCK')
    .replace(/^Comment:.*\n/m, '');
  await writeFile(wrong, policyText(armored, 1));
  await setPolicy({ state, policy: wrong, now, snapshotKey: keys });
  await assert.rejects(promote({ ...to, signatures: [] }), misused(/builds are sealed with that key/));
});
