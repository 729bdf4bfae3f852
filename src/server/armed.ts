import { IoError } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import type { Arming, Consumption } from '../formats/records/armed-boot.ts';
import { armedPathOf } from '../formats/records/armed-folder.ts';
import { BootOnce, type OnceAnswer, type OnceRecords } from '../machines/boot-once.ts';
import type { Booter, BootScript, Machine } from '../machines/booter.ts';
import type { Client, OpenResource, Resource, Site } from '../release/site.ts';
import type { Log } from '../serve/event-log.ts';
import { consumptionAct } from '../store/armed-acts.ts';
import { ArmedBoots } from '../store/armed-boots.ts';
import type { StoreBackend } from '../store/backend.ts';
import { recordsOf } from '../store/folder-backend.ts';
import { recordActs } from '../store/log.ts';
import { isBucketState } from '../store/s3/location.ts';
import { readScript } from '../store/signed-scripts.ts';
import { openStateWhenFree } from '../store/state.ts';
import { readStatePolicy } from '../store/state-policy.ts';
import { verifyArmedScript } from '../trust/armed-script-check.ts';
import { SCRIPT_NAMES } from '../trust/machine-script-check.ts';
import type { PolicyFile } from '../trust/policy-file.ts';
import { ArmedRecords } from './armed-records.ts';
import { Away } from './away.ts';
import type { HeldRelease } from './held-release.ts';
import type { Signer } from './signer.ts';

export interface ArmedServingOptions {
  /** Of the state that all servers share. */
  readonly records: StoreBackend;
  /** How armings are written down, where that is not by the records alone. */
  readonly once?: OnceRecords;
  /** Why nothing that is armed may begin here, as the end of a sentence; undefined: it may. */
  readonly fault?: () => Promise<string | undefined>;
  /** What is offered at the moment of a request. */
  readonly offered: () => readonly HeldRelease[];
  /** Of the state. */
  readonly policy: () => Promise<PolicyFile>;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  readonly log: Log;
  /** How a state is asked that may be away; undefined: it is on this machine. */
  readonly away?: Away;
  /** Writes them into the log of the state; whatever comes of that, they are durable. */
  readonly record: (consumed: readonly Consumed[]) => Promise<void>;
}

/** An arming that is over. */
export interface Consumed {
  readonly arming: Arming;
  readonly consumption: Consumption;
}

/**
 * Boot-once, as a running server holds it: nothing but what the state's records say, so that a server that dies, or stands
 * beside another, changes nothing.
 */
export class ArmedServing {
  readonly once: BootOnce;
  readonly #options: ArmedServingOptions;
  /** Machines that asked and did not get what they are armed with, and why, as it was said last. */
  readonly #notServed = new Map<string, { readonly id: string; readonly why: string }>();
  /** Machines that were armed, or not done with it, when they asked last. */
  readonly #armed = new Set<string>();
  #waiting: Consumed[] = [];
  #recording: Promise<void> = Promise.resolve();
  #looking: Promise<void> | undefined;

  constructor(options: ArmedServingOptions) {
    this.#options = options;
    const once = options.once ?? new ArmedBoots(options.records);
    this.once = new BootOnce(once, options.clock, (arming, consumption) => this.#tell(arming, consumption));
  }

  /** What an operator should know, one sentence each. */
  get warnings(): readonly string[] {
    const [first, ...others] = this.#notServed.values();
    if (!first) return [];
    const who =
      others.length === 0 ? 'a machine that is armed' : `${others.length + 1} machines that are armed`;
    return [`${who} booted as usual: ${first.why.replace(/\.$/, '')}`];
  }

  /** Begins to look whether those machines still wait for it, unless the last look goes on. */
  look(): void {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
  }

  /** Resolves when no look goes on, and every consumption so far is in the log, or cannot be. */
  async settled(): Promise<void> {
    await this.#looking;
    await this.#recording;
  }

  /**
   * Armed machines first; whoever is not armed is `usual`'s.
   *
   * @param local what boots the local disk of a machine that has booted what it was armed with; undefined: nothing can,
   *   and such a machine is refused, since what it usually boots is not what was asked for.
   */
  booter(usual: Booter, local?: Booter): Booter {
    return {
      boot: async (machine, remote) => {
        try {
          return await this.#boot(machine, remote, usual, local);
        } catch (error) {
          if (error instanceof Refusal) return error;
          throw error;
        }
      },
      // Nearly every machine that asks was never armed.
      known: (machine) => (this.once.isSurelyUsual(machine) ? usual.known?.(machine) : undefined),
    };
  }

  async #boot(
    machine: Machine,
    remote: string | undefined,
    usual: Booter,
    local: Booter | undefined,
  ): Promise<BootScript | Refusal> {
    const answer = await this.#answer(machine);
    if (!answer) return usual.boot(machine, remote);
    const { arming } = answer;
    if (answer.kind === 'local') {
      const message = `${arming.mac} has booted ${arming.release} and starts its local disk from now on; "bootseal machines disarm" ends that.`;
      return (
        local?.boot(machine, remote) ?? new Refusal('stale', message, { mac: arming.mac, id: arming.id })
      );
    }
    try {
      const script = await this.#script(arming, machine);
      if (script) this.#notServed.delete(arming.mac);
      return script ?? (await usual.boot(machine, remote));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      // What destroys is left out, and the machine boots as if nobody had armed it.
      this.#tellNotServed(arming, error);
      return usual.boot(machine, remote);
    }
  }

  /**
   * Of a state that is far away and cannot be read now, whoever was not known to be armed gets the usual: it destroys
   * nothing, and a store that is away keeps no machine from booting. Who was armed waits until somebody knows.
   */
  async #answer(machine: Machine): Promise<OnceAnswer> {
    const { away } = this.#options;
    const { mac } = machine;
    if (!away || mac === undefined) return this.once.answer(machine);
    try {
      const answer = await away.ask(() => this.once.answer(machine));
      if (answer) this.#armed.add(mac);
      else this.#armed.delete(mac);
      return answer;
    } catch (error) {
      if (!(error instanceof IoError) || this.#armed.has(mac)) throw error;
      return undefined;
    }
  }

  async #look(): Promise<void> {
    for (const [mac, { id }] of this.#notServed)
      if (!(await this.once.waits(mac, id).catch(() => true))) this.#notServed.delete(mac);
  }

  /** Once for each reason: whoever asks for it in a loop fills no log. */
  #tellNotServed({ mac, id }: Arming, refusal: Refusal): void {
    const said = this.#notServed.get(mac);
    if (said?.id === id && said.why === refusal.message) return;
    this.#notServed.set(mac, { id, why: refusal.message });
    this.#options.log.error({ mac, id, ...refusal.toJSON() }, 'an armed script is not served');
  }

  /** Undefined for a loader of another CA, which would not take it. */
  async #script(arming: Arming, { anchor }: Machine): Promise<BootScript | undefined> {
    const { records, offered, policy, clock } = this.#options;
    const held = offered().find(({ release }) => release.manifestSha256 === arming.manifest);
    if (!held)
      throw new Refusal('absent', `${arming.release}, which ${arming.mac} is armed with, is in no channel.`, {
        release: arming.release,
      });
    if (held.refusal) throw held.refusal;
    const fault = await this.#options.fault?.();
    if (fault !== undefined)
      throw new Refusal('forbidden', `${arming.mac} does not get what it is armed with: ${fault}.`, {
        mac: arming.mac,
      });
    if (anchor !== undefined && anchor !== held.release.anchorId) return undefined;
    const script = await readScript(records, arming.loader, arming.script);
    const now = clock();
    const judgedBy = await policy();
    if (arming.loader === 'grub' && !judgedBy.machines.armedByGrub)
      throw new Refusal('wrong-purpose', `The policy lets no GRUB have what ${arming.mac} is armed with.`, {
        mac: arming.mac,
      });
    await verifyArmedScript(arming, script, held.release, judgedBy.at(now, now), now);
    return { name: SCRIPT_NAMES[arming.loader], ...script, once: arming.id };
  }

  /** The files below `/armed/MAC/ID/`: those of the release, and each that leaves is counted. */
  site(site: Site): Site {
    return {
      known: (path) => site.known?.(path),
      find: async (path, from) => {
        const wanted = armedPathOf(path);
        if (!wanted) return site.find(path, from);
        try {
          return await this.#find(wanted, from, site);
        } catch (error) {
          if (error instanceof Refusal) return error;
          throw error;
        }
      },
    };
  }

  async #find(
    { mac, id, rest }: { mac: string; id: string; rest: string },
    from: Client | undefined,
    site: Site,
  ): Promise<Resource | Refusal> {
    const { release } = await this.once.demandArmed(mac, id, '');
    const prefix = `/releases/${release}/`;
    if (!rest.startsWith(prefix))
      return new Refusal('absent', `Nothing but ${release} is served for this arming.`, { mac, id });
    const path = rest.slice(prefix.length);
    const { leaves = [] } = await this.once.demandArmed(mac, id, path);
    const found = await site.find(rest, from);
    if (found instanceof Refusal || !leaves.includes(path)) return found;
    return leavingResource(found, () => this.once.leaving(mac, id, path, from?.remote));
  }

  #tell(arming: Arming, consumption: Consumption): void {
    const { log, record } = this.#options;
    // A line of the log has a time of its own.
    const { id: _, time: _time, ...facts } = consumption;
    log.info(
      { mac: arming.mac, id: arming.id, release: arming.release, ...facts },
      'an armed boot was consumed',
    );
    this.#waiting.push({ arming, consumption });
    // A classroom is one entry after the other under one lock.
    if (this.#waiting.length === 1) this.#recording = this.#recording.then(() => this.#recordAll(record));
  }

  async #recordAll(record: ArmedServingOptions['record']): Promise<void> {
    const consumed = this.#waiting;
    this.#waiting = [];
    try {
      await record(consumed);
    } catch (error) {
      const machines = consumed.map(({ arming }) => arming.mac);
      this.#options.log.error(
        { err: error, machines },
        'armed boots that were consumed are not in the log of the state',
      );
    }
  }
}

/** A file whose last bytes leave only after `leaving` has resolved. */
function leavingResource(resource: Resource, leaving: () => Promise<void>): Resource {
  const { size, sha256, name, type } = resource;
  return {
    size,
    sha256,
    name,
    ...(type === undefined ? {} : { type }),
    // What a cache keeps leaves a second time unseen.
    immutable: false,
    async open(use): Promise<OpenResource> {
      const open = await resource.open(use);
      let read = size === 0;
      let left = false;
      return {
        read(buffer, position) {
          read = true;
          return open.read(buffer, position);
        },
        async check() {
          await open.check();
          // A HEAD takes nothing along, and of several ranges the first that is whole is enough.
          if (!read || left) return;
          left = true;
          await leaving();
        },
        close: () => open.close(),
      };
    },
  };
}

/** Boot-once of a state folder. Whoever serves it appends to its log, and signs nothing there. */
export function stateArmed(
  options: Pick<ArmedServingOptions, 'offered' | 'clock' | 'log'> & {
    readonly state: string;
    /** Who writes down what this server may not; undefined: nobody. */
    readonly signer: Signer | undefined;
  },
): ArmedServing {
  const { state: folder, clock, log, signer } = options;
  const once = isBucketState(folder) ? undefined : new ArmedRecords(folder, signer);
  return new ArmedServing({
    ...options,
    ...(isBucketState(folder) ? { away: new Away(log) } : {}),
    ...(once ? { once, fault: () => once.fault() } : {}),
    records: recordsOf(folder),
    policy: () => readStatePolicy(folder),
    async record(consumed) {
      // Whoever wrote them down has logged them.
      if (once && !(await once.isOwn())) return;
      const state = await openStateWhenFree(folder);
      try {
        const time = clock();
        await recordActs(
          folder,
          consumed.map(({ arming, consumption }) => consumptionAct(arming, consumption, time)),
        );
      } finally {
        await state.release();
      }
    },
  });
}
