import { parseMachineRules } from '../../src/machines/machine-files.ts';
import { decodeRules, encodeRules } from '../../src/machines/machine-record.ts';
import { Matcher } from '../../src/machines/match.ts';
import { ScriptPlan } from '../../src/machines/script-plan.ts';
import { seconds } from '../frame/compare.ts';
import type { Part } from '../frame/row.ts';
import { machinesText, macOf } from '../frame/stored.ts';

/** What a server needs to know many machines in 400 groups, and to tell what one of them gets. */
export const part: Part = {
  name: 'machines',
  rows: [
    {
      name: 'machines/decide',
      job: 'what one of 100,000 machines in 400 groups gets',
      unit: 'µs',
      goal: { atMost: 20 },
    },
    {
      name: 'machines/known',
      job: 'to know them: signed rules read, tables and scripts planned',
      unit: 'ms',
    },
  ],
  async run({ quick, rounds, say, tell }) {
    const [machines, groups, asked] = quick ? [1000, 40, 2000] : [100_000, 400, 200_000];
    say(`writes down ${machines} machines`);
    const bytes = encodeRules(
      parseMachineRules([{ path: 'all.toml', text: machinesText(machines, groups) }]),
    );
    const known: number[] = [];
    let rules = decodeRules(bytes);
    let matcher = new Matcher(rules);
    let plan = new ScriptPlan(rules);
    say('reads them');
    for (let round = 0; round < rounds; round += 1) {
      const taken = await seconds(async () => {
        rules = decodeRules(bytes);
        matcher = new Matcher(rules);
        plan = new ScriptPlan(rules);
      });
      known.push(taken * 1000);
    }
    tell('machines/known', { values: known });
    say('asks');
    const macs = Array.from({ length: asked }, (_, at) => macOf((at * 7919) % machines));
    const decide = (mac: string) => {
      const machine = { loader: 'ipxe', mac } as const;
      const match = matcher.find(machine);
      if (match.known === undefined) throw new Error('a machine was not found');
      plan.scriptOf(machine, match);
    };
    const taken: number[] = [];
    for (let round = -1; round < rounds; round += 1) {
      const begun = performance.now();
      for (const mac of macs) decide(mac);
      if (round >= 0) taken.push(((performance.now() - begun) / asked) * 1000);
    }
    tell('machines/decide', { values: taken });
  },
};
