/** What came of a boot. */
export const BOOT_OUTCOMES = [
  /** It goes on, as far as anybody knows. */
  'running',
  /** Early userspace says that all of it was verified. Claimed. */
  'verified',
  /** All that a server of ours gives for this release was fetched whole; the machine has nothing that could say more. */
  'served',
  /** It was sent to its own disk. */
  'local',
  /** It shows a menu, or who it is: a person has to act. */
  'waiting',
  /** A server of ours, or early userspace, said no, and why. */
  'refused',
  /** A server of ours could not read what it was to give. */
  'failed',
  /** Nothing was heard of it for longer than it ever took. */
  'stalled',
  /** It began anew before it had come to an end. */
  'restarted',
  /** The server ended meanwhile; nobody knows. */
  'lost',
] as const;

export type BootOutcome = (typeof BOOT_OUTCOMES)[number];

/** Whether somebody has to look at it. */
export function isFailure(outcome: BootOutcome): boolean {
  return outcome === 'refused' || outcome === 'failed' || outcome === 'stalled';
}
