import type { Command } from 'commander';
import { newCommand } from '../context.ts';
import { SUMMARIES } from '../summaries.ts';
import { mirrorAuditCommand } from './mirror-audit.ts';
import { mirrorFetchCommand } from './mirror-fetch.ts';
import { mirrorPullCommand } from './mirror-pull.ts';

export function mirrorCommand(): Command {
  return newCommand(
    'mirror',
    SUMMARIES.mirror,
    'bootseal mirror pull https://netboot.example/ --channel stable --state /srv/mirror --anchors curated',
  )
    .addCommand(mirrorPullCommand())
    .addCommand(mirrorFetchCommand())
    .addCommand(mirrorAuditCommand());
}
