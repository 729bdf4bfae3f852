import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { listedContent } from '../files/listed-content.ts';
import { MemoryTree } from '../files/memory-tree.ts';
import { otherIpxeSeal, SEAL, UKI } from '../formats/records/seal-names.ts';
import { splitCommandLine } from '../formats/script/cmdline.ts';
import { literalServer } from '../scripts/sealed-server.ts';
import { isAsItStands, redraftRelease } from '../signing/redraft.ts';
import { sealTerms } from '../signing/seal-terms.ts';
import { otherCasOf, type Signing } from '../signing/sealer.ts';
import { signatoriesOf, trustedOf } from '../signing/signatories.ts';
import type { TreeDraft } from '../signing/tree-draft.ts';
import { NO_ANCHORS } from '../trust/anchors.ts';
import { cmsCheck, imgverifyRules } from '../trust/cms-check.ts';
import { refusedLine } from '../trust/script-lines.ts';
import { Verifier } from '../trust/verifier.ts';
import { verify } from '../trust/verify.ts';
import type { ResignKeys } from './keys.ts';
import { pooled, type Standing, type Trusted } from './standing.ts';

/** What shall be other than it was. */
export interface WantedChange {
  /** Milliseconds since 1970, whole seconds. */
  readonly issued: number;
  /** Another name for the same payload. */
  readonly release?: string | undefined;
  /** Other fixed words of the kernel command line. */
  readonly cmdline?: string | undefined;
  /** Those of the module. */
  readonly moduleCmdline?: string | undefined;
  /** A literal server for the scripts; default: the one that they name already. */
  readonly url?: string | undefined;
  /** Overrides the release leaf's RSA modulus length. */
  readonly rsaBits?: number | undefined;
}

/** A signer did not answer, or not with a signature: no fault of the release. */
export class SignerGone extends Error {
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super(refusal.message, { cause: refusal });
    this.name = 'SignerGone';
    this.refusal = refusal;
  }
}

export interface Rework {
  readonly draft: TreeDraft;
  /** Nothing is to be signed: it is what it shall be. */
  readonly asItStands: boolean;
  /** Paths of the records and seals that change. */
  readonly changes: readonly string[];
}

/** What a release shall be once it is signed anew. No key is needed for it, and no payload is read. */
export async function rework(
  standing: Standing,
  { keys, others }: ResignKeys,
  change: WantedChange,
): Promise<Rework> {
  const { manifest, records } = standing;
  const release = change.release ?? manifest.release;
  const cmdline = change.cmdline === undefined ? manifest.cmdline : splitCommandLine(change.cmdline);
  const moduleCmdline =
    change.moduleCmdline === undefined ? manifest.moduleCmdline : splitCommandLine(change.moduleCmdline);
  if (moduleCmdline !== undefined && manifest.moduleCmdline === undefined) {
    throw new UsageError(`${manifest.release} has no module that could be given other words.`);
  }
  const { arch, layout, free, serial } = manifest;
  const url = change.url ?? literalServer(records);
  const terms = await sealTerms(
    { release, arch, layout, artifacts: [], cmdline, free, notes: [] },
    {
      tree: standing.tree.name,
      issued: change.issued,
      now: change.issued,
      serial,
      ...(url === undefined ? {} : { url }),
      ...(change.rsaBits === undefined ? {} : { rsaBits: change.rsaBits }),
    },
    others.map(({ id }) => id),
  );
  const draft = await redraftRelease(standing, signatoriesOf(keys), {
    ...terms,
    release,
    cmdline,
    moduleCmdline,
    others: otherCasOf(others),
  });
  // It names the manifest, and nobody here has the stub that it was made of.
  const hasUki = (await standing.tree.list('')).includes(UKI);
  if (draft.manifestSha256 !== standing.manifestSha256 && hasUki) {
    throw new Refusal(
      'mixed-releases',
      `${manifest.release} has a ${UKI}, which names the manifest as it stands; seal a new version of its tree, and make the image of that.`,
      { release: manifest.release },
    );
  }
  const changes = draft.files
    .filter((file) => {
      if (file.kind !== 'record') return file.kind === 'lacking';
      const there = records.get(file.path);
      return !there || Buffer.compare(there, file.bytes) !== 0;
    })
    .map(({ path }) => path);
  return { draft, asItStands: isAsItStands(draft, standing), changes };
}

/**
 * Signs a draft and verifies what came of it, as its clients will.
 *
 * @returns the records and seals that change, by path.
 * @throws SignerGone; a Refusal where the result would not be taken.
 */
export async function signRework(
  standing: Standing,
  { draft, changes }: Rework,
  signing: Signing,
  resignKeys: ResignKeys,
  trusted: Trusted,
): Promise<ReadonlyMap<string, Uint8Array>> {
  const seals = await signing.signDraft(draft).catch((error) => {
    throw error instanceof Refusal ? new SignerGone(error) : error;
  });
  const changed = new Map<string, Uint8Array>();
  for (const file of draft.files) {
    const bytes = file.kind === 'record' ? file.bytes : seals.get(file.path);
    if (bytes && changes.includes(file.path)) changed.set(file.path, bytes);
  }
  await demandGood(new Map([...standing.records, ...changed]), draft, resignKeys, trusted);
  return changed;
}

async function demandGood(
  records: ReadonlyMap<string, Uint8Array>,
  { manifest, manifestSha256 }: TreeDraft,
  { keys, others }: ResignKeys,
  trusted: Trusted,
): Promise<void> {
  const { policy, now } = trusted;
  const anchors = pooled(trusted, keys.boot.certificate.commonName);
  const otherAnchors = others.map(({ keys: { ca, above, boot } }) => ({
    ...NO_ANCHORS,
    ca: [trustedOf({ ca, above })],
    bootSigner: boot.certificate.commonName,
  }));
  // 1. The records, as every verifier reads them.
  const roots = { own: anchors, others: otherAnchors, anchored: true };
  const verifier = new Verifier(roots, { at: () => policy }, () => now);
  const verdict = await verifier.verifyRecords(new MemoryTree(manifest.release, records));
  if (verdict.refusal) throw verdict.refusal;
  if (verdict.manifestSha256 !== manifestSha256)
    throw new Refusal('no-verdict', `${manifest.release} is not what was drafted.`, {});
  const line = refusedLine(records, manifest, manifestSha256);
  if (line) throw line;
  // 2. The seals for iPXE, over the digests that the manifest lists.
  const cas = [
    { suffix: SEAL.ipxe as string, ca: trustedOf(keys) },
    ...others.map((other) => ({ suffix: otherIpxeSeal(other.id), ca: trustedOf(other.keys) })),
  ];
  for (const file of manifest.files) {
    if (file.role === 'hashtree') continue;
    for (const { suffix, ca } of cas) {
      const name = file.path + suffix;
      const rules = { ...imgverifyRules([ca], manifest.release), complete: true, exactName: true };
      const seal = records.get(name) ?? new Uint8Array();
      await verify(name, listedContent(file), [cmsCheck(name, seal, rules, policy, now)]);
    }
  }
}
