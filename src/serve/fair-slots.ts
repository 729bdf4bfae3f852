import type { Share } from './shares.ts';

/** Something of which a server has only so many at a time: a connection, a transfer. */
export interface Holder {
  readonly share: Share;
  /** Bytes that its client asked for and has not taken. */
  readonly owed: number;
  /** True where nobody misses it: nothing was asked for yet, or all was answered and asking anew costs nothing. */
  readonly spare: boolean;
  /** False where its address is a claim that nobody has shown to be true yet (a first datagram). */
  readonly proven: boolean;
  /** Ends it, so that another has its place. */
  giveWay(): void;
}

/**
 * Who is let in, and who gives way. Shares bind only where there is no room: then the share that holds most for
 * its weight gives one to whoever holds less. One that holds no more than its weight is never asked: a lone
 * connection is as safe as if there were no others.
 *
 * Within a share, those give first whose address is not proven, then those that are spare (oldest first), then the
 * one that is owed most bytes; among equals the newest, so that a root disk that is idle outlives whatever came
 * after it.
 */
export class FairSlots<H extends Holder> {
  readonly #capacity: number;
  readonly #all = new Set<H>();
  readonly #unproven = new Set<H>();
  readonly #byShare = new Map<string, { readonly share: Share; readonly holders: Set<H> }>();
  /** Shares that hold more than their weight. */
  readonly #heavy = new Set<string>();

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get size(): number {
    return this.#all.size;
  }

  /** Lets `holder` in, where need be in the place of another; false where it is the one that holds most. */
  admit(holder: H): boolean {
    if (this.#all.size >= this.#capacity && !this.#makeRoom(holder.share)) return false;
    const { share } = holder;
    const group = this.#byShare.get(share.name) ?? { share, holders: new Set<H>() };
    group.holders.add(holder);
    this.#byShare.set(share.name, group);
    if (group.holders.size > share.weight) this.#heavy.add(share.name);
    this.#all.add(holder);
    if (!holder.proven) this.#unproven.add(holder);
    return true;
  }

  /** The address of `holder` was shown to be its own. */
  prove(holder: H): void {
    this.#unproven.delete(holder);
  }

  /** `holder` is over. */
  leave(holder: H): void {
    if (!this.#all.delete(holder)) return;
    this.#unproven.delete(holder);
    const { name, weight } = holder.share;
    const holders = this.#byShare.get(name)?.holders;
    holders?.delete(holder);
    if ((holders?.size ?? 0) <= weight) this.#heavy.delete(name);
    if (holders?.size === 0) this.#byShare.delete(name);
  }

  /** The system has run out of what all of them need: the share that holds most gives one. */
  relieve(): void {
    const top = this.#top();
    const victim = top && choose(top.holders);
    if (victim !== undefined) this.#end(victim);
  }

  [Symbol.iterator](): Iterator<H> {
    return this.#all.values();
  }

  #makeRoom(share: Share): boolean {
    const own = this.#byShare.get(share.name)?.holders;
    const top = this.#top();
    const more = top !== undefined && load(top) > ((own?.size ?? 0) + 1) / share.weight;
    const [oldest] = this.#unproven;
    const victim = (more && top.share.name !== share.name ? choose(top.holders) : oldest) ?? firstSpare(own);
    if (victim === undefined) return false;
    this.#end(victim);
    return true;
  }

  #end(victim: H): void {
    // Its place is free at once: a socket says only later that it is closed.
    this.leave(victim);
    victim.giveWay();
  }

  #top(): { readonly share: Share; readonly holders: ReadonlySet<H> } | undefined {
    let top: { readonly share: Share; readonly holders: ReadonlySet<H> } | undefined;
    for (const name of this.#heavy) {
      const group = this.#byShare.get(name);
      if (group !== undefined && (top === undefined || load(group) > load(top))) top = group;
    }
    return top;
  }
}

function load({
  share,
  holders,
}: {
  readonly share: Share;
  readonly holders: { readonly size: number };
}): number {
  return holders.size / share.weight;
}

/** The one that gives way, of those that stand in the order in which they came. */
function choose<H extends Holder>(holders: Iterable<H>): H | undefined {
  let spare: H | undefined;
  let owed: H | undefined;
  let most = -1;
  for (const holder of holders) {
    if (!holder.proven) return holder;
    if (holder.spare) spare ??= holder;
    const bytes = holder.owed;
    if (bytes < most) continue;
    most = bytes;
    owed = holder;
  }
  return spare ?? owed;
}

function firstSpare<H extends Holder>(holders: Iterable<H> = []): H | undefined {
  for (const holder of holders) if (holder.spare) return holder;
  return undefined;
}
