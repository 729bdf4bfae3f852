import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';
import { installPrerequisites } from '../lab/prerequisites.ts';
import { withSharedS3 } from '../lab/s3.ts';

/**
 * All tests: `npm test`. `npm test -- unit` leaves QEMU out, `npm test -- e2e` runs nothing else, `long` runs the full
 * matrices where otherwise a part of them is tried; further words choose files whose path holds one of them.
 */

/** Nothing may hang for ever; no test measures time by this. Milliseconds. */
const HANG = 25 * 60_000;

/** The only tests that may skip: they need loaders that no package brings (docs/testing.md). */
const MAY_SKIP = 'verifying-ipxe.test.js';

const dist = fileURLToPath(new URL('..', import.meta.url));
const words = process.argv.slice(2);
const SUITES = ['unit', 'e2e'];
const suites = words.filter((word) => SUITES.includes(word));
const LONG = 'long';
const filters = words.filter((word) => !SUITES.includes(word) && word !== LONG);
// For the tests to see (test/faults/suite.ts).
if (words.includes(LONG)) process.env.BOOTSEAL_LONG_TESTS = '1';

function testFiles(folder: string): string[] {
  return readdirSync(join(dist, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.js'))
    .map((name) => join(dist, folder, name))
    .filter((path) => filters.length === 0 || filters.some((word) => path.includes(word)))
    .sort();
}

/** Runs `work` with RSA keys that all its test files share (fixtures/ready-keys.ts). */
async function withReadyKeys<T>(work: () => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'bootseal-test-keys-'));
  process.env.BOOTSEAL_READY_KEYS = folder;
  try {
    return await work();
  } finally {
    delete process.env.BOOTSEAL_READY_KEYS;
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Runs files and answers how many tests passed, and why the run is not green, if so. */
async function suite(name: string, files: readonly string[], concurrency: number) {
  console.log(`\n${name}: ${files.length} files`);
  let passed = 0;
  const faults: string[] = [];
  const seconds = new Map<string, number>();
  const stream = run({ files: [...files], concurrency, timeout: HANG });
  stream.on('test:pass', ({ name: test, file = '', nesting, skip, todo, details }) => {
    if (nesting === 0) seconds.set(file, (seconds.get(file) ?? 0) + details.duration_ms / 1000);
    if (details.type === 'suite') return;
    const excused = file.endsWith(MAY_SKIP);
    if (skip === undefined && todo === undefined) passed += 1;
    else if (!excused) faults.push(`skipped: ${test}`);
  });
  stream.on('test:fail', ({ name: test, file = '', details }) => {
    const { failureType, cause } = details.error as Error & { failureType?: string };
    // Of a suite that failed for its tests, those say why.
    if (failureType === 'subtestsFailed') faults.push(`failed: ${test}`);
    else faults.push(`failed: ${test} (${relative(dist, file)})\n${beginningOf(cause ?? details.error)}`);
  });
  const report = stream.compose(new spec());
  report.pipe(process.stdout, { end: false });
  await new Promise((resolve) => report.on('end', resolve));
  return { name, passed, faults, seconds };
}

/** What an error says, shortened: the whole of it is far above, and a log that is cut keeps its end. */
function beginningOf(error: unknown): string {
  const lines = String(error instanceof Error ? error.stack : error).split('\n');
  const shown = lines.length > 24 ? [...lines.slice(0, 16), '…', ...lines.slice(-7)] : lines;
  return shown.map((line) => `      ${line.slice(0, 200)}`).join('\n');
}

/** Where to look first when the whole takes too long. Beside others each takes longer than alone. */
function slowest(seconds: ReadonlyMap<string, number>): string {
  return [...seconds]
    .sort(([, one], [, other]) => other - one)
    .slice(0, 12)
    .map(([file, taken]) => `${relative(dist, file)} ${taken.toFixed(0)} s`)
    .join(', ');
}

const results = [];
if (!suites.includes('e2e') || suites.includes('unit')) {
  await installPrerequisites();
  // The folders with the longest files come last in the alphabet: begun first, they leave no core idle at the end.
  const files = testFiles('test').reverse();
  // One more than there are cores, since some of them always wait for a disk.
  const atOnce = availableParallelism() + 1;
  results.push(
    await withSharedS3(() => withReadyKeys(() => suite('unit, interop and security tests', files, atOnce))),
  );
}
if (!suites.includes('unit') || suites.includes('e2e')) {
  await installPrerequisites();
  // A machine under TCG keeps one core busy; one that refused waits 30 s, as it would for a person.
  results.push(await withSharedS3(() => suite('boots in QEMU', testFiles('e2e'), 4)));
}

console.log('\nran:');
for (const { name, passed, faults, seconds } of results) {
  console.log(`  ${name}: ${passed} passed${faults.length > 0 ? `, ${faults.length} not` : ''}`);
  console.log(`    slowest files: ${slowest(seconds)}`);
  for (const fault of faults) console.log(`    ${fault}`);
}
const total = results.reduce((sum, { passed }) => sum + passed, 0);
if (total === 0) console.log('  no test ran');
process.exitCode = total > 0 && results.every(({ faults }) => faults.length === 0) ? 0 : 1;
