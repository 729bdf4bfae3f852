import type { Protocol } from '../release/server-event.ts';
import type { Stage } from './receipt.ts';

/** What one file, or export, of a server means for the boot of whoever asks for it. */
export interface BootFile {
  readonly stage: Stage;
  /** Whose it is, where it is of one. */
  readonly release?: BootedRelease;
  /** A seal, or what a loader asks for in passing: it shows that the machine is there, and is no file of a stage. */
  readonly beside?: boolean;
  /** Whoever asks for it has begun a boot; the others are read by mirrors, auditors and people, too. */
  readonly begins?: boolean;
  /** A file that the machine needs whole before it can go on; `path` tells it from others. */
  readonly path: string;
  /** Others that are inside of it: of a UKI, kernel and initrds. */
  readonly holds?: readonly string[];
}

/** What is to be seen of a release while a machine boots it. */
export interface BootedRelease {
  /** `arch/2026.11.01` */
  readonly release: string;
  /** What has to have left whole before a machine can run it without saying anything: `BootFile.path`s. */
  readonly needs: readonly string[];
  /** Its early userspace says what came of it. */
  readonly reports: boolean;
  /** dm-verity root hash of its root image. */
  readonly rootHash?: string;
}

/** @param asked a path, or the name of an export. @returns undefined for what has no part in a boot. */
export type FindBootFile = (server: Protocol, asked: string) => BootFile | undefined;
