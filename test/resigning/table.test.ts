import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { decodePem } from '../../src/formats/asn1/armor.ts';
import { decodeCertificate } from '../../src/formats/asn1/x509.ts';
import { rotateKeys } from '../../src/operations/keys-rotate.ts';
import { type ResignStoreRequest, resignStore } from '../../src/resigning/store.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { readyKeyPair } from '../fixtures/ready-keys.ts';
import { fingerprint } from '../operations/rotation.ts';
import { addReleases, copyStore, dyingKeys, faultOf, LATER, lost, snapshotOf } from './stores.ts';

const FROM = 'https://mirror.example/lab/';
const IDLE = 'lab/2026.11.01';
const NAMED = 'lab/2026.11.02';

const folder = await temporaryFolder();
const old = await makeKeys(join(folder, 'old'), { kind: 'p256' });
const other = await makeKeys(join(folder, 'other'), { kind: 'p256' });
const next = join(folder, 'next');
await rotateKeys({ keys: old, out: next, now: NOW + 1000, rsaBits: 2048, makeKeyPair: readyKeyPair });

const leaf = join(old, 'anchors/manifest.crt');
const [{ bytes: der } = { bytes: new Uint8Array() }] = decodePem(readFileSync(leaf, 'latin1'));
const ended = decodeCertificate(der).notAfter + 86_400_000;
const revoked = `[[revoked]]\nid = "${fingerprint(leaf)}"\nkind = "hard"\nsince = 2026-11-02\nreason = "stolen"\n`;

const stores = { local: join(folder, 'local'), fetched: join(folder, 'fetched') };
for (const [name, state] of Object.entries(stores)) {
  const origin = name === 'fetched' ? { origin: FROM } : {};
  await addReleases(state, join(folder, `trees-${name}`), old, [
    { release: IDLE, ...origin },
    { release: NAMED, ...origin, named: true },
  ]);
}

type Given = Pick<ResignStoreRequest, 'keys' | 'now'> & Partial<ResignStoreRequest>;
/** How the keys are, and what becomes of a local and of a fetched release while the signer answers. */
const ROWS: readonly {
  readonly key: string;
  readonly given: Given;
  readonly local: string;
  readonly fetched: string;
  /** The policy of the state; where it has one. */
  readonly policy?: string;
  /** Of a release that the channel names; where it differs. */
  readonly held?: boolean;
}[] = [
  { key: 'the same key', given: { keys: old, now: LATER }, local: 'resigned', fetched: 'countersigned' },
  { key: 'a mapped key', given: { keys: next, now: LATER }, local: 'resigned', fetched: 'countersigned' },
  { key: 'an expired key', given: { keys: old, now: ended }, local: 'expired', fetched: 'expired' },
  {
    key: 'a revoked key',
    given: { keys: old, now: LATER },
    policy: revoked,
    local: 'revoked',
    fetched: 'revoked',
  },
  {
    key: 'an absent key',
    given: { keys: other, now: LATER },
    local: 'untrusted-signer',
    fetched: 'untrusted-signer',
    held: true,
  },
];

let count = 0;
for (const { key, given, policy, local, fetched, held = false } of ROWS) {
  for (const origin of ['local', 'fetched'] as const) {
    for (const signer of ['up', 'down'] as const) {
      const up = origin === 'local' ? local : fetched;
      const needed = up === 'resigned' || up === 'countersigned';
      const wanted = needed && signer === 'down' ? 'unreachable' : up;
      it(`a ${origin} release, ${key}, the signer ${signer}: ${wanted}`, async () => {
        const state = copyStore(stores[origin], join(folder, `cell-${++count}`));
        if (policy !== undefined) writeFileSync(join(state, 'policy.toml'), policy);
        const before = snapshotOf(state);
        const keys =
          signer === 'up' ? given.keys : await dyingKeys(given.keys, join(folder, `keys-${count}`), 1);
        const { rows, left, stopped } = await resignStore({ ...given, keys, state, rsaBits: 2048 });

        const [idle, named] = rows;
        const outcomes = rows.map((row) => row.refusal?.code ?? row.outcome);
        if (wanted === 'unreachable') {
          // One release is on record, and the batch ends there: the others are not touched.
          assert.deepEqual([outcomes, left, stopped?.code], [['unreachable'], 1, 'unreachable']);
        } else {
          assert.deepEqual([outcomes, left, stopped], [[wanted, wanted], 0, undefined]);
        }
        assert.ok(idle);
        const gone = !needed || signer === 'down';
        assert.equal(existsSync(join(state, 'releases', IDLE)), !gone);
        assert.equal(existsSync(join(state, 'quarantine', IDLE, 'release/release.manifest')), gone);
        if (gone) {
          const reason = JSON.parse(readFileSync(join(state, 'quarantine', IDLE, 'reason.json'), 'utf8'));
          assert.equal(reason.code, wanted);
          assert.equal(reason.origin, origin === 'local' ? 'local' : FROM);
          assert.match(reason.command, /^(bootseal resign --state|cp -r .* && bootseal seal )/);
        }
        if (named) {
          assert.deepEqual([named.held, existsSync(join(state, 'releases', NAMED))], [held, needed || held]);
        }
        if (origin === 'fetched') {
          // What others sealed is what it was, wherever it is now.
          const place = gone ? join(state, 'quarantine', IDLE, 'release') : join(state, 'releases', IDLE);
          for (const [name, digest] of before) {
            if (!name.startsWith(`releases/${IDLE}/`)) continue;
            const path = join(place, name.slice(`releases/${IDLE}/`.length));
            assert.ok(snapshotOf(place).get(path.slice(place.length + 1)) === digest, name);
          }
        }
        assert.deepEqual(lost(before, state), []);
        if (needed) assert.equal(await faultOf(state, [given.keys], given.now), undefined);
      });
    }
  }
}

describe('absent', () => {
  it('is a private key, too, whose public half is known: ours are missing, and others’ are not needed', async () => {
    for (const [origin, wanted] of [
      ['local', 'absent'],
      ['fetched', 'countersigned'],
    ] as const) {
      const state = copyStore(stores[origin], join(folder, `known-${origin}`));
      const before = snapshotOf(state);
      const { rows } = await resignStore({ state, keys: other, anchors: [old], now: LATER, rsaBits: 2048 });
      assert.deepEqual(
        rows.map(({ outcome, refusal }) => refusal?.code ?? outcome),
        [wanted, wanted],
      );
      if (origin === 'local') {
        assert.deepEqual(
          rows.map(({ held }) => held),
          [false, true],
        );
        assert.match(rows[0]?.command ?? '', /--keys FOLDER-WITH-ca-[0-9a-f]{16}$/);
      }
      assert.deepEqual(lost(before, state), []);
    }
  });
});
