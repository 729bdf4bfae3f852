import { Counter, Gauge, Registry } from 'prom-client';
import type { RefusalCode } from '../errors/refusal.ts';
import type { HttpEvent } from './http/http-types.ts';
import type { NbdServer } from './nbd/nbd.ts';
import type { NbdEvent } from './nbd/nbd-types.ts';

/**
 * The numbers of one server, in a registry of its own: two servers in one process (tests, harnesses) must
 * not add to each other's.
 *
 * No label holds anything a client chose. A path or method as a label would let one client fill the memory
 * of this process and of the Prometheus that reads it.
 */
export interface Metrics {
  readonly registry: Registry;
  /** Counts an event of the HTTP edge. */
  observeHttp(event: HttpEvent): void;
  /** Counts an event of the NBD edge. */
  observeNbd(event: NbdEvent): void;
  /** Tells, whenever somebody asks, how much an NBD server has done: connections that carry a root last for days. */
  followNbd(server: Pick<NbdServer, 'connections' | 'heldBytes' | 'requests' | 'bytes'>): void;
  /** Counts a round of the scrub, which read so many bytes and ended at `time`, milliseconds since 1970. */
  observeScrub(bytes: number, time: number): void;
  /** Counts a refusal: of `http`, `tftp`, `nbd`, `scrub`. */
  countRefusal(server: string, code: RefusalCode): void;
}

export function createMetrics(): Metrics {
  const registry = new Registry();
  const registers = [registry];
  const requests = new Counter({
    name: 'bootseal_http_requests_total',
    help: 'HTTP responses by status; 0 is a client that left before there was one.',
    labelNames: ['status'] as const,
    registers,
  });
  const endings = new Counter({
    name: 'bootseal_http_responses_total',
    help: 'HTTP responses by how they ended.',
    labelNames: ['ending'] as const,
    registers,
  });
  const sent = new Counter({
    name: 'bootseal_http_sent_bytes_total',
    help: 'Bytes of content sent over HTTP.',
    registers,
  });
  const active = new Gauge({
    name: 'bootseal_http_active_transfers',
    help: 'HTTP responses under way.',
    registers,
  });
  const rejected = new Counter({
    name: 'bootseal_http_rejected_connections_total',
    help: 'Connections that made no valid request, by the status they got; 0 is none.',
    labelNames: ['status'] as const,
    registers,
  });
  const refusals = new Counter({
    name: 'bootseal_refusals_total',
    help: 'Refusals by server and reason code.',
    labelNames: ['server', 'code'] as const,
    registers,
  });
  const scrubbed = new Counter({
    name: 'bootseal_scrub_read_bytes_total',
    help: 'Bytes of served files that were read again and were what was verified.',
    registers,
  });
  const scrubEnded = new Gauge({
    name: 'bootseal_scrub_ended_timestamp_seconds',
    help: 'When everything that is served had been read again; 0 is not yet.',
    registers,
  });
  const countRefusal = (server: string, code: RefusalCode): void => refusals.inc({ server, code });

  return {
    registry,
    countRefusal,
    ...nbdMetrics(registry, countRefusal),
    observeScrub(bytes, time) {
      scrubbed.inc(bytes);
      scrubEnded.set(time / 1000);
    },
    observeHttp(event) {
      switch (event.kind) {
        case 'started':
          active.inc();
          break;
        case 'finished':
          active.dec();
          requests.inc({ status: String(event.status) });
          endings.inc({ ending: event.ending });
          sent.inc(event.bytes);
          if (event.refusal !== undefined) countRefusal('http', event.refusal.code);
          break;
        case 'rejected':
          rejected.inc({ status: String(event.status) });
          break;
        default:
          break;
      }
    },
  };
}

function nbdMetrics(
  registry: Registry,
  countRefusal: Metrics['countRefusal'],
): Pick<Metrics, 'observeNbd' | 'followNbd'> {
  const registers = [registry];
  const closed = new Counter({
    name: 'bootseal_nbd_closed_connections_total',
    help: 'NBD connections by how they ended.',
    labelNames: ['ending'] as const,
    registers,
  });
  const rejected = new Counter({
    name: 'bootseal_nbd_rejected_connections_total',
    help: 'NBD connections that were not let in.',
    registers,
  });
  return {
    observeNbd(event) {
      switch (event.kind) {
        case 'closed':
          closed.inc({ ending: event.ending });
          break;
        case 'rejected':
          rejected.inc();
          break;
        case 'refused':
        case 'failed':
          countRefusal('nbd', event.refusal.code);
          break;
        default:
          break;
      }
    },
    followNbd(server) {
      new Gauge({
        name: 'bootseal_nbd_connections',
        help: 'NBD connections that are open.',
        registers,
        collect() {
          this.set(server.connections);
        },
      });
      new Gauge({
        name: 'bootseal_nbd_held_bytes',
        help: 'Bytes that NBD replies hold in memory.',
        registers,
        collect() {
          this.set(server.heldBytes);
        },
      });
      new Counter({
        name: 'bootseal_nbd_requests_total',
        help: 'NBD requests that were answered, errors included.',
        registers,
        collect() {
          this.reset();
          this.inc(server.requests);
        },
      });
      new Counter({
        name: 'bootseal_nbd_sent_bytes_total',
        help: 'Bytes of exports sent over NBD.',
        registers,
        collect() {
          this.reset();
          this.inc(server.bytes);
        },
      });
    },
  };
}
