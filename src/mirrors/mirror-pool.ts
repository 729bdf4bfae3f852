import { Refusal } from '../errors/refusal.ts';
import type { FileSource, MirrorSource } from './mirror-source.ts';

/** Faults in a row after which a mirror is asked no more. */
const MOST_FAULTS = 5;

export type MirrorStanding = 'good' | 'behind' | 'dropped' | 'unreachable';

/** What a pull makes of one mirror. */
export interface PulledMirror {
  readonly mirror: string;
  /** `behind`: its snapshot is older than another's; its files were used where they were the very same. */
  readonly standing: MirrorStanding;
  /** Why it was dropped, or its last fault. */
  readonly refusal: Refusal | undefined;
  /** Bytes that came from it. */
  readonly octets: number;
}

interface Member<S> {
  readonly source: S;
  standing: MirrorStanding;
  refusal: Refusal | undefined;
  faults: number;
  octets: number;
}

/**
 * The mirrors of one pull, in the order in which they are tried. One that gave what was not signed is dropped and named;
 * one that does not answer is tried again a few times, after the others.
 */
export class MirrorPool<S extends FileSource = MirrorSource> {
  readonly #members: readonly Member<S>[];

  constructor(sources: readonly S[]) {
    this.#members = sources.map((source) => ({
      source,
      standing: 'good',
      refusal: undefined,
      faults: 0,
      octets: 0,
    }));
  }

  /** Those that may be asked, the best first. */
  get sources(): readonly S[] {
    const of = (standing: MirrorStanding) =>
      this.#members.filter((one) => one.standing === standing).map(({ source }) => source);
    return [...of('good'), ...of('behind')];
  }

  get rows(): readonly PulledMirror[] {
    return this.#members.map(({ source, standing, refusal, octets }) => ({
      mirror: source.name,
      standing,
      refusal,
      octets,
    }));
  }

  isActive(source: S): boolean {
    const { standing } = this.#of(source);
    return standing === 'good' || standing === 'behind';
  }

  /** It gave something else than was signed. */
  drop(source: S, refusal: Refusal): void {
    const member = this.#of(source);
    member.standing = 'dropped';
    member.refusal = refusal;
  }

  behind(source: S): void {
    this.#of(source).standing = 'behind';
  }

  /** It could not be asked, or does not have it. */
  fault(source: S, refusal: Refusal, last = false): void {
    const member = this.#of(source);
    if (member.standing === 'dropped') return;
    member.refusal = refusal;
    if (refusal.code === 'absent') return;
    member.faults += 1;
    if (last || member.faults >= MOST_FAULTS) member.standing = 'unreachable';
  }

  arrived(source: S, octets: number): void {
    const member = this.#of(source);
    member.octets += octets;
    member.faults = 0;
  }

  /**
   * Asks one mirror after the other until one has what is wanted.
   *
   * @param work throws a Refusal where this mirror does not have it, or has another.
   * @throws Refusal: the worst of those, where none has it.
   */
  async first<T>(what: string, work: (source: S) => Promise<T>): Promise<T> {
    const refusals: Refusal[] = [];
    for (const source of this.sources) {
      try {
        return await work(source);
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        this.judge(source, error);
        refusals.push(error);
      }
    }
    throw (
      worstOf(refusals) ??
      new Refusal('unreachable', `No mirror is left that could be asked for ${what}.`, {})
    );
  }

  /** Tells a fault from a lie. */
  judge(source: S, refusal: Refusal): void {
    if (refusal.code === 'unreachable' || refusal.code === 'absent') this.fault(source, refusal);
    else this.drop(source, refusal);
  }

  #of(source: S): Member<S> {
    const member = this.#members.find((one) => one.source === source);
    if (!member) throw new RangeError('a mirror of this pull');
    return member;
  }
}

/** What is said where all refused: what somebody gave says more than that somebody did not answer. */
export function worstOf(refusals: readonly Refusal[]): Refusal | undefined {
  const lie = refusals.find(({ code }) => code !== 'unreachable' && code !== 'absent');
  return lie ?? refusals.find(({ code }) => code === 'absent') ?? refusals[0];
}
