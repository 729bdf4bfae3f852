import { createHash } from 'node:crypto';
import type { Gauge, Registry } from 'prom-client';
import { decodeIpPrefix, type IpPrefix } from '../formats/net/ip-address.ts';
import { isoSeconds } from '../formats/records/lines.ts';
import type { MirrorHealth } from '../formats/records/mirror-health.ts';
import type { ServerEvent } from '../release/server-event.ts';
import { whoVerifies } from '../release/who-verifies.ts';
import type { FollowingClient } from '../serve/http/follows-redirects.ts';
import { isOneOf } from '../serve/http/http-client.ts';
import type { Steer, Steered } from '../serve/http/http-types.ts';
import { meters } from '../serve/meters.ts';
import type { ServableRelease } from '../trust/verified-release.ts';
import type { Configuration, Mirror } from './configuration.ts';
import { MirrorHealthFiles } from './mirror-health-files.ts';

export interface SteeringOptions {
  readonly configuration: Configuration;
  /** What is offered now. */
  readonly releases: () => readonly ServableRelease[];
  readonly registry: Registry;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** Milliseconds. */
  readonly monotonic: () => number;
}

/** Milliseconds in which a machine that asks for the same again had no luck with its mirror. */
const AGAIN_MS = 10 * 60_000;
/** Milliseconds for which a machine that was refused gets everything from here. */
const REFUSED_MS = 60 * 60_000;
/** What is remembered of machines; the oldest is forgotten first. */
const MOST = 20_000;

/** Why a machine that would follow gets its bytes from here. */
const DIRECT = ['asked', 'again', 'refused', 'no-mirror'] as const;

/**
 * Sends machines to mirrors: this server goes on deciding what is booted, and mirrors carry the bytes. Only files whose bytes
 * the client verifies itself; only to mirrors that an audit has verified to hold this very release; and never twice: whoever
 * asks for the same again, was refused, or says `?direct`, gets it from here.
 */
export class Steering {
  readonly #options: SteeringOptions;
  readonly #mirrors: readonly { readonly mirror: Mirror; readonly networks: readonly IpPrefix[] }[];
  readonly #health: MirrorHealthFiles | undefined;
  readonly #sent = new Map<string, number>();
  readonly #refused = new Map<string, number>();
  /** By path: who verifies it. Of the releases that are offered. */
  #files = new WeakMap<ServableRelease, ReadonlyMap<string, FollowingClient>>();
  readonly #count: (steered: Steered | (typeof DIRECT)[number]) => void;

  constructor(options: SteeringOptions) {
    this.#options = options;
    const { configuration, registry, clock } = options;
    const { mirrors, steering } = configuration;
    // Boot loaders trust no CA of the web, and early userspace has none: bytes are verified as they are.
    this.#mirrors = mirrors
      .filter(({ url }) => url.startsWith('http://'))
      .map((mirror) => ({ mirror, networks: mirror.networks.map(decodeIpPrefix) }));
    this.#health =
      steering && new MirrorHealthFiles(steering.health, steering.max_age_hours * 3_600_000, clock);
    const { counter } = meters(registry);
    const redirects = counter('redirects_total', 'Files for which a machine was sent to a mirror.');
    const bytes = counter('redirected_bytes_total', 'Bytes of these files: by mirror, and not from here.');
    const direct = counter(
      'redirects_direct_total',
      'Files that a machine could have had from a mirror, and got from here, by reason.',
      ['reason'],
    );
    for (const reason of DIRECT) direct.inc({ reason }, 0);
    const usable: Gauge = meters(registry, () => usable.set(this.#usable().length)).gauge(
      'mirrors_usable',
      'Mirrors that machines are sent to: verified by an audit that is not too old.',
    );
    this.#count = (steered) => {
      if (typeof steered === 'string') return direct.inc({ reason: steered });
      redirects.inc();
      bytes.inc(steered.bytes);
    };
  }

  /** Looks at what audits wrote. */
  async look(): Promise<void> {
    await this.#health?.look();
  }

  get warnings(): readonly string[] {
    if (!this.#health) return [];
    const { known, warnings } = this.#health;
    return [
      ...warnings,
      ...(known.length > 0 ? this.#mirrors.flatMap(({ mirror }) => leftOut(known, mirror)) : []),
    ];
  }

  /** Where a client is sent for a file; undefined: it is answered from here. */
  readonly steer: Steer = (asked) => {
    const { steering } = this.#options.configuration;
    const { path, size, client, remote } = asked;
    if (!steering || size < steering.least_kib * 1024) return undefined;
    const release = this.#releaseOf(path, client);
    if (!release) return undefined;
    const reason = asked.direct ? 'asked' : this.#why(remote, path);
    if (reason) {
      this.#count(reason);
      return undefined;
    }
    const url = choose(this.#usable(release), remote);
    if (url === undefined) {
      this.#count('no-mirror');
      return undefined;
    }
    remember(this.#sent, `${remote} ${path}`, this.#options.monotonic());
    const steered = {
      mirror: url,
      location: url + path.slice(1).split('/').map(encodeURIComponent).join('/'),
      bytes: size,
    };
    this.#count(steered);
    return steered;
  };

  /** A machine that was refused may have had a mirror's bytes: it is sent nowhere for a while. */
  observe(event: ServerEvent): void {
    const refused = event.kind === 'gave-up' || (event.kind === 'reported' && event.outcome === 'refused');
    if (refused) remember(this.#refused, event.remote, this.#options.monotonic());
  }

  #why(remote: string, path: string): (typeof DIRECT)[number] | undefined {
    const now = this.#options.monotonic();
    const since = (map: ReadonlyMap<string, number>, key: string) =>
      now - (map.get(key) ?? Number.NEGATIVE_INFINITY);
    if (since(this.#refused, remote) < REFUSED_MS) return 'refused';
    return since(this.#sent, `${remote} ${path}`) < AGAIN_MS ? 'again' : undefined;
  }

  /** The release of a file whose bytes this client verifies itself. */
  #releaseOf(path: string, client: FollowingClient): ServableRelease | undefined {
    return this.#options.releases().find((release) => {
      const before = `/releases/${release.release}/`;
      if (!path.startsWith(before)) return false;
      const files = this.#files.get(release) ?? verifiers(release, this.#options.configuration);
      this.#files.set(release, files);
      return files.get(path.slice(before.length)) === client;
    });
  }

  /** @param release that they must hold; undefined: any. */
  #usable(
    release?: ServableRelease,
  ): readonly { readonly mirror: Mirror; readonly networks: readonly IpPrefix[] }[] {
    const known = this.#health?.known ?? [];
    return this.#mirrors.filter(({ mirror: { url } }) => isUsable(known, url, release));
  }
}

function isUsable(
  known: readonly MirrorHealth[],
  url: string,
  release: ServableRelease | undefined,
): boolean {
  const audits = known.flatMap(({ mirrors }) => mirrors.filter((one) => one.url === url));
  // Who fails one audit is trusted by none.
  if (audits.some(({ verdict }) => verdict === 'drifted')) return false;
  return audits.some(
    ({ verdict, releases }) =>
      verdict === 'verified' &&
      (release === undefined ||
        releases.some((one) => one.release === release.release && one.manifest === release.manifestSha256)),
  );
}

/** Why machines are not sent to a mirror that is configured; one sentence without its stop, or none. */
function leftOut(known: readonly MirrorHealth[], { url }: Mirror): readonly string[] {
  if (isUsable(known, url, undefined)) return [];
  const found = known.flatMap(({ audited, mirrors }) =>
    mirrors.filter((one) => one.url === url).map(({ verdict }) => ({ audited, verdict })),
  );
  const worst = found.find(({ verdict }) => verdict === 'drifted') ?? found[0];
  const why = worst
    ? `the audit of ${isoSeconds(worst.audited)} found it ${worst.verdict}; "bootseal mirror audit ${url}" says why`
    : 'no audit looked at it';
  return [`no machine is sent to ${url}: ${why}`];
}

/** Which client verifies which file: iPXE what it starts, by its seal; early userspace the root image. */
export function verifiers(
  { manifest }: ServableRelease,
  { allow_unverified_loaders: unverified }: Configuration,
): ReadonlyMap<string, FollowingClient> {
  const files = new Map<string, FollowingClient>();
  for (const { name, by } of whoVerifies(manifest)) {
    const path = name.startsWith('file ') ? name.slice('file '.length) : undefined;
    const role = manifest.files.find((file) => file.path === path)?.role;
    if (path === undefined || role === undefined) continue;
    // A loader that verifies nothing takes whatever comes: what it starts comes from here alone.
    if (by === 'loader' && !unverified) files.set(path, 'ipxe');
    if (role === 'rootfs' && (by === 'overlay' || by === 'system')) files.set(path, 'curl');
  }
  return files;
}

/**
 * The mirror for a machine: always the same while the same ones are there, so many machines each as its weight says
 * (weighted rendezvous hashing). One that names the machine's network comes before those that are for all.
 */
function choose(
  mirrors: readonly { readonly mirror: Mirror; readonly networks: readonly IpPrefix[] }[],
  remote: string,
): string | undefined {
  const near = mirrors.filter(({ networks }) => networks.length > 0 && isOneOf(remote, networks));
  const candidates = near.length > 0 ? near : mirrors.filter(({ networks }) => networks.length === 0);
  let best: { readonly url: string; readonly score: number } | undefined;
  for (const { mirror } of candidates) {
    const score = -Math.log(fraction(`${remote} ${mirror.url}`)) / mirror.weight;
    if (!best || score < best.score) best = { url: mirror.url, score };
  }
  return best?.url;
}

/** Above 0, below 1, the same for the same text. */
function fraction(text: string): number {
  return (createHash('sha256').update(text).digest().readUInt32BE(0) + 0.5) / 2 ** 32;
}

function remember(map: Map<string, number>, key: string, now: number): void {
  map.delete(key);
  map.set(key, now);
  const [oldest] = map.keys();
  if (map.size > MOST && oldest !== undefined) map.delete(oldest);
}
