import { compileAutoexec, compileUnverifiedScript } from '../boot/compile.ts';
import { isoSeconds } from '../formats/manifest.ts';
import { Refusal } from '../release/refusal.ts';
import { bytesResource } from '../serve/bytes-resource.ts';
import { startHttpServer } from '../serve/http.ts';
import { healthPage, jsonAnswer, metricsPage, readyPage } from '../serve/http-pages.ts';
import type { HttpEvent, HttpLog, Page, Pages } from '../serve/http-types.ts';
import { createMetrics } from '../serve/metrics.ts';
import { releaseSite } from '../serve/release-site.ts';
import type { Resource, Site } from '../serve/site.ts';
import { startTftpServer, type TftpServer } from '../serve/tftp.ts';
import { renderPage } from '../web/page.ts';
import { type Configuration, DEFAULT_CONFIGURATION } from './configuration.ts';
import { readLoaders } from './loader-files.ts';
import { type LoadedRelease, loadRelease } from './served-release.ts';

export interface ServeRequest {
  readonly tree: string;
  /** An `anchors/` folder; absent: the tree's seals must agree with each other, and all is labelled "unanchored". */
  readonly anchors?: string;
  readonly configuration?: Configuration;
  /** A folder of loaders (iPXE, GRUB images) to offer over TFTP and HTTP. */
  readonly loaders?: string;
  /** An IP address; default loopback. */
  readonly bind?: string;
  /** 0: an ephemeral one. Default 8080. */
  readonly httpPort?: number;
  /** 0: an ephemeral one; false leaves TFTP out. Default 69. */
  readonly tftpPort?: number | false;
  /** Milliseconds since 1970: the time that seals are judged at. */
  readonly now: number;
  /** Structured log lines; silent by default. */
  readonly log?: HttpLog;
  readonly onProgress?: (path: string, octets: number, size: number) => void;
  readonly onEvent?: (event: HttpEvent) => void;
}

export interface Serving {
  readonly release: string;
  readonly anchored: boolean;
  readonly http: { readonly address: string; readonly port: number };
  readonly tftp: { readonly address: string; readonly port: number } | undefined;
  /** `http://127.0.0.1:8080` */
  readonly url: string;
  /** Drains: no new clients, running transfers get up to `graceMs` milliseconds. */
  close(graceMs?: number): Promise<void>;
}

const DEFAULT_HTTP_PORT = 8080;
const DEFAULT_TFTP_PORT = 69;
const GRACE_MS = 10_000;
const SILENT: HttpLog = { info: () => {}, warn: () => {}, error: () => {} };

/**
 * Verifies a tree, then serves it over HTTP and TFTP. Rejects with a `Refusal` when the tree does not
 * verify and with a `ListenError` when an address cannot be had; nothing listens then.
 */
export async function serve(request: ServeRequest): Promise<Serving> {
  const release = await loadRelease({ anchors: undefined, ...request });
  const configuration = request.configuration ?? DEFAULT_CONFIGURATION;
  const bind = request.bind ?? '127.0.0.1';
  const extra =
    request.loaders === undefined ? new Map<string, Resource>() : await readLoaders(request.loaders);

  const metrics = createMetrics();
  const log = request.log ?? SILENT;
  if (!release.anchored)
    log.warn(
      { release: release.release },
      'serving unanchored: the seals agree, and nobody vouches for them',
    );
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
    ['/api/v1/release', releasePage(release)],
  ]);
  // The scripts that the server renders name its port, which is known only when it listens.
  let site: Site = { find: async () => new Refusal('unreachable', 'The server is starting.', {}) };
  const http = await startHttpServer({
    site: { find: (path) => site.find(path) },
    pages: pages as Pages,
    bind,
    port: request.httpPort ?? DEFAULT_HTTP_PORT,
    log,
    onEvent: (event) => {
      metrics.observeHttp(event);
      request.onEvent?.(event);
    },
  });
  for (const [name, text] of renderedScripts(release, configuration, http.port)) {
    extra.set(name, bytesResource(name, Buffer.from(text, 'latin1'), false));
  }
  site = releaseSite(release, extra);
  pages.set('/', homePage(release, configuration, baseOf(http)));
  let tftp: TftpServer | undefined;
  try {
    if (request.tftpPort !== false) {
      tftp = await startTftpServer({ site, bind, port: request.tftpPort ?? DEFAULT_TFTP_PORT, log });
    }
  } catch (error) {
    await http.close({ graceMs: 0 });
    throw error;
  }
  ready = true;
  return {
    release: release.release,
    anchored: release.anchored,
    http: { address: http.address, port: http.port },
    tftp: tftp && { address: tftp.address, port: tftp.port },
    url: baseOf(http),
    async close(graceMs = GRACE_MS) {
      ready = false;
      await Promise.all([http.close({ graceMs }), tftp?.close({ graceMs })]);
    },
  };
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
