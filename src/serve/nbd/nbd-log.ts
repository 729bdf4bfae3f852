import type { NbdEvent, NbdLog } from './nbd-types.ts';

/** Lines a second of events that cost a client one connection each: a flood must not fill a disk. */
const CHEAP_LINES = 20;

/** Writes events as log lines: one for each session, and at most so many of those that anyone can cause. */
export function nbdEventLog(log: NbdLog): (event: NbdEvent) => void {
  let since = Number.NEGATIVE_INFINITY;
  let lines = 0;
  const mayWrite = (): boolean => {
    const now = performance.now();
    if (now - since >= 1000) {
      if (lines > CHEAP_LINES) log.warn({ unlogged: lines - CHEAP_LINES }, 'nbd: lines left out');
      since = now;
      lines = 0;
    }
    lines += 1;
    return lines <= CHEAP_LINES;
  };
  return (event) => {
    switch (event.kind) {
      case 'opened': {
        const { kind, ...facts } = event;
        if (mayWrite()) log.info(facts, `nbd: ${kind}`);
        return;
      }
      case 'refused': {
        const { kind, refusal, ...facts } = event;
        if (!mayWrite()) return;
        const line = { ...facts, refusal: refusal.toJSON() };
        if (refusal.code === 'absent') log.info(line, `nbd: ${kind}`);
        else log.warn(line, `nbd: ${kind}`);
        return;
      }
      case 'failed': {
        const { kind, refusal, ...facts } = event;
        if (mayWrite()) log.warn({ ...facts, refusal: refusal.toJSON() }, `nbd: ${kind}`);
        return;
      }
      case 'closed': {
        const { kind, durationMs, ...facts } = event;
        if (event.bytes === 0 && !mayWrite()) return;
        const line = { ...facts, durationMs: Math.round(durationMs) };
        if (event.ending === 'protocol' || event.ending === 'stalled' || event.ending === 'failed') {
          log.warn(line, `nbd: ${kind}`);
        } else {
          log.info(line, `nbd: ${kind}`);
        }
        return;
      }
      case 'rejected': {
        const { kind, ...facts } = event;
        if (mayWrite()) log.warn(facts, `nbd: ${kind}`);
      }
    }
  };
}
