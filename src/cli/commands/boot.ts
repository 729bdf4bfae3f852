import { type Command, Option } from 'commander';
import type { BootVerdict } from '../../client/boot.ts';
import { ROOT_MODES, type RootMode } from '../../formats/policy-floor.ts';
import { boot, bootUrl, checkedMac } from '../../verbs/boot.ts';
import { act, folder, newCommand, time, understood } from '../context.ts';
import { EXIT, statusOf } from '../exit.ts';
import type { Terminal } from '../terminal.ts';
import { traceLine } from '../trace.ts';
import { findingJson, showBootVerdict } from '../verdict.ts';

interface Options {
  readonly anchors?: string;
  readonly mac?: string;
  readonly efi?: boolean;
  readonly choose?: string;
  readonly at?: number;
  readonly mode: RootMode;
}

export function bootCommand(): Command {
  return newCommand(
    'boot',
    'boot an emulated machine and say what each stage verified',
    'bootseal boot http://127.0.0.1:8080/boot.ipxe --anchors keys/anchors',
  )
    .argument('<url>', 'the entry script, http: or tftp:', understood(bootUrl))
    .option(
      '--anchors <dir>',
      'what the loader was built with; without it the loader is a stock iPXE',
      folder,
    )
    .option('--mac <address>', 'the machine’s MAC address', understood(checkedMac))
    .option('--efi', 'UEFI firmware instead of a BIOS')
    .option('--choose <item>', 'what is chosen from any menu')
    .addOption(
      new Option(
        '--mode <mode>',
        'download the root image, or read verified blocks of it; an overlay decides it by its policy',
      )
        .choices(ROOT_MODES)
        .default('ram'),
    )
    .option('--at <time>', 'what the machine’s clock says', time)
    .action(
      act<Options>(async ({ terminal, now }, options, url = '') => {
        const { choose } = options;
        const verdict = await boot({
          url,
          now: options.at ?? now,
          mode: options.mode,
          ...(options.anchors === undefined ? {} : { anchors: options.anchors }),
          ...(options.mac === undefined ? {} : { mac: options.mac }),
          platform: options.efi ? 'efi' : 'pcbios',
          ...(choose === undefined ? {} : { answers: { choose: () => ({ name: choose }) } }),
          onEvent: (event) => {
            const line = traceLine(event);
            if (line !== undefined) terminal.note(line);
          },
        });
        terminal.json(verdictJson(verdict));
        return showOutcome(terminal, verdict);
      }),
    );
}

/** The table and the last word. */
export function showOutcome(terminal: Terminal, verdict: BootVerdict): number {
  showBootVerdict(terminal, verdict);
  if (verdict.refusal) {
    terminal.refused(`REFUSED: ${verdict.refusal.message} [${verdict.refusal.code}]`);
    return statusOf(verdict.refusal);
  }
  const root = verdict.mode === 'verity' ? 'every block that was read of the root image' : 'the root image';
  const all = `script, kernel, every initrd and ${root}`;
  if (verdict.verified && verdict.bound) terminal.print(`VERIFIED: ${all}, as one release.`, 'good');
  else if (verdict.verified)
    terminal.print(`VERIFIED, each by itself: ${all}. No manifest binds them to one release.`, 'good');
  else terminal.refused(`UNVERIFIED LOADER: ${root} was verified; what came before it was not.`);
  return verdict.verified ? EXIT.ok : EXIT.refused;
}

function verdictJson(verdict: BootVerdict): unknown {
  return {
    verified: verdict.verified,
    bound: verdict.bound,
    loader: verdict.loader,
    refusal: verdict.refusal?.toJSON(),
    cmdline: verdict.cmdline,
    mode: verdict.mode,
    verity: verdict.verity,
    artifacts: verdict.rows.map(({ artifact, role, findings, note }) => ({
      artifact,
      role,
      note,
      checks: findings.map(findingJson),
    })),
  };
}
