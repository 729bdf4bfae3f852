import { createHash } from 'node:crypto';
import { Refusal } from '../errors/refusal.ts';
import type { Answer } from '../files/measurer.ts';
import { decodeChecksums } from '../formats/records/checksums.ts';
import type { Manifest, ManifestFile } from '../formats/records/manifest.ts';
import { decodeRootHash } from '../formats/verity/dm-verity.ts';
import type { VerityTrees } from '../formats/verity/verity-sink.ts';
import { type Check, decodeOr, prepare } from './check.ts';

/** Checks that compare digests. */

/**
 * `sha512sum -c`, and `sha256sum -c`: the line for `name` in a checksum file.
 *
 * @param signer who signed the list, which was verified; empty: no key stands behind it.
 */
export function checksumCheck(
  what: string,
  bytes: Uint8Array,
  name: string,
  hash: 'sha256' | 'sha512' = 'sha512',
  signer = '',
): Check {
  return prepare('checksum', () => {
    const lines = decodeOr(what, () => decodeChecksums(bytes, hash === 'sha512' ? 64 : 32));
    const line = lines.find((candidate) => candidate.name === name);
    if (!line) throw new Refusal('absent', `${what} has no line for ${name}.`, { name });
    return {
      name: 'checksum',
      questions: [{ kind: 'digest', hash }],
      conclude([digest]) {
        if (hex(digest) !== line.digest) {
          throw new Refusal('bad-signature', `${what} does not match ${name}: one of the two was changed.`, {
            name,
          });
        }
        return { check: 'checksum', signer, signed: signer !== '' };
      },
    };
  });
}

/**
 * What a verified manifest says of a file: size first, so that endless data is cut before it is hashed to
 * the end, then both digests.
 *
 * @param signer who signed the manifest.
 */
export function manifestCheck(file: ManifestFile, signer: string): Check {
  return {
    name: 'manifest',
    questions: [
      { kind: 'digest', hash: 'sha256' },
      { kind: 'digest', hash: 'sha512' },
    ],
    conclude([sha256, sha512], { size }) {
      if (size !== file.size) {
        throw otherSize(file.path, size, file.size);
      }
      if (hex(sha256) !== file.sha256 || hex(sha512) !== file.sha512) {
        throw new Refusal('bad-signature', `${file.path} is not the file that the manifest lists.`, {
          path: file.path,
        });
      }
      return { check: 'manifest', signer, signed: true };
    },
  };
}

/** A file that is longer or shorter than what was signed. Sizes are bytes. */
export function otherSize(path: string, size: number, wanted: number): Refusal {
  return new Refusal('bad-signature', `${path} has ${size} bytes, and the manifest says ${wanted}.`, {
    path,
    size,
    wanted,
  });
}

/**
 * Whether the trees of a root image are those that the manifest names: what the kernel checks block by block must
 * be what was hashed as a whole.
 *
 * @param signer who signed the manifest.
 */
export function verityCheck({ verity, fsverity }: Manifest, path: string, signer: string): Check {
  const root = verity.find((line) => line.path === path);
  const digest = fsverity.find((line) => line.path === path);
  return {
    name: 'verity',
    questions: [{ kind: 'verity' }],
    conclude([answer]) {
      const { dmVerity, fsVerity } = answer as VerityTrees;
      const fits =
        (!root || (hex(dmVerity?.rootHash) === root.rootHash && dmVerity?.dataBlocks === root.dataBlocks)) &&
        (!digest || hex(fsVerity.digest) === digest.digest);
      if (!fits) {
        throw new Refusal('bad-signature', `${path} is not the image whose hash tree the manifest names.`, {
          path,
        });
      }
      return { check: 'verity', signer, signed: true };
    },
  };
}

/**
 * A list of sums beside payload: exactly what the manifest says of it. Its seal is judged apart.
 *
 * @param signer who signed the manifest.
 */
export function sumsCheck(what: string, wanted: Uint8Array, signer: string): Check {
  return {
    name: 'manifest',
    questions: [{ kind: 'digest', hash: 'sha256' }],
    conclude([digest]) {
      if (hex(digest) !== createHash('sha256').update(wanted).digest('hex')) {
        throw new Refusal('mixed-releases', `${what} does not list what the manifest does.`, { path: what });
      }
      return { check: 'manifest', signer, signed: true };
    },
  };
}

/** A root hash beside its image: exactly what the manifest says. `seal` is judged apart. */
export function demandRootHash(what: string, bytes: Uint8Array, wanted: string): void {
  const found = decodeOr(what, () => decodeRootHash(bytes));
  if (hex(found) === wanted) return;
  throw new Refusal('mixed-releases', `${what} is not the root hash that the manifest names.`, {
    path: what,
  });
}

/**
 * The one digest that something verified names: a manifest by its boot script.
 *
 * @param sha256 lower-case hex; undefined where nothing names one.
 * @param signer who signed what names it.
 */
export function digestCheck(what: string, sha256: string | undefined, signer: string): Check {
  return {
    name: 'manifest',
    questions: [{ kind: 'digest', hash: 'sha256' }],
    conclude([digest]) {
      if (sha256 === undefined) throw new Refusal('absent', `Nothing verified names ${what}.`, { what });
      if (hex(digest) !== sha256) {
        throw new Refusal('mixed-releases', `${what} is not the one that the boot script names.`, { what });
      }
      return { check: 'manifest', signer, signed: true };
    },
  };
}

function hex(answer: Answer | undefined): string {
  return answer instanceof Uint8Array ? Buffer.from(answer).toString('hex') : '';
}
