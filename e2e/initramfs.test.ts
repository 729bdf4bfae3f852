import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { before, describe, it } from 'node:test';
import { listingInitrd, type Unpacked, type UnpackedEntry, unpackByKernel } from '../lab/unpack.ts';
import { readInitramfs } from '../src/emulator/initramfs.ts';
import type { InitramfsTree } from '../src/emulator/initramfs-tree.ts';
import { pathBytes } from '../src/formats/archive/cpio.ts';
import { randomArchives } from '../test/fixtures/odd-initramfs/random.ts';
import {
  foldersFor,
  initrdsOf,
  ODD_ARCHIVES,
  type PlacedArchive,
  placed,
} from '../test/fixtures/odd-initramfs.ts';

/**
 * The reader of initramfs images and a real kernel, asked about the same odd archives. Many go into one boot. One that
 * ends the unpacking needs a boot of its own: a few of those always, all with `npm test -- long`.
 */
const LONG = process.env.BOOTSEAL_LONG_TESTS !== undefined;
/** `BOOTSEAL_SEED` gives others. */
const SEED = Number(process.env.BOOTSEAL_SEED ?? 1);
const RANDOM = LONG ? 900 : 150;
const ALWAYS = [
  'a name without NUL',
  'a checksum that is wrong',
  'an archive two bytes behind another',
  'xz with CRC64',
  'lz4, and a plain initrd right behind it',
  'a plain archive that ends in the middle of an entry',
];

const TYPES = {
  fifo: 0o010000,
  char: 0o020000,
  directory: 0o040000,
  block: 0o060000,
  file: 0o100000,
  symlink: 0o120000,
  socket: 0o140000,
} as const;

/** What both say of one path, as a line. Sizes of folders are the file system's own. */
function line({ mode, uid, gid, size, rdev, target, sha256 }: UnpackedEntry): string {
  const type = mode & 0o170000;
  if (type === TYPES.symlink) return `symlink to ${target ?? ''}`;
  const owned = `${mode.toString(8)} ${uid}:${gid}`;
  if (type === TYPES.file) return `${owned} ${size} bytes ${sha256}`;
  return type === TYPES.char || type === TYPES.block ? `${owned} device ${rdev}` : owned;
}

function kernelLines({ tree }: Unpacked): Map<string, string> {
  assert.ok(tree);
  return new Map([...tree].map(([path, entry]) => [path, line(entry)]));
}

function readerLines(tree: InitramfsTree): Map<string, string> {
  const lines = new Map<string, string>();
  const latin1 = (path: string): string => Buffer.from(pathBytes(path)).toString('latin1');
  const visit = (path: string): void => {
    const target = tree.readlink(path);
    if (target !== undefined) {
      lines.set(latin1(path), `symlink to ${latin1(target)}`);
      return;
    }
    const stat = tree.stat(path);
    assert.ok(stat, path);
    const content = stat.kind === 'file' ? tree.read(path) : undefined;
    const sha256 = content && createHash('sha256').update(content).digest('hex');
    const rdev = `${stat.rdev.major}:${stat.rdev.minor}`;
    lines.set(
      latin1(path),
      line({ ...stat, mode: TYPES[stat.kind] | stat.mode, rdev, sha256, target: undefined }),
    );
    if (stat.kind !== 'directory') return;
    for (const name of tree.list(path)) visit(path === '' ? name : `${path}/${name}`);
  };
  visit('');
  return lines;
}

function demandSame(
  odds: readonly PlacedArchive[],
  kernel: Map<string, string>,
  reader: Map<string, string>,
): void {
  const differences = new Map<string, string[]>();
  for (const path of [...new Set([...kernel.keys(), ...reader.keys()])].sort()) {
    const [there, here] = [kernel.get(path), reader.get(path)];
    if (there === here) continue;
    const odd = odds.find(({ at }) => path === at || path.startsWith(`${at}/`) || path.endsWith(`/${at}`));
    const what = odd?.what ?? 'elsewhere';
    const said = `    ${JSON.stringify(path.slice(0, 80))}: kernel ${there ?? 'nothing'}, reader ${here ?? 'nothing'}`;
    differences.set(what, [...(differences.get(what) ?? []), said]);
  }
  const text = [...differences].map(([what, lines]) => `  ${what}\n${lines.slice(0, 12).join('\n')}`);
  assert.equal(differences.size, 0, `${differences.size} archives differ:\n${text.join('\n')}`);
}

/** With zeros behind it: lz4 has no end of its own. */
function spaced(odd: PlacedArchive): Uint8Array[] {
  const initrds = [...initrdsOf(odd)];
  const last = initrds.pop();
  return last === undefined ? [] : [...initrds, Buffer.concat([last, Buffer.alloc(4 + (-last.length & 3))])];
}

/** Asks a kernel in one boot about archives that it says nothing about, and the reader about those that both take. */
async function demandSameOfAll(odds: readonly PlacedArchive[], lister: Uint8Array): Promise<void> {
  const before = [lister, foldersFor(odds)];
  const kernel = await unpackByKernel([...before, ...odds.flatMap(spaced)], true);
  assert.equal(kernel.complaint, undefined);
  const taken = odds.filter(({ verdict }) => verdict === 'same');
  const tree = await readInitramfs([...before, ...taken.flatMap(spaced)], { keep: () => true });
  const stricter = odds.filter((odd) => !taken.includes(odd)).map(({ at }) => at);
  const lines = kernelLines(kernel);
  for (const path of lines.keys()) {
    if (path === 'TRAILER!!!' || stricter.some((at) => path.startsWith(`${at}/`))) lines.delete(path);
  }
  demandSame(taken, lines, readerLines(tree));
}

describe('a kernel and the reader', () => {
  const together = ODD_ARCHIVES.filter(({ verdict, place }) => verdict !== 'refused' && place === undefined);
  const same = together.filter(({ verdict }) => verdict === 'same').length;
  const alone = ODD_ARCHIVES.filter((odd) => !together.includes(odd) && (LONG || ALWAYS.includes(odd.what)));
  let lister: Uint8Array;
  before(async () => {
    for (const what of ALWAYS)
      assert.ok(
        ODD_ARCHIVES.some((odd) => odd.what === what),
        what,
      );
    lister = await listingInitrd();
  });

  it(`make the same of ${same} odd archives, and the kernel says nothing of ${together.length - same} more`, () =>
    demandSameOfAll(together, lister));

  it(`make the same of ${RANDOM} archives of random entries, seed ${SEED}`, () =>
    demandSameOfAll(placed('r', randomArchives(SEED, RANDOM)), lister));

  for (const odd of alone) {
    const initrds = initrdsOf(odd);
    const laid = () =>
      odd.place === 'first' ? [...initrds, lister] : [lister, foldersFor([odd]), ...initrds];
    if (odd.verdict === 'same') {
      it(`make the same of ${odd.what}`, async () => {
        const kernel = await unpackByKernel(laid(), true);
        assert.equal(kernel.complaint, undefined);
        demandSame(
          [odd],
          kernelLines(kernel),
          readerLines(await readInitramfs(laid(), { keep: () => true })),
        );
      });
      continue;
    }
    const said = odd.verdict === 'refused' ? 'says that it failed' : 'says nothing';
    it(`differ in what they say of ${odd.what}: the reader refuses, and the kernel ${said}`, async () => {
      const { complaint } = await unpackByKernel(laid(), false);
      assert.equal(complaint !== undefined, odd.verdict === 'refused', complaint);
      await assert.rejects(readInitramfs(laid()), { code: 'malformed' });
    });
  }
});
