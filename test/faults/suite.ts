import assert from 'node:assert/strict';
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { IoError } from '../../src/errors/io.ts';
import { type Call, type Plan, type Run, turnsOf, under } from './inject.ts';

/** Every call of every act, each with each of its errors: `npm test -- long`. */
const LONG = process.env.BOOTSEAL_LONG_TESTS !== undefined;

/** At how many of its calls an act is killed, where not at all of them. */
const MOMENTS = 8;

/** Runs until one comes by the call that is to fail. */
const TURNS = 5;

/** Lines of a way that tell it from another. */
const DEPTH = 3;

/** An act on a folder of its own. */
export interface FaultyAct {
  /** A copy of what the act begins with; all that it may change is in there. */
  readonly copy: () => Promise<string>;
  /** The act. What it answers is the same for each run that did the same. */
  readonly run: (folder: string) => Promise<unknown>;
  /** The next run, where that is not quite the same: what is done already may be refused. */
  readonly again?: (folder: string) => Promise<unknown>;
  /** Throws unless the act was done, whole: nothing missing, nothing broken. */
  readonly demandDone: (folder: string) => Promise<void>;
  /** Of how many lines a way consists that counts as one; fewer where an act takes long. */
  readonly depth?: number;
  /** It writes to a folder of the operator's, where what a kill left unfinished may be somebody else's and stays. */
  readonly amongOthers?: true;
  /** Paths that may differ between two runs, or stay: a log that grows, a lock. */
  readonly ignore?: RegExp;
}

/**
 * Registers the tests of acts, by what each is called. Whatever call fails, the answer is the one without the fault,
 * or an `IoError`, and then nothing changed, or the next run does the rest. A process that is killed at any call
 * leaves the old state or the new, and the next run goes on. Reads and writes that do a part of what they were asked
 * for change nothing.
 */
export async function demandFaultless(acts: Readonly<Record<string, FaultyAct>>): Promise<void> {
  const wholes = new Map<string, Tried>();
  for (const [name, act] of Object.entries(acts)) {
    // Twice, since the first run fills what is read once in a process.
    await (await tried(act, { kind: 'none' })).remove();
    wholes.set(name, await tried(act, { kind: 'none' }));
  }
  for (const [name, act] of Object.entries(acts))
    describe(name, () => register(act, wholes.get(name) as Tried));
}

function register(act: FaultyAct, whole: Tried): void {
  const { calls } = whole.run;

  it(`is done without a fault; ${calls.length} calls could have one`, async () => {
    if ('error' in whole.run.outcome) throw whole.run.outcome.error;
    assert.ok(calls.length > 10, 'they were counted');
    await whole.demandDone();
    await whole.remove();
  });

  it('is the same when each read and write does a part of what it was asked for', async () => {
    const short = await tried(act, { kind: 'short' });
    if ('error' in short.run.outcome) throw short.run.outcome.error;
    assert.deepEqual(short.run.outcome, whole.run.outcome);
    await short.demandDone();
    await short.remove();
  });

  for (const { call, plans } of chosen(calls, act)) {
    it(`${call.op} fails in ${call.from}`, async () => {
      for (const plan of plans) await demandAnswered(act, plan, whole.run);
    });
  }

  it('is killed at any of its calls, and the next run does the rest', async () => {
    for (const at of moments(calls, LONG)) {
      const killed = await tried(act, { kind: 'die', at });
      const again = await under({ kind: 'none' }, () => (act.again ?? act.run)(killed.folder));
      const where = `killed at call ${at}, ${calls[at]?.op} in ${calls[at]?.from}`;
      if ('error' in again.outcome) assert.fail(`${where}, the next run: ${again.outcome.error}`);
      await act.demandDone(killed.folder).catch((error) => assert.fail(`${where}: ${error}`));
      if (!act.amongOthers) assert.deepEqual(temporaries(killed.folder), [], where);
      await killed.remove();
    }
  });
}

interface Tried {
  readonly folder: string;
  readonly before: ReadonlyMap<string, string>;
  readonly run: Run<unknown>;
  demandDone(): Promise<void>;
  remove(): Promise<void>;
}

async function tried(act: FaultyAct, plan: Plan): Promise<Tried> {
  const folder = await act.copy();
  const before = seen(folder, act.ignore);
  const run = await under(plan, () => act.run(folder));
  return {
    folder,
    before,
    run,
    demandDone: () => act.demandDone(folder),
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

/** A run that took another turn (two things that a server does at once, in the other order) never came by the call. */
async function triedUntilMet(act: FaultyAct, plan: Plan, whole: Run<unknown>): Promise<Tried> {
  for (let round = 0; round < TURNS; round += 1) {
    const one = await tried(act, plan);
    if (one.run.fault !== undefined) return one;
    assert.deepEqual(one.run.outcome, whole.outcome);
    await one.demandDone();
    await one.remove();
  }
  assert.fail('the fault was never met');
}

async function demandAnswered(act: FaultyAct, plan: Plan, whole: Run<unknown>): Promise<void> {
  const { folder, before, run, demandDone, remove } = await triedUntilMet(act, plan, whole);
  const { fault = '', outcome } = run;
  if ('value' in outcome) {
    assert.deepEqual(outcome, whole.outcome, fault);
    await demandDone().catch((error) => assert.fail(`${fault}, and it said that it was done: ${error}`));
    return remove();
  }
  const { error } = outcome;
  const said = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  assert.ok(error instanceof IoError, `${fault}: ${said}\n${(error as Error).stack}`);
  assert.match(error.message, /^\S[^\n]*\.$/, fault);
  // What takes away what was begun may itself have failed; then nobody says that nothing was left.
  const left = temporaries(folder);
  const cleaning = /^(rm|unlink|rmdir) /.test(fault);
  if (!cleaning) assert.deepEqual(left, [], `${fault}: ${said}`);
  if (left.length > 0) assert.doesNotMatch(said, /nothing of it was left behind/);
  const after = seen(folder, act.ignore);
  try {
    assert.deepEqual(after, before);
  } catch {
    assert.ok(hasChanged(run.calls), `${fault} came before anything was put in place, and yet: ${said}`);
    const again = await under({ kind: 'none' }, () => (act.again ?? act.run)(folder));
    if ('error' in again.outcome) assert.fail(`${fault}: ${said}; the next run: ${again.outcome.error}`);
    await demandDone();
    assert.deepEqual(temporaries(folder), [], fault);
  }
  return remove();
}

/** Calls that put something in its place. */
const PLACING =
  /^(rename|link|symlink|mkdir|unlink|rm|rmdir|chmod|copyFile|handle\.write|handle\.appendFile|handle\.truncate)/;

function hasChanged(calls: readonly Call[]): boolean {
  return calls.some(({ op }) => PLACING.test(op));
}

/**
 * Which calls shall fail. All of them with each of their errors; or one of the calls that one line of code makes on
 * one way, with one of its errors.
 */
function chosen(calls: readonly Call[], { depth = DEPTH }: FaultyAct): { call: Call; plans: Plan[] }[] {
  const places = new Map<string, { call: Call; at: number[] }>();
  for (const [at, call] of calls.entries()) {
    const key = `${call.op} ${call.from.split(' < ').slice(0, depth).join()}`;
    const place = places.get(key) ?? { call, at: [] };
    place.at.push(at);
    places.set(key, place);
  }
  return [...places.values()].map(({ call, at }, n) => {
    // Not always the first: what stands already then differs.
    const one = at[n % at.length] ?? 0;
    const plans = (LONG ? at : [one]).flatMap((which) => {
      const turns = LONG ? [...Array(turnsOf(call)).keys()] : [n];
      return turns.map((turn): Plan => ({ kind: 'fail', at: which, turn }));
    });
    return { call, plans };
  });
}

/** At each call that changes something, and after it; all of them where there is time. */
function moments(calls: readonly Call[], all: boolean): number[] {
  const changing = [...calls.keys()].filter((at) =>
    [at - 1, at].some((one) => PLACING.test(calls[one]?.op ?? '') || calls[one]?.op === 'handle.sync'),
  );
  if (all) return [...calls.keys()];
  const every = Math.max(1, Math.ceil(changing.length / MOMENTS));
  return changing.filter((_, index) => index % every === 0);
}

function temporaries(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) =>
    /(^|\/)\.bootseal-[^/]*\.tmp$/.test(name),
  );
}

/** Every file, folder and link, and what it is. */
function seen(folder: string, ignore: RegExp | undefined): ReadonlyMap<string, string> {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort();
  return new Map(
    names
      .filter((name) => !ignore?.test(name))
      .map((name) => {
        const path = join(folder, name);
        const { mode, ino } = lstatSync(path);
        const facts = lstatSync(path);
        const content = facts.isSymbolicLink()
          ? readlinkSync(path)
          : facts.isFile()
            ? `${ino} ${readFileSync(path).toString('base64')}`
            : '';
        return [name, `${mode.toString(8)} ${content}`];
      }),
  );
}
