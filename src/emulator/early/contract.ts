import type { Refusal } from '../../errors/refusal.ts';
import type { Manifest } from '../../formats/records/manifest.ts';
import type { RootMode } from '../../formats/records/policy-floor.ts';
import type { VerifiedThing } from '../../release/who-verifies.ts';
import type { Policy } from '../../trust/policy.ts';
import type { Finding, Verified } from '../../trust/verify.ts';
import type { InitramfsTree } from '../initramfs-tree.ts';
import type { Transport } from '../transport.ts';
import type { VerityReport } from './verity.ts';

/** Early userspace: what it is given, and what it answers. */

export interface EarlyOptions {
  readonly initramfs: InitramfsTree;
  /** `/proc/cmdline`. */
  readonly cmdline: string;
  /** `uname -m`. */
  readonly arch: string;
  /** Of the card that it was booted from, `52:54:00:12:34:56`; undefined: it reports nothing. */
  readonly mac?: string | undefined;
  readonly transport: Transport;
  /** The folder of the release that the loader fetched from; ends in a slash. Undefined where none shows. */
  readonly files?: string | undefined;
  readonly policy: Policy;
  /** Milliseconds since 1970. */
  readonly now: number;
  /**
   * What the time server that the policy floor names says, milliseconds since 1970; undefined where it is silent. Left
   * out: there is none that could be asked.
   */
  readonly askTime?: AskTime;
  /** Bytes of the root image; more is a refusal. Default 64 GiB. */
  readonly maxRootBytes?: number;
  /**
   * Where no overlay decides it. `verity`: the root image is not downloaded; its blocks are fetched and verified when
   * they are read, and no check of the image as a whole is made. The default is `ram`.
   */
  readonly mode?: RootMode;
  onEvent?(event: EarlyEvent): void;
}

export type AskTime = (host: string) => Promise<number | undefined>;

export type EarlyEvent =
  | {
      readonly kind: 'fetch';
      readonly url: string;
      /** Bytes, inclusive, where a part is asked for. */
      readonly range?: { readonly first: number; readonly last: number };
    }
  | {
      readonly kind: 'progress';
      readonly url: string;
      readonly octets: number;
      readonly size: number | undefined;
    }
  /** A line on the console. */
  | { readonly kind: 'console'; readonly text: string };

/** What early userspace says of the root image. */
export interface EarlyVerdict {
  /** How it got at the root image, or would have. */
  readonly mode: RootMode;
  /** Relative to the server: `arch/x86_64/airootfs.sfs`; empty where it was not even found. */
  readonly path: string;
  /** The checks that the command line or the policy floor asked for, in archiso's order; in mode `verity` those of the root hash and the blocks. */
  readonly findings: readonly Finding[];
  /** The manifest that everything was held against. */
  readonly manifest?: Manifest;
  /**
   * Undefined unless every check held, and at least one had a key behind it. In mode `verity` it is the root hash,
   * since the image as a whole was not read.
   */
  readonly verified: Verified | undefined;
  /** Mode `verity`: what was needed. */
  readonly verity?: VerityReport;
  /** No early userspace that is known here asks for a root image: there is none, or the system gets it by itself. */
  readonly rootless?: true;
  /** Where the system gets things by itself: those that nobody there verifies. */
  readonly unverified?: readonly VerifiedThing[];
  /** Why it stopped. */
  readonly refusal: Refusal | undefined;
}
