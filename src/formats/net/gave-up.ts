import { claimedMac } from './machine-claims.ts';

/** Where that is said. */
export const GAVE_UP_PATH = '/api/v1/boots/gave-up';

/** At which step a loader's script gave up, and with which error. */
export interface GaveUp {
  /** `52:54:00:12:34:56` */
  readonly mac?: string;
  /** What it could not do, as it stands on the screen: `verify the kernel vmlinuz`. Printable ASCII, 1 to 128 characters. */
  readonly step: string;
  /** iPXE's error number as iPXE writes it, `0x227e13c`. */
  readonly errno?: string;
}

/** Characters of a step. */
const MOST_STEP = 128;

/**
 * Reads the query that `gave-up.ipxe` writes: `mac=52-54-00-12-34-56&step=<hex>&errno=<hex>`. The last two are the hex digits
 * of texts, since that is a form in which no text can spell anything into an address.
 *
 * @returns undefined for anything else: a claim that is not of its form was not made by our script.
 */
export function decodeGaveUp(query: URLSearchParams): GaveUp | undefined {
  const keys = [...query.keys()];
  if (keys.join(' ') !== 'mac step errno') return undefined;
  const mac = claimedMac(query.get('mac'));
  const step = textOfHex(query.get('step') ?? '');
  const errno = textOfHex(query.get('errno') ?? '');
  if (step === undefined || !/^[\x20-\x7e]+$/.test(step) || step.length > MOST_STEP) return undefined;
  // Where nothing failed before, iPXE knows no error.
  if (errno === undefined || !/^(0x[0-9a-f]{1,8})?$/.test(errno)) return undefined;
  return { ...(mac === undefined ? {} : { mac }), step, ...(errno === '' ? {} : { errno }) };
}

function textOfHex(hex: string): string | undefined {
  return /^([0-9a-f]{2})*$/.test(hex) ? Buffer.from(hex, 'hex').toString('latin1') : undefined;
}
