import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Refusal } from '../errors/refusal.ts';
import type { Manifest } from '../formats/records/manifest.ts';
import { otherBootIpxe, otherCaOf, RECORD, UKI } from '../formats/records/seal-names.ts';
import type { Anchors } from './anchors.ts';
import { idOf, TreeJudge, type TreeRow, type VerifyTreeOptions } from './tree-judge.ts';

export interface TreeVerdict {
  readonly manifest: Manifest | undefined;
  /** Lower-case hex. */
  readonly manifestSha256: string;
  readonly rows: readonly TreeRow[];
  /** Seals and records, by path, byte for byte as they were verified. */
  readonly small: ReadonlyMap<string, Uint8Array>;
  /**
   * Boot scripts for the loaders of CAs whose anchors were not given, and a UKI where those hold no `db.crt`. Nothing
   * was verified of them or of the seals they name, so nothing of that is published or served.
   */
  readonly unjudged: readonly string[];
  /** The first refusal of all, or undefined: everything is verified. */
  readonly refusal: Refusal | undefined;
}

/**
 * Verifies a sealed tree as its clients will: every seal of every file that the manifest lists, and of the
 * records. Reads each file once. A refusal becomes a cell, so that the whole table can be shown.
 *
 * A column for which `anchors` hold no key is left out. With a CA alone, the manifest is the one that the
 * verified boot script names.
 */
export async function verifyTree(
  tree: string,
  anchors: Anchors,
  options: VerifyTreeOptions,
): Promise<TreeVerdict> {
  const judge = new TreeJudge(tree, anchors, options);
  const { manifest, sha256, signer, rows } = await records(judge, anchors, options);
  // 4. The payload: every seal, and what the manifest says of it.
  for (const file of manifest?.files ?? [])
    if (manifest) rows.push(await judge.payload(file, manifest, signer));
  // 5. The whole boot in one file, where there is one: as firmware judges it, and made of this very release.
  const hasUki = await isThere(join(tree, UKI));
  if (hasUki && manifest && anchors.secureBoot)
    rows.push(await judge.uki(manifest, sha256, anchors.secureBoot));
  return {
    manifest,
    manifestSha256: sha256,
    rows,
    small: judge.small,
    unjudged: [
      ...(await unjudged(tree, options.others ?? [])),
      ...(hasUki && !anchors.secureBoot ? [UKI] : []),
    ],
    refusal: firstRefusal(rows),
  };
}

/** What the records of a sealed tree say. No payload was read, so none of it may be served on this word. */
export interface RecordsVerdict {
  readonly manifest: Manifest | undefined;
  /** Lower-case hex. */
  readonly manifestSha256: string;
  /** Records and their seals, by path, byte for byte as they were verified. */
  readonly small: ReadonlyMap<string, Uint8Array>;
  readonly refusal: Refusal | undefined;
}

/**
 * Verifies the records of a sealed tree (manifest, scripts, their seals, and that they name each other) as
 * `verifyTree` does, whatever the age of the release: best-before may be long past.
 */
export async function verifyRecords(
  tree: string,
  anchors: Anchors,
  options: Omit<VerifyTreeOptions, 'onProgress'>,
): Promise<RecordsVerdict> {
  const judge = new TreeJudge(tree, anchors, options, true);
  const { manifest, sha256, rows } = await records(judge, anchors, options);
  return { manifest, manifestSha256: sha256, small: judge.small, refusal: firstRefusal(rows) };
}

interface JudgedRecords {
  readonly manifest: Manifest | undefined;
  /** Lower-case hex. */
  readonly sha256: string;
  /** Who signed the manifest. */
  readonly signer: string;
  readonly rows: TreeRow[];
}

async function records(
  judge: TreeJudge,
  anchors: Anchors,
  options: VerifyTreeOptions,
): Promise<JudgedRecords> {
  // 1. The script that every loader begins with.
  const boot = await judge.script(RECORD.bootIpxe, 'ipxe');
  // 2. The manifest: by the codesign leaf and by OpenPGP.
  const { row, manifest, sha256, signer } = await judge.manifest(boot);
  // 3. The scripts are bound to this manifest and no other.
  const scripts = [
    boot,
    ...(await Promise.all(
      (options.others ?? []).map((other) => judge.script(otherBootIpxe(idOf(other)), 'ipxe', other)),
    )),
    ...(anchors.openpgp.length > 0 ? [await judge.script(RECORD.grubCfg, 'openpgp')] : []),
  ];
  const rows: TreeRow[] = [row, ...scripts.map((script) => judge.bound(script, sha256))];
  return { manifest, sha256, signer, rows };
}

function firstRefusal(rows: readonly TreeRow[]): Refusal | undefined {
  const refused = rows.flatMap(({ cells }) => Object.values(cells)).find((finding) => !finding.verified);
  return refused && !refused.verified ? refused.refusal : undefined;
}

async function isThere(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined)) !== undefined;
}

async function unjudged(tree: string, others: readonly Anchors[]): Promise<string[]> {
  const known = others.map((other) => otherBootIpxe(idOf(other)));
  const names = await readdir(tree).catch(() => []);
  return names.filter((name) => otherCaOf(name) !== undefined && !known.includes(name)).sort();
}
