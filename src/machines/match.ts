import { swappedUuid } from '../formats/net/machine-claims.ts';
import type { Assignment } from './assignment.ts';
import type { Machine } from './booter.ts';
import type { KnownMachine, MachineGroup, MachineRules } from './machine-rules.ts';

/** Why a machine gets what it gets. */
export interface Match {
  /** What it is known as; undefined: nobody wrote it down. */
  readonly known: KnownMachine | undefined;
  /** By which of its own words it was found. */
  readonly by: 'mac' | 'uuid' | 'serial' | undefined;
  /** What decided. */
  readonly rule:
    | { readonly kind: 'machine'; readonly machine: KnownMachine }
    | { readonly kind: 'group'; readonly group: MachineGroup; readonly index: number }
    | { readonly kind: 'unknown' };
  readonly gets: Assignment;
  /** Groups that came before and did not fit, and the first thing about each that did not. */
  readonly passedOver: readonly { readonly group: string; readonly why: string }[];
}

/** What a machine gets about whom nobody wrote anything. */
export const CHANNELS_RELEASE: Assignment = { boot: 'release', words: [] };

/** Facts that a group can ask for and a script cannot compare. */
const TEXTS = ['serial', 'asset', 'manufacturer', 'product', 'arch', 'firmware'] as const;

/**
 * Finds what a machine gets. What an operator wrote down about it counts before what it says of itself, and the first
 * group that fits counts alone. A table look-up for the machine, and one for each of its labels.
 */
export class Matcher {
  readonly rules: MachineRules;
  readonly #byMac = new Map<string, KnownMachine>();
  readonly #byUuid = new Map<string, KnownMachine>();
  readonly #bySerial = new Map<string, KnownMachine>();
  readonly #groups: readonly TestedGroup[];
  readonly #candidates: (known: KnownMachine | undefined) => readonly number[];

  constructor(rules: MachineRules) {
    this.rules = rules;
    for (const machine of rules.machines) {
      for (const mac of machine.mac ?? []) this.#byMac.set(mac, machine);
      if (machine.uuid !== undefined) this.#byUuid.set(machine.uuid, machine);
      if (machine.serial !== undefined && machine.mac === undefined && machine.uuid === undefined)
        this.#bySerial.set(machine.serial, machine);
    }
    this.#groups = rules.groups.map((group) => ({ group, tests: testsOf(group) }));
    this.#candidates = candidatesOf(rules.groups);
  }

  /** Whether a card's address is one that was written down. */
  knows(mac: string): boolean {
    return this.#byMac.has(mac);
  }

  find(machine: Machine): Match {
    const { known, by } = this.#known(machine);
    if (known?.gets)
      return { known, by, rule: { kind: 'machine', machine: known }, gets: known.gets, passedOver: [] };
    for (const index of this.#candidates(known)) {
      const { group, tests } = this.#groups[index] as TestedGroup;
      if (tests.every(({ fits }) => fits(machine, known)))
        return this.#decided({ known, by, rule: { kind: 'group', group, index }, gets: group.gets }, machine);
    }
    const gets = this.rules.unknown ?? CHANNELS_RELEASE;
    return this.#decided({ known, by, rule: { kind: 'unknown' }, gets }, machine);
  }

  /** Why others were passed over is told to people, and to none of the machines: it is found when somebody reads it. */
  #decided(decision: Omit<Match, 'passedOver'>, machine: Machine): Match {
    const { known, rule } = decision;
    const groups = this.#groups;
    return {
      ...decision,
      get passedOver() {
        return groups.slice(0, rule.kind === 'group' ? rule.index : undefined).map(({ group, tests }) => ({
          group: group.name,
          why: tests.find(({ fits }) => !fits(machine, known))?.what ?? '',
        }));
      },
    };
  }

  /** A dock's address is that of whoever sits in it: a UUID that says otherwise makes it another machine. */
  #known({ mac, uuid, serial }: Machine): Pick<Match, 'known' | 'by'> {
    const byMac = mac === undefined ? undefined : this.#byMac.get(mac);
    if (byMac && (uuid === undefined || byMac.uuid === undefined || sameUuid(byMac.uuid, uuid)))
      return { known: byMac, by: 'mac' };
    const byUuid =
      uuid === undefined ? undefined : (this.#byUuid.get(uuid) ?? this.#byUuid.get(swappedUuid(uuid)));
    if (byUuid) return { known: byUuid, by: 'uuid' };
    const bySerial = serial === undefined ? undefined : this.#bySerial.get(serial);
    return bySerial ? { known: bySerial, by: 'serial' } : { known: undefined, by: undefined };
  }
}

interface TestedGroup {
  readonly group: MachineGroup;
  readonly tests: readonly Test[];
}

const OTHER_MAC = 'its address is another one';
const OTHER_UUID = 'its UUID is another one';

interface Test {
  /** Where it fails: `its firmware is not efi`. */
  readonly what: string;
  readonly fits: (machine: Machine, known: KnownMachine | undefined) => boolean;
}

function testsOf(group: MachineGroup): Test[] {
  const tests: Test[] = [];
  const add = (what: string, fits: Test['fits']) => tests.push({ what, fits });
  if (group.machines) {
    const names = new Set(group.machines);
    add('it is none of its machines', (_, known) => known !== undefined && names.has(known.name));
  }
  if (group.labels) {
    const labels = new Set(group.labels);
    add(
      `it has not the label ${group.labels.join(' or ')}`,
      (_, known) => known?.labels?.some((label) => labels.has(label)) === true,
    );
  }
  if (group.mac) {
    const exact = new Set(group.mac.filter((mac) => !mac.endsWith('*')));
    const beginnings = group.mac.filter((mac) => mac.endsWith('*')).map((mac) => mac.slice(0, -1));
    const isOne = (mac: string) => exact.has(mac) || beginnings.some((one) => mac.startsWith(one));
    add(OTHER_MAC, ({ mac }, known) => (mac === undefined ? (known?.mac ?? []).some(isOne) : isOne(mac)));
  }
  if (group.uuid) {
    const uuids = new Set(group.uuid.flatMap((uuid) => [uuid, swappedUuid(uuid)]));
    add(OTHER_UUID, ({ uuid }, known) => uuids.has(known?.uuid ?? uuid ?? ''));
  }
  for (const name of TEXTS) {
    const wanted = group[name];
    if (!wanted) continue;
    const patterns = wanted.map(patternOf);
    add(`its ${name} is not ${wanted.join(' or ')}`, (machine, known) => {
      const value = known?.[name] ?? machine[name];
      return value !== undefined && patterns.some((pattern) => pattern(value.toLowerCase()));
    });
  }
  return tests;
}

/**
 * `*` stands for any text; small and capital letters are one. Parts are looked for from left to right, each once: a regular
 * expression with several stars takes hours over a text that somebody chose for it.
 */
function patternOf(text: string): (value: string) => boolean {
  const [first = '', ...rest] = text.toLowerCase().split('*');
  const last = rest.pop();
  if (last === undefined) return (value) => value === first;
  return (value) => {
    if (!value.startsWith(first) || value.length < first.length + last.length) return false;
    let at = first.length;
    for (const part of rest) {
      const found = value.indexOf(part, at);
      if (found < 0) return false;
      at = found + part.length;
    }
    return value.length - last.length >= at && value.endsWith(last);
  };
}

function sameUuid(one: string, other: string): boolean {
  return one === other || one === swappedUuid(other);
}

/**
 * For each group the machines that it can have, where they can all be named; undefined where it takes whoever says
 * something of itself that no script can compare. A machine that an earlier group has for certain is not among them.
 */
export function membersOf(rules: MachineRules): readonly (readonly KnownMachine[] | undefined)[] {
  const groups = rules.groups.map((group) => ({
    tests: testsOf(group).map((test) => ({
      ...test,
      name: TEXTS.find((one) => test.what.startsWith(`its ${one} `)),
    })),
    mac: group.mac,
    nameable: isNameable(group),
    members: [] as KnownMachine[],
  }));
  const candidates = candidatesOf(rules.groups);
  const said = { loader: 'ipxe' } as const;
  for (const known of rules.machines) {
    if (known.gets) continue;
    for (const index of candidates(known)) {
      const { tests, mac, members } = groups[index] as (typeof groups)[number];
      const open = tests.filter((test) => !test.fits(said, known));
      if (open.length === 0) {
        members.push(known);
        break;
      }
      // What was not written down it may say of itself: then it is one of them.
      const mayStillFit = ({ name, what }: (typeof tests)[number]) =>
        (name !== undefined && known[name] === undefined) ||
        (what === OTHER_UUID && known.uuid === undefined) ||
        (what === OTHER_MAC && mac !== undefined && known.mac === undefined);
      if (open.every(mayStillFit)) members.push(known);
    }
  }
  return groups.map(({ nameable, members }, index) =>
    nameable ? [...members, ...strangers(rules.groups[index] as MachineGroup, members)] : undefined,
  );
}

/**
 * Which groups may have a machine, in their order: what a group asks of names and labels is written down or never said, so
 * those that ask for others are passed over without a look. A hundred thousand machines do not meet each of some hundred
 * groups.
 */
function candidatesOf(
  groups: readonly MachineGroup[],
): (known: KnownMachine | undefined) => readonly number[] {
  const byName = new Map<string, number[]>();
  const byLabel = new Map<string, number[]>();
  const open: number[] = [];
  for (const [index, { machines, labels }] of groups.entries()) {
    if (machines) for (const name of new Set(machines)) put(byName, name, index);
    else if (labels) for (const label of new Set(labels)) put(byLabel, label, index);
    else open.push(index);
  }
  return (known) => {
    if (!known) return open;
    const found = new Set(byName.get(known.name));
    for (const label of known.labels ?? []) for (const index of byLabel.get(label) ?? []) found.add(index);
    if (found.size === 0) return open;
    for (const index of open) found.add(index);
    return [...found].sort((one, other) => one - other);
  };
}

function put(into: Map<string, number[]>, key: string, index: number): void {
  const before = into.get(key);
  if (before) before.push(index);
  else into.set(key, [index]);
}

function isNameable({ machines, labels, mac, uuid }: MachineGroup): boolean {
  const exact = mac?.every((one) => !one.endsWith('*')) === true || uuid !== undefined;
  return exact || (machines ?? labels) !== undefined;
}

/** Addresses and UUIDs that a group names, and that no known machine has. */
function strangers(
  { machines, labels, mac, uuid }: MachineGroup,
  members: readonly KnownMachine[],
): KnownMachine[] {
  if ((machines ?? labels) !== undefined) return [];
  const macs = new Set(members.flatMap((one) => one.mac ?? []));
  if (mac?.every((one) => !one.endsWith('*')))
    return mac.filter((one) => !macs.has(one)).map((one) => ({ name: one, mac: [one] }));
  const uuids = new Set(members.map((one) => one.uuid));
  return (uuid ?? []).filter((one) => !uuids.has(one)).map((one) => ({ name: one, uuid: one }));
}
