import { Refusal } from '../errors/refusal.ts';
import type { Tree } from '../files/tree.ts';
import type { Manifest } from '../formats/records/manifest.ts';
import { otherBootIpxe, otherCaOf, RECORD, UKI } from '../formats/records/seal-names.ts';
import type { PinnedFile } from '../release/pin.ts';
import { lintGrubConfig } from '../scripts/grub-lint.ts';
import { type Finding as LintFinding, lintScript } from '../scripts/lint.ts';
import { nextMoment } from './moments.ts';
import type { Policy } from './policy.ts';
import type { PolicyFile } from './policy-file.ts';
import type { Promised } from './promise.ts';
import { type JudgingTerms, ReleaseJudge } from './release-judge.ts';
import { rememberedTree } from './remembered-tree.ts';
import { refusedLine } from './script-lines.ts';
import type { TreeRow } from './tree-row.ts';
import { idOf, type TrustRoots } from './trust-roots.ts';
import { readUnanchoredSeals } from './unanchored-seals.ts';
import {
  PromisedRelease,
  SEAL_OF_VERIFIER,
  type ServableRelease,
  VerifiedRelease,
} from './verified-release.ts';

/** What the records of a sealed tree say. No payload was read, so none of it may be served on this word. */
export interface RecordsVerdict {
  readonly manifest: Manifest | undefined;
  /** Lower-case hex. */
  readonly manifestSha256: string;
  /** Records and their seals, by path, byte for byte as they were verified. */
  readonly records: ReadonlyMap<string, Uint8Array>;
  /** The first refusal of all. */
  readonly refusal: Refusal | undefined;
}

/** What became of a sealed tree: a row for each file, and the release where everything held. */
export interface Verdict extends RecordsVerdict {
  readonly rows: readonly TreeRow[];
  /** What the linter has against the boot scripts. */
  readonly lint: readonly ScriptFinding[];
  /** See `VerifiedRelease.unjudged`. */
  readonly unjudged: readonly string[];
  /** Undefined where there is a refusal. */
  readonly release: VerifiedRelease | undefined;
}

/** What the records of a sealed tree promise of its payload. */
export interface PromiseVerdict extends RecordsVerdict {
  /** Undefined where there is a refusal. */
  readonly release: PromisedRelease | undefined;
}

export interface ScriptFinding extends LintFinding {
  /** `boot.ipxe` */
  readonly script: string;
}

/** A policy at a time: see `PolicyFile.at`. */
export type PolicySource = Pick<PolicyFile, 'at'>;

/**
 * The one that says yes: trust roots, policy and clock are bound once, and whoever verifies, publishes, serves or goes
 * back to a release asks the same one (DESIGN §3, rules 1 and 17).
 */
export class Verifier {
  readonly roots: TrustRoots;
  readonly #policy: PolicySource;
  readonly #clock: () => number;
  readonly #at: number | undefined;

  /**
   * @param clock milliseconds since 1970; asked anew for each judgement.
   * @param at the time that certificates, keys and algorithms are judged at, where it is not what the clock says.
   */
  constructor(roots: TrustRoots, policy: PolicySource, clock: () => number, at?: number) {
    this.roots = roots;
    this.#policy = policy;
    this.#clock = clock;
    this.#at = at;
  }

  /** The same with other trust roots. */
  by(roots: TrustRoots): Verifier {
    return new Verifier(roots, this.#policy, this.#clock, this.#at);
  }

  /** The same, judging as of another time. Pins of the policy end by the clock all the same. */
  asOf(at: number): Verifier {
    return new Verifier(this.roots, this.#policy, this.#clock, at);
  }

  /** Milliseconds since 1970: what is judged at. */
  get now(): number {
    return this.#at ?? this.#clock();
  }

  get policy(): Policy {
    return this.#policy.at(this.now, this.#clock());
  }

  /**
   * Verifies a sealed tree as its clients will: every seal of every file that the manifest lists, and of the records;
   * boot scripts whose properties the linter has proven, and whose command lines are the manifest's. Reads each file
   * once. A refusal becomes a cell, so that the whole table can be shown. A column for which the trust roots hold no
   * key is left out.
   *
   * @throws IoError where something of the tree could not be read.
   */
  async verify(tree: Tree): Promise<Verdict> {
    const { judge, rows, manifest, sha256, signer } = await this.#records(tree, false);
    // 5. The payload: every seal, and what the manifest says of it.
    for (const file of manifest?.files ?? [])
      if (manifest) rows.push(await judge.payload(file, manifest, signer));
    // 6. The whole boot in one file, where there is one: as firmware judges it, and made of this very release.
    const { own, anchored } = this.roots;
    const names = await tree.list('');
    if (names.includes(UKI) && manifest && own.secureBoot)
      rows.push(await judge.uki(manifest, sha256, own.secureBoot));
    // 7. Where nobody named the certificates of early userspace: its seals are at least of one signer.
    const { records } = judge;
    let refusal = firstRefusal(rows);
    if (manifest && !anchored && !refusal) refusal = await addUnanchored(tree, manifest, records);
    // 8. Boot scripts that hold what they must, and give a kernel the manifest's command line and no other.
    const lint = manifest ? lintOf(manifest, records) : [];
    refusal ??= unsafe(lint) ?? (manifest && refusedLine(records, manifest, sha256));
    const unjudged = this.#unjudged(names);
    const base = { manifest, manifestSha256: sha256, records, rows, lint, unjudged };
    if (refusal) return { ...base, refusal, release: undefined };
    // 9. No silence: everything that did not end in "verified" has failed, whatever the reason.
    if (!manifest || !own.bootSigner || rows.some(({ verified }) => !verified))
      return { ...base, refusal: noVerdict(tree), release: undefined };
    const release = new VerifiedRelease(SEAL_OF_VERIFIER, {
      manifest,
      manifestSha256: sha256,
      roots: this.roots,
      files: pinned(rows, records),
      records,
      unjudged,
      remembered: rememberedTree(tree.name, records, judge.memory),
    });
    return { ...base, refusal: undefined, release };
  }

  /**
   * Verifies a sealed tree without reading its payload: records and scripts as `verify` does, of the payload what a
   * verified manifest and its seals say of a file that has the listed size and digests. Whoever has such a release has
   * promises: each file is judged when it comes, before it is served.
   *
   * @throws IoError where something of the tree could not be read.
   */
  async promise(tree: Tree): Promise<PromiseVerdict> {
    const { judge, rows, manifest, sha256, signer } = await this.#records(tree, false);
    const { records } = judge;
    const base = { manifest, manifestSha256: sha256, records };
    const refused = (refusal: Refusal): PromiseVerdict => ({ ...base, refusal, release: undefined });
    const { own, anchored } = this.roots;
    // A release that vouches for itself is one whose every byte was read.
    const early = firstRefusal(rows);
    if (early) return refused(early);
    if (!manifest || !own.bootSigner || !anchored || rows.some(({ verified }) => !verified))
      return refused(noVerdict(tree));
    const files = new Map<string, Promised>();
    try {
      // 5. The payload: every seal that goes by a digest; of the others who signed, and when.
      for (const one of await judge.promised(manifest, signer)) files.set(one.path, one);
      // 6. The whole boot in one file, which has its own seal inside: all of it when it comes.
      const names = await tree.list('');
      const uki =
        names.includes(UKI) && own.secureBoot
          ? await judge.promisedUki(manifest, sha256, own.secureBoot)
          : undefined;
      if (uki) files.set(UKI, uki);
      // 8. Boot scripts that hold what they must, and give a kernel the manifest's command line and no other.
      const refusal = unsafe(lintOf(manifest, records)) ?? refusedLine(records, manifest, sha256);
      if (refusal) return refused(refusal);
      // 9. No silence: whatever the manifest lists is promised, or nothing is.
      if (manifest.files.some(({ path }) => !files.has(path))) return refused(noVerdict(tree));
      const release = new PromisedRelease(SEAL_OF_VERIFIER, {
        manifest,
        manifestSha256: sha256,
        roots: this.roots,
        files,
        records,
        unjudged: this.#unjudged(names),
        remembered: rememberedTree(tree.name, records, new Map()),
      });
      return { ...base, refusal: undefined, release };
    } catch (error) {
      if (error instanceof Refusal) return refused(error);
      throw error;
    }
  }

  /**
   * Verifies the records of a sealed tree (manifest, scripts, their seals, and that they name each other), whatever
   * the age of the release: best-before may be long past.
   */
  async verifyRecords(tree: Tree): Promise<RecordsVerdict> {
    const { judge, rows, manifest, sha256 } = await this.#records(tree, true);
    return { manifest, manifestSha256: sha256, records: judge.records, refusal: firstRefusal(rows) };
  }

  /**
   * Judges a verified release again, by the same steps and without reading it: time has passed, or the policy is
   * another.
   *
   * @returns why it is accepted no more; undefined while it is.
   */
  async judgeAgain(release: ServableRelease): Promise<Refusal | undefined> {
    const verifier = this.by(release.roots);
    const { remembered } = release;
    return release.payload === 'promised'
      ? (await verifier.promise(remembered)).refusal
      : (await verifier.verify(remembered)).refusal;
  }

  /** When to judge a release again; milliseconds since 1970, undefined: never. */
  nextMoment(release: ServableRelease): number | undefined {
    return nextMoment(release, this.policy, this.now);
  }

  /** What of a tree the trust roots hold nothing for. @param names at its top. */
  #unjudged(names: readonly string[]): string[] {
    const { own, others } = this.roots;
    const known = others.map((other) => otherBootIpxe(idOf(other)));
    return [
      ...names.filter((name) => otherCaOf(name) !== undefined && !known.includes(name)),
      ...(names.includes(UKI) && !own.secureBoot ? [UKI] : []),
    ];
  }

  async #records(tree: Tree, anyAge: boolean) {
    const terms: JudgingTerms = { policy: this.policy, now: this.now, anyAge };
    const judge = new ReleaseJudge(tree, this.roots, terms);
    // 1. The script that every loader begins with.
    const boot = await judge.script(RECORD.bootIpxe, 'ipxe');
    // 2. The manifest: by the keys for records, and no others.
    const { row, manifest, sha256, signer } = await judge.manifest(boot);
    // 3. The scripts are bound to this manifest and no other.
    const scripts = [boot];
    for (const other of this.roots.others)
      scripts.push(await judge.script(otherBootIpxe(idOf(other)), 'ipxe', other));
    if (this.roots.own.openpgp.script.length > 0) scripts.push(await judge.script(RECORD.grubCfg, 'openpgp'));
    const rows: TreeRow[] = [row, ...scripts.map((script) => judge.bound(script, sha256))];
    // 4. What other tools verify it by says the same.
    if (manifest) rows.push(...(await judge.sums(manifest, sha256, signer)));
    return { judge, rows, manifest, sha256, signer };
  }
}

function noVerdict({ name }: Tree): Refusal {
  return new Refusal('no-verdict', `Verifying ${name} ended without a verdict.`, { path: name });
}

async function addUnanchored(
  tree: Tree,
  manifest: Manifest,
  records: Map<string, Uint8Array>,
): Promise<Refusal | undefined> {
  try {
    for (const [path, bytes] of await readUnanchoredSeals(tree, manifest)) records.set(path, bytes);
    return undefined;
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
}

function lintOf({ release }: Manifest, records: ReadonlyMap<string, Uint8Array>): ScriptFinding[] {
  return [...records].flatMap(([script, bytes]) => {
    const isIpxe = script === RECORD.bootIpxe || otherCaOf(script) !== undefined;
    const findings = isIpxe
      ? lintScript(bytes, { signers: [release] })
      : script === RECORD.grubCfg
        ? lintGrubConfig(bytes)
        : [];
    return findings.map((finding) => ({ script, ...finding }));
  });
}

function unsafe([first]: readonly ScriptFinding[]): Refusal | undefined {
  return (
    first &&
    new Refusal('unsafe-script', `${first.script}, line ${first.line}: ${first.message}`, {
      line: first.line,
      rule: first.rule,
    })
  );
}

function pinned(
  rows: readonly TreeRow[],
  records: ReadonlyMap<string, Uint8Array>,
): ReadonlyMap<string, PinnedFile> {
  const files = new Map<string, PinnedFile>();
  for (const { path, verified, place } of rows) {
    if (!verified || !place || records.has(path)) continue;
    const name = path.slice(path.lastIndexOf('/') + 1);
    files.set(path, { ...place, name, size: verified.size, sha256: verified.sha256 });
  }
  return files;
}

function firstRefusal(rows: readonly TreeRow[]): Refusal | undefined {
  const refused = rows.flatMap(({ cells }) => Object.values(cells)).find((finding) => !finding.verified);
  return refused && !refused.verified ? refused.refusal : undefined;
}
