import { Refusal } from '../errors/refusal.ts';
import type { BatchScript } from '../formats/records/script-batch.ts';
import { assignmentText, isReleasesOwn } from './assignment.ts';
import type { Booter, BootScript, Machine } from './booter.ts';
import type { ChannelScripts } from './channel-scripts.ts';
import type { Match } from './match.ts';

/** What the booter is asked by, at the moment of a boot. */
export interface MachineSite {
  /** The channel that counts where nobody named one. */
  readonly entry: string;
  /** By channel: what its snapshot says of machines, or why that cannot be had. */
  readonly scripts: ReadonlyMap<string, ChannelScripts | Refusal>;
  /** The architecture of a channel's machines that do not say theirs. */
  usualArch(channel: string): string | undefined;
  /** Whatever a channel names now, by the release's own scripts; undefined where it names nothing. */
  readonly releases: (channel: string) => Booter | undefined;
  /** First 16 hex digits of the SHA-256 of the CA that the scripts of machines are for. */
  readonly anchorId: string;
  /** A script of a channel's batch and its seal, verified as of now. @throws Refusal */
  load(channel: string, script: BatchScript): Promise<BootScript>;
  /** The same, where it was verified a moment ago, and that counts now; undefined: `load` does, or says why not. */
  known(channel: string, script: BatchScript): BootScript | undefined;
}

/** What a machine gets: a channel's release by its own script, or a script of a channel's batch; or why nothing. */
type Decided =
  | { readonly kind: 'own'; readonly channel: string }
  | { readonly kind: 'batch'; readonly channel: string; readonly script: BatchScript }
  | Refusal;

/**
 * Each machine gets what the rules say that were signed with the channel, by a script that was signed with them. Where
 * nobody wrote anything about machines, all boot what the entry channel names.
 */
export function machineBooter(site: () => MachineSite): Booter {
  return {
    async boot(machine, remote) {
      const now = site();
      const decided = decide(now, machine);
      if (decided instanceof Refusal) return decided;
      if (decided.kind === 'own') return ofChannel(now, decided.channel, machine, remote);
      return load(now, decided.channel, decided.script, machine);
    },
    known(machine) {
      const now = site();
      const decided = decide(now, machine);
      if (decided instanceof Refusal) return undefined;
      if (decided.kind === 'own') return now.releases(decided.channel)?.known?.(machine);
      return isForItsLoader(now, machine) ? now.known(decided.channel, decided.script) : undefined;
    },
  };
}

function decide(site: MachineSite, machine: Machine): Decided {
  if (machine.channel !== undefined) return { kind: 'own', channel: machine.channel };
  const newest = newestScripts(site);
  if (newest instanceof Refusal) return newest;
  return newest === undefined ? { kind: 'own', channel: site.entry } : byRules(site, newest, machine);
}

/** What decides: the rules that were signed last. Where those of one channel cannot be had nobody is booted: they may be the last. */
export function newestScripts({
  scripts,
}: Pick<MachineSite, 'scripts'>): ChannelScripts | Refusal | undefined {
  let newest: ChannelScripts | undefined;
  for (const one of scripts.values()) {
    if (one instanceof Refusal) return one;
    if (newest === undefined || one.since > newest.since) newest = one;
  }
  return newest;
}

function byRules(site: MachineSite, newest: ChannelScripts, machine: Machine): Decided {
  const match = newest.matcher.find(machine);
  const { gets } = match;
  // GRUB takes a no for a file that is not there, and would ask for what others get: it is told by a script.
  if (gets.boot === 'refuse' && machine.loader === 'ipxe') return refused(machine, match);
  const channel = gets.channel ?? site.entry;
  const planned = newest.plan.scriptOf(machine, match);
  if (planned === 'own') return { kind: 'own', channel };
  const found =
    planned &&
    findScript(site, gets.boot === 'release' ? [channel] : [newest.channel, channel], planned.key, machine);
  if (found) return { kind: 'batch', ...found };
  if (gets.boot === 'refuse') return refused(machine, match);
  // Where a state has several channels, nothing is signed for whoever names none and adds nothing.
  if (gets.channel === undefined && isReleasesOwn(gets)) return { kind: 'own', channel: site.entry };
  const before = ofBefore(site, channel, machine);
  if (before) return { kind: 'batch', channel, script: before };
  return new Refusal(
    'absent',
    `No script was signed yet for ${nameOf(machine)}, which gets ${assignmentText(gets)}; "bootseal machines apply" makes them.`,
    { mac: machine.mac, channel },
  );
}

function findScript(
  site: MachineSite,
  channels: readonly string[],
  key: string,
  { loader, arch }: Machine,
): { readonly channel: string; readonly script: BatchScript } | undefined {
  for (const channel of channels) {
    const scripts = site.scripts.get(channel);
    if (!scripts || scripts instanceof Refusal) continue;
    const script = scripts.find(key, loader, arch, site.usualArch(channel));
    if (script) return { channel, script };
  }
  return undefined;
}

/** Until a channel has moved to newer rules, its machines go on with those that it was signed with. */
function ofBefore(site: MachineSite, channel: string, machine: Machine): BatchScript | undefined {
  const scripts = site.scripts.get(channel);
  if (!scripts || scripts instanceof Refusal) return undefined;
  const match = scripts.matcher.find(machine);
  if ((match.gets.channel ?? site.entry) !== channel || match.gets.boot !== 'release') return undefined;
  const planned = scripts.plan.scriptOf(machine, match);
  if (planned === undefined || planned === 'own') return undefined;
  return scripts.find(planned.key, machine.loader, machine.arch, site.usualArch(channel));
}

/** A seal is by the boot leaf of one CA, and a loader of another would only say that it does not fit. */
function isForItsLoader({ anchorId }: MachineSite, { anchor }: Machine): boolean {
  return anchor === undefined || anchor === anchorId;
}

async function load(
  site: MachineSite,
  channel: string,
  script: BatchScript,
  machine: Machine,
): Promise<BootScript | Refusal> {
  const { anchor } = machine;
  if (!isForItsLoader(site, machine))
    return new Refusal('absent', `No script of this machine is for loaders of the CA ${anchor}.`, { anchor });
  try {
    return await site.load(channel, script);
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
}

async function ofChannel(
  site: MachineSite,
  channel: string,
  machine: Machine,
  remote: string | undefined,
): Promise<BootScript | Refusal> {
  const booter = site.releases(channel);
  return booter
    ? booter.boot(machine, remote)
    : new Refusal('absent', `There is no channel ${channel} here.`, { channel });
}

function refused(machine: Machine, { rule }: Match): Refusal {
  const by =
    rule.kind === 'unknown'
      ? 'nobody wrote it down'
      : rule.kind === 'group'
        ? `its group is ${rule.group.name}`
        : `it is ${rule.machine.name}`;
  return new Refusal('wrong-machine', `${nameOf(machine)} gets nothing here: ${by}.`, {
    mac: machine.mac,
    uuid: machine.uuid,
  });
}

function nameOf({ mac, uuid }: Machine): string {
  const what = mac ?? uuid;
  return what === undefined ? 'A machine that does not say who it is' : `The machine ${what}`;
}
