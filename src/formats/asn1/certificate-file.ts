import { Malformed } from '../../errors/malformed.ts';
import { readPem } from './armor-in-text.ts';
import { TAG } from './der.ts';

/** RFC 7468 §5.3: what older programs write. */
const LABELS: ReadonlySet<string> = new Set(['CERTIFICATE', 'X509 CERTIFICATE']);

/** The certificates of a file, each in DER: PEM with whatever text around it, or one in DER. Throws `Malformed`. */
export function certificateBlocks(bytes: Uint8Array): Uint8Array[] {
  // Its tag is also the digit 0 of a text; its length takes several bytes, and says so with a top bit.
  if (bytes[0] === TAG.sequence && (bytes[1] ?? 0) >= 0x80) return [bytes];
  return readPem(bytes).map(({ label, bytes: der }) => {
    if (LABELS.has(label)) return der;
    throw new Malformed('PEM', `a ${label} where a CERTIFICATE belongs`);
  });
}
