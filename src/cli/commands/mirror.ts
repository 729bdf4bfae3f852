import type { Command } from 'commander';
import { newCommand } from '../context.ts';
import { mirrorAuditCommand } from './mirror-audit.ts';

export function mirrorCommand(): Command {
  return newCommand(
    'mirror',
    'mirrors that nobody needs to trust: whether they hold what was signed',
    'bootseal mirror audit https://mirror.example.org/netboot/ --channel stable --anchors keys/anchors',
  ).addCommand(mirrorAuditCommand());
}
