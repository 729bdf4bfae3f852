import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { it } from 'node:test';
import type { Snapshot } from '../../src/formats/records/snapshot.ts';
import { readKeyFolder } from '../../src/signing/keys/key-folder.ts';
import { makeSnapshotKey, signSnapshot } from '../../src/signing/keys/snapshot-key.ts';
import { defaultPolicy } from '../../src/trust/policy.ts';
import { type KnownSnapshot, verifySnapshot } from '../../src/trust/snapshot-check.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { readyKeyPair } from '../fixtures/ready-keys.ts';
import { refused } from './judge.ts';

const DAY = 86_400_000;
const folder = await temporaryFolder();
const key = await makeSnapshotKey(join(folder, 'one'), 'lab', NOW, 2048, readyKeyPair);
const other = await makeSnapshotKey(join(folder, 'two'), 'lab', NOW, 2048, readyKeyPair);
const { codesign } = await readKeyFolder(await makeKeys(join(folder, 'keys')), NOW);

const SNAPSHOT: Snapshot = {
  channel: 'stable',
  counter: 7,
  issued: NOW,
  expires: NOW + 7 * DAY,
  releases: ['aarch64', 'x86_64'].map((arch) => ({
    arch,
    release: `arch/2026.11.01-${arch}`,
    serial: 2026110100,
    manifest: 'a'.repeat(64),
    bestBefore: NOW + 90 * DAY,
    rollbackFrom: undefined,
  })),
};
const { bytes, seal } = await signSnapshot(SNAPSHOT, key);
const SHA256 = createHash('sha256').update(bytes).digest('hex');

const check = (now = NOW, known?: KnownSnapshot, channel = 'stable', signers = [key.certificate]) =>
  verifySnapshot(channel, bytes, seal, signers, defaultPolicy(now), now, known);

it('is verified by its key, and says what it said', async () => {
  assert.deepEqual(await check(), SNAPSHOT);
  assert.deepEqual(await check(NOW, { counter: 7, sha256: SHA256 }), SNAPSHOT);
});

it('is stale after its last day', async () => {
  await check(SNAPSHOT.expires);
  await assert.rejects(check(SNAPSHOT.expires + 1000), refused('stale', /expired on 2026-11-08/));
});

it('is of its own channel', async () => {
  await assert.rejects(check(NOW, undefined, 'testing'), refused('mixed-releases'));
});

it('does not go back behind what was seen', async () => {
  await assert.rejects(check(NOW, { counter: 8, sha256: SHA256 }), refused('rolled-back'));
});

it('is one of its counter', async () => {
  await assert.rejects(check(NOW, { counter: 7, sha256: 'b'.repeat(64) }), refused('mixed-releases'));
});

it('is by the snapshot key and no other', async () => {
  await assert.rejects(check(NOW, undefined, 'stable', [other.certificate]), refused('untrusted-signer'));
});

it('one changed byte is a bad signature', async () => {
  const changed = Buffer.from(bytes);
  changed.write('8', changed.indexOf('counter 7') + 8);
  const judged = verifySnapshot('stable', changed, seal, [key.certificate], defaultPolicy(NOW), NOW);
  await assert.rejects(judged, refused('bad-signature'));
});

it('a key that may sign code is not taken for a snapshot key', async () => {
  const signed = await signSnapshot(SNAPSHOT, codesign);
  const judged = verifySnapshot(
    'stable',
    signed.bytes,
    signed.seal,
    [codesign.certificate],
    defaultPolicy(NOW),
    NOW,
  );
  await assert.rejects(judged, refused('wrong-purpose'));
});
