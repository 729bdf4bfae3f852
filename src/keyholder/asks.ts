/** What can be asked for. */
export const ASKS = [
  'renew',
  'move',
  'publish',
  'apply',
  'checkpoint',
  'arm',
  'disarm',
  'consume',
  'assign',
  'withdraw',
] as const;
export type Ask = (typeof ASKS)[number];
