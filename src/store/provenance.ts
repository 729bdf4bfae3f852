import { link, mkdir, readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { syncDirectory, writeFileAtomically } from '../files/atomic-file.ts';
import { writeFolderAtomically } from '../files/atomic-folder.ts';
import { isOrigin } from '../formats/records/countersignature.ts';
import { isoSeconds } from '../formats/records/lines.ts';
import { isReleaseId } from '../formats/records/safe-path.ts';
import { SEAL } from '../formats/records/seal-names.ts';
import { SUCCESSION_KINDS } from '../formats/records/successors.ts';
import type { SealedCountersignature } from '../trust/countersignature-check.ts';
import { encodeStateJson, isStateTime, readStateJson } from './state-json.ts';

/**
 * Where each release came from, and what became of its records since: `provenance/NAME/VERSION/record.json`,
 * `…/earlier/<sha256 of a manifest>/` with the records that were replaced, `…/countersignatures/`,
 * `…/quarantined/`. Nothing in it is ever removed.
 */

const SHA256 = z.string().regex(/^[0-9a-f]{64}$/);
const FINGERPRINT = z.string().regex(/^([0-9a-f]{40}|[0-9a-f]{64})$/);
const TIME = z.string().refine(isStateTime);
const RELEASE = z.string().refine(isReleaseId);
const SIGNERS = z.array(FINGERPRINT).max(8);

const PROVENANCE = z.strictObject({
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

export function provenancePath(state: string, release: string, ...parts: string[]): string {
  return join(state, 'provenance', release, ...parts);
}

/** Undefined where none was recorded. Throws a `Refusal` (`malformed`). */
export function readProvenance(state: string, release: string): Promise<Provenance | undefined> {
  return readStateJson(provenancePath(state, release, 'record.json'), PROVENANCE);
}

export function originOf(provenance: Provenance | undefined): Origin {
  const last = provenance?.ingests.at(-1);
  return last ? { origin: last.origin, recorded: true } : { origin: 'local', recorded: false };
}

/**
 * Records that a release comes into the store. Called before it appears there: a crash in between must not leave
 * a fetched release that looks like one of ours.
 */
export async function recordIngest(
  state: string,
  release: string,
  ingest: {
    /** Milliseconds since 1970. */
    readonly time: number;
    /** `local` or an address. */
    readonly origin: string;
    /** SHA-256 of its manifest, lower-case hex. */
    readonly manifest: string;
    readonly signers: readonly string[];
  },
): Promise<void> {
  const before = await readProvenance(state, release);
  await writeProvenance(state, {
    'bootseal-provenance': 1,
    release,
    ingests: [
      ...(before?.ingests ?? []),
      {
        time: isoSeconds(Math.floor(ingest.time / 1000) * 1000),
        origin: ingest.origin,
        manifest: ingest.manifest,
        signers: [...ingest.signers],
      },
    ],
    resigned: before?.resigned ?? [],
  });
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
  const path = provenancePath(state, provenance.release, 'record.json');
  await mkdir(dirname(path), { recursive: true });
  await writeFileAtomically(path, bytes);
}

/** Keeps records as they were before they are replaced: links to the very files, so nothing is copied or lost. */
export async function keepEarlier(
  state: string,
  release: string,
  manifestSha256: string,
  paths: Iterable<string>,
): Promise<void> {
  const folder = provenancePath(state, release, 'earlier', manifestSha256);
  const folders = new Set([folder]);
  await mkdir(folder, { recursive: true });
  for (const path of paths) {
    const to = join(folder, path);
    await mkdir(dirname(to), { recursive: true });
    for (let at = dirname(to); at !== folder; at = dirname(at)) folders.add(at);
    await link(join(state, 'releases', release, path), to).catch((error: NodeJS.ErrnoException) => {
      // A file that the new release adds has no earlier one; after a crash it may be here already.
      if (error.code !== 'EEXIST' && error.code !== 'ENOENT') throw error;
    });
  }
  for (const at of [...folders].reverse()) await syncDirectory(at);
}

const COUNTERSIGNATURE = 'countersignature';

/** Every countersignature of a release, unverified. */
export async function readCountersignatures(
  state: string,
  release: string,
): Promise<SealedCountersignature[]> {
  const folder = provenancePath(state, release, 'countersignatures');
  const names = (await readdir(folder).catch(() => [])).filter((name) => !name.startsWith('.')).sort();
  const found: SealedCountersignature[] = [];
  for (const name of names) {
    const read = (suffix: string) =>
      readFile(join(folder, name, COUNTERSIGNATURE + suffix)).catch(() => undefined);
    const [bytes, cms, openpgp] = [await read(''), await read(SEAL.cms), await read(SEAL.openpgp)];
    if (bytes && cms && openpgp) found.push({ bytes, cms, openpgp });
  }
  return found;
}

/** Adds one; those before it stay. @param name of its folder: what tells it from others of the release. */
export async function addCountersignature(
  state: string,
  release: string,
  name: string,
  { bytes, cms, openpgp }: SealedCountersignature,
): Promise<void> {
  const folder = provenancePath(state, release, 'countersignatures');
  await mkdir(folder, { recursive: true });
  const files: [string, Uint8Array][] = [
    [COUNTERSIGNATURE, bytes],
    [COUNTERSIGNATURE + SEAL.cms, cms],
    [COUNTERSIGNATURE + SEAL.openpgp, openpgp],
  ];
  await writeFolderAtomically(join(folder, name), new Map(files));
}
