import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

/** docs/house.md: every import goes down, and rooms of one floor do not know each other. */
const FLOORS: Readonly<Record<string, number>> = {
  errors: 0,
  formats: 1,
  files: 2,
  release: 3,
  scripts: 3,
  trust: 4,
  keyrings: 5,
  signing: 5,
  build: 5,
  emulator: 5,
  store: 5,
  machines: 5,
  serve: 6,
  web: 6,
  conformance: 7,
  boots: 7,
  publish: 8,
  mirrors: 9,
  resigning: 9,
  server: 10,
  keyholder: 10,
  operations: 11,
  cli: 12,
};
/** The package's entry stands beside the command line: above all that it names. */
const ENTRY = 'index.ts';
/** What a process that serves may not be able to reach, by whatever way (DESIGN, rule 3). */
const NEVER_SERVED = ['signing', 'build', 'publish', 'conformance', 'mirrors', 'resigning', 'keyholder'];
/** How a keyholder is asked, which is all that a serving process may know of one. */
const ASKING = ['accounts', 'client', 'line', 'protocol', 'socket-place'].map(
  (name) => `keyholder/${name}.ts`,
);
const SERVING_ENTRY = 'server/serve.ts';

const src = resolve(fileURLToPath(new URL('.', import.meta.url)), '../../src');
const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
const texts = new Map(files.map((file) => [file, readFileSync(join(src, file), 'utf8')]));

/** Specifiers of static imports, re-exports and dynamic imports. */
function specifiers(text: string): string[] {
  return [...text.matchAll(/(?:\bfrom\s+|\bimport\s*\(?\s*)'([^']+)'/g)].map((match) => match[1] ?? '');
}

const imports = new Map(
  files.map((file) => [
    file,
    specifiers(texts.get(file) ?? '')
      .filter((specifier) => specifier.startsWith('.'))
      .map((specifier) => relative(src, resolve(src, dirname(file), specifier))),
  ]),
);

function roomOf(file: string): string {
  return file.split('/')[0] ?? '';
}

/** The way by which an import leads from one file to each that it reaches. */
function reached(entry: string): ReadonlyMap<string, readonly string[]> {
  const ways = new Map<string, readonly string[]>([[entry, [entry]]]);
  for (const [file, way] of ways) {
    for (const next of imports.get(file) ?? []) if (!ways.has(next)) ways.set(next, [...way, next]);
  }
  return ways;
}

describe('floors', () => {
  it('every room of src has a floor', () => {
    const rooms = new Set(files.filter((file) => file !== ENTRY).map(roomOf));
    assert.deepEqual(
      [...rooms].filter((room) => FLOORS[room] === undefined),
      [],
    );
  });

  it('imports go down', () => {
    const edges = [...imports].flatMap(([file, targets]) => targets.map((target) => [file, target] as const));
    assert.ok(edges.length > 1000, 'the import lines were found');
    const wrong = edges.filter(([file, target]) => {
      const [from, to] = [roomOf(file), roomOf(target)];
      if (file === ENTRY || from === to) return false;
      return (FLOORS[to] ?? Number.POSITIVE_INFINITY) >= (FLOORS[from] ?? -1);
    });
    assert.deepEqual(wrong, []);
  });

  it('no file imports itself by way of others', () => {
    const circles = files.filter((file) =>
      (imports.get(file) ?? []).some((next) => next === file || reached(next).has(file)),
    );
    assert.deepEqual(circles, []);
  });

  it('a process that serves reaches nothing that signs, builds or publishes', () => {
    const ways = reached(SERVING_ENTRY);
    assert.ok(ways.size > 100, 'the imports were followed');
    const wrong = [...ways].filter(([file]) => NEVER_SERVED.includes(roomOf(file))).map(([, way]) => way);
    assert.deepEqual(wrong, []);
  });

  it('each command is loaded by itself: serving loads no other', () => {
    const others = [...reached('cli/commands/serve.ts').keys()].filter(
      (file) => file.startsWith('cli/commands/') && file !== 'cli/commands/serve.ts',
    );
    assert.deepEqual(others, []);
    const signing = [...reached('cli/commands/serve.ts')].filter(
      ([file]) => NEVER_SERVED.includes(roomOf(file)) && !ASKING.includes(file),
    );
    assert.deepEqual(signing, []);
  });

  it('formats do no I/O and read no clock', () => {
    const found = files
      .filter((file) => file.startsWith('formats/'))
      .flatMap((file) => {
        const text = texts.get(file) ?? '';
        const outside = specifiers(text).filter((name) =>
          /^node:(fs|net|http|https|dgram|child_process)/.test(name),
        );
        return /\bDate\.now\(|new Date\(\)/.test(text) ? [...outside, `${file}: a clock`] : outside;
      });
    assert.deepEqual(found, []);
  });

  it('only the command line writes to the terminal', () => {
    const found = files
      .filter((file) => !file.startsWith('cli/'))
      .filter((file) =>
        /(?<![.\w])console\.(log|info|warn|error)\(|process\.(stdout|stderr)\b/.test(texts.get(file) ?? ''),
      );
    assert.deepEqual(found, []);
  });

  it('forge never verifies: only signing imports it', () => {
    const found = files
      .filter((file) => roomOf(file) !== 'signing')
      .filter((file) => specifiers(texts.get(file) ?? '').includes('node-forge'));
    assert.deepEqual(found, []);
  });

  it('no barrels, no default exports, nothing that is called "utils"', () => {
    const wrong = files.filter((file) => {
      const text = texts.get(file) ?? '';
      const forwards =
        /^export (\*|\{[^}]*\}) from/m.test(text) && !/^(import|const|function|class)/m.test(text);
      return (
        (file !== ENTRY && forwards) || /^export default/m.test(text) || /utils?\b|helpers?\b/.test(file)
      );
    });
    assert.deepEqual(wrong, []);
  });
});
