import type { Anchors } from '../trust/anchors.ts';
import type { Policy } from '../trust/policy.ts';
import type { BootEvent } from './machine-verdict.ts';
import type { Transport } from './transport.ts';

/** A release as some server offers it. */
export interface Offer {
  readonly transport: Transport;
  /** Where `boot.ipxe` and `grub.cfg` stand: `http://HOST[:PORT]`. */
  readonly base: string;
  readonly anchors: Anchors;
  readonly policy: Policy;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** `uname -m` of the machine; default: x86_64. */
  readonly arch?: string;
  /** `52:54:00:12:34:56`, which is also the default. */
  readonly mac?: string;
  /** The entry of GRUB's menu that a person chooses, by its name or its text; undefined: nobody does. */
  readonly choice?: string;
  /** What archiso is started with. Absent: what the loader hands over, whose refusals are then archiso's too. */
  readonly handover?: Handover;
  readonly onEvent?: (event: BootEvent) => void;
}

/** What early userspace gets of whichever loader came before it. */
export interface Handover {
  readonly cmdline: string;
  /** URLs, in load order. */
  readonly initrds: readonly string[];
}
