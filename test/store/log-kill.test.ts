import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { setTimeout as passed } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { auditLog } from '../../src/store/log-audit.ts';
import { readLogEntries } from '../../src/store/log-proof.ts';
import { defaultPolicy } from '../../src/trust/policy.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';
import { makeLogKey, newState, record } from './logs.ts';

const CHILD = fileURLToPath(new URL('log-child.js', import.meta.url));
const RUNS = 20;
const folder = await temporaryFolder();
const keys = join(folder, 'key');
const key = await makeLogKey(keys);
const state = await newState(folder);

const children = new Set<ChildProcess>();
after(() => {
  for (const child of children) child.kill('SIGKILL');
});

/** Lets a child append, and kills it some time after it told of an entry. Answers what it told. */
async function killed(milliseconds: number): Promise<number[]> {
  const child = spawn(process.execPath, [CHILD, state, keys], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.add(child);
  let told = '';
  child.stdout.setEncoding('latin1').on('data', (text: string) => {
    told += text;
  });
  const closed = once(child, 'close');
  await Promise.race([once(child.stdout, 'data'), closed]);
  // The moment is what is random here: anything between two entries.
  await passed(milliseconds);
  child.kill('SIGKILL');
  const [, signal] = await closed;
  children.delete(child);
  assert.equal(signal, 'SIGKILL');
  // A line without its end is a number that may go on.
  return told
    .slice(0, told.lastIndexOf('\n') + 1)
    .trim()
    .split('\n')
    .map(Number);
}

it(`killed ${RUNS} times at any moment, it opens each time with every entry that was told of`, async () => {
  let size = 0;
  for (let run = 0; run < RUNS; run += 1) {
    const told = await killed(Math.random() * 40);
    const before = await readFile(join(state, 'log', 'entries'));
    const seen: string[] = [];
    await readLogEntries(state, ({ bytes }) => void seen.push(Buffer.from(bytes).toString()));
    const last = told.at(-1) ?? -1;
    assert.ok(last >= size, `run ${run} appended`);
    // One more may have become durable before it could be told.
    assert.ok([last + 1, last + 2].includes(seen.length), `${last} was told, ${seen.length} are there`);
    const [entry] = await record(state, 1, key, {}, run);
    assert.equal(entry?.index, seen.length);
    const now = await readFile(join(state, 'log', 'entries'));
    assert.ok(
      now
        .subarray(0, before.lastIndexOf('\n\n') + 2)
        .equals(before.subarray(0, before.lastIndexOf('\n\n') + 2)),
    );
    size = (await auditLog(state, key.certificates, defaultPolicy(NOW))).size;
    assert.equal(size, seen.length + 1);
  }
});
