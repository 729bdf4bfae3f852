import type { Refusal } from '../errors/refusal.ts';

/** 0 done or verified, 1 refused, 2 usage or configuration, 3 I/O or remote fault. */
export const EXIT = { ok: 0, refused: 1, usage: 2, fault: 3 } as const;

/** What a shell reports of a process that a signal ended: 128 and the signal's number. */
export const INTERRUPTED = { SIGINT: 130, SIGTERM: 143 } as const;

/** 1, or 3 where the reason is that the other side could not be asked. */
export function statusOf(refusal: Refusal): number {
  return refusal.code === 'unreachable' ? EXIT.fault : EXIT.refused;
}
