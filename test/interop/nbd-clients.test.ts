import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { identityOf } from '../../src/files/file-identity.ts';
import { startNbdServer } from '../../src/serve/nbd/nbd.ts';
import { FileExport, fileExports } from '../../src/serve/nbd/nbd-file-export.ts';
import { VERIFIED_BLOCK } from '../../src/serve/nbd/nbd-verified-blocks.ts';
import { Shares } from '../../src/serve/shares.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { takeDown } from '../serve/events.ts';
import { content } from '../serve/nbd/nbd-harness.ts';

const folder = await temporaryFolder();
/** Neither a multiple of 512 nor of 4096. */
const DATA = content(20_000_001);
const TREE = content(40_960);

async function file(name: string, data: Buffer, verified: boolean): Promise<FileExport> {
  const path = join(folder, name.replace(/\W/g, '-'));
  await writeFile(path, data);
  const identity = identityOf(await stat(path, { bigint: true }));
  const verify = (index: number, block: Buffer): boolean =>
    block.equals(data.subarray(index * VERIFIED_BLOCK, index * VERIFIED_BLOCK + block.length));
  return new FileExport({
    name,
    description: `${name} for tests`,
    file: { path, name, size: data.length, sha256: '', identity },
    ...(verified ? { verify } : {}),
  });
}

const ROOT = 'arch/2026.11.01/airootfs';
const [root, tree] = [await file(ROOT, DATA, true), await file(`${ROOT}.verity`, TREE, false)];
const { told, emit } = takeDown();
const server = await startNbdServer({
  exports: fileExports([root, tree]),
  bind: '127.0.0.1',
  port: 0,
  shares: new Shares(),
  emit,
});
after(() => server.close({ graceMs: 0 }));
const uri = (name: string): string => `nbd://127.0.0.1:${server.port}/${name}`;

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly said: string;
}

function run(program: string, words: readonly string[]): Promise<Ran> {
  // nbd-client is root's, and lies outside the PATH of others.
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
  return new Promise((resolve) => {
    execFile(program, [...words], { env }, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), out, said: out + err });
    });
  });
}

/** What it says on its standard output: nbdinfo complains elsewhere where there is no `file` command. */
async function ran(program: string, ...words: string[]): Promise<string> {
  const { code, out, said } = await run(program, words);
  assert.equal(code, 0, `${program}: ${said}`);
  return out;
}

const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

async function demandCopy(path: string, data: Buffer, size = data.length): Promise<void> {
  const copy = await readFile(path);
  assert.equal(copy.length, size);
  assert.equal(digest(copy.subarray(0, data.length)), digest(data));
}

describe('NBD clients of others', () => {
  it('nbdinfo is told what there is', async () => {
    const { exports } = JSON.parse(await ran('nbdinfo', '--json', uri(ROOT))) as {
      exports: Record<string, unknown>[];
    };
    const [told] = exports;
    const facts = {
      'export-name': ROOT,
      description: `${ROOT} for tests`,
      'export-size': DATA.length,
      is_read_only: true,
      can_multi_conn: true,
      can_df: true,
      can_flush: false,
      can_trim: false,
      can_zero: false,
      block_size_minimum: 1,
      block_size_preferred: 4096,
      block_size_maximum: 33_554_432,
    };
    for (const [name, value] of Object.entries(facts)) assert.equal(told?.[name], value, name);
    const listed = await ran('nbdinfo', '--list', uri(''));
    for (const name of [ROOT, `${ROOT}.verity`]) assert.ok(listed.includes(`export="${name}"`), listed);
    assert.equal((await ran('nbdinfo', '--size', uri(`${ROOT}.verity`))).trim(), String(TREE.length));
    const { code, said } = await run('nbdinfo', [uri('none')]);
    assert.notEqual(code, 0);
    assert.match(said, /No such file or directory for export: none/);
  });

  for (const flags of [
    [],
    ['--connections=1', '--requests=1'],
    ['--connections=8', '--requests=128', '--request-size=4096'],
    ['--request-size=33554432', '--queue-size=134217728'],
    ['--synchronous'],
  ]) {
    it(`nbdcopy ${flags.join(' ')} copies byte for byte`, async () => {
      const to = join(folder, 'copy');
      await ran('nbdcopy', ...flags, uri(ROOT), to);
      await demandCopy(to, DATA);
    });
  }

  it('qemu-img tells, converts and compares', async () => {
    const info = JSON.parse(await ran('qemu-img', 'info', '--output=json', uri(ROOT))) as {
      'virtual-size': number;
    };
    // QEMU counts in sectors.
    const sectors = Math.ceil(DATA.length / 512) * 512;
    assert.equal(info['virtual-size'], sectors);
    const raw = join(folder, 'raw');
    await ran('qemu-img', 'convert', '-f', 'raw', '-O', 'raw', '-m', '16', '-W', uri(ROOT), raw);
    await demandCopy(raw, DATA, sectors);
    const qcow = join(folder, 'qcow2');
    await ran('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', '-c', uri(ROOT), qcow);
    assert.match(await ran('qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', uri(ROOT), qcow), /identical/);
    const io = ['-f', 'raw', '-c', 'write 0 4k', uri(ROOT)];
    const { code, said } = await run('qemu-io', io);
    assert.notEqual(code, 0);
    assert.match(said, /Permission denied|read.only/i);
  });

  it('nbd-client lists, asking as it has asked since 2012', async () => {
    const said = await ran('nbd-client', '-l', '127.0.0.1', String(server.port));
    for (const name of [ROOT, `${ROOT}.verity`])
      assert.ok(said.includes(`\n${name}: ${name} for tests\n`), said);
  });

  it('nbdkit is a client that serves on', async (t) => {
    const socket = join(folder, 'nbdkit.sock');
    const words = ['-f', '-U', socket, '-r', 'nbd', `uri=${uri(ROOT)}`];
    const proxy: ChildProcess = spawn('nbdkit', words, { stdio: 'inherit' });
    t.after(async () => {
      proxy.kill();
      if (proxy.exitCode === null && proxy.signalCode === null) await once(proxy, 'exit');
    });
    const to = join(folder, 'proxied');
    // It listens when it has connected to us.
    let copied: Ran = { code: -1, out: '', said: '' };
    for (let time = 0; time < 100 && copied.code !== 0; time += 1) {
      copied = await run('nbdcopy', [`nbd+unix:///?socket=${socket}`, to]);
    }
    assert.equal(copied.code, 0, copied.said);
    await demandCopy(to, DATA);
  });

  it('none of them left anything odd in the log', () => {
    assert.deepEqual(told.errors, []);
    assert.equal(server.heldBytes, 0);
    assert.equal(root.shut, undefined);
  });
});
