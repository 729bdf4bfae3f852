import { claimedMac } from '../formats/net/machine-claims.ts';
import { armedPathOf } from '../formats/records/armed-folder.ts';
import { type Moment, OpenBoot, rankOf } from './open-boot.ts';
import type { Join, Stage } from './receipt.ts';
import { Whereabouts } from './whereabouts.ts';

export interface BootFinderOptions {
  /** The card that an address belongs to, as this server's own network says; undefined: nobody can tell. */
  readonly neighbour: (address: string) => string | undefined;
  /** 32 random bits. */
  readonly random: () => number;
  /** Whether one more boot may begin at an address, or by a card that asks over DHCP: a flood begins no more than its share. */
  readonly mayBegin: (remote: string) => boolean;
  /** Told of a boot whenever something of it has changed. */
  readonly onChange: (boot: OpenBoot) => void;
}

/** Milliseconds after which a machine that comes back to a script is on another boot, though nobody heard its DHCP. */
const SAME_BOOT_MS = 15_000;
/** Boots that are held at one time. Whoever was not heard longest gives way. */
const MOST_OPEN = 20_000;

const SCRIPT = rankOf('script');

export interface Whose {
  readonly boot: OpenBoot;
  readonly join: Join;
}

/** Finds whose boot something belongs to, and begins one where there is none. */
export class BootFinder {
  readonly where = new Whereabouts();
  readonly #options: BootFinderOptions;

  constructor(options: BootFinderOptions) {
    this.#options = options;
  }

  /** Whose boot something is, begun where there is none that it can belong to. */
  whose(
    { remote, mac: said, asked }: { readonly remote: string; readonly mac?: string; readonly asked?: string },
    at: Moment,
    stage: Stage,
    begins: boolean,
  ): Whose | undefined {
    const path = asked === undefined ? undefined : macOfPath(asked);
    const mac = this.#believed(said ?? path, remote);
    if (mac !== undefined) return this.#byCard(mac, remote, at, stage, begins, 'mac');
    const found = this.existing({ remote }, stage);
    if (found === 'several') return undefined;
    if (found && !beginsAnew(found.boot, stage, at)) return found;
    const near = this.#options.neighbour(remote);
    if (near !== undefined && this.where.ofMac(near))
      return this.#byCard(near, remote, at, stage, begins, 'neighbour');
    if (!begins) return undefined;
    const boot = this.begin(stage, '', remote, at);
    return boot && { boot, join: 'address' };
  }

  /** The boot of a card, or of an address that is one machine's. */
  existing(event: { readonly remote: string; readonly mac?: string }): Whose | undefined;
  existing(
    event: { readonly remote: string; readonly mac?: string },
    stage: Stage,
  ): Whose | 'several' | undefined;
  existing(
    { remote, mac }: { readonly remote: string; readonly mac?: string },
    stage?: Stage,
  ): Whose | 'several' | undefined {
    const believed = this.#believed(mac, remote);
    const ofMac = believed === undefined ? undefined : this.where.ofMac(believed);
    if (ofMac) return { boot: ofMac, join: 'mac' };
    const there = this.where.ofAddress(remote).filter(({ outcome }) => outcome !== 'restarted');
    const [only, ...others] = there;
    if (!only || others.length === 0) return only && { boot: only, join: 'address' };
    // Whoever says that it has somebody's address makes nothing of that one's its own.
    const near = this.#options.neighbour(remote);
    const own = there.find(({ machine }) => machine !== '' && machine === near);
    if (own) return { boot: own, join: 'neighbour' };
    const going = there.filter(({ outcome }) => outcome === 'running');
    const [one, ...more] = going.length > 0 ? going : there;
    if (one && more.length === 0) return { boot: one, join: 'address' };
    if (stage === undefined) return undefined;
    for (const boot of going) boot.shared = true;
    return 'several';
  }

  /**
   * Whether this server's own network speaks against what an address says of itself: that address has another card, and the
   * card is where its machine is booting now.
   */
  isDenied(mac: string, remote: string): boolean {
    const boot = this.where.ofMac(mac);
    if (boot?.outcome !== 'running') return false;
    const { neighbour } = this.#options;
    const near = neighbour(remote);
    if (near === undefined || near === mac) return false;
    return boot.addresses.some((address) => address !== remote && neighbour(address) === mac);
  }

  #believed(mac: string | undefined, remote: string): string | undefined {
    return mac === undefined || this.isDenied(mac, remote) ? undefined : mac;
  }

  #byCard(
    mac: string,
    remote: string,
    at: Moment,
    stage: Stage,
    begins: boolean,
    join: Join,
  ): Whose | undefined {
    let boot = this.ofCard(mac, remote, stage);
    if (!boot || beginsAnew(boot, stage, at)) {
      if (!begins) return undefined;
      boot = this.begin(stage, mac, remote, at);
    }
    if (!boot) return undefined;
    this.where.locate(boot, remote);
    return { boot, join };
  }

  /** The last boot of a card, with what was seen of it at its address before anybody knew whose that is. */
  ofCard(mac: string, remote: string, stage: Stage): OpenBoot | undefined {
    const boot = this.where.ofMac(mac);
    let guess: OpenBoot | undefined;
    for (const each of this.where.namelessAt(remote)) {
      if (each.outcome !== 'running') continue;
      if (guess) return boot;
      guess = each;
    }
    if (!guess || rankOf(guess.stage) > rankOf(stage)) return boot;
    const isBefore = boot?.outcome === 'running' && rankOf(boot.stage) <= rankOf(guess.stage);
    return this.#same(guess, isBefore ? boot : undefined, mac);
  }

  /** Two that were seen apart are one: what was written stays under its own name. */
  #same(guess: OpenBoot, known: OpenBoot | undefined, mac: string): OpenBoot {
    if (!known) {
      this.#endBefore(mac);
      this.where.name(guess, mac);
      return guess;
    }
    const [keep, gone] = guess.written && !known.written ? [guess, known] : [known, guess];
    this.where.remove(gone);
    keep.absorb(gone);
    for (const address of gone.addresses) this.where.locate(keep, address);
    this.where.remove(keep);
    keep.machine = mac;
    this.where.add(keep);
    this.#merged.set(gone, keep);
    this.#options.onChange(gone);
    return keep;
  }

  /** A transfer that began before two boots were known to be one ends in the one. */
  readonly #merged = new WeakMap<OpenBoot, OpenBoot>();

  ofNow(boot: OpenBoot): OpenBoot {
    let now = boot;
    for (let next = this.#merged.get(now); next; next = this.#merged.get(now)) now = next;
    return now;
  }

  begin(stage: Stage, mac: string, remote: string, at: Moment): OpenBoot | undefined {
    if (!this.#options.mayBegin(remote)) return undefined;
    if (mac !== '') this.#endBefore(mac);
    if (this.where.all.size >= MOST_OPEN) this.#giveWay();
    const boot = new OpenBoot(stage, mac, at, this.#options.random());
    this.where.add(boot);
    this.where.locate(boot, remote);
    return boot;
  }

  /** One that was under way before this server began: its machine may have begun anew since. */
  take(boot: OpenBoot): void {
    if (boot.machine !== '' && this.where.ofMac(boot.machine)) {
      boot.end('restarted', 'server');
      this.#options.onChange(boot);
    } else this.where.add(boot);
  }

  /** A card has one boot at a time. */
  #endBefore(mac: string): void {
    const before = this.where.ofMac(mac);
    if (!before) return;
    if (before.outcome === 'running') {
      before.end('restarted', 'server');
      this.#options.onChange(before);
    }
    this.where.remove(before);
  }

  /** What has ended goes first: nobody's flood ends a boot that is under way. */
  #giveWay(): void {
    let oldest: OpenBoot | undefined;
    let oldestEnded: OpenBoot | undefined;
    for (const boot of this.where.all) {
      if (!oldest || boot.heard < oldest.heard) oldest = boot;
      const isEnded = boot.outcome !== 'running' && boot.active === 0;
      if (isEnded && (!oldestEnded || boot.heard < oldestEnded.heard)) oldestEnded = boot;
    }
    oldest = oldestEnded ?? oldest;
    if (!oldest) return;
    if (oldest.outcome === 'running') {
      oldest.end('lost', 'server');
      this.#options.onChange(oldest);
    }
    this.where.remove(oldest);
  }
}

/** Whether a machine that asks for this must have been started again since. */
function beginsAnew(boot: OpenBoot, stage: Stage, at: Moment): boolean {
  const rank = rankOf(stage);
  if (rank > SCRIPT) return boot.outcome === 'restarted';
  const reached = rankOf(boot.stage);
  if (boot.outcome === 'verified') return true;
  // It was slower than it ever was, and goes on.
  if (boot.outcome === 'stalled' && rank > reached) return false;
  // A menu's entry leads to a script again.
  if (boot.outcome === 'waiting' && rank === SCRIPT) return false;
  if (boot.outcome !== 'running' && at.mono - boot.heard > SAME_BOOT_MS) return true;
  return reached > SCRIPT && reached > rank;
}

/** Loaders that can write no query say which machine they are in the path. */
function macOfPath(path: string): string | undefined {
  const armed = armedPathOf(path);
  if (armed) return armed.mac;
  const [, mac] = /\/machines\/([0-9A-Fa-f:-]{17})\//.exec(path) ?? [];
  return claimedMac(mac);
}
