import type { BatchScript, ScriptBatch } from '../formats/records/script-batch.ts';
import type { Assignment } from './assignment.ts';
import type { MachineRules } from './machine-rules.ts';
import { Matcher } from './match.ts';
import { ScriptPlan } from './script-plan.ts';

/** What a channel's snapshot says of machines: rules, and the scripts that were signed by them. */
export class ChannelScripts {
  readonly channel: string;
  /** When its rules were signed first, milliseconds since 1970: of several channels the newest count. */
  readonly since: number;
  readonly matcher: Matcher;
  readonly plan: ScriptPlan;
  readonly scripts: readonly BatchScript[];
  /** By key: what the script is for. */
  readonly #boots = new Map<string, Assignment['boot']>();
  readonly #byKey = new Map<string, BatchScript[]>();

  constructor({ channel, since, scripts }: ScriptBatch, rules: MachineRules) {
    this.channel = channel;
    this.since = since;
    this.matcher = new Matcher(rules);
    this.plan = new ScriptPlan(rules);
    this.scripts = scripts;
    for (const { key, assignment } of this.plan.scripts) this.#boots.set(key, assignment.boot);
    for (const script of scripts) {
      const key = `${script.key} ${script.loader}`;
      this.#byKey.set(key, [...(this.#byKey.get(key) ?? []), script]);
    }
  }

  /** What a script is for; undefined for one that the rules do not want. */
  bootsOf({ key }: BatchScript): Assignment['boot'] | undefined {
    return this.#boots.get(key);
  }

  /**
   * @param arch of the machine; undefined: it did not say.
   * @param usual what counts then.
   */
  find(
    key: string,
    loader: 'ipxe' | 'grub',
    arch: string | undefined,
    usual: string | undefined,
  ): BatchScript | undefined {
    const all = this.#byKey.get(`${key} ${loader}`) ?? [];
    const of = (wanted: string | undefined) =>
      all.find((one) => one.arch === undefined || one.arch === wanted);
    return arch === undefined ? (of(usual) ?? all[0]) : of(arch);
  }
}
