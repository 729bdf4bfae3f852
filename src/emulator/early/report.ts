import { Refusal } from '../../errors/refusal.ts';
import { claimedMac } from '../../formats/net/machine-claims.ts';
import { lastValue, splitCommandLine } from '../../formats/script/cmdline.ts';
import type { EarlyOptions } from './contract.ts';

/** Bytes of an answer; the server's are short. */
const MAX_ANSWER = 1024;
const TRIES = 8;

/**
 * What the overlay does once its root is verified (`early-userspace/report`): it tells the server, and where the machine
 * was armed for one boot it goes on only when the server says that the arming is consumed.
 *
 * @param server the release's folder on the server, `http://10.0.0.1:8080/releases/arch/2026.11.01/`.
 * @param print a line for the console.
 * @throws Refusal `stale`, `unreachable` where what was armed may not begin.
 */
export async function reportBoot(
  options: EarlyOptions,
  server: string,
  print: (text: string) => void,
): Promise<void> {
  const words = splitCommandLine(options.cmdline);
  const once = lastValue(words, 'bootseal.once');
  const mac = claimedMac(lastValue(words, 'BOOTIF')?.replace(/^01-/, '')) ?? options.mac;
  const reports = `${new URL(server).origin}/api/v1/boots`;
  const ask = async (url: string, body?: string): Promise<string> => {
    const pieces: Uint8Array[] = [];
    let size = 0;
    const given = body === undefined ? {} : ({ method: 'POST', body } as const);
    for await (const piece of (await options.transport.fetch(url, given)).body) {
      size += piece.length;
      if (size > MAX_ANSWER)
        throw new Refusal('too-large', `${url} answers with more than ${MAX_ANSWER} bytes.`);
      pieces.push(piece);
    }
    return Buffer.concat(pieces).toString('latin1').trimEnd();
  };
  const askNonce = async (): Promise<string> => {
    const about = once === undefined ? '' : `&once=${once}`;
    const answer = await ask(`${reports}/nonce?mac=${mac}${about}`);
    return /^\{"nonce":"([0-9a-f]{32})"\}$/.exec(answer)?.[1] ?? '';
  };
  const report = (nonce: string) =>
    ask(
      reports,
      JSON.stringify({ mac, nonce, ...(once === undefined ? {} : { once }), outcome: 'verified' }),
    );

  if (once === undefined) {
    if (mac === undefined) return;
    try {
      await report(await askNonce());
    } catch (error) {
      // Nobody waits for it.
      if (!(error instanceof Refusal)) throw error;
    }
    return;
  }
  print(`Armed for one boot, ${once}: asking the server to go on.`);
  let nonce = '';
  for (let tries = 0; tries < TRIES; tries += 1) {
    try {
      if (nonce === '') nonce = await askNonce();
      if (nonce !== '' && (await report(nonce)) === '{"answer":"consumed"}') {
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
