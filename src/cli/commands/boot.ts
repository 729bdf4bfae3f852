import { type Command, Option } from 'commander';
import type { BootEvent, MachineVerdict } from '../../emulator/machine-verdict.ts';
import { UsageError } from '../../errors/usage.ts';
import { ROOT_MODES, type RootMode } from '../../formats/records/policy-floor.ts';
import type { BootImageOptions } from '../../operations/boot.ts';
import { bootUrl, checkedMac, isImageUrl } from '../../operations/boot-target.ts';
import { act, folder, newCommand, time, understood } from '../context.ts';
import { EXIT, statusOf } from '../exit.ts';
import { SUMMARIES } from '../summaries.ts';
import type { Terminal } from '../terminal.ts';
import { findingJson, showBootVerdict } from '../verdict.ts';

interface Options {
  readonly anchors?: string;
  readonly mac?: string;
  readonly efi?: boolean;
  readonly arch?: string;
  readonly choose?: string;
  readonly at?: number;
  readonly mode: RootMode;
}

export function bootCommand(): Command {
  return newCommand(
    'boot',
    SUMMARIES.boot,
    'bootseal boot http://127.0.0.1:8080/boot.ipxe --anchors keys/anchors',
  )
    .argument(
      '<url>',
      'the entry script, or an image *.efi for Secure Boot; http: or tftp:',
      understood(bootUrl),
    )
    .option(
      '--anchors <dir>',
      'what the loader was built with, or the firmware has enrolled; without it the loader is a stock iPXE',
      folder,
    )
    .option('--mac <address>', 'the machine’s MAC address', understood(checkedMac))
    .option('--efi', 'UEFI firmware instead of a BIOS')
    .option(
      '--arch <name>',
      'what the machine runs on, as "uname -m" says it there; default: whose entry the URL is, else x86_64',
    )
    .option('--choose <item>', 'the item to choose from every menu')
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
        const onEvent = (event: BootEvent) => {
          const line = traceLine(event);
          if (line !== undefined) terminal.note(line);
        };
        const machine = {
          url,
          now: options.at ?? now,
          mode: options.mode,
          onEvent,
          ...(options.arch === undefined ? {} : { arch: options.arch }),
        };
        if (isImageUrl(url)) return showImage(terminal, options, machine);
        const { boot } = await import('../../operations/boot.ts');
        const verdict = await boot({
          ...machine,
          ...(options.anchors === undefined ? {} : { anchors: options.anchors }),
          ...(options.mac === undefined ? {} : { mac: options.mac }),
          ...(options.efi ? { platform: 'efi' as const } : {}),
          ...(choose === undefined ? {} : { answers: { choose: () => ({ name: choose }) } }),
        });
        terminal.json(verdictJson(verdict));
        return showOutcome(terminal, verdict);
      }),
    );
}

/** Firmware that enforces Secure Boot starts one image; there is no stock firmware to compare it with. */
async function showImage(
  terminal: Terminal,
  { anchors, choose, mac }: Options,
  machine: Omit<BootImageOptions, 'anchors'>,
): Promise<number> {
  const { bootImage } = await import('../../operations/boot.ts');
  if (anchors === undefined)
    throw new UsageError('An image needs --anchors: its db.crt is what the firmware has enrolled.');
  if (choose !== undefined || mac !== undefined)
    throw new UsageError('An image shows no menu and knows no machine: --choose and --mac are for scripts.');
  const verdict = await bootImage({ ...machine, anchors });
  terminal.json(verdictJson(verdict));
  return showOutcome(terminal, verdict);
}

/** The table and the last word. */
export function showOutcome(terminal: Terminal, verdict: MachineVerdict): number {
  showBootVerdict(terminal, verdict);
  if (verdict.refusal) {
    terminal.refused(`REFUSED: ${verdict.refusal.message} [${verdict.refusal.code}]`);
    return statusOf(verdict.refusal);
  }
  if (verdict.ownDisk) {
    terminal.print(
      'OWN DISK: a verified script has this machine start from its own disk, which nobody verifies here.',
    );
    return EXIT.refused;
  }
  if (verdict.rootless) return showRootless(terminal, verdict);
  const root = verdict.mode === 'verity' ? 'every block that was read of the root image' : 'the root image';
  const before =
    verdict.loader === 'secure-boot' ? `${ONE_IMAGE}, by the firmware,` : 'script, kernel, every initrd';
  const all = `${before} and ${root}`;
  if (verdict.verified && verdict.bound) terminal.print(`VERIFIED: ${all}, as one release.`, 'good');
  else if (verdict.verified)
    terminal.print(`VERIFIED, each by itself: ${all}. No manifest binds them to one release.`, 'good');
  else terminal.refused(`UNVERIFIED LOADER: ${root} was verified; what came before it was not.`);
  return verdict.verified ? EXIT.ok : EXIT.refused;
}

const ONE_IMAGE = 'one image with kernel, initrds and command line';

/** Where the system gets its root by itself, or has none, the loader's word is all that is known here. */
function showRootless(terminal: Terminal, { loader, verified, bound, unverified }: MachineVerdict): number {
  if (unverified.length > 0) {
    const what = unverified.map((thing) => thing.what).join(', ');
    terminal.refused(
      `UNVERIFIED: what was loaded is all that anybody looks at, and nobody on the machine verifies ${what}.`,
    );
    return EXIT.refused;
  }
  const none = 'its system is asked for no root image here';
  if (!verified) {
    terminal.refused(`UNVERIFIED LOADER: ${none}, and nothing that was loaded was verified.`);
    return EXIT.refused;
  }
  const all = loader === 'secure-boot' ? `${ONE_IMAGE}, by the firmware` : 'script, kernel and every initrd';
  const by = bound ? 'as one release' : 'nobody on the machine holds its command line against the manifest';
  terminal.print(`VERIFIED: ${all}; ${none}, ${bound ? by : `and ${by}`}.`, 'good');
  return EXIT.ok;
}

function verdictJson(verdict: MachineVerdict): unknown {
  return {
    verified: verdict.verified,
    bound: verdict.bound,
    loader: verdict.loader,
    refusal: verdict.refusal?.toJSON(),
    ownDisk: verdict.ownDisk,
    cmdline: verdict.cmdline,
    mode: verdict.mode,
    rootless: verdict.rootless,
    unverified: verdict.unverified,
    verity: verdict.verity,
    artifacts: verdict.rows.map(({ artifact, role, findings, note }) => ({
      artifact,
      role,
      note,
      checks: findings.map(findingJson),
    })),
  };
}

/** One line of a boot's trace, or undefined for what is too small to tell. */
function traceLine(event: BootEvent): string | undefined {
  switch (event.kind) {
    case 'fetch':
      return `${event.stage}: fetch ${event.url}${
        'range' in event && event.range ? `, bytes ${event.range.first} to ${event.range.last}` : ''
      }`;
    case 'verification':
      return event.refusal
        ? `${event.stage}: ${event.image}: refused, ${event.refusal.message}`
        : `${event.stage}: ${event.image}: verified${event.signer ? ` (${event.signer})` : ''}`;
    case 'trust-required':
      return event.required
        ? `${event.stage}: only trusted images may be executed${event.permanent ? ', for good' : ''}`
        : undefined;
    case 'console': {
      const text = event.text.trimEnd();
      return text ? `${event.stage}: | ${text}` : undefined;
    }
    case 'execute':
      return `${event.stage}: execute ${event.name}`;
    default:
      return undefined;
  }
}
