import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import { measureBeneath, readBeneathIfThere } from '../files/beneath.ts';
import { demandSameFile } from '../files/file-identity.ts';
import { bytesContent, type MeasuredFile } from '../files/measure.ts';
import type { Answer, Question } from '../files/measurer.ts';
import { encodeChecksums } from '../formats/records/checksums.ts';
import {
  encodeManifest,
  type FsVerity,
  type Manifest,
  type ManifestFile,
  type Verity,
} from '../formats/records/manifest.ts';
import {
  checksumPath,
  otherBootIpxe,
  otherIpxeSeal,
  RECORD,
  SEAL,
  SUMS,
  VERITY,
} from '../formats/records/seal-names.ts';
import { sumsOf, sumsPaths } from '../formats/records/sums.ts';
import { encodeRootHash } from '../formats/verity/dm-verity.ts';
import type { VerityTrees } from '../formats/verity/verity-sink.ts';
import { BLOCK_SIZE } from '../formats/verity/verity-tree.ts';
import type { Artifact, Layout } from '../release/layout.ts';
import { type LeafOrder, type LeafTerms, leafOrder } from './keys/release-leaf.ts';
import { demandPayload, type LookedAt } from './payload-content.ts';
import {
  isLeaf,
  type KeyName,
  type LoaderKeyName,
  payloadSeals,
  recordSeals,
  type SealKeys,
} from './seal-keys.ts';
import type { SealPlan, UnsignedSeal } from './seal-plan.ts';
import type { Signatories } from './signatories.ts';
import { type OtherCa, SitePlans } from './site-plans.ts';

export interface DraftOptions {
  /** Milliseconds since 1970, whole seconds: the only clock in any output. */
  readonly issued: number;
  readonly bestBefore: number;
  readonly serial: number;
  /** Renders the boot scripts, which carry the manifest's digest. */
  readonly compose: (manifest: Manifest, manifestSha256: string) => Scripts;
  readonly onProgress?: (artifact: Artifact, octets: number) => void;
  /** Hears of a payload that has no shape which its role is known to have, and what it is not. */
  readonly onUnlike?: (artifact: Artifact, what: string) => void;
  /** Hears what a payload's first bytes say, before any of it is hashed; what this throws ends the act. */
  readonly onLook?: (artifact: Artifact, seen: LookedAt) => void;
  /** Hears of a release leaf as soon as it is sure that seals will be lacking of it: its key can be made meanwhile. */
  readonly onLeaf?: (name: KeyName, order: LeafOrder) => void;
  /** Overrides the release leaf's RSA modulus length. */
  readonly rsaBits?: number;
  readonly others?: readonly OtherCa[];
}

export interface Scripts {
  readonly bootIpxe: Uint8Array;
  readonly grubCfg: Uint8Array;
  /** `boot.ipxe` for the loaders of each other CA, by its id. */
  readonly others?: ReadonlyMap<string, Uint8Array>;
}

/** One file that a sealed tree shall have; paths are relative to the tree. */
export type DraftFile =
  | { readonly kind: 'record'; readonly path: string; readonly bytes: Uint8Array }
  /** A hash tree: made of the root image, and listed in the manifest as payload is. */
  | {
      readonly kind: 'made';
      readonly path: string;
      readonly sha256: string;
      readonly pieces: readonly Uint8Array[];
    }
  /** A seal that stands already, by the wanted key, and holds. */
  | { readonly kind: 'kept'; readonly path: string }
  | LackingSeal;

/** A seal that lacks its signature. */
export interface LackingSeal {
  readonly kind: 'lacking';
  readonly path: string;
  /** What it stands beside. */
  readonly of: string;
  /** Bytes of that. */
  readonly size: number;
  readonly by: KeyName;
  readonly seal: UnsignedSeal;
}

/** A tree that was read: all that sealing can know without a private key. */
export interface TreeDraft {
  readonly manifest: Manifest;
  /** Lower-case hex. */
  readonly manifestSha256: string;
  readonly files: readonly DraftFile[];
  /** The release leaves that seals are lacking of. */
  readonly leaves: ReadonlyMap<KeyName, LeafOrder>;
  /** Artifacts as they were read. */
  readonly measured: readonly { readonly path: string; readonly file: MeasuredFile }[];
}

/**
 * Reads a tree, every artifact once, and answers what its seals shall be. Writes nothing.
 *
 * Throws a `Refusal` (`drifted` for an artifact that changes meanwhile).
 */
export async function draftTree(
  tree: string,
  layout: Layout,
  signatories: Signatories,
  options: DraftOptions,
): Promise<TreeDraft> {
  const others = options.others ?? [];
  demandDistinct(layout.artifacts, others);
  const draft = new Drafter(tree, layout.release, signatories, options);
  const files: ManifestFile[] = [];
  const startsModule = layout.moduleCmdline !== undefined;
  for (const artifact of layout.artifacts) files.push(...(await draft.artifact(artifact, startsModule)));
  const manifest: Manifest = {
    release: layout.release,
    serial: options.serial,
    issued: options.issued,
    bestBefore: options.bestBefore,
    arch: layout.arch,
    layout: layout.layout,
    cmdline: layout.cmdline,
    ...(layout.moduleCmdline === undefined ? {} : { moduleCmdline: layout.moduleCmdline }),
    free: layout.free,
    shell: false,
    files,
    verity: draft.verity,
    fsverity: draft.fsverity,
  };
  const manifestBytes = manifestOf(manifest);
  const manifestSha256 = createHash('sha256').update(manifestBytes).digest('hex');
  const scripts = options.compose(manifest, manifestSha256);
  await draft.record(RECORD.bootIpxe, scripts.bootIpxe);
  await draft.record(RECORD.grubCfg, scripts.grubCfg);
  await draft.record(RECORD.manifest, manifestBytes);
  for (const { path, bytes } of sumsOf(manifest, manifestSha256)) await draft.record(path, bytes);
  for (const { id } of others) {
    const script = scripts.others?.get(id);
    if (!script) throw new RangeError(`no boot script for the CA ${id}`);
    await draft.record(otherBootIpxe(id), script);
  }
  return {
    manifest,
    manifestSha256,
    files: draft.files,
    leaves: draft.leaves,
    measured: draft.measured,
  };
}

class Drafter {
  readonly #tree: string;
  readonly #site: SitePlans;
  readonly #terms: LeafTerms;
  readonly #options: DraftOptions;
  readonly files: DraftFile[] = [];
  readonly leaves = new Map<KeyName, LeafOrder>();
  readonly measured: { path: string; file: MeasuredFile }[] = [];
  readonly verity: Verity[] = [];
  readonly fsverity: FsVerity[] = [];

  constructor(tree: string, release: string, signatories: Signatories, options: DraftOptions) {
    this.#tree = tree;
    this.#site = new SitePlans(signatories, options.others);
    this.#terms = { release, ...options };
    this.#options = options;
  }

  /** An artifact, and what was made of it that the manifest lists, too. */
  async artifact(artifact: Artifact, startsModule: boolean): Promise<ManifestFile[]> {
    const { path, role } = artifact;
    const ids = (this.#options.others ?? []).map(({ id }) => id);
    const plans = await this.#plans(path, payloadSeals(ids));
    const digests: Question[] = [
      { kind: 'digest', hash: 'sha256' },
      { kind: 'digest', hash: 'sha512' },
    ];
    if (role === 'rootfs') digests.push({ kind: 'verity' });
    const questions = [...digests, ...plans.flatMap(({ plan }) => plan.questions)];
    const seen = await demandPayload(this.#tree, artifact, startsModule);
    const { identity: looked, unlike } = seen;
    this.#options.onLook?.(artifact, seen);
    if (unlike !== undefined) this.#options.onUnlike?.(artifact, unlike);
    const measured = await measureBeneath(this.#tree, path, questions, {
      alone: true,
      onProgress: (octets) => this.#options.onProgress?.(artifact, octets),
    });
    demandSameFile(path, looked, measured.identity);
    const [sha256, sha512] = measured.answers;
    this.#finish(path, measured.size, plans, measured.answers.slice(digests.length));
    this.measured.push({ path, file: measured });
    const file = { ...artifact, size: measured.size, sha256: hex(sha256), sha512: hex(sha512) };
    if (role !== 'rootfs') return [file];
    const line = encodeChecksums([{ name: basename(path), digest: file.sha512 }]);
    this.files.push({ kind: 'record', path: checksumPath(path), bytes: Buffer.from(line) });
    return [file, ...(await this.#trees(path, measured.answers[2] as VerityTrees))];
  }

  /**
   * dm-verity ignores what stands behind the last whole block: an image with such bytes has no tree, since
   * nothing of them would be checked. fs-verity fills the block up.
   */
  async #trees(path: string, { size, dmVerity, fsVerity }: VerityTrees): Promise<ManifestFile[]> {
    this.fsverity.push({ digest: hex(fsVerity.digest), path });
    if (!dmVerity || size % BLOCK_SIZE !== 0) return [];
    const { rootHash, dataBlocks, hashDevice: pieces } = dmVerity;
    this.verity.push({ rootHash: hex(rootHash), salt: '-', dataBlocks, path });
    const tree = {
      role: 'hashtree',
      size: pieces.reduce((sum, { length }) => sum + length, 0),
      sha256: digestOf('sha256', pieces),
      sha512: digestOf('sha512', pieces),
      path: path + VERITY.tree,
    } as const;
    this.files.push({ kind: 'made', path: tree.path, sha256: tree.sha256, pieces });
    await this.record(path + VERITY.rootHash, encodeRootHash(rootHash));
    return [tree];
  }

  async record(name: string, bytes: Uint8Array): Promise<void> {
    this.files.push({ kind: 'record', path: name, bytes });
    const plans = await this.#plans(name, recordSeals(name));
    const questions = plans.flatMap(({ plan }) => plan.questions);
    const { answers } = await bytesContent(bytes).measure(questions);
    this.#finish(name, bytes.length, plans, answers);
  }

  async #plans(path: string, by: SealKeys): Promise<NamedPlan[]> {
    const plans: NamedPlan[] = [];
    for (const [suffix, key] of Object.entries(by)) {
      const seal = path + suffix;
      const plan = this.#site.plan(key, await readExisting(this.#tree, seal), this.#terms);
      if (plan.lacking && isLeaf(key)) this.#order(key);
      plans.push({ seal, key, plan });
    }
    return plans;
  }

  #finish(of: string, size: number, plans: readonly NamedPlan[], answers: readonly Answer[]): void {
    const rest = [...answers];
    for (const { seal: path, key: by, plan } of plans) {
      const seal = plan.finish(rest.splice(0, plan.questions.length));
      if (!seal) this.files.push({ kind: 'kept', path });
      else this.files.push({ kind: 'lacking', path, of, size, by, seal });
      if (seal && isLeaf(by)) this.#order(by);
    }
  }

  #order(leaf: LoaderKeyName): void {
    if (this.leaves.has(leaf)) return;
    const order = leafOrder(this.#site.loader(leaf).ca, this.#terms);
    this.leaves.set(leaf, order);
    this.#options.onLeaf?.(leaf, order);
  }
}

interface NamedPlan {
  readonly seal: string;
  readonly key: KeyName;
  readonly plan: SealPlan;
}

/** What the operator asks for may be more than a manifest can say: `init=` on the command line. */
export function manifestOf(manifest: Manifest): Uint8Array {
  try {
    return encodeManifest(manifest);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw new Refusal('malformed', `${manifest.release} cannot have such a manifest: ${error.message}.`, {
      release: manifest.release,
    });
  }
}

/** A seal would be written over an artifact that bears its name, or over another seal. */
function demandDistinct(artifacts: readonly Artifact[], others: readonly OtherCa[]): void {
  const taken = new Set(artifacts.map(({ path }) => path));
  const outputs = [
    ...artifacts.flatMap(({ path }) => Object.values(SEAL).map((suffix) => path + suffix)),
    ...artifacts
      .filter(({ role }) => role === 'rootfs')
      .flatMap(({ path }) => [
        ...[checksumPath(path), path + VERITY.tree],
        ...[path + VERITY.rootHash, path + VERITY.rootHash + VERITY.seal],
      ]),
    ...[RECORD.bootIpxe, RECORD.grubCfg].flatMap((name) => [name, name + SEAL.openpgp]),
    ...[RECORD.manifest, RECORD.manifest + SEAL.cms, RECORD.manifest + SEAL.openpgp],
    ...sumsPaths({ files: artifacts }).flatMap((path) => [path, path + SUMS.seal]),
    ...others.flatMap(({ id }) => [
      ...[otherBootIpxe(id), otherBootIpxe(id) + SEAL.openpgp],
      ...artifacts.map(({ path }) => path + otherIpxeSeal(id)),
    ]),
  ];
  for (const path of outputs) {
    if (taken.has(path)) {
      throw new Refusal('malformed', `${path} is the name of a seal or record; give the file another.`, {
        path,
      });
    }
    taken.add(path);
  }
}

/** Longer than any seal or record can be: not ours, and not worth reading. Bytes. */
export const LONGEST_SEAL = 1024 * 1024;

/**
 * An output that stands already; undefined where there is none, or none that could be ours. A symlink or folder in
 * its place is refused. What is there and cannot be read is an `IoError`: it would be signed anew.
 */
export async function readExisting(tree: string, path: string): Promise<Uint8Array | undefined> {
  try {
    return await readBeneathIfThere(tree, path, LONGEST_SEAL);
  } catch (error) {
    if (error instanceof Refusal && error.code === 'too-large') return undefined;
    throw error;
  }
}

function digestOf(hash: 'sha256' | 'sha512', pieces: readonly Uint8Array[]): string {
  const state = createHash(hash);
  for (const piece of pieces) state.update(piece);
  return state.digest('hex');
}

function hex(answer: Answer | undefined): string {
  return Buffer.from(answer as Uint8Array).toString('hex');
}
