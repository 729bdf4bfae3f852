import { Malformed } from '../errors/malformed.ts';
import { mistakeInWords, OUR_WORDS } from '../errors/schema-words.ts';
import { MACHINE_FILE, type MachineRules } from './machine-rules.ts';

/** The rules that a batch of scripts was made of, as they are kept beside it: one JSON text, and one way to write it. */

/** Bytes. */
const MAX_RULES = 48 * 1024 * 1024;
const FORMAT = 'rules of machines';

export function encodeRules({ machines, groups, unknown, menu }: MachineRules): Uint8Array {
  return Buffer.from(
    `${JSON.stringify({
      'bootseal-machines': 1,
      machine: machines,
      group: groups,
      ...(unknown ? { unknown: { gets: unknown } } : {}),
      ...(menu ? { menu } : {}),
    })}\n`,
  );
}

/** Throws `Malformed`. */
export function decodeRules(bytes: Uint8Array): MachineRules {
  if (bytes.length > MAX_RULES) throw new Malformed(FORMAT, `${bytes.length} bytes`);
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    throw new Malformed(FORMAT, 'no JSON');
  }
  const { 'bootseal-machines': format, ...rest } = Object(value) as Record<string, unknown>;
  if (format !== 1) throw new Malformed(FORMAT, 'of a format that this Bootseal does not know');
  const result = MACHINE_FILE.safeParse(rest, OUR_WORDS);
  if (!result.success) throw new Malformed(FORMAT, mistakeInWords(result.error));
  const { machine, group, unknown, menu } = result.data;
  const rules = { machines: machine, groups: group, unknown: unknown?.gets, menu };
  if (!Buffer.from(encodeRules(rules)).equals(bytes)) throw new Malformed(FORMAT, 'written in another way');
  return rules;
}
