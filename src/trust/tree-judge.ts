import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import type { FileIdentity } from '../files/file-identity.ts';
import { bytesContent } from '../files/measure.ts';
import { readImage } from '../files/read-image.ts';
import { FileSource, RecordSource, readSmall, type Source } from '../files/tree-source.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { decodeManifest, type Manifest, type ManifestFile } from '../formats/records/manifest.ts';
import { checksumPath, otherIpxeSeal, RECORD, SEAL, UKI, VERITY } from '../formats/records/seal-names.ts';
import { grubKernelLines, ipxeKernelLines, type KernelLine } from '../formats/script/kernel-lines.ts';
import { type Anchors, anchorId } from './anchors.ts';
import { allOf, type Check, type CheckName, decodeOr, lost } from './check.ts';
import { type CmsRules, cmsCheck, codesignRules, imgverifyRules } from './cms-check.ts';
import { MANIFEST_WORD } from './command-line.ts';
import { openpgpCheck } from './openpgp-check.ts';
import { checksumCheck, demandRootHash, digestCheck, manifestCheck, verityCheck } from './plain-checks.ts';
import { day, type Policy } from './policy.ts';
import type { SecureBootAnchors } from './secure-boot-check.ts';
import { thresholdCheck } from './threshold.ts';
import { ukiCheck } from './uki-check.ts';
import { examine, type Finding, type Verified } from './verify.ts';

/** Seals beside the first that are looked at; each costs a pass of a hash. */
const MAX_COSIGNERS = 15;

const MANIFEST_PREFIX = `${MANIFEST_WORD}=`;

/** The columns of a tree's verdict. */
export type Column = 'ipxe' | 'cms' | 'openpgp' | 'checksum' | 'manifest' | 'verity' | 'uefi';

/** What became of one file of a sealed tree. */
export interface TreeRow {
  /** Relative to the tree. */
  readonly path: string;
  readonly role: ManifestFile['role'] | 'script' | 'manifest' | 'loader';
  readonly cells: Readonly<Partial<Record<Column, Finding>>>;
  /** Undefined unless every cell is verified. */
  readonly verified: Verified | undefined;
  /** The file as it was when it was read; undefined where it could not be. */
  readonly identity: FileIdentity | undefined;
}

export interface VerifyTreeOptions {
  readonly policy: Policy;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Of other CAs whose loaders shall start this release too: their boot scripts, and their seals of each file. */
  readonly others?: readonly Anchors[];
  readonly onProgress?: (path: string, octets: number, size: number) => void;
}

/** Of the CA that loaders trust. */
export function idOf({ ca: [ca] }: Anchors): string {
  if (!ca) throw new RangeError('anchors without a CA');
  return anchorId(ca);
}

/** The manifest that a script names: once on every command line of a kernel, and everywhere the same. */
function namedManifest(
  kernelLines: (bytes: Uint8Array) => readonly KernelLine[] | undefined,
  bytes: Uint8Array,
): string | undefined {
  const lines = readableLines(kernelLines, bytes);
  const named = lines.map((words) => words.filter((word) => word.startsWith(MANIFEST_PREFIX)));
  const [value, ...others] = new Set(named.flat());
  const once = named.every(({ length }) => length === 1);
  return once && others.length === 0 ? value?.slice(MANIFEST_PREFIX.length) : undefined;
}

function readableLines(
  kernelLines: (bytes: Uint8Array) => readonly KernelLine[] | undefined,
  bytes: Uint8Array,
): readonly KernelLine[] {
  try {
    return kernelLines(bytes) ?? [];
  } catch (error) {
    if (error instanceof Malformed) return [];
    throw error;
  }
}

/** What every iPXE takes, whatever it was built with, and nothing that only iPXE takes for the same name. */
function loaderRules(roots: readonly Certificate[], commonName: string | undefined): CmsRules {
  return { ...imgverifyRules(roots, commonName), complete: true, exactName: true };
}

/** A script's row, and the manifest it names. */
export interface ScriptRow extends TreeRow {
  /** Lower-case hex; undefined unless it is verified and names exactly one. */
  readonly names: string | undefined;
}

/** Judges one file of a sealed tree after the other. */
export class TreeJudge {
  readonly #tree: string;
  readonly #anchors: Anchors;
  readonly #options: VerifyTreeOptions;
  readonly #anyAge: boolean;
  readonly small = new Map<string, Uint8Array>();

  /** @param anyAge a release that is past its best-before is judged all the same. */
  constructor(tree: string, anchors: Anchors, options: VerifyTreeOptions, anyAge = false) {
    this.#tree = tree;
    this.#anchors = anchors;
    this.#options = options;
    this.#anyAge = anyAge;
  }

  async manifest(boot: ScriptRow): Promise<{
    row: TreeRow;
    manifest: Manifest | undefined;
    sha256: string;
    signer: string;
  }> {
    const name = RECORD.manifest;
    const record = new RecordSource(join(this.#tree, name), name);
    const checks: Partial<Record<Column, Check>> = {
      ...(this.#anchors.codesign.length > 0 ? { cms: await this.#cms(name + SEAL.cms) } : {}),
      ...(this.#anchors.openpgp.length > 0 ? { openpgp: await this.#openpgp(name + SEAL.openpgp) } : {}),
    };
    const signedHere = Object.keys(checks).length > 0;
    if (!signedHere)
      checks.manifest = digestCheck(name, boot.names, boot.verified?.evidence[0]?.signer ?? '');
    const row = await this.#row(name, 'manifest', checks, record);
    const signer = row.verified?.evidence[0]?.signer ?? '';
    if (!row.verified) return { row, manifest: undefined, sha256: '', signer };
    this.small.set(name, record.bytes);
    const { sha256 } = row.verified;
    try {
      const manifest = decodeOr(name, () => decodeManifest(record.bytes));
      if (!this.#anyAge && this.#options.now > manifest.bestBefore) {
        throw new Refusal('stale', `${manifest.release} was best before ${day(manifest.bestBefore)}.`, {
          bestBefore: day(manifest.bestBefore),
        });
      }
      return { row, manifest, sha256, signer };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return { row: withRefusal(row, error), manifest: undefined, sha256, signer };
    }
  }

  async script(name: string, column: 'ipxe' | 'openpgp', of: Anchors = this.#anchors): Promise<ScriptRow> {
    const seal = name + SEAL.openpgp;
    const { ca, bootSigner } = of;
    const { policy, now } = this.#options;
    const check =
      column === 'ipxe'
        ? await this.#sealed('cms', seal, (bytes) =>
            cmsCheck(seal, bytes, loaderRules(ca, bootSigner), policy, now),
          )
        : await this.#openpgp(seal);
    const record = new RecordSource(join(this.#tree, name), name);
    const row = await this.#row(name, 'script', { [column]: check }, record);
    if (!row.verified) return { ...row, names: undefined };
    this.small.set(name, record.bytes);
    return {
      ...row,
      names: namedManifest(column === 'ipxe' ? ipxeKernelLines : grubKernelLines, record.bytes),
    };
  }

  /** A script that names another manifest boots another release than the tree holds. */
  bound({ names, ...row }: ScriptRow, manifestSha256: string): TreeRow {
    // Where the manifest itself is refused, nobody knows which one the script should name.
    if (!row.verified || manifestSha256 === '' || names === manifestSha256) return row;
    const message =
      names === undefined
        ? `${row.path} does not name one manifest on each command line that it gives a kernel.`
        : `${row.path} names another manifest than the one beside it.`;
    return withRefusal(row, new Refusal('mixed-releases', message, { path: row.path, names }));
  }

  async payload(file: ManifestFile, manifest: Manifest, signer: string): Promise<TreeRow> {
    const { path } = file;
    const { release } = manifest;
    const onProgress = (octets: number) => this.#options.onProgress?.(path, octets, file.size);
    const source = new FileSource(join(this.#tree, path), onProgress);
    // The hash tree has no seal of its own: what the kernel trusts is the root hash, and the manifest binds both.
    if (file.role === 'hashtree') {
      return this.#row(path, file.role, { manifest: manifestCheck(file, signer) }, source);
    }
    const { ca, codesign, openpgp } = this.#anchors;
    const { policy, now } = this.#options;
    const loader = (seal: string, roots: readonly Certificate[]) =>
      this.#sealed('cms', seal, (bytes) => cmsCheck(seal, bytes, loaderRules(roots, release), policy, now));
    const others = (this.#options.others ?? []).map((other) =>
      loader(path + otherIpxeSeal(idOf(other)), other.ca),
    );
    const checks: Partial<Record<Column, Check>> = {
      ipxe: allOf('cms', await Promise.all([loader(path + SEAL.ipxe, ca), ...others])),
      ...(codesign.length > 0 ? { cms: await this.#cms(path + SEAL.cms) } : {}),
      ...(openpgp.length > 0 ? { openpgp: await this.#openpgp(path + SEAL.openpgp) } : {}),
      manifest: manifestCheck(file, signer),
    };
    if (file.role === 'rootfs') {
      const sums = checksumPath(path);
      const name = path.slice(path.lastIndexOf('/') + 1);
      checks.checksum = await this.#sealed('checksum', sums, (bytes) => checksumCheck(sums, bytes, name));
    }
    if (manifest.fsverity.some((line) => line.path === path)) {
      checks.verity = await this.#verity(path, manifest, signer);
    }
    return this.#row(path, file.role, checks, source);
  }

  async uki(manifest: Manifest, manifestSha256: string, anchors: SecureBootAnchors): Promise<TreeRow> {
    const path = join(this.#tree, UKI);
    const source = new FileSource(path, () => {});
    let check: Check;
    try {
      check = ukiCheck(UKI, await readImage(path), anchors, { manifest, manifestSha256 });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      check = lost('uefi', error);
    }
    return this.#row(UKI, 'loader', { uefi: check }, source);
  }

  /** The root hash beside an image, its seal, and the trees themselves. */
  async #verity(path: string, manifest: Manifest, signer: string): Promise<Check> {
    const line = manifest.verity.find((candidate) => candidate.path === path);
    const check = verityCheck(manifest, path, signer);
    if (!line) return check;
    const name = path + VERITY.rootHash;
    try {
      const { bytes } = await readSmall(join(this.#tree, name), name);
      this.small.set(name, bytes);
      demandRootHash(name, bytes, line.rootHash);
      if (this.#anchors.codesign.length === 0) return check;
      const { findings } = await examine(bytesContent(bytes), [await this.#cms(name + VERITY.seal)]);
      const [seal] = findings;
      return seal && !seal.verified ? lost('verity', seal.refusal) : check;
    } catch (error) {
      if (error instanceof Refusal) return lost('verity', error);
      throw error;
    }
  }

  #cms(seal: string): Promise<Check> {
    const { codesign, ca } = this.#anchors;
    return this.#sealed('cms', seal, (bytes) =>
      cmsCheck(seal, bytes, codesignRules(codesign, ca), this.#options.policy, this.#options.now),
    );
  }

  /** The seal; where the policy wants several keys, also those beside it: `F.<16 hex of a key id>.sig`. */
  async #openpgp(seal: string): Promise<Check> {
    const first = await this.#oneOpenpgp(seal);
    const { openpgpThreshold } = this.#options.policy;
    if (openpgpThreshold === 1) return first;
    const stem = seal.slice(0, -SEAL.openpgp.length);
    const folder = dirname(stem);
    const names = await readdir(join(this.#tree, folder)).catch(() => []);
    const beside = names
      .map((name) => (folder === '.' ? name : `${folder}/${name}`))
      .filter((name) => name.startsWith(`${stem}.`) && /^\.[0-9a-f]{16}\.sig$/.test(name.slice(stem.length)))
      .slice(0, MAX_COSIGNERS);
    const others = await Promise.all(beside.map((name) => this.#oneOpenpgp(name)));
    return thresholdCheck(stem, openpgpThreshold, [first, ...others]);
  }

  #oneOpenpgp(seal: string): Promise<Check> {
    return this.#sealed('openpgp', seal, (bytes) =>
      openpgpCheck(seal, bytes, this.#anchors.openpgp, this.#options.policy, this.#options.now, 'grub'),
    );
  }

  async #sealed(name: CheckName, path: string, make: (bytes: Uint8Array) => Check): Promise<Check> {
    try {
      const { bytes } = await readSmall(join(this.#tree, path), path);
      this.small.set(path, bytes);
      return make(bytes);
    } catch (error) {
      if (error instanceof Refusal) return lost(name, error);
      throw error;
    }
  }

  async #row(
    path: string,
    role: TreeRow['role'],
    checks: Partial<Record<Column, Check>>,
    source: Source,
  ): Promise<TreeRow> {
    const columns = Object.keys(checks) as Column[];
    const cells: Partial<Record<Column, Finding>> = {};
    try {
      const { findings, verified } = await examine(source, Object.values(checks));
      for (const [index, finding] of findings.entries()) {
        const column = columns[index];
        if (column) cells[column] = finding;
      }
      return { path, role, cells, verified, identity: source.identity };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      for (const column of columns) {
        cells[column] = { check: checks[column]?.name ?? 'manifest', verified: false, refusal: error };
      }
      return { path, role, cells, verified: undefined, identity: undefined };
    }
  }
}

function withRefusal(row: TreeRow, refusal: Refusal): TreeRow {
  const finding: Finding = { check: 'manifest', verified: false, refusal };
  return { ...row, cells: { ...row.cells, manifest: finding }, verified: undefined };
}
