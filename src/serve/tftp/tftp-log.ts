import type { TftpEvent, TftpLog } from './tftp-types.ts';

/** Lines a second of events that cost the sender one datagram each: a flood must not fill a disk. */
const CHEAP_LINES = 20;

/** Writes events as log lines: one for each transfer, and at most so many of those that anyone can cause. */
export function tftpEventLog(log: TftpLog): (event: TftpEvent) => void {
  let since = Number.NEGATIVE_INFINITY;
  let lines = 0;
  const mayWrite = (): boolean => {
    const now = performance.now();
    if (now - since >= 1000) {
      if (lines > CHEAP_LINES) log.warn({ unlogged: lines - CHEAP_LINES }, 'tftp: lines left out');
      since = now;
      lines = 0;
    }
    lines += 1;
    return lines <= CHEAP_LINES;
  };
  return (event) => {
    switch (event.kind) {
      case 'request':
        return;
      case 'completed':
      case 'aborted': {
        if (event.bytes === 0 && !mayWrite()) return;
        const { kind, durationMs, ...facts } = event;
        const line = { ...facts, durationMs: Math.round(durationMs) };
        if (kind === 'aborted' && (event.reason === 'refused' || event.reason === 'timeout')) {
          log.warn(line, `tftp: ${kind}`);
        } else {
          log.info(line, `tftp: ${kind}`);
        }
        return;
      }
      case 'refused': {
        if (!mayWrite()) return;
        const { kind, refusal, ...facts } = event;
        const line = { ...facts, refusal: refusal.toJSON() };
        if (refusal.code === 'absent') log.info(line, `tftp: ${kind}`);
        else log.warn(line, `tftp: ${kind}`);
        return;
      }
      case 'rejected': {
        if (!mayWrite()) return;
        const { kind, ...facts } = event;
        log.warn(facts, `tftp: ${kind}`);
      }
    }
  };
}
