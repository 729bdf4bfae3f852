import { join } from 'node:path';
import type { Boots } from '../boots/boots.ts';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { urlHost } from '../formats/net/ip-address.ts';
import { entryFolder } from '../formats/records/entry-folder.ts';
import { bytesResource } from '../release/bytes-resource.ts';
import type { Site } from '../release/site.ts';
import { sealedServers } from '../scripts/sealed-server.ts';
import { type Emit, emitTo } from '../serve/emit.ts';
import type { Log } from '../serve/event-log.ts';
import { demandServed, type HandedSockets } from '../serve/handed.ts';
import { findPage } from '../serve/http/http-page.ts';
import type { Pages } from '../serve/http/http-types.ts';
import type { Bind, Bound } from '../serve/listen.ts';
import { createMetrics } from '../serve/metrics.ts';
import { Shares } from '../serve/shares.ts';
import { bucketOf } from '../store/s3/buckets.ts';
import { isBucketState } from '../store/s3/location.ts';
import type { AnchorFolders } from '../trust/trust-roots.ts';
import { stateAccess } from './access/state-access.ts';
import { Announcer } from './announcer.ts';
import { openBootDesk } from './boot-desk.ts';
import { bootFiles } from './boot-files.ts';
import { CacheMeters } from './cache-meters.ts';
import { type Configuration, DEFAULT_CONFIGURATION } from './configuration.ts';
import { DriftWatch } from './drift-watch.ts';
import { elsewhereOf } from './elsewhere.ts';
import { FetchedPayload } from './fetched-payload.ts';
import { Follower } from './follower.ts';
import { forecast } from './forecast.ts';
import type { HeldRelease } from './held-release.ts';
import { startListeners } from './listeners.ts';
import { MachineDesk } from './machine-desk.ts';
import { ReleaseExports } from './nbd-exports.ts';
import { announceLoaders, offeredLoaders } from './offered-loaders.ts';
import { type Offering, type OfferingSource, offeredSite } from './offering.ts';
import { openCache } from './open-cache.ts';
import { allWarnings, type Readiness, readiness, serverPages } from './pages.ts';
import { DhcpEdge, type DhcpOffer, type ProxyDhcpRequest, proxyDhcpBind } from './proxy-dhcp.ts';
import { renderedScripts } from './rendered-scripts.ts';
import { scrubReleases } from './scrub-releases.ts';
import { sealedElsewhere } from './sealed-address.ts';
import { tellServer } from './server-metrics.ts';
import type { Signer } from './signer.ts';
import { stateSource } from './state-source.ts';
import { Steering } from './steering.ts';
import { keepTime } from './timekeeper.ts';
import { TlsFiles } from './tls-files.ts';
import { treeSource } from './tree-source.ts';
import { openWebDesk } from './web-desk.ts';

export interface ServeOptions {
  /** A sealed tree; or else `state`. */
  readonly tree?: string;
  /**
   * A STATE, in a folder or a bucket (`s3://BUCKET/PREFIX`): every channel's release, and the server follows its channels.
   * Needs `anchors`. What is in a bucket is fetched when it is asked for.
   */
  readonly state?: string;
  /** Of a state: whose release is the entry; default: the only one. */
  readonly channel?: string;
  /**
   * An `anchors/` folder, several while a CA is being replaced; absent: the tree's seals must agree with each other, and
   * all is labelled "unanchored".
   */
  readonly anchors?: AnchorFolders;
  /** A policy file (TOML); of a state it must say what the state's own says. */
  readonly policy?: string;
  readonly configuration?: Partial<Configuration>;
  /** A folder of loaders (iPXE, GRUB images) to offer over TFTP and HTTP; default: `loaders` of the state, where that is. */
  readonly loaders?: string;
  /** A folder for receipts of boots; default: `boots` of the state, and memory where there is none. */
  readonly receipts?: string;
  /**
   * IP addresses, all with the same ports; default loopback, and with `proxyDhcp` where that sends machines. `::` is every
   * address, IPv4 too, unless one of IPv4 stands beside it.
   */
  readonly bind?: Bind;
  /** 0: an ephemeral one. Default 8080. */
  readonly httpPort?: number;
  /** 0: an ephemeral one; false leaves TFTP out. Default 69. */
  readonly tftpPort?: number | false;
  /** 0: an ephemeral one; false leaves NBD out. Default 10809. */
  readonly nbdPort?: number | false;
  /**
   * Sockets that were opened before, as by systemd: what has one is served there, and its address and port above say
   * nothing. `dhcp` needs `proxyDhcp`.
   */
  readonly sockets?: HandedSockets;
  /** Answers machines that boot from the network, on the interfaces that it names; absent: DHCP is left to others. */
  readonly proxyDhcp?: ProxyDhcpRequest;
  /** Milliseconds since 1970: what seals are judged by, now and whenever something ends. Default: this machine's. */
  readonly clock?: () => number;
  /** Structured log lines; silent by default. */
  readonly log?: Log;
  readonly onProgress?: (path: string, bytes: number, size: number) => void;
  /**
   * Who signs for it: what is written about machines, whenever it changed, and what somebody asks for by the API. A
   * `KeyholderClient` is one. Absent: it is said that somebody has to.
   */
  readonly signer?: Signer;
  /** Told of everything that happens with clients. Must not block. */
  readonly onEvent?: Emit;
}

/** Where one protocol is served. */
export interface Listening {
  /** The first one. */
  readonly address: string;
  readonly port: number;
  /** One for each address: `tftp://10.0.0.1:69`, `http://[fd00::1]:8080`. */
  readonly urls: readonly string[];
}

export interface Serving {
  readonly release: string;
  readonly anchored: boolean;
  readonly http: Listening;
  /** The same over TLS, where the configuration names a certificate. */
  readonly https: Listening | undefined;
  readonly tftp: Listening | undefined;
  readonly nbd: Listening | undefined;
  /** Every boot: those under way, and the receipts of those that were. */
  readonly boots: Boots;
  /** Where loaders may send what they write on their consoles, over UDP. */
  readonly syslog: Listening | undefined;
  /** What is answered to whom over DHCP, now; undefined where nobody is. */
  readonly dhcp: readonly DhcpOffer[] | undefined;
  /** `http://127.0.0.1:8080` */
  readonly url: string;
  /** Drains: no new clients, running transfers get up to `graceMs` milliseconds. */
  close(graceMs?: number): Promise<void>;
}

const DEFAULT_HTTP_PORT = 8080;
const DEFAULT_TFTP_PORT = 69;
const DEFAULT_NBD_PORT = 10_809;
const GRACE_MS = 10_000;
/** Seconds: a look at a bucket is a handful of requests, and costs money. */
const LOOK_AT_BUCKET = 5;
const SILENT: Log = { info: () => {}, warn: () => {}, error: () => {} };

/**
 * Verifies a tree, then serves it over HTTP, TFTP and NBD, and goes on judging it: what ends by the clock is offered
 * to no new boot, and machines that run keep their root. Rejects with a `Refusal` when the tree does not verify and
 * with a `ListenError` when an address cannot be had; nothing listens then.
 */
export async function serve(options: ServeOptions): Promise<Serving> {
  const clock = options.clock ?? Date.now;
  const log = options.log ?? SILENT;
  const configuration = { ...DEFAULT_CONFIGURATION, ...options.configuration };
  const { proxyDhcp, signer, sockets = new Map() } = options;
  demandServed(sockets, {
    http: true,
    https: configuration.tls !== undefined,
    tftp: options.tftpPort !== false,
    nbd: options.nbdPort !== false,
    dhcp: proxyDhcp !== undefined,
    'dhcp-pxe': proxyDhcp !== undefined,
    syslog: configuration.syslog !== undefined,
  });
  const bind = options.bind ?? (proxyDhcp ? proxyDhcpBind(proxyDhcp) : '127.0.0.1');
  const source = sourceOf(options, clock, log);
  const access = stateAccess({ state: options.state, configuration, clock, log });
  const tlsFiles = configuration.tls && (await TlsFiles.open(configuration.tls, clock, log));
  let offering = await source.load();
  const loaders = await offeredLoaders(options, configuration);
  const metrics = createMetrics();
  const counted = new CacheMeters(metrics.registry);
  const bucket = options.state !== undefined && isBucketState(options.state) ? options.state : undefined;
  const cache =
    bucket === undefined ? undefined : await openCache({ state: bucket, configuration, counted, log });
  const payloads = new FetchedPayload(cache, elsewhereOf(bucket, configuration));
  const monotonic = () => performance.now();
  const shares = new Shares(configuration.shares);
  const desk = await openBootDesk({
    place:
      options.receipts ??
      (bucket === undefined
        ? options.state === undefined
          ? undefined
          : join(options.state, 'boots')
        : bucketOf(bucket)),
    configuration,
    find: bootFiles(() => offering, new Set(loaders.keys())),
    ...{ shares, clock, monotonic, log },
  });
  const { boots } = desk;
  announce(offering, configuration, log);
  announceLoaders(loaders, log);
  const announcer = new Announcer(log);
  announcer.tell(offering, clock());

  let ready = false;
  // The scripts that the server renders name its port, which is known only when it listens.
  let site: Site = { find: async () => new Refusal('unreachable', 'The server is starting.', {}) };
  let base = '';
  let httpPort = 0;
  let fault = (): string | undefined => undefined;
  let follow = async (): Promise<void> => {};
  // Told by listeners, and by those who give scripts and take reports: none of them ends by what somebody makes of it.
  const steering = new Steering({
    ...{ configuration, registry: metrics.registry, clock, monotonic },
    releases: () => [...offering.releases, ...offering.former].map(({ release }) => release),
  });
  await steering.look();
  const tell = emitTo(
    [boots.observe, (event) => steering.observe(event), ...(options.onEvent ? [options.onEvent] : [])],
    (error, { kind }) => log.error({ err: error, event: kind }, 'a listener of events failed'),
  );
  const machines = new MachineDesk({
    offering: () => offering,
    state: options.state,
    apply: signer && ((channel) => signer.apply(channel)),
    signer,
    ...{ shares, clock, monotonic, log },
    emit: tell,
  });
  const exports = new ReleaseExports(
    (name, refusal) => log.error({ export: name, ...refusal.toJSON() }, 'not served any more'),
    payloads,
  );
  const find: Site['find'] = (path) => site.find(path);
  const dhcp =
    proxyDhcp &&
    new DhcpEdge(
      { decide: (client) => machines.decide(client), isKnown: (mac) => machines.isKnown(mac), ...proxyDhcp },
      { configuration, find },
    );
  /** Makes what was loaded last the answer to every request from now on. */
  const put = (): void => {
    const extra = new Map([...loaders].map(([name, { resource }]) => [name, resource]));
    const render = (held: HeldRelease, arch?: string): void => {
      for (const [name, text] of renderedScripts(held.release, configuration, httpPort, arch)) {
        const path = arch === undefined ? name : `${entryFolder(arch)}/${name}`;
        extra.set(path, bytesResource(name, Buffer.from(text, 'latin1'), false));
      }
    };
    render(offering.entry);
    for (const [arch, held] of offering.byArch) render(held, arch);
    site = machines.site(offeredSite(offering, extra, payloads));
    exports.put([...offering.releases, ...offering.former].map(({ release, cut }) => ({ release, cut })));
    void dhcp?.refresh();
  };
  const payload = () => [...offering.releases, ...offering.former].map(({ release }) => release);
  const drift = new DriftWatch({ releases: payload, log, refusalOf: (file) => payloads.refusalOf(file) });
  const readable: Readiness = {
    isDrifted: (release) => drift.of(release).length > 0,
    ...{ offering: () => offering, ready: () => ready, fault: () => fault(), clock },
    warnings: () => [
      ...[...drift.warnings, ...machines.warnings, ...desk.warnings, ...steering.warnings],
      ...[...access.warnings, ...(tlsFiles?.warnings ?? []), ...(cache?.warnings ?? [])],
    ],
  };
  const ends = () => forecast({ offering, loaders, tls: tlsFiles?.shown }, clock());
  tellServer(metrics.registry, {
    ...{ ...readable, configuration, boots, state: options.state },
    ready: () => !(readiness(readable) instanceof Refusal),
    forecast: ends,
    receiptsFault: () => desk.warnings[0],
    drifted: () => drift.drifted.length,
  });
  const web = openWebDesk({
    ...{ offering: () => offering, boots, loaded: desk.loaded, drift, access },
    ...{ state: options.state, configuration, fault: () => fault(), base: () => base },
    readiness: () => readiness(readable),
    warnings: () => allWarnings(readable),
    endings: ends,
    api: (path) => findPage(pages, path),
    ...{ shares, clock, monotonic, log },
  });
  const pages: Pages = serverPages({
    ...readable,
    configuration,
    metrics,
    access,
    more: [...machines.pages, ...web.pages],
    loaders,
    boots,
    state: options.state,
    signer,
    lookAtMachines: async () => {
      // What was signed a moment ago is what counts, and not what was signed before.
      await follow();
      return machines.lookNow();
    },
    certificate: () => tlsFiles?.shown,
    log,
  });
  const listeners = await startListeners({
    site: {
      find: (path, from) => site.find(path, from),
      known: (path) => site.known?.(path),
      begin: (path, from) => site.begin?.(path, from),
    },
    pages,
    exports,
    onHttp: (http) => {
      base = listening('http', http).urls[0] ?? '';
      httpPort = http.port;
      put();
    },
    bind,
    ports: {
      http: options.httpPort ?? DEFAULT_HTTP_PORT,
      tftp: options.tftpPort ?? DEFAULT_TFTP_PORT,
      nbd: options.nbdPort ?? DEFAULT_NBD_PORT,
    },
    tls: configuration.tls && tlsFiles && { port: configuration.tls.port, pair: tlsFiles.pair },
    sockets,
    configuration,
    metrics,
    log,
    dhcp,
    onEvent: tell,
    loaders: new Set(loaders.keys()),
    steer: configuration.steering && steering.steer,
  }).catch(async (error: unknown) => {
    web.end();
    await desk.close();
    await cache?.end();
    throw error;
  });
  const { http, tftp, nbd, syslog } = listeners;
  tellSealedAddress(offering, http.bound, log);
  ready = true;
  const endScrub = scrubReleases(configuration, payload, () => payloads.files, { clock, metrics, log });
  const follower = new Follower(source, log, bucket ? LOOK_AT_BUCKET : 1, (loaded) => {
    const before = offering.entry.release.manifestSha256;
    offering = loaded;
    put();
    const { release, manifestSha256 } = offering.entry.release;
    if (manifestSha256 === before) return;
    log.info({ release }, 'the channel moved');
    tellSealedAddress(offering, http.bound, log);
  });
  fault = () => follower.fault;
  follow = () => follower.lookNow();
  const endTime = keepTime({
    clock,
    onTick: async (now) => {
      desk.tick();
      follower.look();
      // Whatever keeps the state from being read or loaded, time goes on for what is offered.
      for (const held of [...offering.releases, ...offering.former])
        if (held.isDue(now)) await source.judge(held);
      announcer.tell(offering, now);
      machines.look();
      drift.look();
      await steering.look();
      web.tick();
      await access.look();
      await tlsFiles?.look((pair) => http.tls?.change(pair));
    },
    onFault: (error) => log.error({ err: error }, 'judging again failed'),
  });
  return {
    get release() {
      return offering.entry.release.release;
    },
    get anchored() {
      return offering.entry.release.anchored;
    },
    http: listening('http', http),
    https: http.tls && listening('https', http.tls),
    tftp: tftp && listening('tftp', tftp),
    nbd: nbd && listening('nbd', nbd),
    syslog: syslog && listening('syslog', syslog),
    get dhcp() {
      return dhcp?.offers;
    },
    url: base,
    boots,
    async close(graceMs = GRACE_MS) {
      ready = false;
      web.end();
      // Reads that wait for a store that is silent end with the time that others have to end.
      const patience = setTimeout(() => exports.end(), graceMs);
      await Promise.all([endTime(), endScrub(), listeners.close(graceMs)]);
      clearTimeout(patience);
      await cache?.end();
      await Promise.all([follower.end(), machines.end(), drift.end(), desk.close()]);
    },
  };
}

function sourceOf(options: ServeOptions, clock: () => number, log: Log): OfferingSource {
  const { tree, state, channel, anchors, policy, onProgress } = options;
  if (tree !== undefined && state === undefined)
    return treeSource({ tree, anchors, policy, clock, onProgress });
  if (state === undefined || tree !== undefined) {
    throw new UsageError('A server serves either a tree or a state folder.');
  }
  if (anchors === undefined) {
    throw new UsageError('Serving a state folder needs the anchors that its releases must lead to.');
  }
  const onRefused = (name: string, refusal: Refusal) =>
    log.error({ channel: name, ...refusal.toJSON() }, 'what this channel names is refused');
  return stateSource({ state, anchors, channel, policy, clock, onProgress, onRefused });
}

function announce({ entry }: Offering, configuration: Configuration, log: Log): void {
  const { release, anchored, unjudged } = entry.release;
  if (!anchored) log.warn({ release }, 'serving unanchored: the seals agree, and nobody vouches for them');
  for (const script of unjudged)
    log.warn({ release, script }, 'not served: the anchors that it is for were not given');
  if (configuration.allow_unverified_loaders)
    log.warn({}, 'unverified loaders are allowed by the configuration');
}

/** Scripts name a place that nobody here may change: machines that look for their files elsewhere are told apart early. */
function tellSealedAddress({ entry, byArch }: Offering, bound: readonly Bound[], log: Log): void {
  for (const { release } of new Set([entry, ...byArch.values()]))
    for (const what of sealedElsewhere(sealedServers(release.records), bound))
      log.info({ release: release.release, listening: bound }, `${what}; serve there, or seal with --url`);
}

function listening(scheme: string, { bound }: { readonly bound: readonly Bound[] }): Listening {
  const [{ address, port } = { address: '', port: 0 }] = bound;
  return { address, port, urls: bound.map((at) => `${scheme}://${urlHost(at.address)}:${at.port}`) };
}
