import { dirname } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { bytesContent } from '../files/measure.ts';
import type { Tree } from '../files/tree.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { MAX_PE } from '../formats/efi/pe-write.ts';
import { decodeManifest, type Manifest, type ManifestFile } from '../formats/records/manifest.ts';
import {
  checksumPath,
  otherIpxeSeal,
  RECORD,
  SEAL,
  SUMS,
  UKI,
  VERITY,
} from '../formats/records/seal-names.ts';
import { sumsOf } from '../formats/records/sums.ts';
import { type Anchors, anchorId, type OpenpgpPurpose } from './anchors.ts';
import { allOf, type Check, type CheckName, decodeOr, lost } from './check.ts';
import { type CmsRules, cmsCheck, imgverifyRules, leafRules } from './cms-check.ts';
import { openpgpCheck } from './openpgp-check.ts';
import {
  checksumCheck,
  demandRootHash,
  digestCheck,
  manifestCheck,
  otherSize,
  sumsCheck,
  verityCheck,
} from './plain-checks.ts';
import { day, type Policy } from './policy.ts';
import { type Promised, promise, promiseUnlisted } from './promise.ts';
import { RememberedFile } from './remembered-tree.ts';
import { manifestNamedIn } from './script-lines.ts';
import type { SecureBootAnchors } from './secure-boot-check.ts';
import { thresholdCheck } from './threshold.ts';
import { type Cells, type Column, rowOf, type ScriptRow, type TreeRow, withRefusal } from './tree-row.ts';
import type { TrustRoots } from './trust-roots.ts';
import { ukiCheck } from './uki-check.ts';
import { examine } from './verify.ts';

/** Bytes of a seal, a checksum file or a record; none is that long. */
const MAX_RECORD = 1024 * 1024;

/** Seals beside the first that are looked at; each costs a pass of a hash. */
const MAX_COSIGNERS = 15;

/** Files whose seals are read at the same time, where nothing else of them is: each costs a way to where they lie. */
const AT_ONCE = 16;

/** What a judgement goes by, beside the trust roots. */
export interface JudgingTerms {
  readonly policy: Policy;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** A release that is past its best-before is judged all the same. */
  readonly anyAge: boolean;
}

/** Of the CA that loaders trust. */
export function idOf({ ca: [ca] }: Anchors): string {
  if (!ca) throw new RangeError('anchors without a CA');
  return anchorId(ca);
}

/** What every iPXE takes, whatever it was built with, and nothing that only iPXE takes for the same name. */
function loaderRules(roots: readonly Certificate[], commonName: string | undefined): CmsRules {
  return { ...imgverifyRules(roots, commonName), complete: true, exactName: true };
}

/** Judges one file of a sealed tree after the other. */
export class ReleaseJudge {
  readonly #tree: Tree;
  readonly #anchors: Anchors;
  readonly #others: readonly Anchors[];
  readonly #terms: JudgingTerms;
  /** Records and their seals, and those of the payload, as they were read for this judgement. */
  readonly records = new Map<string, Uint8Array>();
  /** What was asked of each file of the payload, and its answers. */
  readonly memory = new Map<string, RememberedFile>();

  constructor(tree: Tree, { own, others }: TrustRoots, terms: JudgingTerms) {
    this.#tree = tree;
    this.#anchors = own;
    this.#others = others;
    this.#terms = terms;
  }

  async manifest(boot: ScriptRow): Promise<{
    row: TreeRow;
    manifest: Manifest | undefined;
    sha256: string;
    signer: string;
  }> {
    const name = RECORD.manifest;
    const checks: Partial<Record<Column, Check>> = {
      ...(this.#anchors.manifest.length > 0 ? { cms: await this.#cms(name + SEAL.cms, 'manifest') } : {}),
      ...(this.#anchors.openpgp.manifest.length > 0
        ? { openpgp: await this.#openpgp(name + SEAL.openpgp, 'manifest') }
        : {}),
    };
    const signedHere = Object.keys(checks).length > 0;
    if (!signedHere)
      checks.manifest = digestCheck(name, boot.names, boot.verified?.evidence[0]?.signer ?? '');
    const { row, bytes } = await this.#record(name, 'manifest', checks);
    const signer = row.verified?.evidence[0]?.signer ?? '';
    if (!row.verified) return { row, manifest: undefined, sha256: '', signer };
    this.records.set(name, bytes);
    const { sha256 } = row.verified;
    try {
      const manifest = decodeOr(name, () => decodeManifest(bytes));
      if (!this.#terms.anyAge && this.#terms.now > manifest.bestBefore) {
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
    const { policy, now } = this.#terms;
    const check =
      column === 'ipxe'
        ? await this.#sealed('cms', seal, (bytes) =>
            cmsCheck(seal, bytes, loaderRules(ca, bootSigner), policy, now),
          )
        : await this.#openpgp(seal, 'script');
    const { row, bytes } = await this.#record(name, 'script', { [column]: check });
    if (!row.verified) return { ...row, names: undefined };
    this.records.set(name, bytes);
    return {
      ...row,
      names: manifestNamedIn(name, bytes),
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

  /** The sums that others' tools read: those of this manifest, and by the key for records. */
  async sums(manifest: Manifest, manifestSha256: string, signer: string): Promise<TreeRow[]> {
    const rows: TreeRow[] = [];
    for (const { path, bytes: wanted } of sumsOf(manifest, manifestSha256)) {
      const { row, bytes } = await this.#record(path, 'checksums', {
        ...(this.#anchors.openpgp.manifest.length > 0
          ? { openpgp: await this.#oneOpenpgp(path + SUMS.seal, 'manifest') }
          : {}),
        manifest: sumsCheck(path, wanted, signer),
      });
      if (row.verified) this.records.set(path, bytes);
      rows.push(row);
    }
    return rows;
  }

  async payload(file: ManifestFile, manifest: Manifest, signer: string): Promise<TreeRow> {
    const { path, role, size } = file;
    return this.#row(path, role, await this.#payloadChecks(file, manifest, signer), size);
  }

  /**
   * What the manifest lists, by what it says of it: nothing of the payload is read.
   *
   * @throws Refusal the first of all.
   */
  async promised({ files, ...rest }: Manifest, signer: string): Promise<Promised[]> {
    const manifest = { files, ...rest };
    const found: Promised[] = [];
    for (let at = 0; at < files.length; at += AT_ONCE) {
      const some = files.slice(at, at + AT_ONCE).map(async (file) => {
        const checks = await this.#payloadChecks(file, manifest, signer);
        return promise(file, Object.values(checks));
      });
      // All of them, also where one is refused: nothing goes on behind the caller's back.
      const ends = await Promise.allSettled(some);
      for (const end of ends) {
        if (end.status === 'rejected') throw end.reason;
        found.push(end.value);
      }
    }
    return found;
  }

  async #payloadChecks(file: ManifestFile, manifest: Manifest, signer: string): Promise<Cells<Check>> {
    const { path } = file;
    const { release } = manifest;
    // The hash tree has no seal of its own: what the kernel trusts is the root hash, and the manifest binds both.
    if (file.role === 'hashtree') return { manifest: manifestCheck(file, signer) };
    const { ca, codesign, openpgp } = this.#anchors;
    const { policy, now } = this.#terms;
    const loader = (seal: string, roots: readonly Certificate[]) =>
      this.#sealed('cms', seal, (bytes) => cmsCheck(seal, bytes, loaderRules(roots, release), policy, now));
    const others = this.#others.map((other) => loader(path + otherIpxeSeal(idOf(other)), other.ca));
    const checks: Partial<Record<Column, Check>> = {
      ipxe: allOf('cms', await Promise.all([loader(path + SEAL.ipxe, ca), ...others])),
      ...(codesign.length > 0 ? { cms: await this.#cms(path + SEAL.cms, 'codesign') } : {}),
      ...(openpgp.payload.length > 0 ? { openpgp: await this.#openpgp(path + SEAL.openpgp, 'payload') } : {}),
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
    return checks;
  }

  async uki(manifest: Manifest, manifestSha256: string, anchors: SecureBootAnchors): Promise<TreeRow> {
    let check: Check;
    let size: number | undefined;
    try {
      const image = await this.#tree.read(UKI, MAX_PE);
      size = image.length;
      check = ukiCheck(UKI, image, anchors, { manifest, manifestSha256 });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      check = lost('uefi', error);
    }
    return this.#row(UKI, 'loader', { uefi: check }, size);
  }

  /**
   * The same, as soon as it comes.
   *
   * @throws Refusal `no-verdict` where the tree lists no digests, so that nobody knows what is to come.
   */
  async promisedUki(
    manifest: Manifest,
    manifestSha256: string,
    anchors: SecureBootAnchors,
  ): Promise<Promised | undefined> {
    const file = await this.#tree.open(UKI);
    try {
      const { size, listedSha256: sha256 } = file;
      if (sha256 === undefined)
        throw new Refusal('no-verdict', `${UKI} would have to be read for this.`, { path: UKI });
      return promiseUnlisted({ path: UKI, size, sha256 }, MAX_PE, (image) =>
        ukiCheck(UKI, image, anchors, { manifest, manifestSha256 }),
      );
    } finally {
      await file.close();
    }
  }

  /** The root hash beside an image, its seal, and the trees themselves. */
  async #verity(path: string, manifest: Manifest, signer: string): Promise<Check> {
    const line = manifest.verity.find((candidate) => candidate.path === path);
    const check = verityCheck(manifest, path, signer);
    if (!line) return check;
    const name = path + VERITY.rootHash;
    try {
      const bytes = await this.#tree.read(name, MAX_RECORD);
      this.records.set(name, bytes);
      demandRootHash(name, bytes, line.rootHash);
      if (this.#anchors.manifest.length === 0) return check;
      const { findings } = await examine(bytesContent(bytes), [
        await this.#cms(name + VERITY.seal, 'manifest'),
      ]);
      const [seal] = findings;
      return seal && !seal.verified ? lost('verity', seal.refusal) : check;
    } catch (error) {
      if (error instanceof Refusal) return lost('verity', error);
      throw error;
    }
  }

  /** By a leaf of this purpose, and no other of the site. */
  #cms(seal: string, purpose: 'codesign' | 'manifest'): Promise<Check> {
    const { [purpose]: leaves, ca } = this.#anchors;
    return this.#sealed('cms', seal, (bytes) =>
      cmsCheck(seal, bytes, leafRules(leaves, ca), this.#terms.policy, this.#terms.now),
    );
  }

  /** The seal; where the policy wants several keys, also those beside it: `F.<16 hex of a key id>.sig`. */
  async #openpgp(seal: string, purpose: OpenpgpPurpose): Promise<Check> {
    const first = await this.#oneOpenpgp(seal, purpose);
    const { openpgpThreshold } = this.#terms.policy;
    if (openpgpThreshold === 1) return first;
    const stem = seal.slice(0, -SEAL.openpgp.length);
    const folder = dirname(stem);
    const names = await this.#tree.list(folder === '.' ? '' : folder);
    const beside = names
      .map((name) => (folder === '.' ? name : `${folder}/${name}`))
      .filter((name) => name.startsWith(`${stem}.`) && /^\.[0-9a-f]{16}\.sig$/.test(name.slice(stem.length)))
      .slice(0, MAX_COSIGNERS);
    const others = await Promise.all(beside.map((name) => this.#oneOpenpgp(name, purpose)));
    return thresholdCheck(stem, openpgpThreshold, [first, ...others]);
  }

  #oneOpenpgp(seal: string, purpose: OpenpgpPurpose): Promise<Check> {
    return this.#sealed('openpgp', seal, (bytes) =>
      openpgpCheck(seal, bytes, this.#anchors.openpgp[purpose], this.#terms.policy, this.#terms.now, 'grub'),
    );
  }

  async #sealed(name: CheckName, path: string, make: (bytes: Uint8Array) => Check): Promise<Check> {
    try {
      const bytes = await this.#tree.read(path, MAX_RECORD);
      this.records.set(path, bytes);
      return make(bytes);
    } catch (error) {
      if (error instanceof Refusal) return lost(name, error);
      throw error;
    }
  }

  /** A record, kept in memory: what is decoded later is what was verified, not what stands there then. */
  async #record(
    path: string,
    role: TreeRow['role'],
    checks: Cells<Check>,
  ): Promise<{ row: TreeRow; bytes: Uint8Array }> {
    let bytes: Uint8Array = new Uint8Array();
    const examined = async () => {
      bytes = await this.#tree.read(path, MAX_RECORD);
      return examine(bytesContent(bytes), Object.values(checks));
    };
    return { row: await rowOf(path, role, checks, examined), bytes };
  }

  /** @param size what is signed about the file's size, compared before its first byte is read; undefined: nothing is. */
  #row(
    path: string,
    role: TreeRow['role'],
    checks: Cells<Check>,
    size: number | undefined,
  ): Promise<TreeRow> {
    return rowOf(path, role, checks, async () => {
      const file = await this.#tree.open(path);
      try {
        // A file of another length is not the one that was signed. Were it read all the same, a hole of eight
        // tebibytes (four kibibytes on disk) would keep every verifier busy for hours.
        if (size !== undefined && file.size !== size) throw otherSize(path, file.size, size);
        const remembered = new RememberedFile(file);
        const examined = await examine(remembered, Object.values(checks));
        this.memory.set(path, remembered);
        return { ...examined, place: file.place };
      } finally {
        await file.close();
      }
    });
  }
}
