import type { DropReason } from '../trust/keyring-rules.ts';
import type { Curation } from './web-of-trust.ts';

/** How many certificates fell out for each reason, most first. */
export function dropCounts({ dropped }: Pick<Curation, 'dropped'>): [DropReason, number][] {
  const counts = new Map<DropReason, number>();
  for (const { reason } of dropped) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  return [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
}
