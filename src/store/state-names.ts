import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** Names in a folder of the state, sorted, temporaries left out. */
export async function stateNames(folder: string, ...parts: string[]): Promise<string[]> {
  const names = await readdir(join(folder, ...parts)).catch(() => []);
  return names.filter((name) => !name.startsWith('.')).sort();
}
