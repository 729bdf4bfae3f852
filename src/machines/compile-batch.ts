import { createHash } from 'node:crypto';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import type { Manifest } from '../formats/records/manifest.ts';
import type { BatchScript } from '../formats/records/script-batch.ts';
import { compileBootScript } from '../scripts/compile.ts';
import { compileGrubConfig } from '../scripts/grub-config.ts';
import { compileGrubHold, compileHold } from '../scripts/hold.ts';
import { compileGrubLocalDisk, compileLocalDisk } from '../scripts/local-disk.ts';
import { compileGrubMenu, compileMenu, type MenuEntry } from '../scripts/menu.ts';
import type { ServerAddress } from '../scripts/server-address.ts';
import { type Assignment, assignedWords, assignmentText, MODE_WORD } from './assignment.ts';
import { type MachineRules, MENU_TITLE } from './machine-rules.ts';
import { type PlannedScript, ScriptPlan } from './script-plan.ts';

/** A verified release, as far as a script for it is concerned. */
export interface BatchRelease {
  readonly manifest: Manifest;
  /** Lower-case hex. */
  readonly manifestSha256: string;
  /** Where its own sealed scripts fetch from. */
  readonly address: ServerAddress;
}

/** What a batch is made of: facts, each verified by whoever gives them. */
export interface BatchFacts {
  readonly channel: string;
  readonly rules: MachineRules;
  /** What the channel names, one for each architecture. */
  readonly releases: readonly BatchRelease[];
  /** What assignments keep machines at, by its name. */
  readonly pinned: ReadonlyMap<string, BatchRelease>;
  /** Every channel of the state, for menus; the batch's own among them. */
  readonly channels: readonly string[];
  /** CN of the boot leaf: `boot.SITE`. */
  readonly bootSigner: string;
}

export interface CompiledScript extends BatchScript {
  readonly bytes: Uint8Array;
  readonly planned: PlannedScript;
}

/**
 * Compiles and lints all scripts of a batch. The same facts give the same bytes, wherever that is done: what is signed
 * elsewhere is compiled there once more.
 *
 * @throws Refusal `unsafe-script` for one that the linter does not pass, `wrong-command-line` for words that a manifest does
 *   not free; UsageError for an assignment or a menu that names what is not there.
 */
export function compileBatch(facts: BatchFacts): readonly CompiledScript[] {
  const { channel, rules, channels } = facts;
  demandOneChannel(rules, channels);
  const own = channels.length === 1 ? channel : undefined;
  return new ScriptPlan(rules).scripts
    .filter(({ assignment }) => isOfBatch(assignment, channel, own))
    .flatMap((planned) => told(planned, () => compileOne(planned, facts)));
}

/** One line for each, as a batch lists them. */
export function batchLines(scripts: readonly CompiledScript[]): readonly CompiledScript[] {
  return [...new Map(scripts.map((one) => [`${one.key} ${one.arch ?? '-'} ${one.loader}`, one])).values()];
}

/** Whether a channel's batch has the scripts of an assignment: those of its releases, and those of none. */
function isOfBatch({ boot, channel }: Assignment, name: string, only: string | undefined): boolean {
  return boot !== 'release' || (channel ?? only) === name;
}

function demandOneChannel({ machines, groups, unknown }: MachineRules, channels: readonly string[]): void {
  const all = [
    ...machines.flatMap(({ name, gets }) => (gets ? [{ of: `The machine ${name}`, gets }] : [])),
    ...groups.map(({ name, gets }) => ({ of: `The group ${name}`, gets })),
    ...(unknown ? [{ of: '[unknown]', gets: unknown }] : []),
  ];
  for (const { of, gets } of all) {
    if (gets.boot !== 'release') continue;
    if (gets.channel !== undefined && !channels.includes(gets.channel))
      throw new UsageError(
        `${of} gets what ${gets.channel} names, and there is no such channel; there are ${channels.join(', ')}.`,
      );
    if (
      gets.channel === undefined &&
      channels.length > 1 &&
      (gets.release ?? gets.mode ?? gets.words[0]) !== undefined
    )
      throw new UsageError(
        `${of} gets a release of no channel, and there are several: say which with channel = "${channels[0]}".`,
      );
  }
}

function compileOne(planned: PlannedScript, facts: BatchFacts): CompiledScript[] {
  const { assignment, machines } = planned;
  const { releases, pinned, bootSigner } = facts;
  const [first] = releases;
  if (!first) throw new RangeError('a channel names a release');
  const { script: server, grub } = first.address;
  const same = machines === undefined ? {} : { machines };
  // GRUB knows its card and no UUID: such a machine never asks for its own.
  const byGrub = machines === undefined || machines.some(({ macs }) => macs.length > 0);
  const pair = (ipxe: () => string, grubText: () => string): CompiledScript[] => [
    compiled(planned, 'ipxe', ipxe(), undefined, undefined),
    ...(byGrub ? [compiled(planned, 'grub', grubText(), undefined, undefined)] : []),
  ];
  switch (assignment.boot) {
    case 'refuse':
      // iPXE is told over HTTP. GRUB takes a no for a file that is not there, and would ask for what others get.
      return byGrub ? [compiled(planned, 'grub', compileGrubHold(), undefined, undefined)] : [];
    case 'local':
      return pair(
        () => compileLocalDisk(same),
        () => compileGrubLocalDisk(same),
      );
    case 'hold':
      return pair(
        () => compileHold({ server, signer: bootSigner }),
        () => compileGrubHold(),
      );
    case 'menu': {
      const menu = { ...menuOf(facts), ...same };
      return pair(
        () => compileMenu({ ...menu, server, signer: bootSigner }),
        () => compileGrubMenu({ ...menu, server: grub }),
      );
    }
    case 'release': {
      const kept = assignment.release === undefined ? undefined : pinned.get(assignment.release);
      if (assignment.release !== undefined && !kept)
        throw new Refusal('absent', `${assignment.release} is not in the state.`, {
          release: assignment.release,
        });
      return (kept ? [kept] : releases).flatMap(({ manifest, manifestSha256, address }) => {
        const { arch, release } = manifest;
        const given = { manifest, manifestSha256, words: wordsFor(assignment, manifest), ...same };
        return [
          compiled(planned, 'ipxe', compileBootScript({ ...given, server: address.script }), arch, release),
          ...(byGrub
            ? [
                compiled(
                  planned,
                  'grub',
                  compileGrubConfig({ ...given, server: address.grub }),
                  arch,
                  release,
                ),
              ]
            : []),
        ];
      });
    }
  }
}

function wordsFor(assignment: Assignment, { release, free }: Manifest): readonly string[] {
  if (assignment.mode !== undefined && !free.some(({ name }) => name === MODE_WORD))
    throw new Refusal(
      'wrong-command-line',
      `${release} leaves no mode to choose: seal it with --free "${MODE_WORD} choice ram|verity".`,
      { release },
    );
  return assignedWords(assignment);
}

function menuOf({ rules, channels }: BatchFacts): {
  title: string;
  entries: MenuEntry[];
  default?: string;
  timeoutSeconds: number;
} {
  const { menu } = rules;
  const wanted = menu?.entries ?? channels.map((name) => ({ name, label: undefined }));
  const strange = wanted.find(({ name }) => !name.includes('/') && !channels.includes(name));
  if (strange !== undefined)
    throw new UsageError(`The menu has an entry ${strange.name}, and there is no such channel.`);
  const entries = wanted.map(({ name, label = name }): MenuEntry => {
    const kind = name.includes('/') ? 'release' : 'channel';
    return { label, kind, name };
  });
  const first = menu?.default ?? wanted[0]?.name;
  return {
    title: menu?.title ?? MENU_TITLE,
    entries,
    ...(first === undefined || first === 'local' ? {} : { default: first }),
    timeoutSeconds: menu?.timeout ?? 30,
  };
}

function compiled(
  planned: PlannedScript,
  loader: 'ipxe' | 'grub',
  text: string,
  arch: string | undefined,
  release: string | undefined,
): CompiledScript {
  const bytes = Buffer.from(text, 'latin1');
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  return { key: planned.key, arch, loader, sha256, release, bytes, planned };
}

/** Says which of them it is. */
function told<T>({ assignment, machines }: PlannedScript, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const whose = machines === undefined ? 'any machine' : `${machines.length} machines`;
    throw new Refusal(
      error.code,
      `The script of ${whose} that get ${assignmentText(assignment)} cannot be made: ${error.message}`,
      error.facts,
    );
  }
}
