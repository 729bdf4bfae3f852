import { parseMachineRules } from '../src/machines/machine-files.ts';
import { decodeRules, encodeRules } from '../src/machines/machine-record.ts';
import { Matcher } from '../src/machines/match.ts';
import { ScriptPlan } from '../src/machines/script-plan.ts';

/**
 * How long a server needs to know 100,000 machines in 400 groups, and to tell what one of them gets: beside looking the
 * address up in a table, which whoever does it must do.
 *
 *     node dist/bench/machines.js
 */
const MACHINES = 100_000;
const GROUPS = 400;
const ASKED = 200_000;

const mac = (at: number) => {
  const hex = at.toString(16).padStart(8, '0');
  return `52:54:${hex.slice(0, 2)}:${hex.slice(2, 4)}:${hex.slice(4, 6)}:${hex.slice(6, 8)}`;
};
const machine = (at: number) =>
  `[[machine]]\nname = "m${at}"\nmac = "${mac(at)}"\nlabels = "g${at % GROUPS}"\n`;
const group = (at: number) =>
  `[[group]]\nname = "g${at}"\nlabels = "g${at}"\ngets = { channel = "stable", words = ["hostname=g${at}"] }\n`;
const text = [
  ...Array.from({ length: MACHINES }, (_, at) => machine(at)),
  ...Array.from({ length: GROUPS }, (_, at) => group(at)),
].join('\n');

function timed<T>(what: string, work: () => T): T {
  const begun = performance.now();
  const result = work();
  console.log(`${what.padEnd(44)} ${(performance.now() - begun).toFixed(0).padStart(7)} ms`);
  return result;
}

const rules = timed('read the files', () => parseMachineRules([{ path: 'all.toml', text }]));
const bytes = timed('write them as they are signed', () => encodeRules(rules));
const signed = timed('read that', () => decodeRules(bytes));
const matcher = timed('make the tables', () => new Matcher(signed));
const plan = timed('plan the scripts', () => new ScriptPlan(signed));
console.log(`${plan.scripts.length} scripts`);

const macs = Array.from({ length: ASKED }, (_, at) => mac((at * 7919) % MACHINES));
const table = new Map(rules.machines.map((one) => [one.mac?.[0] ?? '', one]));
const each = (work: (mac: string) => unknown): number => {
  for (const one of macs.slice(0, 10_000)) work(one);
  const begun = performance.now();
  let found = 0;
  for (const one of macs) if (work(one)) found += 1;
  if (found !== ASKED) throw new Error('a machine was not found');
  return ((performance.now() - begun) / ASKED) * 1000;
};
const lookUp = each((one) => table.get(one));
const match = each((one) =>
  plan.scriptOf({ loader: 'ipxe', mac: one }, matcher.find({ loader: 'ipxe', mac: one })),
);
console.log(`a look in a table: ${lookUp.toFixed(2)} µs; what a machine gets: ${match.toFixed(2)} µs`);
