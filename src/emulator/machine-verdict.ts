import type { Refusal } from '../errors/refusal.ts';
import type { Manifest } from '../formats/records/manifest.ts';
import type { RootMode } from '../formats/records/policy-floor.ts';
import type { VerifiedThing } from '../release/who-verifies.ts';
import type { Finding } from '../trust/verify.ts';
import type { EarlyEvent } from './early/contract.ts';
import type { VerityReport } from './early/verity.ts';
import type { IpxeEvent } from './ipxe/contract.ts';

export type BootEvent =
  | ({ readonly stage: 'loader' } & IpxeEvent)
  | ({ readonly stage: 'early' } & EarlyEvent);

/** One artifact, and what each stage found. */
export interface BootRow {
  readonly artifact: string;
  readonly role: 'script' | 'kernel' | 'initrd' | 'image' | 'rootfs';
  readonly findings: readonly Finding[];
  /** What to say where there are no findings: `not caught by this loader`. */
  readonly note?: string;
}

/** What became of one emulated machine, whatever started it. */
export interface MachineVerdict {
  /** What vouches for kernel, initrds and command line: iPXE's imgverify, firmware with Secure Boot, or nobody. */
  readonly loader: 'verifying' | 'stock' | 'secure-boot';
  readonly mode: RootMode;
  readonly rows: readonly BootRow[];
  /**
   * No early userspace that is known here asks for a root image: the release has none, or its system gets it by itself.
   */
  readonly rootless: boolean;
  /** Where `rootless`: what the system takes that nobody on the machine verifies. */
  readonly unverified: readonly VerifiedThing[];
  /** Undefined: the root image, where there is one, was verified and would be mounted. */
  readonly refusal: Refusal | undefined;
  /**
   * True only when script, kernel, every initrd (or the image that holds them) and the root image, unless `rootless`,
   * were verified; in mode `verity`, of the root image, its root hash and every block that was read.
   */
  readonly verified: boolean;
  /** True when early userspace held all of that, and its command line, against one manifest. */
  readonly bound: boolean;
  /** What early userspace held it against; also where something else was then refused. */
  readonly manifest: Manifest | undefined;
  readonly cmdline: string | undefined;
  /**
   * A verified script has the machine start from its own disk: no release was booted, nothing was refused, and nobody
   * here knows what stands on that disk. `verified` is false.
   */
  readonly ownDisk?: true;
  /** Mode `verity`, where early userspace came to the root: what was needed of it. */
  readonly verity?: VerityReport;
}
