/**
 * What the pages are given: plain facts, in words where people read them. Times are milliseconds since 1970. Whatever
 * a machine says of itself is claimed.
 */

/** How something is to be taken at a glance; a word stands beside it always. */
export type Tone = 'good' | 'fair' | 'bad' | 'warn' | 'busy' | 'quiet';

/** One stage of a boot, as a cell of its row. */
export interface StageCell {
  /** `kernel` */
  readonly stage: string;
  /** `ahead`: not yet, or never; `now`: it is there; `stopped`: it came no further. */
  readonly state: 'done' | 'now' | 'stopped' | 'passed' | 'ahead';
  readonly begin?: number;
  /** Milliseconds from its beginning to that of the next stage, or to its end. */
  readonly ms?: number;
}

/** A boot, as a row of a list. */
export interface BootRow {
  readonly boot: string;
  /** `52:54:00:12:34:56`; empty: it never said. */
  readonly machine: string;
  /** What the operator calls it. */
  readonly name?: string;
  readonly address?: string;
  readonly began: number;
  readonly ended?: number;
  readonly quietSince?: number;
  /** `verified (claimed)` */
  readonly outcome: string;
  readonly tone: Tone;
  readonly running: boolean;
  /** The furthest that it came. */
  readonly stage: string;
  readonly stageSince?: number;
  readonly release?: string;
  /** With which trust it began, in words. */
  readonly trust?: string;
  /** What its loader is: iPXE, GRUB. */
  readonly route: string;
  /** `bad-signature` */
  readonly code?: string;
  /** Why, one sentence. */
  readonly why?: string;
  readonly cells: readonly StageCell[];
}

/** A stage, as a row of the timeline. */
export interface StageRow {
  readonly stage: string;
  readonly begin: number;
  readonly end?: number;
  readonly bytes: number;
  /** That a mirror was to send. */
  readonly byMirror?: number;
  /** How it ended, or that it goes on. */
  readonly outcome: string;
  /** How it is known that it belongs to this boot. */
  readonly joined: string;
  readonly what: string;
}

/** A boot, whole. */
export interface BootFacts extends BootRow {
  readonly now: number;
  readonly stages: readonly StageRow[];
  readonly advice?: string;
  readonly arch?: string;
  readonly uuid?: string;
  readonly addresses: readonly string[];
  readonly loader?: string;
  readonly rootHash?: string;
  readonly rootMode?: string;
  /** Who says how it ended. */
  readonly by?: string;
  readonly once?: string;
  readonly shared: boolean;
  readonly incomplete?: string;
  readonly lines: readonly string[];
}

/** Boots that ended badly for one reason. */
export interface FailureRow {
  /** `bad-signature`, or what the boots did last. */
  readonly reason: string;
  /** `REFUSED` */
  readonly outcome: string;
  readonly stage: string;
  readonly count: number;
  /** That said who they are. */
  readonly machines: number;
  readonly lastBoot: string;
  readonly lastMachine: string;
  readonly lastBegan: number;
  /** What was said of the last one. */
  readonly said?: string;
  readonly advice?: string;
  /** The list of them: the query of `/ui/boots`. */
  readonly query: string;
}

export interface OutcomeCount {
  readonly word: string;
  readonly tone: Tone;
  readonly count: number;
}

/** The boots of the last 24 hours. */
export interface DayFacts {
  readonly since: number;
  readonly total: number;
  readonly running: number;
  /** Of those that ended and booted a release: all, and those that say that they verified it. */
  readonly ended: number;
  readonly verified: number;
  /** Of them, those of which everything was fetched, and whose machine cannot say more. */
  readonly served: number;
  /** Those that somebody has to look at. */
  readonly failed: number;
  /** None of them is 0. */
  readonly outcomes: readonly OutcomeCount[];
}

/** Something that ends by the clock. */
export interface EndingRow {
  readonly what: string;
  readonly name: string;
  /** Undefined: never. */
  readonly ends?: number;
  /** Whole days; negative: since then. */
  readonly daysLeft?: number;
  readonly due: boolean;
  readonly usedBy: readonly string[];
  /** What stops then, and what to do before. */
  readonly effect: string;
}

/** A file that is not what was verified. */
export interface DriftedFile {
  readonly path: string;
  readonly why: string;
}

/** A release that is offered. */
export interface ReleaseRow {
  /** `arch/2026.11.01` */
  readonly release: string;
  readonly arch: string;
  readonly layout: string;
  readonly issued: number;
  readonly bestBefore: number;
  /** What names it: `stable`, `entry`. */
  readonly channels: readonly string[];
  readonly entry: boolean;
  /** Was offered before: who runs it keeps it. */
  readonly former: boolean;
  readonly anchored: boolean;
  /** Why no machine starts it any more. */
  readonly ended?: string;
  /** Nothing of it is served any more, to nobody. */
  readonly cut: boolean;
  readonly drifted: readonly DriftedFile[];
  readonly bytes: number;
  /** What nobody verifies on a machine that boots it. */
  readonly unverified: number;
}

export interface ReleaseFacts extends ReleaseRow {
  readonly serial: number;
  readonly manifestSha256: string;
  readonly cmdline: readonly string[];
  readonly free: readonly string[];
  readonly rootHash?: string;
  readonly files: readonly {
    readonly path: string;
    readonly role: string;
    readonly size: number;
    readonly sha256: string;
    /** Names of the seals beside it. */
    readonly seals: readonly string[];
    readonly drifted?: string;
  }[];
  /** Signed texts, and seals of these. */
  readonly records: readonly string[];
  /** What a machine fetches or runs, and who verifies it there. */
  readonly machine: readonly { readonly what: string; readonly by: string; readonly how: string }[];
  readonly day?: DayFacts;
}

export interface ChannelRow {
  readonly channel: string;
  readonly counter: number;
  readonly issued: number;
  readonly expires: number;
  readonly expired: boolean;
  readonly entry: boolean;
  readonly releases: readonly {
    readonly arch: string;
    readonly release: string;
    readonly rollbackFrom?: string;
    readonly ended?: string;
    readonly drifted: boolean;
    readonly offered: boolean;
  }[];
  /** What its snapshot says of machines. */
  readonly scripts?: string;
}

/** How the server itself does. */
export interface ServerFacts {
  /** Why machines may not be sent here; undefined: they may. */
  readonly notReady?: string;
  /** Of a tree there is no state to follow. */
  readonly state: boolean;
  /** Why its state is not followed at the moment. */
  readonly notFollowed?: string;
  /** Why receipts are not written at the moment. */
  readonly notWritten?: string;
  /** Receipts that were lost. */
  readonly lost: number;
  readonly unverifiedLoadersAllowed: boolean;
  /** `http://10.0.0.1:8080` */
  readonly base: string;
}

export interface HomeFacts {
  readonly now: number;
  readonly server: ServerFacts;
  readonly entry: ReleaseFacts;
  readonly releases: readonly ReleaseRow[];
  readonly day: DayFacts;
  /** Those under way, and those that have just ended; the last begun first. */
  readonly boots: readonly BootRow[];
  /** How many of those under way are not among them. */
  readonly more: number;
  /** Of all that are under way: how many are at which stage, in the order of stages. */
  readonly at: readonly { readonly stage: string; readonly count: number }[];
  /** Of all that are under way: how many nothing is heard of. */
  readonly quiet: number;
  readonly recent: readonly BootRow[];
  readonly failures: readonly FailureRow[];
  readonly endings: readonly EndingRow[];
  readonly warnings: readonly string[];
}

export interface MachineRow {
  /** Empty where it is known by something else. */
  readonly mac: string;
  readonly name?: string;
  /** Of those that were written down. */
  readonly labels: readonly string[];
  readonly gets: string;
  /** What decided: its own entry, a group, nothing. */
  readonly by: string;
  readonly last?: BootRow;
}

export interface MachinesFacts {
  readonly now: number;
  readonly machines: readonly MachineRow[];
  /** All that there are; `machines` are some of them. */
  readonly total: number;
  readonly asked: string;
  /** Whether anything is signed about machines. */
  readonly ruled: boolean;
  /** What a machine gets that nobody wrote down. */
  readonly unknown: string;
  readonly groups: readonly { readonly name: string; readonly gets: string }[];
}

/** What a machine is armed with. */
export interface ArmedFacts {
  readonly release: string;
  readonly id: string;
  readonly armed: number;
  readonly ends: number;
  readonly by: string;
  /** `armed`, or how it ended. */
  readonly state: string;
  readonly tone: Tone;
  /** It still waits for the machine, or keeps it from what it usually boots. */
  readonly live: boolean;
}

/** Who looks at a page, and what they may do by its forms. */
export interface Viewer {
  /** Of the token; empty: nobody signed in. */
  readonly name: string;
  /** What each form of theirs holds as its field `csrf`; undefined: they may write nothing. */
  readonly csrf?: string;
  /** Where one signs in; undefined: nowhere. */
  readonly signIn?: string;
  readonly mayArm: boolean;
}

export interface MachineFacts {
  readonly now: number;
  readonly mac: string;
  readonly name?: string;
  readonly labels: readonly string[];
  readonly written: boolean;
  readonly gets: string;
  readonly by: string;
  readonly uuid?: string;
  readonly serial?: string;
  readonly armed?: ArmedFacts;
  readonly day: DayFacts;
  readonly boots: readonly BootRow[];
  readonly total: number;
  /** Releases that it can be armed with. */
  readonly armable: readonly string[];
}

export interface BootsFacts {
  readonly now: number;
  readonly boots: readonly BootRow[];
  readonly total: number;
  readonly outcomes: readonly OutcomeCount[];
  /** As it was asked for; a field that is none is in `wrong`. */
  readonly query: Readonly<Record<string, string>>;
  readonly wrong: readonly string[];
  /** The query of the older ones. */
  readonly older?: string;
  /** Names of outcomes, and their words. */
  readonly known: readonly { readonly outcome: string; readonly word: string }[];
}

export interface QuarantineFacts {
  readonly now: number;
  /** False: a tree is served, and has no quarantine. */
  readonly state: boolean;
  readonly releases: readonly {
    readonly release: string;
    readonly code: string;
    readonly message: string;
    readonly origin: string;
    /** What takes it back. */
    readonly command: string;
    /** It is in service all the same. */
    readonly held: boolean;
  }[];
  readonly withdrawn: readonly {
    readonly release: string;
    readonly time: number;
    readonly reason: string;
    readonly now: boolean;
  }[];
  readonly drifted: readonly (DriftedFile & { readonly release: string })[];
}
