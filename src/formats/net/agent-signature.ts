import { Malformed } from '../../errors/malformed.ts';
import type { SignatureNumbers } from './signd.ts';

/**
 * What gpg-agent's PKSIGN answers with: a canonical S-expression (Rivest's draft, §6.1), `(7:sig-val(3:rsa(1:s256:…)))`
 * or `(7:sig-val(5:ecdsa(1:r32:…)(1:s32:…)))` (libgcrypt's manual, "Cryptographic functions").
 */

const FORMAT = 'S-expression';
/** Bytes of one number; an RSA key of 16384 bits makes 2048. */
const LONGEST = 4096;

/** Decodes a whole answer, nothing after it. Throws `Malformed`. */
export function decodeAgentSignature(bytes: Uint8Array): SignatureNumbers {
  const cursor = new Cursor(bytes);
  cursor.open('sig-val');
  cursor.take('(');
  const kind = Buffer.from(cursor.atom()).toString('latin1');
  let numbers: SignatureNumbers;
  if (kind === 'rsa') numbers = { kind, s: cursor.number('s') };
  else if (kind === 'ecdsa') numbers = { kind, r: cursor.number('r'), s: cursor.number('s') };
  else throw new Malformed(FORMAT, 'a signature by another kind of key');
  cursor.take(')');
  cursor.take(')');
  cursor.end();
  return numbers;
}

class Cursor {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  take(wanted: '(' | ')'): void {
    if (this.#bytes[this.#at] !== wanted.charCodeAt(0)) throw this.#fail(`no "${wanted}"`);
    this.#at++;
  }

  /** `(` and the name of a list. */
  open(name: string): void {
    this.take('(');
    if (Buffer.from(this.atom()).toString('latin1') !== name) throw this.#fail(`no list called ${name}`);
  }

  /** A whole list of a name and a number, big-endian, without its leading zeros. */
  number(name: string): Uint8Array {
    this.open(name);
    const octets = this.atom();
    this.take(')');
    const first = octets.findIndex((octet) => octet !== 0);
    if (first < 0) throw this.#fail(`${name} is zero`);
    return octets.subarray(first);
  }

  atom(): Uint8Array {
    const [written, length] =
      /^([1-9][0-9]{0,3}):/.exec(this.#bytes.toString('latin1', this.#at, this.#at + 5)) ?? [];
    if (written === undefined || Number(length) > LONGEST) throw this.#fail('no length');
    const start = this.#at + written.length;
    const end = start + Number(length);
    if (end > this.#bytes.length) throw this.#fail('runs past the end');
    this.#at = end;
    return this.#bytes.subarray(start, end);
  }

  end(): void {
    if (this.#at < this.#bytes.length) throw this.#fail('bytes after it');
  }

  #fail(fact: string): Malformed {
    return new Malformed(FORMAT, fact, this.#at);
  }
}
