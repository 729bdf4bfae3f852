import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, existsSync } from 'node:fs';
import { appendFile, chmod, cp, mkdir, readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { INITRD, KERNEL, ROOTFS, sampleTree } from '../fixtures/release.ts';
import { run, start } from './command.ts';
import { cliSite } from './site.ts';

const site = await cliSite();

async function filesBelow(folder: string): Promise<string[]> {
  return (await readdir(folder, { recursive: true })).sort();
}

describe('init', () => {
  it('makes keys that openssl and gpg know, secrets for the owner alone', async () => {
    const { code, out, err } = await run(['init', 'new', '--site', 'school', '--ecdsa'], {
      cwd: site.folder,
    });
    assert.equal(code, 0);
    assert.match(
      out,
      /^new\/anchors {2}public: .*\nnew\/private {2}secret: .*\n.*ca\.key .*\nNo key has a passphrase.*\n$/,
    );
    assert.match(err, /^(making the [a-z-]+ key\n){8}$/);
    const folder = join(site.folder, 'new');
    for (const name of await readdir(join(folder, 'private')))
      assert.equal((await stat(join(folder, 'private', name))).mode & 0o777, 0o600, name);
    assert.equal((await stat(join(folder, 'private'))).mode & 0o777, 0o700);
    const ca = join(folder, 'anchors', 'ca.crt');
    for (const name of ['codesign', 'boot', 'manifest']) {
      const leaf = join(folder, 'anchors', `${name}.crt`);
      const verdict = execFileSync('openssl', ['verify', '-CAfile', ca, leaf], { encoding: 'utf8' });
      assert.equal(verdict, `${leaf}: OK\n`);
    }
    const keyring = join(folder, 'anchors', 'pubring.gpg');
    const listed = execFileSync(
      'gpg',
      ['--homedir', folder, '--quiet', '--show-keys', '--with-colons', keyring],
      {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      },
    );
    assert.match(listed, /^pub:.:4096:1:/m);
    assert.match(listed, /^uid:.*school/m);
  });

  it('says one object with --json, and nothing at all with --quiet', async () => {
    const json = await run(['init', 'json', '--ecdsa', '--json'], { cwd: site.folder });
    assert.deepEqual(JSON.parse(json.out), { keys: 'json', site: 'lan', passphrase: false });
    const quiet = await run(['init', 'quiet', '--ecdsa', '--quiet'], { cwd: site.folder });
    assert.deepEqual(quiet, { code: 0, out: '', err: '' });
  });

  it('leaves nothing behind when it is interrupted', async () => {
    const parent = join(site.folder, 'interrupted');
    await mkdir(parent);
    // Keys made anew: ready ones could all be there before the signal.
    const running = start(['init', join(parent, 'keys')], { env: { BOOTSEAL_READY_KEYS: '' } });
    await running.until('err', /making the codesign key/);
    assert.equal((await readdir(parent)).length, 1);
    running.signal('SIGINT');
    const { code, err } = await running.ended;
    assert.equal(code, 130);
    assert.match(err, /\nInterrupted by SIGINT: nothing was written\.\n$/);
    assert.deepEqual(await readdir(parent), []);
  });
});

describe('seal', () => {
  it('says what it sealed, in columns that line up, and that a second time changes nothing', async () => {
    const tree = await sampleTree(join(site.folder, 'columns'), site.keys);
    const first = await run(['seal', tree, '--keys', site.keys]);
    assert.equal(first.code, 0);
    assert.equal(first.err, 'sealing arch/2026.11.01\n');
    const [, words, free, , head = '', ...rows] = first.out.split('\n');
    assert.match(words ?? '', /^command line: archisobasedir=arch .*verify=y/);
    assert.match(free ?? '', /^loaders may add: ip=\(dhcp\)/);
    const column = head.indexOf('file');
    const paths = rows.slice(0, 3).map((row) => row.slice(column).split(' ')[0]);
    assert.deepEqual(paths, [KERNEL, INITRD, ROOTFS]);
    const sizes = [head, ...rows.slice(0, 3)].map((row) => row.search(/size|[\d.]+ [kM]?B( |$)/));
    assert.equal(new Set(sizes).size, 1);
    assert.match(rows[0] ?? '', /B {2}bzImage$/);
    assert.match(
      first.out,
      /\narch\/2026\.11\.01, serial 2026110100: 26 files written, 0 kept; best before /,
    );
    const again = await run(['seal', tree, '--keys', site.keys]);
    assert.match(again.out, /: 0 files written, 26 kept;/);
  });

  it('says so where the root image can have no hash tree', async () => {
    const tree = await sampleTree(join(site.folder, 'odd'), site.keys);
    await appendFile(join(tree, ROOTFS), 'odd');
    const { code, err } = await run(['seal', tree, '--keys', site.keys]);
    assert.equal(code, 0);
    assert.ok(err.includes(`${ROOTFS} does not end with a whole block of 4096 bytes`), err);
  });

  it('says one object with --json: digest of the manifest, and what became of each file', async () => {
    const tree = await sampleTree(join(site.folder, 'json-tree'), site.keys);
    const { code, out } = await run(['seal', tree, '--keys', site.keys, '--json']);
    assert.equal(code, 0);
    const sealed = JSON.parse(out) as Record<string, unknown> & {
      files: { path: string; outcome: string }[];
    };
    assert.equal(sealed.release, 'arch/2026.11.01');
    const manifest = join(tree, 'release.manifest');
    const [digest] = execFileSync('sha256sum', [manifest], { encoding: 'utf8' }).split(' ');
    assert.equal(sealed.manifestSha256, digest);
    assert.match(String(sealed.cmdline), /^archisobasedir=arch .*verify=y/);
    assert.ok((sealed.free as string[]).includes('ip dhcp'));
    assert.equal(sealed.shell, false);
    for (const { path, outcome } of sealed.files) {
      assert.equal(outcome, 'written', path);
      assert.ok(existsSync(join(tree, path)), path);
    }
  });

  it('says nothing with --quiet', async () => {
    const quiet = await run(['seal', site.tree, '--keys', site.keys, '--quiet']);
    assert.deepEqual(quiet, { code: 0, out: '', err: '' });
  });

  it('takes the time of issue from SOURCE_DATE_EPOCH, and --issued before it', async () => {
    const env = { SOURCE_DATE_EPOCH: String(Math.floor(Date.now() / 1000) - 3600) };
    const issued = async () => {
      const text = await readFile(join(site.folder, 'epoch', 'release.manifest'), 'utf8');
      return Date.parse(/^issued (.*)$/m.exec(text)?.[1] ?? '') / 1000;
    };
    const tree = await sampleTree(join(site.folder, 'epoch'), site.keys);
    await run(['seal', tree, '--keys', site.keys], { env });
    assert.equal(await issued(), Number(env.SOURCE_DATE_EPOCH));
    const at = Math.floor(Date.now() / 1000) - 60;
    await run(['seal', tree, '--keys', site.keys, '--issued', `@${at}`], { env });
    assert.equal(await issued(), at);
  });

  it('refuses keys that others can read, and writes nothing', async () => {
    const keys = join(site.folder, 'open-keys');
    await cp(site.keys, keys, { recursive: true });
    await chmod(join(keys, 'private', 'ca.key'), 0o644);
    const tree = await sampleTree(join(site.folder, 'refused'), site.keys);
    const before = await filesBelow(tree);
    const { code, err } = await run(['seal', tree, '--keys', keys]);
    assert.equal(code, 1);
    assert.match(err, /^refused \[unsafe-keys\] [^\n]*ca\.key[^\n]*\n$/);
    assert.deepEqual(await filesBelow(tree), before);
  });

  for (const [signal, status] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    it(`leaves nothing half-written when ${signal} comes while it reads, and says so`, async () => {
      const tree = await sampleTree(join(site.folder, signal), site.keys);
      // Sparse: long to read, nothing to store.
      await truncate(join(tree, ROOTFS), 64 * 1024 ** 3);
      const before = await filesBelow(tree);
      const running = start(['seal', tree, '--keys', site.keys, '--json']);
      await running.until('err', /sealing arch/);
      await readsFrom(running.pid);
      running.signal(signal);
      const { code, out, err } = await running.ended;
      const sentence = `Interrupted by ${signal}: nothing was written.`;
      assert.deepEqual(JSON.parse(out), { error: sentence });
      assert.deepEqual([code, err], [status, `sealing arch/2026.11.01\n${sentence}\n`]);
      assert.deepEqual(await filesBelow(tree), before);
    });
  }

  it('ends the program that signs when SIGINT comes while it is being asked', async () => {
    const tree = await sampleTree(join(site.folder, 'asking'), site.keys);
    const before = await filesBelow(tree);
    const held = join(site.folder, 'held');
    execFileSync('mkfifo', [held]);
    const program = join(site.folder, 'slow-signer');
    await writeFile(program, `#!/bin/sh\necho asked >&2\nexec 3>${held}\nexec tail -f /dev/null\n`, {
      mode: 0o755,
    });
    const running = start(['seal', tree, '--keys', site.keys, '--signer-command', program]);
    const stream = createReadStream(held);
    // Opened by the program, which holds it until it ends.
    await once(stream, 'open');
    const gone = once(stream.resume(), 'end');
    running.signal('SIGINT');
    const { code, err } = await running.ended;
    assert.equal(code, 130, err);
    assert.match(err, /Interrupted by SIGINT: nothing was written\.\n$/);
    await gone;
    assert.deepEqual(await filesBelow(tree), before);
  });
});

/** Ends when a process has read far more than all files of a tree but the root image hold. */
async function readsFrom(pid: number): Promise<void> {
  let octets = 0;
  while (octets < 64 * 1024 ** 2)
    octets = Number(/rchar: (\d+)/.exec(await readFile(`/proc/${pid}/io`, 'utf8'))?.[1]);
}
