import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { chmod, chown, cp, mkdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { execute, run } from '../../lab/command.ts';
import { createLan, LAN_ADDRESS } from '../../lab/lan.ts';
import { waitForOutput } from '../../lab/output.ts';
import { startKeyholder } from '../../src/keyholder/keyholder.ts';
import { examine as examineHere } from '../../src/operations/doctor.ts';
import { addToken } from '../../src/operations/tokens.ts';
import { applyMachines } from '../../src/publish/channel.ts';
import { publish } from '../../src/publish/publish.ts';
import { withdrawRelease } from '../../src/publish/withdraw.ts';
import { serve } from '../../src/server/serve.ts';
import { readScriptKeys } from '../../src/signing/keys/script-keys.ts';
import { quarantineRelease } from '../../src/store/quarantine.ts';
import { openExistingState } from '../../src/store/state.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { sampleTree, sealFixture } from '../fixtures/release.ts';
import {
  copySite,
  type DoctorSite,
  examine,
  examineSite,
  keys,
  NOW,
  only,
  RELEASE,
  scratch,
  siteIn,
  tree,
  wrong,
} from './doctor-site.ts';

const lan = await createLan();
after(() => lan.close());
/** Nobody changes it. */
const healthy = await copySite();
const BIND = ['--bind', LAN_ADDRESS];
const DAY = 86_400_000;

/** A copy in which something was done, and what the doctor says of it. */
async function planted(plant: (site: DoctorSite) => Promise<unknown>) {
  const site = await copySite();
  await plant(site);
  return examineSite(site);
}

async function addChannel({ state, anchors }: DoctorSite, channel: string): Promise<void> {
  const { refusal } = await publish({ tree, anchors, state, channel, now: NOW });
  if (refusal) throw refusal;
}

describe('doctor on a site where all is well', () => {
  it('finds nothing, changes nothing and ends with 0', async () => {
    const examined = await examine(lan, healthy);
    assert.deepEqual(wrong(examined), []);
    assert.equal(examined.status, 0);
    assert.ok(examined.findings.length >= 12);
  });

  it('finds nothing while the server runs, and says that it is ready', async () => {
    const site = await copySite();
    const words = ['--state', site.state, '--anchors', site.anchors, ...BIND];
    const main = new URL('../../src/cli/main.js', import.meta.url).pathname;
    const server = lan.spawn(process.execPath, [main, 'serve', ...words]);
    await waitForOutput(server, 'stdout', / on http:/);
    try {
      const examined = await examine(lan, site);
      assert.deepEqual(wrong(examined), []);
      const found = examined.findings.map((finding) => finding.found).join('\n');
      assert.match(
        found,
        /Bootseal runs and has HTTP 10\.77\.0\.1:8080, TFTP 10\.77\.0\.1:69, NBD 10\.77\.0\.1:10809/,
      );
      assert.match(found, /the server at http:\/\/10\.77\.0\.1:8080 is ready and warns of nothing/);
    } finally {
      server.kill('SIGTERM');
      await once(server, 'exit');
    }
  });

  it('shows people a table that aligns, and below it what to do', async () => {
    const { stdout } = await lan.execute(process.execPath, [
      ...[new URL('../../src/cli/main.js', import.meta.url).pathname, 'doctor'],
      ...['--state', healthy.state, '--anchors', healthy.anchors, ...BIND],
    ]);
    const [head = '', ...lines] = stdout.split('\n');
    assert.match(head, /^CHECK +STATE +FOUND$/);
    const rows = lines.slice(0, lines.indexOf(''));
    assert.ok(rows.length >= 12);
    for (const column of [head.indexOf('STATE'), head.indexOf('FOUND')])
      for (const row of rows) assert.match(row.slice(column - 2, column + 1), /^ {2}\S$/, row);
    assert.match(stdout, /\nWhat to do:\n(?: {2}\S+ .*\n)* {2}server +Start "bootseal serve"/);
  });
});

describe('doctor finds, and names, one real fault at a time: this machine', () => {
  it('a port of TCP that another program has', async () => {
    const other = lan.spawn(process.execPath, [
      '-e',
      `require('net').createServer().listen(8080, '0.0.0.0', () => console.log('listening'))`,
    ]);
    await waitForOutput(other, 'stdout', /listening/);
    try {
      const examined = await examine(lan, healthy);
      // It does not speak HTTP: nothing is said of a server there.
      only(
        examined,
        'ports fault port-taken',
        new RegExp(`^HTTP 10\\.77\\.0\\.1:8080 is taken by node \\(process ${other.pid}\\)$`),
      );
    } finally {
      other.kill('SIGKILL');
      await once(other, 'exit');
    }
  });

  it('a port of UDP that another program has', async () => {
    const dnsmasq = await lan.startDhcp({ tftpRoot: lan.workFolder });
    try {
      only(
        await examine(lan, healthy),
        'ports fault port-taken',
        /^TFTP 10\.77\.0\.1:69 is taken by dnsmasq \(process \d+\)$/,
      );
    } finally {
      await dnsmasq.stop();
    }
  });

  it('a page of somebody else’s at the port of HTTP', async () => {
    const other = lan.spawn(process.execPath, [
      '-e',
      `require('http').createServer((_, answer) => answer.end('It works!')).listen(8080, () => console.log('listening'))`,
    ]);
    await waitForOutput(other, 'stdout', /listening/);
    try {
      const examined = await examine(lan, healthy);
      assert.deepEqual(wrong(examined), ['ports fault port-taken', 'server fault not-ours']);
    } finally {
      other.kill('SIGKILL');
      await once(other, 'exit');
    }
  });

  it('a server that says that nothing can be booted', async () => {
    const { state, anchors } = await copySite();
    const clock = () => NOW + 200 * DAY;
    const serving = await serve({ state, anchors, clock, httpPort: 0, tftpPort: false, nbdPort: false });
    try {
      const findings = await examineHere({
        ...{ bind: ['127.0.0.1'], path: '', probe: false, httpPort: serving.http.port },
        ...{ tftpPort: false, nbdPort: false, now: NOW },
      });
      const [found] = findings.filter(({ check }) => check === 'server');
      assert.deepEqual([found?.state, found?.code], ['fault', 'not-ready']);
      assert.match(
        found?.found ?? '',
        /says that no machine can be booted: stale: arch\/2026\.11\.01 was best before /,
      );
    } finally {
      await serving.close(0);
    }
  });

  it('an address that this machine does not have', async () => {
    only(
      await examine(lan, healthy, ['--bind', '10.77.0.9']),
      'interfaces fault no-such-address',
      /10\.77\.0\.9.*br0 10\.77\.0\.1/,
    );
  });

  it('no address chosen', async () => {
    only(
      await examine(lan, healthy, []),
      'interfaces warning none-chosen',
      /127\.0\.0\.1, where no machine reaches it; there are br0 10\.77\.0\.1/,
    );
  });

  it('too few open files', async () => {
    const examined = await examine(lan, healthy, BIND, ['/usr/bin/prlimit', '--nofile=250:250']);
    only(examined, 'program fault few-descriptors', /^250 open files are allowed here: \d+ clients of HTTP/);
  });

  it('so few that it cannot even be loaded: Node opens many of its files at once', async () => {
    const few = await examine(lan, healthy, BIND, ['/usr/bin/prlimit', '--nofile=48:48']);
    assert.equal(few.status, 3);
    assert.match(
      String((few as { error?: string }).error),
      /: this process has too many open files; raise its limit \(ulimit -n\) \(EMFILE\)\.$/,
    );
  });

  it('a program that is not installed', async () => {
    const examined = await examine(lan, healthy, BIND, ['/usr/bin/env', 'PATH=/nowhere']);
    const [finding] = examined.findings.filter(({ code }) => code === 'no-tool');
    // Others may be found in the folders of administrators.
    assert.match(
      finding?.found ?? '',
      /^not installed: .*flock, needed for everything that writes to a state/,
    );
    assert.match(finding?.advice ?? '', /util-linux/);
  });

  it('a clock before what was signed', async () => {
    const findings = await examineHere({
      ...{ state: healthy.state, anchors: [healthy.anchors], bind: ['127.0.0.1'], path: '', probe: false },
      ...{ httpPort: 0, tftpPort: false, nbdPort: false, now: NOW - 3_600_000 },
    });
    const clock = findings.filter(({ state }) => state === 'fault');
    assert.deepEqual(
      clock.map(({ check, code }) => [check, code]),
      [['clock', 'clock-behind']],
    );
    assert.match(clock[0]?.found ?? '', /here, and the snapshot of stable was signed at/);
  });

  it('a disk that is nearly full, one without inodes, and one that is read-only', async () => {
    const place = scratch('small');
    await mkdir(place);
    const site = siteIn(place);
    await run('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', place]);
    try {
      await run('cp', ['-a', `${healthy.folder}/.`, place]);
      only(await examine(lan, site), 'disk fault disk-full', /^\d+ MiB free in .*small/);
      await run('mount', ['-o', 'remount,size=8g', place]);
      await run('mount', ['-o', 'remount,nr_inodes=250', place]);
      only(await examine(lan, site), 'disk fault no-inodes', /^\d+ inodes free in .*small/);
      await run('mount', ['-o', 'remount,nr_inodes=10000,ro', place]);
      only(await examine(lan, site), 'disk fault read-only', /small-\d+\/state is read-only$/);
    } finally {
      await run('umount', [place]);
    }
  });

  it('somebody who holds the lock of the state', async () => {
    const site = await copySite();
    const held = await openExistingState(site.state);
    try {
      only(
        await examine(lan, site),
        'state warning locked',
        new RegExp(`^\\S+ \\(process ${process.pid}\\) is writing to `),
      );
    } finally {
      await held.release();
    }
  });
});

describe('doctor finds, and names, one real fault at a time: who may do what', () => {
  it('a private key that all accounts can read', async () => {
    const examined = await planted(({ state }) => chmod(join(state, 'private/snapshot.key'), 0o644));
    only(examined, 'permissions fault key-readable', /state\/private\/snapshot\.key \(0644\)$/);
  });

  it('several channels, and none named for "serve"', async () => {
    const site = await copySite();
    await addChannel(site, 'next');
    only(await examineSite(site), 'state warning entry-not-named', /without --channel.*: next, stable$/);
    assert.deepEqual(wrong(await examineSite(site, { channel: 'stable' })), []);
    only(
      await examineSite(site, { channel: 'stabel' }),
      'state fault no-such-channel',
      /^there is no channel stabel; there are next, stable$/,
    );
  });

  it('tokens that all accounts can read', async () => {
    const examined = await planted(({ state }) => writeFile(join(state, 'tokens'), 'x', { mode: 0o644 }));
    only(examined, 'permissions fault token-readable', /state\/tokens \(0644\)$/);
  });

  it('nothing in tokens as "token add" leaves them', async () => {
    const examined = await planted(({ state }) =>
      addToken({ state, name: 'lab-ci', scopes: ['read'], now: Date.now() }),
    );
    assert.deepEqual(wrong(examined), []);
  });

  it('anchors that anybody may change', async () => {
    const examined = await planted(({ anchors }) => chmod(join(anchors, 'ca.crt'), 0o666));
    only(examined, 'permissions fault anchor-writable', /anchors\/ca\.crt \(0666\)$/);
  });

  it('a state that anybody may change', async () => {
    only(
      await planted(({ state }) => chmod(state, 0o777)),
      'permissions fault state-writable',
      /site-\d+\/state \(0777\)$/,
    );
  });

  it('a state of several owners', async () => {
    const examined = await planted(({ state }) => chown(join(state, 'channels'), 4711, 4711));
    only(examined, 'permissions warning owners', /belongs to uid 0, .*channels \(uid 4711\)$/);
  });

  it('the key of the CA in the state, in the folder of loaders, and beside the anchors', async () => {
    const ca = join(keys, 'private/ca.key');
    const inState = await planted(({ state }) => cp(ca, join(state, 'private/ca.key')));
    only(inState, 'permissions fault key-in-state', /state\/private\/ca\.key$/);
    const offered = await planted(async ({ state }) => {
      await mkdir(join(state, 'loaders'));
      await cp(ca, join(state, 'loaders/ca.key'));
    });
    assert.ok(wrong(offered).includes('permissions fault key-offered'), JSON.stringify(wrong(offered)));
    const beside = await planted(({ folder }) =>
      cp(join(keys, 'private'), join(folder, 'private'), { recursive: true }),
    );
    assert.deepEqual(
      wrong(beside).filter((one) => !one.includes('key-folder-open')),
      ['permissions warning key-in-reach'],
    );
  });
});

describe('doctor finds, and names, one real fault at a time: the state', () => {
  it('a payload that was cut short', async () => {
    const path = `releases/${RELEASE}/arch/x86_64/airootfs.sfs`;
    const examined = await planted(({ state }) => truncate(join(state, path), 1000));
    only(
      examined,
      'state fault release-refused',
      /its arch\/x86_64\/airootfs\.sfs has 1000 bytes, and its manifest says 262144$/,
    );
  });

  it('a payload that is gone', async () => {
    const examined = await planted(({ state }) =>
      rm(join(state, `releases/${RELEASE}/arch/boot/x86_64/vmlinuz-linux`)),
    );
    only(examined, 'state fault release-incomplete', /its arch\/boot\/x86_64\/vmlinuz-linux is missing$/);
  });

  it('a script that somebody changed', async () => {
    const examined = await planted(({ state }) => flip(join(state, `releases/${RELEASE}/boot.ipxe`), 40));
    only(examined, 'state fault release-refused', /^arch\/2026\.11\.01: .*boot\.ipxe/);
  });

  it('a snapshot that somebody changed', async () => {
    const examined = await planted(({ state }) =>
      flip(join(state, 'channels/stable/1/snapshot.cms.sig'), -20),
    );
    only(examined, 'state fault channel-refused', /^stable: .*snapshot of stable/);
  });

  it('an entry of the log that somebody changed', async () => {
    const examined = await planted(async ({ state }) => {
      const path = join(state, 'log/entries');
      const text = await readFile(path, 'latin1');
      assert.match(text, /release arch\/2026\.11\.01/);
      await writeFile(path, text.replace('release arch/2026.11.01', 'release arch/2026.11.02'), 'latin1');
    });
    only(examined, 'state fault log-broken', /^Entry 0 of the log is not the one that was recorded$/);
  });

  it('a release that was withdrawn while its channel names it', async () => {
    const examined = await planted(({ state }) =>
      withdrawRelease({ state, release: RELEASE, reason: 'it eats disks', cutRunning: false, now: NOW }),
    );
    only(
      examined,
      'state fault withdrawn-named',
      /stable names arch\/2026\.11\.01, which was withdrawn: it eats disks$/,
    );
  });

  it('entries of the log that nobody signed', async () => {
    const examined = await planted(async ({ state }) => {
      await rm(join(state, 'private/snapshot.key'));
      await withdrawRelease({
        state,
        release: RELEASE,
        reason: 'it eats disks',
        cutRunning: false,
        now: NOW,
      });
    });
    assert.deepEqual(wrong(examined), ['state fault withdrawn-named', 'state warning log-unsigned']);
  });

  it('machines that were written down, and never signed', async () => {
    const examined = await planted(writeMachines);
    only(examined, 'machines warning not-applied', /state\/machines was never signed, so nobody gets it$/);
  });

  it('a mistake in a file of machines', async () => {
    const examined = await planted(async ({ state }) => {
      await mkdir(join(state, 'machines'));
      await writeFile(
        join(state, 'machines/all.toml'),
        '[[machine]]\nname = "lab"\nmacc = "52:54:00:12:34:56"\n',
      );
    });
    only(examined, 'machines fault mistake', /machines\/all\.toml.*macc/);
  });

  it('a script of machines that is gone, and rules that were changed since', async () => {
    const site = await copySite();
    await writeMachines(site);
    const { state, anchors } = site;
    const scriptKeys = await readScriptKeys(keys, NOW);
    await applyMachines({ state, anchors, channel: 'stable', scriptKeys, now: NOW });
    assert.deepEqual(wrong(await examineSite(site)), []);
    const { stdout } = await run('sh', ['-c', `ls ${state}/scripts/*.ipxe | head -n 1`]);
    await rm(stdout.trim());
    only(
      await examineSite(site),
      'machines fault script-missing',
      /^1 of 2 scripts of stable, so their machines do not boot: .*scripts\/[0-9a-f]+\.ipxe is missing$/,
    );
    await writeFile(join(state, 'machines/all.toml'), '[unknown]\ngets = { boot = "hold" }\n');
    assert.deepEqual(wrong(await examineSite(site)), [
      'machines fault script-missing',
      'machines warning not-applied',
    ]);
  });

  it('a release in quarantine', async () => {
    const reason = {
      origin: '',
      code: 'expired',
      message: 'its keys ended.',
      command: 'bootseal resign --state S',
    };
    const examined = await planted(async ({ state }) => {
      const manifest = '0'.repeat(64);
      await quarantineRelease(state, { release: RELEASE, manifest, ...reason }, NOW, true);
    });
    only(
      examined,
      'state warning quarantined',
      /^arch\/2026\.11\.01 is in quarantine, and in service all the same: its keys ended$/,
    );
  });

  it('a folder that is no state', async () => {
    const examined = await planted(({ state }) => rm(join(state, 'format')));
    only(examined, 'state fault mistake', /is not a state folder/);
  });
});

describe('doctor finds, and names, one real fault at a time: keys, loaders, configuration', () => {
  it('a certificate that ended, inside an initramfs', async () => {
    const [site, place] = [siteIn(scratch('aged')), scratch('aged-keys')];
    const old = await makeKeys(scratch('old-keys'), { now: NOW - 1000 * DAY });
    // As after a rotation: the initramfs holds both, and what seals is the new one.
    await cp(keys, place, { recursive: true });
    const both = await Promise.all(
      [keys, old].map((from) => readFile(join(from, 'anchors/codesign.crt'), 'utf8')),
    );
    await writeFile(join(place, 'anchors/codesign.crt'), both.join(''));
    const ended = await execute('openssl', [
      'x509',
      '-checkend',
      '0',
      '-noout',
      '-in',
      join(old, 'anchors/codesign.crt'),
    ]);
    assert.equal(ended.status, 1, 'openssl says so, too');
    const tree = await sampleTree(scratch('tree'), place);
    await sealFixture(tree, keys, { now: NOW });
    await mkdir(site.folder);
    await cp(healthy.anchors, site.anchors, { recursive: true });
    const { refusal } = await publish({
      tree,
      anchors: site.anchors,
      state: site.state,
      channel: 'stable',
      now: NOW,
    });
    if (refusal) throw refusal;
    only(
      await examineSite(site),
      'expiry fault expired-inside',
      /the initramfs of arch\/2026\.11\.01 holds the certificate of .*codesign\.lab.*, which ended on /,
    );
  });

  it('a release past its best-before, and a snapshot that ended', async () => {
    const at = async (now: number) => (await examineSite(healthy, { now })).findings;
    const faults = (await at(NOW + 120 * DAY)).filter(({ state }) => state === 'fault');
    assert.deepEqual(
      faults.map(({ code, found }) => [code, found.split(' ended')[0]]),
      [
        ['ended', 'the snapshot of stable'],
        ['ended', `the best-before of ${RELEASE}`],
      ],
    );
    const soon = (await at(NOW + 5 * DAY)).filter(({ state }) => state === 'warning' || state === 'fault');
    assert.deepEqual(
      soon.map(({ state, code, found }) => [state, code, found.split(' ends')[0]]),
      [['warning', 'ends-soon', 'the snapshot of stable']],
    );
  });

  it('a GRUB that trusts another site, and an iPXE that verifies nothing', async () => {
    const other = await makeKeys(scratch('other-keys'), { now: NOW });
    const { buildGrubLoaders } = await import('../../src/build/loaders.ts');
    const foreign = await planted(async ({ state }) => {
      await buildGrubLoaders({ anchors: other, out: join(state, 'loaders'), now: NOW });
    });
    assert.deepEqual([...new Set(wrong(foreign))], ['loaders fault foreign-loader']);
    assert.match(
      foreign.findings.find(({ code }) => code !== null)?.found ?? '',
      /^bootseal-grub\.\S+ trusts script key [0-9A-Fa-f]{16}, which is not of these anchors/,
    );
    const own = await planted(async ({ state }) => {
      await buildGrubLoaders({ anchors: keys, out: join(state, 'loaders'), now: NOW });
    });
    assert.deepEqual(wrong(own), []);
    const stock = await planted(async ({ state }) => {
      await mkdir(join(state, 'loaders'));
      await cp('/usr/lib/ipxe/undionly.kpxe', join(state, 'loaders/undionly.kpxe'));
    });
    only(
      stock,
      'loaders warning loader-verifies-nothing',
      /^undionly\.kpxe verifies nothing: this iPXE was built without imgverify$/,
    );
  });

  it('a configuration with a mistake, with a loader that is not there, and with too much trust', async () => {
    const site = await copySite();
    const given = async (text: string) => {
      await writeFile(join(site.folder, 'bootseal.toml'), text);
      return examineSite(site, { config: join(site.folder, 'bootseal.toml') });
    };
    const mistaken = await given('scrub_huors = 3\n');
    only(mistaken, 'configuration fault mistake', /bootseal\.toml: .*scrub_huors/);
    const pinned = await given(`[loaders]\n"ipxe.efi" = "${'0'.repeat(64)}"\n`);
    only(pinned, 'configuration fault loader-not-there', /\[loaders\] names ipxe\.efi/);
    only(
      await given('allow_unverified_loaders = true\n'),
      'configuration warning unverified-allowed',
      /allow_unverified_loaders/,
    );
    only(
      await given('trusted_proxies = ["127.0.0.0/8"]\n'),
      'configuration warning proxies-everybody',
      /127\.0\.0\.0\/8, the whole network of 127\.0\.0\.1/,
    );
  });

  it('a keyholder that does not run', async () => {
    const keyholder = join(healthy.folder, 'keyholder.sock');
    only(
      await examineSite(healthy, { keyholder }),
      'keyholder fault no-keyholder',
      /keyholder\.sock: there is no such socket$/,
    );
  });

  it('nothing of a keyholder that runs, which is not asked anything', async () => {
    const site = await copySite();
    await mkdir(join(site.folder, 'run'), { mode: 0o700 });
    const socket = join(site.folder, 'run/socket');
    const lines: unknown[] = [];
    const write = (facts: object, text: string) => void lines.push([facts, text]);
    const log = { info: write, warn: write, error: write };
    const keyholder = await startKeyholder({ socket, keys: site.state, state: site.state, log });
    const before = lines.length;
    try {
      const { findings } = await examineSite(site, { keyholder: socket });
      assert.deepEqual(wrong({ findings }), []);
      assert.ok(findings.some(({ check, state }) => check === 'keyholder' && state === 'ok'));
    } finally {
      await keyholder.close();
    }
    assert.deepEqual(
      lines.slice(before, before + 1).filter((line) => /refused/.test(JSON.stringify(line))),
      [],
    );
  });

  it('an iPXE whose script fetches elsewhere, and a certificate in it that ended', async () => {
    const old = await makeKeys(scratch('old-keys'), { now: NOW - 1000 * DAY });
    const site = await copySite();
    await mkdir(join(site.state, 'loaders'));
    const der = async (folder: string, name: string) =>
      (await run('sh', ['-c', `openssl x509 -in ${folder}/anchors/${name} -outform DER | base64 -w0`]))
        .stdout;
    const [ca, ended] = [await der(keys, 'ca.crt'), await der(old, 'codesign.crt')].map((text) =>
      Buffer.from(text, 'base64'),
    );
    assert.ok(ca && ended);
    // What of an iPXE with imgverify tells of it; that of BOOTSEAL_IPXE trusts another CA.
    const words = ['iPXE', 'imgfetch', 'imgverify', 'imgtrust', '1.21.1+ (g0ab22)'].join('\0');
    const script = '#!ipxe\ndhcp\nimgverify --signer boot.lab boot.ipxe http://10.0.0.9:8081/boot.ipxe.sig\n';
    const root = createHash('sha256').update(ca).digest();
    const bytes = [Buffer.from(`${words}\0`), root, Buffer.from(`\0${script}\0`), ca, ended];
    // And its digest, as an iPXE has of each that it trusts: not here, so it is no root.
    await writeFile(join(site.state, 'loaders/undionly.kpxe'), Buffer.concat(bytes));
    const examined = await examine(lan, site);
    assert.deepEqual(wrong(examined), ['loaders fault expired-inside', 'loaders fault loader-elsewhere']);
    const found = examined.findings.map((one) => one.found).join('\n');
    assert.match(found, /undionly\.kpxe holds the certificate of .*codesign\.lab.*, which ended on /);
    assert.match(
      found,
      /the script in undionly\.kpxe fetches from 10\.0\.0\.9:8081, and the server listens at 10\.77\.0\.1:8080/,
    );
  });

  it('scripts that name another server', async () => {
    const examined = await examine(lan, healthy, [...BIND, '--http-port', '8081']);
    assert.deepEqual([...new Set(wrong(examined))], ['state warning sealed-elsewhere']);
    assert.match(
      examined.findings.find(({ code }) => code !== null)?.found ?? '',
      /the port 8080, which the sealed grub\.cfg names/,
    );
  });
});

describe('doctor and its exit status', () => {
  it('3 where it could not look, and 2 for words that cannot be meant', async () => {
    const main = new URL('../../src/cli/main.js', import.meta.url).pathname;
    const site = await copySite();
    await chmod(site.state, 0o700);
    // Another account, as whom the state cannot be entered.
    await chmod(site.folder, 0o755);
    const asNobody = await lan.execute('setpriv', [
      ...['--reuid', '65534', '--regid', '65534', '--clear-groups', process.execPath],
      ...[
        main,
        'doctor',
        '--json',
        '--state',
        site.state,
        '--anchors',
        site.anchors,
        ...BIND,
        '--tftp-port',
        '6969',
      ],
    ]);
    const said = JSON.parse(asNobody.stdout) as { findings: { couldNotLook: boolean; found: string }[] };
    assert.equal(asNobody.status, 3, asNobody.stdout);
    assert.ok(
      said.findings.some(({ couldNotLook, found }) => couldNotLook && /permission is denied/.test(found)),
    );
    // The usual port of TFTP is not everybody's.
    const asOther = await lan.execute('setpriv', [
      ...['--reuid', '65534', '--regid', '65534', '--clear-groups', process.execPath],
      ...[main, 'doctor', '--json', '--anchors', site.anchors, ...BIND],
    ]);
    assert.equal(asOther.status, 1);
    assert.match(asOther.stdout, /"code":"port-privileged"/);
    assert.match(asOther.stdout, /TFTP 10\.77\.0\.1:69: whoever runs this may not listen below port 1024/);
    const wrongWords = await lan.execute(process.execPath, [
      main,
      'doctor',
      '--state',
      join(site.folder, 'nowhere'),
    ]);
    assert.equal(wrongWords.status, 2);
  });
});

async function writeMachines({ state }: DoctorSite): Promise<void> {
  await mkdir(join(state, 'machines'));
  await writeFile(
    join(state, 'machines/all.toml'),
    '[[machine]]\nname = "lab"\nmac = "52:54:00:12:34:56"\ngets = { boot = "local" }\n',
  );
}

/** One bit. @param at from the start, or where negative from the end. */
async function flip(path: string, at: number): Promise<void> {
  const bytes = await readFile(path);
  const index = at < 0 ? bytes.length + at : at;
  bytes.writeUInt8(bytes.readUInt8(index) ^ 1, index);
  await rm(path);
  await writeFile(path, bytes);
}
