import { createPrivateKey, createPublicKey, generatePrime } from 'node:crypto';
import { type KeyPair, type MakeKeyPair, newKeyPair } from './key-pair.ts';

/**
 * Keys for release leaves, which somebody waits for and which are thrown away with the last signature.
 *
 * OpenSSL's own generator finds the primes of an RSA key one after the other, each with helper primes (FIPS 186-4,
 * B.3.6), which costs three times as much as the primes themselves. Here OpenSSL finds two probable primes side by
 * side in two threads (FIPS 186-5, A.1.3: random, 64 rounds of Miller-Rabin), and the key is put together from them
 * (RFC 8017 §3.2). Keys that last are made by `newKeyPair`.
 *
 * The arithmetic below does not take the same time for all numbers. It is done once for each key, in this process,
 * before anybody was told anything of it.
 */
export const leafKeyPair: MakeKeyPair = (kind, rsaBits) =>
  kind === 'rsa' ? rsaKeyPair(rsaBits) : newKeyPair(kind, rsaBits);

const EXPONENT = 0x10001n;

async function rsaKeyPair(bits: number): Promise<KeyPair> {
  if (bits < 2048 || bits % 2 !== 0) throw new RangeError(`no RSA key of ${bits} bits`);
  for (;;) {
    const [one, other] = await Promise.all([prime(bits / 2), prime(bits / 2)]);
    const privateKey = compose(bits, one, other);
    if (privateKey) return { privateKey, publicKey: createPublicKey(privateKey) };
  }
}

/** OpenSSL sets the two topmost bits, so that a product of two has all the bits that were asked for. */
function prime(bits: number): Promise<bigint> {
  return new Promise((resolve, reject) => {
    generatePrime(bits, { bigint: true }, (error, found) => (error ? reject(error) : resolve(found)));
  });
}

/** Undefined where these two primes make no key: they are as good as never so. */
function compose(bits: number, one: bigint, other: bigint) {
  const [p, q] = one > other ? [one, other] : [other, one];
  const n = p * q;
  // FIPS 186-5, A.1.3, steps 4.5, 5.4 and 5.5; A.1.1, criterion 3.
  if (n >> BigInt(bits - 1) !== 1n || p - q <= 1n << BigInt(bits / 2 - 100)) return undefined;
  if (gcd(p - 1n, EXPONENT) !== 1n || gcd(q - 1n, EXPONENT) !== 1n) return undefined;
  const order = ((p - 1n) * (q - 1n)) / gcd(p - 1n, q - 1n);
  const d = inverse(EXPONENT, order);
  if (d <= 1n << BigInt(bits / 2)) return undefined;
  const numbers = { n, e: EXPONENT, d, p, q, dp: d % (p - 1n), dq: d % (q - 1n), qi: inverse(q, p) };
  const key = Object.fromEntries(Object.entries(numbers).map(([name, number]) => [name, base64url(number)]));
  return createPrivateKey({ key: { kty: 'RSA', ...key }, format: 'jwk' });
}

function gcd(a: bigint, b: bigint): bigint {
  return b === 0n ? a : gcd(b, a % b);
}

/** The number below `modulus` that `of` times it is 1 to it. Both positive, without a common factor. */
function inverse(of: bigint, modulus: bigint): bigint {
  let [remainder, next] = [of % modulus, modulus];
  let [factor, nextFactor] = [1n, 0n];
  while (next !== 0n) {
    const quotient = remainder / next;
    [remainder, next] = [next, remainder - quotient * next];
    [factor, nextFactor] = [nextFactor, factor - quotient * nextFactor];
  }
  return factor < 0n ? factor + modulus : factor;
}

/** RFC 7518 §2: big-endian, as few bytes as will do. */
function base64url(number: bigint): string {
  const hex = number.toString(16);
  return Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex').toString('base64url');
}
