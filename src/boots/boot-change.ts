import type { BootOutcome } from './boot-outcome.ts';
import type { Receipt, Stage } from './receipt.ts';

/** Something of a boot has changed. */
export interface BootChange {
  /** Its id. */
  readonly boot: string;
  readonly outcome: BootOutcome;
  /** As it is when a listener is told: it is made then. */
  readonly receipt: Receipt;
  /** It came to this stage now. */
  readonly entered: Stage | undefined;
  /** It ended so now. */
  readonly ended: BootOutcome | undefined;
}

export type OnBoot = (change: BootChange) => void;
