import { createHash } from 'node:crypto';
import { Refusal } from '../errors/refusal.ts';
import type { Booter, BootScript, Machine } from '../machines/booter.ts';
import { compileGrubLocalDisk, compileLocalDisk } from '../scripts/local-disk.ts';
import type { StoreBackend } from '../store/backend.ts';
import { findSealed } from '../store/script-batches.ts';
import { SCRIPT_NAMES, verifyMachineScript } from '../trust/machine-script-check.ts';
import type { PolicyFile } from '../trust/policy-file.ts';
import type { TrustRoots } from '../trust/trust-roots.ts';

export interface LocalDiskOptions {
  readonly records: StoreBackend;
  readonly roots: () => TrustRoots;
  readonly policy: () => Promise<PolicyFile>;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
}

/**
 * Starts a machine that has booted what it was armed with from its own disk, by the script that was signed for it when it
 * was armed. What that says is known beforehand, so it is found by its content.
 */
export function localDiskBooter({ records, roots, policy, clock }: LocalDiskOptions): Booter {
  return {
    async boot(machine: Machine): Promise<BootScript | Refusal> {
      const { mac, loader } = machine;
      if (mac === undefined) return none(machine);
      const machines = [{ macs: [mac] }];
      const text = loader === 'ipxe' ? compileLocalDisk({ machines }) : compileGrubLocalDisk({ machines });
      const sha256 = createHash('sha256').update(text, 'latin1').digest('hex');
      try {
        const script = await findSealed(records, loader, sha256);
        if (!script) return none(machine);
        const now = clock();
        const terms = (await policy()).at(now, now);
        await verifyMachineScript({ loader, ...script, starts: 'local' }, roots().own, terms, now);
        return { name: SCRIPT_NAMES[loader], ...script, starts: 'local' };
      } catch (error) {
        if (error instanceof Refusal) return error;
        throw error;
      }
    },
  };
}

function none({ mac }: Machine): Refusal {
  return new Refusal(
    'absent',
    `No script was signed by which ${mac ?? 'a machine without an address'} starts its own disk; arm it again, or disarm it.`,
    { mac },
  );
}
