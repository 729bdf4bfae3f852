import { resolve } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { type MeasureOptions, measureHandle, openRegular } from '../files/measure.ts';
import type { Tree, TreeFile } from '../files/tree.ts';
import { otherBootIpxe, SEAL, UKI } from '../formats/records/seal-names.ts';
import type { OpenpgpAnchors } from '../trust/anchors.ts';
import { idOf, type TrustRoots } from '../trust/trust-roots.ts';
import type { MirrorSource } from './mirror-source.ts';

/** Bytes of all records of a release that are taken from a mirror. */
const MOST_RECORDS = 64 * 1024 * 1024;

/**
 * A release as a mirror has it. Records and seals are read from there, once; the payload is what was staged. No mirror is
 * asked what it has, since plain web servers cannot say: what a verifier may want beyond what is always there has names
 * that follow from its own anchors, and what nobody judges is not wanted.
 */
export class MirrorTree implements Tree {
  readonly name: string;
  readonly #source: MirrorSource;
  readonly #folder: string;
  readonly #roots: TrustRoots;
  readonly #onRead: MeasureOptions['onProgress'];
  readonly #read = new Map<string, Promise<Uint8Array>>();
  /** Paths in the release, and where they are on this machine. */
  readonly #payload = new Map<string, string>();
  #octets = 0;

  /** @param release `arch/2026.11.01` */
  constructor(source: MirrorSource, release: string, roots: TrustRoots, onRead?: (octets: number) => void) {
    this.#source = source;
    this.#folder = `releases/${release}`;
    this.#roots = roots;
    this.#onRead = onRead;
    this.name = `${release} of ${source.name}`;
  }

  /** @param place on this machine. */
  place(path: string, place: string): void {
    this.#payload.set(path, resolve(place));
  }

  /** The key of a file in the mirror. */
  key(path: string): string {
    return `${this.#folder}/${path}`;
  }

  async list(folder: string): Promise<readonly string[]> {
    const { own, others } = this.#roots;
    const wanted =
      folder === ''
        ? [
            ...others.map((anchors) => otherBootIpxe(idOf(anchors))),
            ...(own.secureBoot ? [UKI] : []),
            'SHA256SUMS',
            'SHA256SUMS.gpg',
          ]
        : [];
    // Where several keys must have signed, each has a seal of its own beside the first.
    const ids = keyIds(own.openpgp);
    const isBeside = (path: string) => ids.some((id) => path.endsWith(`.${id}${SEAL.openpgp}`));
    const beside = [...this.#read.keys()]
      .filter((path) => path.endsWith(SEAL.openpgp) && folderOf(path) === folder && !isBeside(path))
      .flatMap((path) => ids.map((id) => `${path.slice(0, -SEAL.openpgp.length)}.${id}${SEAL.openpgp}`))
      .map((path) => path.slice(folder === '' ? 0 : folder.length + 1));
    const names: string[] = [];
    for (const name of [...wanted, ...beside]) {
      const path = folder === '' ? name : `${folder}/${name}`;
      if (this.#payload.has(path) || (await this.#has(path))) names.push(name);
    }
    return [...new Set(names)].sort();
  }

  async read(path: string, limit: number): Promise<Uint8Array> {
    const known = this.#read.get(path);
    const bytes = await (known ?? this.#fetch(path, limit));
    if (bytes.length > limit)
      throw new Refusal(
        'too-large',
        `${this.key(path)} has ${bytes.length} bytes, and ${limit} are allowed.`,
        {
          path,
        },
      );
    return bytes;
  }

  async open(path: string): Promise<TreeFile> {
    const place = this.#payload.get(path);
    if (place === undefined) throw new Refusal('absent', `${path} was not fetched.`, { path });
    const opened = await openRegular(place, path);
    const { handle, identity } = opened;
    const options: MeasureOptions = this.#onRead ? { onProgress: this.#onRead } : {};
    return {
      size: Number(identity.size),
      place: { path: place, identity },
      measure: (questions) => measureHandle(opened, path, questions, options),
      close: () => handle.close().catch(() => {}),
    };
  }

  async #has(path: string): Promise<boolean> {
    try {
      await this.read(path, MOST_RECORDS);
      return true;
    } catch (error) {
      if (error instanceof Refusal && error.code === 'absent') return false;
      throw error;
    }
  }

  #fetch(path: string, limit: number): Promise<Uint8Array> {
    const fetched = this.#source.read(this.key(path), Math.min(limit, MOST_RECORDS)).then((bytes) => {
      this.#octets += bytes.length;
      if (this.#octets <= MOST_RECORDS) return bytes;
      throw new Refusal('too-large', `${this.name} has more than ${MOST_RECORDS} bytes of records.`, {});
    });
    this.#read.set(path, fetched);
    // What could not be had may be had the next time; what is not there stays so.
    fetched.catch((error: unknown) => {
      if (!(error instanceof Refusal && error.code === 'absent')) this.#read.delete(path);
    });
    return fetched;
  }
}

function folderOf(path: string): string {
  return path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '';
}

function keyIds({ payload, script, manifest }: OpenpgpAnchors): string[] {
  const keys = [...payload, ...script, ...manifest].flatMap((certificate) => certificate.keys);
  return [...new Set(keys.map(({ key }) => key.keyId.toLowerCase()))];
}
