import fsPromises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';

/**
 * Signs a store anew in a process of its own: `STATE KEYS ISSUED NOW [STOP]`. With STOP it kills itself without
 * warning at that step: before or after a call that changes a folder. Without, it prints how many there were.
 */
const [state = '', keys = '', issued = '', now = '', stop] = process.argv.slice(2);
let steps = 0;

function step(): void {
  if (String(steps++) === stop) process.kill(process.pid, 'SIGKILL');
}

type Call = (...args: unknown[]) => Promise<unknown>;
const calls = fsPromises as unknown as Record<string, Call>;
for (const name of ['open', 'rename', 'link', 'mkdir', 'rm', 'rmdir', 'symlink', 'writeFile']) {
  const call = calls[name];
  if (!call) throw new Error(name);
  calls[name] = async (...args) => {
    const changes = name !== 'open' || (typeof args[1] === 'string' && args[1].startsWith('w'));
    if (changes) step();
    const result = await call(...args);
    if (changes) step();
    return result;
  };
}
syncBuiltinESMExports();

const { resignStore } = await import('../../src/resigning/store.ts');
const { rows } = await resignStore({
  state,
  keys,
  issued: Number(issued),
  now: Number(now),
  rsaBits: 2048,
});
process.stdout.write(JSON.stringify({ steps, outcomes: rows.map(({ outcome }) => outcome) }));
