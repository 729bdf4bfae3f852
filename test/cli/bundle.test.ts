import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { boot } from '../../src/operations/boot.ts';
import { serve } from '../../src/server/serve.ts';
import { wholeSampleTree } from '../fixtures/release.ts';
import { run } from './command.ts';
import { runHere } from './here.ts';
import { cliSite } from './site.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const { folder, anchors, tree, keys } = await cliSite(wholeSampleTree);
const state = join(folder, 'state');
const published = await runHere([
  ...['publish', tree, '--channel', 'stable', '--state', state],
  ...['--anchors', anchors, '--snapshot-key', keys],
]);
assert.equal(published.code, 0, published.err);
const bundle = join(folder, 'stable.bundle');
let states = 0;
const newState = () => join(folder, `elsewhere-${++states}`);
const taking = (path: string, to: string) => ['import', path, '--state', to, '--anchors', anchors];

describe('export and import', () => {
  it('carry a channel to a state that boots the emulated machine', async (t) => {
    const made = await runHere(['export', 'stable', bundle, '--state', state, '--json']);
    assert.equal(made.code, 0, made.err);
    const { size, channel, releases } = JSON.parse(made.out);
    assert.deepEqual([size, channel, releases], [statSync(bundle).size, 'stable', ['arch/2026.11.01']]);
    const to = newState();
    const taken = await runHere([...taking(bundle, to), '--json']);
    assert.equal(taken.code, 0, taken.err);
    const said = JSON.parse(taken.out);
    assert.deepEqual([said.imported, said.moved, said.releases[0].outcome], [true, true, 'stored']);
    assert.equal(said.releases[0].logged.index, 0);
    const now = Date.now();
    const server = await serve({
      state: to,
      anchors,
      httpPort: 0,
      tftpPort: false,
      nbdPort: false,
      clock: () => now,
    });
    t.after(() => server.close());
    const { refusal, verified } = await boot({
      url: `${server.url}/boot.ipxe`,
      anchors,
      now,
      anyKernel: true,
    });
    assert.deepEqual([refusal, verified], [undefined, true]);
  });

  it('go through a pipe', async () => {
    const to = newState();
    const line = `"$0" "$1" export stable - --state "$2" | tee "$3.piped" | "$0" "$1" import - --state "$4" --anchors "$5"`;
    const { status, stderr, stdout } = spawnSync(
      'bash',
      ['-o', 'pipefail', '-c', line, process.execPath, MAIN, state, bundle, to, anchors],
      { encoding: 'utf8' },
    );
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^stable → arch\/2026\.11\.01: snapshot 1, until /m);
    execFileSync('cmp', [bundle, `${bundle}.piped`]);
    execFileSync('diff', ['-r', join(state, 'releases'), join(to, 'releases')]);
    // Whoever reads a part has no bundle, and neither end says that all went well.
    const cut = spawnSync(
      'bash',
      [
        '-c',
        `head -c 70000 "$0" | "$1" "$2" import - --state "$3" --anchors "$4"`,
        bundle,
        process.execPath,
        MAIN,
        newState(),
        anchors,
      ],
      { encoding: 'utf8' },
    );
    assert.equal(cut.status, 1);
    assert.match(cut.stderr, /^refused \[malformed\] The bundle ends in the middle of /m);
    const closed = spawnSync(
      'bash',
      [
        '-o',
        'pipefail',
        '-c',
        `"$0" "$1" export stable - --state "$2" | head -c 1 > /dev/null`,
        process.execPath,
        MAIN,
        state,
      ],
      { encoding: 'utf8' },
    );
    assert.equal(closed.status, 3, closed.stderr);
  });

  it('replace no file unless they are told to', async () => {
    const path = join(folder, 'there');
    writeFileSync(path, 'mine');
    const refused = await runHere(['export', 'stable', path, '--state', state]);
    assert.equal(refused.code, 2);
    assert.match(refused.err, /there exists already and is not replaced; --force does\.$/m);
    assert.equal(readFileSync(path, 'utf8'), 'mine');
    assert.equal((await runHere(['export', 'stable', path, '--state', state, '--force'])).code, 0);
    execFileSync('cmp', [bundle, path]);
    assert.equal((await runHere(['export', 'testing', path, '--state', state])).code, 2);
    assert.equal((await runHere(['export', 'stable', '-', '--state', state, '--json'])).code, 2);
    const none = await runHere(taking(join(folder, 'none'), newState()));
    assert.deepEqual([none.code, /there is no such file\./.test(none.err)], [2, true], none.err);
  });

  it('leave nothing on a disk that is full', async (t) => {
    const small = smallDisk(t, '4m');
    const made = await runHere(['export', 'stable', join(small, 'x.bundle'), '--state', state]);
    assert.equal(made.code, 3);
    assert.match(made.err, /Cannot write \S+x\.bundle: .*; nothing of it was left behind\.$/m);
    assert.deepEqual(readdirSync(small), []);
    const to = join(small, 'state');
    const taken = await runHere(taking(bundle, to));
    assert.equal(taken.code, 3, taken.out + taken.err);
    assert.deepEqual(readdirSync(join(to, 'releases')), []);
    assert.deepEqual(
      readdirSync(to).filter((name) => name.startsWith('.')),
      [],
    );
    const channels = await runHere(['channel', 'list', '--state', to]);
    assert.equal(channels.code, 0, channels.err);
  });

  it('leave an old state or a new one where the import is killed, and the next takes it all', async () => {
    const to = newState();
    const bytes = readFileSync(bundle);
    for (const share of [0.3, 0.6, 0.95]) {
      const child = spawn(process.execPath, [MAIN, ...taking('-', to)], {
        stdio: ['pipe', 'ignore', 'ignore'],
      });
      child.stdin.on('error', () => {});
      child.stdin.write(bytes.subarray(0, Math.floor(bytes.length * share)));
      // It has unpacked all that it was given once no more is taken: the pipe's own buffer is all that is left of it.
      await drained(to, Math.floor(bytes.length * share));
      child.kill('SIGKILL');
      await once(child, 'close');
      assert.deepEqual(readdirSync(join(to, 'releases')), []);
      assert.equal(readdirSync(to).filter((name) => name.startsWith('.bootseal-import-')).length, 1);
    }
    const taken = await run(taking(bundle, to));
    assert.equal(taken.code, 0, taken.err);
    assert.deepEqual(
      readdirSync(to).filter((name) => name.startsWith('.')),
      [],
    );
    execFileSync('diff', ['-r', join(state, 'releases'), join(to, 'releases')]);
  });
});

function smallDisk(t: TestContext, size: string): string {
  const at = join(folder, 'small');
  mkdirSync(at, { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', at]);
  t.after(() => void execFileSync('umount', [at]));
  return at;
}

/** Resolves when most of so many bytes lie unpacked beside a state. */
async function drained(to: string, octets: number): Promise<void> {
  for (;;) {
    const drafts = existsSync(to)
      ? readdirSync(to).filter((name) => name.startsWith('.bootseal-import-'))
      : [];
    const [size = '0'] = drafts.flatMap((name) => {
      const { stdout } = spawnSync('du', ['-sb', join(to, name)], { encoding: 'utf8' });
      return [stdout.split('\t')[0] ?? '0'];
    });
    if (Number(size) > 0 && Number(size) > octets - 2 * 1024 * 1024) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
