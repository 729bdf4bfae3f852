import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import { decodeGaveUp, GAVE_UP_PATH } from '../formats/net/gave-up.ts';
import { claimedMac } from '../formats/net/machine-claims.ts';
import { isArmingId } from '../formats/records/armed-boot.ts';
import { type BootReport, decodeBootReport, MAX_REPORT } from '../formats/records/boot-report.ts';
import type { BootOnce } from '../machines/boot-once.ts';
import type { Emit } from '../serve/emit.ts';
import type { Log } from '../serve/event-log.ts';
import { jsonAnswer } from '../serve/http/http-pages.ts';
import type { Page, PageAnswer } from '../serve/http/http-types.ts';
import { LineLimiter } from '../serve/line-limiter.ts';
import { Nonces } from '../serve/nonces.ts';
import type { Shares } from '../serve/shares.ts';

/**
 * What machines say of their boots: early userspace by a report, an iPXE whose script gave up by a question. It is claimed, by
 * whoever has that address: a report of a verified boot may end an arming, and nothing that arrives here can make one.
 *
 *     GET  /api/v1/boots/nonce?mac=52-54-00-12-34-56[&once=ID]     {"nonce":"<32 hex>"}
 *     POST /api/v1/boots   a BootReport                            {"answer":"consumed"}, or {"answer":"noted"} without once
 *                                                                  and of a boot that was refused
 *     GET  /api/v1/boots/gave-up?mac=…&step=…&errno=…              {"answer":"noted"}
 *
 * 409: the nonce is not good for this; another may be. 404, 403 and 410: the machine may not begin what it was armed with.
 */
export interface BootReportsOptions {
  /** Undefined: this server has no state, so nothing was armed. */
  readonly once: BootOnce | undefined;
  readonly shares: Shares;
  readonly log: Log;
  /** Milliseconds of a monotonic clock. */
  readonly monotonic: () => number;
  /** Told every report that a nonce was given for, and as much of the rest as the log has lines of. */
  readonly emit: Emit;
}

/** The pages that early userspace reports to, by path. */
export function bootReportPages(options: BootReportsOptions): [string, Page][] {
  const { once, shares, log, monotonic, emit } = options;
  const nonces = new Nonces(shares, monotonic);
  const lines = new LineLimiter(monotonic);
  /** False where whoever says it has said too much: then nobody is told. */
  const mayTell = (remote: string): boolean => {
    const may = lines.mayWrite(shares.of(remote));
    const leftOut = lines.tell();
    if (leftOut) log.warn(leftOut, 'lines about reports were left out');
    return may;
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
        async handle({ body, remote }) {
          try {
            return await answer(decodeBootReport(body), remote);
          } catch (error) {
            if (error instanceof Malformed)
              return new Refusal('malformed', 'That is no report of a boot.', {}, { cause: error });
            throw error;
          }
        },
      },
    ],
    [
      GAVE_UP_PATH,
      {
        handle({ query, remote }) {
          const said = decodeGaveUp(query);
          if (!said) return new Refusal('malformed', 'That says no step at which a script gave up.');
          if (mayTell(remote)) {
            log.warn({ remote, ...said }, 'the script of a loader gave up');
            emit({ kind: 'gave-up', server: 'http', remote, ...said });
          }
          return NOTED;
        },
      },
    ],
  ];

  async function answer(report: BootReport, remote: string): Promise<PageAnswer | Refusal> {
    const { mac, nonce, once: id } = report;
    const use = { mac, address: remote, about: id ?? '' };
    // One that was refused has begun nothing: it ends no arming, and is noted like any other.
    if (id === undefined || report.outcome === 'refused') {
      if (!nonces.take(nonce, use)) return OTHER_NONCE;
      tell(report, remote);
      return NOTED;
    }
    if (!once) return new Refusal('absent', 'Nothing is armed here.');
    // The answer to a report may be lost, and the server that gave it too: the record knows the nonce that it was for.
    const claim = { mac, id, nonce, address: remote };
    if (!(await once.wasConsumedBy(claim)) && !nonces.take(nonce, use)) return OTHER_NONCE;
    try {
      await once.report(claim);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      if (mayTell(remote))
        log.info({ remote, mac, once: id, ...error.toJSON() }, 'a report of an armed boot is refused');
      return error;
    }
    tell(report, remote);
    return jsonAnswer(200, { answer: 'consumed' });
  }

  function tell({ nonce: _nonce, ...said }: BootReport, remote: string): void {
    const armed = said.once === undefined ? 'its boot' : 'its armed boot';
    const level = said.outcome === 'verified' ? 'info' : 'warn';
    const what = said.outcome === 'verified' ? 'reported' : 'refused';
    if (mayTell(remote)) log[level]({ remote, ...said }, `a machine ${what} ${armed}`);
    // Each has cost a nonce: as many as boot at once are told, though the log has no lines for all.
    emit({ kind: 'reported', server: 'http', remote, lines: [], ...said });
  }
}

const NOTED = jsonAnswer(200, { answer: 'noted' });

const OTHER_NONCE = jsonAnswer(409, {
  answer: 'refused',
  message: 'This nonce is not good for that report: it was used, is too old, or was given to another.',
});
