import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Told } from '../boots/million.ts';
import type { Part } from '../frame/row.ts';

const run = promisify(execFile);
const MILLION = fileURLToPath(new URL('../boots/million.js', import.meta.url));

/** A million receipts: once, since writing them takes as long as all other parts of this together. */
export const part: Part = {
  name: 'boots',
  rows: [
    {
      name: 'boots/query',
      job: 'a million receipts: the slowest of nine questions about them',
      unit: 's',
      goal: { atMost: 1 },
    },
    { name: 'boots/memory', job: 'memory of the process that holds them', unit: 'MB', goal: { atMost: 268 } },
    { name: 'boots/read', job: 'to read them, as a server does when it starts', unit: 's' },
    { name: 'boots/write', job: 'to write them', unit: '/s' },
  ],
  async run({ folder, quick, say, tell }) {
    const boots = quick ? 10_000 : 1_000_000;
    say(`writes and reads ${boots} receipts`);
    const { stdout } = await run(process.execPath, [
      '--expose-gc',
      MILLION,
      join(folder, 'receipts'),
      String(boots),
    ]);
    const { write, read, queries, memory } = JSON.parse(stdout) as Told;
    const [[slowest = '', seconds = 0] = []] = Object.entries(queries).sort((a, b) => b[1] - a[1]);
    tell('boots/query', { values: [seconds], ours: slowest });
    tell('boots/memory', { values: [memory] });
    tell('boots/read', { values: [read] });
    tell('boots/write', { values: [boots / write] });
  },
};
