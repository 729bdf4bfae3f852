import { join } from 'node:path';
import { Refusal } from '../../errors/refusal.ts';
import { FolderTree } from '../../files/folder-tree.ts';
import { decodeManifest, type Manifest } from '../../formats/records/manifest.ts';
import { RECORD } from '../../formats/records/seal-names.ts';
import { channelNames, readChannel, type StoredSnapshot } from '../../store/channels.ts';
import { storedReleases } from '../../store/quarantine.ts';
import { demandState } from '../../store/state.ts';
import { type Withdrawal, withdrawnReason } from '../../store/withdrawals.ts';
import { decodeOr } from '../../trust/check.ts';
import type { SignedTime } from './clock.ts';

/** What a state says of itself, unverified: read once, for every check that needs it. */
export interface StateFacts {
  readonly folder: string;
  /** By channel; a `Refusal` where its records do not hold together. */
  readonly channels: ReadonlyMap<string, StoredSnapshot | Refusal>;
  /** Of every release in the store. */
  readonly releases: ReadonlyMap<string, StoredRelease>;
}

export interface StoredRelease {
  /** A `Refusal` where it cannot be read. */
  readonly manifest: Manifest | Refusal;
  readonly withdrawal: Withdrawal | undefined;
}

/** Bytes, DESIGN §5. */
const MAX_MANIFEST = 64 * 1024;

/** @throws UsageError for a folder that is no state; Refusal of its format; IoError. */
export async function readStateFacts(folder: string): Promise<StateFacts> {
  await demandState(folder);
  const channels = new Map<string, StoredSnapshot | Refusal>();
  for (const name of await channelNames(folder)) {
    const stored = await orRefusal(() => readChannel(folder, name));
    // One whose first snapshot was never finished names nothing.
    if (stored !== undefined) channels.set(name, stored);
  }
  const releases = new Map<string, StoredRelease>();
  for (const id of await storedReleases(folder)) {
    const tree = new FolderTree(join(folder, 'releases', id));
    const manifest = await orRefusal(async () => {
      const bytes = await tree.read(RECORD.manifest, MAX_MANIFEST);
      return decodeOr(RECORD.manifest, () => decodeManifest(bytes));
    });
    releases.set(id, { manifest, withdrawal: await withdrawnReason(folder, id) });
  }
  return { folder, channels, releases };
}

/** Bytes of the largest release, by its manifest; 0 where there is none. */
export function largestRelease({ releases }: StateFacts): number {
  const sizes = [...releases.values()].map(({ manifest }) =>
    manifest instanceof Refusal ? 0 : manifest.files.reduce((sum, { size }) => sum + size, 0),
  );
  return Math.max(0, ...sizes);
}

/** Every time in it that somebody signed. */
export function signedTimes({ channels, releases }: StateFacts): readonly SignedTime[] {
  const times: SignedTime[] = [];
  for (const [name, stored] of channels)
    if (!(stored instanceof Refusal))
      times.push({ what: `the snapshot of ${name}`, at: stored.snapshot.issued });
  for (const [id, { manifest }] of releases)
    if (!(manifest instanceof Refusal)) times.push({ what: id, at: manifest.issued });
  return times;
}

async function orRefusal<T>(work: () => Promise<T>): Promise<T | Refusal> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
}
