import { type Command, InvalidArgumentError } from 'commander';
import { UsageError } from '../../errors/usage.ts';
import { isoSeconds } from '../../formats/records/lines.ts';
import type { KeysStatus } from '../../operations/keys-status.ts';
import { DEFAULT_ROTATION, rotationKinds } from '../../signing/keys/rotation-kinds.ts';
import type { StatusItem } from '../../trust/endings.ts';
import { act, folder, folders, newCommand, time, understood } from '../context.ts';
import { EXIT } from '../exit.ts';
import { interruptible } from '../interrupt.ts';
import { noteOldDrafts } from '../old-drafts.ts';
import { addPassphraseOption, type PassphraseWords, passphrases } from '../passphrases.ts';
import { SUMMARIES } from '../summaries.ts';
import type { Terminal } from '../terminal.ts';
import { delegateCommand } from './keys-delegate.ts';

interface StatusOptions {
  readonly keys?: string;
  readonly anchors?: readonly string[];
  readonly tree?: readonly string[];
  readonly state?: string;
  readonly at?: number;
  readonly warnDays: number;
}

interface RotateOptions extends PassphraseWords {
  readonly only?: string;
  readonly out: string;
}

export function keysCommand(): Command {
  return newCommand('keys', SUMMARIES.keys, 'bootseal keys status --help')
    .addCommand(statusCommand())
    .addCommand(rotateCommand())
    .addCommand(delegateCommand());
}

function statusCommand(): Command {
  return newCommand(
    'status',
    'every key that releases and loaders depend on, the first to end first',
    'bootseal keys status --keys keys --tree out/netboot --warn-days 60',
  )
    .option('--keys <dir>', 'the folder that "bootseal init" made', folder)
    .option('--anchors <dir>', 'or anchors alone; once for each CA; default: those in --state', folders)
    .option('--tree <dir>', 'a sealed tree; may be repeated', folders)
    .option('--state <dir>', 'where releases and channels live', folder)
    .option('--at <time>', 'what is left at that time', time)
    .option(
      '--warn-days <n>',
      'exit 1 where something in use ends within so many days, or has less than a third of a shorter life left',
      days,
      30,
    )
    .action(
      act<StatusOptions>(async ({ terminal, now }, options) => {
        const { keysStatus } = await import('../../operations/keys-status.ts');
        const { keys, anchors, tree: trees = [], state, at = now, warnDays } = options;
        if (keys !== undefined && anchors !== undefined)
          throw new UsageError('Name either --keys or --anchors.');
        if (keys === undefined && anchors === undefined && state === undefined)
          throw new UsageError('Name --keys, --anchors or --state.');
        const status = await keysStatus({
          anchors: anchors ?? (keys === undefined ? [] : [keys]),
          trees,
          ...(state === undefined ? {} : { state }),
          now: at,
          warnDays,
        });
        terminal.json({
          at: isoSeconds(at),
          warnDays,
          next: status.next && itemJson(status.next),
          due: status.due.length,
          items: status.items.map(itemJson),
        });
        showStatus(terminal, status, at);
        if (status.seenOnly)
          terminal.print(
            'As the seals of the releases say; keys that they do not carry need --anchors.',
            'dim',
          );
        return status.due.length > 0 ? EXIT.refused : EXIT.ok;
      }),
    );
}

function rotateCommand(): Command {
  const command = newCommand(
    'rotate',
    'make the keys that follow those of a folder, with an overlap; nothing is overwritten',
    'bootseal keys rotate keys --only codesign,boot --out keys-2028',
  )
    .argument('<dir>', 'the folder that "bootseal init" made; it stays as it is', folder)
    .requiredOption('--out <dir>', 'a folder that does not exist yet')
    .option(
      '--only <kinds>',
      `which, of ca,${DEFAULT_ROTATION.join(',')}; default: all but the CA, which brings new leaves with it`,
      understood(rotationKinds),
    );
  return addPassphraseOption(command).action(
    act<RotateOptions>(async ({ terminal, now }, { only, out, ...words }, keys = '') => {
      const { rotateKeys } = await import('../../operations/keys-rotate.ts');
      const passphrase = passphrases(words);
      const {
        steps,
        warnings,
        newTrust: loaders,
      } = await interruptible((stop) =>
        rotateKeys({
          keys,
          out,
          now,
          ...(only === undefined ? {} : { only: rotationKinds(only) }),
          ...(passphrase ? { passphrase } : {}),
          onStep: (what) => {
            stop();
            terminal.note(`making the ${what}`);
          },
          onOldDrafts: (drafts) => noteOldDrafts(terminal, drafts),
        }),
      );
      terminal.json({
        keys: out,
        follows: keys,
        steps: steps.map(({ begins, ends, ...step }) => ({ ...step, ...spanJson(begins, ends) })),
        warnings,
      });
      terminal.table(
        ['key', 'old', 'new', 'ends'],
        steps.map(({ kind, from, to, ends }) => [
          { text: kind },
          { text: shortId(kind, from), style: 'dim' },
          { text: shortId(kind, to) },
          { text: ends === undefined ? 'never' : day(ends) },
        ]),
      );
      terminal.print();
      for (const warning of warnings) terminal.print(warning, 'bad');
      terminal.print(`${out}/anchors        for the overlap: build initramfs and GRUB images with it`);
      terminal.print(`${out}/anchors-after  for afterwards: without the keys that were replaced`);
      terminal.print(
        loaders
          ? `Then: bootseal seal TREE --keys ${out} --also-keys ${keys}, until every loader trusts the new CA.`
          : `Seal with ${keys} until every machine starts such an image. Then: bootseal seal TREE --keys ${out}`,
      );
      return EXIT.ok;
    }),
  );
}

function showStatus(terminal: Terminal, { items, next, due }: KeysStatus, at: number): void {
  if (next?.ends !== undefined) {
    terminal.print(
      `Next: ${day(next.ends)}, in ${next.daysLeft} days: ${next.effect}`,
      next.due ? 'bad' : 'bold',
    );
    terminal.print();
  }
  terminal.table(
    ['what', 'name', 'id', 'begins', 'ends', 'days left', 'needed by'],
    items.map((item) => [
      { text: item.kind },
      { text: item.name },
      { text: item.id, style: 'dim' },
      { text: day(item.begins), style: 'dim' },
      { text: item.ends === undefined ? 'never' : day(item.ends) },
      {
        text: item.daysLeft === undefined ? '–' : String(item.daysLeft),
        ...(item.due ? { style: 'bad' } : {}),
      },
      { text: needed(item), style: 'dim' },
    ]),
  );
  terminal.print();
  for (const { inUse, ends, effect, kind, due: isDue } of items) {
    if (!inUse || ends === undefined) continue;
    const ended = ends < at ? 'ended on ' : '';
    terminal.print(`${kind} ${ended}${day(ends)}: ${effect}`, isDue ? 'bad' : undefined);
  }
  if (due.length === 0) return;
  const early = due.filter(({ begins }) => begins > at);
  for (const { kind, name, begins } of early) {
    terminal.print(`The ${kind} of ${name} begins on ${day(begins)} only.`, 'bad');
  }
  const ended = due.filter(({ ends }) => ends !== undefined && ends < at).length;
  terminal.refused(
    `DUE: ${ended} of what is in use ended, ${due.length - ended - early.length} about to end, ${early.length} not begun.`,
  );
}

function needed({ usedBy, inUse }: StatusItem): string {
  if (usedBy.length > 0) return usedBy.join(', ');
  return inUse ? 'what is sealed next' : 'nothing given';
}

function itemJson({ begins, ends, ...item }: StatusItem): object {
  return { ...item, ...spanJson(begins, ends) };
}

function spanJson(begins: number, ends: number | undefined): object {
  return { begins: isoSeconds(begins), ends: ends === undefined ? null : isoSeconds(ends) };
}

/** What `keys status` and `openssl x509 -fingerprint` begin with, and what gpg calls a key id. */
function shortId(kind: string, fingerprint: string): string {
  return kind.startsWith('openpgp') ? fingerprint.slice(-16) : fingerprint.slice(0, 16);
}

function day(at: number): string {
  return isoSeconds(at).slice(0, 10);
}

function days(text: string): number {
  if (!/^(0|[1-9][0-9]{0,4})$/.test(text)) throw new InvalidArgumentError('Days are a whole number.');
  return Number(text);
}
