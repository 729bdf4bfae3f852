import { unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'smol-toml';
import { z } from 'zod';
import { UsageError } from '../errors/usage.ts';
import { explain, syncDirectory, writeFileAtomically } from '../files/atomic-file.ts';
import { makeFolders } from '../files/make-folders.ts';
import { macFolder } from '../formats/records/armed-folder.ts';
import { ASSIGNMENT, assignmentText } from './assignment.ts';
import {
  listMachineFiles,
  type MachineFile,
  type MachineRecords,
  machineFilePath,
  parseMachineRules,
} from './machine-files.ts';
import { NAME } from './machine-rules.ts';

/**
 * What is assigned to one machine by a program, the API above all: `machines/api-52-54-00-12-34-56.toml`, a file of its own
 * for each card. Files that people write are theirs: none of them is changed, and what one of them says already is not said
 * again.
 */
export const ASSIGNED = z
  .strictObject({
    /** What it is called; default: its address, with dashes. */
    name: NAME.optional(),
    /** By which it is in groups. */
    labels: z.array(NAME).min(1).max(16).optional(),
    /** What it gets, whatever groups it is in. */
    gets: ASSIGNMENT.optional(),
  })
  .refine(({ labels, gets }) => labels ?? gets, 'has neither labels nor gets: it would say nothing');

export type Assigned = z.infer<typeof ASSIGNED>;

const HEAD = '# Written by the API of Bootseal, which writes it anew; a file of your own is left alone.\n';

/** The file of a card, in the folder of machines. @param mac `52:54:00:12:34:56` */
export function assignedName(mac: string): string {
  return `api-${macFolder(mac)}.toml`;
}

/** In words, for people and the log. */
export function assignedText({ name, labels, gets }: Assigned): string {
  return [
    ...(name === undefined ? [] : [`named ${name}`]),
    ...(labels === undefined ? [] : [`labels ${labels.join(' ')}`]),
    ...(gets === undefined ? [] : [`gets ${assignmentText(gets)}`]),
  ].join('; ');
}

/** The file's text; one for each assignment. */
export function encodeAssigned(mac: string, { name = macFolder(mac), labels, gets }: Assigned): string {
  const machine = {
    name,
    mac,
    ...(labels === undefined ? {} : { labels }),
    ...(gets === undefined ? {} : { gets: withoutUndefined(gets) }),
  };
  return HEAD + stringify({ machine: [machine] });
}

/**
 * What is to be written, once it is known that the folder as a whole can be read with it.
 *
 * @param folder of the state's machines.
 * @param assigned undefined: nothing more is assigned to it.
 * @returns the text of its file now and then; undefined: there is none.
 * @throws UsageError where a file of somebody else's says something of the card already, or the rules would have a fault;
 *   IoError.
 */
export async function planAssigned(
  folder: string | MachineRecords,
  mac: string,
  assigned: Assigned | undefined,
): Promise<{ readonly before: string | undefined; readonly after: string | undefined }> {
  const path = machineFilePath(folder, assignedName(mac));
  const files = await listMachineFiles(folder);
  const others = files.filter((file) => file.path !== path);
  const before = files.find((file) => file.path === path)?.text;
  // What is taken away may be what two files say of one machine.
  if (assigned === undefined) return { before, after: undefined };
  const after = encodeAssigned(mac, assigned);
  demandNobodyElse(others, mac);
  parseMachineRules([...others, { path, text: after }]);
  return { before, after };
}

/** Writes what `planAssigned` answered. The state is the caller's. @throws IoError */
export async function writeAssigned(
  folder: string | MachineRecords,
  mac: string,
  text: string | undefined,
): Promise<void> {
  if (typeof folder !== 'string') return folder.write(assignedName(mac), text);
  const path = join(folder, assignedName(mac));
  if (text !== undefined) {
    await makeFolders(folder);
    await writeFileAtomically(path, Buffer.from(text));
    return;
  }
  try {
    await unlink(path);
  } catch (error) {
    throw explain(error, path);
  }
  await syncDirectory(folder);
}

/** @throws UsageError */
function demandNobodyElse(others: readonly MachineFile[], mac: string): void {
  for (const file of others) {
    const { machines, groups } = parseAlone(file);
    const machine = machines.find((one) => one.mac?.includes(mac));
    const group = groups.find((one) => one.mac?.includes(mac));
    if (!machine && !group) continue;
    const what = machine ? `it is ${machine.name} there` : `the group ${group?.name} names it there`;
    throw new UsageError(
      `${nameOf(file)} in the folder of machines says what ${mac} gets already: ${what}; change it in that file.`,
    );
  }
}

/** A file by itself may name machines of others. @throws UsageError for one with a fault of its own. */
function parseAlone(file: MachineFile) {
  const { machines, groups } = parseMachineRules([file], false);
  return { machines, groups };
}

function nameOf({ path }: MachineFile): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** TOML has no word for what is not there. */
function withoutUndefined(facts: object): Record<string, string | readonly string[]> {
  const said = Object.entries(facts).filter(
    ([name, value]) => value !== undefined && !(name === 'words' && value.length === 0),
  );
  return Object.fromEntries(said);
}
