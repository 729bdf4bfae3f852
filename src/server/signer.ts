import type { Arming } from '../formats/records/armed-boot.ts';
import type { Snapshot } from '../formats/records/snapshot.ts';
import type { Assigned } from '../machines/assigned-file.ts';
import type { WithdrawFacts } from '../store/withdraw.ts';

/** What a machine is armed by. */
export interface ArmingFacts {
  /** `52:54:00:12:34:56` */
  readonly mac: string;
  readonly uuid?: string;
  readonly release: string;
  readonly words: readonly string[];
  /** Milliseconds. */
  readonly lasts: number;
  readonly afterwards: 'local' | 'usual';
  readonly loader: 'ipxe' | 'grub';
  /** Which arming it is to be; absent: a new one. */
  readonly id?: string;
}

/** How far an armed boot is: a file of it has left whole, or it has begun, or its time is over. */
export interface ConsumeFacts {
  /** `52:54:00:12:34:56` */
  readonly mac: string;
  /** Of the arming. */
  readonly id: string;
  readonly how: 'left' | 'files' | 'report' | 'ended';
  /** Which file has left, by its path in the release. */
  readonly path?: string;
  /** Where the machine is; a claim. */
  readonly address?: string;
  /** SHA-256 of the nonce that was answered. */
  readonly nonce?: string;
}

/** What the operator should know, though it was done. */
interface Warned {
  readonly warnings: readonly string[];
}

/**
 * Who signs, and writes, for a server that holds no key (DESIGN §3, rule 3): a keyholder, or what a test puts there. It is
 * told facts, judges them itself, and writes into the log. `by` names the token of who asks.
 *
 * Each verb throws a `Refusal`, a `UsageError` or an `IoError` where it is not done.
 */
export interface Signer {
  /** Has what is written about machines count for a channel. */
  apply(channel: string, by?: string): Promise<unknown>;
  arm(facts: ArmingFacts, by?: string): Promise<{ readonly arming: Arming } & Warned>;
  /** Absent: only a server whose own the state is can have machines boot what they are armed with. */
  consume?(facts: ConsumeFacts): Promise<{ readonly changed: boolean }>;
  disarm(mac: string, by?: string): Promise<{ readonly changed: boolean } & Warned>;
  /** @param assigned undefined: nothing of its own any more. */
  assign(
    mac: string,
    assigned: Assigned | undefined,
    by?: string,
  ): Promise<{ readonly changed: boolean } & Warned>;
  /** To a release that the state holds, a newer or an older one. */
  move(channel: string, release: string, by?: string): Promise<{ readonly snapshot: Snapshot } & Warned>;
  renew(channel: string, by?: string): Promise<{ readonly snapshot: Snapshot } & Warned>;
  withdraw(facts: WithdrawFacts, by?: string): Promise<{ readonly changed: boolean } & Warned>;
}
