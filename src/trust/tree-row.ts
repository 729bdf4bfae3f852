import { Refusal } from '../errors/refusal.ts';
import type { FilePlace } from '../files/tree.ts';
import type { ManifestFile } from '../formats/records/manifest.ts';
import type { Check } from './check.ts';
import type { Examined, Finding, Verified } from './verify.ts';

/** The columns of a tree's verdict. */
export type Column = 'ipxe' | 'cms' | 'openpgp' | 'checksum' | 'manifest' | 'verity' | 'uefi';

/** What became of one file of a sealed tree. */
export interface TreeRow {
  /** Relative to the tree. */
  readonly path: string;
  readonly role: ManifestFile['role'] | 'script' | 'manifest' | 'checksums' | 'loader';
  readonly cells: Readonly<Partial<Record<Column, Finding>>>;
  /** Undefined unless every cell is verified. */
  readonly verified: Verified | undefined;
  /** Where the file is on this machine, as it was when it was read; undefined where it is on none. */
  readonly place: FilePlace | undefined;
}

/** One for each column that a file has. */
export type Cells<T> = Partial<Record<Column, T>>;

/** A script's row, and the manifest it names. */
export interface ScriptRow extends TreeRow {
  /** Lower-case hex; undefined unless it is verified and names exactly one. */
  readonly names: string | undefined;
}

/** What was examined of a file, and where that lay. */
export interface ExaminedFile extends Examined {
  readonly place?: FilePlace | undefined;
}

/** The row of a file, also where it cannot be had: then every check of it is refused for that. */
export async function rowOf(
  path: string,
  role: TreeRow['role'],
  checks: Cells<Check>,
  examined: () => Promise<ExaminedFile>,
): Promise<TreeRow> {
  const columns = Object.keys(checks) as Column[];
  const cells: Cells<Finding> = {};
  try {
    const { findings, verified, place } = await examined();
    for (const [index, finding] of findings.entries()) {
      const column = columns[index];
      if (column) cells[column] = finding;
    }
    return { path, role, cells, verified, place };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    for (const column of columns) {
      const { name: check = 'manifest', lost = error } = checks[column] ?? {};
      cells[column] = { check, verified: false, refusal: lost };
    }
    return { path, role, cells, verified: undefined, place: undefined };
  }
}

/** The same row, not verified. */
export function withRefusal(row: TreeRow, refusal: Refusal): TreeRow {
  const finding: Finding = { check: 'manifest', verified: false, refusal };
  return { ...row, cells: { ...row.cells, manifest: finding }, verified: undefined };
}
