import { constants, type Stats } from 'node:fs';
import { access, open } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { cannotRead, codeOf } from '../../errors/io.ts';
import { entriesIfThere, isThere, lstatIfThere } from '../../files/read-if-there.ts';
import { holdsPrivateKey } from '../inspect/private-keys.ts';
import { type Finding, Findings } from './finding.ts';

/** Why somebody should not get at a file or folder. */
export type Guarded =
  /** A private key, or a folder of them. */
  | 'key'
  | 'key-folder'
  /** What somebody is let in by. */
  | 'token'
  | 'anchor'
  /** A part of a state. */
  | 'state';

/** One file or folder, and who may do what with it. */
export interface AccessFacts {
  readonly path: string;
  readonly as: Guarded;
  /** The lowest nine bits of st_mode count. */
  readonly mode: number;
  readonly uid: number;
}

export interface PermissionFacts {
  readonly all: readonly AccessFacts[];
  /** Private keys of a site that lie in the state, beside the one of snapshots. */
  readonly inState: readonly string[];
  /** Private keys in the folder of loaders, which is offered to everybody. */
  readonly offered: readonly string[];
  /** Folders of private keys beside anchors that were given, which whoever runs this can read. */
  readonly inReach: readonly string[];
}

const OTHERS = 0o077;
/** A file of tokens belongs to the state's group, too: a server reads it by that. It holds digests. */
const OTHERS_OF_TOKENS = 0o027;
const WRITE_OTHER = 0o002;
const WRITE_GROUP = 0o020;
/** What of one kind is named one by one. */
const NAMED = 3;

export function judgePermissions({ all, inState, offered, inReach }: PermissionFacts): readonly Finding[] {
  const findings = new Findings('permissions');
  const of = (...kinds: readonly Guarded[]) => all.filter(({ as }) => kinds.includes(as));
  const open = of('key').filter(({ mode }) => mode & OTHERS);
  if (open.length > 0)
    findings.fault(
      'key-readable',
      `private keys that others than their owner can reach: ${named(open)}`,
      `Close them with "chmod 600", and take new keys where somebody else has an account here ("bootseal keys rotate").`,
    );
  const folders = of('key-folder').filter(({ mode }) => mode & OTHERS);
  if (folders.length > 0)
    findings.warning(
      'key-folder-open',
      `folders of private keys that others can look into: ${named(folders)}`,
      'Close them with "chmod 700".',
    );
  const tokens = of('token').filter(({ mode }) => mode & OTHERS_OF_TOKENS);
  if (tokens.length > 0)
    findings.fault(
      'token-readable',
      `tokens that others than their owner and group can read, or others than their owner can change: ${named(tokens)}`,
      'Close the file with "chmod 640", and make new tokens where others could write it.',
    );
  for (const [kind, code, what] of [
    ['anchor', 'anchor-writable', 'anchors'],
    ['state', 'state-writable', 'parts of the state'],
  ] as const) {
    const anybody = of(kind).filter(({ mode }) => mode & WRITE_OTHER);
    const group = of(kind).filter(({ mode }) => !(mode & WRITE_OTHER) && mode & WRITE_GROUP);
    const close = 'Take the right away with "chmod go-w", and look whether they are what they were.';
    if (anybody.length > 0) findings.fault(code, `${what} that anybody may change: ${named(anybody)}`, close);
    if (group.length > 0) findings.warning(code, `${what} that a group may change: ${named(group)}`, close);
  }
  judgeOwners(findings, of('state'));
  if (inState.length > 0)
    findings.fault(
      'key-in-state',
      `private keys of the site lie in the state, where whoever serves can read them: ${inState.join(', ')}`,
      'Move them to where releases are sealed: a server needs none of them.',
    );
  if (offered.length > 0)
    findings.fault(
      'key-offered',
      `private keys in the folder of loaders, which is offered to everybody: ${offered.join(', ')}`,
      'Take them out, and make new keys: whoever asked for them has them.',
    );
  if (inReach.length > 0)
    findings.warning(
      'key-in-reach',
      `whoever runs this can read the site’s private keys: ${inReach.join(', ')}`,
      'Give the server a copy of the anchors alone, and a user of its own.',
    );
  if (findings.isWell) findings.ok('private keys are closed, and nobody else may change anchors and state');
  return findings.all;
}

/** A state that root wrote to now and then cannot be written any more by whoever serves. */
function judgeOwners(findings: Findings, state: readonly AccessFacts[]): void {
  const [top] = state;
  const others = state.filter(({ uid }) => uid !== top?.uid);
  if (!top || others.length === 0) return;
  findings.warning(
    'owners',
    `${top.path} belongs to uid ${top.uid}, and parts of it to others: ${others
      .slice(0, NAMED)
      .map(({ path, uid }) => `${path} (uid ${uid})`)
      .join(', ')}${others.length > NAMED ? ` and ${others.length - NAMED} more` : ''}`,
    `Give all of it to one user with "chown -R", and publish as that one.`,
  );
}

function named(all: readonly AccessFacts[]): string {
  const shown = all
    .slice(0, NAMED)
    .map(({ path, mode }) => `${path} (${(mode & 0o777).toString(8).padStart(4, '0')})`);
  return `${shown.join(', ')}${all.length > NAMED ? ` and ${all.length - NAMED} more` : ''}`;
}

export interface PermissionPlaces {
  readonly state: string | undefined;
  /** `anchors/` folders, or the `init` folders around them. */
  readonly anchors: readonly string[];
  readonly loaders: string | undefined;
}

/** Folders of a state whose owners tell who wrote to it. */
const STATE_PARTS = [
  '',
  'format',
  'lock',
  'objects',
  'releases',
  'channels',
  'log',
  'log/entries',
  'quarantine',
];
const SNAPSHOT_KEY = 'snapshot.key';
/** Bytes of a file that tell whether it is a key; a larger one is a loader. */
const MAX_KEY = 64 * 1024;
/** Steps below a folder of keys or tokens. */
const DEPTH = 4;

/** @throws IoError */
export async function permissionFacts({
  state,
  anchors,
  loaders,
}: PermissionPlaces): Promise<PermissionFacts> {
  const all: AccessFacts[] = [];
  const add = async (path: string, as: Guarded) => {
    const found = await lstatIfThere(path);
    // A link has no mode of its own.
    if (found && !found.isSymbolicLink()) all.push(factsOf(path, as, found));
    return found;
  };
  const inState: string[] = [];
  if (state !== undefined) {
    for (const part of STATE_PARTS) await add(join(state, part), 'state');
    await addBelow(join(state, 'private'), 'key-folder', 'key', all);
    await addBelow(join(state, 'tokens'), 'key-folder', 'token', all);
    await addBelow(join(state, 'anchors'), 'anchor', 'anchor', all);
    for (const { path, as } of [...all])
      if (as === 'key' && basename(path) !== SNAPSHOT_KEY && (await isPrivateKey(path))) inState.push(path);
  }
  const inReach: string[] = [];
  for (const folder of anchors) {
    const inner = join(folder, 'anchors');
    const own = (await isThere(join(inner, 'ca.crt'))) ? inner : resolve(folder);
    await addBelow(own, 'anchor', 'anchor', all);
    const keys = join(dirname(own), 'private');
    if (!(await isThere(keys))) continue;
    await addBelow(keys, 'key-folder', 'key', all);
    if (await mayRead(keys)) inReach.push(keys);
  }
  const offered: string[] = [];
  for (const entry of loaders === undefined ? [] : await entriesIfThere(loaders)) {
    const path = join(loaders ?? '', entry.name);
    if (entry.isFile() && (await isPrivateKey(path))) offered.push(path);
  }
  return { all, inState, offered, inReach };
}

function factsOf(path: string, as: Guarded, { mode, uid }: Stats): AccessFacts {
  return { path, as, mode: mode & 0o777, uid };
}

/** Neither links nor anything that is no file or folder is followed. */
async function addBelow(
  path: string,
  folderAs: Guarded,
  fileAs: Guarded,
  all: AccessFacts[],
  depth = DEPTH,
): Promise<void> {
  const found = await lstatIfThere(path);
  if (found?.isFile()) all.push(factsOf(path, fileAs, found));
  if (!found?.isDirectory()) return;
  all.push(factsOf(path, folderAs, found));
  if (depth === 0 || !(await mayRead(path))) return;
  for (const { name } of await entriesIfThere(path))
    await addBelow(join(path, name), folderAs, fileAs, all, depth - 1);
}

async function mayRead(path: string): Promise<boolean> {
  try {
    await access(path, constants.R_OK | constants.X_OK);
    return true;
  } catch (error) {
    const code = codeOf(error);
    if (code === 'EACCES' || code === 'EPERM') return false;
    throw cannotRead(path, error);
  }
}

/** False for a file that we may not read: then nobody is offered it, either. */
async function isPrivateKey(path: string): Promise<boolean> {
  try {
    const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const { size } = await handle.stat();
      if (size > MAX_KEY) return false;
      return holdsPrivateKey(await handle.readFile());
    } finally {
      await handle.close();
    }
  } catch (error) {
    const code = codeOf(error);
    if (code === 'EACCES' || code === 'EPERM' || code === 'ENOENT' || code === 'ELOOP') return false;
    throw cannotRead(path, error);
  }
}
