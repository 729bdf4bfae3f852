import type { Match } from './match.ts';

/** By what a machine gets what it gets, in words. */
export function ruleText({ rule }: Pick<Match, 'rule'>): string {
  switch (rule.kind) {
    case 'machine':
      return 'its own entry';
    case 'group':
      return `the group ${rule.group.name}`;
    case 'unknown':
      return 'no group';
  }
}
