import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { assignmentText } from '../machines/assignment.ts';
import type { Machine } from '../machines/booter.ts';
import type { ChannelScripts } from '../machines/channel-scripts.ts';
import { newestScripts } from '../machines/machine-booter.ts';
import { readMachineRules } from '../machines/machine-files.ts';
import { encodeRules } from '../machines/machine-record.ts';
import { hasRules, type MachineRules } from '../machines/machine-rules.ts';
import { type Match, Matcher, membersOf } from '../machines/match.ts';
import { ruleText } from '../machines/rule-text.ts';
import { type PlannedScript, ScriptPlan } from '../machines/script-plan.ts';
import { ArmedBoots, type StoredArming } from '../store/armed-boots.ts';
import { channelNames, readChannel } from '../store/channels.ts';
import { recordsOf } from '../store/folder-backend.ts';
import { demandState } from '../store/state.ts';
import { machineFilesOf } from '../store/state-machines.ts';
import { readChannelScripts } from './state-scripts.ts';

/** What a machine gets by rules, and by which script. */
export interface Explained {
  readonly match: Match;
  readonly gets: string;
  /** `own`: the release's own scripts, which any machine may boot; undefined: none. */
  readonly script: PlannedScript | 'own' | undefined;
}

export interface ExplainedMachine {
  /** By the files as they are now; undefined where they have a fault. */
  readonly written: Explained | undefined;
  /** That fault, one sentence. */
  readonly fault: string | undefined;
  /** By what was signed last; undefined where nothing was. */
  readonly signed: Explained | undefined;
  /** Whether the files say something else than what was signed. */
  readonly differs: boolean;
  /** What it was armed with last, which comes before all of it. */
  readonly armed: StoredArming | undefined;
}

/**
 * Why a machine gets what it gets: by what is written, and by what was signed and is served.
 *
 * @throws UsageError for a file of machines with a fault; Refusal, IoError.
 */
export async function explainMachine(state: string, machine: Machine): Promise<ExplainedMachine> {
  await demandState(state);
  const { mac } = machine;
  const armed = mac === undefined ? undefined : await new ArmedBoots(recordsOf(state)).newest(mac);
  const newest = await newestSigned(state);
  const signed = newest && explained(machine, newest.matcher, newest.plan);
  try {
    const rules = await readMachineRules(machineFilesOf(state));
    const written = explained(machine, new Matcher(rules), new ScriptPlan(rules));
    const differs = newest !== undefined && !sameRules(rules, newest.matcher.rules);
    return { written, fault: undefined, signed, differs, armed };
  } catch (error) {
    // What was signed goes on, and is what counts.
    if (!(error instanceof UsageError)) throw error;
    return { written: undefined, fault: error.message, signed, differs: true, armed };
  }
}

function explained(machine: Machine, matcher: Matcher, plan: ScriptPlan): Explained {
  const match = matcher.find(machine);
  return { match, gets: assignmentText(match.gets), script: plan.scriptOf(machine, match) };
}

function sameRules(one: MachineRules, other: MachineRules): boolean {
  return Buffer.from(encodeRules(one)).equals(encodeRules(other));
}

/** The rules that decide, as a server finds them. @throws Refusal, IoError */
async function newestSigned(state: string): Promise<ChannelScripts | undefined> {
  const scripts = new Map<string, ChannelScripts>();
  for (const name of await channelNames(state)) {
    const { snapshot } = (await readChannel(state, name)) ?? {};
    if (snapshot?.scripts === undefined) continue;
    scripts.set(name, await readChannelScripts(recordsOf(state), name, snapshot.scripts));
  }
  const newest = newestScripts({ scripts });
  if (newest instanceof Refusal) throw newest;
  return newest;
}

/** A machine that was written down, and what it gets for certain. */
export interface ListedMachine {
  readonly name: string;
  readonly macs: readonly string[];
  readonly uuid: string | undefined;
  readonly gets: string;
  /** What decided: a group, the machine itself, or nothing. */
  readonly by: string;
}

export interface ListedGroup {
  readonly name: string;
  /** How many; undefined: whoever says what the group asks for. */
  readonly machines: number | undefined;
  readonly gets: string;
}

export interface ListedMachines {
  /** Whether anything is written at all. */
  readonly written: boolean;
  /** In their order: who is in which, as far as that can be said beforehand. */
  readonly groups: readonly ListedGroup[];
  readonly machines: readonly ListedMachine[];
  readonly unknown: string;
  /** Whether all of it is signed. */
  readonly signed: boolean;
}

/** Every machine that was written down. What it says of itself when it boots may put it into another group. */
export async function listMachines(state: string): Promise<ListedMachines> {
  await demandState(state);
  const rules = await readMachineRules(machineFilesOf(state));
  const matcher = new Matcher(rules);
  const machines = rules.machines.map(({ name, mac = [], uuid, serial }): ListedMachine => {
    const claims = {
      ...(mac[0] === undefined ? {} : { mac: mac[0] }),
      ...(uuid === undefined ? {} : { uuid }),
      ...(serial === undefined ? {} : { serial }),
    };
    const match = matcher.find({ loader: 'ipxe', ...claims });
    return { name, macs: mac, uuid, gets: assignmentText(match.gets), by: ruleText(match) };
  });
  const newest = await newestSigned(state).catch((error: unknown) => {
    if (error instanceof Refusal) return undefined;
    throw error;
  });
  const members = membersOf(rules);
  const groups = rules.groups.map((group, index) => ({
    name: group.name,
    machines: members[index]?.length,
    gets: assignmentText(group.gets),
  }));
  return {
    written: hasRules(rules),
    groups,
    machines,
    unknown: assignmentText(matcher.find({ loader: 'ipxe' }).gets),
    signed: newest !== undefined && sameRules(rules, newest.matcher.rules),
  };
}
