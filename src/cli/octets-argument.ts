import { InvalidArgumentError } from 'commander';

/** By their letter, thousands upon thousands. */
const LETTERS = 'kMGT';

/**
 * Reads a count of bytes: `512`, `500k`, `20M`, and with an `i` behind it by 1024: `32Ki` (IEC 80000-13). For rates, too,
 * which are bytes a second.
 *
 * @throws InvalidArgumentError
 */
export function octetsArgument(text: string): number {
  const [, number = '', decimal = '', binary = ''] =
    /^([1-9][0-9]{0,11}(?:\.[0-9]{1,3})?)(?:([kMGT])|([KMGT])i)?$/.exec(text) ?? [];
  const power = LETTERS.toLowerCase().indexOf((decimal || binary || ' ').toLowerCase()) + 1;
  const octets = Number(number) * (binary === '' ? 1000 : 1024) ** power;
  if (number !== '' && Number.isSafeInteger(octets)) return octets;
  throw new InvalidArgumentError('Bytes are a number, or as 500k, 20M, 2G; 32Ki is 32,768.');
}
