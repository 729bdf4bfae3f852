import { join } from 'node:path';
import { Refusal } from '../../errors/refusal.ts';
import { openBeneath } from '../../files/beneath.ts';
import { entriesIfThere } from '../../files/read-if-there.ts';
import type { Certificate } from '../../formats/asn1/x509.ts';
import { decodeManifest, type Manifest } from '../../formats/records/manifest.ts';
import { otherCaOf, RECORD } from '../../formats/records/seal-names.ts';
import { decodeOr } from '../../trust/check.ts';
import { type Facts, KINDS, type ScriptRow, type SealRow } from './facts.ts';
import { readOpened } from './read.ts';
import { type Read, recognise } from './recognise.ts';
import { manifestFacts } from './records.ts';

/** Where the files of a release are. */
export interface ReleaseSource {
  /** For people. */
  readonly name: string;
  /** Paths of files that may be there, relative to the release. */
  names(manifest: Manifest): Promise<readonly string[]>;
  /** Throws a `Refusal`; answers undefined for a file that is not there. */
  read(path: string, limit: number): Promise<Read | undefined>;
}

export interface InspectedRelease {
  readonly facts: Facts;
  readonly seals: readonly SealRow[];
  readonly scripts: readonly ScriptRow[];
}

/** Files whose content may be a seal or a certificate; the rest of a tree, images of any size, is not read. */
const SEALS = /\.(sig|sha512|roothash|verity)$|(^|\/)SHA256SUMS(\.gpg)?$/;
const CERTIFICATES = /\.(crt|pem|cer)$/;
/** A CMS has at most so many bytes, and every other seal fewer; scripts too. */
const LARGEST = 256 * 1024;
/** All of what is read. */
const LARGEST_TOTAL = 64 * 2 ** 20;
const MOST_ENTRIES = 20_000;
const DEEPEST = 16;

/**
 * What a sealed release says of itself: its manifest, one row a seal, one a script. A seal that cannot be read has
 * a row too.
 *
 * @throws Refusal where there is no manifest, or it is malformed.
 */
export async function inspectRelease(source: ReleaseSource): Promise<InspectedRelease> {
  const read = await source.read(RECORD.manifest, LARGEST);
  if (!read) {
    throw new Refusal('absent', `${source.name} has no ${RECORD.manifest}: it is no sealed release.`, {
      path: RECORD.manifest,
    });
  }
  const manifest = decodeOr(RECORD.manifest, () => decodeManifest(read.bytes));

  const names = (await source.names(manifest)).toSorted();
  const files = new Map<string, Read | Refusal>();
  let total = 0;
  for (const path of names.filter((name) => SEALS.test(name) || CERTIFICATES.test(name) || isScript(name))) {
    const found = await source.read(path, LARGEST).catch((error: unknown) => {
      if (error instanceof Refusal) return error;
      throw error;
    });
    if (!found) continue;
    files.set(path, found);
    total += found instanceof Refusal ? 0 : found.bytes.length;
    if (total > LARGEST_TOTAL) {
      throw new Refusal('too-large', `${source.name} holds seals of more than ${LARGEST_TOTAL} bytes.`, {
        path: source.name,
      });
    }
  }
  const certificates = [...files].flatMap(([path, file]) => certificatesOf(path, file));
  return {
    facts: manifestFacts(manifest, read.bytes),
    seals: [...files].flatMap(([path, file]) => (SEALS.test(path) ? sealRows(path, file, certificates) : [])),
    scripts: [...files].flatMap(([path, file]) => (isScript(path) ? [scriptRow(path, file)] : [])),
  };
}

function isScript(path: string): boolean {
  return path === RECORD.bootIpxe || path === RECORD.grubCfg || otherCaOf(path) !== undefined;
}

/** Whose certificate a seal lacks, another file of the tree may hold. */
function certificatesOf(path: string, file: Read | Refusal): readonly Certificate[] {
  const found = attempt(path, file, []);
  return found instanceof Refusal ? [] : (found.certificates ?? []);
}

function sealRows(path: string, file: Read | Refusal, certificates: readonly Certificate[]): SealRow[] {
  const found = attempt(path, file, certificates);
  if (found instanceof Refusal) return [{ path, refusal: { code: found.code, message: found.message } }];
  if (!found.seals?.length) {
    const refusal = new Refusal('malformed', `${path} is no seal (${KINDS[found.kind]}).`, { path });
    return [{ path, refusal: { code: refusal.code, message: refusal.message } }];
  }
  return found.seals.map((seal) => ({ path, ...seal }));
}

function scriptRow(path: string, file: Read | Refusal): ScriptRow {
  const found = attempt(path, file, []);
  const refusal =
    found instanceof Refusal
      ? found
      : /^(ipxe-script|grub-configuration)$/.test(found.kind)
        ? undefined
        : new Refusal('malformed', `${path} is no boot script (${KINDS[found.kind]}).`, { path });
  const texts = (name: string) =>
    found instanceof Refusal || refusal ? [] : ((found.facts[name] ?? []) as readonly string[]);
  return {
    path,
    manifests: texts('manifests'),
    signers: texts('signers'),
    ...(refusal ? { refusal: { code: refusal.code, message: refusal.message } } : {}),
  };
}

function attempt(path: string, file: Read | Refusal, certificates: readonly Certificate[]) {
  if (file instanceof Refusal) return file;
  try {
    return recognise(path, file, certificates);
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
}

/** A release in a folder. Symbolic links in it are not followed. */
export function folderSource(folder: string): ReleaseSource {
  return {
    name: folder,
    names: () => walk(folder),
    async read(path, limit) {
      try {
        return await readOpened(await openBeneath(folder, path), join(folder, path), limit);
      } catch (error) {
        if (error instanceof Refusal && error.code === 'absent') return undefined;
        throw error;
      }
    },
  };
}

async function walk(folder: string): Promise<string[]> {
  const found: string[] = [];
  let count = 0;
  const visit = async (inner: string, depth: number): Promise<void> => {
    const entries = await entriesIfThere(join(folder, inner));
    for (const entry of entries) {
      const path = inner === '' ? entry.name : `${inner}/${entry.name}`;
      if (++count > MOST_ENTRIES || depth > DEEPEST) {
        throw new Refusal('too-large', `${folder} holds too many files or folders to be a release.`, {
          path: folder,
        });
      }
      if (entry.isDirectory()) await visit(path, depth + 1);
      else found.push(path);
    }
  };
  await visit('', 0);
  return found;
}
