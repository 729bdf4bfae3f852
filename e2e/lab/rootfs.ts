import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheEntry } from './cache.ts';
import { run } from './command.ts';

/** What the real root prints on the console before it powers off. */
export const REAL_ROOT_LINE = 'BOOTSEAL-E2E: real root reached';

const UNIT = `[Unit]
Description=Say that the real root was reached, then power off
DefaultDependencies=no

[Service]
Type=oneshot
StandardOutput=tty
TTYPath=/dev/console
ExecStart=/bin/sh -c '. /etc/os-release; echo "${REAL_ROOT_LINE} ($PRETTY_NAME, PID 1 is $(cat /proc/1/comm))"'
ExecStart=/bin/systemctl poweroff --force --force
`;

const TARGET = `[Unit]
Description=The one thing this root does
Requires=bootseal-e2e.service
`;

const RECIPE = {
  suite: 'bookworm',
  include: ['systemd-sysv'],
  exclude: ['/usr/share/doc/*', '/usr/share/man/*', '/usr/share/locale/*', '/usr/share/info/*'],
  squashfs: ['-comp', 'zstd', '-Xcompression-level', '15', '-b', '256K'],
  unit: UNIT,
  target: TARGET,
};

/** A squashfs image of a small real Debian whose PID 1 is systemd. */
export async function labRootfs(): Promise<string> {
  const entry = await cacheEntry('rootfs', RECIPE, makeRootfs);
  return join(entry, 'airootfs.sfs');
}

async function makeRootfs(folder: string): Promise<void> {
  const root = join(folder, 'root');
  await run(
    'mmdebstrap',
    [
      '--variant=minbase',
      '--mode=root',
      `--include=${RECIPE.include.join(',')}`,
      ...RECIPE.exclude.map((glob) => `--dpkgopt=path-exclude=${glob}`),
      RECIPE.suite,
      root,
    ],
    { env: { ...process.env, SOURCE_DATE_EPOCH: '0', DEBIAN_FRONTEND: 'noninteractive' } },
  );
  const units = join(root, 'etc', 'systemd', 'system');
  await mkdir(units, { recursive: true });
  await writeFile(join(units, 'bootseal-e2e.service'), UNIT);
  await writeFile(join(units, 'bootseal-e2e.target'), TARGET);
  await symlink('bootseal-e2e.target', join(units, 'default.target'));
  // An empty machine-id is "not the first boot": systemd then skips its presets, which take seconds.
  await writeFile(join(root, 'etc', 'machine-id'), '');
  await run('mksquashfs', [
    root,
    join(folder, 'airootfs.sfs'),
    ...RECIPE.squashfs,
    '-all-time',
    '0',
    '-mkfs-time',
    '0',
    '-no-progress',
    '-quiet',
    '-wildcards',
    '-e',
    'var/cache/apt/*',
    'var/lib/apt/lists/*',
    'var/log/*',
  ]);
  await rm(root, { recursive: true });
}
