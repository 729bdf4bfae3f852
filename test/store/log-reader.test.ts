import assert from 'node:assert/strict';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { verify } from '../../src/conformance/verify.ts';
import { decodeLogProof } from '../../src/formats/records/log-proof.ts';
import { logAct } from '../../src/publish/log-act.ts';
import { publish, renewChannel, rollbackChannel } from '../../src/publish/publish.ts';
import { readKeyFolder } from '../../src/signing/keys/key-folder.ts';
import { sealRecord } from '../../src/signing/seal-record.ts';
import { certifiedSigner } from '../../src/signing/signatories.ts';
import { checkLog, checkLogProof, proveLog, showLog } from '../../src/store/log-reader.ts';
import { openState } from '../../src/store/state.ts';
import { fingerprint } from '../../src/trust/chain.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { ROOTFS, sampleTree, sealFixture } from '../fixtures/release.ts';
import { refused } from '../trust/judge.ts';

const DAY = 86_400_000;
/** When the old release was sealed, and everything about it logged. */
const THEN = Date.UTC(2022, 5, 1);
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'), { now: THEN });
const anchors = join(keys, 'anchors');
const state = join(folder, 'state');

async function sealed(version: string, now: number): Promise<string> {
  const tree = await sampleTree(join(folder, `tree-${version}`), keys);
  await writeFile(join(tree, 'arch/version'), `${version}\n`);
  await writeFile(join(tree, ROOTFS), Buffer.alloc(100_000, version));
  await sealFixture(tree, keys, { now });
  return tree;
}

const request = (tree: string, now: number) => ({
  tree,
  channel: 'stable',
  state,
  anchors,
  snapshotKey: keys,
  now,
});
const old = await sealed('2022.06.01', THEN);
const newer = await sealed('2022.07.01', THEN + 30 * DAY);
assert.equal((await publish(request(old, THEN + 3600_000))).refusal, undefined);
assert.equal((await publish(request(newer, THEN + 31 * DAY))).refusal, undefined);
assert.equal((await publish(request(old, THEN + 32 * DAY))).refusal?.code, 'rolled-back');
await renewChannel({ ...request(newer, THEN + 33 * DAY) });
await rollbackChannel({ ...request(old, THEN + 34 * DAY), release: 'arch/2022.06.01' });
// Somebody put it there: it was never published.
await mkdir(join(state, 'releases/arch/2021.01.01'));
await writeFile(join(state, 'releases/arch/2021.01.01/release.manifest'), 'no manifest\n');
await assert.rejects(rollbackChannel({ ...request(old, THEN + 35 * DAY), release: 'arch/2021.01.01' }));
const proof = join(folder, 'proof.txt');
await proveLog({ state, release: 'arch/2022.06.01', out: proof, now: NOW });

const ask = (tree: string, more: object = {}) => verify({ tree, anchors, now: NOW, ...more });

describe('the log of a state folder', () => {
  it('holds every act and every refusal', async () => {
    const entries = await showLog({ state });
    assert.deepEqual(
      entries.map(({ act, release, counter, refusal }) => [act, release, counter, refusal?.code]),
      [
        ['publish', 'arch/2022.06.01', 1, undefined],
        ['publish', 'arch/2022.07.01', 2, undefined],
        ['refuse', 'arch/2022.06.01', undefined, 'rolled-back'],
        ['renew', 'arch/2022.07.01', 3, undefined],
        ['rollback', 'arch/2022.06.01', 4, undefined],
        ['refuse', 'arch/2021.01.01', undefined, 'absent'],
      ],
    );
    assert.equal(entries[4]?.rollbackFrom, 'arch/2022.07.01');
    const chosen = await showLog({ state, release: 'arch/2022.06.01', act: 'refuse' });
    assert.deepEqual(
      chosen.map(({ index }) => index),
      [2],
    );
    assert.deepEqual(
      (await showLog({ state, last: 2 })).map(({ index }) => index),
      [4, 5],
    );
  });

  it('is whole, by its own certificate or by the one that an auditor holds', async () => {
    assert.equal((await checkLog({ state, now: NOW })).size, 6);
    assert.equal((await checkLog({ state, now: NOW, certificates: anchors })).size, 6);
    const certificates = join(await makeKeys(join(folder, 'others')), 'anchors', 'snapshot.crt');
    await assert.rejects(checkLog({ state, now: NOW, certificates }), refused('untrusted-signer'));
  });

  it('a refusal before the first publish is logged without a checkpoint, which the first publish brings', async () => {
    const fresh = join(folder, 'fresh');
    await mkdir(fresh);
    const unsealed = await sampleTree(join(folder, 'unsealed'), keys);
    const given = { channel: 'stable', state: fresh, anchors, now: THEN };
    assert.equal((await publish({ ...given, tree: unsealed })).refusal?.code, 'absent');
    await assert.rejects(checkLog({ state: fresh, now: NOW, certificates: anchors }), refused('no-verdict'));
    await publish({ ...given, tree: old, rsaBits: 2048 });
    assert.equal((await checkLog({ state: fresh, now: NOW })).size, 2);
  });

  it('takes acts of others, under the key that its readers know and under no other', async () => {
    const opened = await openState(state);
    try {
      const quarantined = {
        time: THEN + 40 * DAY,
        act: 'quarantine',
        release: 'arch/2022.07.01',
        file: { sha256: 'a'.repeat(64), path: ROOTFS },
        origin: 'disk',
      } as const;
      await logAct(state, quarantined, await makeKeys(join(folder, 'foreign')));
      await assert.rejects(checkLog({ state, now: NOW }), refused('no-verdict', /Entry 6/));
      await logAct(state, { ...quarantined, act: 'restore' }, keys);
    } finally {
      await opened.release();
    }
    assert.equal((await checkLog({ state, now: NOW })).size, 8);
  });
});

describe('a proof', () => {
  it('is of the newest act that published the release, unless told which', async () => {
    const found = async (more: object) =>
      (await proveLog({ state, release: 'arch/2022.06.01', out: join(folder, 'other'), now: NOW, ...more }))
        .entry.index;
    assert.equal(await found({}), 0);
    assert.equal(await found({ act: 'rollback' }), 4);
    assert.equal(await found({ index: 2 }), 2);
    await assert.rejects(found({ index: 1 }), refused('absent', /entry 1 about arch\/2022\.06\.01/));
    await assert.rejects(found({ act: 'seal' }), refused('absent'));
  });

  it('holds for whoever has the certificate and nothing of the state', async () => {
    const { entry, checkpoint } = await checkLogProof({ proof, certificates: anchors, now: NOW });
    assert.deepEqual([entry.index, checkpoint.size], [0, 6]);
  });

  it('that would not hold is not written', async () => {
    const spoilt = join(folder, 'spoilt');
    await cp(state, spoilt, { recursive: true });
    const hashes = await readFile(join(spoilt, 'log', 'hashes'));
    hashes[32] = (hashes[32] ?? 0) ^ 1;
    await writeFile(join(spoilt, 'log', 'hashes'), hashes);
    const out = join(folder, 'never');
    await assert.rejects(
      proveLog({ state: spoilt, release: 'arch/2022.06.01', out, now: NOW }),
      refused('bad-signature'),
    );
    await assert.rejects(readFile(out), { code: 'ENOENT' });
  });
});

describe('story 2: a release sealed and logged in 2022', () => {
  it('verifies with its proof, as of the logged time, and is refused without it', async () => {
    const { refusal, logged, rows } = await ask(old, { proof });
    assert.equal(refusal, undefined);
    assert.ok(rows.every(({ verified }) => verified));
    assert.deepEqual([logged?.time, logged?.index, logged?.size], [THEN + 3600_000, 0, 6]);
    const without = await ask(old);
    assert.equal(without.refusal?.code, 'expired');
    assert.equal(without.logged, undefined);
  });

  it('a proof for another manifest is refused by name', async () => {
    await assert.rejects(ask(newer, { proof }), refused('mixed-releases', /about arch\/2022\.06\.01/));
  });

  it('a proof by a stranger is refused', async () => {
    const strange = await makeKeys(join(folder, 'strange'), { now: THEN });
    const other = join(folder, 'strange-state');
    await publish({ ...request(old, THEN), state: other, snapshotKey: strange });
    const theirs = join(folder, 'theirs');
    await proveLog({ state: other, release: 'arch/2022.06.01', out: theirs, now: NOW });
    await assert.rejects(ask(old, { proof: theirs }), refused('untrusted-signer'));
    const certificates = join(strange, 'anchors', 'snapshot.crt');
    assert.equal((await ask(old, { proof: theirs, logCertificates: certificates })).refusal, undefined);
  });

  it('a proof whose entry was edited is a bad proof', async () => {
    const edited = join(folder, 'edited');
    const text = await readFile(proof, 'latin1');
    await writeFile(edited, text.replace('time 2022-06-01T01', 'time 2022-06-01T02'));
    await assert.rejects(ask(old, { proof: edited }), refused('bad-signature', /does not lead from entry 0/));
  });

  it('a seal made later by the old key is not judged as of then', async () => {
    const tree = join(folder, 'later');
    await cp(old, tree, { recursive: true });
    const script = `${await readFile(join(tree, 'boot.ipxe'), 'latin1')}# by whoever stole the key\n`;
    const { boot, ca } = await readKeyFolder(keys, THEN);
    const chain = [boot.certificate.raw, ca.certificate.raw];
    const seal = await sealRecord(Buffer.from(script), certifiedSigner('boot', boot), chain);
    await writeFile(join(tree, 'boot.ipxe'), script);
    await writeFile(join(tree, 'boot.ipxe.sig'), seal);
    assert.equal((await ask(tree, { at: THEN })).refusal, undefined);
    const { refusal } = await ask(tree, { proof });
    assert.equal(refusal?.code, 'drifted');
    assert.match(refusal?.message ?? '', /^boot\.ipxe(\.sig)? is not what entry 0 of the log names/);
  });

  it('a flipped byte is still what it is called without a log', async () => {
    const tree = join(folder, 'flipped');
    await cp(old, tree, { recursive: true });
    const bytes = await readFile(join(tree, ROOTFS));
    bytes[50_000] = (bytes[50_000] ?? 0) ^ 1;
    await writeFile(join(tree, ROOTFS), bytes);
    assert.equal((await ask(tree, { proof })).refusal?.code, 'bad-signature');
  });

  it('a policy’s hard revocation outlives every proof', async () => {
    const { codesign } = await readKeyFolder(keys, THEN);
    const policy = join(folder, 'revoked.toml');
    await writeFile(
      policy,
      `[[revoked]]\nid = "${fingerprint(codesign.certificate)}"\nkind = "hard"\nsince = 2026-01-01\nreason = "stolen"\n`,
    );
    assert.equal((await ask(old, { proof, policy })).refusal?.code, 'revoked');
  });

  it('the proof holds every script and seal of the release', async () => {
    const { seals } = decodeLogProof(await readFile(proof));
    for (const path of [
      'boot.ipxe',
      'boot.ipxe.sig',
      'grub.cfg.sig',
      'release.manifest',
      `${ROOTFS}.cms.sig`,
    ])
      assert.ok(seals?.list.has(path), path);
  });
});
