import { Registry } from 'prom-client';
import { REFUSAL_CODES, type RefusalCode } from '../errors/refusal.ts';
import {
  DHCP_CLIENTS,
  DHCP_SILENCES,
  OUTCOMES,
  type Outcome,
  type Protocol,
  type ServerEvent,
  TURNED_AWAY,
} from '../release/server-event.ts';
import { TRUST_LEVELS } from '../release/trust-level.ts';
import { meters } from './meters.ts';
import { Tally } from './tally.ts';

/**
 * The numbers of one server, in a registry of its own: two servers in one process (tests, harnesses) must
 * not add to each other's.
 *
 * No label holds anything a client chose, and every series is there from the start, at 0: a path or method as a
 * label would let one client fill the memory of this process and of the Prometheus that reads it, and a series that
 * begins with its first event hides it from `rate`.
 */
export interface Metrics {
  readonly registry: Registry;
  /** Counts what happens on any protocol. */
  observe(event: ServerEvent): void;
  /** Asks a running server, whenever somebody reads, what it holds and has sent: NBD connections last for days. */
  follow(server: Protocol, facts: () => ServerFacts): void;
  /** Counts a log line that was left out. */
  countLeftOut(server: ServerEvent['server']): void;
  /** Counts a round of the scrub, which read so many bytes and ended at `time`, milliseconds since 1970. */
  observeScrub(bytes: number, time: number): void;
  /** Counts a refusal of the scrub. */
  countScrubRefusal(code: RefusalCode): void;
  /** Counts a file that the scrub could not read. */
  countScrubFault(): void;
}

/** What a running server says of itself. */
export interface ServerFacts {
  /** Connections, or transfers (TFTP), that are open. */
  readonly open: number;
  /** Bytes of memory that wait for clients. */
  readonly heldBytes: number;
  /** Of content, so far; absent where events tell it. */
  readonly sentBytes?: number;
  /** Requests that were answered so far; absent where events tell it. */
  readonly requests?: number;
}

const SERVERS: readonly Protocol[] = ['http', 'tftp', 'nbd'];

/** Statuses that this server answers with; any other is `other`. */
const STATUSES = [
  ...['0', '200', '202', '206', '302', '303', '304', '400', '401', '403', '404', '405', '408', '409', '410'],
  ...['412', '413', '415', '416', '417', '421', '429', '431'],
  ...['500', '503', 'other'],
];
const KNOWN_STATUS = new Set(STATUSES);

export function createMetrics(): Metrics {
  const registry = new Registry();
  /** Reads what running servers say of themselves; called before any number of theirs is told. */
  const readers: (() => void)[] = [];
  /** What is counted with every request. */
  const tallies: { settle(): void }[] = [];
  const collect = (): void => {
    for (const read of readers) read();
    for (const tally of tallies) tally.settle();
  };
  const tally = <K>(write: (key: K, amount: number) => void): Tally<K> => {
    const made = new Tally(write);
    tallies.push(made);
    return made;
  };
  const { counter, gauge } = meters(registry, collect);

  const transfers = counter('transfers_total', 'What was begun with clients, by how it ended.', [
    'server',
    'outcome',
  ]);
  const active = gauge('transfers_active', 'Responses, transfers and exports under way.', ['server']);
  const open = gauge('connections', 'Connections (TFTP: transfers) that are open.', ['server']);
  const held = gauge('held_bytes', 'Bytes of memory that wait for clients.', ['server']);
  const sent = counter('sent_bytes_total', 'Bytes of content that were sent (TFTP: acknowledged).', [
    'server',
  ]);
  const refusals = counter('refusals_total', 'What was not given, by reason.', ['server', 'code']);
  const turnedAway = counter(
    'turned_away_total',
    'Connections and datagrams that got nothing, by reason; "too-many" are those that were not admitted.',
    ['server', 'reason'],
  );
  const boots = counter(
    'boots_begun_total',
    'Boots whose first script or image was given, by the level of trust that their loader claims.',
    ['trust'],
  );
  const faults = counter('faults_total', 'What this machine could not do: disk, limits, faults.', ['server']);
  const leftOut = counter('log_lines_left_out_total', 'Log lines that were not written.', ['server']);
  const statuses = counter('http_requests_total', 'HTTP responses by status; 0: the client left before.', [
    'status',
  ]);
  const retransmissions = counter('tftp_retransmissions_total', 'TFTP datagrams that were sent again.', []);
  const nbdRequests = counter('nbd_requests_total', 'NBD requests that were answered, errors included.', []);
  const dhcpAnswers = counter('dhcp_answers_total', 'Answers over DHCP by kind of client.', ['client']);
  const dhcpSilences = counter('dhcp_silences_total', 'What came over DHCP and got no answer, by reason.', [
    'reason',
  ]);
  const scrubbed = counter(
    'scrub_read_bytes_total',
    'Bytes of served files that were read again and were what was verified.',
    [],
  );
  const scrubEnded = gauge(
    'scrub_ended_timestamp_seconds',
    'When everything that is served had been read again; 0 is not yet.',
    [],
  );

  for (const server of SERVERS) {
    for (const outcome of OUTCOMES[server]) transfers.inc({ server, outcome }, 0);
    for (const reason of TURNED_AWAY) turnedAway.inc({ server, reason }, 0);
    for (const each of [sent, faults, leftOut]) each.inc({ server }, 0);
    for (const each of [active, open, held]) each.set({ server }, 0);
  }
  for (const server of ['dhcp', 'syslog']) for (const each of [faults, leftOut]) each.inc({ server }, 0);
  faults.inc({ server: 'scrub' }, 0);
  for (const client of DHCP_CLIENTS) dhcpAnswers.inc({ client }, 0);
  for (const reason of DHCP_SILENCES) dhcpSilences.inc({ reason }, 0);
  for (const server of [...SERVERS, 'scrub']) {
    for (const code of REFUSAL_CODES) refusals.inc({ server, code }, 0);
  }
  for (const trust of Object.keys(TRUST_LEVELS)) boots.inc({ trust }, 0);
  for (const status of STATUSES) statuses.inc({ status }, 0);

  const activeBy = tally((server: Protocol, amount) => active.inc({ server }, amount));
  const sentBy = tally((server: Protocol, amount) => sent.inc({ server }, amount));
  const leftOutBy = tally((server: ServerEvent['server'], amount) => leftOut.inc({ server }, amount));
  const statusesBy = tally((status: number, amount) => {
    const known = String(status);
    statuses.inc({ status: KNOWN_STATUS.has(known) ? known : 'other' }, amount);
  });
  const endings = (server: Protocol) =>
    tally((outcome: Outcome, amount) => transfers.inc({ server, outcome }, amount));
  const transfersBy = { http: endings('http'), tftp: endings('tftp'), nbd: endings('nbd') };

  /** Servers that tell how much they have sent while it goes on: their events would count it twice. */
  const followed = new Set<Protocol>();

  return {
    registry,
    observe(event) {
      switch (event.kind) {
        case 'started':
          activeBy.add(event.server);
          break;
        case 'ended': {
          const { server } = event;
          activeBy.add(server, -1);
          transfersBy[server].add(event.outcome);
          if (!followed.has(server)) sentBy.add(server, event.bytes);
          if (event.status !== undefined) statusesBy.add(event.status);
          if (event.retransmissions !== undefined) retransmissions.inc(event.retransmissions);
          break;
        }
        case 'refused':
          refusals.inc({ server: event.server, code: event.refusal.code });
          break;
        case 'boot-began':
          boots.inc({ trust: event.trust });
          break;
        case 'turned-away':
          turnedAway.inc({ server: event.server, reason: event.reason });
          break;
        case 'failed':
        case 'fault':
          faults.inc({ server: event.server });
          break;
        case 'offered':
          dhcpAnswers.inc({ client: event.client });
          break;
        case 'silent':
          dhcpSilences.inc({ reason: event.reason });
          break;
        case 'progress':
        case 'redirected':
        case 'answered':
        case 'interface':
        case 'decided':
        case 'reported':
        case 'gave-up':
        case 'console':
          break;
      }
    },
    follow(server, facts) {
      if (facts().sentBytes !== undefined) followed.add(server);
      let before = { sentBytes: 0, requests: 0 };
      readers.push(() => {
        const now = facts();
        const { sentBytes = 0, requests = 0 } = now;
        open.set({ server }, now.open);
        held.set({ server }, now.heldBytes);
        sent.inc({ server }, sentBytes - before.sentBytes);
        nbdRequests.inc(requests - before.requests);
        before = { sentBytes, requests };
      });
    },
    countLeftOut: (server) => leftOutBy.add(server),
    countScrubRefusal: (code) => refusals.inc({ server: 'scrub', code }),
    countScrubFault: () => faults.inc({ server: 'scrub' }),
    observeScrub(bytes, time) {
      scrubbed.inc(bytes);
      scrubEnded.set(time / 1000);
    },
  };
}
