import type { Boots } from '../boots/boots.ts';
import { receiptFacts } from '../boots/receipt.ts';
import type { Log } from '../serve/event-log.ts';
import type { HomeFacts } from '../web/facts.ts';
import { HOME_PIECES, type HomeParts, homeParts } from '../web/home-page.ts';
import type { EventHub } from './event-hub.ts';
import { HomeBoots, type HomeSources, homeFacts, stateFacts } from './web-home.ts';

export interface LiveOptions {
  readonly sources: HomeSources;
  readonly hub: EventHub;
  readonly boots: Boots;
  /** Resolves when what was written before this server began is known. */
  readonly loaded: Promise<void>;
  readonly log: Log;
}

/** Milliseconds between a change and the look that tells of it: what comes together is told together. */
const GATHER_MS = 150;
/** A look takes at most one part in so many of the time. */
const PART = 10;

/**
 * Keeps open pages true. What they show is made once for all of them, and only what has become another text is sent: a
 * thousand tabs cost no more looks than one.
 */
export class LivePages {
  readonly #options: LiveOptions;
  readonly #home: HomeBoots;
  #told: HomeParts | undefined;
  #state = '';
  #looking: Promise<HomeFacts> | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** Milliseconds that the last look took. */
  #cost = 0;
  readonly #leave: () => void;

  constructor(options: LiveOptions) {
    this.#options = options;
    const { boots, hub, sources, loaded, log } = options;
    this.#home = new HomeBoots(boots, sources.clock);
    this.#leave = boots.subscribe((change) => {
      this.#home.note(change);
      if (hub.heard) hub.push('boot', receiptFacts(change.receipt));
      this.#soon();
    });
    // A million receipts take seconds to read: the page does not wait for what was long ago.
    loaded
      .then(() => this.#home.begin())
      .then(() => this.#soon())
      .catch((error: unknown) => log.error({ err: error }, 'receipts of boots cannot be shown'));
  }

  /** Time passes. */
  tick(): void {
    if (this.#options.hub.heard) this.#soon();
  }

  /**
   * How it is now. Open pages are told what has changed since the last time before this resolves, so that a page made of it
   * goes on with the newest event.
   *
   * @throws IoError
   */
  async look(): Promise<HomeFacts> {
    // One that has begun already may have seen what was before.
    await this.#looking?.catch(() => {});
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  end(): void {
    this.#leave();
    clearTimeout(this.#timer);
    this.#options.hub.end();
  }

  #soon(): void {
    const { hub, log } = this.#options;
    if (this.#timer !== undefined || !hub.heard) return;
    const wait = Math.max(GATHER_MS, this.#cost * PART);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.look().catch((error: unknown) => log.error({ err: error }, 'the overview cannot be made'));
    }, wait);
    this.#timer.unref();
  }

  async #look(): Promise<HomeFacts> {
    const { sources, hub } = this.#options;
    const began = performance.now();
    const facts = await homeFacts(sources, this.#home);
    const parts = homeParts(facts);
    const state = stateFacts(sources);
    const text = JSON.stringify(state);
    if (text !== this.#state) hub.push('state', state);
    this.#state = text;
    const change = changeOf(this.#told, parts);
    if (change) hub.push('page', change);
    this.#told = parts;
    this.#cost = performance.now() - began;
    return facts;
  }
}

/** What of an open overview has to be put anew: pieces by id, and of the list of boots those that are new or other. */
function changeOf(before: HomeParts | undefined, now: HomeParts): object | undefined {
  const pieces = HOME_PIECES.filter((name) => now.pieces[name] !== before?.pieces[name]);
  const rows = [...now.boots].filter(([id, text]) => text !== before?.boots.get(id));
  const order = [...now.boots.keys()];
  const isSame = before !== undefined && order.join() === [...before.boots.keys()].join();
  if (pieces.length === 0 && rows.length === 0 && isSame) return undefined;
  return {
    pieces: Object.fromEntries(pieces.map((name) => [name, now.pieces[name]])),
    rows: Object.fromEntries(rows),
    order,
  };
}
