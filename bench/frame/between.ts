import { readFile, writeFile } from 'node:fs/promises';

/**
 * Writes what was made by a program into a text that people wrote: between `<!-- NAME -->` and `<!-- /NAME -->`, a line each.
 *
 * @throws Error where the text has no such place.
 */
export async function replaceBetween(path: string, name: string, made: string): Promise<void> {
  const text = await readFile(path, 'utf8');
  const [begin, end] = [`<!-- ${name} -->\n`, `\n<!-- /${name} -->`];
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`${path} has no place for what is called ${name}.`);
  await writeFile(path, text.slice(0, from + begin.length) + made + text.slice(to));
}
