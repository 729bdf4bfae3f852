import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, open, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { readIfThere } from '../../src/files/read-if-there.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { hostileEnvironment, ODD_NAMES } from '../fixtures/hostile-environment.ts';
import {
  expectedAnswer,
  type Files,
  type Machine,
  makeMachine,
  makeSites,
  onlyOpenpgp,
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
    ...(machine.claim === undefined ? [] : [String(machine.claim)]),
  ];
}

/** Runs the script under busybox, as an initramfs does. */
function run(
  args: readonly string[],
  environment: NodeJS.ProcessEnv = process.env,
  shell: readonly string[] = ['/bin/busybox', 'sh'],
  script = SCRIPT,
): Promise<Said> {
  const [command = '', ...first] = shell;
  const child = spawn(command, [...first, script, ...args], { env: environment, cwd: folder });
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

const ITS_PATH = ' busybox=/bin/busybox path=/usr/sbin:/usr/bin:/sbin:/bin\n';

/** A folder with these tools alone; a script in place of one of them where it is given. */
async function folderOf(tools: readonly string[], stubs: Readonly<Record<string, string>> = {}) {
  const bin = await mkdtemp(join(folder, 'bin-'));
  for (const tool of tools) {
    const stub = stubs[tool];
    if (stub !== undefined) await writeFile(join(bin, tool), `#!/bin/sh\n${stub}\n`, { mode: 0o755 });
    else await symlink(/^(openssl|gpg)$/.test(tool) ? `/usr/bin/${tool}` : '/bin/busybox', join(bin, tool));
  }
  return bin;
}

/** The same script in an initramfs whose only folder of programs this is: the PATH that it is run with counts for nothing. */
async function scriptOf(bin: string, busybox = '/bin/busybox'): Promise<string> {
  const script = await readFile(SCRIPT, 'utf8');
  assert.equal(script.split(ITS_PATH).length, 2);
  const copy = join(bin, 'verify-manifest');
  await writeFile(copy, script.replace(ITS_PATH, ` busybox=${busybox} path=${bin}\n`));
  return copy;
}

async function runWith(tools: readonly string[], stubs: Readonly<Record<string, string>> = {}) {
  return run(good, process.env, ['/bin/busybox', 'sh'], await scriptOf(await folderOf(tools, stubs)));
}

describe('verify-manifest, when something else is wrong', () => {
  it('needs no tool but those that it names', async () => {
    assert.equal(codeOf(await runWith(TOOLS)), 'verified');
  });

  for (const tool of ['openssl', 'gpg']) {
    it(`refuses without ${tool}`, async () => {
      const said = await runWith(TOOLS.filter((name) => name !== tool));
      assert.ok(['no-verdict', 'malformed'].includes(codeOf(said)), said.stdout);
    });

    for (const [what, stub] of [
      ['says nothing and exits 0', 'exit 0'],
      ['says yes to everything', 'echo "Verification successful"; echo "[GNUPG:] GOODSIG 1 2"; exit 0'],
      ['is killed', 'kill -9 $$'],
    ] as const) {
      it(`refuses where ${tool} ${what}`, async () => {
        const said = await runWith(TOOLS, { [tool]: stub });
        assert.equal(said.status, 1);
        assert.ok(codeOf(said) !== 'verified');
      });
    }
  }

  for (const tool of ['od', 'sha256sum', 'tr', 'wc']) {
    it(`refuses where ${tool} fails`, async () => {
      // busybox's shell would take its own; a shell that has none, and has no cause to start busybox's, takes the first of the PATH.
      const bin = await folderOf(TOOLS, { [tool]: 'exit 1' });
      const said = await run(good, { PATH: bin, LC_ALL: 'C' }, ['/bin/dash'], await scriptOf(bin));
      assert.equal(said.status, 1, said.stdout);
      assert.ok(codeOf(said) !== 'verified');
    });
  }

  for (const [what, args] of [
    ['no argument', []],
    ['an argument too few', good.slice(0, 4)],
    ['an argument too many', [...good, now, 'more']],
    ['a claim that is no number', [...good, 'noon']],
    ['a claim of before 1970', [...good, '-1']],
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

describe('verify-manifest, whatever the kernel made of the command line', async () => {
  const liars = await folderOf(TOOLS, {
    openssl: 'echo "CMS Verification successful"; exit 0',
    gpg: 'exit 0',
  });
  const variables = hostileEnvironment(folder);
  const hostile = { ...variables, ...ODD_NAMES, PATH: liars };

  // In place of each program: it writes down the environment that it was started with, and answers nothing.
  const recorders = await mkdtemp(join(folder, 'recorders-'));
  const written = (tool: string) => join(recorders, `${tool}.environment`);
  const recording = (tool: string, then: string) =>
    `/bin/busybox cat /proc/$$/environ >${written(tool)}\n${then}`;
  const bin = await folderOf([...TOOLS, 'busybox'], {
    openssl: recording('openssl', 'exit 1'),
    gpg: recording('gpg', 'exit 1'),
    busybox: recording('busybox', 'exec /bin/busybox "$@"'),
  });
  const recorder = await scriptOf(bin, join(bin, 'busybox'));
  const withoutCms = await argumentsOf(
    await makeMachine({ name: '', expect: 'verified', root: onlyOpenpgp }, sites),
  );
  /** What a tool is started with, when the verifier is started with this; undefined where it is not started. */
  const passedOn = async (tool: string, environment: NodeJS.ProcessEnv) => {
    for (const name of ['openssl', 'gpg', 'busybox']) await rm(written(name), { force: true });
    const said = await run(tool === 'gpg' ? withoutCms : good, environment, ['/bin/busybox', 'sh'], recorder);
    assert.equal(codeOf(said), tool === 'gpg' ? 'no-verdict' : 'malformed', said.stdout);
    assert.equal(said.stderr, '');
    const text = (await readIfThere(written(tool)))?.toString();
    return text?.split('\0').slice(0, -1).sort();
  };
  const clean = ['LC_ALL=C', `PATH=${bin}`];
  /** What it starts anew by may see one more word of ash's, which is no longer the caller's. */
  const forBusybox = (words: readonly string[] | undefined) => words?.filter((word) => word !== 'IFS= ');

  it('is known for at least 170 variables', () => {
    assert.ok(Object.keys(variables).length >= 170, String(Object.keys(variables).length));
  });

  for (const [name, value] of [...Object.entries(variables), ...Object.entries(ODD_NAMES)]) {
    it(`passes on no ${JSON.stringify(name)}=${value.replace(folder, '')}`, async () => {
      // Also where the rest is as it should be.
      const environment = { PATH: bin, LC_ALL: 'C', [name]: value };
      assert.deepEqual(await passedOn('openssl', environment), clean);
      const started = forBusybox(
        (await readIfThere(written('busybox')))?.toString().split('\0').slice(0, -1).sort(),
      );
      // What no shell can hold needs no new one: none of it is passed on.
      if (started) assert.deepEqual(started, clean);
      assert.deepEqual(await passedOn('gpg', environment), clean);
    });
  }

  for (const tool of ['openssl', 'gpg', 'busybox']) {
    it(`passes on nothing of all of them to ${tool}`, async () => {
      assert.deepEqual(forBusybox(await passedOn(tool, hostile)), clean);
    });
  }

  it('passes on nothing of a value of several lines', async () => {
    const lines = {
      one: "a\nexport PATH='/none'\nexport LC_ALL=C",
      two: "'\n= \n",
      three: "$(exit 1)'`exit 1`",
      four: "x'\nexport again='no'\nexport line='\nexport name='PATH'\n",
    };
    assert.deepEqual(await passedOn('openssl', lines), clean);
    assert.deepEqual(forBusybox(await passedOn('busybox', lines)), clean);
  });

  for (const vector of [
    { name: '', expect: 'verified' as const },
    ...['bad-signature', 'untrusted-signer'].map((code) =>
      manifestVectors.find(({ expect }) => expect === code),
    ),
  ]) {
    assert.ok(vector);
    it(`says ${vector.expect} as in an empty environment`, async () => {
      const args = await argumentsOf(await makeMachine(vector, sites));
      const said = await run(args, hostile);
      assert.equal(codeOf(said), vector.expect);
      assert.deepEqual(said, await run(args, {}));
      // The dynamic loader would have said there what it did.
      assert.deepEqual(
        (await readdir(folder)).filter((name) => name.startsWith('loader')),
        [],
      );
    });
  }

  it('keeps its arguments as they are, when it starts anew', async () => {
    const odd = join(await mkdtemp(join(folder, 'odd-')), "two  words * $x 'y' \n");
    await symlink(root, odd);
    assert.equal(codeOf(await run([odd, records, cmdline, arch, now], hostile)), 'verified');
    assert.equal(codeOf(await run([root, records, cmdline, '', now], hostile)), 'wrong-machine');
  });

  it('says so where there is no shell to start anew', async () => {
    const script = (await readFile(SCRIPT, 'utf8')).replace(
      'busybox=/bin/busybox ',
      'busybox=/none/busybox ',
    );
    const copy = join(bin, 'without-shell');
    await writeFile(copy, script);
    assert.equal(codeOf(await run(good, hostile, ['/bin/busybox', 'sh'], copy)), 'no-verdict');
  });
});
