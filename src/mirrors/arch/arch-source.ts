import { basename } from 'node:path';
import { Refusal } from '../../errors/refusal.ts';
import { lstatBeneath, readlinkBeneath } from '../../files/beneath.ts';
import { decodePromotion, MAX_PROMOTION, type Promotion } from '../../formats/records/promotion.ts';
import { decodeOr } from '../../trust/check.ts';
import type { FileSource, MirrorFile } from '../mirror-source.ts';
import { isArchVersion, versionOf } from './arch-version.ts';

export const VERSION_FILE = 'arch/version';
/** Bytes. */
const MAX_VERSION = 64;

/**
 * Somebody who holds Arch's releases, as Arch's mirrors lay them out (`2026.11.01/`), or as arch-release-promotion does
 * (`netboot-2026.11.01/` with `netboot-2026.11.01.json` beside it); `latest` says which one is the newest. That is asked
 * once. From then on files have the names of one version, whatever `latest` becomes meanwhile.
 */
export class ArchSource implements FileSource {
  readonly name: string;
  readonly origin: string;
  readonly #inner: FileSource;
  /** Where it is a folder of this machine: a link there is read, and never followed. */
  readonly #folder: string | undefined;
  readonly #kind: string;
  #base: string | undefined;

  /** @param kind of release, as promotions name it: `netboot`. */
  constructor(inner: FileSource, kind: string, folder?: string) {
    this.#inner = inner;
    this.#kind = kind;
    this.#folder = folder;
    this.name = inner.name;
    this.origin = inner.origin;
  }

  /**
   * The version that `latest` is: a link or a redirect to a release's folder, or a promotion's JSON.
   *
   * @throws Refusal, as `read`; IoError.
   */
  async latest(): Promise<string> {
    const link = await this.#link();
    if (link !== undefined) return link;
    const version = await ifThere(this.#inner.read(`latest/${VERSION_FILE}`, MAX_VERSION));
    if (version) return versionOf(this.#called(`latest/${VERSION_FILE}`), version);
    for (const key of ['latest', 'latest.json']) {
      const bytes = await ifThere(this.#inner.read(key, MAX_PROMOTION));
      if (bytes)
        return this.#demandKind(
          key,
          decodeOr(this.#called(key), () => decodePromotion(bytes)),
        ).version;
    }
    throw new Refusal('absent', `${this.name} has no latest release of Arch's.`, {});
  }

  /**
   * Finds the folder of a version: everything that is read from now on is read there.
   *
   * @throws Refusal `absent`, `mixed-releases`.
   */
  async locate(version: string): Promise<void> {
    for (const base of [`${version}/`, `${this.#kind}-${version}/`]) {
      const bytes = await ifThere(this.#inner.read(base + VERSION_FILE, MAX_VERSION));
      if (!bytes) continue;
      const found = versionOf(this.#called(base + VERSION_FILE), bytes);
      if (found !== version)
        throw new Refusal(
          'mixed-releases',
          `${this.#called(base)} says that it is ${found}, not ${version}.`,
          {
            version,
            found,
          },
        );
      this.#base = base;
      return;
    }
    throw new Refusal('absent', `${this.name} has no release ${version}.`, { version });
  }

  /** The JSON of this version and what signs it; undefined where there is none. */
  async promotion(version: string): Promise<
    | {
        readonly key: string;
        readonly bytes: Uint8Array;
        readonly promotion: Promotion;
        readonly seal?: Uint8Array;
      }
    | undefined
  > {
    const key = `${this.#kind}-${version}.json`;
    const bytes = await ifThere(this.#inner.read(key, MAX_PROMOTION));
    if (!bytes) return undefined;
    const promotion = this.#demandKind(
      key,
      decodeOr(this.#called(key), () => decodePromotion(bytes)),
    );
    if (promotion.version !== version)
      throw new Refusal(
        'mixed-releases',
        `${this.#called(key)} is about ${promotion.version}, not ${version}.`,
        {
          version,
          found: promotion.version,
        },
      );
    const seal = await ifThere(this.#inner.read(`${key}.sig`, MAX_PROMOTION));
    return { key, bytes, promotion, ...(seal ? { seal } : {}) };
  }

  read(path: string, limit: number): Promise<Uint8Array> {
    return this.#inner.read(this.#key(path), limit);
  }

  open(path: string, first: number, size: number, signal?: AbortSignal): Promise<MirrorFile> {
    return this.#inner.open(this.#key(path), first, size, signal);
  }

  size(path: string, limit: number): Promise<number> {
    return this.#inner.size(this.#key(path), limit);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  /** What a link is called that a mirror's admin moves; its last part alone counts. */
  async #link(): Promise<string | undefined> {
    if (this.#folder === undefined) return undefined;
    if (!(await lstatBeneath(this.#folder, 'latest'))?.isSymbolicLink()) return undefined;
    const to = basename(await readlinkBeneath(this.#folder, 'latest'));
    const prefix = `${this.#kind}-`;
    const version = (to.startsWith(prefix) ? to.slice(prefix.length) : to).replace(/\.json$/, '');
    if (isArchVersion(version)) return version;
    throw new Refusal(
      'malformed',
      `${this.#called('latest')} leads to ${JSON.stringify(to)}, which is no version.`,
      {},
    );
  }

  #demandKind(key: string, promotion: Promotion): Promotion {
    const { name, version } = promotion;
    if (name !== this.#kind)
      throw new Refusal('mixed-releases', `${this.#called(key)} is about ${name}, not ${this.#kind}.`, {
        name,
      });
    if (!isArchVersion(version))
      throw new Refusal(
        'malformed',
        `${this.#called(key)} names ${version}, which is no version of Arch's.`,
        {},
      );
    return promotion;
  }

  #key(path: string): string {
    if (this.#base !== undefined) return this.#base + path;
    throw new Refusal('absent', `${this.name} does not have this release.`, { path });
  }

  #called(key: string): string {
    return this.name.endsWith('/') ? this.name + key : `${this.name}/${key}`;
  }
}

/** Only "not there" is nothing; every other fault goes on. */
export async function ifThere(reading: Promise<Uint8Array>): Promise<Uint8Array | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (error instanceof Refusal && error.code === 'absent') return undefined;
    throw error;
  }
}
