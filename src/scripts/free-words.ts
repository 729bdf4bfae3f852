import { Refusal } from '../errors/refusal.ts';
import type { Manifest } from '../formats/records/manifest.ts';
import { isOfType } from '../formats/script/cmdline.ts';

/**
 * Words that an operator gives a machine: each `NAME=VALUE` fills a free parameter of the manifest, and no parameter
 * twice. Early userspace would refuse any other.
 *
 * @returns by the parameter's name, the whole word.
 * @throws Refusal `wrong-command-line`
 */
export function freeWords(
  { release, free }: Pick<Manifest, 'release' | 'free'>,
  words: readonly string[],
): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const word of words) {
    const equals = word.indexOf('=');
    const name = word.slice(0, Math.max(equals, 0));
    const parameter = free.find((one) => one.name === name);
    const known = free.map((one) => one.name).join(', ') || 'none';
    if (parameter === undefined)
      throw wrong(`${word} fills no free word of ${release}; free are: ${known}`, word);
    if (!isOfType(word.slice(equals + 1), parameter.type))
      throw wrong(`${word} is no ${parameter.type}, which ${release} wants of ${name}`, word);
    if (found.has(name)) throw wrong(`${name} is given twice`, word);
    found.set(name, word);
  }
  return found;
}

function wrong(why: string, word: string): Refusal {
  return new Refusal('wrong-command-line', `${why}.`, { word });
}
