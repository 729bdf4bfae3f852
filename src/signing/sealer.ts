import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { encodeChecksums } from '../formats/checksums.ts';
import { Malformed } from '../formats/malformed.ts';
import { encodeManifest, type Manifest, type ManifestFile } from '../formats/manifest.ts';
import { removeTemporaries, writeFileAtomically } from '../release/atomic-file.ts';
import { demandSameFile, identityOf } from '../release/file-identity.ts';
import type { Artifact, Layout } from '../release/layout.ts';
import { bytesContent, type MeasuredFile, measureFile, openRegular } from '../release/measure.ts';
import type { Answer, Question } from '../release/measurer.ts';
import { Refusal } from '../release/refusal.ts';
import { checksumPath, otherBootIpxe, otherIpxeSeal, RECORD, SEAL } from '../release/seal-names.ts';
import type { CertifiedKey, Keys, LoaderKeys } from './key-folder.ts';
import { ReleaseLeaf } from './release-leaf.ts';
import { planCms, planOpenpgp, type SealPlan } from './seal-plan.ts';
import { keySigner } from './signer.ts';

export interface SealOptions {
  /** Milliseconds since 1970, whole seconds: the only clock in any output. */
  readonly issued: number;
  readonly bestBefore: number;
  readonly serial: number;
  /** Renders the boot scripts, which carry the manifest's digest. */
  readonly compose: (manifest: Manifest, manifestSha256: string) => Scripts;
  readonly onProgress?: (artifact: Artifact, octets: number) => void;
  /** Overrides the release leaf's RSA modulus length. */
  readonly rsaBits?: number;
  /** Other CAs whose loaders shall start this release too: iPXE seals once more, by their keys. */
  readonly others?: readonly OtherCa[];
}

/** A CA that is being replaced, or that replaces ours. */
export interface OtherCa {
  /** First 16 hex digits of its SHA-256. */
  readonly id: string;
  readonly keys: LoaderKeys;
}

export interface Scripts {
  readonly bootIpxe: Uint8Array;
  readonly grubCfg: Uint8Array;
  /** `boot.ipxe` for the loaders of each other CA, by its id. */
  readonly others?: ReadonlyMap<string, Uint8Array>;
}

/** One file that sealing answers for. */
export interface SealedFile {
  /** Relative to the tree. */
  readonly path: string;
  readonly outcome: 'written' | 'kept';
}

export interface Sealed {
  readonly manifest: Manifest;
  /** Lower-case hex. */
  readonly manifestSha256: string;
  readonly files: readonly SealedFile[];
}

/**
 * Seals a tree. Every artifact is read once; nothing is written before all of them have been read and every
 * signature made, and each file then appears whole.
 *
 * Throws a `Refusal` (`drifted` for an artifact that changes meanwhile) or a `WriteError`.
 */
export async function sealTree(
  tree: string,
  layout: Layout,
  keys: Keys,
  options: SealOptions,
): Promise<Sealed> {
  const others = options.others ?? [];
  demandDistinct(layout.artifacts, others);
  const leafOf = (of: LoaderKeys) =>
    new ReleaseLeaf(of, layout.release, options.issued, options.bestBefore, options.rsaBits);
  const leaves = new Map([
    [SEAL.ipxe as string, leafOf(keys)],
    ...others.map(({ id, keys: other }) => [otherIpxeSeal(id), leafOf(other)] as const),
  ]);
  const outputs: Output[] = [];
  const files: ManifestFile[] = [];
  const measured: { path: string; file: MeasuredFile }[] = [];
  for (const artifact of layout.artifacts) {
    const result = await sealArtifact(tree, artifact, keys, leaves, options);
    outputs.push(...result.outputs);
    files.push(result.file);
    measured.push({ path: artifact.path, file: result.measured });
  }
  const manifest: Manifest = {
    release: layout.release,
    serial: options.serial,
    issued: options.issued,
    bestBefore: options.bestBefore,
    arch: layout.arch,
    cmdline: layout.cmdline,
    free: layout.free,
    shell: false,
    files,
    verity: [],
    fsverity: [],
  };
  const manifestBytes = manifestOf(manifest);
  const manifestSha256 = createHash('sha256').update(manifestBytes).digest('hex');
  const scripts = options.compose(manifest, manifestSha256);
  const { boot, codesign, openpgp, ca } = keys;
  const cms = (key: CertifiedKey, withChain: boolean) => (existing: Uint8Array | undefined) =>
    planOwnCms(existing, key, withChain ? [key.certificate.raw, ca.certificate.raw] : []);
  const pgp = (existing: Uint8Array | undefined) => planOpenpgp(existing, openpgp, options.issued);
  outputs.push(
    ...(await sealRecord(tree, RECORD.bootIpxe, scripts.bootIpxe, { [SEAL.openpgp]: cms(boot, true) })),
    ...(await sealRecord(tree, RECORD.grubCfg, scripts.grubCfg, { [SEAL.openpgp]: pgp })),
    ...(await sealRecord(tree, RECORD.manifest, manifestBytes, {
      [SEAL.cms]: cms(codesign, false),
      [SEAL.openpgp]: pgp,
    })),
  );
  for (const { id, keys: other } of others) {
    const script = scripts.others?.get(id);
    if (!script) throw new RangeError(`no boot script for the CA ${id}`);
    const sealed = (existing: Uint8Array | undefined) =>
      planOwnCms(existing, other.boot, [other.boot.certificate.raw, other.ca.certificate.raw]);
    outputs.push(...(await sealRecord(tree, otherBootIpxe(id), script, { [SEAL.openpgp]: sealed })));
  }
  // The last look before anything is written: what was signed must still be what stands there.
  for (const { path, file } of measured) await demandUnchanged(join(tree, path), file);
  const folders = new Set(outputs.map(({ path }) => dirname(join(tree, path))));
  for (const folder of folders) await removeTemporaries(folder);
  for (const { path, bytes } of outputs) if (bytes) await writeFileAtomically(join(tree, path), bytes);
  return {
    manifest,
    manifestSha256,
    files: outputs.map(({ path, bytes }) => ({ path, outcome: bytes ? 'written' : 'kept' })),
  };
}

/** What the operator asks for may be more than a manifest can say: `init=` on the command line. */
function manifestOf(manifest: Manifest): Uint8Array {
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
    ...artifacts.filter(({ role }) => role === 'rootfs').map(({ path }) => checksumPath(path)),
    ...[RECORD.bootIpxe, RECORD.grubCfg].flatMap((name) => [name, name + SEAL.openpgp]),
    ...[RECORD.manifest, RECORD.manifest + SEAL.cms, RECORD.manifest + SEAL.openpgp],
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

/** A file to write; without bytes, one that stands already and holds. */
interface Output {
  readonly path: string;
  readonly bytes: Uint8Array | undefined;
}

async function sealArtifact(
  tree: string,
  artifact: Artifact,
  keys: Keys,
  leaves: ReadonlyMap<string, ReleaseLeaf>,
  options: SealOptions,
): Promise<{ file: ManifestFile; outputs: Output[]; measured: MeasuredFile }> {
  const path = join(tree, artifact.path);
  const existing = (suffix: string) => readExisting(path + suffix);
  const plans: Record<string, SealPlan> = {};
  for (const [suffix, leaf] of leaves) {
    plans[suffix] = planCms(await existing(suffix), leaf.signer, await leaf.question(), leaf.wanted);
  }
  Object.assign(plans, {
    [SEAL.cms]: planOwnCms(await existing(SEAL.cms), keys.codesign, []),
    [SEAL.openpgp]: planOpenpgp(await existing(SEAL.openpgp), keys.openpgp, options.issued),
  });
  const digests: Question[] = [
    { kind: 'digest', hash: 'sha256' },
    { kind: 'digest', hash: 'sha512' },
  ];
  const questions = [...digests, ...Object.values(plans).flatMap((plan) => plan.questions)];
  const measured = await measureFile(path, questions, {
    onProgress: (octets) => options.onProgress?.(artifact, octets),
  });
  const [sha256, sha512, ...rest] = measured.answers;
  const outputs: Output[] = [];
  for (const [suffix, plan] of Object.entries(plans)) {
    const answers = rest.splice(0, plan.questions.length) as Answer[];
    outputs.push({ path: artifact.path + suffix, bytes: await plan.finish(answers) });
  }
  const file = { ...artifact, size: measured.size, sha256: hex(sha256), sha512: hex(sha512) };
  if (artifact.role === 'rootfs') {
    const name = checksumPath(artifact.path);
    const line = Buffer.from(encodeChecksums([{ name: basename(artifact.path), digest: file.sha512 }]));
    outputs.push({ path: name, bytes: same(await readExisting(join(tree, name)), line) ? undefined : line });
  }
  return { file, outputs, measured };
}

/** A small record and its seals; the record itself is written too where it differs. */
async function sealRecord(
  tree: string,
  name: string,
  bytes: Uint8Array,
  plans: Readonly<Record<string, (existing: Uint8Array | undefined) => SealPlan>>,
): Promise<Output[]> {
  const path = join(tree, name);
  const outputs: Output[] = [
    { path: name, bytes: same(await readExisting(path), bytes) ? undefined : bytes },
  ];
  for (const [suffix, plan] of Object.entries(plans)) {
    const made = plan(await readExisting(path + suffix));
    const { answers } = await bytesContent(bytes).measure(made.questions);
    outputs.push({ path: name + suffix, bytes: await made.finish(answers) });
  }
  return outputs;
}

/** A CMS seal by one of the site's own certificates. */
function planOwnCms(
  existing: Uint8Array | undefined,
  key: CertifiedKey,
  chain: readonly Uint8Array[],
): SealPlan {
  const signer = keySigner(key, chain);
  return planCms(
    existing,
    async () => signer,
    signer.question,
    ({ signers: [info], certificates }) =>
      info &&
      Buffer.compare(info.issuer, key.certificate.issuer) === 0 &&
      Buffer.compare(info.serialNumber, key.certificate.serialNumber) === 0 &&
      certificates.length === chain.length &&
      // Every one of them: iPXE builds its chain from these octets and no others.
      certificates.every(({ raw }) => chain.some((wanted) => Buffer.compare(raw, wanted) === 0))
        ? key.certificate
        : undefined,
  );
}

async function demandUnchanged(path: string, file: MeasuredFile): Promise<void> {
  const { handle } = await openRegular(path);
  try {
    demandSameFile(path, file.identity, identityOf(await handle.stat({ bigint: true })));
  } finally {
    await handle.close();
  }
}

/** An output that stands already. A symlink or folder in its place is refused: it would be written through. */
async function readExisting(path: string): Promise<Uint8Array | undefined> {
  try {
    const { handle, identity } = await openRegular(path);
    await handle.close();
    // Larger than any seal or record can be: not ours, and not worth reading.
    return identity.size > 1024n * 1024n ? undefined : await readFile(path);
  } catch (error) {
    if (error instanceof Refusal && error.code === 'absent') return undefined;
    throw error;
  }
}

function same(a: Uint8Array | undefined, b: Uint8Array): boolean {
  return a !== undefined && Buffer.compare(a, b) === 0;
}

function hex(answer: Answer | undefined): string {
  return Buffer.from(answer as Uint8Array).toString('hex');
}
