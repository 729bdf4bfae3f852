import type { ServerEvent } from '../release/server-event.ts';
import { TRUST_LEVELS } from '../release/trust-level.ts';
import type { Emit } from './emit.ts';
import { LineLimiter } from './line-limiter.ts';
import type { Share, Shares } from './shares.ts';

/** Where log lines go; pino's logger fits. */
export interface Log {
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
  error(facts: object, message: string): void;
}

export interface EventLogOptions {
  readonly log: Log;
  readonly shares: Shares;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
  /** Told of every line that is left out. */
  readonly onLeftOut?: (server: ServerEvent['server']) => void;
}

export interface EventLog {
  readonly write: Emit;
  /** Says what was left out so far, and ends. */
  close(): void;
}

/** Of those who say over DHCP that they are a machine that the operator knows; all others there have one address. */
function shareOf(event: ServerEvent, shares: Shares): Share {
  if ('known' in event && event.known) return { name: event.mac, weight: 1 };
  return 'remote' in event ? shares.of(event.remote) : OURS;
}

/** How often it is looked whether something was left out. Milliseconds. */
const TELL_MS = 5_000;

/** Of what no client caused by itself. */
const OURS: Share = { name: 'server', weight: 1 };

/** Writes what happens as log lines, on all protocols alike, as many as the limiter allows. */
export function eventLog({ log, shares, now, onLeftOut }: EventLogOptions): EventLog {
  const limiter = new LineLimiter(now);
  const tell = (all: boolean): void => {
    const leftOut = limiter.tell(all);
    if (leftOut !== undefined) log.warn(leftOut, 'lines were left out');
  };
  const timer = setInterval(() => tell(false), TELL_MS);
  timer.unref();
  return {
    write(event) {
      if (!isTold(event)) return;
      if (limiter.mayWrite(shareOf(event, shares))) {
        const line = lineOf(event);
        log[line.level](line.facts, `${event.server}: ${line.message}`);
      } else {
        onLeftOut?.(event.server);
      }
    },
    close() {
      clearInterval(timer);
      tell(true);
    },
  };
}

interface Line {
  readonly level: keyof Log;
  readonly facts: object;
  readonly message: string;
}

/** Whether there is a line of it: asked before one is made, since of a flood most are left out. */
function isTold(event: ServerEvent): boolean {
  switch (event.kind) {
    case 'progress':
    case 'decided':
    case 'reported':
    case 'gave-up':
    case 'console':
      return false;
    case 'started':
      // What lasts for days is told when it begins; of the others one line does.
      return event.server === 'nbd';
    case 'ended':
      // Why was said, with what was asked for.
      return event.outcome !== 'refused' && event.outcome !== 'failed';
    case 'offered':
      // A client asks several times in one transaction, and most of what a LAN says over DHCP is not for us.
      return !event.again;
    case 'silent':
      return !event.again && !NOT_FOR_US.has(event.reason);
    default:
      return true;
  }
}

/** A client's mistakes are information, what it does to others a warning, what is ours to repair an error. */
function lineOf(event: ServerEvent): Line {
  const { kind, server: _server, ...facts } = event;
  switch (event.kind) {
    case 'ended': {
      const line = { ...facts, durationMs: Math.round(event.durationMs) };
      return { level: UNUSUAL.has(event.outcome) ? 'warn' : 'info', facts: line, message: kind };
    }
    case 'refused': {
      const line = { ...facts, refusal: event.refusal.toJSON() };
      return { level: event.refusal.code === 'absent' ? 'info' : 'warn', facts: line, message: kind };
    }
    case 'boot-began': {
      const line = { ...facts, trust: TRUST_LEVELS[event.trust] };
      return { level: event.trust === 'stock' ? 'warn' : 'info', facts: line, message: kind };
    }
    case 'turned-away':
      return { level: 'warn', facts, message: kind };
    case 'offered':
    case 'silent': {
      const { again: _again, ...told } = event;
      const { kind: _kind, server: _server, ...rest } = told;
      const unusual = event.kind === 'silent' && UNUSUAL_SILENCE.has(event.reason);
      return { level: unusual ? 'warn' : 'info', facts: rest, message: kind };
    }
    case 'interface':
      return { level: event.why === undefined ? 'info' : 'error', facts, message: kind };
    case 'failed':
    case 'fault': {
      const { error, ...rest } = event;
      const { kind: _kind, server: _server, ...where } = rest;
      return { level: 'error', facts: { ...where, err: error }, message: kind };
    }
    default:
      return { level: 'info', facts, message: kind };
  }
}

const UNUSUAL: ReadonlySet<string> = new Set(['stalled', 'timeout', 'protocol', 'gave-way']);
const NOT_FOR_US: ReadonlySet<string> = new Set(['not-a-request', 'not-pxe', 'not-ethernet', 'for-another']);
const UNUSUAL_SILENCE: ReadonlySet<string> = new Set([
  ...['malformed', 'from-elsewhere', 'unknown-relay', 'too-often', 'too-many', 'too-large', 'no-tftp'],
]);
