import type { Refusal } from '../errors/refusal.ts';
import { VERITY } from '../formats/records/seal-names.ts';
import { BLOCK_SIZE } from '../formats/verity/verity-tree.ts';
import { fileResource } from '../release/file-resource.ts';
import type { PinnedFile } from '../release/pin.ts';
import { isPromised, type PromisedFile } from '../release/promised-file.ts';
import type { ServedFile } from '../release/release-site.ts';
import type { OpenResource, Resource } from '../release/site.ts';
import type { ContentCache } from '../serve/cache/content-cache.ts';
import type { FollowingClient } from '../serve/http/follows-redirects.ts';
import type { BlockVerifier } from '../serve/nbd/nbd-verified-blocks.ts';
import type { PromisedRelease, ServableRelease } from '../trust/verified-release.ts';
import { blockVerifier } from './verity-blocks.ts';

/** Where a file of a release also is, for clients that follow; undefined: nowhere. */
export type Elsewhere = (
  release: ServableRelease,
  path: string,
  file: PromisedFile,
  client: FollowingClient,
) => Promise<string | undefined>;

/** How the payload of releases is read: what is of this machine from there, what is promised by way of a cache. */
export class FetchedPayload {
  readonly #cache: ContentCache | undefined;
  readonly #elsewhere: Elsewhere | undefined;
  readonly #verifiers = new WeakMap<PromisedFile, BlockVerifier>();

  constructor(cache: ContentCache | undefined, elsewhere?: Elsewhere) {
    this.#cache = cache;
    this.#elsewhere = elsewhere;
  }

  /** A file of a release, by its path in the tree. */
  resource(release: ServableRelease, path: string, file: ServedFile): Resource {
    if (!isPromised(file)) return fileResource(file);
    const resource = this.#demandCache().resource(file, this.#verifierOf(release, path, file));
    const elsewhere = this.#elsewhere;
    // A whole boot in one file is for firmware. What the manifest lists is verified by whoever fetches it.
    if (!elsewhere || !release.manifest.files.some((listed) => listed.path === path)) return resource;
    return { ...resource, elsewhere: (client) => elsewhere(release, path, file, client) };
  }

  /** Opens a file to read any part of it, whoever reads: verified, or not handed out. */
  open(release: PromisedRelease, path: string, file: PromisedFile): Promise<OpenResource> {
    return this.#demandCache().open(file, 'parts', this.#verifierOf(release, path, file));
  }

  /** Why a file is not served, as far as is known. */
  refusalOf(file: PromisedFile): Refusal | undefined {
    return this.#cache?.refusalOf(file);
  }

  /** What the cache holds whole, for who reads it again from time to time. */
  get files(): readonly PinnedFile[] {
    return [...(this.#cache?.files ?? [])];
  }

  /** How blocks of an image are held against its hash tree; undefined where there is none that speaks for all of it. */
  #verifierOf(release: ServableRelease, path: string, file: PromisedFile): BlockVerifier | undefined {
    const line = release.manifest.verity.find((one) => one.path === path);
    const tree = release.files.get(path + VERITY.tree);
    if (!line || !tree || !isPromised(tree) || line.dataBlocks * BLOCK_SIZE !== file.size) return undefined;
    const known =
      this.#verifiers.get(file) ??
      blockVerifier(line, tree.name, (at, length) => this.#hash(tree, at, length));
    this.#verifiers.set(file, known);
    return known;
  }

  async #hash(tree: PromisedFile, offset: number, length: number): Promise<Uint8Array> {
    const open = await this.#demandCache().open(tree, 'parts');
    try {
      const bytes = Buffer.alloc(length);
      let at = 0;
      while (at < length) {
        const count = await open.read(bytes.subarray(at), offset + at);
        if (count <= 0) break;
        at += count;
      }
      return bytes.subarray(0, at);
    } finally {
      await open.close();
    }
  }

  #demandCache(): ContentCache {
    if (this.#cache) return this.#cache;
    throw new RangeError('a release whose payload is elsewhere, and nothing to fetch it');
  }
}
