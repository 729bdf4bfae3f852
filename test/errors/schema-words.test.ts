import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { z } from 'zod';
import { firstMistake, mistakeInWords, OUR_WORDS } from '../../src/errors/schema-words.ts';

const said = (schema: z.ZodType, value: unknown) => mistakeInWords(schema.safeParse(value, OUR_WORDS).error);

const TABLE = z.strictObject({
  port: z.int().min(1).max(65_535).optional(),
  name: z.string().min(1).max(3).optional(),
  on: z.boolean().optional(),
  list: z.array(z.string()).min(1).max(2).optional(),
  kind: z.enum(['open', 'token']).optional(),
  one: z.literal(1).optional(),
  text: z
    .string()
    .regex(/^[a-z]+$/)
    .optional(),
  own: z
    .string()
    .refine((text) => text === 'x', 'is no x.')
    .optional(),
  bare: z
    .string()
    .refine((text) => text === 'x')
    .optional(),
  time: z.iso.datetime().optional(),
  inner: z.strictObject({ needed: z.string() }).optional(),
  either: z.union([z.literal(false), z.string().refine((text) => text === 'x', 'is no path')]).optional(),
  forms: z.union([z.strictObject({ a: z.string() }), z.strictObject({ b: z.string() })]).optional(),
  tagged: z
    .discriminatedUnion('ask', [
      z.strictObject({ ask: z.literal('renew'), channel: z.string() }),
      z.strictObject({ ask: z.literal('move') }),
    ])
    .optional(),
  record: z.partialRecord(z.enum(['a']), z.string()).optional(),
  step: z.number().multipleOf(4).optional(),
});

describe('what a schema finds is said in our words', () => {
  const cases: readonly (readonly [value: unknown, says: string])[] = [
    [7, 'is no table of keys'],
    [{ prot: 1 }, '"prot" is no key that is known'],
    [{ a: 1, b: 2 }, '"a", "b" are no keys that are known'],
    [{ port: 0 }, 'port: is below 1'],
    [{ port: 65_536 }, 'port: is above 65535'],
    [{ port: 1.5 }, 'port: is no whole number'],
    [{ port: '1' }, 'port: is no number'],
    [{ name: '' }, 'name: is empty'],
    [{ name: 'four' }, 'name: has more than 3 characters'],
    [{ name: null }, 'name: is no text'],
    [{ on: 'yes' }, 'on: is neither true nor false'],
    [{ list: [] }, 'list: is empty'],
    [{ list: ['a', 'b', 'c'] }, 'list: has more than 2 entries'],
    [{ list: ['a', 1] }, 'list.1: is no text'],
    [{ list: 'a' }, 'list: is no list'],
    [{ kind: 'shut' }, 'kind: is none of "open", "token"'],
    [{ one: 2 }, 'one: is not 1'],
    [{ text: 'A' }, 'text: is not written as it has to be'],
    [{ own: 'y' }, 'own: is no x'],
    [{ bare: 'y' }, 'bare: cannot be meant'],
    [{ time: 'noon' }, 'time: is no time such as 2026-11-01T00:00:00Z'],
    [{ inner: {} }, 'inner.needed: is missing'],
    [{ inner: { needed: 'x', 'a\u001b[31m': 1 } }, 'inner: "a\\u001b[31m" is no key that is known'],
    [{ either: 'y' }, 'either: is no path'],
    [{ either: true }, 'either: has none of the forms that are known'],
    [{ forms: { a: 1 } }, 'forms.a: is no text'],
    [{ tagged: { ask: 'renew' } }, 'tagged.channel: is missing'],
    [{ tagged: { ask: 'steal' } }, 'tagged.ask: has none of the forms that are known'],
    [{ record: { b: 'x' } }, 'record: "b" is no key that is known'],
    [{ step: 3 }, 'step: is no multiple of 4'],
  ];
  for (const [value, says] of cases)
    it(says, () => {
      assert.equal(said(TABLE, value), says);
    });

  it('where it is, and keys that nobody knows, are there for who names a line', () => {
    const { error } = TABLE.safeParse({ inner: { needed: 'x', more: 1 } }, OUR_WORDS);
    assert.deepEqual(firstMistake(error), {
      path: ['inner'],
      why: '"more" is no key that is known',
      unknown: ['more'],
    });
  });

  it('something is said even where nothing was found', () => {
    assert.equal(mistakeInWords(undefined), 'it has another form');
  });
});
