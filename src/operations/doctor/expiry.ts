import type { StatusItem } from '../../trust/endings.ts';
import { day } from '../../trust/policy.ts';
import type { KeysStatus } from '../keys-status.ts';
import { type Finding, Findings } from './finding.ts';

/** What ended, what is about to, and what has not begun. */
export function judgeExpiry({ items, next }: KeysStatus, now: number): readonly Finding[] {
  const findings = new Findings('expiry');
  for (const item of items) {
    if (!item.due) continue;
    const { kind, name, begins, ends = 0 } = item;
    const who = kind === name ? kind : `${kind} of ${name}`;
    // Of these it is the time that they were signed at, which is told with the clock.
    if (begins > now && (kind === 'snapshot' || kind === 'best-before')) continue;
    if (begins > now)
      findings.fault(
        'not-begun',
        `the ${who} begins on ${day(begins)} only`,
        'Set the clock, where that is wrong; else wait, or use a key that is valid now.',
      );
    else if (ends < now)
      findings.fault('ended', `the ${who} ended on ${day(ends)}: ${effectOf(item)}`, adviceOf(item));
    else
      findings.warning(
        'ends-soon',
        `the ${who} ends on ${day(ends)}, in ${item.daysLeft} days`,
        adviceOf(item),
      );
  }
  if (findings.isWell) {
    const first =
      next?.ends === undefined
        ? 'nothing that is in use ends'
        : `the ${next.kind} of ${next.name} on ${day(next.ends)}`;
    findings.ok(`the first to end: ${first}`);
  }
  return findings.all;
}

/** The first half of the sentence: what stops. */
function effectOf({ effect }: StatusItem): string {
  return effect.replace(/[,:;] .*$/s, '').replace(/\.$/, '');
}

/** By kind; "keys.md" tells each in full. */
function adviceOf({ kind, name }: StatusItem): string {
  switch (kind) {
    case 'snapshot':
      return `Renew it: "bootseal channel renew ${name} --state STATE", from a timer or a keyholder.`;
    case 'best-before':
      return 'Publish a newer release, or seal this one anew under another version.';
    case 'ca':
      return 'Make a new CA and loaders that trust it: "bootseal keys rotate KEYS --only ca --out NEW".';
    case 'release':
      return 'Seal the release anew, or publish a newer one.';
    case 'snapshot key':
      return 'Make another and tell those who follow your channels: "bootseal keys rotate KEYS --only snapshot --out NEW".';
    default:
      return `Make its successor and seal with it: "bootseal keys rotate KEYS --only ${kind} --out NEW".`;
  }
}
