import { z } from 'zod';
import { Refusal } from '../errors/refusal.ts';
import { claimedMac } from '../formats/net/machine-claims.ts';
import { isArmingId, isKeptMac } from '../formats/records/armed-boot.ts';
import type { BootOnce } from '../machines/boot-once.ts';
import type { Log } from '../serve/event-log.ts';
import { jsonAnswer } from '../serve/http/http-pages.ts';
import type { Page, PageAnswer, PageRequest } from '../serve/http/http-types.ts';
import { LineLimiter } from '../serve/line-limiter.ts';
import { Nonces } from '../serve/nonces.ts';
import type { Shares } from '../serve/shares.ts';

/**
 * What early userspace says of its boot. It is claimed, by whoever has that address: it may end an arming, and nothing that
 * arrives here can make one.
 *
 *     GET  /api/v1/boots/nonce?mac=52-54-00-12-34-56[&once=ID]     {"nonce":"<32 hex>"}
 *     POST /api/v1/boots   {"mac":"52:54:00:12:34:56","nonce":"<32 hex>","once":"ID","outcome":"verified"}
 *                                                                  {"answer":"consumed"}, or {"answer":"noted"} without once
 *
 * 409: the nonce is not good for this; another may be. 404, 403 and 410: the machine may not begin what it was armed with.
 */
const REPORT = z.strictObject({
  mac: z.string().refine(isKeptMac),
  nonce: z.string().regex(/^[0-9a-f]{32}$/),
  once: z.string().refine(isArmingId).optional(),
  outcome: z.literal('verified'),
});

/** Bytes of a report. */
const MAX_REPORT = 1024;

export interface BootReportsOptions {
  /** Undefined: this server has no state, so nothing was armed. */
  readonly once: BootOnce | undefined;
  readonly shares: Shares;
  readonly log: Log;
  /** Milliseconds of a monotonic clock. */
  readonly monotonic: () => number;
}

/** The pages that early userspace reports to, by path. */
export function bootReportPages(options: BootReportsOptions): [string, Page][] {
  const { once, shares, log, monotonic } = options;
  const nonces = new Nonces(shares, monotonic);
  const lines = new LineLimiter(monotonic);
  const tell = (remote: string, facts: object, message: string): void => {
    if (lines.mayWrite(shares.of(remote))) log.info({ remote, ...facts }, message);
    const leftOut = lines.tell();
    if (leftOut) log.warn(leftOut, 'lines about reports were left out');
  };
  return [
    [
      '/api/v1/boots/nonce',
      {
        handle({ query, remote }) {
          const mac = claimedMac(query.get('mac'));
          const about = query.get('once') ?? '';
          const known = [...query.keys()].every((key) => key === 'mac' || key === 'once');
          if (mac === undefined || !known || (about !== '' && !isArmingId(about)))
            return new Refusal(
              'malformed',
              'Ask for a nonce with mac=52-54-00-12-34-56, and once=ID where armed.',
            );
          return jsonAnswer(200, { nonce: nonces.give({ mac, address: remote, about }) });
        },
      },
    ],
    [
      '/api/v1/boots',
      {
        methods: ['POST'],
        maxBodyBytes: MAX_REPORT,
        async handle(request) {
          const report = readReport(request);
          if (!report) return new Refusal('malformed', 'That is no report of a boot.');
          return answer(report, request.remote);
        },
      },
    ],
  ];

  async function answer(
    { mac, nonce, once: id, outcome }: z.infer<typeof REPORT>,
    remote: string,
  ): Promise<PageAnswer | Refusal> {
    const use = { mac, address: remote, about: id ?? '' };
    if (id === undefined) {
      if (!nonces.take(nonce, use)) return OTHER_NONCE;
      tell(remote, { mac, outcome }, 'a machine reported its boot');
      return jsonAnswer(200, { answer: 'noted' });
    }
    if (!once) return new Refusal('absent', 'Nothing is armed here.');
    // The answer to a report may be lost, and the server that gave it too: the record knows the nonce that it was for.
    const claim = { mac, id, nonce, address: remote };
    if (!(await once.wasConsumedBy(claim)) && !nonces.take(nonce, use)) return OTHER_NONCE;
    try {
      await once.report(claim);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      tell(remote, { mac, once: id, ...error.toJSON() }, 'a report of an armed boot is refused');
      return error;
    }
    tell(remote, { mac, once: id, outcome }, 'a machine reported its armed boot');
    return jsonAnswer(200, { answer: 'consumed' });
  }
}

const OTHER_NONCE = jsonAnswer(409, {
  answer: 'refused',
  message: 'This nonce is not good for that report: it was used, is too old, or was given to another.',
});

/** Strict, and written in one way: two readers could read two things where a key stands twice. */
function readReport({ body }: PageRequest): z.infer<typeof REPORT> | undefined {
  const text = Buffer.from(body).toString('utf8').trim();
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const result = REPORT.safeParse(value);
  return result.success && JSON.stringify(result.data) === text ? result.data : undefined;
}
