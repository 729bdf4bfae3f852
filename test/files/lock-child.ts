import { dirname } from 'node:path';
import { takeLock } from '../../src/files/lock.ts';

/** Takes the lock `PATH`, says `mine` or why not, and keeps it until it is killed. */
const [path = ''] = process.argv.slice(2);
try {
  await takeLock(path, dirname(path));
  // Run with --expose-gc: what is not kept is closed now.
  globalThis.gc?.();
  process.stdout.write('mine\n');
} catch (error) {
  process.stdout.write(`${(error as Error).message}\n`);
}
process.stdin.resume();
