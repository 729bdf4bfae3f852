import assert from 'node:assert/strict';
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { publish } from '../../src/publish/publish.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { sampleTree, sealFixture } from '../fixtures/release.ts';
import { runHere as run } from './here.ts';
import { cliSite } from './site.ts';

const { folder, anchors, tree, keys } = await cliSite();
const state = join(folder, 'state');
const proof = join(folder, 'proof.txt');
const given = { channel: 'stable', state, anchors, snapshotKey: keys, now: Date.now() };
assert.equal((await publish({ ...given, tree })).refusal, undefined);
const kept = join(folder, 'kept');
await cp(join(state, 'log', 'checkpoint'), kept);
const unsealed = await sampleTree(join(folder, 'unsealed'), keys);
assert.equal((await publish({ ...given, tree: unsealed })).refusal?.code, 'absent');

describe('log', () => {
  it('show prints a table that lines up, and with --json one object', async () => {
    const { code, out, err } = await run(['log', 'show', '--state', state]);
    assert.deepEqual([code, err], [0, '']);
    const [head = '', first = '', second = '', ...rest] = out.split('\n');
    assert.deepEqual(rest, ['']);
    for (const name of ['act', 'release', 'channel']) {
      const column = head.indexOf(`  ${name}`);
      for (const row of [first, second]) {
        assert.equal(row.slice(column, column + 2), '  ', name);
        assert.notEqual(row[column + 2], ' ', name);
      }
    }
    assert.match(first, /^ {4}0 {2}\S+Z {2}publish {2}arch\/2026\.11\.01 {2}stable {3}snapshot 1$/);
    assert.match(second, /^ {4}1 {2}\S+Z {2}refuse {3}– {16}stable {3}\S.* \[absent\]$/);
    const json = await run(['log', 'show', '--state', state, '--act', 'refuse', '-n', '1', '--json']);
    const { entries } = JSON.parse(json.out);
    assert.deepEqual([entries.length, entries[0].index, entries[0].refusal.code], [1, 1, 'absent']);
    const release = await run(['log', 'show', '--state', state, '--release', 'arch/2026.11.01', '--json']);
    assert.equal(JSON.parse(release.out).entries.length, 1);
  });

  it('prove writes what check takes without the state', async () => {
    const made = await run(['log', 'prove', 'arch/2026.11.01', '--state', state, '--out', proof]);
    assert.deepEqual([made.code, made.err], [0, '']);
    assert.match(
      made.out,
      /proof\.txt: publish arch\/2026\.11\.01 of \S+Z is entry 0 of 2 of log [0-9a-f]{32}\.\n$/,
    );
    for (const certificate of [anchors, keys, join(anchors, 'snapshot.crt')]) {
      const checked = await run(['log', 'check', proof, '--anchors', certificate]);
      assert.deepEqual([checked.code, checked.err], [0, ''], certificate);
      assert.match(checked.out, /^VERIFIED: publish arch\/2026\.11\.01 /);
    }
    const json = JSON.parse((await run(['log', 'check', proof, '--anchors', anchors, '--json'])).out);
    assert.deepEqual([json.verified, json.entry.index, json.size], [true, 0, 2]);
  });

  it('a refusal is exit 1, and nothing is written', async () => {
    const absent = await run([
      'log',
      'prove',
      'arch/2020.01.01',
      '--state',
      state,
      '--out',
      join(folder, 'no'),
    ]);
    assert.deepEqual([absent.code, absent.out], [1, '']);
    assert.match(
      absent.err,
      /^refused \[absent\] The log in \S+ has no entry \(seal, publish, resign\) about/,
    );
    await assert.rejects(readFile(join(folder, 'no')), { code: 'ENOENT' });
    const edited = join(folder, 'edited.txt');
    await writeFile(
      edited,
      (await readFile(proof, 'latin1')).replace('serial 2026110100', 'serial 2026110101'),
    );
    const { code, err } = await run(['log', 'check', edited, '--anchors', anchors]);
    assert.equal(code, 1);
    assert.match(err, /^refused \[bad-signature\] The proof does not lead from entry 0/);
  });

  it('check reads the whole log, and holds it against a checkpoint that was kept', async () => {
    const alone = await run(['log', 'check', '--state', state]);
    assert.equal(alone.code, 0, alone.err);
    assert.match(
      alone.out,
      /^Without --since, [^\n]*\nVERIFIED: log [0-9a-f]{32}, 2 entries, the last of \S+Z\n$/,
    );
    const since = await run(['log', 'check', '--state', state, '--since', kept, '--anchors', anchors]);
    assert.equal(since.code, 0, since.err);
    assert.match(since.out, /^A continuation of the checkpoint of 1 entry that was kept\.\nVERIFIED/);
    const spoilt = join(folder, 'spoilt');
    await cp(state, spoilt, { recursive: true });
    const path = join(spoilt, 'log', 'entries');
    await writeFile(path, (await readFile(path, 'latin1')).replace('counter 1', 'counter 2'));
    const { code, out, err } = await run(['log', 'check', '--state', spoilt, '--json']);
    const { refusal } = JSON.parse(out);
    assert.deepEqual([code, refusal.code, refusal.facts.index], [1, 'drifted', 0]);
    assert.match(err, /^refused \[drifted\] Entry 0 of the log is not the one that was recorded\.\n$/);
  });

  for (const [what, words] of [
    ['neither a proof nor a state', ['check']],
    ['a proof without anchors', ['check', proof]],
    ['a proof and a state', ['check', proof, '--anchors', anchors, '--state', state]],
    ['an act that there is not', ['show', '--state', state, '--act', 'bless']],
    ['a number that is none', ['show', '--state', state, '-n', 'many']],
    ['a state that is not there', ['show', '--state', join(folder, 'nowhere')]],
  ] as const) {
    it(`${what} is a usage error`, async () => {
      const { code, err } = await run(['log', ...words]);
      assert.equal(code, 2, err);
    });
  }
});

describe('verify --at PROOF', () => {
  it('says which proof, and which logged time', async () => {
    const then = Date.UTC(2022, 5, 1);
    const oldKeys = await makeKeys(join(folder, 'old-keys'), { now: then });
    const oldTree = await sampleTree(join(folder, 'old-tree'), oldKeys);
    await writeFile(join(oldTree, 'arch/version'), '2022.06.01\n');
    await sealFixture(oldTree, oldKeys, { now: then });
    const oldState = join(folder, 'old-state');
    const old = {
      tree: oldTree,
      channel: 'stable',
      state: oldState,
      anchors: oldKeys,
      now: then,
      rsaBits: 2048,
    };
    assert.equal((await publish(old)).refusal, undefined);
    const out = join(folder, 'old-proof.txt');
    await run(['log', 'prove', 'arch/2022.06.01', '--state', oldState, '--out', out]);

    const words = ['verify', oldTree, '--anchors', oldKeys];
    assert.equal((await run(words)).code, 1);
    // The state made a key of its own: the one among the anchors is another.
    const other = await run([...words, '--at', out]);
    assert.equal(other.code, 1);
    assert.match(other.err, /^refused \[untrusted-signer\] the checkpoint of the log/);
    const certificate = join(oldState, 'anchors', 'snapshot.crt');
    const good = await run([...words, '--at', out, '--log-anchors', certificate]);
    assert.equal(good.code, 0, good.out);
    assert.match(
      good.out,
      /^Judged as of 2022-06-01T00:00:00Z, by \S+old-proof\.txt: entry 0 of 1 of log [0-9a-f]{32}\.\nVERIFIED: arch\/2022\.06\.01$/m,
    );
    const json = await run([...words, '--at', out, '--log-anchors', certificate, '--json']);
    const { verified, logged } = JSON.parse(json.out);
    assert.deepEqual([verified, logged.time, logged.proof], [true, '2022-06-01T00:00:00Z', out]);
    const mixed = await run([
      'verify',
      tree,
      '--anchors',
      anchors,
      '--at',
      out,
      '--log-anchors',
      certificate,
    ]);
    assert.equal(mixed.code, 1);
    assert.match(mixed.err, /^refused \[mixed-releases\] The proof is about arch\/2022\.06\.01/);
  });

  it('a word that is neither a time nor a proof is a usage error, and so is a proof for clients', async () => {
    const words = ['verify', tree, '--anchors', anchors, '--at'];
    const neither = await run([...words, 'yesterday']);
    assert.equal(neither.code, 2);
    assert.match(neither.err, /There is no proof of that name either/);
    assert.equal((await run([...words, proof, '--as', 'grub'])).code, 2);
  });
});
