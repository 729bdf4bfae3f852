import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmod,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { freePorts, startNginx } from '../../lab/nginx.ts';
import { type ArchPullOptions, type ArchPullResult, pullArch } from '../../src/mirrors/arch/arch-pull.ts';
import { run, start } from '../cli/command.ts';
import { ArchSite, flip, INITRD, KERNEL, put, ROOT } from '../fixtures/arch-site.ts';
import { daemon, freePort } from '../fixtures/daemon.ts';
import { failed } from '../fixtures/failed.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { sealFixture } from '../fixtures/release.ts';

/** nginx serves trees as Arch lays them out, sealed by openssl and gpg; what is wrong with one is refused by its name. */

const DAY = 86_400_000;
const VERSION = '2026.11.01';
const folder = await temporaryFolder();
await chmod(folder, 0o755);
const arch = await new ArchSite(folder).ready();
after(() => arch.close());

// One nginx for all: each site is a folder of its name.
const sites = join(folder, 'sites');
await mkdir(sites);
const [port = 0] = await freePorts(1);
const nginx = await startNginx(folder, [
  {
    root: sites,
    port,
    more: `location /redirects/latest/ { rewrite ^/redirects/latest/(.*)$ /redirects/${VERSION}/$1 redirect; }
    location /pages/ { error_page 404 =200 /page; }
    location = /page { default_type text/html; }
    location /deaf/ { max_ranges 0; }`,
  },
]);
after(() => nginx.stop());
await writeFile(join(sites, 'page'), '<html>Welcome</html>');
const url = (name: string) => `http://127.0.0.1:${port}/${name}/`;

let outs = 0;
const newOut = () => join(folder, `out-${++outs}`);
async function pulled(
  name: string | readonly string[],
  change: Partial<ArchPullOptions> = {},
): Promise<ArchPullResult & { readonly out: string }> {
  const out = change.out ?? newOut();
  const result = await pullArch({
    ...{ sources: [name].flat().map(url), out, anchors: arch.anchors, keyrings: [arch.keyring] },
    ...{ now: NOW, pauseMs: 1, ...change },
  });
  return { ...result, out };
}

async function demandTree(tree: string, of: string): Promise<void> {
  for (const path of [
    KERNEL,
    `${KERNEL}.ipxe.sig`,
    INITRD,
    ROOT,
    `${ROOT}.cms.sig`,
    `${ROOT}.sig`,
    'arch/version',
  ])
    assert.deepEqual(await readFile(join(tree, path)), await readFile(join(of, path)), path);
}

async function refused(
  result: ArchPullResult & { readonly out: string },
  code: string,
  why: RegExp,
): Promise<void> {
  assert.equal(result.refusal?.code, code, result.refusal?.message);
  assert.match(result.refusal?.message ?? '', why);
  const left = (await readdir(result.out)).filter((name) => name !== 'incoming' && name !== 'floor.json');
  assert.deepEqual(
    left.filter((name) => !name.startsWith('2026.10')),
    [],
    'nothing appears',
  );
}

/** A good site under a name of its own. */
async function site(
  name: string,
  wish: Parameters<ArchSite['release']>[2] = {},
  version = VERSION,
): Promise<string> {
  await mkdir(join(sites, name), { recursive: true });
  return arch.release(join(sites, name), version, wish);
}

describe('a mirror of Arch', () => {
  it('gives the tree that latest is, with a record of who signed what', async () => {
    const tree = await site('good');
    const result = await pulled('good');
    assert.equal(result.refusal, undefined, result.refusal?.message);
    assert.equal(result.folder, join(result.out, VERSION));
    await demandTree(result.folder ?? '', tree);
    assert.equal((await stat(join(result.folder ?? '', ROOT))).mode & 0o7777, 0o644);
    const record = JSON.parse(await readFile(join(result.out, `${VERSION}.json`), 'utf8'));
    assert.deepEqual(record, JSON.parse(JSON.stringify(result.record)));
    const by = Object.fromEntries(
      record.files.map((row: { path: string; by: { seal: string; signer: string }[] }) => [
        row.path,
        row.by.map(({ seal, signer }) => [
          seal.split('/').at(-1),
          signer === 'releng' ? signer : signer.length,
        ]),
      ]),
    );
    assert.deepEqual(by, {
      [KERNEL]: [['vmlinuz-linux.ipxe.sig', 'releng']],
      [INITRD]: [['initramfs-linux.img.ipxe.sig', 'releng']],
      [ROOT]: [
        ['airootfs.sfs.cms.sig', 'releng'],
        ['airootfs.sfs.sig', 40],
        ['airootfs.sha512', 0],
      ],
      'arch/version': [],
      'arch/pkglist.x86_64.txt': [],
    });
    // The stock tools say the same of what lies there.
    execFileSync('sha512sum', ['-c', '--status', 'airootfs.sha512'], {
      cwd: join(result.folder ?? '', 'arch/x86_64'),
    });
    assert.deepEqual(
      (await readdir(join(result.out, 'incoming'))).filter((name) => name !== 'lock'),
      [],
    );
    const again = await pulled('good', { out: result.out });
    assert.deepEqual([again.outcome, again.fetched, again.refusal], ['here', 0, undefined]);
  });

  it('gives what "seal" takes', async () => {
    await site('sealed');
    const { folder: tree = '' } = await pulled('sealed');
    const keys = await makeKeys(join(folder, 'keys'));
    const { manifest } = await sealFixture(tree, keys);
    assert.equal(manifest.release, `arch/${VERSION}`);
  });

  it('may redirect latest', async () => {
    const tree = await site('redirects');
    await rm(join(sites, 'redirects/latest'));
    const result = await pulled('redirects');
    await demandTree(result.folder ?? '', tree);
  });

  it('may be a folder, whose link is read and not followed', async () => {
    const tree = await site('folder');
    const result = await pulled([], { sources: [join(sites, 'folder')] });
    await demandTree(result.folder ?? '', tree);
    await rm(join(sites, 'folder/latest'));
    await symlink('/etc', join(sites, 'folder/latest'));
    await refused(await pulled([], { sources: [join(sites, 'folder')] }), 'malformed', /leads to "etc"/);
  });

  it('may be an rsync daemon, whose link is followed there', async () => {
    const tree = await site('synced');
    const port = await freePort();
    const conf = join(folder, 'rsyncd.conf');
    await writeFile(
      conf,
      `pid file = ${folder}/rsyncd.pid\nuse chroot = no\n[iso]\n  path = ${sites}/synced\n`,
    );
    await daemon(port, 'rsync', '--daemon', '--no-detach', `--config=${conf}`, `--port=${port}`);
    const result = await pulled([], { sources: [`rsync://127.0.0.1:${port}/iso/`] });
    assert.equal(result.refusal, undefined, result.refusal?.message);
    await demandTree(result.folder ?? '', tree);
    await rm(join(tree, INITRD));
    const less = await pulled([], { sources: [`rsync://127.0.0.1:${port}/iso/`] });
    await refused(less, 'absent', /does not have .*initramfs/);
  });

  it('may have a signed list of sums, which speaks for what it names, the version too', async () => {
    const tree = await site('listed');
    const names = ['arch/version', INITRD];
    const list = execFileSync('sha256sum', names, { cwd: tree });
    await put(tree, 'sha256sums.txt', list);
    await put(tree, 'sha256sums.txt.sig', arch.sign(list));
    // It is enough for what has no other signature.
    await rm(join(tree, `${INITRD}.ipxe.sig`));
    const { record, refusal } = await pulled('listed');
    assert.equal(refusal, undefined, refusal?.message);
    const unsigned = record?.files.filter(({ signed }) => !signed).map(({ path }) => path);
    assert.deepEqual(unsigned, ['arch/pkglist.x86_64.txt']);
    await flip(join(tree, INITRD));
    await refused(await pulled('listed'), 'drifted', /sha256sums\.txt does not match/);
    await rm(join(tree, 'sha256sums.txt.sig'));
    await refused(await pulled('listed'), 'no-verdict', /no signature of it is there/);
  });

  it('may know no ranges', async () => {
    const tree = await site('deaf');
    const result = await pulled('deaf');
    await demandTree(result.folder ?? '', tree);
  });
});

describe('a promotion', () => {
  const promoted = async (name: string, change: Readonly<Record<string, unknown>> = {}) => {
    const tree = await site(name, { base: `netboot-${VERSION}` });
    return { tree, bytes: await arch.promotion(join(sites, name), VERSION, change) };
  };

  it('says which version latest is, and who signed it is said', async () => {
    const { tree, bytes } = await promoted('json');
    await rm(join(sites, 'json/latest'));
    await symlink(`netboot-${VERSION}.json`, join(sites, 'json/latest'));
    const unsigned = await pulled('json');
    await demandTree(unsigned.folder ?? '', tree);
    assert.deepEqual(
      unsigned.record?.lists.map(({ name, signer }) => [name, signer]),
      [[`netboot-${VERSION}.json`, undefined]],
    );
    await put(join(sites, 'json'), `netboot-${VERSION}.json.sig`, arch.sign(bytes));
    const signed = await pulled('json');
    assert.match(signed.record?.lists[0]?.signer ?? '', /^[0-9a-f]{40}$/);
    await put(join(sites, 'json'), `netboot-${VERSION}.json.sig`, arch.sign(Buffer.from('else')));
    await refused(await pulled('json'), 'bad-signature', /netboot-2026\.11\.01\.json\.sig/);
  });

  for (const [what, change, code, why] of [
    ['names a file that is not there', { files: ['arch', 'vmlinuz'] }, 'absent', /does not have vmlinuz/],
    ['is of another kind', { name: 'iso' }, 'mixed-releases', /is about iso, not netboot/],
    ['is of another version', { version: '2026.10.01' }, 'mixed-releases', /is about 2026\.10\.01/],
    ['leads out of its folder', { files: ['../../etc/passwd'] }, 'malformed', /unsafe name/],
  ] as const)
    it(`that ${what} is refused`, async () => {
      const name = `json-${code}-${what.length}`;
      await promoted(name, change);
      await arch.promotion(join(sites, name), VERSION, change);
      await refused(await pulled(name), code, why);
    });
});

describe('refused', () => {
  const asked = (name: string, path: string) => async () =>
    (await nginx.asked()).filter((line) => line.includes(` GET /${name}/`) && line.includes(path));

  it('a kernel that nobody signed, before anything large is fetched', async () => {
    const tree = await site('unsigned');
    await rm(join(tree, `${KERNEL}.ipxe.sig`));
    await refused(await pulled('unsigned'), 'no-verdict', /vouches for arch\/boot\/x86_64\/vmlinuz-linux/);
    assert.deepEqual(await asked('unsigned', 'airootfs.sfs ')(), []);
  });

  it('one that a stranger signed under the same names', async () => {
    await site('stranger', { signer: arch.stranger() });
    await refused(
      await pulled('stranger'),
      'bad-signature',
      /whose key did not sign it|which is no trusted anchor/,
    );
    assert.deepEqual(await asked('stranger', 'vmlinuz-linux ')(), []);
  });

  it('a root image whose keyring does not know its signer', async () => {
    const other = await new ArchSite(await mkdtemp(join(folder, 'o'))).ready();
    after(() => other.close());
    const tree = await site('ring');
    await put(tree, `${ROOT}.sig`, other.sign(await readFile(join(tree, ROOT))));
    await refused(await pulled('ring'), 'untrusted-signer', /not in the keyring/);
  });

  it('sums that do not fit', async () => {
    const tree = await site('sums');
    await writeFile(join(tree, 'arch/x86_64/airootfs.sha512'), `${'0'.repeat(128)}  airootfs.sfs\n`);
    await refused(await pulled('sums'), 'drifted', /airootfs\.sha512 does not match airootfs\.sfs/);
    const list = await site('list');
    const sums = `${'0'.repeat(64)}  arch/version\n`;
    await writeFile(join(list, 'sha256sums.txt'), sums);
    await refused(await pulled('list'), 'bad-signature', /sha256sums\.txt does not match arch\/version/);
  });

  it('an older version than was here, and an older root image under a newer name', async () => {
    const root = randomBytes(100_000);
    await site('old', { root });
    const { out } = await pulled('old');
    await site('old', {}, '2026.10.01');
    const back = await pulled('old', { out });
    assert.equal(back.refusal?.code, 'rolled-back', back.refusal?.message);
    assert.equal(back.mirrors[0]?.standing, 'behind');
    assert.equal((await pulled('old', { out, version: '2026.10.01' })).refusal?.code, 'rolled-back');
    await site('old', { root }, '2026.11.02');
    const renamed = await pulled('old', { out });
    assert.match(
      renamed.refusal?.message ?? '',
      /called 2026\.11\.02 there holds the root image of 2026\.11\.01/,
    );
    assert.deepEqual((await readdir(out)).sort(), [VERSION, `${VERSION}.json`, 'floor.json', 'incoming']);
  });

  it('a version of a day to come, which would stand above all that follow', async () => {
    await site('future', {}, '2027.01.01');
    await refused(await pulled('future'), 'not-yet-valid', /a day that is still to come/);
  });

  it('a tree that says it is another version', async () => {
    const tree = await site('mixed');
    await writeFile(join(tree, 'arch/version'), '2026.10.01\n');
    await refused(
      await pulled('mixed', { version: VERSION }),
      'mixed-releases',
      /says that it is 2026\.10\.01/,
    );
  });

  it('a release with files missing', async () => {
    for (const path of [INITRD, ROOT]) {
      const tree = await site(`less-${path.length}`);
      await rm(join(tree, path));
      await refused(await pulled(`less-${path.length}`), 'absent', /does not have .* of this release/);
    }
  });

  it('a web page with status 200', async () => {
    const tree = await site('pages');
    await refused(await pulled('pages'), 'malformed', /answers with a web page/);
    await rm(join(tree, '..'), { recursive: true });
    await refused(await pulled('pages'), 'malformed', /answers with a web page/);
  });

  it('two releases of one name that both hold', async () => {
    await site('one');
    await site('other');
    await refused(await pulled(['one', 'other']), 'mixed-releases', /have two releases 2026\.11\.01/);
  });

  it('a floor that cannot be read, rather than none', async () => {
    await site('floor');
    const { out } = await pulled('floor');
    await writeFile(join(out, 'floor.json'), '{}');
    await assert.rejects(pulled('floor', { out }), failed('malformed', /does not say which version/));
  });
});

describe('several mirrors', () => {
  it('one with another byte is dropped and named, and the next one gives the file', async () => {
    const tree = await site('honest');
    await cp(join(sites, 'honest'), join(sites, 'tampering'), { recursive: true, verbatimSymlinks: true });
    await flip(join(sites, 'tampering', VERSION, ROOT));
    const result = await pulled(['tampering', 'honest']);
    await demandTree(result.folder ?? '', tree);
    assert.deepEqual(
      result.mirrors.map(({ standing }) => standing),
      ['dropped', 'good'],
    );
    assert.match(result.mirrors[0]?.refusal?.message ?? '', /another arch\/x86_64\/airootfs\.sfs/);
  });

  it('one that names a version which does not hold keeps nobody back', async () => {
    const tree = await site('calm');
    await site('loud', { signer: arch.stranger() }, '2026.11.02');
    const result = await pulled(['loud', 'calm']);
    assert.deepEqual([result.version, result.mirrors[0]?.standing], [VERSION, 'dropped']);
    await demandTree(result.folder ?? '', tree);
  });
});

describe('latest that moves while files are on their way', () => {
  it('changes nothing: all files are of the version that was named first', async () => {
    const tree = await site('moves');
    await site('next', {}, '2026.11.02');
    await rename(join(sites, 'next/2026.11.02'), join(sites, 'moves/2026.11.02'));
    let moved: Promise<void> | undefined;
    const result = await pulled('moves', {
      onProgress: () => {
        moved ??= rm(join(sites, 'moves/latest')).then(() =>
          symlink('2026.11.02', join(sites, 'moves/latest')),
        );
      },
    });
    await moved;
    assert.equal(result.version, VERSION);
    await demandTree(result.folder ?? '', tree);
    const next = await pulled('moves', { out: result.out });
    assert.equal(next.version, '2026.11.02');
  });
});

describe('a pull that was interrupted', () => {
  it('goes on where it was', async () => {
    const tree = await site('long', { root: randomBytes(3 * 1024 * 1024) });
    const out = newOut();
    const stop = new AbortController();
    await assert.rejects(
      pulled('long', {
        ...{ out, limitRate: 4_000_000, signal: stop.signal },
        onProgress: (done) => {
          if (done > 2 * 1024 * 1024) stop.abort();
        },
      }),
      (error: Error) => error.name === 'AbortError',
    );
    const result = await pulled('long', { out });
    await demandTree(result.folder ?? '', tree);
    assert.ok(result.resumed > 0, `${result.resumed}`);
    assert.ok(result.fetched < 2 * 1024 * 1024, `${result.fetched}`);
  });
});

describe('time', () => {
  const ended = { commonName: 'releng ended', notBefore: NOW - 300 * DAY, notAfter: NOW - 150 * DAY };

  it('a codesigning certificate that has ended is said plainly, and judged as of another time on one’s word', async () => {
    await site('ended', { signer: arch.leaf(ended) });
    await refused(await pulled('ended'), 'expired', /the certificate releng ended ended on 2026-06-04/);
    const at = NOW - 200 * DAY;
    // The OpenPGP key was made later than that.
    const then = await pulled('ended', { at, keyrings: [] });
    assert.equal(then.refusal, undefined, then.refusal?.message);
    assert.deepEqual([then.record?.onWord, then.record?.judgedAt], [true, '2026-04-15T00:00:00Z']);
    assert.deepEqual(then.record?.files.find(({ path }) => path === ROOT)?.unjudged, [`${ROOT}.sig`]);
  });

  it('SHA-1 counts until the policy’s date', async () => {
    await site('sha1', { gpg: ['--digest-algo', 'SHA1'] });
    await refused(await pulled('sha1'), 'weak-algorithm', /uses sha1, not accepted since 2013-02-01/);
    const policy = join(folder, 'policy.toml');
    await writeFile(policy, '[hash_cutoff]\nsha1 = 2027-01-01\n');
    assert.equal((await pulled('sha1', { policy })).refusal, undefined);
  });
});

describe('bootseal mirror fetch', () => {
  const words = (name: string, out: string, ...more: string[]) => [
    ...['mirror', 'fetch', url(name), '--out', out, '--anchors', arch.anchors, '--at', '2026-11-01', ...more],
  ];

  it('says who signed what, and what nobody did', async () => {
    await site('said');
    const out = newOut();
    const said = await run(words('said', out));
    assert.equal(said.code, 0, said.out + said.err);
    assert.match(said.out, /airootfs\.sfs .*releng \(\.cms\.sig\).*not judged \(\.sig\)/);
    assert.match(said.out, /Nobody signed arch\/version, arch\/pkglist\.x86_64\.txt\./);
    assert.match(said.out, /Judged as of 2026-11-01, on your word\./);
    const json = JSON.parse((await run(words('said', newOut(), '--keyring', arch.keyring, '--json'))).out);
    assert.deepEqual([json.fetched, json.version, json.record.files.length], [true, VERSION, 5]);
  });

  it('goes on after it was killed', async () => {
    const tree = await site('killed', { root: randomBytes(2 * 1024 * 1024) });
    const out = newOut();
    const first = start(words('killed', out, '--limit-rate', '500k'));
    for (let arrived = 0; arrived < 1024 * 1024; ) {
      const names = await readdir(join(out, 'incoming')).catch(() => []);
      const sizes = await Promise.all(
        names.map((name) =>
          stat(join(out, 'incoming', name)).then(
            ({ size }) => size,
            () => 0,
          ),
        ),
      );
      arrived = sizes.reduce((sum, size) => sum + size, 0);
    }
    first.signal('SIGKILL');
    await first.ended;
    assert.deepEqual(await readdir(out), ['incoming']);
    const json = JSON.parse((await run(words('killed', out, '--json'))).out);
    assert.ok(json.resumed > 512 * 1024, `${json.resumed}`);
    await demandTree(json.tree, tree);
  });

  it('ends with 1 for what is refused, 2 where nothing is given to judge by, 3 where nobody answers', async () => {
    await site('late', { signer: arch.leaf({ commonName: 'late', notAfter: NOW - DAY }) });
    const late = await run(words('late', newOut()));
    assert.equal(late.code, 1);
    assert.match(
      late.out + late.err,
      /REFUSED: .* ended on 2026-10-31.*\[expired\][\s\S]*Judged as of 2026-11-01/,
    );
    assert.equal((await run(['mirror', 'fetch', url('late'), '--out', newOut()])).code, 2);
    assert.equal(
      (await run(['mirror', 'fetch', 'http://127.0.0.1:9/', ...words('', newOut()).slice(3)])).code,
      3,
    );
  });
});
