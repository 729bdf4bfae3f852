import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { cp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { BootVerdict } from '../../src/emulator/boot.ts';
import type { BootEvent } from '../../src/emulator/machine-verdict.ts';
import { cpioEntries, encodeCpio } from '../../src/formats/archive/cpio.ts';
import { boot } from '../../src/operations/boot.ts';
import { DEFAULT_CONFIGURATION } from '../../src/server/configuration.ts';
import { type ServeOptions, serve } from '../../src/server/serve.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { INITRD, KERNEL, ROOTFS, sampleTree, sealFixture } from '../fixtures/release.ts';
import { inTree, staticServer } from '../fixtures/static.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const stranger = await makeKeys(join(folder, 'stranger'), { site: 'elsewhere' });
const log = { info: () => {}, warn: () => {}, error: () => {} };
const DAY = 86_400_000;
const RELEASE = '/releases/arch/2026.11.01';

async function newTree(name: string, by = keys, url?: string): Promise<string> {
  const tree = await sampleTree(join(folder, name), by);
  await writeFile(join(tree, ROOTFS), Buffer.alloc(300_000, name));
  await sealFixture(tree, by, url === undefined ? {} : { url });
  return tree;
}

const tree = await newTree('tree');
const older = await sampleTree(join(folder, 'older'), keys);
await writeFile(join(older, 'arch/version'), '2026.10.01\n');
await sealFixture(older, keys);
const foreign = await newTree('foreign', stranger);
// A server that verifies nothing: what stands in `now` is what it sends.
let now = tree;
const plain = await staticServer((path) => inTree(now)(path));

/** Each artifact with its role and what was found: `verified`, or the codes that were not. */
function everything({ rows }: BootVerdict): [string, string, string][] {
  return rows.map(({ artifact, role, findings, note }) => {
    const bad = findings.flatMap((finding) => (finding.verified ? [] : [finding.refusal.code]));
    return [artifact, role, findings.length === 0 ? (note ?? '') : bad.join(' ') || 'verified'];
  });
}

function rootChecks({ rows }: BootVerdict): string[] {
  return rows
    .filter(({ role }) => role === 'rootfs')
    .flatMap(({ findings }) => findings.map(({ check }) => check));
}

const VERIFIED = [
  ['boot.ipxe', 'script', 'verified'],
  ['vmlinuz-linux', 'kernel', 'verified'],
  ['initramfs-linux.img', 'initrd', 'verified'],
  ['arch/x86_64/airootfs.sfs', 'rootfs', 'verified'],
];

describe('a machine with a loader that verifies', () => {
  const request: ServeOptions = {
    tree,
    anchors: keys,
    clock: () => NOW,
    httpPort: 0,
    tftpPort: 0,
    nbdPort: 0,
    log,
  };

  it('boots over HTTP, everything verified, on a BIOS and on UEFI', async (t) => {
    const server = await serve(request);
    t.after(() => server.close(0));
    for (const platform of ['pcbios', 'efi'] as const) {
      const verdict = await boot({ url: `${server.url}/boot.ipxe`, anchors: keys, now: NOW, platform });
      assert.deepEqual(everything(verdict), VERIFIED);
      assert.deepEqual(rootChecks(verdict), ['manifest', 'checksum', 'openpgp', 'cms']);
      assert.deepEqual([verdict.verified, verdict.refusal, verdict.loader], [true, undefined, 'verifying']);
      assert.match(
        verdict.cmdline ?? '',
        /checksum=y verify=y cms_verify=y .* bootseal\.manifest=[0-9a-f]{64}$/,
      );
    }
  });

  it('boots with its scripts from TFTP and the rest from HTTP, everything verified', async (t) => {
    // Sealed for one literal address, which sends machines on to the server's own.
    const front = await staticServer(() => '');
    const literal = await newTree('literal', keys, front.url);
    const server = await serve({ ...request, tree: literal });
    t.after(() => server.close(0));
    front.instead = (path, res) => {
      res.writeHead(302, { location: `${server.url}${path}` }).end();
      return true;
    };
    const fetched: string[] = [];
    const onEvent = (event: BootEvent): void => {
      if (event.kind === 'fetch') fetched.push(event.url);
    };
    const url = `tftp://127.0.0.1:${server.tftp?.port}/boot.ipxe`;
    const verdict = await boot({ url, anchors: keys, now: NOW, onEvent });
    assert.deepEqual(everything(verdict), VERIFIED);
    assert.equal(verdict.verified, true);
    const overTftp = fetched.filter((each) => each.startsWith('tftp:')).map((each) => new URL(each).pathname);
    assert.match(
      overTftp.join(' '),
      /^\/anchors\/[0-9a-f]{16}\/boot\.ipxe \/anchors\/[0-9a-f]{16}\/boot\.ipxe\.sig$/,
    );
  });

  it('boots from any web server that holds the tree', async () => {
    now = tree;
    const verdict = await boot({ url: `${plain.url}/boot.ipxe`, anchors: keys, now: NOW });
    assert.deepEqual(everything(verdict), VERIFIED);
    assert.equal(verdict.verified, true);
  });
});

const flip =
  (path: string, at = -1) =>
  async (copy: string): Promise<void> => {
    const bytes = await readFile(join(copy, path));
    const index = at < 0 ? bytes.length + at : at;
    bytes[index] = (bytes[index] ?? 0) ^ 1;
    await writeFile(join(copy, path), bytes);
  };
const edit =
  (path: string, from: string, to: string) =>
  async (copy: string): Promise<void> => {
    const text = await readFile(join(copy, path), 'latin1');
    assert.ok(text.includes(from));
    await writeFile(join(copy, path), text.replace(from, to), 'latin1');
  };
const remove = (path: string) => (copy: string) => rm(join(copy, path));
const take = (path: string, from: string) => async (copy: string) => {
  for (const suffix of ['', '.ipxe.sig', '.cms.sig', '.sig'])
    await cp(join(from, path + suffix), join(copy, path + suffix), { force: true }).catch(() => {});
};

/** What an attacker does to the tree, where it must end, the refusal, and words of it that a person needs. */
type Attack = readonly [
  what: string,
  tamper: (copy: string) => Promise<unknown>,
  stage: 'script' | 'kernel' | 'initrd' | 'rootfs',
  code: string,
  says: RegExp,
];

const BAD = 'bad-signature';
const ATTACKS: readonly Attack[] = [
  [
    'a word of the boot script',
    edit('boot.ipxe', 'verify=y', 'verify=n'),
    'script',
    BAD,
    /does not match: the file or its seal was changed/,
  ],
  ['the boot script’s seal', flip('boot.ipxe.sig'), 'script', BAD, /does not match/],
  [
    'a boot script without its seal',
    remove('boot.ipxe.sig'),
    'script',
    'absent',
    /boot\.ipxe\.sig does not exist/,
  ],
  ['another site’s script', take('boot.ipxe', foreign), 'script', 'untrusted-signer', /boot\.elsewhere/],
  ['one bit of the kernel', flip(KERNEL, 100_000), 'kernel', BAD, /does not match/],
  ['the kernel’s seal', flip(`${KERNEL}.ipxe.sig`), 'kernel', BAD, /does not match/],
  [
    'a kernel without its seal',
    remove(`${KERNEL}.ipxe.sig`),
    'kernel',
    'absent',
    /vmlinuz-linux\.ipxe\.sig does not exist/,
  ],
  ['no kernel', remove(KERNEL), 'kernel', 'absent', /vmlinuz-linux does not exist/],
  [
    'an older release’s kernel with its own good seal',
    take(KERNEL, older),
    'kernel',
    'untrusted-signer',
    /arch\/2026\.10\.01.*arch\/2026\.11\.01/,
  ],
  [
    'another site’s kernel with its own good seal',
    take(KERNEL, foreign),
    'kernel',
    'untrusted-signer',
    /no trusted anchor/,
  ],
  ['one bit of the initramfs', flip(INITRD, 50), 'initrd', BAD, /does not match/],
  ['an older release’s initramfs', take(INITRD, older), 'initrd', 'untrusted-signer', /2026\.10\.01/],
  [
    'one bit of the root image',
    flip(ROOTFS, 150_000),
    'rootfs',
    BAD,
    /airootfs\.sfs is not the file that the manifest lists/,
  ],
  [
    'a cut root image',
    (copy) => truncate(join(copy, ROOTFS), 299_999),
    'rootfs',
    BAD,
    /airootfs\.sfs has 299999 bytes, and the manifest says 300000/,
  ],
  [
    'the root image’s CMS seal',
    flip(`${ROOTFS}.cms.sig`),
    'rootfs',
    BAD,
    /airootfs\.sfs\.cms\.sig does not match/,
  ],
  ['the root image’s OpenPGP seal', flip(`${ROOTFS}.sig`), 'rootfs', BAD, /airootfs\.sfs\.sig/],
  ['the checksum', flip('arch/x86_64/airootfs.sha512', 0), 'rootfs', BAD, /sha512/],
  [
    'a root image without its OpenPGP seal',
    remove(`${ROOTFS}.sig`),
    'rootfs',
    'absent',
    /airootfs\.sfs\.sig does not exist/,
  ],
  ['no root image', remove(ROOTFS), 'rootfs', 'absent', /no root image/],
];

const STAGES = ['script', 'kernel', 'initrd', 'rootfs'];

describe('a machine with a loader that verifies refuses', () => {
  for (const [index, [what, tamper, stage, code, says]] of ATTACKS.entries()) {
    it(`${what}, at the ${stage}`, async () => {
      now = join(folder, `attack-${index}`);
      await cp(tree, now, { recursive: true });
      await tamper(now);
      const shown: string[] = [];
      const url = `${plain.url}/boot.ipxe`;
      plain.asked.length = 0;
      const verdict = await boot({
        url,
        anchors: keys,
        now: NOW,
        onEvent: (event) => event.kind === 'console' && shown.push(event.text),
      });
      assert.equal(verdict.verified, false);
      assert.equal(verdict.refusal?.code, code);
      assert.match(verdict.refusal?.message ?? '', says);
      // Whatever stands before that stage held; nothing of a later stage was touched.
      const asked = (path: string) => plain.asked.some((each) => each === `${RELEASE}/${path}`);
      assert.equal(asked(KERNEL), STAGES.indexOf(stage) >= 1);
      assert.equal(asked(INITRD), STAGES.indexOf(stage) >= 2);
      assert.equal(asked(ROOTFS), stage === 'rootfs');
      for (const [, role, found] of everything(verdict)) {
        if (STAGES.indexOf(role) < STAGES.indexOf(stage)) assert.equal(found, 'verified', role);
      }
      assert.match(shown.join(''), stage === 'rootfs' ? /ERROR: / : /REFUSED/);
      assert.equal(verdict.ipxe.outcome.kind === 'boot', stage === 'rootfs');
    });
  }

  it('everything after the certificates’ end, and says that the clock may be wrong', async () => {
    now = tree;
    const verdict = await boot({ url: `${plain.url}/boot.ipxe`, anchors: keys, now: NOW + 11 * 365 * DAY });
    assert.deepEqual([verdict.verified, verdict.refusal?.code], [false, 'expired']);
    assert.match(verdict.ipxe.console, /Expired \(or not yet valid\)/);
  });

  it('a kernel that stands where the initramfs was, in early userspace: the loader knows no roles', async () => {
    now = join(folder, 'swapped');
    await cp(tree, now, { recursive: true });
    for (const suffix of ['', '.ipxe.sig']) await cp(join(now, KERNEL + suffix), join(now, INITRD + suffix));
    const verdict = await boot({ url: `${plain.url}/boot.ipxe`, anchors: keys, now: NOW });
    assert.deepEqual([verdict.verified, verdict.refusal?.code], [false, 'malformed']);
    assert.match(verdict.refusal?.message ?? '', /initramfs-linux\.img.*neither a cpio archive/);
  });

  it('another site’s loader', async () => {
    now = tree;
    const verdict = await boot({ url: `${plain.url}/boot.ipxe`, anchors: stranger, now: NOW });
    assert.deepEqual([verdict.verified, verdict.refusal?.code], [false, 'untrusted-signer']);
  });

  it('a site whose initramfs holds no keys, though the loader holds them all', async () => {
    const bare = join(folder, 'bare');
    await cp(tree, bare, { recursive: true });
    const empty = encodeCpio(
      cpioEntries([{ kind: 'file', name: 'README', data: Buffer.from('no keys') }], 0),
    );
    await writeFile(join(bare, INITRD), empty);
    await sealFixture(bare, keys);
    now = bare;
    const verdict = await boot({ url: `${plain.url}/boot.ipxe`, anchors: keys, now: NOW });
    assert.deepEqual(everything(verdict).at(-1)?.slice(1), ['rootfs', 'absent absent']);
    assert.match(verdict.refusal?.message ?? '', /The initramfs holds no /);
    assert.equal(verdict.verified, false);
  });
});

describe('a stock loader', () => {
  it('is refused, in words, unless the configuration allows it, and then it is never called verified', async (t) => {
    // The script that the server renders names the port that it has.
    const request = {
      tree,
      anchors: keys,
      clock: () => NOW,
      httpPort: 0,
      tftpPort: 0,
      nbdPort: 0,
      log,
    } as const;
    const strict = await serve(request);
    t.after(() => strict.close(0));
    const refused = await boot({ url: `${strict.url}/autoexec.ipxe`, now: NOW });
    assert.deepEqual([refused.loader, refused.verified, refused.cmdline], ['stock', false, undefined]);
    assert.notEqual(refused.refusal, undefined);
    assert.match(refused.ipxe.console, /UNVERIFIED LOADER: this iPXE has no imgverify/);
    assert.match(refused.ipxe.console, /This site does not allow unverified loaders/);
    const sealed = await boot({ url: `${strict.url}/boot.ipxe`, now: NOW });
    assert.equal(sealed.verified, false);
    assert.notEqual(sealed.refusal, undefined);

    const configuration = { ...DEFAULT_CONFIGURATION, allow_unverified_loaders: true };
    const loose = await serve({ ...request, configuration });
    t.after(() => loose.close(0));
    const let_in = await boot({ url: `${loose.url}/autoexec.ipxe`, now: NOW });
    assert.deepEqual([let_in.refusal, let_in.verified, let_in.loader], [undefined, false, 'stock']);
    assert.match(let_in.ipxe.console, /Kernel and initrds of arch\/2026\.11\.01 start UNVERIFIED/);
    const notes = everything(let_in).filter(([, role]) => role !== 'rootfs');
    assert.deepEqual(new Set(notes.map(([, , note]) => note)), new Set(['not caught by this loader']));
    // A loader that verifies does so there, too.
    const strictMachine = await boot({ url: `${loose.url}/boot.ipxe`, anchors: keys, now: NOW });
    assert.equal(strictMachine.verified, true);
  });
});

describe('a root image of 512 MiB', () => {
  it('is verified while it arrives, in less than 150 MiB of memory', async () => {
    const large = await sampleTree(join(folder, 'large'), keys);
    // Sparse: nothing to store.
    await truncate(join(large, ROOTFS), 512 * 1024 ** 2);
    await sealFixture(large, keys);
    now = large;
    const child = fork(new URL('./boot-child.js', import.meta.url), [
      `${plain.url}/boot.ipxe`,
      keys,
      String(NOW),
    ]);
    const [said] = (await once(child, 'message')) as [{ verified: boolean; refusal?: string; peak: number }];
    child.disconnect();
    assert.deepEqual([said.verified, said.refusal], [true, undefined]);
    assert.ok(said.peak < 150 * 1024, `${Math.round(said.peak / 1024)} MiB`);
  });
});
