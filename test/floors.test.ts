import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

/** docs/house.md: each floor imports only floors below it, and folders of one floor do not know each other. */
const FLOORS: Readonly<Record<string, number>> = {
  formats: 0,
  release: 1,
  trust: 2,
  signing: 2,
  store: 3,
  boot: 3,
  client: 3,
  serve: 4,
  web: 4,
  verbs: 5,
  cli: 6,
};
/** The package's entry stands beside the command line: above the verbs that it names. */
const ENTRY = 'index.ts';

const src = resolve(fileURLToPath(new URL('.', import.meta.url)), '../../src');
const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));

/** Specifiers of static imports, re-exports and dynamic imports. */
function imports(text: string): string[] {
  return [...text.matchAll(/(?:\bfrom\s+|\bimport\s*\(?\s*)'([^']+)'/g)].map((match) => match[1] ?? '');
}

interface Edge {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

const edges: Edge[] = files
  .filter((file) => file !== ENTRY)
  .flatMap((file) =>
    imports(readFileSync(join(src, file), 'utf8'))
      .filter((specifier) => specifier.startsWith('.'))
      .map((specifier) => {
        const target = relative(src, resolve(src, dirname(file), specifier));
        return { file, from: file.split('/')[0] ?? '', to: target.split('/')[0] ?? '' };
      }),
  );

describe('floors', () => {
  it('every folder of src has a floor', () => {
    const folders = new Set(files.filter((file) => file !== ENTRY).map((file) => file.split('/')[0]));
    assert.deepEqual(
      [...folders].filter((folder) => FLOORS[folder ?? ''] === undefined),
      [],
    );
  });

  it('imports go down', () => {
    assert.ok(edges.length > 300, 'the import lines were found');
    const wrong = edges.filter(({ from, to }) => {
      if (from === to) return false;
      return (FLOORS[to] ?? Number.POSITIVE_INFINITY) >= (FLOORS[from] ?? -1);
    });
    assert.deepEqual(wrong, []);
  });

  it('what serves holds no signing code', () => {
    assert.deepEqual(
      edges.filter(({ from, to }) => from === 'serve' && to === 'signing'),
      [],
    );
  });

  it('formats do no I/O and read no clock', () => {
    const found = files
      .filter((file) => file.startsWith('formats/'))
      .flatMap((file) => {
        const text = readFileSync(join(src, file), 'utf8');
        const outside = imports(text).filter((name) =>
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
        /(?<![.\w])console\.(log|info|warn|error)\(|process\.(stdout|stderr)\b/.test(
          readFileSync(join(src, file), 'utf8'),
        ),
      );
    assert.deepEqual(found, []);
  });

  it('forge never verifies: only signing imports it', () => {
    const found = files
      .filter((file) => !file.startsWith('signing/'))
      .filter((file) => imports(readFileSync(join(src, file), 'utf8')).includes('node-forge'));
    assert.deepEqual(found, []);
  });
});
