import { type Command, InvalidArgumentError } from 'commander';
import type { Inspection, SealRow } from '../../operations/inspect.ts';
import { act, found, newCommand } from '../context.ts';
import { EXIT } from '../exit.ts';
import { cell, showFacts } from '../facts.ts';
import { SUMMARIES } from '../summaries.ts';
import type { Terminal } from '../terminal.ts';

const LAST = 'Nothing of this was verified: bootseal verify … does that.';

export function inspectCommand(): Command {
  return newCommand(
    'inspect',
    SUMMARIES.inspect,
    'bootseal inspect out/netboot\nbootseal inspect boot.ipxe.sig',
  )
    .argument('<release|file>', 'a folder with a release.manifest, its http: address, or any one file', there)
    .action(
      act<object>(async ({ terminal }, _options, target = '') => {
        const { inspect, KINDS } = await import('../../operations/inspect.ts');
        const inspection = await inspect({ target });
        const refused = [...(inspection.seals ?? []), ...(inspection.scripts ?? [])].flatMap(
          ({ refusal }) => refusal ?? [],
        );
        terminal.json({ ...inspection, verified: false });
        terminal.print(`${target}: ${KINDS[inspection.kind]}`, 'bold');
        showFacts(terminal, inspection.facts);
        showRelease(terminal, inspection);
        terminal.print();
        for (const { code, message } of refused) terminal.error(`refused [${code}] ${message}`);
        terminal.print(LAST);
        return refused.length > 0 ? EXIT.refused : EXIT.ok;
      }),
    );
}

function showRelease(terminal: Terminal, { seals, scripts }: Inspection): void {
  if (seals) {
    terminal.print();
    terminal.table(
      ['seal', 'kind', 'signer', 'hash', 'key', 'made', 'says'],
      seals.map((row) => [
        cell(row.path),
        row.refusal ? { text: row.refusal.code, style: 'bad' } : cell(row.kind),
        ...[row.signer, row.hash, row.key, row.time, row.says ?? validity(row)].map(cell),
      ]),
    );
  }
  if (scripts?.length) {
    terminal.print();
    terminal.table(
      ['script', 'manifest', 'demands seals by'],
      scripts.map(({ path, manifests, signers, refusal }) => [
        cell(path),
        refusal ? { text: refusal.code, style: 'bad' } : cell(manifests.join(', ')),
        cell(signers.join(', ')),
      ]),
    );
  }
}

function validity({ notBefore, notAfter }: SealRow): string | undefined {
  return notBefore === undefined ? undefined : `certificate valid ${notBefore} to ${notAfter}`;
}

/** A misspelt name is told from a file that holds the wrong things. */
function there(text: string): string {
  if (!/^https?:\/\//.test(text) && !found(text))
    throw new InvalidArgumentError('There is no such file or folder.');
  return text;
}
