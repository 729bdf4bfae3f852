import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cacheEntry, repositoryRoot } from './cache.ts';
import { type CommandResult, execute, run } from './command.ts';
import { debianMirror } from './foreign.ts';
import { waitForOutput } from './output.ts';

/** A Debian that lives: systemd is its process 1, in namespaces of its own, without a network beyond itself. */
export interface DebianSystem {
  /** Its `/lab`, which is there on both sides. */
  readonly shared: string;
  /** A shell script to its end, as root. */
  execute(script: string): Promise<CommandResult>;
  /** The same, which must end with 0; what it printed. */
  run(script: string): Promise<string>;
  close(): Promise<void>;
}

export interface DebianSystemOptions {
  /** `trixie` */
  readonly suite: string;
  /** Packages that apt there finds without a mirror, with all that they depend on. */
  readonly packages: readonly string[];
}

/** Starts one. Its root is made the first time, for which a mirror must be reached. */
export async function startDebian(options: DebianSystemOptions): Promise<DebianSystem> {
  const root = await debianRoot(options);
  const work = await mkdtemp(join(tmpdir(), 'bootseal-debian-'));
  const start = join(repositoryRoot(), 'lab', 'debian-system', 'start');
  const child = spawn('unshare', ['--mount', start, root, work], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(child, 'close');
  const [, process = ''] = await waitForOutput(child, 'stdout', /^up (\d+)$/m).catch(
    async (error: unknown) => {
      await end(child, ended, work);
      throw error;
    },
  );
  const enter = ['-t', process, '-m', '-p', '-n', '-i', '-u', '--', 'env', '-i'];
  const environment = ['PATH=/usr/sbin:/usr/bin:/sbin:/bin', 'HOME=/root', 'LC_ALL=C.UTF-8'];
  const words = [...enter, ...environment, 'DEBIAN_FRONTEND=noninteractive', 'sh', '-euc'];
  const inside = (script: string) => execute('nsenter', [...words, `cd /root; ${script}`]);
  await inside('systemctl is-system-running --wait');
  return {
    shared: join(work, 'lab'),
    execute: inside,
    async run(script) {
      const { status, stdout, stderr } = await inside(script);
      if (status !== 0) throw new Error(`${script} ended with ${status}:\n${stdout}${stderr}`);
      return stdout;
    },
    close: () => end(child, ended, work),
  };
}

async function end(child: ChildProcess, ended: Promise<unknown>, work: string): Promise<void> {
  child.stdin?.end();
  await ended;
  await rm(work, { recursive: true, force: true });
}

/** A small Debian with systemd, and an apt whose cache holds packages. */
async function debianRoot({ suite, packages }: DebianSystemOptions): Promise<string> {
  const entry = await cacheEntry(`debian-${suite}`, { suite, packages, layout: 1 }, async (folder) => {
    const fetch = `apt-get install --yes --no-install-recommends --download-only ${packages.join(' ')}`;
    await run('mmdebstrap', [
      '--variant=minbase',
      '--include=systemd',
      // Its lists and its packages are what this is for.
      '--skip=cleanup/apt,cleanup/reproducible',
      `--customize-hook=chroot "$1" ${fetch}`,
      suite,
      join(folder, 'root'),
      await debianMirror(),
    ]);
  });
  return join(entry, 'root');
}
