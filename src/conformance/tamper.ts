import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { FolderTree } from '../files/folder-tree.ts';
import { readKeyFolder } from '../signing/keys/key-folder.ts';
import { defaultPolicy } from '../trust/policy.ts';
import { DEFAULT_POLICY_FILE } from '../trust/policy-file.ts';
import { readTrustRoots } from '../trust/trust-roots.ts';
import { Verifier } from '../trust/verifier.ts';
import type { Attack } from './tamper/attack.ts';
import { byteAttacks } from './tamper/bytes.ts';
import { channelAttacks } from './tamper/channels.ts';
import { clockAttacks } from './tamper/clocks.ts';
import { Columns } from './tamper/columns.ts';
import { grubRoleAttacks } from './tamper/grub-roles.ts';
import { machineAttacks } from './tamper/machines.ts';
import { manifestAttacks } from './tamper/manifests.ts';
import { Matrix, type MatrixCell, type MatrixRow } from './tamper/matrix.ts';
import type { Column } from './tamper/matrix-columns.ts';
import { mixAttacks } from './tamper/mixes.ts';
import { multibootAttacks, withoutIpxe } from './tamper/multiboot.ts';
import { roleAttacks } from './tamper/roles.ts';
import { scriptAttacks } from './tamper/scripts.ts';
import { formAttacks } from './tamper/seal-forms.ts';
import { signerAttacks } from './tamper/signers.ts';
import { TamperSite } from './tamper/site.ts';
import { sizeAttacks } from './tamper/sizes.ts';

export type { MatrixCell, MatrixRow } from './tamper/matrix.ts';

export interface TamperOptions {
  /** A sealed tree; it is copied, and only the copy is touched. */
  readonly tree: string;
  /** The `init` folder that sealed it: some attacks are by whoever stole a key. */
  readonly keys: string;
  /** What loaders and operators start from; default: those of `keys`. */
  readonly anchors?: string;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Only attacks whose name holds this. */
  readonly attack?: string;
  /** An `init` folder of somebody else's, for the attacks by strangers; default: one is made. */
  readonly stranger?: string;
  readonly onRow?: (row: MatrixRow, done: number, all: number) => void;
  /** Called often; what it throws ends the run, and the copy is removed. */
  readonly onProgress?: () => void;
}

export interface Deviation extends MatrixCell {
  readonly attack: string;
  readonly column: Column;
  readonly deviation: string;
}

export interface TamperResult {
  readonly release: string;
  readonly rows: readonly MatrixRow[];
  /** Cells that are not as they must be; none: every attack was refused by whoever must refuse it. */
  readonly deviations: readonly Deviation[];
}

/** Every attack that there is for this release. */
export function attacksOn(site: TamperSite): Attack[] {
  const seenByLoaders = (attacks: readonly Attack[]) =>
    site.startsByGrub ? attacks.map(withoutIpxe) : attacks;
  return [
    ...seenByLoaders([
      ...byteAttacks(site),
      ...signerAttacks(site),
      ...roleAttacks(site),
      ...formAttacks(site),
    ]),
    ...scriptAttacks(site),
    ...seenByLoaders(grubRoleAttacks(site)),
    ...multibootAttacks(site),
    ...manifestAttacks(site),
    ...seenByLoaders(mixAttacks(site)),
    ...clockAttacks(site),
    ...seenByLoaders(sizeAttacks(site)),
    ...machineAttacks(site),
    ...channelAttacks(),
  ];
}

/**
 * Breaks a copy of a sealed tree in every way we know, one at a time, and lets every client judge it.
 *
 * @throws Refusal where the tree is refused untouched; UsageError where no attack bears that name, or the matrix does
 *   not know such a tree; IoError.
 */
export async function tamper(options: TamperOptions): Promise<TamperResult> {
  const { tree, now, onProgress = () => {} } = options;
  const keys = await readKeyFolder(options.keys, now);
  const roots = await readTrustRoots(options.anchors ?? options.keys);
  const anchors = roots.own;
  const policy = defaultPolicy(now);
  // The tree itself, symbolic links and all; of the copy nothing is taken on trust either.
  const { manifest, refusal, rows, records } = await new Verifier(
    roots,
    DEFAULT_POLICY_FILE,
    () => now,
  ).verify(new FolderTree(tree, { onProgress }));
  if (refusal) throw refusal;
  if (!manifest) throw new Refusal('no-verdict', `Nothing vouches for ${tree}.`, { path: tree });
  if (manifest.files.some(({ role }) => role === 'overlay'))
    throw new UsageError(
      `${tree} has an overlay, and what its early userspace must refuse is not in the matrix; seal a copy without it.`,
    );
  const paths = new Set([...rows.map(({ path }) => path), ...records.keys()]);
  const work = await mkdtemp(join(tmpdir(), 'bootseal-tamper-'));
  try {
    const stranger = options.stranger === undefined ? {} : { stranger: options.stranger };
    const site = await TamperSite.create({
      work,
      tree,
      paths: [...paths],
      manifest,
      keys,
      anchors,
      now,
      ...stranger,
    });
    const wanted = options.attack?.toLowerCase() ?? '';
    const attacks = attacksOn(site).filter(({ name }) => name.toLowerCase().includes(wanted));
    if (attacks.length === 0)
      throw new UsageError(
        `No attack on ${manifest.release} has ${JSON.stringify(options.attack)} in its name; leave --attack out to see all.`,
      );
    const matrix = new Matrix(site, new Columns(site, policy, onProgress));
    await matrix.begin();
    const done: MatrixRow[] = [];
    for (const attack of attacks) {
      onProgress();
      const row = await matrix.row(attack);
      done.push(row);
      options.onRow?.(row, done.length, attacks.length);
    }
    return { release: manifest.release, rows: done, deviations: done.flatMap(deviationsOf) };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

function deviationsOf({ attack, cells }: MatrixRow): Deviation[] {
  return Object.entries(cells).flatMap(([column, cell]) =>
    cell.deviation === undefined
      ? []
      : [{ attack, column: column as Column, ...cell, deviation: cell.deviation }],
  );
}
