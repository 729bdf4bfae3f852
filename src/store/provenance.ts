import { z } from 'zod';
import { Refusal } from '../errors/refusal.ts';
import { isOrigin } from '../formats/records/countersignature.ts';
import { isReleaseId } from '../formats/records/safe-path.ts';
import { SEAL } from '../formats/records/seal-names.ts';
import { SUCCESSION_KINDS } from '../formats/records/successors.ts';
import type { SealedCountersignature } from '../trust/countersignature-check.ts';
import { recordsOf } from './folder-backend.ts';
import { encodeStateJson, isStateTime, readStateJson, stateTime } from './state-json.ts';

/**
 * Where each release came from, and what became of its records since: `provenance/NAME/VERSION/record.json`,
 * `…/earlier/<sha256 of a manifest>/` with the records that were replaced, `…/countersignatures/`,
 * `…/quarantined/`, `…/brought/`. Nothing in it is ever removed.
 */

const SHA256 = z.string().regex(/^[0-9a-f]{64}$/);
const FINGERPRINT = z.string().regex(/^([0-9a-f]{40}|[0-9a-f]{64})$/);
const TIME = z.string().refine(isStateTime);
const RELEASE = z.string().refine(isReleaseId);
const SIGNERS = z.array(FINGERPRINT).max(8);

export const PROVENANCE = z.strictObject({
  'bootseal-provenance': z.literal(1),
  release: RELEASE,
  /** Each time that it came into the store under this name; the last one counts. */
  ingests: z
    .array(
      z.strictObject({
        time: TIME,
        /** `local`: we sealed it; an address: somebody else did, and it was fetched from there. */
        origin: z.union([z.literal('local'), z.string().refine(isOrigin)]),
        manifest: SHA256,
        signers: SIGNERS,
      }),
    )
    .max(1000),
  resigned: z
    .array(
      z.strictObject({
        time: TIME,
        from: SHA256,
        to: SHA256,
        /** Its name before, where it was renamed. */
        renamed: RELEASE.optional(),
        /** Who signed it anew. */
        signers: SIGNERS,
        /** From which key to which, on whose word: SHA-256 of the map that the old key signed. */
        steps: z
          .array(
            z.strictObject({
              kind: z.enum(SUCCESSION_KINDS),
              from: FINGERPRINT,
              to: FINGERPRINT,
              map: SHA256,
            }),
          )
          .max(100),
      }),
    )
    .max(100_000),
});

export type Provenance = z.infer<typeof PROVENANCE>;
export type Resigned = Provenance['resigned'][number];

/** Where a release came from: `local`, or an address. */
export interface Origin {
  readonly origin: string;
  /** False: it came into the store before origins were recorded, and counts as local. */
  readonly recorded: boolean;
}

/** The key of something that is kept of a release. */
export function provenanceKey(release: string, ...parts: string[]): string {
  return ['provenance', release, ...parts].join('/');
}

/** Undefined where none was recorded. Throws a `Refusal` (`malformed`). */
export async function readProvenance(state: string, release: string): Promise<Provenance | undefined> {
  return (await readStateJson(recordsOf(state), provenanceKey(release, 'record.json'), PROVENANCE))?.value;
}

export function originOf(provenance: Provenance | undefined): Origin {
  const last = provenance?.ingests.at(-1);
  return last ? { origin: last.origin, recorded: true } : { origin: 'local', recorded: false };
}

/**
 * Records that a release comes into the store. Called before it appears there: a crash in between must not leave
 * a fetched release that looks like one of ours.
 */
export async function recordIngest(state: string, release: string, ingest: Ingest): Promise<void> {
  await writeProvenance(state, withIngest(release, await readProvenance(state, release), ingest));
}

/** One time that a release came into the store. */
export interface Ingest {
  /** Milliseconds since 1970. */
  readonly time: number;
  /** `local` or an address. */
  readonly origin: string;
  /** SHA-256 of its manifest, lower-case hex. */
  readonly manifest: string;
  readonly signers: readonly string[];
}

/** What a release's record says once it has come in. */
export function withIngest(
  release: string,
  before: Provenance | undefined,
  { time, origin, manifest, signers }: Ingest,
): Provenance {
  return {
    'bootseal-provenance': 1,
    release,
    ingests: [...(before?.ingests ?? []), { time: stateTime(time), origin, manifest, signers: [...signers] }],
    resigned: before?.resigned ?? [],
  };
}

/** What a release's record says once it was signed anew. */
export function withResigned(
  release: string,
  before: Provenance | undefined,
  resigned: Resigned,
): Provenance {
  return {
    'bootseal-provenance': 1,
    release,
    ingests: before?.ingests ?? [],
    resigned: [...(before?.resigned ?? []), resigned],
  };
}

export async function writeProvenance(state: string, provenance: Provenance): Promise<void> {
  const bytes = encodeStateJson(PROVENANCE.parse(provenance));
  await recordsOf(state).put(provenanceKey(provenance.release, 'record.json'), bytes);
}

/** What came along with a release that was carried here: its own log's proof, verified then, and what was said of its past. */
export interface BroughtAlong {
  readonly logProof: Uint8Array | undefined;
  /** A `PROVENANCE` of another state, which nobody vouches for. */
  readonly provenance: Uint8Array | undefined;
}

const broughtKey = (release: string, manifest: string, name: string) =>
  provenanceKey(release, 'brought', manifest, name);

/** Keeps what came along with a release; the state is the caller's. @param manifest SHA-256, lower-case hex. */
export async function keepBrought(
  state: string,
  release: string,
  manifest: string,
  { logProof, provenance }: BroughtAlong,
): Promise<void> {
  const records = recordsOf(state);
  if (logProof) await records.put(broughtKey(release, manifest, 'log-proof'), logProof);
  if (provenance) await records.put(broughtKey(release, manifest, 'record.json'), provenance);
}

/** The proof that came along with a release; undefined where none did. @throws IoError */
export async function broughtProof(
  state: string,
  release: string,
  manifest: string,
): Promise<Uint8Array | undefined> {
  return (await recordsOf(state).get(broughtKey(release, manifest, 'log-proof')))?.bytes;
}

const COUNTERSIGNATURE = 'countersignature';

/**
 * Every countersignature of a release, unverified. One that a crash left without its record is none yet.
 *
 * @throws Refusal `drifted` where one has lost a seal: somebody signed this release, and it must not look as if nobody
 *   had.
 */
export async function readCountersignatures(
  state: string,
  release: string,
): Promise<SealedCountersignature[]> {
  const records = recordsOf(state);
  const folder = provenanceKey(release, 'countersignatures');
  const found: SealedCountersignature[] = [];
  for (const name of await records.list(folder)) {
    if (!name.endsWith('/')) continue;
    const key = (suffix: string) => `${folder}/${name}${COUNTERSIGNATURE}${suffix}`;
    const record = await records.get(key(''));
    if (!record) continue;
    const seal = async (suffix: string) => {
      const sealed = await records.get(key(suffix));
      if (sealed) return sealed.bytes;
      throw new Refusal('drifted', `${key(suffix)} is missing: it was there, and was taken away.`, {
        path: key(suffix),
      });
    };
    found.push({ bytes: record.bytes, cms: await seal(SEAL.cms), openpgp: await seal(SEAL.openpgp) });
  }
  return found;
}

/**
 * Adds one; those before it stay. The record comes last: with it the whole is there.
 *
 * @param name of its folder: what tells it from others of the release.
 * @throws Refusal `unsafe-path` where there is one of that name.
 */
export async function addCountersignature(
  state: string,
  release: string,
  name: string,
  { bytes, cms, openpgp }: SealedCountersignature,
): Promise<void> {
  const records = recordsOf(state);
  const key = (suffix: string) =>
    provenanceKey(release, 'countersignatures', name, `${COUNTERSIGNATURE}${suffix}`);
  if (await records.get(key('')))
    throw new Refusal('unsafe-path', `${key('')} exists already and is not replaced.`, { path: key('') });
  // Over what a crash may have left: nothing is one before its record is there.
  await records.put(key(SEAL.cms), cms);
  await records.put(key(SEAL.openpgp), openpgp);
  await records.putIfAbsent(key(''), bytes);
}
