import { open } from 'node:fs/promises';
import { Refusal } from '../errors/refusal.ts';
import type { Verity } from '../formats/records/manifest.ts';
import { VERITY } from '../formats/records/seal-names.ts';
import { openVerity, type VerityReader } from '../formats/verity/verity-reader.ts';
import { BLOCK_SIZE } from '../formats/verity/verity-tree.ts';
import type { PinnedFile } from '../release/pin.ts';
import { FileExport } from '../serve/nbd/nbd-file-export.ts';
import type { NbdExports } from '../serve/nbd/nbd-types.ts';
import type { BlockVerifier } from '../serve/nbd/nbd-verified-blocks.ts';
import { decodeOr } from '../trust/check.ts';
import type { VerifiedRelease } from '../trust/verified-release.ts';

/** Told when an export may not be served any more, and why. */
export type OnShut = (name: string, refusal: Refusal) => void;

/** A release whose root machines may have. */
export interface ExportedRelease {
  readonly release: VerifiedRelease;
  /** Why nobody may any more; undefined while they may. */
  readonly cut: Refusal | undefined;
}

/**
 * The block devices of the releases that a server offers: `arch/2026.11.01/airootfs` for the root image, the same
 * with `.verity` for its hash tree. Without a release in front, both are those of the entry; so is the default.
 *
 * An export outlives what is offered: clients that have it open keep it, and which blocks were verified is known
 * once, however often the channels move.
 */
export class ReleaseExports implements NbdExports {
  readonly #onShut: OnShut;
  #known = new Map<string, { readonly release: VerifiedRelease; readonly exports: readonly FileExport[] }>();
  #byName = new Map<string, FileExport>();
  #listed: readonly FileExport[] = [];

  constructor(onShut: OnShut) {
    this.#onShut = onShut;
  }

  /** Makes these the ones that are offered; the entry comes first. What was cut is given to nobody any more. */
  put(offered: readonly ExportedRelease[]): void {
    const releases = offered.map(({ release }) => release);
    const known = new Map(
      releases.map((release) => {
        const before = this.#known.get(release.manifestSha256);
        // One that was read anew has pins of its own: what a scrub finds out about them has to count here.
        const same = before?.release === release ? before : undefined;
        return [
          release.manifestSha256,
          same ?? { release, exports: exportsOf(release, this.#onShut) },
        ] as const;
      }),
    );
    const of = ({ manifestSha256 }: VerifiedRelease) => known.get(manifestSha256)?.exports ?? [];
    for (const { release, cut } of offered) if (cut) for (const one of of(release)) one.withdraw(cut);
    const [entry] = releases;
    const [image] = entry ? of(entry) : [];
    const byName = new Map<string, FileExport>();
    for (const { exports } of known.values()) for (const one of exports) byName.set(one.name, one);
    for (const one of entry ? of(entry) : []) {
      byName.set(one.name.slice(one.name.lastIndexOf('/') + 1), one);
    }
    if (image) byName.set('', image);
    this.#known = known;
    this.#byName = byName;
    this.#listed = [...known.values()].flatMap(({ exports }) => exports);
  }

  list(): readonly FileExport[] {
    return this.#listed;
  }

  async open(name: string): ReturnType<NbdExports['open']> {
    return this.#byName.get(name)?.open();
  }
}

function exportsOf(release: VerifiedRelease, onShut: OnShut): readonly FileExport[] {
  const image = release.manifest.files.find(({ role }) => role === 'rootfs');
  const file = image && release.files.get(image.path);
  if (!image || !file) return [];
  const stem = file.name.replace(/\.[^.]*$/, '');
  const name = `${release.release}/${stem}`;
  const tree = release.files.get(image.path + VERITY.tree);
  const line = release.manifest.verity.find(({ path }) => path === image.path);
  const make = (suffix: string, of: PinnedFile, description: string, verify?: BlockVerifier) =>
    new FileExport({
      name: name + suffix,
      description,
      file: of,
      onShut: (refusal) => onShut(name + suffix, refusal),
      ...(verify ? { verify } : {}),
    });
  return [
    make('', file, `root image of ${release.release}`, tree && line && blockVerifier(line, tree)),
    ...(tree ? [make(VERITY.tree, tree, `hash tree of ${release.release}`)] : []),
  ];
}

/**
 * Holds each block of an image against its hash tree, as the kernel of a client will. The tree was verified when
 * the release was; what is read of it now is trusted no more than the image, since the root hash is from the
 * manifest.
 */
function blockVerifier({ rootHash, dataBlocks }: Verity, tree: PinnedFile): BlockVerifier {
  let reader: Promise<VerityReader> | undefined;
  const begin = async (): Promise<VerityReader> => {
    const superblock = await readTree(tree, 0, BLOCK_SIZE);
    return decodeOr(tree.name, () =>
      openVerity({ rootHash: Buffer.from(rootHash, 'hex'), dataBlocks, superblock }),
    );
  };
  return async (index, block) => {
    // What failed in passing is tried again.
    reader ??= begin().catch((error: unknown) => {
      reader = undefined;
      throw error;
    });
    const verdict = await (await reader).verifyBlock(index, block, (offset, length) =>
      readTree(tree, offset, length),
    );
    return verdict.verified;
  };
}

/** What says that another thing, or nothing, stands where the tree was; EACCES and the like say nothing of it. */
const GONE = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'EISDIR']);

/** A hash block is read once for each 128 blocks of the image, so it is opened for each: nothing stays open. */
async function readTree({ path, name }: PinnedFile, offset: number, length: number): Promise<Uint8Array> {
  const handle = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    // Anything else is about this machine and passes: too many open files say nothing about the tree.
    if (!GONE.has(error.code ?? '')) throw error;
    throw new Refusal('drifted', `${name} is no longer the file that was verified: ${error.code}.`, {
      path: name,
    });
  });
  try {
    const bytes = Buffer.alloc(length);
    const { bytesRead } = await handle.read(bytes, 0, length, offset);
    return bytes.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}
