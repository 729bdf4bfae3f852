import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, open, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
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

const ITS_PATH = ' path=/usr/sbin:/usr/bin:/sbin:/bin\n';

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
async function scriptOf(bin: string): Promise<string> {
  const script = await readFile(SCRIPT, 'utf8');
  assert.equal(script.split(ITS_PATH).length, 2);
  const copy = join(bin, 'verify-manifest');
  await writeFile(copy, script.replace(ITS_PATH, ` path=${bin}\n`));
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

/** What the loader, the shell, busybox, openssl and gpg read; each is a word that a kernel's command line may hold. */
const VARIABLES: Readonly<Record<string, string>> = {
  LD_PRELOAD: '/run/bootseal/records/release.manifest.sig',
  LD_AUDIT: '/run/bootseal/records/release.manifest.sig',
  LD_LIBRARY_PATH: '/run/bootseal/records',
  LD_BIND_NOW: '1',
  LD_DEBUG: 'all',
  LD_DEBUG_OUTPUT: join(folder, 'loader'),
  LD_PROFILE: 'libcrypto.so.3',
  LD_PROFILE_OUTPUT: folder,
  LD_SHOW_AUXV: '1',
  LD_TRACE_LOADED_OBJECTS: '1',
  GLIBC_TUNABLES: 'glibc.malloc.check=3',
  GCONV_PATH: folder,
  LOCPATH: folder,
  NLSPATH: `${folder}/%N`,
  MALLOC_PERTURB_: '1',
  MALLOC_TRACE: join(folder, 'loader.malloc'),
  RES_OPTIONS: 'debug',
  PATH: '/run/bootseal/records',
  IFS: 'e',
  ENV: '/run/bootseal/records/release.manifest',
  BASH_ENV: '/run/bootseal/records/release.manifest',
  SHELLOPTS: 'xtrace',
  PS4: '$(echo verified)',
  OPTIND: '3',
  CDPATH: folder,
  TMOUT: '1',
  POSIXLY_CORRECT: '1',
  FUNCNEST: '1',
  HOME: '/run/bootseal/records',
  TMPDIR: '/none',
  TERM: 'dumb',
  COLUMNS: '1',
  LANG: 'tr_TR.UTF-8',
  LANGUAGE: 'de',
  LC_ALL: 'tr_TR.UTF-8',
  LC_CTYPE: 'tr_TR.UTF-8',
  LC_MESSAGES: 'de_DE.UTF-8',
  TZ: ':/run/bootseal/records/release.manifest',
  TZDIR: folder,
  GREP_OPTIONS: '-v',
  OPENSSL_CONF: '/run/bootseal/records/release.manifest',
  OPENSSL_CONF_INCLUDE: folder,
  OPENSSL_MODULES: '/run/bootseal/records',
  OPENSSL_ENGINES: '/run/bootseal/records',
  OPENSSL_ia32cap: '0',
  OPENSSL_TRACE: 'ALL',
  SSL_CERT_DIR: '/run/bootseal/records',
  SSL_CERT_FILE: '/run/bootseal/records/release.manifest',
  CTLOG_FILE: '/none',
  RANDFILE: '/none',
  GNUPGHOME: '/run/bootseal/records',
  GNUPG_BUILDDIR: '/run/bootseal/records',
  GPG_AGENT_INFO: '/run/bootseal/records',
  GPG_TTY: '/dev/console',
  GCRYPT_BARRETT: '1',
  LIBGCRYPT_FORCE_FIPS_MODE: '1',
  http_proxy: 'http://192.0.2.1/',
  // Names of the verifier's own.
  outcome: 'verified',
  again: 'no',
  path: '/run/bootseal/records',
  busybox: '/bin/true',
  verdict: '',
  // The shell's own: they are made anew.
  PWD: '/',
  OLDPWD: '/',
  SHLVL: '9',
};

describe('verify-manifest, whatever the kernel made of the command line', async () => {
  const liars = await folderOf(TOOLS, {
    openssl: 'echo "CMS Verification successful"; exit 0',
    gpg: 'exit 0',
  });
  const hostile = { ...VARIABLES, PATH: liars };

  // In place of openssl: it writes down its environment, and ends what asked.
  const written = join(folder, 'environment');
  const bin = await folderOf(TOOLS);
  await rm(join(bin, 'openssl'));
  await writeFile(join(bin, 'openssl'), `#!/bin/busybox sh\nexec /bin/busybox env >${written}\n`, {
    mode: 0o755,
  });
  const recorder = await scriptOf(bin);
  /** What programs are started with, when the verifier is started with this. */
  const passedOn = async (environment: NodeJS.ProcessEnv): Promise<string[]> => {
    await rm(written, { force: true });
    const said = await run(good, environment, ['/bin/busybox', 'sh'], recorder);
    assert.equal(codeOf(said), 'malformed', said.stdout);
    return (await readFile(written, 'utf8')).trimEnd().split('\n').sort();
  };
  const clean = ['LC_ALL=C', `PATH=${bin}`, `PWD=${folder}`, 'SHLVL=1'];

  it('is known for at least 60 variables', () => {
    assert.ok(Object.keys(VARIABLES).length >= 60);
  });

  for (const [name, value] of Object.entries(VARIABLES)) {
    it(`passes on no ${name}=${value.replace(folder, '')}`, async () => {
      // Also where the rest is as it should be.
      assert.deepEqual(await passedOn({ PATH: bin, LC_ALL: 'C', [name]: value }), clean);
    });
  }

  it('passes on nothing of all of them', async () => {
    assert.deepEqual(await passedOn(hostile), clean);
  });

  it('passes on nothing of a value of several lines', async () => {
    const lines = {
      one: "a\nexport PATH='/none'\nexport LC_ALL=C",
      two: "'\n= \n",
      three: "$(exit 1)'`exit 1`",
    };
    assert.deepEqual(await passedOn(lines), clean);
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
