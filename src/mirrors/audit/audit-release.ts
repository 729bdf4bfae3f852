import { Refusal } from '../../errors/refusal.ts';
import type { Manifest, ManifestFile } from '../../formats/records/manifest.ts';
import { RECORD } from '../../formats/records/seal-names.ts';
import type { ChannelRelease } from '../../formats/records/snapshot.ts';
import { BLOCK_SIZE } from '../../formats/verity/verity-tree.ts';
import { ReleaseJudge } from '../../trust/release-judge.ts';
import type { Column, TreeRow } from '../../trust/tree-row.ts';
import type { Verifier } from '../../trust/verifier.ts';
import { AuditedTree } from './audited-tree.ts';
import { draw, type Random } from './draw.ts';
import { type Drift, findDrift, sampleImage } from './image-blocks.ts';
import type { MirrorLink } from './mirror-link.ts';
import { caughtAtLeast, rangesOf, type Sampling } from './odds.ts';
import { RangedFile } from './ranged-file.ts';
import { SignedFile, treeWith } from './signed-file.ts';

/** Files without a hash tree that are read whole at every audit, bytes. */
const ALWAYS_READ = 1024 * 1024;

export interface ReleaseDepth {
  readonly complete: boolean;
  /** Of what is sampled, from above 0 to 1. */
  readonly share: number;
  /** Of 4096 bytes. */
  readonly rangeBlocks: number;
  /** The share of changed blocks that the odds are told for. */
  readonly tampered: number;
  readonly random: Random;
}

/** What was drawn of an image, and how likely that finds what was changed. */
export interface Sampled extends Sampling {
  /** Below the mirror. */
  readonly path: string;
  readonly ranges: number;
  /** Of blocks. */
  readonly tampered: number;
  /** The probability, at least, that changing that share shows. */
  readonly caught: number;
}

/** What an audit finds of one release on one mirror; filled while it goes on. */
export interface ReleaseFindings {
  readonly drifted: Drift[];
  readonly sampled: Sampled[];
  /** Below the mirror: files that were read whole. */
  readonly whole: string[];
  /** Files that no sample was drawn of: they are there and as long as they should be, and their seals are theirs. */
  readonly unsampled: string[];
  /** Seals that only the whole file can tell about. */
  readonly unjudged: string[];
  /** Why nobody boots it any more. */
  stale: Refusal | undefined;
}

/** Whether this says that a mirror could not be asked, and nothing about what it holds. */
export function isInterruption({ code, facts }: Refusal): boolean {
  return code === 'unreachable' || facts.budget !== undefined;
}

/**
 * Holds a release on a mirror against its records, and these against the snapshot that names it.
 *
 * @throws Refusal for an interruption (`isInterruption`); what is wrong with the release itself is among the findings.
 */
export async function auditRelease(
  link: MirrorLink,
  { release, manifest: sha256 }: ChannelRelease,
  verifier: Verifier,
  depth: ReleaseDepth,
  findings: ReleaseFindings,
): Promise<void> {
  const tree = new AuditedTree(link, release);
  // 1. The records, whole.
  const { manifest, manifestSha256, refusal } = await verifier.verifyRecords(tree);
  if (refusal) {
    // The verdict over all records does not say in its facts which of them it is about.
    const named = Object.values(RECORD).find((name) => refusal.message.includes(name));
    note(refusal, tree, named ?? RECORD.manifest, findings);
    return;
  }
  // 2. They are those that the snapshot names: somebody else's release is no less signed.
  if (!manifest || manifest.release !== release || manifestSha256 !== sha256) {
    const message = `${tree.below('release.manifest')} is ${manifest?.release ?? 'none'}, and not the ${release} that the snapshot names.`;
    findings.drifted.push({ path: tree.below('release.manifest'), message });
    return;
  }
  if (verifier.now > manifest.bestBefore) {
    const message = `${release} is past its best-before.`;
    findings.stale = new Refusal('stale', message, { release });
  }
  // 3. The payload.
  tree.manifest = manifest;
  const whole = wholeFiles(manifest, depth);
  for (const file of manifest.files) {
    if (whole.has(file)) await readWhole(link, tree, file, manifest, verifier, findings);
    else if (file.role !== 'hashtree')
      await readInPart(link, tree, file, manifest, verifier, depth, findings);
  }
}

/** Of files with a tree ranges are drawn; the others are drawn as wholes, at least one of them. */
function wholeFiles(
  { files, verity }: Manifest,
  { complete, share, random }: ReleaseDepth,
): Set<ManifestFile> {
  if (complete) return new Set(files);
  const treeless = files.filter(
    ({ role, path }) => role !== 'hashtree' && !verity.some((line) => line.path === path),
  );
  const large = treeless.filter(({ size }) => size > ALWAYS_READ);
  const drawn = large.length === 0 ? [] : draw(large.length, Math.ceil(large.length * share), random);
  return new Set([
    ...treeless.filter(({ size }) => size <= ALWAYS_READ),
    ...drawn.flatMap((at) => large[at] ?? []),
  ]);
}

async function readWhole(
  link: MirrorLink,
  tree: AuditedTree,
  file: ManifestFile,
  manifest: Manifest,
  verifier: Verifier,
  findings: ReleaseFindings,
): Promise<void> {
  const path = tree.below(file.path);
  const row = await judgeOf(tree, verifier).payload(file, manifest, '');
  findings.whole.push(path);
  const came = tree.trees.get(file.path);
  const verity = manifest.verity.find((line) => line.path === file.path);
  if (came && verity && !isGood(row, 'manifest')) {
    const block = await findDrift({ link, path, verity }, came);
    if (block) {
      findings.drifted.push(block);
      return;
    }
  }
  noteRow(row, tree, new Set(), findings);
}

async function readInPart(
  link: MirrorLink,
  tree: AuditedTree,
  file: ManifestFile,
  manifest: Manifest,
  verifier: Verifier,
  depth: ReleaseDepth,
  findings: ReleaseFindings,
): Promise<void> {
  const path = tree.below(file.path);
  const signed = new SignedFile(file, manifest);
  const row = await judgeOf(treeWith(tree, file.path, signed), verifier).payload(file, manifest, '');
  const unjudged = new Set<Column>([
    ...(signed.unjudged.has('openpgp') ? (['openpgp'] as const) : []),
    ...(signed.unjudged.has('cms') ? (['ipxe', 'cms'] as const) : []),
  ]);
  for (const column of unjudged) if (row.cells[column]) findings.unjudged.push(`${path} (${column})`);
  noteRow(row, tree, unjudged, findings);
  const verity = manifest.verity.find((line) => line.path === file.path);
  try {
    if (!verity) {
      // It is there, and as long as it should be.
      if (file.size > 0) await new RangedFile(link, path, file.size).read(file.size - 1, 1);
      findings.unsampled.push(path);
      return;
    }
    const sampling = samplingOf(verity.dataBlocks, depth);
    const drift = await sampleImage({ link, path, verity }, sampling, depth.random);
    findings.sampled.push(toldOdds(path, sampling, depth.tampered));
    if (drift) findings.drifted.push(drift);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    note(error, tree, file.path, findings);
  }
}

function samplingOf(blocks: number, { share, rangeBlocks }: ReleaseDepth): Sampling {
  const ranges = rangesOf({ blocks, rangeBlocks });
  return { blocks, rangeBlocks, drawn: Math.min(ranges, Math.ceil(ranges * share)) };
}

function toldOdds(path: string, sampling: Sampling, tampered: number): Sampled {
  const changed = Math.max(1, Math.ceil(sampling.blocks * tampered));
  return {
    ...sampling,
    path,
    ranges: rangesOf(sampling),
    tampered,
    caught: caughtAtLeast(sampling, changed),
  };
}

function judgeOf(
  tree: ConstructorParameters<typeof ReleaseJudge>[0],
  { roots, policy, now }: Verifier,
): ReleaseJudge {
  return new ReleaseJudge(tree, roots, { policy, now, anyAge: true });
}

function isGood({ cells }: TreeRow, column: Column): boolean {
  return cells[column]?.verified === true;
}

/** What a file is refused for. Where its content is another, its seals say no more than that. */
function noteRow(
  row: TreeRow,
  tree: AuditedTree,
  unjudged: ReadonlySet<Column>,
  findings: ReleaseFindings,
): void {
  const { manifest, ...seals } = row.cells;
  const columns = manifest && !manifest.verified ? { manifest } : seals;
  for (const [column, finding] of Object.entries(columns)) {
    if (finding.verified || unjudged.has(column as Column)) continue;
    note(finding.refusal, tree, row.path, findings);
  }
}

/** @param path in the release, where the refusal names none. */
function note(refusal: Refusal, tree: AuditedTree, path: string, findings: ReleaseFindings): void {
  if (isInterruption(refusal)) throw refusal;
  const { file, path: named } = refusal.facts;
  const where = typeof file === 'string' ? file : tree.below(typeof named === 'string' ? named : path);
  if (findings.drifted.some((other) => other.path === where && other.message === refusal.message)) return;
  findings.drifted.push({ path: where, message: refusal.message });
}

/** Bytes of a range, in whole blocks. */
export function blocksOf(bytes: number): number {
  return Math.max(1, Math.round(bytes / BLOCK_SIZE));
}
