import type { Refusal } from '../errors/refusal.ts';
import { VERITY } from '../formats/records/seal-names.ts';
import { isPromised } from '../release/promised-file.ts';
import type { ServedFile } from '../release/release-site.ts';
import { FetchedExport } from '../serve/nbd/nbd-fetched-export.ts';
import { FileExport } from '../serve/nbd/nbd-file-export.ts';
import type { NbdExports } from '../serve/nbd/nbd-types.ts';
import type { BlockVerifier } from '../serve/nbd/nbd-verified-blocks.ts';
import type { ServableRelease } from '../trust/verified-release.ts';
import { FetchedPayload } from './fetched-payload.ts';
import { blockVerifier, readTree } from './verity-blocks.ts';

type ReleaseExport = FileExport | FetchedExport;

/** Told when an export may not be served any more, and why. */
export type OnShut = (name: string, refusal: Refusal) => void;

/** A release whose root machines may have. */
export interface ExportedRelease {
  readonly release: ServableRelease;
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
  readonly #payload: FetchedPayload;
  #known = new Map<
    string,
    { readonly release: ServableRelease; readonly exports: readonly ReleaseExport[] }
  >();
  #byName = new Map<string, ReleaseExport>();
  #listed: readonly ReleaseExport[] = [];

  /** @param payload how what is not of this machine is read. */
  constructor(onShut: OnShut, payload = new FetchedPayload(undefined)) {
    this.#onShut = onShut;
    this.#payload = payload;
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
          same ?? { release, exports: exportsOf(release, this.#onShut, this.#payload) },
        ] as const;
      }),
    );
    const of = ({ manifestSha256 }: ServableRelease) => known.get(manifestSha256)?.exports ?? [];
    for (const { release, cut } of offered) if (cut) for (const one of of(release)) one.withdraw(cut);
    const [entry] = releases;
    const [image] = entry ? of(entry) : [];
    const byName = new Map<string, ReleaseExport>();
    for (const { exports } of known.values()) for (const one of exports) byName.set(one.name, one);
    for (const one of entry ? of(entry) : []) {
      byName.set(one.name.slice(one.name.lastIndexOf('/') + 1), one);
    }
    if (image) byName.set('', image);
    this.#known = known;
    this.#byName = byName;
    this.#listed = [...known.values()].flatMap(({ exports }) => exports);
  }

  /** Whoever waits for content that does not come waits no more. */
  end(): void {
    for (const one of this.#listed) if (one instanceof FetchedExport) one.end();
  }

  list(): readonly ReleaseExport[] {
    return this.#listed;
  }

  async open(name: string): ReturnType<NbdExports['open']> {
    return this.#byName.get(name)?.open();
  }
}

function exportsOf(
  release: ServableRelease,
  onShut: OnShut,
  payload: FetchedPayload,
): readonly ReleaseExport[] {
  const image = release.manifest.files.find(({ role }) => role === 'rootfs');
  const file = image && release.files.get(image.path);
  if (!image || !file) return [];
  const stem = file.name.replace(/\.[^.]*$/, '');
  const name = `${release.release}/${stem}`;
  const tree = release.files.get(image.path + VERITY.tree);
  const line = release.manifest.verity.find(({ path }) => path === image.path);
  const make = (suffix: string, path: string, of: ServedFile, what: string, verify?: BlockVerifier) => {
    const facts = {
      name: name + suffix,
      description: `${what} of ${release.release}`,
      onShut: (refusal: Refusal) => onShut(name + suffix, refusal),
    };
    if (!isPromised(of)) return new FileExport({ ...facts, file: of, ...(verify ? { verify } : {}) });
    if (release.payload === 'read') throw new TypeError(`${path} was read, and is promised`);
    return new FetchedExport({ ...facts, size: of.size, open: () => payload.open(release, path, of) });
  };
  const verify =
    line && tree && !isPromised(tree)
      ? blockVerifier(line, tree.name, (offset, length) => readTree(tree, offset, length))
      : undefined;
  return [
    make('', image.path, file, 'root image', verify),
    ...(tree ? [make(VERITY.tree, image.path + VERITY.tree, tree, 'hash tree')] : []),
  ];
}
