import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, open, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { temporaryFolder } from '../fixtures/folder.ts';
import {
  expectedAnswer,
  type Files,
  type Machine,
  makeMachine,
  makeSites,
} from '../fixtures/manifest-record.ts';
import { manifestVectors } from '../fixtures/manifest-vectors.ts';

const SCRIPT = fileURLToPath(new URL('../../../early-userspace/verify-manifest', import.meta.url));

const folder = await temporaryFolder();
const sites = await makeSites(folder);

interface Said {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function lay(files: Files, name: string): Promise<string> {
  const base = await mkdtemp(join(folder, `${name}-`));
  for (const [path, bytes] of Object.entries(files)) {
    // gpg warns of a home that others may read.
    await mkdir(dirname(join(base, path)), { recursive: true, mode: 0o700 });
    await writeFile(join(base, path), bytes);
  }
  return base;
}

async function argumentsOf(machine: Machine): Promise<string[]> {
  const cmdline = await lay({ cmdline: Buffer.from(`${machine.cmdline}\n`, 'latin1') }, 'proc');
  return [
    await lay(machine.root, 'root'),
    await lay(machine.records, 'records'),
    join(cmdline, 'cmdline'),
    machine.arch,
    String(machine.now),
  ];
}

/** Runs the script under busybox, as an initramfs does. */
function run(
  args: readonly string[],
  environment: NodeJS.ProcessEnv = process.env,
  shell: readonly string[] = ['/bin/busybox', 'sh'],
): Promise<Said> {
  const [command = '', ...first] = shell;
  const child = spawn(command, [...first, SCRIPT, ...args], { env: environment, cwd: folder });
  const said = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('latin1').on('data', (piece: string) => {
      said[name] += piece;
    });
  }
  child.stdin.end();
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status) => resolve({ status, ...said }));
  });
}

/** `verified`, or the code of the one line that a refusal is. */
function codeOf({ status, stdout }: Said): string {
  if (status === 0) return stdout.split(/[ \n]/)[0] ?? '';
  assert.equal(status, 1);
  const [, code] = /^refused ([a-z-]+) [\x20-\x7e]+\n$/.exec(stdout) ?? [];
  assert.ok(code, `one line that says why: ${JSON.stringify(stdout)}`);
  return code;
}

const good = await argumentsOf(await makeMachine({ name: '', expect: 'verified' }, sites));
const [root = '', records = '', cmdline = '', arch = '', now = ''] = good;

describe('verify-manifest under busybox', { concurrency: 2 }, () => {
  it('has at least 70 vectors of distinct names to answer', () => {
    const names = new Set(manifestVectors.map(({ name }) => name));
    assert.ok(names.size >= 70 && names.size === manifestVectors.length);
  });

  for (const vector of manifestVectors) {
    it(`says ${vector.expect} to ${vector.name}`, async () => {
      const said = await run(await argumentsOf(await makeMachine(vector, sites)));
      assert.equal(codeOf(said), vector.expect, said.stdout);
      assert.equal(said.stderr, '');
      assert.ok(said.stdout.includes(vector.about ?? ''), said.stdout);
      if (vector.expect === 'verified') {
        assert.deepEqual(said.stdout.split('\n'), [...expectedAnswer(vector, sites), '']);
      }
    });
  }
});

const TOOLS = ['openssl', 'gpg', 'od', 'sha256sum', 'tr', 'wc'];

/** A PATH with these tools alone; a script in place of one of them where it is given. */
async function pathWith(tools: readonly string[], stubs: Readonly<Record<string, string>> = {}) {
  const bin = await mkdtemp(join(folder, 'bin-'));
  for (const tool of tools) {
    const stub = stubs[tool];
    if (stub !== undefined) await writeFile(join(bin, tool), `#!/bin/sh\n${stub}\n`, { mode: 0o755 });
    else await symlink(/^(openssl|gpg)$/.test(tool) ? `/usr/bin/${tool}` : '/bin/busybox', join(bin, tool));
  }
  return { ...process.env, PATH: bin };
}

describe('verify-manifest, when something else is wrong', () => {
  it('needs no tool but those that it names', async () => {
    assert.equal(codeOf(await run(good, await pathWith(TOOLS))), 'verified');
  });

  for (const tool of ['openssl', 'gpg']) {
    it(`refuses without ${tool}`, async () => {
      const said = await run(good, await pathWith(TOOLS.filter((name) => name !== tool)));
      assert.ok(['no-verdict', 'malformed'].includes(codeOf(said)), said.stdout);
    });

    for (const [what, stub] of [
      ['says nothing and exits 0', 'exit 0'],
      ['says yes to everything', 'echo "Verification successful"; echo "[GNUPG:] GOODSIG 1 2"; exit 0'],
      ['is killed', 'kill -9 $$'],
    ] as const) {
      it(`refuses where ${tool} ${what}`, async () => {
        const said = await run(good, await pathWith(TOOLS, { [tool]: stub }));
        assert.equal(said.status, 1);
        assert.ok(codeOf(said) !== 'verified');
      });
    }
  }

  for (const tool of ['od', 'sha256sum', 'tr', 'wc']) {
    it(`refuses where ${tool} fails`, async () => {
      // busybox's shell would take its own; a shell that has none takes the first of the PATH.
      const environment = await pathWith(TOOLS, { [tool]: 'exit 1' });
      const said = await run(good, environment, ['/bin/dash']);
      assert.equal(said.status, 1, said.stdout);
      assert.ok(codeOf(said) !== 'verified');
    });
  }

  for (const [what, args] of [
    ['no argument', []],
    ['an argument too few', good.slice(0, 4)],
    ['an argument too many', [...good, 'more']],
    ['no folder of records', [root, join(folder, 'none'), cmdline, arch, now]],
    ['no initramfs', [join(folder, 'none'), records, cmdline, arch, now]],
    ['no command line', [root, records, join(folder, 'none'), arch, now]],
    ['a folder in place of the command line', [root, records, folder, arch, now]],
    ['no clock', [root, records, cmdline, arch, '']],
    ['a clock that is no number', [root, records, cmdline, arch, 'now']],
    ['a clock in octal', [root, records, cmdline, arch, '010']],
    ['a clock before 1970', [root, records, cmdline, arch, '-1']],
  ] as const) {
    it(`refuses ${what}`, async () => {
      const said = await run(args);
      assert.equal(said.status, 1);
      assert.ok(['no-verdict', 'absent'].includes(codeOf(said)), said.stdout);
    });
  }

  it('refuses a command line that names no manifest, though no policy requires one', async () => {
    const machine = await makeMachine(
      {
        name: '',
        expect: 'wrong-command-line',
        policy: '',
        cmdline: (line) => line.replace(/ bootseal.*/, ''),
      },
      sites,
    );
    assert.equal(codeOf(await run(await argumentsOf(machine))), 'wrong-command-line');
  });

  it('fails where its answer cannot be written', async () => {
    const full = await open('/dev/full', 'w');
    const child = spawn('/bin/busybox', ['sh', SCRIPT, ...good], { stdio: ['ignore', full.fd, 'ignore'] });
    const status = await new Promise((resolve) => child.once('close', resolve));
    await full.close();
    assert.equal(status, 1);
  });

  it('leaves nothing behind', async () => {
    const files = async () => [await readdir(root, { recursive: true }), await readdir(records)];
    const before = await files();
    await run(good);
    assert.deepEqual(await files(), before);
  });

  it('takes no word for a pattern of the file names around it', async () => {
    const at = await makeMachine(
      { name: '', expect: 'wrong-command-line', cmdline: (line) => `${line} initrd=*` },
      sites,
    );
    await writeFile(join(folder, 'initrd=evil'), '');
    assert.equal(codeOf(await run(await argumentsOf(at))), 'wrong-command-line');
    await rm(join(folder, 'initrd=evil'));
  });
});
