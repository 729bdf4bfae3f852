import { Refusal } from '../../errors/refusal.ts';
import { claimedMac } from '../../formats/net/machine-claims.ts';
import { isArmingId } from '../../formats/records/armed-boot.ts';
import { type BootReport, encodeBootReport } from '../../formats/records/boot-report.ts';
import type { RootMode } from '../../formats/records/policy-floor.ts';
import { lastValue, splitCommandLine } from '../../formats/script/cmdline.ts';
import type { EarlyOptions } from './contract.ts';

/** Bytes of an answer; the server's are short. */
const MAX_ANSWER = 1024;
const TRIES = 8;
/** Milliseconds that a machine waits for an answer which changes nothing. */
const PATIENCE_MS = 3000;

/** What is said of a root that was verified. */
export interface VerifiedRoot {
  readonly release: string;
  readonly root: RootMode;
}

/** Who reports, and where to. */
export class Reporter {
  readonly #options: EarlyOptions;
  readonly #reports: string;
  readonly #mac: string | undefined;
  readonly #once: string | undefined;

  /** @param server the release's folder on the server, `http://10.0.0.1:8080/releases/arch/2026.11.01/`. */
  constructor(options: EarlyOptions, server: string) {
    const words = splitCommandLine(options.cmdline);
    this.#options = options;
    this.#once = lastValue(words, 'bootseal.once');
    this.#mac = claimedMac(lastValue(words, 'BOOTIF')?.replace(/^01-/, '')) ?? options.mac;
    this.#reports = `${new URL(server).origin}/api/v1/boots`;
  }

  /**
   * What the overlay does once its root is verified (`early-userspace/report`): it tells the server, and where the machine
   * was armed for one boot it goes on only when the server says that the arming is consumed.
   *
   * @param print a line for the console.
   * @throws Refusal `stale`, `unreachable` where what was armed may not begin.
   */
  async verified(root: VerifiedRoot, print: (text: string) => void): Promise<void> {
    const once = this.#once;
    if (once === undefined) return this.#tell((whose) => ({ ...whose, outcome: 'verified', ...root }));
    if (!isArmingId(once))
      throw new Refusal('wrong-command-line', 'bootseal.once names no arming: that is 16 hex digits.', {});
    print(`Armed for one boot, ${once}: asking the server to go on.`);
    const mac = this.#mac ?? '';
    let nonce = '';
    for (let tries = 0; tries < TRIES; tries += 1) {
      try {
        if (nonce === '') nonce = await this.#nonce(mac, once);
        if (
          nonce !== '' &&
          (await this.#send({ mac, nonce, once, outcome: 'verified', ...root })) === '{"answer":"consumed"}'
        ) {
          print('This boot is the one that was armed; the next one is another.');
          return;
        }
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        const { status } = error.facts;
        if (status === 409) nonce = '';
        else if (error.code === 'absent' || status === 403) {
          const message = 'The server says that this machine is not armed for this boot, or not any more.';
          throw new Refusal('stale', message, { once }, { cause: error });
        }
      }
    }
    const message = 'The server did not answer whether this machine may begin what it was armed with.';
    throw new Refusal('unreachable', message, { once });
  }

  /** Says why nothing is started; the machine halts, whether somebody hears of it or not. @param lines of its console. */
  refused({ code, message }: Refusal, known: Partial<VerifiedRoot>, lines: readonly string[]): Promise<void> {
    const once = this.#once !== undefined && isArmingId(this.#once) ? { once: this.#once } : {};
    return this.#tell(
      (whose) => ({ ...whose, ...once, outcome: 'refused', code, message, ...known, lines }),
      once.once,
    );
  }

  /** Once, and nobody waits for it. */
  async #tell(
    report: (whose: { readonly mac: string; readonly nonce: string }) => BootReport,
    about?: string,
  ): Promise<void> {
    const mac = this.#mac;
    if (mac === undefined) return;
    try {
      const nonce = await this.#nonce(mac, about, PATIENCE_MS);
      if (nonce !== '') await this.#send(report({ mac, nonce }), PATIENCE_MS);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
    }
  }

  /** Empty where the server gives none. */
  async #nonce(mac: string, once: string | undefined, patienceMs?: number): Promise<string> {
    const about = once === undefined ? '' : `&once=${once}`;
    const answer = await this.#ask(`${this.#reports}/nonce?mac=${mac}${about}`, undefined, patienceMs);
    return /^\{"nonce":"([0-9a-f]{32})"\}$/.exec(answer)?.[1] ?? '';
  }

  #send(report: BootReport, patienceMs?: number): Promise<string> {
    return this.#ask(this.#reports, encodeBootReport(report), patienceMs);
  }

  async #ask(url: string, body?: string, patienceMs?: number): Promise<string> {
    const pieces: Uint8Array[] = [];
    let size = 0;
    const given = body === undefined ? {} : ({ method: 'POST', body } as const);
    const signal = patienceMs === undefined ? {} : { signal: AbortSignal.timeout(patienceMs) };
    for await (const piece of (await this.#options.transport.fetch(url, { ...given, ...signal })).body) {
      size += piece.length;
      if (size > MAX_ANSWER)
        throw new Refusal('too-large', `${url} answers with more than ${MAX_ANSWER} bytes.`);
      pieces.push(piece);
    }
    return Buffer.concat(pieces).toString('latin1').trimEnd();
  }
}
