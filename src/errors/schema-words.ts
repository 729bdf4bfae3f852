import type { z } from 'zod';

/** What is wrong with a value: where, as keys from the top, and why, as the end of a sentence without its stop. */
export interface Mistake {
  readonly path: readonly PropertyKey[];
  readonly why: string;
  /** Keys that nobody knows, where that is what is wrong. */
  readonly unknown: readonly string[];
}

/**
 * Given to a schema that parses what somebody wrote: what it finds is said in our words, and never in those of the library.
 * A sentence that a schema has of its own stays.
 */
export const OUR_WORDS: z.core.ParseContext<z.core.$ZodIssue> = { error: (issue) => wordsOf(issue) };

/** The first thing that a schema found, which is what whoever wrote it mends first. */
export function firstMistake(error: z.ZodError | undefined): Mistake {
  const issue = error?.issues[0];
  return issue ? mistakeOf(issue, []) : { path: [], why: 'it has another form', unknown: [] };
}

/** The same in words: `tls.port: is no whole number`. */
export function mistakeInWords(error: z.ZodError | undefined): string {
  const { path, why } = firstMistake(error);
  return path.length === 0 ? why : `${path.map(String).join('.')}: ${why}`;
}

function mistakeOf(issue: z.core.$ZodIssue, above: readonly PropertyKey[]): Mistake {
  const path = [...above, ...issue.path];
  if (issue.code === 'invalid_union') {
    const inner = nearest(issue.errors);
    if (inner) return mistakeOf(inner, path);
  }
  const unknown = issue.code === 'unrecognized_keys' ? issue.keys : [];
  return { path, why: issue.message.replace(/\.$/, ''), unknown };
}

/** Of several forms, the one that was meant: it was read farthest, or is of the kind that was written. */
function nearest(forms: readonly (readonly z.core.$ZodIssue[])[]): z.core.$ZodIssue | undefined {
  const firsts = forms.flatMap(([issue]) => (issue ? [issue] : []));
  const deepest = Math.max(0, ...firsts.map(({ path }) => path.length));
  const farthest = firsts.filter(({ path }) => path.length === deepest);
  const ofKind = farthest.filter(({ code }) => code !== 'invalid_type' && code !== 'invalid_value');
  if (ofKind.length > 0) return ofKind[0];
  // Where all stop at once, none of them is what was meant more than another.
  return deepest > 0 ? farthest[0] : undefined;
}

/** Kinds of values, as whoever writes a file calls them. */
const KINDS: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'number',
  int: 'whole number',
  bigint: 'whole number',
  nan: 'number',
  array: 'list',
  tuple: 'list',
  object: 'table of keys',
  record: 'table of keys',
  date: 'time',
  undefined: 'value at all',
};

const FORMATS: Readonly<Record<string, string>> = {
  datetime: 'is no time such as 2026-11-01T00:00:00Z',
  uuid: 'is no UUID',
  url: 'is no URL',
  ipv4: 'is no IPv4 address',
  ipv6: 'is no IPv6 address',
  email: 'is no address for mail',
};

function wordsOf(issue: z.core.$ZodRawIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      if (issue.input === undefined) return 'is missing';
      if (issue.expected === 'boolean') return 'is neither true nor false';
      return `is no ${KINDS[issue.expected] ?? issue.expected}`;
    case 'invalid_value':
      return issue.values.length === 1
        ? `is not ${told(issue.values[0])}`
        : `is none of ${issue.values.map(told).join(', ')}`;
    case 'unrecognized_keys':
      return `${issue.keys.map(told).join(', ')} ${issue.keys.length === 1 ? 'is no key that is known' : 'are no keys that are known'}`;
    case 'too_small':
      return tooSmall(issue);
    case 'too_big':
      return tooBig(issue);
    case 'not_multiple_of':
      return `is no multiple of ${issue.divisor}`;
    case 'invalid_format':
      return FORMATS[issue.format] ?? 'is not written as it has to be';
    case 'invalid_key':
      return 'has a key that cannot be one';
    case 'invalid_element':
      return 'holds something that cannot be meant';
    case 'invalid_union':
      return 'has none of the forms that are known';
    default:
      return 'cannot be meant';
  }
}

function tooSmall({ origin, minimum, inclusive }: z.core.$ZodRawIssue<z.core.$ZodIssueTooSmall>): string {
  if (origin === 'string') return minimum === 1 ? 'is empty' : `has fewer than ${minimum} characters`;
  if (origin === 'array' || origin === 'set')
    return minimum === 1 ? 'is empty' : `has fewer than ${minimum} entries`;
  return inclusive === false ? `is not above ${minimum}` : `is below ${minimum}`;
}

function tooBig({ origin, maximum, inclusive }: z.core.$ZodRawIssue<z.core.$ZodIssueTooBig>): string {
  if (origin === 'string') return `has more than ${maximum} characters`;
  if (origin === 'array' || origin === 'set') return `has more than ${maximum} entries`;
  return inclusive === false ? `is not below ${maximum}` : `is above ${maximum}`;
}

/** Of what somebody wrote, no character is a command to a terminal. */
function told(value: unknown): string {
  const text = JSON.stringify(typeof value === 'bigint' ? String(value) : value) ?? 'nothing';
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}
