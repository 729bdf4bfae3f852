import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { type Serving, serve } from '../../src/server/serve.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { INITRD, KERNEL, ROOTFS, sampleTree, sealFixture, writeTree } from '../fixtures/release.ts';
import { ask } from '../serve/http/harness.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const RELEASE = '/releases/arch/2026.11.01';
const SEALED = [
  ...[KERNEL, INITRD, ROOTFS].flatMap((path) => [path, `${path}.ipxe.sig`, `${path}.cms.sig`, `${path}.sig`]),
  ...['arch/x86_64/airootfs.sha512', 'boot.ipxe', 'boot.ipxe.sig', 'grub.cfg', 'grub.cfg.sig'],
  ...['release.manifest', 'release.manifest.cms.sig', 'release.manifest.sig'],
];
/** In the tree, and nothing that a seal speaks of. */
const STRAYS = {
  'notes.txt': 'mine\n',
  'arch/x86_64/airootfs.sfs.bak': 'old\n',
  'arch/boot/x86_64/.hidden': 'x',
};

let trees = 0;
async function sealedTree(): Promise<string> {
  trees += 1;
  const tree = await sampleTree(join(folder, `tree-${trees}`), keys);
  // Short: what is hashed here is not what is tested.
  await writeFile(join(tree, ROOTFS), Buffer.alloc(300_000, 'root'));
  await sealFixture(tree, keys);
  return tree;
}

interface Logged {
  readonly warned: object[];
}

async function served(t: TestContext, tree: string, loaders?: string): Promise<Serving & Logged> {
  const warned: object[] = [];
  const log = { info: () => {}, warn: (facts: object) => warned.push(facts), error: () => {} };
  const anchors = join(keys, 'anchors');
  const request = { tree, anchors, clock: () => NOW, httpPort: 0, tftpPort: 0, nbdPort: 0, log };
  const serving = await serve({ ...request, ...(loaders === undefined ? {} : { loaders }) });
  t.after(() => serving.close(0));
  return { ...serving, warned };
}

/** Neither a folder of this machine nor what one might be called. */
function assertNoPath(body: string): void {
  assert.doesNotMatch(
    body,
    new RegExp(`${folder}|${basename(folder)}|/tmp|tree-\\d|node:|\\bat \\S+:\\d+`),
    body,
  );
}

describe('the site of a release', () => {
  it('serves every sealed file and every seal as the plain file it is', async (t) => {
    const tree = await sealedTree();
    const { http } = await served(t, tree);
    for (const path of SEALED) {
      const { status, body, headers } = await ask(http.port, `${RELEASE}/${path}`);
      const bytes = await readFile(join(tree, path));
      assert.equal(status, 200, path);
      assert.ok(body.equals(bytes), path);
      assert.equal(headers.etag, `"${createHash('sha256').update(bytes).digest('hex')}"`, path);
      assert.match(headers['cache-control'] ?? '', /immutable/, path);
    }
  });

  it('serves nothing else of the tree, under any name', async (t) => {
    const tree = await sealedTree();
    await writeTree(tree, STRAYS);
    await symlink('/etc/passwd', join(tree, 'arch/passwd'));
    const { http } = await served(t, tree);
    const paths = [
      ...Object.keys(STRAYS).map((path) => `${RELEASE}/${path}`),
      ...[
        `${RELEASE}/arch/version`,
        `${RELEASE}/arch/passwd`,
        `${RELEASE}/arch`,
        `${RELEASE}`,
        `${RELEASE}/`,
      ],
      ...['/releases', '/releases/arch', '/releases/arch/latest/boot.ipxe', '/keys/private/ca.key'],
      ...[`/${KERNEL}`, '/release.manifest', '/unverified.ipxe', '/anchors', '/BOOT.IPXE'],
    ];
    for (const path of paths) {
      const { status, body } = await ask(http.port, path);
      assert.equal(status, 404, path);
      assert.match(body.toString(), /^absent: [^\n]+\n$/, path);
      assertNoPath(body.toString());
    }
  });

  it('offers the entry scripts at the top, and below the name of the CA that openssl computes', async (t) => {
    const tree = await sealedTree();
    const { http } = await served(t, tree);
    const ca = join(keys, 'anchors', 'ca.crt');
    const print = ['x509', '-in', ca, '-noout', '-fingerprint', '-sha256'];
    const hex = execFileSync('openssl', print, { encoding: 'utf8' }).split('=')[1]?.replaceAll(':', '') ?? '';
    const anchor = hex.trim().toLowerCase().slice(0, 16);
    for (const name of ['boot.ipxe', 'boot.ipxe.sig']) {
      const bytes = await readFile(join(tree, name));
      for (const path of [`/${name}`, `/anchors/${anchor}/${name}`]) {
        const { status, body, headers } = await ask(http.port, path);
        assert.deepEqual([status, body.equals(bytes)], [200, true], path);
        // These names will mean another release one day.
        assert.doesNotMatch(headers['cache-control'] ?? '', /immutable/, path);
      }
    }
    for (const name of ['grub.cfg', 'grub.cfg.sig']) {
      assert.ok((await ask(http.port, `/${name}`)).body.equals(await readFile(join(tree, name))), name);
      assert.equal((await ask(http.port, `/anchors/${anchor}/${name}`)).status, 404, name);
    }
    for (const other of [anchor.toUpperCase(), anchor.slice(1), '0'.repeat(16), hex.trim().toLowerCase()])
      assert.equal((await ask(http.port, `/anchors/${other}/boot.ipxe`)).status, 404, other);
  });

  it('serves the records as they were verified, whatever becomes of the files', async (t) => {
    const tree = await sealedTree();
    const { http } = await served(t, tree);
    const script = await readFile(join(tree, 'boot.ipxe'));
    await writeFile(join(tree, 'boot.ipxe'), '#!ipxe\nshell\n');
    await rm(join(tree, `${KERNEL}.ipxe.sig`));
    assert.ok((await ask(http.port, '/boot.ipxe')).body.equals(script));
    assert.equal((await ask(http.port, `${RELEASE}/${KERNEL}.ipxe.sig`)).status, 200);
  });
});

describe('a file that drifted', () => {
  const DRIFTS: Readonly<Record<string, (path: string) => Promise<unknown>>> = {
    'was changed in place': (path) => writeFile(path, Buffer.alloc(300_000, 'evil')),
    'was changed and its time set back': async (path) => {
      await writeFile(path, Buffer.alloc(300_000, 'evil'));
      await utimes(path, NOW / 1000, NOW / 1000);
    },
    'was replaced by its equal': async (path) => {
      await writeFile(`${path}.new`, await readFile(path));
      await rename(`${path}.new`, path);
    },
    'became a symlink': async (path) => {
      await rename(path, `${path}.moved`);
      await symlink(`${path}.moved`, path);
    },
    'became a folder': async (path) => {
      await rm(path);
      await mkdir(path);
    },
    'became a FIFO': async (path) => {
      await rm(path);
      execFileSync('mkfifo', [path]);
    },
    'is gone': (path) => rm(path),
  };

  for (const [how, drift] of Object.entries(DRIFTS)) {
    it(`is refused by its served name, with no path of this machine: it ${how}`, async (t) => {
      const tree = await sealedTree();
      const { http, tftp, warned } = await served(t, tree);
      await drift(join(tree, ROOTFS));
      for (const method of ['GET', 'HEAD']) {
        const { status, body } = await ask(http.port, `${RELEASE}/${ROOTFS}`, { method });
        // Not 404: it is no file that never was, and archiso would go on to look for another image.
        assert.equal(status, 503, method);
        if (method === 'HEAD') continue;
        assert.match(body.toString(), /^drifted: airootfs\.sfs [^\n]+\.\n$/);
        assertNoPath(body.toString());
      }
      const json = await ask(http.port, `${RELEASE}/${ROOTFS}`, { headers: { accept: 'application/json' } });
      assert.equal(JSON.parse(json.body.toString()).code, 'drifted');
      assertNoPath(json.body.toString());
      assert.ok(warned.some((facts) => JSON.stringify(facts).includes('"drifted"')));
      // The others are what they were.
      assert.equal((await ask(http.port, `${RELEASE}/${KERNEL}`)).status, 200);
      const said = await tftpError(tftp?.port ?? 0, `${RELEASE}/${ROOTFS}`);
      assert.match(said, /drifted/);
      assertNoPath(said);
    });
  }

  it('is a loader, too', async (t) => {
    const tree = await sealedTree();
    const loaders = join(folder, 'loaders');
    await writeTree(loaders, {
      'undionly.kpxe': 'loader',
      '.secret': 'no',
      'sub/ipxe.efi': 'no',
      'a b': 'no',
    });
    await symlink('/etc/passwd', join(loaders, 'link.efi'));
    const { http } = await served(t, tree, loaders);
    assert.equal((await ask(http.port, '/undionly.kpxe')).body.toString(), 'loader');
    for (const path of ['/.secret', '/sub/ipxe.efi', '/ipxe.efi', '/a%20b', '/link.efi'])
      assert.ok([400, 404].includes((await ask(http.port, path)).status), path);
    await writeFile(join(loaders, 'undionly.kpxe'), 'other!');
    const { status, body } = await ask(http.port, '/undionly.kpxe');
    assert.deepEqual([status, body.toString().startsWith('drifted: undionly.kpxe ')], [503, true]);
    assertNoPath(body.toString());
  });
});

/** What tftp-hpa's client prints, whatever its status. The server runs in this process: no waiting in place. */
function tftpError(port: number, path: string): Promise<string> {
  const words = ['-m', 'binary', '127.0.0.1', String(port), '-c', 'get', path, join(folder, 'fetched')];
  return new Promise((resolve) => execFile('tftp', words, (_error, out, err) => resolve(out + err)));
}
