import type { Refusal } from '../errors/refusal.ts';
import type { Tree } from '../files/tree.ts';
import type { ChannelRelease, Snapshot } from '../formats/records/snapshot.ts';
import type { GateRow } from '../publish/publish-gate.ts';
import type { TrustRoots } from '../trust/trust-roots.ts';
import type { VerifiedRelease } from '../trust/verified-release.ts';
import type { Verdict } from '../trust/verifier.ts';
import type { ReadRecord } from './channel-scripts-intake.ts';
import type { UpstreamSnapshot, UpstreamTerms } from './upstream.ts';

/** What is taken in, by what it is judged, and what became of it. */
export interface IntakeTerms extends UpstreamTerms {
  /** What releases must lead to. */
  readonly roots: TrustRoots;
  /** Where it came from, for the record: see `isOrigin`. */
  readonly origin: string;
  /** Signs the log's checkpoint, where there is a key; without one entries wait for theirs. */
  readonly snapshotKey?: string;
}

export interface IntakeRequest {
  /** Undefined: releases alone come in, and no channel moves. */
  readonly snapshot?: UpstreamSnapshot;
  /** By name: what is taken in. Those that the state holds already need not be among them. */
  readonly trees: ReadonlyMap<string, Tree>;
  /** Where the snapshot's scripts for machines are; default: a snapshot that names some is refused. */
  readonly readRecord?: ReadRecord;
}

/** What became of one release. */
export interface IntakeRow {
  readonly release: string;
  /** `kept`: the state held this very release. `held`: it is good, and something else was refused. */
  readonly outcome: 'stored' | 'kept' | 'refused' | 'held';
  readonly gates: readonly GateRow[];
  readonly refusal: Refusal | undefined;
  readonly verdict: Verdict | undefined;
}

export interface IntakeResult {
  readonly rows: readonly IntakeRow[];
  /** The first refusal of all; undefined: everything came in. */
  readonly refusal: Refusal | undefined;
  /** What the channel is at; undefined where none was asked for, or it did not move. */
  readonly snapshot: Snapshot | undefined;
  /** False where the channel was there already. */
  readonly moved: boolean;
}

/** A release as it was judged, before anything is kept. */
export interface JudgedTree extends Pick<IntakeRow, 'gates' | 'refusal' | 'verdict'> {
  /** Undefined where there is a refusal. */
  readonly release: VerifiedRelease | undefined;
}

/** What a snapshot, or a script, says of a release; more than its name need not be known. */
export type NamedRelease = Pick<ChannelRelease, 'release'> & Partial<ChannelRelease>;
