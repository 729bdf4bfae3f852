import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { cacheEntry } from './cache.ts';
import { run } from './command.ts';

/** What the real root prints on the console before it powers off. */
export const REAL_ROOT_LINE = 'BOOTSEAL-E2E: real root reached';

/** What the root with a login prints when it has its network, with every address of it. */
export const NETWORK_LINE = 'BOOTSEAL-E2E: network';

interface Recipe {
  readonly suite: string;
  readonly include: readonly string[];
  readonly exclude: readonly string[];
  readonly squashfs: readonly string[];
  /** Content by path. */
  readonly files: Readonly<Record<string, string>>;
  /** Targets by path. */
  readonly links: Readonly<Record<string, string>>;
}

const UNITS = 'etc/systemd/system';
const COMMON = {
  suite: 'bookworm',
  exclude: ['/usr/share/doc/*', '/usr/share/man/*', '/usr/share/locale/*', '/usr/share/info/*'],
  squashfs: ['-comp', 'zstd', '-Xcompression-level', '15', '-b', '256K'],
  // An empty machine-id is "not the first boot": systemd then skips its presets, which take seconds.
  files: { 'etc/machine-id': '' },
};

/** Says that it was reached, and ends. */
const SHORT: Recipe = {
  ...COMMON,
  include: ['systemd-sysv'],
  files: {
    ...COMMON.files,
    [`${UNITS}/bootseal-e2e.service`]: `[Unit]
Description=Say that the real root was reached, then power off
DefaultDependencies=no

[Service]
Type=oneshot
StandardOutput=tty
TTYPath=/dev/console
ExecStart=/bin/sh -c '. /etc/os-release; echo "${REAL_ROOT_LINE} ($PRETTY_NAME, PID 1 is $(cat /proc/1/comm))"'
ExecStart=/bin/systemctl poweroff --force --force
`,
    [`${UNITS}/bootseal-e2e.target`]: `[Unit]
Description=The one thing this root does
Requires=bootseal-e2e.service
`,
  },
  links: { [`${UNITS}/default.target`]: 'bootseal-e2e.target' },
};

/** A whole boot of a small Debian: journal, udev, networkd as docs/verity.md has it, and a login prompt. */
const LOGIN: Recipe = {
  ...COMMON,
  include: ['systemd-sysv', 'udev', 'iproute2'],
  files: {
    ...COMMON.files,
    'etc/hostname': 'bootseal-lab\n',
    'etc/systemd/network/10-boot.network': `[Match]
Name=en* eth*

[Network]
DHCP=ipv4
KeepConfiguration=yes

[DHCPv4]
ClientIdentifier=mac
`,
    'etc/systemd/network/10-boot.link': `[Match]
Type=ether

[Link]
NamePolicy=keep
`,
    [`${UNITS}/bootseal-e2e-network.service`]: `[Unit]
Description=Say what became of the network card that the root hangs on
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
StandardOutput=tty
TTYPath=/dev/console
ExecStart=/usr/local/sbin/bootseal-e2e-network
`,
    'usr/local/sbin/bootseal-e2e-network': `#!/bin/sh
addresses=$(ip -4 -o addr show scope global | sed 's/.*inet \\([0-9.]*\\).*/\\1/')
echo "${NETWORK_LINE}" $addresses $(grep -h ADMIN_STATE /run/systemd/netif/links/*)
`,
  },
  links: {
    [`${UNITS}/default.target`]: '/lib/systemd/system/multi-user.target',
    [`${UNITS}/multi-user.target.wants/bootseal-e2e-network.service`]: '../bootseal-e2e-network.service',
    [`${UNITS}/multi-user.target.wants/systemd-networkd.service`]:
      '/lib/systemd/system/systemd-networkd.service',
    [`${UNITS}/network-online.target.wants/systemd-networkd-wait-online.service`]:
      '/lib/systemd/system/systemd-networkd-wait-online.service',
  },
};

const RECIPES = { short: SHORT, login: LOGIN };

/**
 * A squashfs image of a small real Debian whose PID 1 is systemd: `short` prints a line and powers off, `login`
 * boots to a login prompt.
 */
export async function labRootfs(kind: keyof typeof RECIPES = 'short'): Promise<string> {
  const recipe = RECIPES[kind];
  const entry = await cacheEntry('rootfs', { ...recipe }, (folder) => makeRootfs(folder, recipe));
  return join(entry, 'airootfs.sfs');
}

async function makeRootfs(folder: string, recipe: Recipe): Promise<void> {
  const root = join(folder, 'root');
  await run(
    'mmdebstrap',
    [
      '--variant=minbase',
      '--mode=root',
      `--include=${recipe.include.join(',')}`,
      ...recipe.exclude.map((glob) => `--dpkgopt=path-exclude=${glob}`),
      recipe.suite,
      root,
    ],
    { env: { ...process.env, SOURCE_DATE_EPOCH: '0', DEBIAN_FRONTEND: 'noninteractive' } },
  );
  for (const [path, content] of Object.entries(recipe.files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), content, { mode: content.startsWith('#!') ? 0o755 : 0o644 });
  }
  for (const [path, target] of Object.entries(recipe.links)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await symlink(target, join(root, path));
  }
  await run('mksquashfs', [
    root,
    join(folder, 'airootfs.sfs'),
    ...recipe.squashfs,
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
