import { quarantinedReleases, readQuarantined, storedReleases } from '../store/quarantine.ts';
import { withdrawnReason } from '../store/withdrawals.ts';
import type { QuarantineFacts } from '../web/facts.ts';
import type { DriftWatch } from './drift-watch.ts';

/** What is not served, as the page shows it. @throws Refusal, IoError as the store does. */
export async function quarantineFacts(
  state: string | undefined,
  drift: DriftWatch,
  now: number,
): Promise<QuarantineFacts> {
  const { drifted } = drift;
  if (state === undefined) return { now, state: false, releases: [], withdrawn: [], drifted };
  const marked = await quarantinedReleases(state);
  const releases = [];
  for (const id of marked) {
    const found = await readQuarantined(state, id);
    if (found) releases.push(found);
  }
  const withdrawn = [];
  for (const id of new Set([...(await storedReleases(state)), ...marked])) {
    const found = await withdrawnReason(state, id);
    if (found) withdrawn.push(found);
  }
  return { now, state: true, releases, withdrawn, drifted };
}
