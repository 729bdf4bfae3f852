import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmod, chown, lstat, mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { KeyholderClient } from '../../src/keyholder/client.ts';
import { safeSocketPath } from '../../src/keyholder/socket-place.ts';
import { runHere as run } from '../cli/here.ts';
import { failed, misused } from '../fixtures/failed.ts';
import { keyholder, keyholderSite, socketIn } from './sites.ts';

const site = await keyholderSite();
const { folder, keys, state } = site;
const STRANGER = 12_345;
const isRoot = process.geteuid?.() === 0;
const words = (socket: string) => ['keyholder', '--socket', socket, '--keys', keys, '--state', state];
const renew = (socket: string) => new KeyholderClient({ socket }).renew('stable');

/** Somebody's server, which answers whatever it is asked. */
async function somebodyAt(t: TestContext, path: string): Promise<Server> {
  const server = createServer((connection) => {
    connection.on('error', () => {});
    connection.resume().end('{"bootseal-keyholder":1,"answer":"usage","message":"Hello."}\n');
  });
  server.listen(path);
  await once(server, 'listening');
  t.after(() => server.close());
  return server;
}

describe('the folder of a keyholder’s socket', () => {
  it('is one that nobody else may write, up to the root, for keyholder and client', async () => {
    for (const [what, spoil, fact] of [
      ['one that others may write', (at: string) => chmod(at, 0o757), /others may write there/],
      ['one that its group may write', (at: string) => chmod(at, 0o775), /others may write there/],
      ['a sticky one', (at: string) => chmod(at, 0o1777), /others may write there/],
      ['one above it', (at: string) => chmod(dirname(at), 0o777), /others may write there/],
      [
        'a stranger’s',
        (at: string) => (isRoot ? chown(at, STRANGER, STRANGER) : chmod(at, 0o777)),
        /uid|write/,
      ],
    ] as const) {
      const at = join(folder, what.replaceAll(/\W/g, '-'), 'run');
      await mkdir(at, { recursive: true });
      await spoil(at);
      const socket = join(at, 'socket');
      const { code, err } = await run(words(socket));
      assert.equal(code, 1, what);
      assert.match(err, /^refused \[unsafe-path\] \S+ is no place for a keyholder’?'?s socket: /, what);
      await assert.rejects(renew(socket), failed('unsafe-path', fact), what);
      assert.deepEqual(await readdir(at), [], what);
    }
  });

  it('may lie in a sticky one, and is found behind a link that is as safe', async () => {
    const at = join(folder, 'sticky', 'own');
    await mkdir(at, { recursive: true });
    await chmod(dirname(at), 0o1777);
    await symlink(at, join(folder, 'link'));
    assert.equal(await safeSocketPath(join(folder, 'link', 'socket')), join(at, 'socket'));
  });

  it('must be there, and leave room for a name', async () => {
    const nowhere = await run(words(join(folder, 'nowhere', 'socket')));
    assert.deepEqual([nowhere.code, /^There is no folder /.test(nowhere.err)], [2, true], nowhere.err);
    // 108 bytes are cut by some systems: it would listen under another name.
    await assert.rejects(safeSocketPath(join(folder, 'x'.repeat(100))), misused(/is too long for a socket/));
  });
});

describe('a keyholder’s socket', () => {
  it('is for its owner and its group', async (t) => {
    const socket = await socketIn(folder);
    const running = await keyholder(t, site, socket, isRoot ? ['--group', 'daemon'] : []);
    const { mode, gid } = await lstat(socket);
    assert.equal(mode & 0o7777, 0o660);
    if (isRoot) assert.equal(gid, 1);
    running.signal('SIGTERM');
    assert.equal((await running.ended).code, 0);
    await assert.rejects(lstat(socket), { code: 'ENOENT' });
  });

  it('is one keyholder’s at a time', async (t) => {
    const socket = await socketIn(folder);
    const first = await keyholder(t, site, socket);
    const second = await run(words(socket));
    assert.deepEqual([second.code, second.err], [2, `Another keyholder answers at ${socket}.\n`]);
    await renew(socket);
    // Its name may be gone; it is there all the same, and a second one would be asked in its place.
    await rename(socket, `${socket}-moved`);
    const third = await run(words(socket));
    assert.deepEqual([third.code, third.err], [2, `Another keyholder answers at ${socket}.\n`]);
    first.signal('SIGINT');
    assert.equal((await first.ended).code, 0);
  });

  it('that a killed one left is replaced', async (t) => {
    const socket = await socketIn(folder);
    const killed = await keyholder(t, site, socket);
    killed.signal('SIGKILL');
    await killed.ended;
    assert.ok((await lstat(socket)).isSocket());
    await assert.rejects(
      renew(socket),
      failed('ECONNREFUSED', /^No keyholder answers at .*: it does not run\.$/),
    );
    await keyholder(t, site, socket);
    await renew(socket);
  });

  it('is not put where something else stands', async () => {
    for (const [make, fact] of [
      [(at: string) => writeFile(at, 'mine'), /is there already and is no socket; it is not replaced/],
      [(at: string) => mkdir(at), /is there already and is no socket/],
      [(at: string) => symlink('elsewhere', at), /is there already and is no socket/],
    ] as const) {
      const socket = await socketIn(folder);
      await make(socket);
      const { ino } = await lstat(socket);
      const { code, err } = await run(words(socket));
      assert.deepEqual([code, fact.test(err)], [2, true], err);
      assert.equal((await lstat(socket)).ino, ino);
      await assert.rejects(renew(socket), misused(/is no socket/));
    }
  });

  it('that somebody else made is neither replaced nor asked, dead or alive', async (t) => {
    if (!isRoot) return assert.notEqual(process.geteuid?.(), 0);
    const socket = await socketIn(folder);
    const server = await somebodyAt(t, socket);
    await assert.rejects(renew(socket), misused(/^Hello\.$/));
    await chown(socket, STRANGER, STRANGER);
    await assert.rejects(
      renew(socket),
      failed('unsafe-path', /a socket of uid 12345's, who is neither root nor you nor the keyholder's user/),
    );
    await assert.rejects(
      new KeyholderClient({ socket, keyholderUid: STRANGER }).renew('stable'),
      misused(/^Hello/),
    );
    for (const alive of [true, false]) {
      if (!alive) {
        const dead = `${socket}-dead`;
        // What libuv removes when the server ends is the name that it was made under.
        await rename(socket, dead);
        server.close();
        await rename(dead, socket);
      }
      const { code, err } = await run(words(socket));
      assert.equal(code, 1);
      assert.match(err, /^refused \[unsafe-path\] \S+ is a socket of uid 12345's, and is not replaced\.\n$/);
    }
    await rm(socket);
  });

  it('of ours on which something else answers is told from a keyholder', async (t) => {
    const socket = await socketIn(folder);
    for (const [answer, fact] of [
      ['', /went away without an answer; "bootseal channel show"/],
      ['HTTP/1.1 400 Bad Request\r\n', /is no keyholder of this Bootseal: .*no JSON/],
      ['{"bootseal-keyholder":2,"answer":"done"}\n', /of format 2; this Bootseal knows 1/],
      [
        '{"bootseal-keyholder":1,"answer":"done","did":"signed","size":1,"signed":0,"entries":[]}\n',
        /something else was done/,
      ],
      [
        `{"bootseal-keyholder":1,"answer":"done","did":"moved","snapshot":"x","key":"${'0'.repeat(64)}","warnings":[]}\n`,
        /is no keyholder/,
      ],
      ['x'.repeat(20_000), /longer than 16384 bytes/],
      ['{}\n{}\n', /more than one line/],
    ] as const) {
      const server = createServer((connection) => {
        connection.on('error', () => {});
        connection.resume().end(answer);
      });
      server.listen(socket);
      await once(server, 'listening');
      await assert.rejects(renew(socket), (error: Error) => {
        assert.equal(error.name, 'IoError');
        assert.match(error.message, fact);
        return true;
      });
      server.close();
      await once(server, 'close');
    }
    const silent = await somebodyAt(t, `${socket}-2`);
    silent.removeAllListeners('connection');
    await assert.rejects(
      new KeyholderClient({ socket: `${socket}-2`, patienceMs: 20 }).renew('stable'),
      /The keyholder at .* was lost: it gave no answer within 0\.02 s\.$/,
    );
    await assert.rejects(renew(`${socket}-3`), failed('ENOENT', /there is no such socket/));
  });
});
