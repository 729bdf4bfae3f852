import type { z } from 'zod';
import type { Boots } from '../../boots/boots.ts';
import type { Refusal } from '../../errors/refusal.ts';
import type { Log } from '../../serve/event-log.ts';
import type { DatedCertificate } from '../../trust/endings.ts';
import type { OfferedLoader } from '../loader-files.ts';
import type { Offering } from '../offering.ts';
import type { Signer } from '../signer.ts';
import type { Answers, Route, RouteWords } from './route.ts';
import { NOTHING } from './schemas.ts';

/** What the API answers from: each answer is made of what is true when it is asked for. */
export interface ApiDesk {
  /** The STATE folder; undefined: a tree is served, and little is known. */
  readonly state: string | undefined;
  readonly offering: () => Offering;
  readonly boots: Boots;
  readonly loaders: ReadonlyMap<string, OfferedLoader>;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** When the server began, milliseconds since 1970. */
  readonly began: number;
  /** Why machines may not be sent here; or what an operator should know all the same. */
  readonly readiness: () => Refusal | readonly string[];
  /** The server's own certificate, where it has one. */
  readonly certificate: () => DatedCertificate | undefined;
  /** Who signs; undefined: what needs a signature waits. */
  readonly signer: Signer | undefined;
  /** Looks at what is written about machines. @returns why it does not count yet; undefined: it is signed. */
  readonly lookAtMachines: () => Promise<string | undefined>;
  readonly log: Log;
}

/** A route whose handler is held against its schemas when it is compiled. */
export function route<
  P extends z.ZodObject = typeof NOTHING,
  Q extends z.ZodObject = typeof NOTHING,
  B extends z.ZodType = z.ZodUndefined,
  A extends Readonly<Record<number, z.ZodType>> = Readonly<Record<number, z.ZodType>>,
>(words: RouteWords<P, Q, B, A>): Route {
  const { parameters = NOTHING, query = NOTHING, body, handle, ...rest } = words;
  return {
    ...rest,
    parameters,
    query,
    body,
    handle:
      handle &&
      (async (asked) => {
        type Given = Parameters<typeof handle>[0];
        const answers: Answers<A> = await handle(asked as Given);
        const [entry] = Object.entries(answers) as readonly [string, object][];
        if (!entry) throw new RangeError(`${words.path} answers nothing`);
        return { status: Number(entry[0]), value: entry[1] };
      }),
  };
}
