import { Refusal } from '../errors/refusal.ts';
import { bytesContent } from '../files/measure.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import {
  decodeSuccessors,
  isOpenpgpKind,
  type SuccessionKind,
  type Successors,
} from '../formats/records/successors.ts';
import type { Anchors } from './anchors.ts';
import { fingerprint } from './chain.ts';
import { type Check, decodeOr } from './check.ts';
import { cmsCheck, leafRules } from './cms-check.ts';
import { openpgpCheck } from './openpgp-check.ts';
import type { Policy } from './policy.ts';
import { verify } from './verify.ts';

/** A record of who follows whom (`successors.ts`), and its seals as far as they exist. Nothing is verified yet. */
export interface SuccessorMap {
  /** Names it in refusals: a path. */
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly cms: Uint8Array | undefined;
  readonly openpgp: Uint8Array | undefined;
}

/** One step from a key to the one that follows it, on the old key's word. */
export interface SuccessionStep {
  readonly kind: SuccessionKind;
  readonly from: string;
  readonly to: string;
  /** The map that says so. */
  readonly map: string;
}

/** Maps that are looked at, and steps that one key may be away from another. */
export const MAX_MAPS = 16;

/** A key whose successor is asked for. */
export interface Predecessor {
  readonly kind: Exclude<SuccessionKind, 'snapshot'>;
  /** SHA-256 of its certificate, or the fingerprint of the OpenPGP key: lower-case hex. */
  readonly from: string;
  /** Of the key that may be in its place. */
  readonly to: string;
  /** Of a CA, the one that loaders trust; of a leaf, the same where only that one's word counts. */
  readonly ca?: Certificate | undefined;
}

export interface SuccessionTrust {
  /** What the operator trusts: of several CAs, and with the certificates that were replaced among them. */
  readonly anchors: Pick<Anchors, 'ca' | 'manifest' | 'openpgp'>;
  readonly policy: Policy;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/**
 * The steps that lead from an old key to a new one, each on the word of the key it leads away from. None where
 * both are the same.
 *
 * Maps are records, so the keys of records speak for all: the old manifest leaf for itself, for the other leaves and
 * for their CA, the old OpenPGP manifest key for itself and for the other OpenPGP keys. Whatever the boot key signs a
 * loader would run as a script, and what the codesign leaf signs may be anything.
 *
 * @throws Refusal `absent` where no map leads there; its message says why a map that names the key does not count.
 */
export async function findSuccession(
  old: Predecessor,
  maps: readonly SuccessorMap[],
  trust: SuccessionTrust,
): Promise<readonly SuccessionStep[]> {
  if (maps.length > MAX_MAPS)
    throw new Refusal('too-large', `${maps.length} records of successors, and ${MAX_MAPS} are enough.`, {});
  const steps: SuccessionStep[] = [];
  const seen = new Set([old.from]);
  let at = old;
  while (at.from !== old.to) {
    const step = await nextStep(at, maps, trust);
    // A map may lead in a circle; whoever signed it may not keep us there.
    if (seen.has(step.to) || steps.length >= MAX_MAPS) throw notFollowed(old, undefined);
    seen.add(step.to);
    steps.push(step);
    at = { ...at, from: step.to, ca: caOf(step, trust) };
  }
  return steps;
}

async function nextStep(
  at: Predecessor,
  maps: readonly SuccessorMap[],
  trust: SuccessionTrust,
): Promise<SuccessionStep> {
  let why: Refusal | undefined;
  for (const map of maps) {
    const named = decodeOr(map.name, () => decodeSuccessors(map.bytes)).steps.find(
      ({ kind, from }) => kind === at.kind && from === at.from,
    );
    if (!named) continue;
    try {
      await verifyMap(map, at, trust);
      return { ...named, map: map.name };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      why ??= error;
    }
  }
  throw notFollowed(at, why);
}

/** Throws unless the old key itself, or who speaks for it, signed the map. */
async function verifyMap(
  { name, bytes, cms, openpgp }: SuccessorMap,
  { kind, from, ca }: Predecessor,
  { anchors, policy, now }: SuccessionTrust,
): Promise<Successors> {
  const seal = isOpenpgpKind(kind) ? openpgp : cms;
  if (!seal) throw new Refusal('absent', `${name} has no seal by the old key.`, { path: name });
  let check: Check;
  if (isOpenpgpKind(kind)) {
    const own = kind === 'openpgp-manifest';
    const speakers = anchors.openpgp.manifest.filter(
      ({ keys }) => !own || keys.some(({ key }) => key.fingerprint === from),
    );
    check = openpgpCheck(name, seal, speakers, policy, now);
  } else {
    const signers = anchors.manifest.filter((leaf) => kind !== 'manifest' || fingerprint(leaf) === from);
    const roots = ca ? [ca] : kind === 'ca' || kind === 'root' ? [] : anchors.ca;
    check = cmsCheck(name, seal, leafRules(signers, roots), policy, now);
  }
  const { evidence } = await verify(name, bytesContent(bytes), [check]);
  if (kind === 'openpgp-manifest' && evidence[0]?.signer !== from)
    throw new Refusal('untrusted-signer', `${name} is signed by another key than the old one.`, {});
  return decodeOr(name, () => decodeSuccessors(bytes));
}

/** A new CA is one of the anchors, or nothing leads on from it. */
function caOf({ kind, to }: SuccessionStep, { anchors }: SuccessionTrust): Certificate | undefined {
  return kind === 'ca' || kind === 'root'
    ? anchors.ca.find((candidate) => fingerprint(candidate) === to)
    : undefined;
}

function notFollowed({ kind, from, to }: Predecessor, why: Refusal | undefined): Refusal {
  const said = why ? ` (${why.message.replace(/\.$/, '')})` : '';
  return new Refusal(
    'absent',
    `The ${kind} key ${from.slice(0, 16)} is not at hand, and no map that it signed names ${to.slice(0, 16)} as its successor${said}.`,
    { kind, from, to },
  );
}
