import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { publish, type SealReleaseOptions, type SealResult, seal } from '../src/index.ts';

/** A tree as its publisher lays it out, sealed as it was recognised, in the channel `stable` of a STATE of its own. */
export interface Published {
  readonly keys: string;
  readonly tree: string;
  readonly state: string;
  readonly release: string;
  readonly sealed: SealResult;
}

export interface PublishRequest extends Omit<SealReleaseOptions, 'tree' | 'keys' | 'now' | 'state'> {
  /** An `init` folder. */
  readonly keys: string;
  /** `NAME/VERSION` */
  readonly release: string;
  /** Texts that the site adds to the tree before it is sealed. */
  readonly adds?: Readonly<Record<string, string>>;
  /** What the policy lets go, by the names that `seal` shows. */
  readonly unverified?: readonly string[];
}

/**
 * @param folder where the tree's copy and the STATE go.
 * @throws what refused it.
 */
export async function publishCopy(
  from: string,
  folder: string,
  { adds = {}, unverified = [], ...options }: PublishRequest,
): Promise<Published> {
  const { keys, release } = options;
  const tree = join(folder, 'tree');
  const state = join(folder, 'state');
  await cp(from, tree, { recursive: true, verbatimSymlinks: true });
  for (const [path, text] of Object.entries(adds)) await writeFile(join(tree, path), text);
  const now = Date.now();
  const sealed = await seal({ ...options, tree, now });
  const policy = join(folder, 'policy.toml');
  await writeFile(policy, `[publish]\nunverified = ${JSON.stringify(unverified)}\n`);
  const anchors = join(keys, 'anchors');
  const { refusal } = await publish({ tree, anchors, channel: 'stable', state, policy, now });
  if (refusal) throw refusal;
  return { keys, tree, state, release, sealed };
}

/** Words of a packed text, in the place of others of the same length: its archive stays whole. */
export async function rewrite(path: string, from: string, to: string): Promise<void> {
  const text = await readFile(path, 'latin1');
  if (from.length !== to.length || !text.includes(from)) throw new Error(`nothing to rewrite in ${path}`);
  await writeFile(path, text.replace(from, to), 'latin1');
}
