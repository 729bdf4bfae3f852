import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { serve } from '../../src/server/serve.ts';
import { KERNEL, ROOTFS } from '../fixtures/release.ts';
import { ask } from '../serve/http/harness.ts';
import { copyOf } from '../store/states.ts';
import { run, serving } from './command.ts';
import { cliSite } from './site.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const { folder, anchors, tree, keys } = await cliSite();
const original = join(folder, 'state');
const published = await run([
  ...['publish', tree, '--channel', 'stable', '--state', original],
  ...['--anchors', anchors, '--snapshot-key', keys],
]);
assert.equal(published.code, 0, published.err);
let copies = 0;
const fresh = () => copyOf(original, join(folder, `copy-${++copies}`));
const RELEASE = 'releases/arch/2026.11.01';

function flip(path: string): void {
  chmodSync(path, 0o644);
  const bytes = readFileSync(path);
  bytes[1000] = (bytes[1000] ?? 0) ^ 1;
  writeFileSync(path, bytes);
}

describe('state watch', () => {
  it('--once ends with what it found: 0, 1, or 2 where there is no state', async () => {
    const state = fresh();
    const good = await run(['state', 'watch', '--once', '--state', state, '--json']);
    const said = JSON.parse(good.out);
    assert.deepEqual([good.code, said.findings, said.faults, said.complete], [0, [], [], true]);
    unlinkSync(join(state, RELEASE, 'grub.cfg'));
    const bad = await run(['state', 'watch', '--once', '--state', state]);
    assert.equal(bad.code, 1);
    assert.match(
      bad.out,
      /^grub\.cfg of arch\/2026\.11\.01 is missing: .* is held: the rest of it goes on being served\.$/m,
    );
    assert.equal((await run(['state', 'watch', '--once', '--state', anchors])).code, 2);
    assert.equal((await run(['state', 'watch', '--rate', '5X', '--state', state])).code, 2);
  });

  it('tells a line for each finding, while a server goes on with all else', async (t) => {
    const state = fresh();
    const server = await serve({ state, anchors, httpPort: 0, tftpPort: false, nbdPort: false });
    t.after(() => server.close(0));
    const watch = serving(t, ['state', 'watch', '--state', state, '--json']);
    await watch.until('out', /"watching"/);
    flip(join(state, RELEASE, ROOTFS));
    const [, line = ''] = await watch.until('out', /^(\{"finding":.*airootfs\.sfs.*\})\n/m);
    const { finding } = JSON.parse(line);
    assert.deepEqual([finding.kind, finding.held], ['changed', true]);
    assert.ok(readFileSync(join(state, finding.movedTo)).length > 0);
    const path = (name: string) => `/${RELEASE}/${name}`;
    assert.equal((await ask(server.http.port, path(KERNEL))).status, 200);
    assert.equal((await ask(server.http.port, '/boot.ipxe')).status, 200);
    assert.notEqual((await ask(server.http.port, path(ROOTFS))).status, 200);
    watch.signal('SIGTERM');
    const { code } = await watch.ended;
    assert.equal(code, 0);
  });

  it('looks by itself where the kernel watches no more, and says so', async () => {
    const state = fresh();
    // A user namespace has a limit of its own.
    const line = `echo 3 > /proc/sys/user/max_inotify_watches && exec "$0" "$1" state watch --state "$2" --json`;
    const child = spawn(
      'unshare',
      ['--user', '--map-root-user', 'bash', '-c', line, process.execPath, MAIN, state],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    let said = '';
    const found = new Promise<void>((resolve) => {
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        if (!said.includes('"watching"') && (said + text).includes('"watching"'))
          writeFileSync(join(state, RELEASE, 'arch/extra'), 'x');
        said += text;
        if (said.includes('arch/extra')) resolve();
      });
    });
    await Promise.race([found, once(child, 'close')]);
    child.kill('SIGTERM');
    await once(child, 'close');
    assert.match(
      said,
      /"note":"The kernel does not tell of every change: it watches no more folders than \d+ .*every second instead\./,
    );
    assert.match(said, /"finding":.*arch\/extra/);
  });
});
