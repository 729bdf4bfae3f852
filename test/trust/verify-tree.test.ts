import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync } from 'node:fs';
import { copyFile, mkdir, readFile, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { RefusalCode } from '../../src/errors/refusal.ts';
import { readAnchorFolder } from '../../src/trust/anchor-folder.ts';
import { NO_KEYRINGS } from '../../src/trust/anchors.ts';
import type { Column } from '../../src/trust/tree-row.ts';
import type { Verdict } from '../../src/trust/verifier.ts';
import { Verified } from '../../src/trust/verify.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { judgeFolder } from '../fixtures/judge.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { INITRD, KERNEL, ROOTFS, sealFixture } from '../fixtures/release.ts';
import { sealNames, sumsNames } from '../signing/judges.ts';
import { ARTIFACTS, MICROCODE, smallTree } from '../signing/trees.ts';

const DAY = 86_400_000;
const CHECKSUMS = ROOTFS.replace('.sfs', '.sha512');
const MANIFEST = 'release.manifest';
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const otherKeys = await makeKeys(join(folder, 'other-keys'));
const anchors = await readAnchorFolder(keys);

const good = await smallTree(join(folder, 'good'));
await sealFixture(good, keys);
/** Another release with other content. */
const next = await smallTree(join(folder, 'next'), 'two', '2026.11.02');
await sealFixture(next, keys);
/** Another release with the same kernel, as often happens. */
const twin = await smallTree(join(folder, 'twin'), 'one', '2026.11.02');
await sealFixture(twin, keys);
/** The same release by another site of the same name. */
const foreign = await smallTree(join(folder, 'foreign'));
await sealFixture(foreign, otherKeys);

function judge(tree: string, now = NOW, by = anchors): Promise<Verdict> {
  return judgeFolder(tree, by, now);
}

/** `path column: code` of every cell that is refused. */
function refusals({ rows }: Verdict): string[] {
  return rows.flatMap(({ path, cells }) =>
    Object.entries(cells).flatMap(([column, finding]) =>
      finding.verified ? [] : [`${path} ${column}: ${finding.refusal.code}`],
    ),
  );
}

const SUMS = sumsNames(ARTIFACTS);
const COLUMNS: Record<string, Column[]> = {
  [MANIFEST]: ['cms', 'openpgp'],
  'boot.ipxe': ['ipxe'],
  'grub.cfg': ['openpgp'],
  [KERNEL]: ['ipxe', 'cms', 'openpgp', 'manifest'],
  [MICROCODE]: ['ipxe', 'cms', 'openpgp', 'manifest'],
  [INITRD]: ['ipxe', 'cms', 'openpgp', 'manifest'],
  [ROOTFS]: ['ipxe', 'cms', 'openpgp', 'manifest', 'checksum', 'verity'],
  ...Object.fromEntries(SUMS.map((path) => [path, ['openpgp', 'manifest']])),
};

/** Which cell a seal speaks for. */
function cellOf(seal: string): { path: string; column: Column } {
  if (seal === CHECKSUMS) return { path: ROOTFS, column: 'checksum' };
  if (seal === 'boot.ipxe.sig') return { path: 'boot.ipxe', column: 'ipxe' };
  const [, path = '', dialect] = /^(.*?)(\.ipxe|\.cms)?\.(?:sig|gpg)$/.exec(seal) ?? [];
  return { path, column: dialect === '.ipxe' ? 'ipxe' : dialect === '.cms' ? 'cms' : 'openpgp' };
}
const every = (path: string, code: RefusalCode) =>
  (COLUMNS[path] ?? []).map((column) => `${path} ${column}: ${code}`);

describe('a good tree', () => {
  it('is verified in every client’s column, by the signer that is named', async () => {
    const verdict = await judge(good);
    assert.equal(verdict.refusal, undefined);
    assert.equal(verdict.manifest?.release, 'arch/2026.11.01');
    assert.deepEqual(
      Object.fromEntries(verdict.rows.map(({ path, cells }) => [path, Object.keys(cells)])),
      COLUMNS,
    );
    const purposeOf = (path: string) =>
      path === MANIFEST || SUMS.includes(path) ? 'manifest' : path === 'grub.cfg' ? 'script' : 'payload';
    for (const { path, cells, verified, place } of verdict.rows) {
      assert.ok(verified instanceof Verified, path);
      assert.equal(place !== undefined, ARTIFACTS.includes(path), path);
      const release = path === 'boot.ipxe' ? 'boot.lab' : 'arch/2026.11.01';
      const signers = {
        ipxe: release,
        cms: path === MANIFEST ? 'manifest.lab' : 'codesign.lab',
        openpgp: anchors.openpgp[purposeOf(path)][0]?.primary.fingerprint,
        manifest: 'manifest.lab',
        checksum: '',
        verity: 'manifest.lab',
        uefi: undefined,
      };
      for (const [column, finding] of Object.entries(cells)) {
        assert.ok(finding.verified);
        assert.equal(finding.evidence.signer, signers[column as Column], `${path} ${column}`);
        assert.equal(finding.evidence.signed, column !== 'checksum');
      }
    }
  });

  it('gives back every seal and record, byte for byte', async () => {
    const { records } = await judge(good);
    const names = [...sealNames(ARTIFACTS), 'boot.ipxe', 'grub.cfg', MANIFEST, ...SUMS].sort();
    assert.deepEqual([...records.keys()].sort(), names);
    for (const [name, bytes] of records) assert.ok((await readFile(join(good, name))).equals(bytes), name);
  });

  it('names size and digests of what it verified, as sha256sum finds them', async () => {
    const { rows } = await judge(good);
    for (const { path, verified } of rows) {
      const bytes = await readFile(join(good, path));
      assert.equal(verified?.size, bytes.length);
      const line = execFileSync('sha256sum', [join(good, path)], { encoding: 'utf8' });
      assert.equal(verified?.sha256, line.split(' ')[0]);
    }
  });

  it('tells how far it is', async () => {
    const seen: string[] = [];
    const onProgress = (path: string, octets: number, size: number) => seen.push(`${path} ${octets}/${size}`);
    await judgeFolder(good, anchors, NOW, onProgress);
    for (const path of ARTIFACTS) {
      const { length } = await readFile(join(good, path));
      assert.equal(seen.filter((line) => line === `${path} ${length}/${length}`).length, 1);
    }
  });

  it('without keys for a column leaves that column out, and still binds the rest', async () => {
    const verdict = await judge(good, NOW, { ...anchors, codesign: [], manifest: [], openpgp: NO_KEYRINGS });
    assert.equal(verdict.refusal, undefined);
    assert.deepEqual(Object.fromEntries(verdict.rows.map(({ path, cells }) => [path, Object.keys(cells)])), {
      [MANIFEST]: ['manifest'],
      'boot.ipxe': ['ipxe'],
      [KERNEL]: ['ipxe', 'manifest'],
      [MICROCODE]: ['ipxe', 'manifest'],
      [INITRD]: ['ipxe', 'manifest'],
      [ROOTFS]: ['ipxe', 'manifest', 'checksum', 'verity'],
      ...Object.fromEntries(SUMS.map((path) => [path, ['manifest']])),
    });
  });
});

interface Tamper {
  readonly name: string;
  readonly act: (tree: string) => Promise<unknown>;
  readonly refused: readonly string[];
  readonly now?: number;
}

async function flip(path: string, at: number): Promise<void> {
  const bytes = await readFile(path);
  const index = at < 0 ? bytes.length + at : at;
  bytes[index] = (bytes[index] ?? 0) ^ 1;
  await writeFile(path, bytes);
}
const from =
  (source: string, name: string, to = name) =>
  (tree: string) =>
    copyFile(join(source, name), join(tree, to));
const one = (seal: string, code: RefusalCode) => {
  const { path, column } = cellOf(seal);
  return [`${path} ${column}: ${code}`];
};
const SEALS = sealNames(ARTIFACTS);
const unbound = ['boot.ipxe manifest: mixed-releases', 'grub.cfg manifest: mixed-releases'];
const seals = (act: (seal: string) => Tamper) => SEALS.map(act);
/** A manifest that is not verified is not read: nothing is said of the payload, nor of what the scripts name. */
const spoilt = one;

const TAMPERS: readonly Tamper[] = [
  ...ARTIFACTS.flatMap((path) =>
    [0, -1].map((at) => ({
      name: `byte ${at} of ${path} changed`,
      act: (tree: string) => flip(join(tree, path), at),
      refused: every(path, 'bad-signature'),
    })),
  ),
  ...ARTIFACTS.map((path) => ({
    name: `${path} cut short`,
    act: (tree: string) => truncate(join(tree, path), 5),
    refused: every(path, 'bad-signature'),
  })),
  ...ARTIFACTS.map((path) => ({
    name: `${path} deleted`,
    act: (tree: string) => rm(join(tree, path)),
    refused: every(path, 'absent'),
  })),
  ...seals((seal) => ({
    name: `the last byte of ${seal} changed`,
    // A checksum file ends with a line feed, and before it stands the name: that is a line for no file.
    act: (tree) => flip(join(tree, seal), seal === CHECKSUMS ? -2 : -1),
    refused: spoilt(seal, seal === CHECKSUMS ? 'absent' : 'bad-signature'),
  })),
  ...seals((seal) => ({
    name: `the first byte of ${seal} changed`,
    act: (tree) => flip(join(tree, seal), 0),
    refused: spoilt(seal, seal === CHECKSUMS ? 'bad-signature' : 'malformed'),
  })),
  ...seals((seal) => ({
    name: `${seal} deleted`,
    act: (tree) => rm(join(tree, seal)),
    refused: spoilt(seal, 'absent'),
  })),
  ...seals((seal) => ({
    name: `${seal} emptied`,
    act: (tree) => truncate(join(tree, seal), 0),
    refused: spoilt(seal, 'malformed'),
  })),
  ...seals((seal) => ({
    name: `${seal} a folder`,
    act: async (tree) => {
      await rm(join(tree, seal));
      await mkdir(join(tree, seal));
    },
    refused: spoilt(seal, 'unsafe-path'),
  })),
  ...seals((seal) => ({
    name: `${seal} longer than any seal`,
    act: (tree) => truncate(join(tree, seal), 2 ** 20 + 1),
    refused: spoilt(seal, 'too-large'),
  })),
  ...seals((seal) => ({
    name: `${seal} of another release's other content`,
    act: from(next, seal),
    // What the leaf of a release signed is for that release; iPXE is told its name.
    refused: spoilt(seal, /(?<!boot)\.ipxe\.sig$/.test(seal) ? 'untrusted-signer' : 'bad-signature'),
  })),
  ...seals((seal) => {
    return {
      name: `${seal} by another site's keys`,
      act: from(foreign, seal),
      refused: seal === CHECKSUMS ? [] : spoilt(seal, 'untrusted-signer'),
    };
  }),
  ...ARTIFACTS.map((path) => ({
    name: `${path}.ipxe.sig of another release with the same content`,
    act: from(twin, `${path}.ipxe.sig`),
    refused: one(`${path}.ipxe.sig`, 'untrusted-signer'),
  })),
  ...['.ipxe.sig', '.cms.sig', '.sig'].map((suffix) => ({
    name: `the ${suffix} of kernel and initramfs exchanged`,
    act: async (tree: string) => {
      await rename(join(tree, KERNEL + suffix), join(tree, 'x'));
      await rename(join(tree, INITRD + suffix), join(tree, KERNEL + suffix));
      await rename(join(tree, 'x'), join(tree, INITRD + suffix));
    },
    refused: [...one(KERNEL + suffix, 'bad-signature'), ...one(INITRD + suffix, 'bad-signature')],
  })),
  {
    name: 'kernel and initramfs exchanged, seals and all',
    act: async (tree) => {
      for (const suffix of ['', '.ipxe.sig', '.cms.sig', '.sig']) {
        await rename(join(tree, KERNEL + suffix), join(tree, 'x'));
        await rename(join(tree, INITRD + suffix), join(tree, KERNEL + suffix));
        await rename(join(tree, 'x'), join(tree, INITRD + suffix));
      }
    },
    // They differ in length, which is signed: neither is read.
    refused: [...every(KERNEL, 'bad-signature'), ...every(INITRD, 'bad-signature')],
  },
  {
    name: 'the kernel of another release, seals and all',
    act: async (tree) => {
      for (const suffix of ['', '.ipxe.sig', '.cms.sig', '.sig']) await from(next, KERNEL + suffix)(tree);
    },
    refused: [`${KERNEL} ipxe: untrusted-signer`, `${KERNEL} manifest: bad-signature`],
  },
  {
    name: 'a CMS seal for early userspace in the place of the one for iPXE',
    act: (tree) => copyFile(join(tree, `${KERNEL}.cms.sig`), join(tree, `${KERNEL}.ipxe.sig`)),
    refused: one(`${KERNEL}.ipxe.sig`, 'untrusted-signer'),
  },
  {
    name: 'a seal that is a link',
    act: async (tree) => {
      await rename(join(tree, `${KERNEL}.sig`), join(tree, 'seal'));
      await symlink(join(tree, 'seal'), join(tree, `${KERNEL}.sig`));
    },
    refused: one(`${KERNEL}.sig`, 'unsafe-path'),
  },
  {
    name: 'a kernel that is a link',
    act: async (tree) => {
      await rename(join(tree, KERNEL), join(tree, 'kernel'));
      await symlink(join(tree, 'kernel'), join(tree, KERNEL));
    },
    refused: every(KERNEL, 'unsafe-path'),
  },
  {
    name: 'a kernel that is a FIFO',
    act: async (tree) => {
      await rm(join(tree, KERNEL));
      execFileSync('mkfifo', [join(tree, KERNEL)]);
    },
    refused: every(KERNEL, 'unsafe-path'),
  },
  ...['boot.ipxe', 'grub.cfg'].flatMap((script) => [
    {
      name: `a byte of ${script} changed`,
      act: (tree: string) => flip(join(tree, script), 40),
      refused: every(script, 'bad-signature'),
    },
    {
      name: `${script} deleted`,
      act: (tree: string) => rm(join(tree, script)),
      refused: every(script, 'absent'),
    },
    {
      name: `${script} of another release, seal and all`,
      act: async (tree: string) => {
        await from(next, script)(tree);
        await from(next, `${script}.sig`)(tree);
      },
      refused: [`${script} manifest: mixed-releases`],
    },
  ]),
  ...SUMS.flatMap((sums) => [
    {
      name: `a byte of ${sums} changed`,
      act: (tree: string) => flip(join(tree, sums), 3),
      refused: [`${sums} openpgp: bad-signature`, `${sums} manifest: mixed-releases`],
    },
    {
      name: `${sums} deleted`,
      act: (tree: string) => rm(join(tree, sums)),
      refused: every(sums, 'absent'),
    },
    {
      name: `${sums} of another release, signature and all`,
      act: async (tree: string) => {
        await from(next, sums)(tree);
        await from(next, `${sums}.gpg`)(tree);
      },
      refused: [`${sums} manifest: mixed-releases`],
    },
  ]),
  {
    name: 'a byte of the manifest changed',
    act: (tree) => flip(join(tree, MANIFEST), 40),
    refused: every(MANIFEST, 'bad-signature'),
  },
  {
    name: 'the manifest deleted',
    act: (tree) => rm(join(tree, MANIFEST)),
    refused: every(MANIFEST, 'absent'),
  },
  {
    name: 'the manifest of another release, seals and all',
    act: async (tree) => {
      for (const suffix of ['', '.cms.sig', '.sig']) await from(twin, MANIFEST + suffix)(tree);
    },
    // The sums of a folder are those of its payload, whatever the manifest; the ones at the top name it.
    refused: [
      ...unbound,
      'SHA256SUMS manifest: mixed-releases',
      ...ARTIFACTS.map((path) => `${path} ipxe: untrusted-signer`),
    ],
  },
  {
    name: 'nothing but time: best-before has passed',
    act: async () => {},
    now: NOW + 90 * DAY + 1,
    refused: [`${MANIFEST} manifest: stale`],
  },
];

describe('a tree is refused with', () => {
  for (const [index, { name, act, refused, now }] of TAMPERS.entries()) {
    // A checksum has no key: another site's, over the same content, is the same line.
    it(refused.length > 0 ? name : `nothing against it: ${name}`, async () => {
      const tree = join(folder, `tampered-${index}`);
      cpSync(good, tree, { recursive: true });
      await act(tree);
      const verdict = await judge(tree, now);
      assert.deepEqual(refusals(verdict).sort(), refused.toSorted());
      assert.equal(verdict.refusal === undefined, refused.length === 0);
      const spoiltRows = new Set(
        refused.map((cell) => cell.slice(0, cell.lastIndexOf(' '))).map((cell) => cell.split(' ')[0]),
      );
      for (const row of verdict.rows)
        assert.equal(row.verified === undefined, spoiltRows.has(row.path), row.path);
      await rm(tree, { recursive: true });
    });
  }

  it('any byte of any seal changed', async () => {
    const tree = join(folder, 'flipped');
    cpSync(good, tree, { recursive: true });
    // A small root image, since it is read again for each byte.
    for (const seal of [`${KERNEL}.ipxe.sig`, `${KERNEL}.cms.sig`, `${KERNEL}.sig`, CHECKSUMS]) {
      const { path, column } = cellOf(seal);
      const bytes = await readFile(join(good, seal));
      for (let at = 0; at < bytes.length; at += seal === `${KERNEL}.sig` ? 4 : 53) {
        await flip(join(tree, seal), at);
        const verdict = await judge(tree);
        const found = refusals(verdict);
        assert.equal(found.length, 1, `${seal}, byte ${at}: ${found}`);
        assert.ok(found[0]?.startsWith(`${path} ${column}: `));
        await copyFile(join(good, seal), join(tree, seal));
      }
    }
  });

  it('nobody’s seals at all', async () => {
    const verdict = await judge(await smallTree(join(folder, 'unsealed')));
    assert.equal(verdict.refusal?.code, 'absent');
    assert.equal(verdict.manifest, undefined);
    assert.ok(verdict.rows.every(({ verified }) => verified === undefined));
  });

  it('an empty folder, or none', async () => {
    await mkdir(join(folder, 'empty'));
    for (const name of ['empty', 'none']) {
      assert.equal((await judge(join(folder, name))).refusal?.code, 'absent');
    }
  });

  it('its leaf’s time: 12.5 hours after it for iPXE, at once for the others', async () => {
    const end = NOW + 730 * DAY;
    const codes = refusals(await judge(good, end + 12 * 3_600_000));
    assert.ok(codes.includes(`${MANIFEST} cms: expired`));
    assert.ok(!codes.some((code) => code.startsWith('boot.ipxe ipxe')));
    assert.ok(refusals(await judge(good, end + 13 * 3_600_000)).includes('boot.ipxe ipxe: expired'));
  });
});
