import { randomBytes } from 'node:crypto';
import { link, lstat, mkdir, rename, rm, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { cannotRead, IoError, isAbsent } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { explain, isGone, syncDirectory } from '../files/atomic-file.ts';
import { FolderTree } from '../files/folder-tree.ts';
import { makeFolders } from '../files/make-folders.ts';
import { isThere, namesIfThere } from '../files/read-if-there.ts';
import { entryFolder } from '../formats/records/entry-folder.ts';
import { otherCaOf, RECORD, SCRIPT_SEAL, SEAL, UKI } from '../formats/records/seal-names.ts';
import { type ChannelRelease, defaultRelease } from '../formats/records/snapshot.ts';
import { manifestNamedIn } from '../trust/script-lines.ts';
import { readSelfAnchor } from '../trust/self-anchor.ts';
import { idOf } from '../trust/trust-roots.ts';
import { channelNames, readChannel, SNAPSHOT, type StoredSnapshot } from './channels.ts';
import { cleanFolder, recordsOf } from './folder-backend.ts';
import { isBucketState } from './s3/location.ts';
import { keepWebEntry, readWebEntry } from './web-entry.ts';
import { withdrawnReason } from './withdrawals.ts';

/**
 * `STATE/www`: everything that a machine asks a server for, as plain files for any web server, rsync or CDN. It is a
 * symbolic link to one generation, `STATE/web/N`, which is written whole, never changed, and swapped by a rename. So
 * whoever opens a script finds beside it the seal of that very script, or both of the next generation, and never a
 * folder that is half of each. A generation holds small files: hard links to what lies below `releases` and `channels`,
 * and one symbolic link, `releases`, to all that was ever published. What is swapped costs nothing, whatever it weighs.
 */
const LINK = 'www';
const GENERATIONS = 'web';
/** The current one, and two before it: who walks through one of those finishes. */
const KEPT = 3;
/** Stands from before something moves until the folder is made of it. */
const BEHIND = `${GENERATIONS}/behind`;
/** Bytes of a script. */
const MAX_SCRIPT = 1024 * 1024;

/**
 * Makes `STATE/www` what the channels say now. The state is the caller's (`openState`).
 *
 * @returns what an operator should know of it, though it was written: one sentence each, without a full stop.
 * @throws UsageError where something of somebody else's has that name; IoError.
 */
export async function writeWebFolder(state: string): Promise<readonly string[]> {
  await demandLink(join(state, LINK));
  const { files, warnings } = await filesOf(state);
  const folder = join(state, GENERATIONS);
  await makeFolders(folder);
  await cleanFolder(folder);
  const numbers = (await namesIfThere(folder)).filter((name) => /^[1-9][0-9]{0,14}$/.test(name)).map(Number);
  const next = Math.max(0, ...numbers) + 1;
  const target = join(folder, String(next));
  const draft = join(folder, `.bootseal-${randomBytes(8).toString('hex')}.tmp`);
  try {
    await mkdir(draft);
    await makeFolders(draft);
    const folders = new Set([draft]);
    for (const [path, from] of files) {
      const to = join(draft, path);
      await makeFolders(dirname(to));
      for (let at = dirname(to); at !== draft; at = dirname(at)) folders.add(at);
      await link(join(state, from), to);
    }
    await symlink(join('..', '..', 'releases'), join(draft, 'releases'));
    for (const at of [...folders].reverse()) await syncDirectory(at);
    await rename(draft, target);
    await syncDirectory(folder);
  } catch (error) {
    throw explain(error, target, await isGone(draft));
  }
  await swap(state, join(GENERATIONS, String(next)));
  for (const number of numbers.filter((one) => one <= next - KEPT)) {
    await rm(join(folder, String(number)), { recursive: true, force: true }).catch((error: unknown) => {
      throw explain(error, join(folder, String(number)));
    });
  }
  return warnings;
}

/**
 * Says that the folder is behind from here on, before something moves: where the process that moves it dies, or the folder
 * cannot be written, whoever opens the state next makes it anew.
 */
export async function markWebBehind(state: string): Promise<void> {
  if (!isBucketState(state)) await recordsOf(state).put(BEHIND, new Uint8Array());
}

/**
 * The same as `writeWebFolder` after something moved, which it did whatever becomes of this.
 *
 * @returns warnings.
 */
export async function refreshWeb(state: string): Promise<readonly string[]> {
  // A bucket is no folder that a rename could swap.
  if (isBucketState(state)) return [];
  try {
    await keepWebEntry(state);
    const warnings = await writeWebFolder(state);
    await recordsOf(state).remove(BEHIND);
    return warnings;
  } catch (error) {
    if (!(error instanceof IoError || error instanceof UsageError || error instanceof Refusal)) throw error;
    return [`what plain web servers give out stays as it was: ${error.message.replace(/\.$/, '')}`];
  }
}

/** Makes the folder anew where it is behind. What keeps it from that keeps nobody from the state. */
export async function finishWeb(state: string): Promise<void> {
  if (await isThere(join(state, BEHIND))) await refreshWeb(state);
}

/** The link points to the new generation in one step. */
async function swap(state: string, to: string): Promise<void> {
  const path = join(state, LINK);
  const draft = join(state, `.bootseal-${randomBytes(8).toString('hex')}.tmp`);
  try {
    await symlink(to, draft);
    await rename(draft, path);
  } catch (error) {
    throw explain(error, path, await isGone(draft));
  }
  await syncDirectory(state);
}

/** Nothing of an operator's is replaced. */
async function demandLink(path: string): Promise<void> {
  try {
    if ((await lstat(path)).isSymbolicLink()) return;
  } catch (error) {
    if (isAbsent(error)) return;
    throw cannotRead(path, error);
  }
  throw new UsageError(
    `${path} is not the link that Bootseal makes for web servers; move it away, and renew a channel.`,
  );
}

/** By its path below the folder, where each file lies in the state. */
interface WebFiles {
  readonly files: ReadonlyMap<string, string>;
  readonly warnings: readonly string[];
}

async function filesOf(state: string): Promise<WebFiles> {
  const files = new Map<string, string>();
  const warnings: string[] = [];
  const channels = new Map<string, StoredSnapshot>();
  for (const name of await channelNames(state)) {
    const stored = await readChannel(state, name);
    if (!stored) continue;
    channels.set(name, stored);
    const from = `channels/${name}/${stored.snapshot.counter}/${SNAPSHOT}`;
    files.set(`channels/${name}`, from);
    files.set(`channels/${name}${SEAL.cms}`, from + SEAL.cms);
  }
  const entry = await readWebEntry(state);
  const snapshot = entry === undefined ? undefined : channels.get(entry)?.snapshot;
  if (!snapshot) {
    if (channels.size > 0)
      warnings.push(
        `${LINK} has nothing that a machine begins with; say whose release that is with "bootseal channel entry NAME"`,
      );
    return { files, warnings };
  }
  // Rules say which machine gets what, and a web server knows none: it would give to each what some are refused.
  if ([...channels.values()].some((one) => one.snapshot.scripts !== undefined)) return { files, warnings };
  const main = defaultRelease(snapshot);
  for (const named of snapshot.releases) {
    if (await withdrawnReason(state, named.release)) continue;
    try {
      const own = await entryFiles(state, named);
      for (const [path, from] of own) {
        if (named === main) files.set(path, from);
        if (!path.startsWith('anchors/')) files.set(`${entryFolder(named.arch)}/${path}`, from);
      }
    } catch (error) {
      // What does not fit boots nobody, and the rest goes on.
      if (!(error instanceof Refusal)) throw error;
      warnings.push(`${LINK} has no way into ${named.release}: ${error.message}`);
    }
  }
  return { files, warnings };
}

/** What a machine begins with, of one release: the paths at which `serve` has it. */
async function entryFiles(
  state: string,
  { release, manifest }: ChannelRelease,
): Promise<Map<string, string>> {
  const base = `releases/${release}`;
  const tree = new FolderTree(join(state, base));
  const names = new Set(await tree.list(''));
  const files = new Map<string, string>();
  const demandNamed = async (name: string) => {
    if (manifestNamedIn(name, await tree.read(name, MAX_SCRIPT)) === manifest) return;
    throw new Refusal('mixed-releases', `its ${name} is not of the manifest that the channel names.`, {
      release,
    });
  };
  const put = async (name: string, ...places: readonly string[]) => {
    await demandNamed(name);
    for (const place of places) {
      files.set(place, `${base}/${name}`);
      files.set(place + SCRIPT_SEAL, `${base}/${name}${SCRIPT_SEAL}`);
    }
  };
  if (names.has(RECORD.bootIpxe)) {
    const id = idOf(await readSelfAnchor(tree));
    await put(RECORD.bootIpxe, RECORD.bootIpxe, `anchors/${id}/${RECORD.bootIpxe}`);
  }
  if (names.has(RECORD.grubCfg)) await put(RECORD.grubCfg, RECORD.grubCfg);
  for (const name of names) {
    const other = otherCaOf(name);
    if (other !== undefined) await put(name, `anchors/${other}/${RECORD.bootIpxe}`);
  }
  if (names.has(UKI)) files.set(UKI, `${base}/${UKI}`);
  return files;
}
