import { parseMachineRules } from '../../src/machines/machine-files.ts';
import { decodeRules, encodeRules } from '../../src/machines/machine-record.ts';
import { Matcher } from '../../src/machines/match.ts';
import { ScriptPlan } from '../../src/machines/script-plan.ts';
import type { Growth } from '../frame/parts.ts';
import { machinesText, macOf } from '../frame/stored.ts';

const MACHINES = [1, 10, 100, 1000, 10_000, 100_000];
const GROUPS = 400;
const ASKED = 100_000;

/** What a server does for machines that are written down: once, to know them, and then for each that asks. */
export const growth: Growth = {
  name: 'machines',
  async run({ quick, say }) {
    const know: [number, number][] = [];
    const decide: [number, number][] = [];
    for (const [index, machines] of [10, ...(quick ? [1, 10] : MACHINES)].entries()) {
      // The first is there to get warm.
      const counts = index > 0;
      say(`${machines} machines`);
      const text = machinesText(machines, Math.min(GROUPS, machines));
      const bytes = encodeRules(parseMachineRules([{ path: 'all.toml', text }]));
      const begun = performance.now();
      const rules = decodeRules(bytes);
      const matcher = new Matcher(rules);
      const plan = new ScriptPlan(rules);
      if (counts) know.push([machines, (performance.now() - begun) * 1000]);
      const one = (at: number) => {
        const machine = { loader: 'ipxe', mac: macOf((at * 7919) % machines) } as const;
        plan.scriptOf(machine, matcher.find(machine));
      };
      // Once to get warm, then for the clock.
      for (const round of [0, 1]) {
        const since = performance.now();
        for (let at = 0; at < ASKED; at += 1) one(at);
        if (counts && round === 1) decide.push([machines, ((performance.now() - since) / ASKED) * 1000]);
      }
    }
    return {
      name: 'machines',
      title: 'Knowing machines, and deciding for one of them',
      across: 'machines written down',
      up: 'microseconds',
      series: [
        { name: 'to know all', points: know },
        { name: 'to decide one', points: decide },
      ],
    };
  },
};
