import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { chmod, mkdir, symlink } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { startKeyholder } from '../../src/keyholder/keyholder.ts';
import { peerOf } from '../../src/keyholder/peer.ts';
import { channelHistory } from '../../src/store/channels.ts';
import { run } from '../cli/command.ts';
import { misused } from '../fixtures/failed.ts';
import { say, sayAs } from './raw-client.ts';
import { keyholderSite, socketIn } from './sites.ts';

const site = await keyholderSite();
const { folder, keys, state } = site;
const RENEW = '{"bootseal-keyholder":1,"ask":"renew","channel":"stable"}\n';
const STRANGER = 12_345;
const FRIEND = 12_346;
const isRoot = process.geteuid?.() === 0;
const counter = async () => (await channelHistory(state, 'stable')).length;

/** A place that anybody may enter, and a keyholder whose socket anybody may open: its mode alone is not what guards it. */
async function open(more: object = {}) {
  await chmod(folder, 0o755);
  const socket = await socketIn(folder);
  const keyholder = await startKeyholder({ socket, keys, state, ...more });
  await chmod(socket, 0o777);
  return { socket, keyholder };
}

describe('who asks a keyholder', () => {
  it('is answered as root, as its own user, or as one whom it was told of; nobody else', async () => {
    const { socket, keyholder } = await open({ allowUids: [FRIEND] });
    try {
      const before = await counter();
      assert.match(await say(socket, RENEW), /^{"bootseal-keyholder":1,"answer":"done","did":"moved",/);
      assert.equal(await counter(), before + 1);
      // Only root can be somebody else; other accounts have seen all that they can.
      if (!isRoot) return;
      const refused = JSON.parse(await sayAs(STRANGER, socket, RENEW));
      assert.deepEqual([refused.answer, refused.snapshot], ['io', undefined]);
      assert.match(refused.message, /^uid 12345 may not ask this keyholder; /);
      assert.equal(await counter(), before + 1);
      assert.match(await sayAs(FRIEND, socket, RENEW), /"answer":"done"/);
      assert.equal(await counter(), before + 2);
    } finally {
      await keyholder.close();
    }
  });

  it('is told by the kernel as of the moment of connecting, not by who made the socket or holds it now', async (t) => {
    if (!isRoot) return assert.notEqual(process.geteuid?.(), 0);
    const path = join(folder, 'own');
    const server = createServer({ pauseOnConnect: true });
    t.after(() => server.close());
    const next = () => new Promise<Socket>((done) => server.once('connection', done));
    await new Promise<void>((done) => server.listen(path, done));
    await chmod(path, 0o777);
    const perl = (before: string, after: string) =>
      `socket(my $s, AF_UNIX, SOCK_STREAM, 0) or die $!; ${before} connect($s, pack_sockaddr_un("${path}")) or die $!; ${after} sleep 60`;
    for (const [what, before, after, uid] of [
      ['dropped before it connects, with a socket of root’s', `$> = ${STRANGER};`, '', STRANGER],
      ['dropped after it has connected', '', `$> = ${STRANGER};`, 0],
    ] as const) {
      const arrived = next();
      const child = spawn('perl', ['-MSocket', '-e', perl(before, after)], {
        stdio: ['ignore', 'ignore', 'inherit'],
      });
      const connection = await arrived;
      assert.equal((await peerOf(connection)).uid, uid, what);
      assert.equal((await peerOf(connection)).pid, child.pid, what);
      connection.destroy();
      child.kill('SIGKILL');
    }
  });

  it('cannot be told of a connection that is gone: it is refused', async (t) => {
    const path = join(folder, 'gone');
    const server = createServer({ pauseOnConnect: true });
    t.after(() => server.close());
    const arrived = new Promise<Socket>((done) => server.once('connection', done));
    await new Promise<void>((done) => server.listen(path, done));
    const client = connect(path);
    const connection = await arrived;
    connection.destroy();
    client.destroy();
    await assert.rejects(peerOf(connection), (error: Error) =>
      /^Who asks cannot be told: /.test(error.message),
    );
  });

  it('cannot be everybody whom the kernel does not know', async () => {
    await assert.rejects(
      startKeyholder({ socket: await socketIn(folder), keys, state, allowUids: [65_534] }),
      misused(/^uid 65534 cannot be allowed/),
    );
  });
});

it('a machine that cannot tell who asks has no keyholder, and is told why', async () => {
  // All that a keyholder starts, but the one that tells.
  const path = join(folder, 'bin');
  await mkdir(path);
  await symlink(spawnSync('which', ['flock']).stdout.toString().trim(), join(path, 'flock'));
  const words = ['keyholder', '--socket', await socketIn(folder), '--keys', keys, '--state', state];
  const { code, err } = await run(words, { env: { PATH: path } });
  assert.equal(code, 2);
  assert.equal(
    err,
    'Who asks cannot be told: there is no "perl"; install perl-base; a keyholder must know who asks it.\n',
  );
});

it('users are named by name or number', async () => {
  const words = ['keyholder', '--socket', await socketIn(folder), '--keys', keys, '--state', state];
  for (const more of [
    ['--allow-user', 'nobody-of-that-name'],
    ['--allow-user', '-1'],
    ['--group', 'x:y'],
  ]) {
    const { code, err } = await run([...words, ...more]);
    assert.deepEqual([code, /^There is no (user|group) ".*" on this machine\.\n$/.test(err)], [2, true], err);
  }
  const named = await run([...words, '--allow-user', 'nobody']);
  assert.deepEqual([named.code, /^uid 65534 cannot be allowed/.test(named.err)], [2, true], named.err);
});
