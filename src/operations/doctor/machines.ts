import { join } from 'node:path';
import { Refusal } from '../../errors/refusal.ts';
import type { ChannelScripts } from '../../machines/channel-scripts.ts';
import { newestScripts } from '../../machines/machine-booter.ts';
import { MACHINES, readMachineRules } from '../../machines/machine-files.ts';
import { encodeRules } from '../../machines/machine-record.ts';
import { hasRules } from '../../machines/machine-rules.ts';
import { readChannelScripts } from '../../server/state-scripts.ts';
import { recordsOf } from '../../store/folder-backend.ts';
import { readScript } from '../../store/signed-scripts.ts';
import { machineFilesOf } from '../../store/state-machines.ts';
import { type Finding, Findings } from './finding.ts';
import { withoutStop } from './look.ts';
import type { StateFacts } from './state-facts.ts';

/**
 * Whether what is written about machines is what is signed for them, and whether every script that they would get is
 * there.
 *
 * @throws UsageError for a file of machines with a fault; IoError.
 */
export async function checkMachines(facts: StateFacts): Promise<readonly Finding[]> {
  const findings = new Findings('machines');
  const { folder, channels } = facts;
  const apply = `Sign and apply them: "bootseal machines apply --state ${folder} --anchors ANCHORS --script-keys KEYS".`;
  const scripts = new Map<string, ChannelScripts | Refusal>();
  for (const [name, stored] of channels) {
    if (stored instanceof Refusal || stored.snapshot.scripts === undefined) continue;
    const found = await orRefusal(() =>
      readChannelScripts(recordsOf(folder), name, stored.snapshot.scripts ?? ''),
    );
    scripts.set(name, found);
    if (found instanceof Refusal)
      findings.fault(
        'scripts-refused',
        `the scripts that ${name} names, so no machine boots: ${withoutStop(found.message)}`,
        apply,
      );
    else await checkScripts(findings, facts, found, apply);
  }
  const rules = await readMachineRules(machineFilesOf(folder));
  const newest = newestScripts({ scripts });
  const signed = newest instanceof Refusal ? undefined : newest;
  const written = hasRules(rules);
  if (!written && newest === undefined) findings.ok('none is written down: all get what the channel names');
  else if (newest instanceof Refusal) return findings.all;
  else if (!signed || !Buffer.from(encodeRules(rules)).equals(encodeRules(signed.matcher.rules)))
    findings.warning(
      'not-applied',
      signed
        ? `${join(folder, MACHINES)} says something else than what is signed, which machines get`
        : `what is written in ${join(folder, MACHINES)} was never signed, so nobody gets it`,
      apply,
    );
  else if (findings.isWell)
    findings.ok(
      `signed as they are written: machines ${rules.machines.length}, groups ${rules.groups.length}`,
    );
  return findings.all;
}

async function checkScripts(
  findings: Findings,
  { folder, releases }: StateFacts,
  one: ChannelScripts,
  apply: string,
): Promise<void> {
  const records = recordsOf(folder);
  const missing: Refusal[] = [];
  const kept = new Set<string>();
  for (const { loader, sha256, release } of one.scripts) {
    const found = await orRefusal(() => readScript(records, loader, sha256));
    if (found instanceof Refusal) missing.push(found);
    if (release !== undefined) kept.add(release);
  }
  const [first] = missing;
  if (first)
    findings.fault(
      'script-missing',
      `${missing.length} of ${one.scripts.length} scripts of ${one.channel}, so their machines do not boot: ${withoutStop(first.message)}`,
      apply,
    );
  for (const release of kept) {
    const stored = releases.get(release);
    if (stored && !stored.withdrawal) continue;
    findings.fault(
      'kept-at-nothing',
      `machines of ${one.channel} are kept at ${release}, which ${stored ? 'was withdrawn' : 'is not in the store'}`,
      `Name another release for them in ${join(folder, MACHINES)}, and apply that.`,
    );
  }
}

async function orRefusal<T>(work: () => Promise<T>): Promise<T | Refusal> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
}
