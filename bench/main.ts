import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { installPrerequisites, type Prerequisite } from '../lab/prerequisites.ts';
import { wantsColour } from '../src/cli/table.ts';
import { replaceBetween } from './frame/between.ts';
import { curveSvg } from './frame/curve.ts';
import { describeMachine, machineFacts } from './frame/machine.ts';
import { allGrowth, allParts } from './frame/parts.ts';
import { type Recorded, readRecord, regressions } from './frame/record.ts';
import { type Measured, type Part, type Result, resultOf } from './frame/row.ts';
import { markdownLimits, markdownTable, terminalTable } from './frame/table.ts';

const USAGE = `npm run bench -- [PART…] [options]

Measures what docs/benchmarks.md shows, beside other programs in the same run. Without PART: all of it, which takes an
hour on two cores that have nothing else to do. As root it installs the Debian packages that are missing.

  --list            the parts and their rows
  --rounds N        rounds of each comparison (5)
  --quick           whether it works: small sizes, one round; no figure of it means anything
  --json FILE       all results and the machine, for programs
  --record          keep this run as bench/recorded.json, and write the tables of docs/benchmarks.md and
                    README.md anew
  --check           compare with bench/recorded.json; 1 where a row became worse than noise explains
  --growth          how costs grow, instead of the table: writes docs/images/bench-*.svg
`;

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    list: { type: 'boolean' },
    rounds: { type: 'string', default: '5' },
    quick: { type: 'boolean', default: false },
    json: { type: 'string' },
    record: { type: 'boolean' },
    check: { type: 'boolean' },
    growth: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  },
});
/** Of the checkout, not of what was built. */
const place = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const RECORD = place('bench/recorded.json');
const DOCS = place('docs/benchmarks.md');
const README = place('README.md');

if (flags.help) process.stdout.write(USAGE);
else if (flags.growth) await grow();
else await main();

async function main(): Promise<void> {
  const parts = chosen(await allParts());
  if (flags.list) {
    for (const { name, rows } of parts) {
      console.log(name);
      for (const row of rows)
        console.log(`  ${row.name}: ${row.job}${row.against ? `, against ${row.against}` : ''}`);
    }
    return;
  }
  await prepare(parts);
  const machine = machineFacts();
  console.log(describeMachine(machine));
  const results: Result[] = [];
  for (const part of parts) results.push(...(await runPart(part)));
  console.log(terminalTable(results, wantsColour(process.stdout)));
  const run: Recorded = { machine, measured: new Date().toISOString().slice(0, 10), rows: results };
  const text = `${JSON.stringify(run, undefined, 1)}\n`;
  if (flags.json !== undefined) await writeFile(flags.json, text);
  const before = await readRecord(RECORD);
  if (flags.check) {
    if (!before) throw new Error('bench/recorded.json is not there: --record makes it.');
    const found = regressions(run, before);
    for (const { says } of found) console.log(`worse: ${says}`);
    console.log(found.length === 0 ? 'No row is worse than on record.' : `${found.length} rows are worse.`);
    if (found.length > 0) process.exitCode = 1;
  }
  if (flags.record) await record(run, before);
  if (results.some(({ measured }) => !measured)) process.exitCode = 1;
}

function chosen<T extends { readonly name: string }>(all: readonly T[]): readonly T[] {
  const unknown = positionals.filter((word) => !all.some(({ name }) => name === word));
  if (unknown.length > 0) throw new Error(`There is no ${unknown.join(', ')}; --list shows what there is.`);
  return positionals.length === 0 ? all : all.filter(({ name }) => positionals.includes(name));
}

function prepare(parts: readonly { readonly packages?: readonly Prerequisite[] }[]): Promise<void> {
  return installPrerequisites(parts.flatMap(({ packages = [] }) => packages));
}

function say(name: string): (what: string) => void {
  return (what) => process.stderr.write(`${name}: ${what}\n`);
}

async function withFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'bootseal-bench-'));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A part that fails leaves rows without a figure, and the others are measured all the same. */
async function runPart(part: Part): Promise<readonly Result[]> {
  const told = new Map<string, Measured>();
  const tell = (row: string, measured: Measured) => {
    if (!part.rows.some(({ name }) => name === row)) throw new RangeError(`${part.name} has no row ${row}`);
    told.set(row, measured);
  };
  const { quick } = flags;
  const rounds = quick ? 1 : Number(flags.rounds);
  const environment = { ...process.env };
  try {
    await withFolder((folder) => part.run({ folder, quick, rounds, say: say(part.name), tell }));
  } catch (error) {
    say(part.name)(`failed: ${error instanceof Error ? error.stack : error}`);
  } finally {
    // A part that names an engine of its own, say, names it for itself.
    for (const name of Object.keys(process.env)) if (!(name in environment)) delete process.env[name];
    Object.assign(process.env, environment);
  }
  return part.rows.map((row) => resultOf(row, told.get(row.name)));
}

/** Rows that were not measured now stay as they were on record. */
async function record(run: Recorded, before: Recorded | undefined): Promise<void> {
  const now = new Map(run.rows.map((row) => [row.name, row]));
  const kept = (before?.rows ?? []).filter(({ name }) => !now.has(name));
  // As the parts have them: a row may say "the same" of the one before.
  const order = (await allParts()).flatMap((part) => part.rows.map(({ name }) => name));
  const rows = [...kept, ...run.rows].sort(
    (one, other) => order.indexOf(one.name) - order.indexOf(other.name),
  );
  const whole: Recorded = { ...run, rows };
  await writeFile(RECORD, `${JSON.stringify(whole, undefined, 1)}\n`);
  const older =
    kept.length === 0 ? '' : ` ${kept.length} of the ${rows.length} rows are of runs before that one.`;
  const when = `Measured on ${run.measured}: ${describeMachine(run.machine)}.${older}`;
  await replaceBetween(DOCS, 'table', `${markdownTable(rows)}\n\n${when}`);
  await replaceBetween(DOCS, 'limits', markdownLimits(rows) || 'Every goal is met.');
  const beside = rows.filter(({ against }) => against !== undefined);
  await replaceBetween(README, 'benchmarks', `${markdownTable(beside)}\n\n${when}`);
}

async function grow(): Promise<void> {
  const all = chosen(await allGrowth());
  await prepare(all);
  for (const growth of all) {
    const curve = await withFolder((folder) =>
      growth.run({ folder, quick: flags.quick, say: say(growth.name) }),
    );
    for (const { name, points } of curve.series)
      console.log(`${curve.title}, ${name}: ${points.map(([size, cost]) => `${size} → ${cost}`).join(', ')}`);
    if (flags.quick) continue;
    await mkdir(place('docs/images'), { recursive: true });
    await writeFile(place(`docs/images/bench-${curve.name}.svg`), curveSvg(curve));
  }
}
