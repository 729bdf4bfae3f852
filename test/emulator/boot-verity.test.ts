import assert from 'node:assert/strict';
import { cp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { BootVerdict } from '../../src/emulator/boot.ts';
import type { BootEvent } from '../../src/emulator/machine-verdict.ts';
import { parseRange, resolveRange } from '../../src/formats/net/range.ts';
import { boot } from '../../src/operations/boot.ts';
import { DEFAULT_CONFIGURATION } from '../../src/server/configuration.ts';
import { serve } from '../../src/server/serve.ts';
import { run } from '../cli/command.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { ROOTFS, sampleTree, sealFixture } from '../fixtures/release.ts';
import { makeSquashfs, noise, SMALL_ROOT } from '../fixtures/squashfs.ts';
import { inTree, staticServer } from '../fixtures/static.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const log = { info: () => {}, warn: () => {}, error: () => {} };
const TREE = `${ROOTFS}.verity`;
const HASH = `${ROOTFS}.roothash`;

/** A root of about 20 MB, with enough beside what is read to be worth not reading it. */
const tree = await sampleTree(join(folder, 'tree'), keys);
const content = {
  ...SMALL_ROOT,
  ...Object.fromEntries(
    Array.from({ length: 40 }, (_, n) => [`usr/lib/lib${n}.so`, noise(500_000, `library ${n}`)]),
  ),
  ...Object.fromEntries(
    Array.from({ length: 2000 }, (_, n) => [`usr/share/doc/page-${n}`, Buffer.from(`page ${n}`)]),
  ),
};
await cp(await makeSquashfs(join(folder, 'image'), content), join(tree, ROOTFS));
await sealFixture(tree, keys);
const { size } = await stat(join(tree, ROOTFS));
const older = await sampleTree(join(folder, 'older'), keys);
await writeFile(join(older, 'arch/version'), '2026.10.01\n');
await cp(
  await makeSquashfs(join(folder, 'other'), { ...content, 'etc/issue': Buffer.from('other\n') }),
  join(older, ROOTFS),
);
await sealFixture(older, keys);

/** Any web server that sends parts of files, and verifies nothing. */
let now = tree;
let ranges = true;
const plain = await staticServer((path) => inTree(now)(path));
plain.instead = (path, res) => {
  const field = res.req.headers.range;
  if (field === undefined || !ranges) return false;
  void readFile(inTree(now)(path)).then(
    (bytes) => {
      const found = resolveRange(parseRange(field) ?? [], bytes.length);
      if (found.kind !== 'one') return res.writeHead(416).end();
      const { first, last } = found.range;
      res.writeHead(206, { 'content-range': `bytes ${first}-${last}/${bytes.length}` });
      return res.end(bytes.subarray(first, last + 1));
    },
    () => res.writeHead(404).end(),
  );
  return true;
};

function found({ rows }: BootVerdict): [string, string][] {
  return rows.flatMap(({ role, findings }) =>
    findings.map((finding): [string, string] => [
      `${role} ${finding.check}`,
      finding.verified ? 'verified' : finding.refusal.code,
    ]),
  );
}

const VERIFIED = [
  ['script cms', 'verified'],
  ['kernel cms', 'verified'],
  ['initrd cms', 'verified'],
  ['rootfs manifest', 'verified'],
  ['rootfs cms', 'verified'],
  ['rootfs verity', 'verified'],
];

describe('a machine in mode verity', () => {
  it('boots from the server with everything verified, and needs a quarter of the image at most', async (t) => {
    const server = await serve({
      tree,
      anchors: keys,
      clock: () => NOW,
      httpPort: 0,
      tftpPort: 0,
      nbdPort: 0,
      log,
    });
    t.after(() => server.close(0));
    const whole: string[] = [];
    const onEvent = (event: BootEvent): void => {
      if (event.stage === 'early' && event.kind === 'fetch' && !event.range) whole.push(event.url);
    };
    const verdict = await boot({
      url: `${server.url}/boot.ipxe`,
      anchors: keys,
      now: NOW,
      mode: 'verity',
      onEvent,
    });
    assert.deepEqual(found(verdict), VERIFIED);
    assert.deepEqual([verdict.refusal, verdict.verified, verdict.bound], [undefined, true, true]);
    const { verity } = verdict;
    assert.ok(verity && size > 19_000_000);
    assert.equal(verity.image.size, size);
    assert.ok(verity.image.fetched + verity.tree.fetched < size / 4, `${verity.image.fetched} of ${size}`);
    assert.deepEqual(verity.root, { fileSystem: 'squashfs', compressor: 'zstd', name: 'Arch Linux' });
    assert.equal(verity.rootHash, await readFile(join(tree, HASH), 'latin1'));
    // Neither image nor tree, nor a seal of the image as a whole, was fetched.
    assert.deepEqual(
      whole.map((url) => url.replace(/.*2026\.11\.01\//, '')),
      ['release.manifest', 'release.manifest.cms.sig', 'release.manifest.sig', HASH, `${HASH}.cms.sig`],
    );
    const ram = await boot({ url: `${server.url}/boot.ipxe`, anchors: keys, now: NOW });
    assert.deepEqual([ram.mode, ram.verity, ram.verified], ['ram', undefined, true]);

    // The command line says the same to people and to programs.
    const at = new Date(NOW).toISOString().replace('.000', '');
    const words = ['boot', `${server.url}/boot.ipxe`, '--anchors', keys, '--mode', 'verity', '--at', at];
    const people = await run(words);
    assert.equal(people.code, 0, people.err);
    assert.match(people.out, /^artifact +role +loader \(iPXE CMS\) +manifest +root hash CMS +blocks read$/m);
    assert.match(
      people.out,
      new RegExp(`^Mode verity: root hash ${verity.rootHash}, sealed by .*lab.*\\.$`, 'm'),
    );
    assert.match(
      people.out,
      /^Read \d+(\.\d)? [kM]B of 2\d MB in \d+ requests: .* of arch\/x86_64\/airootfs\.sfs, /m,
    );
    assert.match(people.out, /^Root: squashfs, zstd: Arch Linux\.$/m);
    assert.match(
      people.out,
      /^VERIFIED: .* and every block that was read of the root image, as one release\.$/m,
    );
    assert.match(people.err, /^early: fetch http:.*\.verity, bytes 0 to 4095$/m);
    const said = JSON.parse((await run([...words, '--json', '--quiet'])).out);
    assert.deepEqual(
      [said.mode, said.verified, said.verity],
      ['verity', true, JSON.parse(JSON.stringify(verity))],
    );
    assert.equal((await run([...words.slice(0, -4), '--mode', 'disk'])).code, 2);
  });

  it('boots from any web server that sends parts of files', async () => {
    now = tree;
    const verdict = await boot({ url: `${plain.url}/boot.ipxe`, anchors: keys, now: NOW, mode: 'verity' });
    assert.deepEqual(found(verdict), VERIFIED);
    assert.equal(verdict.verified, true);
  });

  const flip =
    (path: string, at: number) =>
    async (copy: string): Promise<void> => {
      const bytes = await readFile(join(copy, path));
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      await writeFile(join(copy, path), bytes);
    };
  const take = (path: string) => (copy: string) => cp(join(older, path), join(copy, path));
  type Attack = readonly [
    what: string,
    tamper: (copy: string) => Promise<unknown>,
    code: string,
    says: RegExp,
  ];
  const ATTACKS: readonly Attack[] = [
    [
      'one bit of a data block',
      flip(ROOTFS, 30),
      'bad-signature',
      /^Block 0 of arch\/x86_64\/airootfs\.sfs does not hold/,
    ],
    [
      'one bit of a hash block',
      flip(TREE, 4096 + 40),
      'bad-signature',
      /hash block 1 is not the one that was sealed/,
    ],
    ['a cut image', (copy) => truncate(join(copy, ROOTFS), size - 4096), 'bad-signature', /has \d+ bytes/],
    ['an empty image', (copy) => truncate(join(copy, ROOTFS), 0), 'unreachable', /416/],
    [
      'a root hash without its seal',
      (copy) => rm(join(copy, `${HASH}.cms.sig`)),
      'absent',
      /roothash\.cms\.sig does not exist/,
    ],
    [
      'an older release’s root hash with its own good seal',
      async (copy) => Promise.all([take(HASH)(copy), take(`${HASH}.cms.sig`)(copy)]),
      'mixed-releases',
      /roothash is not the root hash that the manifest names/,
    ],
  ];
  for (const [index, [what, tamper, code, says]] of ATTACKS.entries()) {
    it(`refuses ${what}`, async () => {
      now = join(folder, `attack-${index}`);
      await cp(tree, now, { recursive: true });
      await tamper(now);
      const verdict = await boot({ url: `${plain.url}/boot.ipxe`, anchors: keys, now: NOW, mode: 'verity' });
      assert.deepEqual([verdict.verified, verdict.refusal?.code], [false, code], verdict.refusal?.message);
      assert.match(verdict.refusal?.message ?? '', says);
      assert.ok((verdict.verity?.image.fetched ?? 0) < size / 4);
    });
  }

  it('refuses a server that sends no parts, and does not wait for the whole image', async () => {
    now = tree;
    ranges = false;
    const verdict = await boot({ url: `${plain.url}/boot.ipxe`, anchors: keys, now: NOW, mode: 'verity' });
    ranges = true;
    assert.deepEqual([verdict.verified, verdict.refusal?.code], [false, 'unreachable']);
    assert.match(verdict.refusal?.message ?? '', /knows no HTTP Range, which mode verity needs/);
    assert.equal(verdict.verity?.image.fetched, 0);
  });

  it('is not called verified where the loader is a stock one, whatever early userspace verified', async (t) => {
    const configuration = { ...DEFAULT_CONFIGURATION, allow_unverified_loaders: true };
    const loose = await serve({
      tree,
      anchors: keys,
      clock: () => NOW,
      httpPort: 0,
      tftpPort: 0,
      nbdPort: 0,
      log,
      configuration,
    });
    t.after(() => loose.close(0));
    const verdict = await boot({ url: `${loose.url}/autoexec.ipxe`, now: NOW, mode: 'verity' });
    assert.deepEqual([verdict.refusal, verdict.loader, verdict.verified], [undefined, 'stock', false]);
    assert.deepEqual(found(verdict), VERIFIED.slice(3));
  });
});
