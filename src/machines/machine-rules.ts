import { z } from 'zod';
import { claimedMac, claimedUuid } from '../formats/net/machine-claims.ts';
import { isChannelName, isReleaseId } from '../formats/records/safe-path.ts';
import { isLabel, MAX_LABEL } from '../scripts/template.ts';
import { ASSIGNMENT, type Assignment } from './assignment.ts';

/*
 * What an operator writes down about machines: who they are, what they get. TOML, in as many files as he likes.
 *
 *     [[machine]]
 *     name = "reading-room-7"
 *     mac = "52:54:00:12:34:56"
 *     labels = ["reading-room"]
 *
 *     [[group]]
 *     name = "reading room"
 *     labels = "reading-room"
 *     gets = { channel = "stable", words = ["hostname=reader"] }
 *
 *     [unknown]
 *     gets = { boot = "hold" }
 */

const MAC = z
  .string()
  .transform((text, context) => orIssue(claimedMac(text), context, `${text} is no MAC address`));
const UUID = z
  .string()
  .transform((text, context) => orIssue(claimedUuid(text), context, `${text} is no UUID of a machine`));
/** With `*` for any text: `52:54:00:*`. */
const MAC_PATTERN = z
  .string()
  .toLowerCase()
  .transform((text) => text.replaceAll('-', ':'))
  .refine((text) => isMacPattern(text), 'is neither a MAC address nor the beginning of one and a *');
const TEXT = z.string().regex(/^[\x20-\x7e]{1,64}$/, 'is not 1 to 64 characters of ASCII');
/** What a machine is called, and a label. */
export const NAME = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, 'is no name: letters, digits, ._-');
const ARCH = z.string().regex(/^[A-Za-z0-9_.-]{1,64}$/, 'is no architecture, as uname -m says it');
const FIRMWARE = z.enum(['bios', 'efi']);

function listOf<T extends z.ZodType>(one: T) {
  return z.preprocess(
    (value) => (value === undefined || Array.isArray(value) ? value : [value]),
    z.array(one).min(1).max(100_000),
  );
}

/** A machine that is known, by at least one of address, UUID and serial number. */
const MACHINE = z
  .strictObject({
    name: NAME,
    mac: listOf(MAC).optional(),
    uuid: UUID.optional(),
    serial: TEXT.optional(),
    asset: TEXT.optional(),
    manufacturer: TEXT.optional(),
    product: TEXT.optional(),
    arch: ARCH.optional(),
    firmware: FIRMWARE.optional(),
    labels: listOf(NAME).optional(),
    /** What it gets, whatever groups it is in. */
    gets: ASSIGNMENT.optional(),
  })
  .refine(
    ({ mac, uuid, serial }) => mac ?? uuid ?? serial,
    'has none of mac, uuid and serial: nothing would find it',
  );

/** All of what it names must fit; of a list, one. One that names nothing fits every machine. */
const GROUP = z.strictObject({
  name: TEXT,
  machines: listOf(NAME).optional(),
  labels: listOf(NAME).optional(),
  mac: listOf(MAC_PATTERN).optional(),
  uuid: listOf(UUID).optional(),
  serial: listOf(TEXT).optional(),
  asset: listOf(TEXT).optional(),
  manufacturer: listOf(TEXT).optional(),
  product: listOf(TEXT).optional(),
  arch: listOf(ARCH).optional(),
  firmware: listOf(FIRMWARE).optional(),
  gets: ASSIGNMENT,
});

const LABEL = z
  .string()
  .refine(
    isLabel,
    `cannot stand in a menu: at most ${MAX_LABEL} letters, digits, single blanks and ._:,()+/@=-`,
  );
/** A channel, or a release as NAME/VERSION, and what the menu calls it. */
const ENTRY = z.preprocess(
  (value) => (typeof value === 'string' ? { name: value } : value),
  z.strictObject({
    name: z
      .string()
      .refine((text) => isChannelName(text) || isReleaseId(text), 'is no channel and no NAME/VERSION'),
    label: LABEL.optional(),
  }),
);

/** What a menu is called that nobody gave a title. */
export const MENU_TITLE = 'Choose what this machine starts';

const MENU = z
  .strictObject({
    title: LABEL.default(MENU_TITLE),
    /** Default: every channel. */
    entries: z.array(ENTRY).min(1).max(16).optional(),
    /** The name of one of the entries, or `local`; default: the first. */
    default: z.string().optional(),
    /** Seconds until the default is taken. */
    timeout: z.int().min(1).max(3600).default(30),
  })
  .refine(
    ({ entries, default: chosen }) =>
      chosen === undefined || chosen === 'local' || !entries || entries.some(({ name }) => name === chosen),
    { path: ['default'], message: 'is none of the entries, and not local' },
  );

/** One file. */
export const MACHINE_FILE = z.strictObject({
  machine: z.array(MACHINE).default([]),
  group: z.array(GROUP).default([]),
  unknown: z.strictObject({ gets: ASSIGNMENT }).optional(),
  menu: MENU.optional(),
});

export type KnownMachine = z.infer<typeof MACHINE>;
export type MachineGroup = z.infer<typeof GROUP>;
export type MenuRules = z.infer<typeof MENU>;

/** All files of a folder. */
export interface MachineRules {
  readonly machines: readonly KnownMachine[];
  /** In order: the first that fits a machine counts. */
  readonly groups: readonly MachineGroup[];
  /** What a machine gets that no group fits; undefined: the release of the channel. */
  readonly unknown: Assignment | undefined;
  readonly menu: MenuRules | undefined;
}

export const NO_RULES: MachineRules = { machines: [], groups: [], unknown: undefined, menu: undefined };

/** Whether somebody wrote anything at all. */
export function hasRules({ machines, groups, unknown }: MachineRules): boolean {
  return machines.length + groups.length > 0 || unknown !== undefined;
}

function isMacPattern(text: string): boolean {
  return /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(text) || /^([0-9a-f]{2}:){0,5}\*$/.test(text);
}

function orIssue<T>(value: T | undefined, context: z.RefinementCtx, message: string): T {
  if (value !== undefined) return value;
  context.addIssue({ code: 'custom', message });
  return z.NEVER;
}
