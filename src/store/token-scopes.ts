/** What a token may allow. The set is closed, and none of them holds another. */
export const SCOPES = [
  /** Read what only tokens may read. */
  'read',
  /** Arm a machine for one boot, and disarm it. */
  'arm',
  /** Write who gets what. */
  'assign',
  /** Move a channel, renew it, set it back. */
  'channels',
  /** Take a release out of use. */
  'withdraw',
] as const;

export type Scope = (typeof SCOPES)[number];
