import { decodeIpPrefix } from '../formats/net/ip-address.ts';
import type { Site } from '../release/site.ts';
import { descriptorLimit } from '../serve/descriptors.ts';
import { type Emit, emitTo } from '../serve/emit.ts';
import { eventLog, type Log } from '../serve/event-log.ts';
import { type HttpServer, startHttpServer } from '../serve/http/http.ts';
import { DEFAULT_HTTP_LIMITS, type Pages } from '../serve/http/http-types.ts';
import type { Metrics } from '../serve/metrics.ts';
import { type NbdServer, startNbdServer } from '../serve/nbd/nbd.ts';
import { DEFAULT_NBD_LIMITS, type NbdExports } from '../serve/nbd/nbd-types.ts';
import { Shares } from '../serve/shares.ts';
import { startTftpServer, type TftpServer } from '../serve/tftp/tftp.ts';
import { DEFAULT_TFTP_LIMITS } from '../serve/tftp/tftp-types.ts';
import type { Configuration } from './configuration.ts';

export interface ListenersOptions {
  readonly site: Site;
  readonly pages: Pages;
  readonly exports: NbdExports;
  /** Called when the port of HTTP is known, and before anybody else may ask: scripts name it. */
  readonly onHttp: (http: HttpServer) => void;
  /** An IP address. */
  readonly bind: string;
  /** 0: an ephemeral one; false leaves the protocol out. */
  readonly ports: { readonly http: number; readonly tftp: number | false; readonly nbd: number | false };
  readonly configuration: Configuration;
  readonly metrics: Metrics;
  readonly log: Log;
  /** Told of everything that happens with clients. */
  readonly onEvent?: Emit | undefined;
}

export interface Listeners {
  readonly http: HttpServer;
  readonly tftp: TftpServer | undefined;
  readonly nbd: NbdServer | undefined;
  /** Drains: no new clients, running transfers get up to so many milliseconds. */
  close(graceMs: number): Promise<void>;
}

/**
 * Listens with every protocol, which share one admission, one log and one stream of events. Where one cannot listen,
 * none does.
 *
 * @throws ListenError
 */
export async function startListeners(options: ListenersOptions): Promise<Listeners> {
  const { site, pages, exports, bind, ports, configuration, metrics, log, onEvent } = options;
  const shares = new Shares(configuration.shares);
  const events = eventLog({
    log,
    shares,
    now: () => performance.now(),
    onLeftOut: (server) => metrics.countLeftOut(server),
  });
  const listening = [events.write, metrics.observe, ...(onEvent ? [onEvent] : [])];
  const emit = emitTo(listening, (error, { kind }) =>
    log.error({ err: error, event: kind }, 'a listener of events failed'),
  );
  const edge = { bind, shares, emit };
  const limit = descriptorLimit();
  const http = await startHttpServer({
    ...edge,
    site,
    pages,
    port: ports.http,
    limits: { maxConnections: within(limit, DEFAULT_HTTP_LIMITS.maxConnections, 1 / 5) },
    proxies: configuration.trusted_proxies.map(decodeIpPrefix),
  });
  metrics.follow('http', () => ({ open: http.connections, heldBytes: http.heldBytes }));
  let tftp: TftpServer | undefined;
  let nbd: NbdServer | undefined;
  const close = async (graceMs: number): Promise<void> => {
    await Promise.all([http.close({ graceMs }), tftp?.close({ graceMs }), nbd?.close({ graceMs })]);
    events.close();
  };
  try {
    options.onHttp(http);
    if (ports.tftp !== false) {
      const limits = { maxTransfers: within(limit, DEFAULT_TFTP_LIMITS.maxTransfers, 1 / 10) };
      const started = await startTftpServer({ ...edge, site, port: ports.tftp, limits });
      tftp = started;
      metrics.follow('tftp', () => ({ open: started.transfers, heldBytes: started.heldBytes }));
    }
    if (ports.nbd !== false) {
      const limits = { maxConnections: within(limit, DEFAULT_NBD_LIMITS.maxConnections, 2 / 5) };
      const started = await startNbdServer({ ...edge, exports, port: ports.nbd, limits });
      nbd = started;
      metrics.follow('nbd', () => ({
        open: started.connections,
        heldBytes: started.heldBytes,
        sentBytes: started.bytes,
        requests: started.requests,
      }));
    }
  } catch (error) {
    await close(0);
    throw error;
  }
  return { http, tftp, nbd, close };
}

/** At most so many as may have a descriptor each, where the system allows this process only `limit` of them. */
function within(limit: number | undefined, most: number, part: number): number {
  return limit === undefined ? most : Math.max(1, Math.min(most, Math.floor(limit * part)));
}
