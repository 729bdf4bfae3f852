import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'smol-toml';
import type { z } from 'zod';
import { isAbsent } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import { firstMistake, OUR_WORDS } from '../errors/schema-words.ts';
import { unreadable } from '../errors/unreadable.ts';
import { UsageError } from '../errors/usage.ts';
import { readBeneathIfThere } from '../files/beneath.ts';
import { notToml } from '../files/operator-file.ts';
import { type KnownMachine, MACHINE_FILE, type MachineRules, NO_RULES } from './machine-rules.ts';

/** Where a state keeps what an operator wrote about its machines. */
export const MACHINES = 'machines';

/** Of all files together. */
const MOST_MACHINES = 200_000;
const MOST_GROUPS = 5000;

/** What was read, and of which bytes: equal texts, equal rules. */
export interface MachineFile {
  readonly path: string;
  readonly text: string;
}

/** Files that are in no folder of this machine. */
export interface MachineRecords {
  /** How sentences name where they are. */
  readonly name: string;
  names(): Promise<readonly string[]>;
  /** Undefined where there is none of that name. @param limit bytes. @throws Refusal, IoError */
  read(name: string, limit: number): Promise<Uint8Array | undefined>;
  /** Writes one, or takes it away. @throws IoError */
  write(name: string, text: string | undefined): Promise<void>;
}

/** Bytes of one file. */
const MOST_BYTES = 32 * 1024 * 1024;

/**
 * The files of a folder that end in `.toml`, by name; none where there is no folder. Whoever may write there can make
 * nobody wait, and nobody read what lies elsewhere: a pipe or a link is refused.
 *
 * @throws UsageError, IoError
 */
export async function listMachineFiles(from: string | MachineRecords): Promise<readonly MachineFile[]> {
  const names = await (typeof from === 'string' ? namesOf(from) : from.names());
  const files: MachineFile[] = [];
  // Hidden ones are an editor's.
  for (const name of names.filter((one) => one.endsWith('.toml') && !one.startsWith('.')).sort()) {
    const path = machineFilePath(from, name);
    try {
      const bytes =
        typeof from === 'string'
          ? await readBeneathIfThere(from, name, MOST_BYTES)
          : await from.read(name, MOST_BYTES);
      if (bytes) files.push({ path, text: Buffer.from(bytes).toString('utf8') });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      throw new UsageError(`${path} is not read: ${error.message}`);
    }
  }
  return files;
}

async function namesOf(folder: string): Promise<readonly string[]> {
  return readdir(folder).catch((error: unknown) => {
    if (isAbsent(error)) return [];
    throw unreadable(folder, error, `The folder of machines ${folder}`);
  });
}

/** How sentences name a file. */
export function machineFilePath(from: string | MachineRecords, name: string): string {
  return typeof from === 'string' ? join(from, name) : `${from.name}/${name}`;
}

/** Reads all files or none. @param from their folder. @throws UsageError that names file and line; IoError. */
export async function readMachineRules(from: string | MachineRecords): Promise<MachineRules> {
  return parseMachineRules(await listMachineFiles(from));
}

/**
 * The same of files that were read.
 *
 * @param whole false: some files of a folder, whose groups may name machines of others.
 * @throws UsageError
 */
export function parseMachineRules(files: readonly MachineFile[], whole = true): MachineRules {
  const machines: KnownMachine[] = [];
  let rules: MachineRules = NO_RULES;
  const names = new Places('the name');
  const macs = new Places('the address');
  const uuids = new Places('the UUID');
  for (const { path, text } of files) {
    const file = parseMachineFile(path, text);
    const lines = headersOf(text, 'machine');
    for (const [index, machine] of file.machine.entries()) {
      const at = `${path}, line ${lines[index] ?? lineOf(text, ['machine', index])}`;
      names.take(machine.name, at);
      for (const mac of machine.mac ?? []) macs.take(mac, at);
      if (machine.uuid !== undefined) uuids.take(machine.uuid, at);
      machines.push(machine);
    }
    if (rules.unknown && file.unknown)
      throw new UsageError(
        `${path}, line ${lineOf(text, ['unknown'])}: [unknown] is in another file already.`,
      );
    if (rules.menu && file.menu)
      throw new UsageError(`${path}, line ${lineOf(text, ['menu'])}: [menu] is in another file already.`);
    rules = {
      machines,
      groups: [...rules.groups, ...file.group],
      unknown: file.unknown?.gets ?? rules.unknown,
      menu: file.menu ?? rules.menu,
    };
    if (machines.length > MOST_MACHINES || rules.groups.length > MOST_GROUPS)
      throw new UsageError(
        `${path}: with it there are more than ${MOST_MACHINES} machines or ${MOST_GROUPS} groups.`,
      );
  }
  if (whole) demandNames(files, rules);
  return rules;
}

function parseMachineFile(path: string, text: string): z.infer<typeof MACHINE_FILE> {
  let raw: unknown;
  try {
    raw = parse(text);
  } catch (error) {
    throw notToml(path, error);
  }
  const result = MACHINE_FILE.safeParse(raw, OUR_WORDS);
  if (result.success) return result.data;
  const { path: keys, why, unknown } = firstMistake(result.error);
  const what = keys.filter((one) => typeof one === 'string').join('.');
  const line = lineOf(text, [...keys, ...unknown.slice(0, 1)]);
  throw new UsageError(`${path}, line ${line}: ${[what, why].filter(Boolean).join(': ')}.`);
}

/** A misspelt name would leave a machine out of its group without a word. */
function demandNames(files: readonly MachineFile[], { machines, groups }: MachineRules): void {
  const known = new Set(machines.map(({ name }) => name));
  const labels = new Set(machines.flatMap((machine) => machine.labels ?? []));
  for (const group of groups) {
    const name = group.machines?.find((one) => !known.has(one));
    const label = group.labels?.find((one) => !labels.has(one));
    if (name === undefined && label === undefined) continue;
    const what = name === undefined ? `no machine has the label ${label}` : `there is no machine ${name}`;
    throw new UsageError(
      `${placeOfGroup(files, group.name)}: the group ${group.name} finds nothing: ${what}.`,
    );
  }
}

function placeOfGroup(files: readonly MachineFile[], name: string): string {
  for (const { path, text } of files) {
    const index = text
      .split('\n')
      .findIndex((line) => /^\s*name\s*=/.test(line) && line.includes(`"${name}"`));
    if (index >= 0) return `${path}, line ${index + 1}`;
  }
  return 'The files of machines';
}

/** What may be there once, and where it was. */
class Places {
  readonly #what: string;
  readonly #places = new Map<string, string>();

  constructor(what: string) {
    this.#what = what;
  }

  take(value: string, at: string): void {
    const before = this.#places.get(value);
    if (before !== undefined)
      throw new UsageError(`${at}: ${this.#what} ${value} is another machine's already, in ${before}.`);
    this.#places.set(value, at);
  }
}

/** The lines, from 1, at which the tables of an array begin. */
function headersOf(text: string, table: string): number[] {
  return text.split('\n').flatMap((line, index) => (headerOf(line) === table ? [index + 1] : []));
}

/** What a line says that begins a table: `machine` of `[[machine]]`; undefined for any other line. */
function headerOf(line: string): string | undefined {
  const [, name] = /^\s*\[{1,2}\s*"?([^\]"\s]*)"?\s*\]{1,2}/.exec(line) ?? [];
  return name;
}

/** What a line gives a value to: `mac` of `mac = "…"`, also where it goes on with a dot. */
function keyOf(line: string): string | undefined {
  const [, name] = /^\s*"?([^\s"=.]+)"?\s*[.=]/.exec(line) ?? [];
  return name;
}

/**
 * The line, from 1, at which a key stands, or the table that it is missing in. TOML's parser keeps no places, so the
 * text is looked through: the n-th header of an array, and then the key below it.
 */
export function lineOf(text: string, path: readonly PropertyKey[]): number {
  const lines = text.split('\n');
  const [table, second] = path;
  const at = headersOf(text, String(table))[typeof second === 'number' ? second : 0];
  if (at === undefined) {
    const inline = lines.findIndex((line) => keyOf(line) === String(table));
    return inline < 0 ? 1 : inline + 1;
  }
  const key = path.slice(1).find((one) => typeof one === 'string');
  for (let number = at; key !== undefined && number < lines.length; number += 1) {
    const line = lines[number] ?? '';
    const header = headerOf(line);
    if (header === `${String(table)}.${String(key)}`) return number + 1;
    if (header !== undefined && !header.startsWith(`${String(table)}.`)) break;
    if (keyOf(line) === String(key)) return number + 1;
  }
  return at;
}
