import { decodeIpPrefix } from '../formats/net/ip-address.ts';
import type { Site } from '../release/site.ts';
import { withBootBegins } from '../serve/boot-begins.ts';
import type { ProxyDhcp } from '../serve/dhcp/dhcp.ts';
import { type Emit, emitTo } from '../serve/emit.ts';
import { eventLog, type Log } from '../serve/event-log.ts';
import type { HandedSockets } from '../serve/handed.ts';
import { type HttpServer, type HttpServerOptions, startHttpServer } from '../serve/http/http.ts';
import type { Pages } from '../serve/http/http-types.ts';
import type { Bind } from '../serve/listen.ts';
import type { Metrics } from '../serve/metrics.ts';
import { type NbdServer, startNbdServer } from '../serve/nbd/nbd.ts';
import type { NbdExports } from '../serve/nbd/nbd-types.ts';
import { Shares } from '../serve/shares.ts';
import { type SyslogReceiver, startSyslog } from '../serve/syslog/syslog.ts';
import { startTftpServer } from '../serve/tftp/tftp.ts';
import type { TftpServer } from '../serve/tftp/tftp-types.ts';
import type { Configuration } from './configuration.ts';
import { clientsWithin, descriptorLimit } from './descriptors.ts';
import type { DhcpEdge } from './proxy-dhcp.ts';

export interface ListenersOptions {
  readonly site: Site;
  readonly pages: Pages;
  readonly exports: NbdExports;
  /** Called when the port of HTTP is known, and before anybody else may ask: scripts name it. */
  readonly onHttp: (http: HttpServer) => void;
  /** IP addresses. */
  readonly bind: Bind;
  /** 0: an ephemeral one; false leaves the protocol out. */
  readonly ports: { readonly http: number; readonly tftp: number | false; readonly nbd: number | false };
  /** Of HTTPS; undefined: it is not offered. */
  readonly tls: HttpServerOptions['tls'];
  /** What was opened for us already. */
  readonly sockets: HandedSockets;
  readonly configuration: Configuration;
  readonly metrics: Metrics;
  readonly log: Log;
  /** Told of everything that happens with clients. */
  readonly onEvent?: Emit | undefined;
  /** Begins when all others listen: it sends machines to them. */
  readonly dhcp?: DhcpEdge | undefined;
  /** Names at the top of the site that are loaders. */
  readonly loaders: ReadonlySet<string>;
  /** Sends clients to mirrors for whole files. */
  readonly steer?: HttpServerOptions['steer'];
}

export interface Listeners {
  readonly http: HttpServer;
  readonly tftp: TftpServer | undefined;
  readonly nbd: NbdServer | undefined;
  /** Where loaders may say what they write on their consoles. */
  readonly syslog: SyslogReceiver | undefined;
  /** Drains: no new clients, running transfers get up to so many milliseconds. */
  close(graceMs: number): Promise<void>;
}

/**
 * Listens with every protocol, which share one admission, one log and one stream of events. Where one cannot listen,
 * none does.
 *
 * @throws ListenError, UsageError for a socket that was handed over and is not what its name says.
 */
export async function startListeners(options: ListenersOptions): Promise<Listeners> {
  const { pages, exports, bind, ports, sockets, configuration, metrics, log, onEvent } = options;
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
  const { loaders } = options;
  const site = withBootBegins(options.site, { emit, loaders, now: () => performance.now() });
  const allowed = clientsWithin(descriptorLimit());
  const http = await startHttpServer({
    ...edge,
    site,
    pages,
    port: ports.http,
    tls: options.tls && { ...options.tls, sockets: sockets.get('https') },
    sockets: sockets.get('http'),
    limits: allowed.http,
    proxies: configuration.trusted_proxies.map(decodeIpPrefix),
    steer: options.steer,
  });
  metrics.follow('http', () => ({ open: http.connections, heldBytes: http.heldBytes }));
  let tftp: TftpServer | undefined;
  let nbd: NbdServer | undefined;
  let syslog: SyslogReceiver | undefined;
  let dhcp: ProxyDhcp | undefined;
  const close = async (graceMs: number): Promise<void> => {
    // Nobody is sent to a server that is about to end.
    await dhcp?.close();
    await Promise.all([http.close({ graceMs }), tftp?.close({ graceMs }), nbd?.close({ graceMs })]);
    await syslog?.close();
    events.close();
  };
  try {
    options.onHttp(http);
    if (ports.tftp !== false) {
      const started = await startTftpServer({
        ...edge,
        site,
        port: ports.tftp,
        sockets: sockets.get('tftp'),
        limits: allowed.tftp,
        singlePort: configuration.tftp_single_port,
      });
      tftp = started;
      metrics.follow('tftp', () => ({ open: started.transfers, heldBytes: started.heldBytes }));
    }
    if (ports.nbd !== false) {
      const started = await startNbdServer({
        ...edge,
        exports,
        port: ports.nbd,
        sockets: sockets.get('nbd'),
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
    if (configuration.syslog) {
      const { port } = configuration.syslog;
      syslog = await startSyslog({
        ...edge,
        port,
        sockets: sockets.get('syslog'),
        onLeftOut: () => metrics.countLeftOut('syslog'),
      });
    }
    const handed = [...(sockets.get('dhcp') ?? []), ...(sockets.get('dhcp-pxe') ?? [])];
    dhcp = await options.dhcp?.start(emit, { http, tftp, syslog }, handed);
  } catch (error) {
    await close(0);
    throw error;
  }
  return { http, tftp, nbd, syslog, close };
}
