import type { Command } from 'commander';
import { verify } from '../../verbs/verify.ts';
import { act, newCommand, time } from '../context.ts';
import { EXIT } from '../exit.ts';
import { findingJson, showTreeVerdict } from '../verdict.ts';

interface Options {
  readonly anchors: string;
  readonly at?: number;
}

export function verifyCommand(): Command {
  return newCommand(
    'verify',
    'verify a sealed tree as its clients will',
    'bootseal verify out/netboot --anchors keys/anchors',
  )
    .argument('<tree>', 'a sealed tree')
    .requiredOption('--anchors <dir>', 'what to start from')
    .option('--at <time>', 'judge certificates, keys and algorithms as of then', time)
    .action(
      act<Options>(async ({ terminal, now }, { anchors, at }, tree = '') => {
        const verdict = await verify({ tree, anchors, now: at ?? now });
        terminal.json({
          verified: verdict.refusal === undefined,
          release: verdict.manifest?.release,
          refusal: verdict.refusal?.toJSON(),
          files: verdict.rows.map(({ path, role, cells }) => ({
            path,
            role,
            checks: Object.fromEntries(
              Object.entries(cells).map(([column, finding]) => [column, findingJson(finding)]),
            ),
          })),
          lint: verdict.lint,
        });
        showTreeVerdict(terminal, verdict);
        if (verdict.refusal) {
          terminal.print(`REFUSED: ${verdict.refusal.message} [${verdict.refusal.code}]`, 'bad');
          return EXIT.refused;
        }
        terminal.print(`VERIFIED: ${verdict.manifest?.release}`, 'good');
        return EXIT.ok;
      }),
    );
}
