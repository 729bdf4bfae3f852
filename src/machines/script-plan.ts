import { createHash } from 'node:crypto';
import { swappedUuid } from '../formats/net/machine-claims.ts';
import { type MachineIdentity, MOST_MACHINES } from '../scripts/machine-set.ts';
import { type Assignment, assignmentKey, isReleasesOwn } from './assignment.ts';
import type { Machine } from './booter.ts';
import type { KnownMachine, MachineRules } from './machine-rules.ts';
import { CHANNELS_RELEASE, type Match, membersOf } from './match.ts';

/** A script that is wanted: of one assignment, for certain machines or for whoever runs it. */
export interface PlannedScript {
  /** 16 hex digits: what it is for, and no word of what it says. */
  readonly key: string;
  readonly assignment: Assignment;
  /** Undefined: any machine may boot it, since what its rules ask for is nothing that a script can compare. */
  readonly machines: readonly MachineIdentity[] | undefined;
}

/** The scripts of one assignment. */
interface ScriptsOfOne {
  any: PlannedScript | undefined;
  readonly byMac: Map<string, PlannedScript>;
  readonly byUuid: Map<string, PlannedScript>;
}

/** Lines of comparisons in one script: a linter's patience, and a loader's. */
const MOST_COMPARISONS = 768;

/**
 * Which scripts the rules want: one for each distinct assignment, split where it is for more machines than one script
 * compares. The same rules give the same plan, whoever makes it.
 */
export class ScriptPlan {
  readonly scripts: readonly PlannedScript[];
  /** By the assignment's key. */
  readonly #of = new Map<string, ScriptsOfOne>();

  constructor(rules: MachineRules) {
    const wanted = new Map<
      string,
      { assignment: Assignment; members: Map<string, MachineIdentity>; any: boolean }
    >();
    const want = (assignment: Assignment, members: readonly KnownMachine[] | undefined): void => {
      const key = assignmentKey(assignment);
      const entry = wanted.get(key) ?? { assignment, members: new Map(), any: false };
      wanted.set(key, entry);
      for (const member of members ?? []) {
        const identity = identityOf(member);
        if (identity) entry.members.set(member.name, identity);
        else entry.any = true;
      }
      if (members === undefined) entry.any = true;
    };
    for (const machine of rules.machines) if (machine.gets) want(machine.gets, [machine]);
    const members = membersOf(rules);
    for (const [index, group] of rules.groups.entries()) want(group.gets, members[index]);
    want(rules.unknown ?? CHANNELS_RELEASE, undefined);
    const scripts: PlannedScript[] = [];
    for (const [key, { assignment, members, any }] of wanted) {
      const of: ScriptsOfOne = { any: undefined, byMac: new Map(), byUuid: new Map() };
      this.#of.set(key, of);
      if (any && !isReleasesOwn(assignment)) {
        const script = planned(assignment, undefined);
        scripts.push(script);
        of.any = script;
      }
      const sorted = [...members.values()].sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
      for (const machines of shards(sorted)) {
        const script = planned(assignment, machines);
        scripts.push(script);
        for (const { macs, uuid } of machines) {
          for (const mac of macs) of.byMac.set(mac, script);
          if (uuid !== undefined) of.byUuid.set(uuid, script);
        }
      }
    }
    this.scripts = scripts;
  }

  /**
   * The script of a machine. `own`: the release's own, which any machine may boot; undefined: none is wanted.
   *
   * @param match what it gets, and why.
   */
  scriptOf(
    machine: Machine,
    { gets, known }: Pick<Match, 'gets' | 'known'>,
  ): PlannedScript | 'own' | undefined {
    const of = this.#of.get(assignmentKey(gets));
    const { mac, uuid } = machine;
    const byUuid = (one: string) => of?.byUuid.get(one) ?? of?.byUuid.get(swappedUuid(one));
    // It must be one that the machine itself will take for its own: by what it says, not by what is written down.
    const found =
      (mac === undefined ? undefined : of?.byMac.get(mac)) ??
      (uuid === undefined ? undefined : byUuid(uuid)) ??
      (mac === undefined && known?.mac?.[0] !== undefined ? of?.byMac.get(known.mac[0]) : undefined) ??
      of?.any;
    if (found) return found;
    return isReleasesOwn(gets) ? 'own' : undefined;
  }
}

function identityOf({ mac = [], uuid }: KnownMachine): MachineIdentity | undefined {
  if (mac.length === 0 && uuid === undefined) return undefined;
  return { macs: mac, ...(uuid === undefined ? {} : { uuid }) };
}

function nameOf({ macs, uuid }: MachineIdentity): string {
  return macs[0] ?? uuid ?? '';
}

function shards(machines: readonly MachineIdentity[]): MachineIdentity[][] {
  const found: MachineIdentity[][] = [];
  let lines = Number.POSITIVE_INFINITY;
  for (const machine of machines) {
    const own = machine.macs.length + (machine.uuid === undefined ? 0 : 2);
    if (lines + own > MOST_COMPARISONS || (found.at(-1)?.length ?? 0) >= MOST_MACHINES) {
      found.push([]);
      lines = 0;
    }
    found.at(-1)?.push(machine);
    lines += own;
  }
  return found;
}

function planned(assignment: Assignment, machines: readonly MachineIdentity[] | undefined): PlannedScript {
  const text = JSON.stringify([
    assignmentKey(assignment),
    machines?.map(({ macs, uuid }) => [macs, uuid ?? '']) ?? 'any',
  ]);
  return { key: createHash('sha256').update(text).digest('hex').slice(0, 16), assignment, machines };
}
