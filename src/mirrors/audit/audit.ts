import { randomInt } from 'node:crypto';
import { UsageError } from '../../errors/usage.ts';
import { encodeMirrorHealth, isMirrorUrl, type MirrorHealth } from '../../formats/records/mirror-health.ts';
import { readLogCertificates } from '../../store/log-reader.ts';
import { readPolicyFileOr } from '../../trust/given-policy.ts';
import { type AnchorFolders, readTrustRoots } from '../../trust/trust-roots.ts';
import { Verifier } from '../../trust/verifier.ts';
import { WebClient } from '../web-client.ts';
import { MirrorAudit, type MirrorRow } from './audit-mirror.ts';
import { blocksOf } from './audit-release.ts';
import { ByteBudget } from './byte-budget.ts';
import { ConnectionSlots } from './connection-slots.ts';
import type { Random } from './draw.ts';
import { MirrorLink } from './mirror-link.ts';
import type { ShownSnapshot } from './signed-channel.ts';

/** `freshness`: the snapshot alone; `sampled`: records whole and random parts of the rest; `complete`: every byte. */
export const AUDIT_DEPTHS = ['freshness', 'sampled', 'complete'] as const;
export type AuditDepth = (typeof AUDIT_DEPTHS)[number];

export interface AuditOptions {
  /** Addresses of folders that hold `channels` and `releases`, or of servers. */
  readonly mirrors: readonly string[];
  readonly channel: string;
  /** An `anchors/` folder, or the `init` folder around it; several while a CA is being replaced. */
  readonly anchors: AnchorFolders;
  /** Of the snapshot key: a PEM file, or a folder with a `snapshot.crt`; default: the first anchors. */
  readonly snapshotCertificates?: string;
  /** A policy file (TOML). */
  readonly policy?: string;
  /** Default `sampled`. */
  readonly depth?: AuditDepth;
  /** Of each image, from above 0 to 1; default 0.01. */
  readonly share?: number;
  /** Bytes of the ranges that are drawn, default 32 KiB; they are made of whole blocks of 4096. */
  readonly rangeBytes?: number;
  /** The share of changed blocks that the odds are told for; default 0.01. */
  readonly tampered?: number;
  /** Milliseconds that a mirror may be behind the newest; default 0. */
  readonly lagMs?: number;
  /** Connections at once, in all (default 32) and to one host (default 4). */
  readonly connections?: number;
  readonly perHost?: number;
  /** Bytes that all mirrors together may send; default: no limit but what was signed. */
  readonly maxBytes?: number;
  /** Bytes a second that a mirror must send; default 16 KiB. */
  readonly slowRate?: number;
  /** Milliseconds of waiting before one is called slow, and without a byte before it is given up; default 10 000. */
  readonly slowAfterMs?: number;
  /** Redirects may lead further into private networks than the mirror itself. */
  readonly allowPrivate?: boolean;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Default: `crypto.randomInt`. Whoever knows what is drawn can serve that and nothing else. */
  readonly random?: Random;
  /** Milliseconds; default `performance.now`. */
  readonly monotonic?: () => number;
  /** Told how many mirrors are done. */
  readonly onProgress?: (done: number, all: number) => void;
}

export interface AuditReport {
  readonly channel: string;
  readonly depth: AuditDepth;
  readonly now: number;
  /** The highest counter that any of them shows; undefined where none shows any. */
  readonly newest: number | undefined;
  /** In the order in which they were named. */
  readonly rows: readonly MirrorRow[];
}

/**
 * Looks at mirrors from outside, as their clients see them, and says of each what it found: against the anchors that are
 * given, and against the newest snapshot that any of them shows.
 *
 * @throws UsageError where there is nothing to judge by, or an address is none; IoError.
 */
export async function audit(options: AuditOptions): Promise<AuditReport> {
  const {
    channel,
    now,
    depth = 'sampled',
    anchors,
    lagMs = 0,
    slowRate = 16 * 1024,
    slowAfterMs = 10_000,
  } = options;
  const { connections = 32, perHost = 4, monotonic = () => performance.now(), random = randomInt } = options;
  const urls = options.mirrors.map(mirrorUrl);
  if (urls.length === 0) throw new UsageError('No mirror was named: there is nothing to audit.');
  const twice = urls.find(({ href }, at) => urls.findIndex((other) => other.href === href) < at);
  if (twice) throw new UsageError(`${twice.href} is named twice.`);
  const roots = await readTrustRoots(anchors);
  const [first = ''] = typeof anchors === 'string' ? [anchors] : anchors;
  const signers = await readLogCertificates(options.snapshotCertificates ?? first);
  const verifier = new Verifier(roots, await readPolicyFileOr(options.policy), () => now);
  const client = new WebClient({
    connectTimeoutMs: slowAfterMs,
    stallTimeoutMs: slowAfterMs,
    maxConnections: perHost,
    maxTotalConnections: connections,
    allowPrivate: options.allowPrivate ?? false,
  });
  const slots = new ConnectionSlots(connections, perHost);
  const budget = new ByteBudget(options.maxBytes ?? Number.POSITIVE_INFINITY);
  const link = { client, slots, budget, slowRate, slowAfterMs, monotonic };
  const audits = urls.map(
    (url) => new MirrorAudit(new MirrorLink(url, link), { channel, signers, verifier, lagMs, monotonic }),
  );
  try {
    // 1. What each shows: how old one is can only be told when all are known.
    await Promise.all(audits.map((one) => one.freshness()));
    const newest = newestOf(audits, urls);
    // 2. What that names.
    let done = 0;
    if (depth !== 'freshness') {
      const { share = 0.01, rangeBytes = 32 * 1024, tampered = 0.01 } = options;
      const rangeBlocks = blocksOf(rangeBytes);
      const terms = { complete: depth === 'complete', share, rangeBlocks, tampered, random };
      await Promise.all(
        audits.map(async (one) => {
          await one.releases(terms);
          done += 1;
          options.onProgress?.(done, audits.length);
        }),
      );
    }
    const rows = audits.map((one) => one.row(newest));
    return { channel, depth, now, newest: newest?.snapshot.counter, rows };
  } finally {
    client.close();
  }
}

/** What a server reads that sends machines to mirrors. An audit that looked at no release vouches for none. */
export function healthOf({ channel, depth, now, rows }: AuditReport): MirrorHealth {
  const mirrors = rows.map(({ url, verdict, releases }) => ({
    url,
    verdict,
    releases:
      verdict === 'verified' && depth !== 'freshness'
        ? releases.map(({ release, manifest }) => ({ release, manifest }))
        : [],
  }));
  return { channel, audited: Math.floor(now / 1000) * 1000, mirrors };
}

export function encodeHealth(report: AuditReport): Uint8Array {
  return encodeMirrorHealth(healthOf(report));
}

/** The newest snapshot; who shows another one of the same counter is told. */
function newestOf(audits: readonly MirrorAudit[], urls: readonly URL[]): ShownSnapshot | undefined {
  const seen = new Map<number, { readonly shown: ShownSnapshot; readonly url: string }>();
  for (const [at, one] of audits.entries()) {
    if (!one.shown) continue;
    const { counter } = one.shown.snapshot;
    const other = seen.get(counter);
    if (!other) seen.set(counter, { shown: one.shown, url: urls[at]?.href ?? '' });
    else if (other.shown.sha256 !== one.shown.sha256) one.splits(other.url);
  }
  return [...seen].sort(([a], [b]) => b - a)[0]?.[1].shown;
}

function mirrorUrl(text: string): URL {
  const whole = text.endsWith('/') ? text : `${text}/`;
  let url: URL | undefined;
  try {
    url = new URL(whole);
  } catch {}
  if (url && isMirrorUrl(url.href)) return url;
  throw new UsageError(
    `${text} is no address of a mirror: that is http:// or https://, a host and a folder, without a query.`,
  );
}
