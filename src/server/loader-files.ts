import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { unreadable } from '../errors/unreadable.ts';
import { measureFile } from '../files/measure.ts';
import { isSafeSegment } from '../formats/records/safe-path.ts';
import { fileResource } from '../release/file-resource.ts';
import type { Resource } from '../release/site.ts';

/**
 * The loaders of a folder, each pinned to the digest it has now. A loader is what begins the trust, so no seal
 * can vouch for it to a machine that fetches it by plain TFTP; what changes here later is not served.
 */
export async function readLoaders(directory: string): Promise<Map<string, Resource>> {
  const entries = await readdir(directory, { withFileTypes: true }).catch((error: unknown) => {
    throw unreadable(directory, error, `The folder of loaders ${directory}`);
  });
  const loaders = new Map<string, Resource>();
  for (const entry of entries) {
    if (!entry.isFile() || entry.name.startsWith('.') || !isSafeSegment(entry.name)) continue;
    const path = join(directory, entry.name);
    const { size, answers, identity } = await measureFile(path, [{ kind: 'digest', hash: 'sha256' }]);
    const sha256 = Buffer.from(answers[0] as Uint8Array).toString('hex');
    const resource = fileResource({ path, name: entry.name, size, sha256, identity });
    loaders.set(entry.name, { ...resource, immutable: false });
  }
  return loaders;
}
