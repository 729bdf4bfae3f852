import type { Command } from 'commander';
import { CLIENTS, type ClientVerdict } from '../../verbs/clients.ts';
import { verify } from '../../verbs/verify.ts';
import { clientNames, isUrl, verifyAs } from '../../verbs/verify-as.ts';
import { act, anchorsOf, folder, folders, newCommand, time, understood } from '../context.ts';
import { EXIT, statusOf, UsageError } from '../exit.ts';
import type { Terminal } from '../terminal.ts';
import { findingJson, showTreeVerdict } from '../verdict.ts';

interface Options {
  readonly anchors: readonly string[];
  readonly at?: number;
  readonly policy?: string;
  readonly as?: string;
}

export function verifyCommand(): Command {
  return newCommand(
    'verify',
    'verify a sealed tree as its clients will',
    'bootseal verify out/netboot --anchors keys/anchors',
  )
    .argument(
      '<tree|url>',
      'a sealed tree; a server, http://HOST:PORT/; a release’s folder on a mirror',
      target,
    )
    .requiredOption(
      '--anchors <dir>',
      'what to start from; once for each CA whose loaders it is for',
      folders,
    )
    .option('--at <time>', 'judge certificates, keys and algorithms as of then', time)
    .option('--as <clients>', `judge as these clients do: ${CLIENTS.join(',')}`, understood(clientNames))
    .option('--policy <file>', 'dates, pins and revocations of your own (TOML)')
    .action(
      act<Options>(async ({ terminal, now }, options, tree = '') => {
        const { at, policy, as } = options;
        const { anchors, otherAnchors } = anchorsOf(options.anchors);
        if (as !== undefined || isUrl(tree)) {
          if (otherAnchors.length > 0)
            throw new UsageError(
              'A client has anchors of one CA: name --anchors once with --as or an address.',
            );
          const given = {
            ...(as === undefined ? {} : { as: clientNames(as) }),
            ...(at === undefined ? {} : { at }),
            ...(policy === undefined ? {} : { policy }),
          };
          return showClients(terminal, await verifyAs({ target: tree, anchors, now, ...given }));
        }
        const verdict = await verify({
          tree,
          anchors,
          otherAnchors,
          now,
          ...(at === undefined ? {} : { at }),
          ...(policy === undefined ? {} : { policy }),
        });
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
          unjudged: verdict.unjudged,
        });
        showTreeVerdict(terminal, verdict);
        if (verdict.refusal) {
          terminal.refused(`REFUSED: ${verdict.refusal.message} [${verdict.refusal.code}]`);
          return EXIT.refused;
        }
        terminal.print(`VERIFIED: ${verdict.manifest?.release}`, 'good');
        return EXIT.ok;
      }),
    );
}

function target(text: string): string {
  return isUrl(text) ? text : folder(text);
}

/** One row a client. */
function showClients(terminal: Terminal, verdicts: readonly ClientVerdict[]): number {
  const refusal = verdicts.find(({ refusal }) => refusal)?.refusal;
  terminal.json({
    verified: refusal === undefined,
    clients: verdicts.map(({ client, refusal, warnings }) => ({
      client,
      refusal: refusal?.toJSON(),
      warnings,
    })),
  });
  terminal.table(
    ['client', 'verdict', 'why'],
    verdicts.map(({ client, refusal }) => [
      { text: client },
      refusal ? { text: refusal.code, style: 'bad' } : { text: 'verified', style: 'good' },
      { text: refusal?.message ?? '', style: 'dim' },
    ]),
  );
  terminal.print();
  for (const { client, warnings } of verdicts) {
    for (const warning of warnings) terminal.print(`${client} ${warning}.`, 'dim');
  }
  if (!refusal) {
    terminal.print(`VERIFIED by ${verdicts.map(({ client }) => client).join(', ')}.`, 'good');
    return EXIT.ok;
  }
  terminal.refused(`REFUSED: ${refusal.message} [${refusal.code}]`);
  return statusOf(refusal);
}
