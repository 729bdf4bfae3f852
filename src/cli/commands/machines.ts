import { type Command, Option } from 'commander';
import { UsageError } from '../../errors/usage.ts';
import { claimedMac, claimedText, claimedUuid } from '../../formats/net/machine-claims.ts';
import type { Machine } from '../../machines/booter.ts';
import { ruleText } from '../../machines/rule-text.ts';
import type { Explained } from '../../server/written-machines.ts';
import { accessOf } from '../../signing/keys/passphrase.ts';
import { act, channelName, folder, folders, newCommand, stateAt } from '../context.ts';
import { EXIT } from '../exit.ts';
import { demandState, keyholderOf, type SignedByOptions, withKeyholder } from '../keyholder-options.ts';
import { addPassphraseOption, type PassphraseWords, passphrases } from '../passphrases.ts';
import { SUMMARIES } from '../summaries.ts';
import type { Terminal } from '../terminal.ts';
import { armCommand, armedCommand, disarmCommand, inWords, keptFacts } from './machines-arm.ts';
import { movedJson, showMoved } from './publish.ts';

export function machinesCommand(): Command {
  const machines = newCommand('machines', SUMMARIES.machines, 'bootseal machines list --state /srv/bootseal');
  for (const command of [
    listCommand(),
    explainCommand(),
    applyCommand(),
    requestCommand(),
    attachCommand(),
    armCommand(),
    disarmCommand(),
    armedCommand(),
  ])
    machines.addCommand(command);
  return machines;
}

interface StateWords {
  readonly state: string;
}

function listCommand(): Command {
  return newCommand(
    'list',
    'the machines that are written down in STATE/machines, and what each gets',
    'bootseal machines list --state /srv/bootseal',
  )
    .requiredOption('--state <dir>', 'where releases and channels live', stateAt)
    .action(
      act<StateWords>(async ({ terminal }, { state }) => {
        const { listMachines } = await import('../../server/written-machines.ts');
        const { written, groups, machines, unknown, signed } = await listMachines(state);
        terminal.json({
          groups: groups.map(({ machines: count, ...group }) => ({ ...group, machines: count ?? 'any' })),
          machines,
          unknown,
          signed,
        });
        if (!written) {
          terminal.print(
            `Nothing is written about machines in ${state}/machines: all boot what the channel names. docs/machines.md shows how.`,
          );
          return EXIT.ok;
        }
        terminal.table(
          ['group', 'machines', 'gets'],
          groups.map(({ name, machines: count, gets }) => [
            { text: name },
            { text: count === undefined ? 'whoever fits' : String(count), style: 'dim' },
            { text: gets },
          ]),
        );
        if (groups.length > 0 && machines.length > 0) terminal.print();
        terminal.table(
          ['machine', 'address or UUID', 'gets', 'by'],
          machines.map(({ name, macs, uuid, gets, by }) => [
            { text: name },
            { text: macs[0] ?? uuid ?? '', style: 'dim' },
            { text: gets },
            { text: by, style: 'dim' },
          ]),
        );
        if (machines.length + groups.length > 0) terminal.print();
        terminal.print(`Whoever is in no group gets ${unknown}.`);
        if (!signed)
          terminal.print('This is not signed yet: "bootseal machines apply" makes it count.', 'bad');
        return EXIT.ok;
      }),
    );
}

interface ExplainWords extends StateWords {
  readonly uuid?: string;
  readonly serial?: string;
  readonly asset?: string;
  readonly manufacturer?: string;
  readonly product?: string;
  readonly arch?: string;
  readonly firmware?: 'bios' | 'efi';
  readonly loader: 'ipxe' | 'grub';
}

function explainCommand(): Command {
  return newCommand(
    'explain',
    'say what a machine gets, and why',
    'bootseal machines explain 52:54:00:12:34:56 --state /srv/bootseal --firmware efi',
  )
    .argument('<mac>', 'the address of the card that it boots from')
    .requiredOption('--state <dir>', 'where releases and channels live', stateAt)
    .option('--uuid <uuid>', 'what else the machine would say of itself')
    .option('--serial <text>')
    .option('--asset <text>')
    .option('--manufacturer <text>')
    .option('--product <text>')
    .option('--arch <name>', 'as "uname -m" says it there')
    .addOption(new Option('--firmware <kind>').choices(['bios', 'efi']))
    .addOption(new Option('--loader <loader>').choices(['ipxe', 'grub']).default('ipxe'))
    .action(
      act<ExplainWords>(async ({ terminal }, { state, ...said }, mac = '') => {
        const { explainMachine } = await import('../../server/written-machines.ts');
        const machine = machineOf(mac, said);
        const { written, fault, signed, differs, armed } = await explainMachine(state, machine);
        terminal.json({
          mac: machine.mac,
          written: written ? explainedJson(written) : null,
          fault: fault ?? null,
          signed: signed ? explainedJson(signed) : null,
          differs,
          armed: armed ? keptFacts(armed) : null,
        });
        if (armed && !armed.dismissed)
          terminal.print(`Before all else: ${armed.arming.release}, ${inWords(armed)}.`, 'bad');
        const counts = signed ?? written;
        if (counts) showExplained(terminal, machine, counts);
        if (!signed)
          terminal.print('Nothing about machines is signed: all boot what the channel names.', 'bad');
        if (fault !== undefined) {
          terminal.print();
          terminal.print(`What is written since is not read: ${fault}`, 'bad');
        }
        if (differs && written) {
          terminal.print();
          terminal.print(
            'The files say something else since, which counts after "bootseal machines apply":',
            'bad',
          );
          showExplained(terminal, machine, written);
        }
        return EXIT.ok;
      }),
    );
}

function machineOf(mac: string, said: Omit<ExplainWords, 'state'>): Machine {
  const text = (name: 'serial' | 'asset' | 'manufacturer' | 'product') => {
    const value = said[name];
    if (value === undefined) return {};
    const claimed = claimedText(value);
    if (claimed === undefined) throw new UsageError(`--${name} is 1 to 64 characters of ASCII.`);
    return { [name]: claimed };
  };
  const address = claimedMac(mac);
  if (address === undefined)
    throw new UsageError(`${JSON.stringify(mac)} is no card's address; write 52:54:00:12:34:56.`);
  const uuid = said.uuid === undefined ? undefined : claimedUuid(said.uuid);
  if (said.uuid !== undefined && uuid === undefined)
    throw new UsageError(`${JSON.stringify(said.uuid)} is no UUID of a machine.`);
  const { firmware, loader } = said;
  return {
    loader,
    mac: address,
    ...(uuid === undefined ? {} : { uuid }),
    ...(said.arch === undefined ? {} : { arch: said.arch }),
    ...(firmware === undefined ? {} : { firmware }),
    ...text('serial'),
    ...text('asset'),
    ...text('manufacturer'),
    ...text('product'),
  };
}

const FOUND_BY = { mac: 'its address', uuid: 'its UUID', serial: 'its serial number' } as const;

function showExplained(terminal: Terminal, machine: Machine, explained: Explained): void {
  const { match, gets } = explained;
  const known = match.known
    ? `${match.known.name}, found by ${FOUND_BY[match.by ?? 'mac']}${match.known.labels ? `; labels ${match.known.labels.join(', ')}` : ''}`
    : 'nobody that is written down';
  terminal.table(
    ['machine', machine.mac ?? ''],
    [
      [{ text: 'is' }, { text: known }],
      [{ text: 'gets' }, { text: gets, style: 'good' }],
      [{ text: 'by' }, { text: ruleText(match) }],
      [{ text: 'script' }, { text: scriptText(explained) }],
      ...match.passedOver.map(({ group, why }) => [
        { text: 'not by', style: 'dim' as const },
        { text: `${group}: ${why}`, style: 'dim' as const },
      ]),
    ],
  );
}

function scriptText({ script, match }: Explained): string {
  if (match.gets.boot === 'refuse') return 'none';
  if (script === undefined) return 'none that this machine could take for its own';
  if (script === 'own') return "the release's own, which any machine may boot";
  if (script.machines === undefined) return 'one of its own, which any machine may boot';
  const { length } = script.machines;
  return length === 1 ? 'one for this machine alone' : `one for ${length} machines, this among them`;
}

function explainedJson({ match, gets, script }: Explained): object {
  return {
    known: match.known?.name ?? null,
    foundBy: match.by ?? null,
    gets: match.gets,
    text: gets,
    by: ruleText(match),
    script:
      script === undefined || script === 'own'
        ? (script ?? null)
        : { key: script.key, machines: script.machines?.length ?? 'any' },
    passedOver: match.passedOver,
  };
}

interface ApplyWords extends SignedByOptions, PassphraseWords {
  readonly channel?: string;
  readonly anchors?: readonly string[];
  readonly scriptKeys?: string;
}

function applyCommand(): Command {
  const command = newCommand(
    'apply',
    'make what is written in STATE/machines count: sign the scripts of each channel, and name them in its snapshot',
    'bootseal machines apply --state /srv/bootseal --anchors keys/anchors --script-keys keys',
  )
    .option(
      '--channel <name>',
      'only this one, and needed with --keyholder; default: every channel of the state',
      channelName,
    )
    .option('--state <dir>', 'where releases and channels live', stateAt)
    .option('--anchors <dir>', 'what releases and scripts must lead to; once for each CA', folders)
    .option(
      '--script-keys <dir>',
      'who signs scripts: a folder as "init" makes it; without it those are taken that were attached',
      folder,
    )
    .option('--snapshot-key <dir>', 'a folder as "init" makes it; default: a key of the state’s own', folder);
  return addPassphraseOption(withKeyholder(command)).action(
    act<ApplyWords>(async ({ terminal, now }, options) => {
      const { anchors, scriptKeys, snapshotKey, channel } = options;
      const keyholder = await keyholderOf(options, { '--anchors': anchors, '--script-keys': scriptKeys });
      if (keyholder) {
        if (channel === undefined) throw new UsageError('Say which channel with --channel.');
        const moved = await keyholder.apply(channel);
        terminal.json({ channels: [movedJson(moved)] });
        showMoved(terminal, moved);
        return EXIT.ok;
      }
      const state = demandState(options.state);
      if (anchors === undefined) throw new UsageError('Name what the seals must lead to with --anchors.');
      const { applyMachines } = await import('../../publish/channel.ts');
      const { readScriptKeys } = await import('../../signing/keys/script-keys.ts');
      const { channelNames } = await import('../../store/channels.ts');
      const passphrase = passphrases(options);
      const access = accessOf(passphrase ? { passphrase } : {});
      const keys = scriptKeys === undefined ? undefined : await readScriptKeys(scriptKeys, now, access);
      const all = channel === undefined ? await channelNames(state) : [channel];
      if (all.length === 0)
        throw new UsageError(`${state} has no channel yet: "bootseal publish" makes one.`);
      const moved = [];
      for (const name of all) {
        const one = await applyMachines({
          channel: name,
          state,
          anchors,
          now,
          ...(keys ? { scriptKeys: keys } : {}),
          ...(snapshotKey === undefined ? {} : { snapshotKey }),
        });
        moved.push(one);
        showMoved(terminal, one);
      }
      terminal.json({ channels: moved.map(movedJson) });
      return EXIT.ok;
    }),
  );
}

interface RequestWords extends StateWords {
  readonly channel: string;
  readonly tree?: string;
  readonly anchors: readonly string[];
  readonly out: string;
}

function requestCommand(): Command {
  return newCommand(
    'request',
    'write down which scripts of machines must be signed, for "bootseal sign-request" where the keys are',
    'bootseal machines request --state /srv/bootseal --channel stable --anchors keys/anchors --out scripts.cpio',
  )
    .requiredOption('--state <dir>', 'where releases and channels live', stateAt)
    .requiredOption('--channel <name>', 'whose machines', channelName)
    .option(
      '--tree <dir>',
      'a sealed tree that the channel shall move to; default: what it names now',
      folder,
    )
    .requiredOption('--anchors <dir>', 'what releases must lead to; once for each CA', folders)
    .requiredOption('--out <file>', 'where the request goes')
    .action(
      act<RequestWords>(async ({ terminal, now }, { state, channel, tree, anchors, out }) => {
        const { showScripts } = await import('./machines-scripts.ts');
        const { requestScripts } = await import('../../operations/machine-scripts.ts');
        const { request, scripts, size } = await requestScripts({ state, channel, tree, anchors, out, now });
        terminal.json({ channel, out, size, scripts: request.scripts });
        showScripts(terminal, scripts);
        terminal.print();
        terminal.print(`${out}: ${request.scripts.length} scripts to sign, ${size} bytes.`, 'good');
        return EXIT.ok;
      }),
    );
}

interface AttachWords extends StateWords {
  readonly anchors: readonly string[];
}

function attachCommand(): Command {
  return newCommand(
    'attach',
    'take scripts that were signed elsewhere into a state; they count when its channel moves, or with "apply"',
    'bootseal machines attach answer.cpio --state /srv/bootseal --anchors keys/anchors',
  )
    .argument('<response...>', 'the answers, in any order and in parts')
    .requiredOption('--state <dir>', 'where releases and channels live', stateAt)
    .requiredOption('--anchors <dir>', 'what the scripts must lead to; once for each CA', folders)
    .action(
      act<AttachWords>(async ({ terminal, now }, { state, anchors }, ...rest) => {
        const { attachScripts } = await import('../../operations/machine-scripts.ts');
        const [responses] = rest as unknown as [readonly string[]];
        const { channel, attached } = await attachScripts({ state, anchors, responses, now });
        terminal.json({ channel, attached });
        terminal.print(
          `${attached} scripts for machines of ${channel} are signed; they count when the channel moves, or with "bootseal machines apply".`,
          'good',
        );
        return EXIT.ok;
      }),
    );
}
