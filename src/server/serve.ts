import { Refusal } from '../errors/refusal.ts';
import { decodeIpPrefix } from '../formats/net/ip-address.ts';
import { isoSeconds } from '../formats/records/lines.ts';
import { bytesResource } from '../release/bytes-resource.ts';
import type { Resource, Site } from '../release/site.ts';
import { compileAutoexec, compileUnverifiedScript } from '../scripts/compile.ts';
import { type Emit, emitTo } from '../serve/emit.ts';
import { eventLog, type Log } from '../serve/event-log.ts';
import { startHttpServer } from '../serve/http/http.ts';
import { healthPage, jsonAnswer, metricsPage, readyPage } from '../serve/http/http-pages.ts';
import type { Page, Pages } from '../serve/http/http-types.ts';
import { createMetrics } from '../serve/metrics.ts';
import { type NbdServer, startNbdServer } from '../serve/nbd/nbd.ts';
import { Shares } from '../serve/shares.ts';
import { startTftpServer, type TftpServer } from '../serve/tftp/tftp.ts';
import type { LoadedRelease } from '../trust/verified-release.ts';
import { renderPage } from '../web/page.ts';
import { type Configuration, DEFAULT_CONFIGURATION } from './configuration.ts';
import { clientsWithin, descriptorLimit } from './descriptors.ts';
import { readLoaders } from './loader-files.ts';
import { ReleaseExports } from './nbd-exports.ts';
import { type OfferingSource, stateSource, treeSource } from './offering.ts';
import { scrubReleases } from './scrub-releases.ts';

export interface ServeRequest {
  /** A sealed tree; or else `state`. */
  readonly tree?: string;
  /** A STATE folder: every channel's release, and the server follows its channels. Needs `anchors`. */
  readonly state?: string;
  /** Of a state: whose release is the entry; default: the only one. */
  readonly channel?: string;
  /** An `anchors/` folder; absent: the tree's seals must agree with each other, and all is labelled "unanchored". */
  readonly anchors?: string;
  /** Anchors of other CAs whose loaders shall start the release too, while a CA is being replaced. */
  readonly otherAnchors?: readonly string[];
  readonly configuration?: Partial<Configuration>;
  /** A folder of loaders (iPXE, GRUB images) to offer over TFTP and HTTP. */
  readonly loaders?: string;
  /** An IP address; default loopback. */
  readonly bind?: string;
  /** 0: an ephemeral one. Default 8080. */
  readonly httpPort?: number;
  /** 0: an ephemeral one; false leaves TFTP out. Default 69. */
  readonly tftpPort?: number | false;
  /** 0: an ephemeral one; false leaves NBD out. Default 10809. */
  readonly nbdPort?: number | false;
  /** Milliseconds since 1970: the time that seals are judged at. */
  readonly now: number;
  /** The clock, for what is judged later; default: it stands still at `now`. */
  readonly clock?: () => number;
  /** Structured log lines; silent by default. */
  readonly log?: Log;
  readonly onProgress?: (path: string, octets: number, size: number) => void;
  /** Told of everything that happens with clients. Must not block. */
  readonly onEvent?: Emit;
}

export interface Serving {
  readonly release: string;
  readonly anchored: boolean;
  readonly http: { readonly address: string; readonly port: number };
  readonly tftp: { readonly address: string; readonly port: number } | undefined;
  readonly nbd: { readonly address: string; readonly port: number } | undefined;
  /** `http://127.0.0.1:8080` */
  readonly url: string;
  /** Drains: no new clients, running transfers get up to `graceMs` milliseconds. */
  close(graceMs?: number): Promise<void>;
}

const DEFAULT_HTTP_PORT = 8080;
const DEFAULT_TFTP_PORT = 69;
const DEFAULT_NBD_PORT = 10_809;
const GRACE_MS = 10_000;
const SILENT: Log = { info: () => {}, warn: () => {}, error: () => {} };

/**
 * Verifies a tree, then serves it over HTTP, TFTP and NBD. Rejects with a `Refusal` when the tree does not
 * verify and with a `ListenError` when an address cannot be had; nothing listens then.
 */
export async function serve(request: ServeRequest): Promise<Serving> {
  const source = sourceOf(request);
  const clock = request.clock ?? (() => request.now);
  let { entry: release, releases, site: siteOf } = await source.load(request.now);
  const configuration = { ...DEFAULT_CONFIGURATION, ...request.configuration };
  const bind = request.bind ?? '127.0.0.1';
  const loaders =
    request.loaders === undefined ? new Map<string, Resource>() : await readLoaders(request.loaders);

  const metrics = createMetrics();
  const log = request.log ?? SILENT;
  if (!release.anchored)
    log.warn(
      { release: release.release },
      'serving unanchored: the seals agree, and nobody vouches for them',
    );
  for (const script of release.unjudged)
    log.warn({ release: release.release, script }, 'not served: the anchors that it is for were not given');
  if (configuration.allow_unverified_loaders)
    log.warn({}, 'unverified loaders are allowed by the configuration');

  let ready = false;
  const pages = new Map<string, Page>([
    ['/healthz', healthPage()],
    [
      '/readyz',
      readyPage(() => ready || new Refusal('unreachable', 'The server is starting or stopping.', {})),
    ],
    ['/metrics', metricsPage(metrics)],
  ]);
  // The scripts that the server renders name its port, which is known only when it listens.
  let site: Site = { find: async () => new Refusal('unreachable', 'The server is starting.', {}) };
  const shares = new Shares(configuration.shares);
  const events = eventLog({
    log,
    shares,
    now: () => performance.now(),
    onLeftOut: (server) => metrics.countLeftOut(server),
  });
  const listeners = [events.write, metrics.observe, ...(request.onEvent ? [request.onEvent] : [])];
  const emit = emitTo(listeners, (error, { kind }) =>
    log.error({ err: error, event: kind }, 'a listener of events failed'),
  );
  const edge = { bind, shares, emit };
  const allowed = clientsWithin(descriptorLimit());
  const http = await startHttpServer({
    ...edge,
    site: { find: (path) => site.find(path) },
    pages: pages as Pages,
    port: request.httpPort ?? DEFAULT_HTTP_PORT,
    limits: allowed.http,
    proxies: configuration.trusted_proxies.map(decodeIpPrefix),
  });
  metrics.follow('http', () => ({ open: http.connections, heldBytes: http.heldBytes }));
  const exports = new ReleaseExports((name, refusal) =>
    log.error({ export: name, ...refusal.toJSON() }, 'not served any more'),
  );
  /** Makes what was loaded last the answer to every request from now on. */
  const put = (): void => {
    const extra = new Map(loaders);
    for (const [name, text] of renderedScripts(release, configuration, http.port)) {
      extra.set(name, bytesResource(name, Buffer.from(text, 'latin1'), false));
    }
    site = siteOf(extra);
    exports.put(releases);
    pages.set('/', homePage(release, configuration, baseOf(http)));
    pages.set('/api/v1/release', releasePage(release));
  };
  let tftp: TftpServer | undefined;
  let nbd: NbdServer | undefined;
  try {
    put();
    if (request.tftpPort !== false) {
      const moving: Site = { find: (path) => site.find(path) };
      const started = await startTftpServer({
        ...edge,
        site: moving,
        port: request.tftpPort ?? DEFAULT_TFTP_PORT,
        limits: allowed.tftp,
      });
      tftp = started;
      metrics.follow('tftp', () => ({ open: started.transfers, heldBytes: started.heldBytes }));
    }
    if (request.nbdPort !== false) {
      const started = await startNbdServer({
        ...edge,
        exports,
        port: request.nbdPort ?? DEFAULT_NBD_PORT,
        limits: allowed.nbd,
      });
      nbd = started;
      metrics.follow('nbd', () => ({
        open: started.connections,
        heldBytes: started.heldBytes,
        sentBytes: started.bytes,
        requests: started.requests,
      }));
    }
  } catch (error) {
    await Promise.all([http.close({ graceMs: 0 }), tftp?.close({ graceMs: 0 })]);
    events.close();
    throw error;
  }
  ready = true;
  const endScrub = scrubReleases(configuration, () => releases, { clock, metrics, log });
  const follow = async (): Promise<void> => {
    try {
      const before = release.manifestSha256;
      ({ entry: release, releases, site: siteOf } = await source.load(clock()));
      put();
      if (release.manifestSha256 !== before) log.info({ release: release.release }, 'the channel moved');
    } catch (error) {
      if (!(error instanceof Refusal)) log.error({ error }, 'following the channels failed');
      else log.error(error.toJSON(), 'what the channels name now is refused; the last good release stays');
    }
  };
  // One at a time; a channel that moves meanwhile is followed afterwards.
  let following = Promise.resolve();
  let pending = false;
  const unwatch = source.watch(() => {
    if (pending) return;
    pending = true;
    following = following.then(() => {
      pending = false;
      return follow();
    });
  });
  return {
    get release() {
      return release.release;
    },
    anchored: release.anchored,
    http: { address: http.address, port: http.port },
    tftp: tftp && { address: tftp.address, port: tftp.port },
    nbd: nbd && { address: nbd.address, port: nbd.port },
    url: baseOf(http),
    async close(graceMs = GRACE_MS) {
      ready = false;
      unwatch();
      await Promise.all([
        following,
        endScrub(),
        http.close({ graceMs }),
        tftp?.close({ graceMs }),
        nbd?.close({ graceMs }),
      ]);
      events.close();
    },
  };
}

function sourceOf(request: ServeRequest): OfferingSource {
  const { tree, state, channel, anchors, otherAnchors = [], onProgress } = request;
  if (tree !== undefined && state === undefined) return treeSource(tree, anchors, onProgress, otherAnchors);
  if (state === undefined || tree !== undefined) {
    throw new TypeError('a server serves either a tree or a state folder');
  }
  if (anchors === undefined) {
    throw new Refusal(
      'absent',
      'Serving a state folder needs the anchors that its releases must lead to.',
      {},
    );
  }
  return stateSource({
    state,
    anchors,
    otherAnchors,
    ...(channel === undefined ? {} : { channel }),
    ...(onProgress ? { onProgress } : {}),
  });
}

function renderedScripts(
  release: LoadedRelease,
  configuration: Configuration,
  port: number,
): [string, string][] {
  const server = { kind: 'typed', port } as const;
  const allowUnverified = configuration.allow_unverified_loaders;
  const scripts: [string, string][] = [
    ['autoexec.ipxe', compileAutoexec({ allowUnverified, bootSigner: release.bootSigner, server })],
  ];
  if (allowUnverified) scripts.push(['unverified.ipxe', compileUnverifiedScript({ ...release, server })]);
  return scripts;
}

function homePage(release: LoadedRelease, configuration: Configuration, base: string): Page {
  const { manifest, anchored } = release;
  const body = renderPage({
    release: release.release,
    issued: isoSeconds(manifest.issued),
    bestBefore: isoSeconds(manifest.bestBefore),
    anchored,
    unverifiedLoadersAllowed: configuration.allow_unverified_loaders,
    base,
    files: manifest.files,
  });
  const headers = {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'",
  };
  return { handle: () => ({ status: 200, headers, body }) };
}

function releasePage(release: LoadedRelease): Page {
  const { manifest, manifestSha256, anchored } = release;
  return { handle: () => jsonAnswer(200, { anchored, manifestSha256, ...manifest }) };
}

function baseOf({ address, port }: { address: string; port: number }): string {
  return `http://${address.includes(':') ? `[${address}]` : address}:${port}`;
}
