import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'smol-toml';
import { z } from 'zod';
import { parseOperatorFile } from '../../src/files/operator-file.ts';
import { CONFIGURATION, DEFAULT_CONFIGURATION, readConfiguration } from '../../src/server/configuration.ts';

const EXAMPLE = fileURLToPath(new URL('../../../packaging/bootseal.toml', import.meta.url));
const text = readFileSync(EXAMPLE, 'utf8');
/** With what is commented out: prose has a blank behind its #, a setting has none. */
const whole = text.replaceAll(/^#(?=[["a-z])/gm, '');

interface JsonSchema {
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly items?: JsonSchema;
  readonly propertyNames?: { readonly enum?: readonly string[] };
}

/** Every key of a schema as a path; of a list of tables, those of its first. */
function keysOf(schema: JsonSchema): string[] {
  const own = Object.entries(schema.properties ?? {}).flatMap(([key, value]) => [
    key,
    ...keysOf(value).map((deeper) => `${key}.${deeper}`),
  ]);
  const items = schema.items ? keysOf(schema.items).map((deeper) => `0.${deeper}`) : [];
  return [...own, ...items, ...(schema.propertyNames?.enum ?? [])];
}

const keys = keysOf(z.toJSONSchema(CONFIGURATION, { io: 'input' }) as JsonSchema);

function holds(value: unknown, path: string): boolean {
  let at = value;
  for (const key of path.split('.')) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, key)) return false;
    at = (at as Record<string, unknown>)[key];
  }
  return true;
}

describe('the example of a configuration', () => {
  it('says what is so without it', async () => {
    assert.deepEqual(await readConfiguration(EXAMPLE), DEFAULT_CONFIGURATION);
  });

  it('is one also where all of it is taken in', () => {
    const configuration = parseOperatorFile(EXAMPLE, whole, CONFIGURATION);
    assert.notDeepEqual(configuration, DEFAULT_CONFIGURATION);
  });

  it('leaves no key out', () => {
    for (const one of ['scrub_hours', 'shares.0.weight', 'proxydhcp.site_port', 'proxydhcp.loaders.http-x64'])
      assert.ok(keys.includes(one), `the schema was read: ${one}`);
    const example = parse(whole);
    assert.deepEqual(
      keys.filter((key) => !holds(example, key)),
      [],
    );
  });

  it('shows defaults as they are, not commented out, and nothing else', () => {
    const example = parse(text);
    const defaults = keys.filter((key) => holds(DEFAULT_CONFIGURATION, key));
    assert.deepEqual(
      keys.filter((key) => holds(example, key)),
      // An empty list of tables can be shown as a comment only.
      defaults.filter((key) => key !== 'shares' && key !== 'mirrors'),
    );
  });
});
