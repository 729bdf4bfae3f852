import type { Refusal } from '../errors/refusal.ts';
import type { ScriptStarts } from '../release/server-event.ts';

/**
 * Decides what a machine boots. One small interface between deciding and serving: DHCP, HTTP and TFTP ask the same
 * one, and none of them knows why an answer is what it is.
 */
export interface Booter {
  /**
   * Answers a refusal, with the reason that the machine's operator is told, instead of throwing.
   *
   * @param remote the address that asks, where one does: a script and its seal are asked for by two requests.
   */
  boot(machine: Machine, remote?: string): Promise<BootScript | Refusal>;
  /**
   * The script that `boot` would answer with, where that is known without waiting for anything; undefined says nothing: `boot`
   * knows. Absent where nothing can be said at once.
   */
  known?(machine: Machine): BootScript | undefined;
}

/** A client, as far as it has said what it is. Claims: they select, and never unlock anything. */
export interface Machine {
  /** Which of the scripts it can read: iPXE's, or GRUB's configuration. */
  readonly loader: 'ipxe' | 'grub';
  /** The CA that its loader trusts, where it asks for that one: first 16 hex digits of its SHA-256. */
  readonly anchor?: string;
  /** `uname -m` of it, where its loader asks at an entry of its own; undefined: at the one for all. */
  readonly arch?: string;
  /** `52:54:00:12:34:56` */
  readonly mac?: string;
  /** Lower-case hex with dashes, as SMBIOS 2.6 prints it. */
  readonly uuid?: string;
  /** Of its SMBIOS: printable ASCII of at most 64 characters, as are those below. */
  readonly serial?: string;
  readonly asset?: string;
  readonly manufacturer?: string;
  readonly product?: string;
  readonly firmware?: 'bios' | 'efi';
  /** The channel that it asks for by name, as a menu's entry does; undefined: what it is to get. */
  readonly channel?: string;
}

/** A script and the seal that was made of these very bytes: of one rendering, whatever changes between two requests. */
export interface BootScript {
  /** `boot.ipxe`, `grub.cfg` */
  readonly name: string;
  readonly bytes: Uint8Array;
  /** What it has the machine start; absent: a release. */
  readonly starts?: ScriptStarts;
  /** The armed boot that it begins. */
  readonly once?: string;
  /** CMS for iPXE, OpenPGP for GRUB. */
  readonly seal: Uint8Array;
}
