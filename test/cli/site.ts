import { join } from 'node:path';
import type { SealReleaseOptions } from '../../src/operations/seal.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { sampleTree, sealFixture } from '../fixtures/release.ts';

export interface CliSite {
  readonly folder: string;
  readonly keys: string;
  readonly anchors: string;
  /** Sealed now: the command line has a real clock. */
  readonly tree: string;
}

/** Keys and a sealed sample in a folder of this test file's own. */
export async function cliSite(
  sample = sampleTree,
  options: Partial<SealReleaseOptions> = {},
): Promise<CliSite> {
  const folder = await temporaryFolder();
  const now = Date.now();
  const keys = await makeKeys(join(folder, 'keys'), { now });
  const tree = await sample(join(folder, 'tree'), keys);
  await sealFixture(tree, keys, { now, ...options });
  return { folder, keys, anchors: join(keys, 'anchors'), tree };
}
