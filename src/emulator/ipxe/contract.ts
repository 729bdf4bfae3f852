import type { Refusal } from '../../errors/refusal.ts';
import type { Transport } from '../transport.ts';

/** What the emulated iPXE knows about its machine. Everything here reaches scripts as settings. */
export interface IpxeMachine {
  /** Six bytes, `52:54:00:12:34:56`. */
  readonly mac: string;
  readonly uuid?: string;
  readonly serial?: string;
  readonly manufacturer?: string;
  readonly product?: string;
  readonly asset?: string;
  /** What the iPXE binary was built for, as `${buildarch}` says it: `x86_64`, `i386`, `arm64`. */
  readonly buildarch: string;
  readonly platform: 'pcbios' | 'efi';
  /** It has a disk that its BIOS can start. */
  readonly disk?: boolean;
  /** `${version}`. */
  readonly version?: string;
  /**
   * What the DHCP server answers, by setting (`ip`, `next-server`, `filename`) or option number (`66`,
   * `175.3`), each in the text form of the setting's type. Absent: no DHCP server answers. A function is told the user
   * class (option 77) by which a loader says who it is: `iPXE` unless its script set another.
   */
  readonly dhcp?: DhcpAnswer | ((userClass: string) => DhcpAnswer | undefined);
  /** True when the firmware's own DHCP was taken over at start, as by `undionly.kpxe`. */
  readonly dhcpCached?: boolean;
  /** What firmware's variable SecureBoot says, on platform `efi`: true, it enforces. Absent: there is no such variable. */
  readonly secureBoot?: boolean;
}

export type DhcpAnswer = Readonly<Record<string, string>>;

/** A person at the console. What is not answered waits for its timeout; without one, for ever: a refusal. */
export interface IpxeAnswers {
  /** The name of the item; undefined for no key at all; `cancel` for Escape. */
  choose?(menu: { title: string; items: readonly MenuItem[] }): { name: string } | 'cancel' | undefined;
  /** The key that is pressed. */
  prompt?(text: string): string | undefined;
  login?(): { username: string; password: string } | undefined;
  read?(setting: string, current: string): string | undefined;
}

export interface MenuItem {
  /** Undefined for a separator. */
  readonly name: string | undefined;
  readonly text: string;
}

export interface IpxeFeatures {
  /** Built with `IMAGE_TRUST_CMD`. Without it `imgverify` and `imgtrust` are "command not found". */
  readonly imgtrust: boolean;
  /**
   * Commands that this build has beyond the platform's stock set: a stock BIOS build lacks `ntp`, `params`,
   * `param`, `console`, `colour` and `cpair`; every stock build lacks `time`.
   */
  readonly commands?: readonly string[];
  /** Takes bytes that are no known kind of program for a kernel, for sample releases without a real one. */
  readonly anyKernel?: boolean;
}

export interface IpxeOptions {
  readonly transport: Transport;
  readonly machine: IpxeMachine;
  readonly features: IpxeFeatures;
  /**
   * What runs first. `embedded` is part of the binary, trusted, and has no URL; otherwise a script that was
   * downloaded from `url`. Absent: iPXE configures the network and boots what DHCP names.
   */
  readonly script?:
    | { readonly embedded: true; readonly bytes: Uint8Array }
    | {
        readonly embedded?: false;
        readonly bytes: Uint8Array;
        readonly url: string;
        readonly trusted?: boolean;
      };
  /** Where iPXE itself came from, if relative URLs of the first script shall resolve against that. */
  readonly cwuri?: string;
  /**
   * Checks a detached CMS over `image`. Resolves for "verified"; rejects with a `Refusal`. `signer` is the
   * common name that `imgverify --signer` demands, `at` the machine's clock. Whatever else it rejects with
   * ends the run: a broken verifier is no verdict.
   */
  verify(image: Uint8Array, signature: Uint8Array, signer: string | undefined, at: Date): Promise<void>;
  /**
   * What firmware that enforces (`machine.secureBoot`) makes of an image before it starts it. Throws a `Refusal` for one
   * that it does not take; without it firmware takes none.
   */
  firmware?(name: string, image: Uint8Array): void;
  /** The machine's clock at start. It stands still. */
  readonly now: Date;
  /** What an NTP server answers; undefined when it does not. Default: the clock's own time. */
  ntp?(server: string): Date | undefined;
  readonly answers?: IpxeAnswers;
  /** Bytes of one image; default 1 GiB. More is the refusal `too-large`. */
  readonly maxImageBytes?: number;
  /** Bytes of all registered images together; default 2 GiB. */
  readonly maxMemoryBytes?: number;
  /** Commands executed; default 10 000. More is a refusal: the script goes round in circles. */
  readonly maxSteps?: number;
  readonly signal?: AbortSignal;
  onEvent?(event: IpxeEvent): void;
}

export type IpxeEvent =
  | {
      readonly kind: 'command';
      readonly script: string;
      readonly line: number;
      readonly words: readonly string[];
    }
  | {
      readonly kind: 'failed';
      readonly script: string;
      readonly line: number;
      readonly command: string;
      readonly text: string;
    }
  | { readonly kind: 'console'; readonly text: string }
  /** A DISCOVER with this user class. */
  | { readonly kind: 'dhcp'; readonly userClass: string }
  | { readonly kind: 'fetch'; readonly url: string }
  | { readonly kind: 'fetched'; readonly url: string; readonly name: string; readonly size: number }
  | { readonly kind: 'fetch-failed'; readonly url: string; readonly refusal: Refusal }
  | ({ readonly kind: 'verification' } & Verification)
  | { readonly kind: 'trust-required'; readonly required: boolean; readonly permanent: boolean }
  | { readonly kind: 'execute'; readonly name: string; readonly type: string; readonly trusted: boolean }
  | { readonly kind: 'sleep'; readonly seconds: number }
  | { readonly kind: 'clock'; readonly now: Date }
  /** What iPXE would send to its syslog server. */
  | { readonly kind: 'log'; readonly text: string };

/** One `imgverify`. */
export interface Verification {
  readonly image: string;
  readonly url: string | undefined;
  readonly signatureUrl: string | undefined;
  /** The common name that was demanded. */
  readonly signer: string | undefined;
  /** Undefined when it verified. */
  readonly refusal: Refusal | undefined;
}

/** An image as it is handed over. */
export interface BootImage {
  readonly name: string;
  /** Where it came from; undefined for what was part of iPXE. */
  readonly url: string | undefined;
  readonly bytes: Uint8Array;
  /** iPXE holds it trusted: an `imgverify` of these bytes succeeded, and none failed since. */
  readonly verified: boolean;
  /** The common name that its `imgverify` demanded. */
  readonly signer: string | undefined;
  /**
   * Arguments. For an initrd they matter: iPXE then wraps it in a cpio archive under the path that is the
   * first word.
   */
  readonly cmdline: string | undefined;
}

interface Ending {
  /** One plain phrase. */
  readonly reason: string;
  /** The last refusal of the run, if it had any. */
  readonly refusal?: Refusal;
}

export type IpxeOutcome =
  | {
      readonly kind: 'boot';
      /** `bzImage`, `EFI`, `PXE-NBP` (a BIOS takes any small file for one), `raw` with `anyKernel`. */
      readonly type: string;
      readonly kernel: BootImage;
      /** Every registered image that is not hidden, in order, whatever it is: the kernel gets them all. */
      readonly initrds: readonly BootImage[];
      /** What the kernel sees. A UEFI iPXE puts the kernel's name first. */
      readonly cmdline: string;
    }
  /** The script ended in a failure, or the run was stopped by this side. */
  | ({ readonly kind: 'refused' } & Ending)
  | ({ readonly kind: 'poweroff' } & Ending)
  | ({ readonly kind: 'reboot' } & Ending)
  /** The script came to its end or said `exit`: the firmware tries its next boot device. */
  | ({ readonly kind: 'exit'; readonly status: number } & Ending)
  /**
   * The machine goes on to its own disk: its BIOS was asked to start it, or the loader ended after a script had named it
   * as what comes next. Verified: a script that was fetched said so, and every one that ran had passed an `imgverify`.
   */
  | ({ readonly kind: 'own-disk'; readonly verified: boolean } & Ending)
  /** A shell: whoever sits at the console may boot anything. */
  | ({ readonly kind: 'shell' } & Ending);

export interface IpxeRun {
  readonly outcome: IpxeOutcome;
  /** Everything printed. */
  readonly console: string;
  readonly verifications: readonly Verification[];
  /** Every refusal met, in order, whether or not the script went on after it. */
  readonly refusals: readonly Refusal[];
}
