import { Refusal } from '../../errors/refusal.ts';
import type { Certificate } from '../../formats/asn1/x509.ts';
import type { MirrorVerdict } from '../../formats/records/mirror-health.ts';
import type { ChannelRelease, Snapshot } from '../../formats/records/snapshot.ts';
import type { Verifier } from '../../trust/verifier.ts';
import {
  auditRelease,
  isInterruption,
  type ReleaseDepth,
  type ReleaseFindings,
  type Sampled,
} from './audit-release.ts';
import type { Drift } from './image-blocks.ts';
import type { MirrorLink } from './mirror-link.ts';
import { readShownSnapshot, type ShownSnapshot } from './signed-channel.ts';

/** What an audit found of one mirror. */
export interface MirrorRow {
  /** Ends in a slash. */
  readonly url: string;
  readonly verdict: MirrorVerdict;
  /** One sentence; empty where it is verified. */
  readonly why: string;
  /** Of the snapshot that it shows; undefined where none could be read. */
  readonly counter: number | undefined;
  readonly releases: readonly ChannelRelease[];
  /** Whole days by which its snapshot is older than the newest that any of the audited mirrors shows; 0: it is that one. */
  readonly behindDays: number;
  /** Whole days since its snapshot ended; 0: it has not. */
  readonly endedDays: number;
  readonly drifted: readonly Drift[];
  readonly sampled: readonly Sampled[];
  readonly whole: readonly string[];
  readonly unsampled: readonly string[];
  readonly unjudged: readonly string[];
  /** Of content, that it sent. */
  readonly bytes: number;
  readonly requests: number;
  /** Milliseconds, from when it was first asked. */
  readonly durationMs: number;
}

export interface MirrorTerms {
  readonly channel: string;
  readonly signers: readonly Certificate[];
  readonly verifier: Verifier;
  /** Milliseconds that a snapshot may be older than the newest. */
  readonly lagMs: number;
  readonly monotonic: () => number;
}

const DAY = 86_400_000;

/** The audit of one mirror: its snapshot first, then, once all are known, what it names. */
export class MirrorAudit {
  readonly #link: MirrorLink;
  readonly #terms: MirrorTerms;
  readonly #begun: number;
  readonly #findings: ReleaseFindings = {
    drifted: [],
    sampled: [],
    whole: [],
    unsampled: [],
    unjudged: [],
    stale: undefined,
  };
  #interruption: Refusal | undefined;
  #durationMs = 0;
  shown: ShownSnapshot | undefined;

  constructor(link: MirrorLink, terms: MirrorTerms) {
    this.#link = link;
    this.#terms = terms;
    this.#begun = terms.monotonic();
  }

  async freshness(): Promise<void> {
    const { channel, signers, verifier } = this.#terms;
    await this.#noting(async () => {
      this.shown = await readShownSnapshot(this.#link, channel, signers, verifier.policy, verifier.now);
    });
  }

  async releases(depth: ReleaseDepth): Promise<void> {
    await this.#noting(async () => {
      for (const one of this.shown?.snapshot.releases ?? [])
        await auditRelease(this.#link, one, this.#terms.verifier, depth, this.#findings);
    });
  }

  /** @param newest the snapshot with the highest counter of all. */
  row(newest: ShownSnapshot | undefined): MirrorRow {
    const { verifier, lagMs } = this.#terms;
    const { drifted, stale, ...findings } = this.#findings;
    const { snapshot } = this.shown ?? {};
    const behindMs = snapshot && newest ? Math.max(0, newest.snapshot.issued - snapshot.issued) : 0;
    const isBehind = snapshot && newest && snapshot.counter < newest.snapshot.counter && behindMs >= lagMs;
    const endedMs = snapshot ? Math.max(0, verifier.now - snapshot.expires) : 0;
    const old =
      (isBehind && behindOf(snapshot, newest.snapshot, behindMs)) ||
      (endedMs > 0 && snapshot && endedOf(snapshot, endedMs)) ||
      stale?.message;
    const [first] = drifted;
    const [verdict, why]: [MirrorVerdict, string] = first
      ? ['drifted', first.message]
      : this.#interruption
        ? [interrupted(this.#interruption), this.#interruption.message]
        : old
          ? ['stale', old]
          : ['verified', ''];
    return {
      url: this.#link.base,
      verdict,
      why,
      counter: snapshot?.counter,
      releases: snapshot?.releases ?? [],
      behindDays: isBehind ? Math.floor(behindMs / DAY) : 0,
      endedDays: Math.floor(endedMs / DAY),
      drifted,
      ...findings,
      bytes: this.#link.bytes,
      requests: this.#link.requests,
      durationMs: this.#durationMs,
    };
  }

  /** Two snapshots of one counter: the key that signs them tells different people different things. */
  splits(url: string): void {
    const { channel } = this.#terms;
    const counter = this.shown?.snapshot.counter;
    const message = `Its snapshot ${counter} of ${channel} is another one than that of ${url}.`;
    this.#findings.drifted.push({ path: `channels/${channel}`, message });
  }

  async #noting(work: () => Promise<void>): Promise<void> {
    if (this.#interruption) return;
    try {
      await work();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      if (isInterruption(error)) this.#interruption = error;
      else if (error.code === 'expired') this.#findings.stale = error;
      else {
        const { file } = error.facts;
        const path = typeof file === 'string' ? file : `channels/${this.#terms.channel}`;
        this.#findings.drifted.push({ path, message: error.message });
      }
    } finally {
      this.#durationMs = this.#terms.monotonic() - this.#begun;
    }
  }
}

function interrupted({ facts }: Refusal): MirrorVerdict {
  if (facts.budget !== undefined) return 'unfinished';
  return facts.slow === true ? 'slow' : 'unreachable';
}

function behindOf(own: Snapshot, newest: Snapshot, ms: number): string {
  return `Its snapshot is ${own.counter}, ${days(ms)} older than ${newest.counter}, the newest that is shown.`;
}

function endedOf({ counter }: Snapshot, ms: number): string {
  return `Its snapshot ${counter} ended ${days(ms)} ago.`;
}

function days(ms: number): string {
  const count = Math.floor(ms / DAY);
  return count === 0 ? 'less than a day' : count === 1 ? '1 day' : `${count} days`;
}
