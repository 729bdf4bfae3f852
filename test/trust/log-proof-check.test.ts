import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Certificate } from '../../src/formats/asn1/x509.ts';
import {
  decodeCheckpointFile,
  encodeCheckpoint,
  encodeCheckpointFile,
} from '../../src/formats/records/checkpoint.ts';
import { decodeLogEntry, encodeLogEntry, type LogEntry } from '../../src/formats/records/log-entry.ts';
import { decodeLogProof, encodeLogProof } from '../../src/formats/records/log-proof.ts';
import { encodeSealList } from '../../src/formats/records/seal-list.ts';
import { encodeSnapshot } from '../../src/formats/records/snapshot.ts';
import { readKeyFolder } from '../../src/signing/keys/key-folder.ts';
import { makeLogProof } from '../../src/store/log-proof.ts';
import { verifyCheckpoint } from '../../src/trust/checkpoint-check.ts';
import { demandLogged, loggedTime, verifyLogProof } from '../../src/trust/log-proof-check.ts';
import { defaultPolicy } from '../../src/trust/policy.ts';
import { verifySnapshot } from '../../src/trust/snapshot-check.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { actOf, makeLogKey, newState, record } from '../store/logs.ts';
import { refused } from './judge.ts';

const DAY = 86_400_000;
const YEAR = 365 * DAY;
const folder = await temporaryFolder();
const key = await makeLogKey(join(folder, 'key'));
const stranger = await makeLogKey(join(folder, 'stranger'));
const small = new Map([
  ['boot.ipxe', Buffer.from('#!ipxe\n')],
  ['boot.ipxe.sig', Buffer.from('seal')],
]);
const state = await newState(folder);
await record(state, 5, key, { seals: small });
await record(state, 1, key, { act: 'refuse', seals: small }, 5);
await record(state, 1, key, {}, 6);
await record(state, 1, key, { seals: small }, 7);

const proofOf = (index: number) => makeLogProof(state, 'entry', (entry: LogEntry) => entry.index === index);
const manifestOf = (index: number) => actOf(index).manifest ?? '';
const proof = await proofOf(3);
const parts = decodeLogProof(proof);
const checkpointFile = encodeCheckpointFile(parts.checkpoint.bytes, parts.checkpoint.seal);
const ask = (
  bytes = proof,
  manifest = manifestOf(3),
  certificates: readonly Certificate[] = key.certificates,
  now = NOW,
) => loggedTime(bytes, certificates, defaultPolicy(now), manifest);

describe('a proof', () => {
  it('says when the log took its entry, to whoever has the certificate alone', async () => {
    for (let index = 0; index < 5; index += 1) {
      const { time, index: found, size } = await ask(await proofOf(index), manifestOf(index));
      assert.deepEqual([time, found, size], [NOW + index * 1000, index, 8]);
    }
  });

  it('of another manifest is refused by name', async () => {
    await assert.rejects(
      ask(proof, manifestOf(2)),
      refused('mixed-releases', /The proof is about arch\/2026\.11\.3, logged on 2026-11-01/),
    );
  });

  it('under a stranger’s checkpoint is refused', async () => {
    await assert.rejects(ask(proof, manifestOf(3), stranger.certificates), refused('untrusted-signer'));
    const theirs = encodeCheckpointFile(parts.checkpoint.bytes, await stranger.sign(parts.checkpoint.bytes));
    const forged = encodeLogProof(parts.path, parts.entryBytes, parts.seals?.bytes, theirs);
    await assert.rejects(ask(forged), refused('untrusted-signer'));
  });

  it('with an edited entry, path, list or checkpoint is a bad proof', async () => {
    const edited = (more: Partial<LogEntry>) =>
      encodeLogEntry({ ...decodeLogEntry(parts.entryBytes), ...more });
    const list = encodeSealList(new Map([['boot.ipxe', 'a'.repeat(64)]]));
    const seals = parts.seals?.bytes;
    const other = encodeCheckpointFile(
      Buffer.from(Buffer.from(parts.checkpoint.bytes).toString().replace('size 8', 'size 9')),
      parts.checkpoint.seal,
    );
    for (const [what, bytes] of [
      ['an older time', encodeLogProof(parts.path, edited({ time: NOW - YEAR }), seals, checkpointFile)],
      [
        'another manifest',
        encodeLogProof(parts.path, edited({ manifest: manifestOf(2) }), seals, checkpointFile),
      ],
      ['another place', encodeLogProof(parts.path, edited({ index: 2 }), seals, checkpointFile)],
      ['a place beyond the log', encodeLogProof(parts.path, edited({ index: 8 }), seals, checkpointFile)],
      ['no path', encodeLogProof([], parts.entryBytes, seals, checkpointFile)],
      [
        'a path turned round',
        encodeLogProof(parts.path.toReversed(), parts.entryBytes, seals, checkpointFile),
      ],
      ['another list', encodeLogProof(parts.path, parts.entryBytes, list, checkpointFile)],
      ['another checkpoint', encodeLogProof(parts.path, parts.entryBytes, seals, other)],
    ] as const)
      await assert.rejects(ask(bytes), refused('bad-signature'), what);
  });

  it('of a refusal vouches for nothing, and one without its seals for too little', async () => {
    await assert.rejects(ask(await proofOf(5), manifestOf(5)), refused('no-verdict', /an act of "refuse"/));
    await assert.rejects(
      ask(await proofOf(6), manifestOf(6)),
      refused('no-verdict', /does not say which seals/),
    );
    const { entry } = await verifyLogProof(await proofOf(5), key.certificates, defaultPolicy(NOW));
    assert.equal(entry.act, 'refuse');
  });

  it('is judged by the reader’s clock, never by what it says itself or by the policy’s other time', async () => {
    const late = { ...defaultPolicy(NOW), clock: NOW + 11 * YEAR };
    await assert.rejects(loggedTime(proof, key.certificates, late, manifestOf(3)), refused('expired'));
    await ask(proof, manifestOf(3), key.certificates, NOW - DAY + 60_000);
    const id = createHash('sha256').update(key.key.certificate.raw).digest('hex');
    const revoked = [{ id, hard: false, since: NOW + 3 * YEAR, reason: 'replaced' }];
    const retired = { ...defaultPolicy(NOW, NOW + 4 * YEAR), revoked };
    await assert.rejects(loggedTime(proof, key.certificates, retired, manifestOf(3)), refused('revoked'));
  });

  it('of an entry that is later than its checkpoint is a bad proof', async () => {
    const { checkpoint } = parts.checkpoint;
    const early = encodeCheckpoint({ ...checkpoint, time: NOW + 2000 });
    const file = encodeCheckpointFile(early, await key.sign(early));
    const bytes = encodeLogProof(parts.path, parts.entryBytes, parts.seals?.bytes, file);
    await assert.rejects(ask(bytes), refused('bad-signature', /later than the checkpoint/));
  });

  it('that is no proof is malformed', async () => {
    await assert.rejects(ask(Buffer.from('2022-06-01\n')), refused('malformed', /^The proof is malformed/));
  });
});

describe('what was logged', () => {
  it('is every script and seal, and any other is refused by its path', async () => {
    const logged = await ask();
    demandLogged(logged, small);
    demandLogged(logged, new Map([...small].slice(0, 1)));
    for (const [path, bytes] of [
      ['boot.ipxe', 'another'],
      ['grub.cfg', '#!ipxe\n'],
    ] as const)
      assert.throws(
        () => demandLogged(logged, new Map([...small, [path, Buffer.from(bytes)]])),
        refused('drifted', new RegExp(`^${path.replace('.', '\\.')} is not what entry 3 of the log names`)),
      );
  });
});

describe('purposes', () => {
  const snapshot = encodeSnapshot({
    channel: 'stable',
    counter: 1,
    issued: NOW,
    expires: NOW + DAY,
    releases: [
      {
        arch: 'x86_64',
        release: 'arch/2026.11.01',
        serial: 1,
        manifest: 'a'.repeat(64),
        bestBefore: NOW + DAY,
        rollbackFrom: undefined,
      },
    ],
  });

  it('a checkpoint never passes as a snapshot, nor a snapshot as a checkpoint', async () => {
    const { bytes, seal } = parts.checkpoint;
    await assert.rejects(
      verifySnapshot('stable', bytes, seal, key.certificates, defaultPolicy(NOW), NOW),
      refused('malformed', /first line/),
    );
    const sealed = await key.sign(snapshot);
    await verifySnapshot('stable', snapshot, sealed, key.certificates, defaultPolicy(NOW), NOW);
    assert.throws(() => encodeCheckpointFile(snapshot, sealed), /first line/);
    const file = await readFile(join(state, 'log', 'checkpoint'));
    const { checkpoint } = decodeCheckpointFile(file);
    await assert.rejects(
      verifyCheckpoint({ checkpoint, bytes, seal: sealed }, key.certificates, defaultPolicy(NOW)),
      refused('bad-signature'),
    );
  });

  it('a key that may sign code signs no checkpoint', async () => {
    const { codesign } = await readKeyFolder(await makeKeys(join(folder, 'keys')), NOW);
    await assert.rejects(
      verifyCheckpoint(parts.checkpoint, [codesign.certificate], defaultPolicy(NOW)),
      refused('wrong-purpose'),
    );
  });

  it('a checkpoint from the future is a clock’s problem', async () => {
    const far = await newState(folder);
    await record(far, 1, key, { time: NOW + 2 * DAY });
    const file = decodeCheckpointFile(await readFile(join(far, 'log', 'checkpoint')));
    await assert.rejects(
      verifyCheckpoint(file, key.certificates, defaultPolicy(NOW)),
      refused('not-yet-valid', /2026-11-03, and this machine's clock says 2026-11-01/),
    );
    await verifyCheckpoint(file, key.certificates, defaultPolicy(NOW + DAY));
  });
});
