import { compare } from '../frame/compare.ts';
import { timedRun } from '../frame/process.ts';
import { BOOTSEAL, bootseal } from '../frame/product.ts';
import type { Part, Row } from '../frame/row.ts';

/** What somebody types to be told something. A process of Node's that does nothing is the least that it can take. */
const ASKED: Readonly<Record<string, readonly string[]>> = {
  'start-up/version': ['--version'],
  'start-up/help': ['--help'],
  'start-up/seal-help': ['seal', '--help'],
};

export const part: Part = {
  name: 'start-up',
  rows: Object.entries(ASKED).map(
    ([name, words]): Row => ({
      name,
      job: `\`bootseal ${words.join(' ')}\``,
      against: 'node -e 0',
      unit: 'ms',
      goal: { atMost: 120 },
    }),
  ),
  async run({ quick, rounds, say, tell }) {
    for (const [row, words] of Object.entries(ASKED)) {
      say(words.join(' '));
      const compared = await compare(
        { ours: () => bootseal(...words), node: () => timedRun(BOOTSEAL[0], ['-e', '0']) },
        // Short ones: what the machine does beside them weighs more.
        { rounds: quick ? 1 : rounds * 3 },
      );
      const shown = (side: 'ours' | 'node') => `${Math.round(compared.seconds(side) * 1000)} ms`;
      const values = compared.samples.ours.map(({ seconds }) => seconds * 1000);
      tell(row, { values, ours: shown('ours'), peer: shown('node') });
    }
  },
};
