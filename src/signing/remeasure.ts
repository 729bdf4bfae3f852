import { createHash } from 'node:crypto';
import { Refusal } from '../errors/refusal.ts';
import { measureBeneath } from '../files/beneath.ts';
import { demandSameFile } from '../files/file-identity.ts';
import { bytesContent, type MeasuredFile } from '../files/measure.ts';
import type { Answer, Question } from '../files/measurer.ts';
import { signatureTrailer } from '../formats/openpgp/openpgp-signature.ts';
import { demandPayload } from './payload-content.ts';
import type { OpenedRequest } from './requests/open-request.ts';
import type { SealPlan } from './seal-plan.ts';
import { SitePlans } from './site-plans.ts';
import { readExisting } from './tree-draft.ts';

/** A seal that the request counted on, since it stood and held when that was made. */
interface StandingSeal {
  readonly path: string;
  readonly of: string;
  readonly plan: SealPlan;
}

/**
 * Holds a tree against its request: the payload must be, byte for byte, what was signed, and every seal that the
 * request counts on must still stand and hold. The payload is read once.
 *
 * @throws Refusal `drifted` where the tree changed; `malformed` and `bad-signature` where the request says what is
 *   not so; `absent` and `unsafe-path` for what is no file.
 */
export async function remeasure(
  tree: string,
  opened: OpenedRequest,
  onProgress?: (path: string, octets: number, size: number) => void,
): Promise<{ path: string; file: MeasuredFile }[]> {
  const standing = await standingSeals(tree, opened);
  const measured: { path: string; file: MeasuredFile }[] = [];
  for (const { path, role, size, sha256, sha512 } of opened.manifest.files) {
    const own = standing.filter(({ of }) => of === path);
    const openpgp = opened.files.find(
      (file) => file.kind === 'lacking' && file.of === path && file.by === 'openpgp',
    );
    const asked = openpgp?.kind === 'lacking' && openpgp.seal.form === 'openpgp' ? openpgp.seal : undefined;
    const questions: Question[] = [
      { kind: 'digest', hash: 'sha256' },
      { kind: 'digest', hash: 'sha512' },
      ...(asked ? [{ kind: 'digest', hash: 'sha512', suffix: signatureTrailer(asked.hashed) } as const] : []),
      ...own.flatMap(({ plan }) => plan.questions),
    ];
    const { identity: looked } = await demandPayload(tree, { path, role });
    const file = await measureBeneath(tree, path, questions, {
      onProgress: (octets) => onProgress?.(path, octets, size),
    });
    demandSameFile(path, looked, file.identity);
    const [is256, is512, ...rest] = file.answers;
    if (file.size !== size || hex(is256) !== sha256 || hex(is512) !== sha512) throw drifted(path);
    if (asked && hex(rest.shift()) !== hex(asked.digest)) {
      throw new Refusal(
        'malformed',
        `The request asks for an OpenPGP signature of ${path} over something else.`,
        { path },
      );
    }
    demandHold(own, rest);
    measured.push({ path, file });
  }
  for (const file of opened.files) {
    if (file.kind !== 'record') continue;
    const own = standing.filter(({ of }) => of === file.path);
    const { answers } = await bytesContent(file.bytes).measure(own.flatMap(({ plan }) => plan.questions));
    demandHold(own, answers);
  }
  return measured;
}

async function standingSeals(tree: string, opened: OpenedRequest): Promise<StandingSeal[]> {
  const seals: StandingSeal[] = [];
  const site = new SitePlans(opened.signatories, opened.others);
  for (const { path, sha256 } of opened.request.kept) {
    const bytes = await readExisting(tree, path);
    if (!bytes || createHash('sha256').update(bytes).digest('hex') !== sha256) throw drifted(path);
    const place = opened.places.get(path);
    if (!place) throw new RangeError(`${path} is no seal of the release`);
    seals.push({ path, of: place.of, plan: site.plan(place.by, bytes, opened.manifest) });
  }
  return seals;
}

function demandHold(seals: readonly StandingSeal[], answers: readonly Answer[]): void {
  const rest = [...answers];
  for (const { path, plan } of seals) {
    if (!plan.finish(rest.splice(0, plan.questions.length))) continue;
    throw new Refusal(
      'bad-signature',
      `${path} stands in the tree, and the request counts on it, but it does not hold.`,
      { path },
    );
  }
}

function drifted(path: string): Refusal {
  return new Refusal(
    'drifted',
    `${path} is no longer what the request was made of; make a new request of this tree.`,
    { path },
  );
}

function hex(answer: Answer | undefined): string {
  return Buffer.from(answer as Uint8Array).toString('hex');
}
