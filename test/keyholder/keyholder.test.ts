import assert from 'node:assert/strict';
import { chmod, cp, lstat, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { KeyholderClient } from '../../src/keyholder/client.ts';
import { startKeyholder } from '../../src/keyholder/keyholder.ts';
import { readChannel } from '../../src/store/channels.ts';
import { runHere as run } from '../cli/here.ts';
import { copier } from '../faults/copies.ts';
import { misused } from '../fixtures/failed.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { sampleTree } from '../fixtures/release.ts';
import { openssl } from '../signing/judges.ts';
import { keyholder, keyholderSite, NEW, NEWEST, OLD, socketIn } from './sites.ts';

const site = await keyholderSite();
const { folder, anchors, keys } = site;
const fresh = copier(folder, site.state);
const snapshotCrt = join(anchors, 'snapshot.crt');

/** A state of its own, and what is in its log. */
async function place() {
  const state = await fresh();
  const acts = async (n: number) => {
    const { out } = await run(['log', 'show', '--state', state, '-n', String(n), '--json']);
    return (
      JSON.parse(out).entries as { act: string; channel?: string; release?: string; origin?: string }[]
    ).map(({ act, channel, release, origin }) => [act, channel, release, origin]);
  };
  return { state, acts, socket: await socketIn(folder) };
}

/** Whether openssl takes a channel's current snapshot by the anchors' certificate. */
async function opensslTakesSnapshot(state: string, channel: string): Promise<void> {
  const current = await readChannel(state, channel);
  assert.ok(current);
  const [content, seal] = [join(folder, 'snapshot'), join(folder, 'snapshot.sig')];
  await writeFile(content, current.bytes);
  await writeFile(seal, current.seal);
  const { status, stderr } = openssl(
    ...[
      'cms',
      '-verify',
      '-binary',
      '-noattr',
      '-nointern',
      '-purpose',
      'any',
      '-inform',
      'DER',
      '-in',
      seal,
    ],
    ...['-content', content, '-certfile', snapshotCrt, '-CAfile', snapshotCrt, '-out', '/dev/null'],
  );
  assert.equal(status, 0, stderr);
  assert.match(stderr, /Verification successful/);
}

describe('a keyholder', () => {
  it('renews a channel for an account that has no key, and openssl takes what it signed', async (t) => {
    const { state, acts, socket } = await place();
    await keyholder(t, { keys, state }, socket);
    const { code, out, err } = await run(['channel', 'renew', 'stable', '--keyholder', socket]);
    assert.deepEqual([code, err], [0, '']);
    assert.match(
      out,
      /^stable → arch\/2026\.11\.01, serial 2026110100: snapshot 2, until .*\nSigned by the snapshot key: sha256 [0-9a-f]{64}\n$/,
    );
    await opensslTakesSnapshot(state, 'stable');
    assert.deepEqual(await acts(2), [
      ['ask', 'stable', undefined, `keyholder: renew, asked by uid ${process.geteuid?.()}`],
      ['renew', 'stable', OLD, undefined],
    ]);
    const checked = await run(['log', 'check', '--state', state, '--anchors', anchors]);
    assert.equal(checked.code, 0, checked.err);
  });

  it('moves a channel on through the gate, and back on record', async (t) => {
    const { state, acts, socket } = await place();
    await keyholder(t, { keys, state }, socket, ['--anchors', anchors]);
    const on = await run(['channel', 'move', 'stable', NEW, '--keyholder', socket, '--json']);
    assert.equal(on.code, 0, on.err);
    const { snapshot, madeKey } = JSON.parse(on.out);
    assert.deepEqual(
      [snapshot.releases[0]?.release, snapshot.counter, snapshot.releases[0]?.rollbackFrom, madeKey],
      [NEW, 2, undefined, false],
    );
    await opensslTakesSnapshot(state, 'stable');
    const back = await run(['channel', 'rollback', 'stable', OLD, '--keyholder', socket]);
    assert.equal(back.code, 0, back.err);
    assert.match(
      back.out,
      /^stable → arch\/2026\.11\.01, serial 2026110100, back from arch\/2026\.11\.02: snapshot 3/,
    );
    await opensslTakesSnapshot(state, 'stable');
    assert.deepEqual(
      (await acts(4)).map(([act, , release]) => [act, release]),
      [
        ['ask', NEW],
        ['publish', NEW],
        ['ask', OLD],
        ['rollback', OLD],
      ],
    );
  });

  it('publishes a tree that it judges itself, and none that does not pass', async (t) => {
    const { state, acts, socket } = await place();
    await keyholder(t, { keys, state }, socket, ['--anchors', anchors]);
    const given = ['--channel', 'stable', '--keyholder', socket];
    const unsealed = await sampleTree(join(folder, 'unsealed'), keys);
    const refused = await run(['publish', unsealed, ...given]);
    assert.equal(refused.code, 1);
    assert.match(refused.err, /^refused \[absent\] /);
    assert.equal((await readChannel(state, 'stable'))?.snapshot.counter, 1);
    // By a relative path and through a link: what is asked for is where it really lies.
    await symlink(site.tree, join(folder, 'link'));
    const done = await run(['publish', 'link', ...given], { cwd: folder });
    assert.deepEqual([done.code, done.err], [0, '']);
    assert.match(done.out, /^stable → arch\/2026\.11\.03, serial 2026110300: snapshot 2, until /);
    await opensslTakesSnapshot(state, 'stable');
    const uid = process.geteuid?.();
    assert.deepEqual(await acts(4), [
      ['ask', 'stable', undefined, `keyholder: publish ${unsealed}, asked by uid ${uid}`],
      ['refuse', 'stable', undefined, undefined],
      ['ask', 'stable', undefined, `keyholder: publish ${site.tree}, asked by uid ${uid}`],
      ['publish', 'stable', NEWEST, undefined],
    ]);
    assert.equal((await run(['log', 'check', '--state', state])).code, 0);
  });

  it('moves nothing that the gate refuses, and says why', async (t) => {
    const { state, acts, socket } = await place();
    const policy = join(folder, 'policy.toml');
    await writeFile(policy, '[publish]\nmargin_days = 3000\n');
    assert.equal((await run(['policy', 'set', policy, '--state', state])).code, 0);
    await keyholder(t, { keys, state }, socket, ['--anchors', anchors]);
    const { code, err } = await run(['channel', 'move', 'stable', NEW, '--keyholder', socket]);
    assert.equal(code, 1);
    assert.match(err, /^refused \[expired\] .* and 3000 days more are asked for\.\n$/);
    assert.equal((await readChannel(state, 'stable'))?.snapshot.releases[0]?.release, OLD);
    assert.deepEqual(
      (await acts(2)).map(([act, , release]) => [act, release]),
      [
        ['ask', NEW],
        ['refuse', NEW],
      ],
    );
    assert.equal((await run(['log', 'check', '--state', state])).code, 0);
  });

  it('takes an older release that the channel never named through the gate, which refuses it', async (t) => {
    const { state, socket } = await place();
    await keyholder(t, { keys, state }, socket, ['--anchors', anchors]);
    const given = ['--channel', 'testing', '--keyholder', socket];
    assert.equal((await run(['publish', site.tree, ...given])).code, 0);
    const { code, err } = await run(['channel', 'move', 'testing', NEW, '--keyholder', socket]);
    assert.equal(code, 1, err);
    assert.match(err, /^refused \[rolled-back\] /);
    assert.equal((await readChannel(state, 'testing'))?.snapshot.releases[0]?.release, NEWEST);
  });

  it('moves nothing without anchors, and no channel to a release that it does not hold', async (t) => {
    const { state, socket } = await place();
    await keyholder(t, { keys, state }, socket);
    const without = await run(['channel', 'move', 'stable', NEW, '--keyholder', socket]);
    assert.deepEqual(
      [without.code, /was started without --anchors/.test(without.err)],
      [2, true],
      without.err,
    );
    const nowhere = await run(['channel', 'renew', 'stabel', '--keyholder', socket]);
    assert.deepEqual(
      [nowhere.code, /There is no channel stabel in /.test(nowhere.err)],
      [2, true],
      nowhere.err,
    );
    // What came to no signature of its own is signed all the same.
    assert.equal((await run(['log', 'check', '--state', state])).code, 0);
  });

  it('does not start with the keys of another site', async () => {
    const { state, socket } = await place();
    const others = await makeKeys(join(folder, 'others'));
    await assert.rejects(
      startKeyholder({ socket, keys: others, state }),
      misused(/holds none of these snapshot keys.* they may be the keys of another site/),
    );
    await assert.rejects(lstat(socket), { code: 'ENOENT' });
  });

  it('opens a key that has a passphrase, once', async () => {
    const { state, socket } = await place();
    const locked = join(folder, 'locked');
    await cp(join(anchors, 'snapshot.crt'), join(locked, 'anchors', 'snapshot.crt'));
    await mkdir(join(locked, 'private'), { mode: 0o700 });
    const at = join(locked, 'private', 'snapshot.key');
    const made = openssl(
      ...[
        'pkcs8',
        '-topk8',
        '-v2',
        'aes-256-cbc',
        '-passout',
        'pass:open',
        '-in',
        join(keys, 'private/snapshot.key'),
      ],
      ...['-out', at],
    );
    assert.equal(made.status, 0, made.stderr);
    await chmod(at, 0o600);
    const given = { socket, keys: locked, state };
    await assert.rejects(
      startKeyholder(given),
      misused(/has a passphrase, and there is nobody to ask for it/),
    );
    await assert.rejects(startKeyholder({ ...given, passphrase: async () => 'shut' }), misused(/was wrong/));
    await assert.rejects(lstat(socket), { code: 'ENOENT' });
    const asked: string[] = [];
    const passphrase = async (path: string) => {
      asked.push(path);
      return 'open';
    };
    const holder = await startKeyholder({ ...given, passphrase });
    const client = new KeyholderClient({ socket });
    await client.renew('stable');
    await client.renew('stable');
    await holder.close();
    assert.deepEqual(asked, [at]);
    await opensslTakesSnapshot(state, 'stable');
  });

  it('signs what waits for it, and nothing where nothing waits', async (t) => {
    const { state, acts, socket } = await place();
    const of = (...words: string[]) => run([...words, '--state', state]);
    // An act of somebody who has no key.
    assert.equal((await of('withdraw', NEW, '--reason', 'It eats disks.')).code, 0);
    const shown = await of('log', 'show');
    assert.match(shown.out, /withdraw .*It eats disks\. \[withdrawn\]; waiting for a signature$/m);
    assert.doesNotMatch(shown.out, /publish .*waiting/);
    const json = JSON.parse((await of('log', 'show', '--json')).out);
    assert.deepEqual(
      json.entries.map(({ act, signed }: { act: string; signed: boolean }) => [act, signed]),
      [
        ['publish', true],
        ['publish', true],
        ['publish', true],
        ['withdraw', false],
      ],
    );
    const refused = await of('log', 'check');
    assert.equal(refused.code, 1);
    assert.match(refused.err, /^refused \[no-verdict\] Entry 3 and those after it wait for a signature/);
    const tolerated = await of('log', 'check', '--allow-waiting');
    assert.equal(tolerated.code, 0);
    assert.match(
      tolerated.out,
      /1 entry from 3 on: waiting for a signature, and nobody vouches for them\.\nVERIFIED: log \S+, 3 entries, /,
    );
    const nobody = await of('log', 'sign');
    assert.equal(nobody.code, 2);
    assert.match(nobody.err, /has no snapshot key: name the folder .* or ask a keyholder with --keyholder\./);

    await keyholder(t, { keys, state }, socket);
    const signed = await run(['log', 'sign', '--keyholder', socket]);
    assert.deepEqual([signed.code, signed.err], [0, '']);
    assert.match(
      signed.out,
      /^entry 3, withdraw of \S+Z: arch\/2026\.11\.02\nentry 4, ask of \S+Z: keyholder: checkpoint, asked by uid \d+\nSigned: 5 entries, 2 of which had waited\.\n$/,
    );
    assert.equal((await of('log', 'check', '--anchors', anchors)).code, 0);
    const again = await run(['log', 'sign', '--keyholder', socket]);
    assert.deepEqual([again.code, again.out], [0, 'Nothing waits: all of 5 entries are signed.\n']);
    assert.equal((await acts(9)).length, 5);
  });
});
