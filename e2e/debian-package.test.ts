import assert from 'node:assert/strict';
import { copyFile, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { repositoryRoot } from '../lab/cache.ts';
import { execute, run } from '../lab/command.ts';
import { type DebianSystem, startDebian } from '../lab/debian-system.ts';

/**
 * The life of the Debian package on a Debian that has its own Node.js, with a live systemd: installed, a server that
 * machines boot from, another version over it, removed, purged.
 */
const VERSIONS = ['0.1.0~one', '0.1.0~two'] as const;

/** Every file of the system, but for what apt, dpkg and the journal keep of whatever happens, and what users are. */
const FILES = `find / -xdev \\( -path /proc -o -path /sys -o -path /run -o -path /dev -o -path /tmp -o -path /lab -o -path /var/cache \\
  -o -path /var/log -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/lib/systemd -o -path /root \\) -prune \\
  -o -print | grep -Ev '^/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$|^/etc/[.]pwd[.]lock$' | sort`;

/** Whatever Node.js runs: nothing else of this system uses it. */
const PROCESSES = `for one in /proc/[0-9]*; do readlink $one/exe || :; done | grep node || :`;

const BOOT = 'bootseal boot http://127.0.0.1/boot.ipxe --anchors /etc/bootseal/anchors';

function debFile(folder: string, version: string): string {
  return join(folder, `bootseal_${version}_all.deb`);
}

describe('the Debian package', () => {
  let folder: string;
  let debian: DebianSystem;
  let pristine: string[];

  const files = async () => (await debian.run(FILES)).trim().split('\n');
  /** As an operator does it; apt finds what it depends on in its cache. */
  const install = (version: string) =>
    debian.run(`apt-get install --yes --no-install-recommends ${debFile('/lab', version)}`);
  /** Content, owner and mode of all that is the site's, but for who holds a lock; of receipts that they are there. */
  const kept = async () => {
    const places = '/var/lib/bootseal /etc/bootseal';
    const listed = await debian.run(`find ${places} -printf '%p %M %u %l\\n' | sort`);
    const files = `find ${places} -type f ! -name lock ! -path '*/boots/*'`;
    const content = await debian.run(`${files} -exec sha256sum {} + | sort`);
    return [...listed.split('\n'), ...content.split('\n')];
  };

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'bootseal-package-'));
    const build = join(repositoryRoot(), 'packaging', 'build-deb');
    const [first, second] = VERSIONS;
    await run(build, ['--out', folder, '--version', first]);
    // The next version is the same but for its name.
    const unpacked = join(folder, 'unpacked');
    await run('dpkg-deb', ['--raw-extract', debFile(folder, first), unpacked]);
    await run('sed', ['-i', `s/^Version: .*/Version: ${second}/`, join(unpacked, 'DEBIAN', 'control')]);
    await run('dpkg-deb', ['--build', unpacked, debFile(folder, second)]);
    debian = await startDebian({ suite: 'trixie', packages: ['nodejs'] });
    for (const version of VERSIONS) await copyFile(debFile(folder, version), debFile(debian.shared, version));
  });
  after(async () => {
    await debian?.close();
    await rm(folder, { recursive: true, force: true });
  });

  it('is one that lintian has no word against', async () => {
    const changes = (await readdir(folder)).find((name) => name.endsWith('.changes')) ?? '';
    const { status, stdout } = await execute('lintian', [
      '--allow-root',
      '--fail-on=error,warning',
      join(folder, changes),
    ]);
    assert.deepEqual([status, stdout], [0, '']);
  });

  it('goes without a trace where it was only installed', async () => {
    const node = 'apt-get install --yes --no-install-recommends nodejs';
    await debian.run(node);
    pristine = await files();
    await install(VERSIONS[0]);
    assert.match(await debian.run('bootseal --version'), /^\d+\.\d+\.\d+$/m);
    assert.ok((await files()).length > pristine.length + 500);
    await debian.run('apt-get purge --yes bootseal');
    assert.deepEqual(await files(), pristine);
  });

  it('starts nothing by itself, and has its users and folders', async () => {
    await install(VERSIONS[0]);
    assert.equal(await debian.run(PROCESSES), '');
    const { stdout } = await debian.execute(
      'systemctl is-enabled bootseal.service bootseal-keyholder.service',
    );
    assert.equal(stdout, 'disabled\ndisabled\n');
    assert.match(await debian.run('stat -c "%U %a" /var/lib/bootseal'), /^bootseal-keyholder 755$/m);
    assert.match(
      await debian.run('stat -c "%U %a" /etc/bootseal/snapshot/private'),
      /^bootseal-keyholder 700$/m,
    );
  });

  it('brings manual pages and completions', async () => {
    await debian.run('gzip --test /usr/share/man/man1/bootseal.1.gz /usr/share/man/man1/bootseal-serve.1.gz');
    const complete =
      'source /usr/share/bash-completion/completions/bootseal; COMP_WORDS=(bootseal ch); COMP_CWORD=1; _bootseal; echo $COMPREPLY';
    assert.equal(await debian.run(`bash -c '${complete}'`), 'channel\n');
  });

  it('serves what a machine boots, verified', async () => {
    // Keys and a sealed sample.
    const demo = JSON.parse(
      await debian.run('bootseal demo --once --http-port 8099 --state /root/demo --json'),
    ) as {
      verified: boolean;
      keys: string;
      tree: string;
    };
    assert.equal(demo.verified, true);
    await debian.run(`
      install -m 0644 -t /etc/bootseal/anchors ${demo.keys}/anchors/*
      install -o bootseal-keyholder -m 0644 -t /etc/bootseal/snapshot/anchors ${demo.keys}/anchors/snapshot.crt
      install -o bootseal-keyholder -m 0600 -t /etc/bootseal/snapshot/private ${demo.keys}/private/snapshot.key
      cp -r ${demo.tree} /tmp/tree
      runuser -u bootseal-keyholder -- bootseal publish /tmp/tree --channel stable --state /var/lib/bootseal \\
        --anchors /etc/bootseal/anchors --snapshot-key /etc/bootseal/snapshot
      echo '# Ours.' >> /etc/bootseal/bootseal.toml
      systemctl enable --now bootseal.service bootseal-keyholder.service bootseal-renew@stable.timer
    `);
    assert.match(await debian.run(BOOT), /VERIFIED/);
  });

  it('goes on after an upgrade, with state and configuration as they were', async () => {
    const since = 'systemctl show --property ActiveEnterTimestampMonotonic bootseal-http.socket';
    const open = await debian.run(since);
    const before = [await kept(), await debian.run('systemctl show --property MainPID bootseal.service')];
    await install(VERSIONS[1]);
    assert.match(await debian.run('dpkg-query --show bootseal'), /~two/);
    const after = [await kept(), await debian.run('systemctl show --property MainPID bootseal.service')];
    assert.deepEqual(after[0], before[0]);
    assert.notEqual(after[1], before[1], 'it was started anew');
    const units = `bootseal.service bootseal-keyholder.service bootseal-http.socket bootseal-tftp.socket
      bootseal-nbd.socket bootseal-renew@stable.timer`.replace(/\s+/g, ' ');
    assert.equal(await debian.run(`systemctl is-active ${units}`), 'active\n'.repeat(6));
    assert.equal(await debian.run(since), open, 'its sockets stayed open');
    assert.match(await debian.run(BOOT), /VERIFIED/);
  });

  it('leaves no process and no program when it is removed', async () => {
    const before = await kept();
    assert.notEqual(await debian.run(PROCESSES), '');
    await debian.run('apt-get remove --yes bootseal');
    assert.equal(await debian.run(PROCESSES), '');
    assert.equal(await debian.run("systemctl list-units --plain --no-legend 'bootseal*'"), '');
    assert.deepEqual(await kept(), before);
    const left = (await files()).filter((path) => !pristine.includes(path));
    assert.deepEqual(
      left.filter(
        (path) => !/^\/(etc|var\/lib)\/bootseal(\/|$)/.test(path) && !/^\/etc\/systemd\//.test(path),
      ),
      [],
    );
  });

  it('leaves nothing but the site’s keys and releases when it is purged', async () => {
    const before = await kept();
    await debian.run('apt-get purge --yes bootseal');
    const left = (await files()).filter((path) => !pristine.includes(path));
    assert.deepEqual(
      left.filter((path) => !/^\/(etc|var\/lib)\/bootseal(\/|$)/.test(path)),
      [],
    );
    assert.deepEqual(
      await kept(),
      before.filter((line) => !line.includes('/etc/bootseal/bootseal.toml')),
    );
  });
});
