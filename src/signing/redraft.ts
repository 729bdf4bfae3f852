import { createHash } from 'node:crypto';
import { bytesContent } from '../files/measure.ts';
import type { Answer } from '../files/measurer.ts';
import type { Manifest, ManifestFile } from '../formats/records/manifest.ts';
import { otherBootIpxe, RECORD } from '../formats/records/seal-names.ts';
import { sumsOf } from '../formats/records/sums.ts';
import type { FreeParameter } from '../formats/script/cmdline.ts';
import { type LeafOrder, leafOrder } from './keys/release-leaf.ts';
import { isLeaf, type KeyName, payloadSeals, recordSeals } from './seal-keys.ts';
import type { SealPlan } from './seal-plan.ts';
import type { Signatories } from './signatories.ts';
import { SitePlans } from './site-plans.ts';
import { type DraftFile, type DraftOptions, manifestOf, type TreeDraft } from './tree-draft.ts';

/** A sealed release as it stands: its manifest was verified, and nothing of its payload is read. */
export interface StandingRelease {
  readonly manifest: Manifest;
  /** Records, their seals and the seals for iPXE, by path. */
  readonly records: ReadonlyMap<string, Uint8Array>;
}

export interface RedraftOptions extends Omit<DraftOptions, 'onProgress' | 'serial'> {
  /** Another name for the same payload; its serial stays. */
  readonly release?: string | undefined;
  /** Other fixed words of the kernel command line. */
  readonly cmdline?: readonly string[] | undefined;
  /** Other words of the module, where there is one. */
  readonly moduleCmdline?: readonly string[] | undefined;
  readonly free?: readonly FreeParameter[] | undefined;
}

/**
 * What a release shall be when it is signed anew: records with other dates, another name, another command line.
 * Payload is immutable, and so are its seals: `.cms.sig` and `.sig` stay as they are. A seal for iPXE is kept where
 * its leaf suits, and is otherwise made anew over the SHA-256 that the verified manifest lists. (An OpenPGP
 * signature hashes its own fields behind the content: it cannot be made without reading all of it.)
 *
 * @throws Refusal where no manifest can say what is asked for, or a script cannot carry it.
 */
export async function redraftRelease(
  { manifest: old, records }: StandingRelease,
  signatories: Signatories,
  options: RedraftOptions,
): Promise<TreeDraft> {
  const manifest: Manifest = {
    ...old,
    release: options.release ?? old.release,
    cmdline: options.cmdline ?? old.cmdline,
    ...(old.moduleCmdline ? { moduleCmdline: options.moduleCmdline ?? old.moduleCmdline } : {}),
    free: options.free ?? old.free,
    issued: options.issued,
    bestBefore: options.bestBefore,
  };
  const draft = new Redrafter(manifest.release, records, signatories, options);
  for (const file of manifest.files) draft.loaderSeals(file);
  const bytes = manifestOf(manifest);
  const manifestSha256 = createHash('sha256').update(bytes).digest('hex');
  const scripts = options.compose(manifest, manifestSha256);
  await draft.record(RECORD.bootIpxe, scripts.bootIpxe);
  await draft.record(RECORD.grubCfg, scripts.grubCfg);
  await draft.record(RECORD.manifest, bytes);
  for (const sums of sumsOf(manifest, manifestSha256)) await draft.record(sums.path, sums.bytes);
  for (const { id } of options.others ?? []) {
    const script = scripts.others?.get(id);
    if (!script) throw new RangeError(`no boot script for the CA ${id}`);
    await draft.record(otherBootIpxe(id), script);
  }
  return { manifest, manifestSha256, files: draft.files, leaves: draft.leaves, measured: [] };
}

/** Whether a draft asks for nothing but what stands there already, byte for byte. */
export function isAsItStands({ files }: TreeDraft, { records }: StandingRelease): boolean {
  return files.every((file) => {
    if (file.kind !== 'record') return file.kind === 'kept';
    const standing = records.get(file.path);
    return standing !== undefined && Buffer.compare(standing, file.bytes) === 0;
  });
}

class Redrafter {
  readonly #records: ReadonlyMap<string, Uint8Array>;
  readonly #site: SitePlans;
  readonly #terms: RedraftOptions & { readonly release: string };
  readonly files: DraftFile[] = [];
  readonly leaves = new Map<KeyName, LeafOrder>();

  constructor(
    release: string,
    records: ReadonlyMap<string, Uint8Array>,
    signatories: Signatories,
    options: RedraftOptions,
  ) {
    this.#records = records;
    this.#site = new SitePlans(signatories, options.others);
    this.#terms = { ...options, release };
  }

  /** Nobody loads a hash tree: it has none. */
  loaderSeals({ role, path, size, sha256 }: ManifestFile): void {
    if (role === 'hashtree') return;
    const ids = (this.#terms.others ?? []).map(({ id }) => id);
    for (const [suffix, by] of Object.entries(payloadSeals(ids))) {
      if (!isLeaf(by)) continue;
      const seal = path + suffix;
      const plan = this.#site.plan(by, this.#records.get(seal), this.#terms);
      if (this.#finish(seal, { of: path, size, by }, plan, [Buffer.from(sha256, 'hex')]))
        this.leaves.set(by, leafOrder(this.#site.loader(by).ca, this.#terms));
    }
  }

  async record(name: string, bytes: Uint8Array): Promise<void> {
    this.files.push({ kind: 'record', path: name, bytes });
    for (const [suffix, by] of Object.entries(recordSeals(name))) {
      const seal = name + suffix;
      const plan = this.#site.plan(by, this.#records.get(seal), this.#terms);
      const { answers } = await bytesContent(bytes).measure(plan.questions);
      this.#finish(seal, { of: name, size: bytes.length, by }, plan, answers);
    }
  }

  /** Answers whether a signature is lacking. */
  #finish(
    path: string,
    rest: { readonly of: string; readonly size: number; readonly by: KeyName },
    plan: SealPlan,
    answers: readonly Answer[],
  ): boolean {
    const seal = plan.finish(answers);
    this.files.push(seal ? { kind: 'lacking', path, ...rest, seal } : { kind: 'kept', path });
    return seal !== undefined;
  }
}
