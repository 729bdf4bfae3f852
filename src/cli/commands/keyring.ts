import { type Command, InvalidArgumentError, Option } from 'commander';
import { dropCounts } from '../../keyrings/drop-counts.ts';
import type { KeyringReport } from '../../keyrings/keyring.ts';
import { demandKeyringName, voaPlace } from '../../keyrings/keyring-names.ts';
import { KEYRING_POLICIES, type KeyringPolicyName } from '../../trust/keyring-rules.ts';
import { day } from '../../trust/policy.ts';
import { act, newCommand, time, understood } from '../context.ts';
import { EXIT } from '../exit.ts';
import { SUMMARIES } from '../summaries.ts';
import type { Cell } from '../table.ts';
import type { Terminal } from '../terminal.ts';

interface Options {
  readonly at?: number;
  readonly policy: KeyringPolicyName;
  readonly marginals: number;
}

interface BuildOptions extends Options {
  readonly out: string;
  readonly name?: string;
  readonly voa?: string;
}

export function keyringCommand(): Command {
  return newCommand('keyring', SUMMARIES.keyring, 'bootseal keyring check /usr/share/keyrings/archlinux.gpg')
    .addCommand(buildCommand())
    .addCommand(checkCommand());
}

function judged(command: Command): Command {
  return command
    .option('--at <time>', 'the time at which keys, signatures and algorithms are judged; default: now', time)
    .addOption(
      new Option('--policy <name>', 'until when SHA-1 counts in certifications: 2013-02, 2023-02, 2026-02')
        .choices(KEYRING_POLICIES)
        .default('default'),
    )
    .option('--marginals <n>', 'trusted keys that must certify a user id', threshold, 3);
}

function buildCommand(): Command {
  return judged(
    newCommand(
      'build',
      'write the certificates that stand as a keyring, a VOA tree and a report',
      'bootseal keyring build /usr/share/keyrings/archlinux.gpg --out keyring --voa arch/image/netboot',
    )
      .argument('<source...>', 'a keyring, binary or armored, or a folder of certificates')
      .requiredOption('--out <dir>', 'a folder that does not exist yet')
      .option(
        '--name <name>',
        'the name of the files in it; default: that of the first source',
        understood(demandKeyringName),
      )
      .option('--voa <place>', 'OS/PURPOSE/CONTEXT; default: NAME/image/netboot', understood(voaPlace)),
  ).action(
    act<BuildOptions>(async ({ terminal, now }, { out, at, policy, marginals, name, voa }, ...words) => {
      const { buildKeyring, keyringJson } = await import('../../keyrings/keyring.ts');
      const built = await buildKeyring({
        sources: words.flat(),
        out,
        at: at ?? now,
        policy,
        marginals,
        ...(name === undefined ? {} : { name }),
        ...(voa === undefined ? {} : { voa }),
      });
      const written = built.files.length > 0;
      terminal.json({ out: written ? out : undefined, name: built.name, ...keyringJson(built) });
      showReport(terminal, built);
      if (!written) {
        terminal.refused('REFUSED: no certificate is kept, and nothing was written.');
        return EXIT.refused;
      }
      terminal.print(`KEPT: ${tally(built)}; ${out} holds ${built.files.length} files.`, 'good');
      return EXIT.ok;
    }),
  );
}

function checkCommand(): Command {
  return judged(
    newCommand(
      'check',
      'say which certificates would stand, and write nothing',
      'bootseal keyring check keyring/archlinux.gpg --at 2026-11-01',
    ).argument('<file...>', 'a keyring, binary or armored, or a folder of certificates'),
  ).action(
    act<Options>(async ({ terminal, now }, { at, policy, marginals }, ...words) => {
      const { checkKeyring, keyringJson } = await import('../../keyrings/keyring.ts');
      const report = await checkKeyring({ sources: words.flat(), at: at ?? now, policy, marginals });
      terminal.json(keyringJson(report));
      showReport(terminal, report);
      if (report.dropped.length > 0) {
        terminal.refused(`REFUSED: ${tally(report)}.`);
        return EXIT.refused;
      }
      terminal.print(`KEPT: ${tally(report)}.`, 'good');
      return EXIT.ok;
    }),
  );
}

const WIDEST = 44;

function showReport(terminal: Terminal, report: KeyringReport): void {
  const { kept, dropped, sources, passedOver, absent } = report;
  for (const path of passedOver) terminal.note(`${path}: passed over, no keyring by its name`);
  for (const { path, trusted } of sources) {
    if (trusted === undefined) {
      terminal.note(`${path}: no list of trusted keys beside it, so each sound certificate is kept`);
    }
  }
  for (const fingerprint of absent) terminal.note(`${fingerprint}: trusted, and in no source`);
  const rows: Cell[][] = [
    ...kept.map(({ fingerprint, userId, basis, certifiers, until }): Cell[] => [
      { text: fingerprint.slice(-16) },
      { text: clip(userId), style: 'dim' },
      { text: 'kept', style: 'good' },
      {
        text: `${basis === 'certified' ? `certified by ${certifiers.length}` : basis}${until === undefined ? '' : `, until ${day(until)}`}`,
      },
    ]),
    ...dropped.map(({ fingerprint, userId, reason, detail }): Cell[] => [
      { text: fingerprint?.slice(-16) ?? '–' },
      { text: clip(userId ?? '–'), style: 'dim' },
      { text: reason, style: 'bad' },
      { text: detail },
    ]),
  ];
  terminal.table(['key', 'user id', 'verdict', 'why'], rows);
  terminal.print();
}

function clip(text: string): string {
  const letters = [...text];
  return letters.length > WIDEST ? `${letters.slice(0, WIDEST - 1).join('')}…` : text;
}

/** `87 certificates, 140 dropped (expired 90, revoked 50)` */
function tally(report: KeyringReport): string {
  const { kept, dropped } = report;
  const reasons = dropCounts(report).map(([reason, count]) => `${reason} ${count}`);
  const list = reasons.length > 0 ? ` (${reasons.join(', ')})` : '';
  return `${kept.length} kept, ${dropped.length} dropped${list}`;
}

function threshold(text: string): number {
  if (!/^[1-9][0-9]?$/.test(text)) throw new InvalidArgumentError('A number from 1 to 99.');
  return Number(text);
}
