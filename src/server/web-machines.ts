import type { Boots } from '../boots/boots.ts';
import { Refusal } from '../errors/refusal.ts';
import { assignmentText } from '../machines/assignment.ts';
import type { ChannelScripts } from '../machines/channel-scripts.ts';
import { newestScripts } from '../machines/machine-booter.ts';
import type { KnownMachine, MachineRules } from '../machines/machine-rules.ts';
import { CHANNELS_RELEASE, type Match, Matcher } from '../machines/match.ts';
import type { StoredArming } from '../store/armed-boots.ts';
import type { ArmedFacts, MachineFacts, MachineRow, MachinesFacts } from '../web/facts.ts';
import type { Offering } from './offering.ts';
import { bootRow, DAY, dayFacts, type NameOf } from './web-boots.ts';

/** Machines as the pages show them: by what was signed about them, and by what was seen. */

/** Machines of one page, and boots of one machine. */
const MOST = 200;
const MOST_BOOTS = 25;

const NOBODY = new Matcher({ machines: [], groups: [], unknown: undefined, menu: undefined });
const names = new WeakMap<MachineRules, ReadonlyMap<string, KnownMachine>>();

/** What was signed last; undefined where nothing was, or where it is refused. */
function signedOf(offering: Offering): ChannelScripts | undefined {
  const newest = newestScripts({ scripts: offering.machines?.scripts ?? new Map() });
  return newest instanceof Refusal ? undefined : newest;
}

function byMac(offering: Offering): ReadonlyMap<string, KnownMachine> {
  const rules = signedOf(offering)?.matcher.rules ?? NOBODY.rules;
  const before = names.get(rules);
  if (before) return before;
  const all = new Map(
    rules.machines.flatMap((machine) => (machine.mac ?? []).map((mac) => [mac, machine] as const)),
  );
  names.set(rules, all);
  return all;
}

/** What an operator calls a machine, by what was signed. */
export function machineNames(offering: () => Offering): NameOf {
  return (mac) => byMac(offering()).get(mac)?.name;
}

/** @param asked a part of a name, an address or a label; empty: all. */
export async function machinesFacts(
  offering: Offering,
  boots: Boots,
  asked: string,
  now: number,
): Promise<MachinesFacts> {
  const signed = signedOf(offering);
  const matcher = signed?.matcher ?? NOBODY;
  const known = byMac(offering);
  const wanted = asked.trim().toLowerCase().slice(0, 100);
  const fits = (...texts: readonly string[]): boolean =>
    wanted === '' ||
    texts.some((text) => text.toLowerCase().includes(wanted) || text.includes(macText(wanted)));
  const written = matcher.rules.machines.filter(({ name, mac = [], labels = [], serial = '' }) =>
    fits(name, serial, ...mac, ...labels),
  );
  const seen = boots.index.machines().filter(({ machine }) => !known.has(machine) && fits(machine));
  const nameOf: NameOf = (mac) => known.get(mac)?.name;
  const rows: MachineRow[] = [];
  for (const machine of written.slice(0, MOST)) {
    const [mac = ''] = machine.mac ?? [];
    const match = matcher.find({ loader: 'ipxe', ...claimsOf(machine) });
    rows.push(
      await row({ mac, name: machine.name, labels: machine.labels ?? [], ...getsOf(match) }, boots, nameOf),
    );
  }
  for (const { machine: mac } of seen.slice(0, MOST - rows.length))
    rows.push(
      await row({ mac, labels: [], ...getsOf(matcher.find({ loader: 'ipxe', mac })) }, boots, nameOf),
    );
  return {
    now,
    machines: rows,
    total: written.length + seen.length,
    asked,
    ruled: signed !== undefined,
    unknown: assignmentText(matcher.rules.unknown ?? CHANNELS_RELEASE),
    groups: matcher.rules.groups.map(({ name, gets }) => ({ name, gets: assignmentText(gets) })),
  };
}

/** An address is found however it is written. */
function macText(asked: string): string {
  return /^[0-9a-f:-]+$/.test(asked) ? asked.replaceAll('-', ':') : asked;
}

async function row(machine: Omit<MachineRow, 'last'>, boots: Boots, nameOf: NameOf): Promise<MachineRow> {
  const [last] = machine.mac === '' ? [] : await boots.find({ machine: machine.mac }, 1);
  return last === undefined ? machine : { ...machine, last: bootRow(last, nameOf) };
}

/** @param mac `52:54:00:12:34:56` @returns undefined where nobody wrote it down and nobody saw it. */
export async function machineFacts(
  offering: Offering,
  boots: Boots,
  mac: string,
  armed: StoredArming | undefined,
  now: number,
): Promise<MachineFacts | undefined> {
  const matcher = signedOf(offering)?.matcher ?? NOBODY;
  const known = byMac(offering).get(mac);
  const receipts = await boots.find({ machine: mac }, MOST_BOOTS);
  if (known === undefined && armed === undefined && receipts.length === 0) return undefined;
  const since = now - DAY;
  const counts = boots.count({ machine: mac, since });
  const nameOf: NameOf = () => known?.name;
  const { name, uuid, serial, labels = [] } = known ?? {};
  const said = known ? claimsOf(known) : {};
  const match = matcher.find({ loader: 'ipxe', ...said, mac });
  return {
    now,
    mac,
    ...(name === undefined ? {} : { name }),
    labels,
    written: known !== undefined,
    ...getsOf(match),
    ...(uuid === undefined ? {} : { uuid }),
    ...(serial === undefined ? {} : { serial }),
    ...(armed === undefined ? {} : { armed: armedFacts(armed, now) }),
    day: dayFacts(counts, since),
    // The boot tells what was called so; the heading says who it is.
    boots: receipts.map((receipt) => bootRow(receipt, nameOf)),
    total: boots.count({ machine: mac }).total,
    armable: offering.releases.flatMap(({ release, refusal }) =>
      refusal === undefined ? [release.release] : [],
    ),
  };
}

function claimsOf({ mac, uuid, serial }: KnownMachine) {
  const [first] = mac ?? [];
  return {
    ...(first === undefined ? {} : { mac: first }),
    ...(uuid === undefined ? {} : { uuid }),
    ...(serial === undefined ? {} : { serial }),
  };
}

function getsOf({ gets, rule }: Match): { readonly gets: string; readonly by: string } {
  const by =
    rule.kind === 'machine'
      ? 'its own entry'
      : rule.kind === 'group'
        ? `the group ${rule.group.name}`
        : 'no group';
  return { gets: assignmentText(gets), by };
}

const CONSUMED_WORDS = {
  report: 'booted, as it reported (claimed)',
  files: 'booted: all files have left',
  cancelled: 'taken back',
  ended: 'ended unused',
} as const;

function armedFacts({ arming, consumed, dismissed }: StoredArming, now: number): ArmedFacts {
  const { release, id, armed, ends, by, afterwards } = arming;
  const base = { release, id, armed, ends, by };
  if (!consumed)
    return now < ends
      ? { ...base, state: 'armed', tone: 'warn', live: true }
      : { ...base, state: CONSUMED_WORDS.ended, tone: 'quiet', live: false };
  const booted = consumed.how === 'report' || consumed.how === 'files';
  const held = booted && afterwards === 'local' && !dismissed;
  const state = `${CONSUMED_WORDS[consumed.how]}${held ? '; its own disk from now on' : ''}`;
  return { ...base, state, tone: booted ? 'good' : 'quiet', live: held };
}
