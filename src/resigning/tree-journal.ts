import { createHash, randomBytes } from 'node:crypto';
import { lstat, mkdir, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { z } from 'zod';
import { isAbsent } from '../errors/io.ts';
import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import { mistakeInWords, OUR_WORDS } from '../errors/schema-words.ts';
import { UsageError } from '../errors/usage.ts';
import { explain, syncDirectory } from '../files/atomic-file.ts';
import { writeFolderAtomically } from '../files/atomic-folder.ts';
import { readBeneath, readBeneathIfThere, removeTemporariesBeneath, writeBeneath } from '../files/beneath.ts';
import { namesIfThere } from '../files/read-if-there.ts';
import { reading } from '../files/reading.ts';
import { isSafePath } from '../formats/records/safe-path.ts';

/**
 * Records of a tree that take the place of others: all of them or none, whenever the process is killed. What is to be
 * done is written down first, whole, in a folder that is the operator's alone; from then on it is the truth, and the
 * next run does what is left. Never in the tree: its author would write a journal too.
 */
const JOURNAL = z.strictObject({
  'bootseal-tree-journal': z.literal(1),
  tree: z.string(),
  records: z.array(
    z.strictObject({
      path: z.string().refine(isSafePath),
      /** SHA-256 of what stands there until now; null: nothing does. */
      from: z
        .string()
        .regex(/^[0-9a-f]{64}$/)
        .nullable(),
      /** Of what shall stand there, which lies beside the journal by this name. */
      sha256: z.string().regex(/^[0-9a-f]{64}$/),
    }),
  ),
});

const NAME = 'journal.json';
/** Bytes: a journal of some thousand files, and one record. */
const LONGEST_JOURNAL = 4 * 1024 * 1024;
const LONGEST_RECORD = 1024 * 1024;

/**
 * Puts records in place, whole.
 *
 * @param journals a folder that nobody else may use; it is made where there is none.
 * @param records by path; the tree's folders are there.
 * @throws UsageError for such a folder in the tree or in other hands; Refusal `unsafe-path` for a link on the way;
 *   IoError.
 */
export async function replaceRecords(
  tree: string,
  records: ReadonlyMap<string, Uint8Array>,
  journals: string,
): Promise<void> {
  await makePrivate(journals, tree);
  const folder = join(journals, await keyOf(tree));
  const files = new Map<string, Uint8Array>();
  const lines: z.infer<typeof JOURNAL>['records'] = [];
  for (const [path, bytes] of records) {
    const there = await readBeneathIfThere(tree, path, LONGEST_RECORD);
    lines.push({ path, from: there ? digest(there) : null, sha256: digest(bytes) });
    files.set(digest(bytes), bytes);
  }
  const journal = { 'bootseal-tree-journal': 1, tree: await canonical(tree), records: lines };
  await writeFolderAtomically(folder, files.set(NAME, Buffer.from(`${JSON.stringify(journal, null, 2)}\n`)));
  await finishReplacing(tree, journals);
}

/**
 * Does what a journal of this tree says is left to be done; nothing where there is none.
 *
 * @throws Refusal `drifted` where the tree is neither what it was nor what it shall be, `malformed` for a journal that
 *   is none; UsageError where others may have written it; IoError. Nothing is put in place then.
 */
export async function finishReplacing(tree: string, journals: string): Promise<void> {
  if (!(await isPrivate(journals))) return;
  const key = await keyOf(tree);
  const folder = join(journals, key);
  const names = await namesIfThere(journals);
  const unfinished = new RegExp(`^\\.bootseal-${key}-[0-9a-f]{16}\\.tmp$`);
  for (const name of names.filter((one) => unfinished.test(one))) await take(join(journals, name));
  if (!names.includes(key)) return;

  const { tree: about, records } = await readJournal(folder);
  if (about !== (await canonical(tree))) throw damaged(folder, `it is about ${about}`);
  const left: { path: string; bytes: Uint8Array }[] = [];
  for (const { path, from, sha256 } of records) {
    const { bytes } = await readBeneath(folder, sha256, LONGEST_RECORD);
    if (digest(bytes) !== sha256) throw damaged(folder, `${sha256} is not what its name says`);
    const there = await readBeneathIfThere(tree, path, LONGEST_RECORD);
    const now = there ? digest(there) : null;
    if (now === sha256) continue;
    if (now !== from) {
      throw new Refusal(
        'drifted',
        `${path} in ${tree} was changed after an earlier run began to replace it; ${folder} says what is left of that, and until it is taken away nothing is written.`,
        { path, journal: folder },
      );
    }
    left.push({ path, bytes });
  }
  for (const at of new Set(records.map(({ path }) => dirname(path))))
    await removeTemporariesBeneath(tree, at);
  for (const { path, bytes } of left) await writeBeneath(tree, path, bytes);
  // In one step: half a journal would be damaged, and this one is done.
  const done = join(journals, `.bootseal-${key}-${randomBytes(8).toString('hex')}.tmp`);
  await rename(folder, done).catch((error: unknown) => {
    throw explain(error, folder);
  });
  try {
    await syncDirectory(journals);
  } finally {
    await take(done);
  }
}

async function take(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true }).catch((error: unknown) => {
    throw explain(error, folder);
  });
}

async function readJournal(folder: string): Promise<z.infer<typeof JOURNAL>> {
  const { bytes } = await readBeneath(folder, NAME, LONGEST_JOURNAL);
  let raw: unknown;
  try {
    raw = JSON.parse(Buffer.from(bytes).toString());
  } catch {
    throw damaged(folder, 'it is no JSON');
  }
  const { data, error } = JOURNAL.safeParse(raw, OUR_WORDS);
  if (!data) throw damaged(folder, mistakeInWords(error));
  return data;
}

function damaged(folder: string, fact: string): Refusal {
  const cause = new Malformed('journal', fact);
  return new Refusal('malformed', `The journal ${folder} is damaged: ${fact}.`, { path: folder }, { cause });
}

/**
 * By its canonical path and its inode: another tree at the same path has no part in it. Not by the device, whose
 * number a restart may change.
 */
async function keyOf(tree: string): Promise<string> {
  const { ino } = await reading(tree, undefined, () => stat(tree, { bigint: true }));
  return digest(Buffer.from(`${ino} ${await canonical(tree)}`)).slice(0, 32);
}

function canonical(folder: string): Promise<string> {
  return reading(folder, undefined, () => realpath(folder));
}

async function makePrivate(journals: string, tree: string): Promise<void> {
  try {
    await mkdir(journals, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw explain(error, journals);
  }
  await isPrivate(journals);
  const way = relative(await canonical(tree), await canonical(journals));
  if (way === '' || (way !== '..' && !way.startsWith('../') && !way.startsWith('/')))
    throw new UsageError(`The journal ${journals} is in the tree that it is about; name another folder.`);
}

/** False where there is none. @throws UsageError where others may write there, or it is somebody else's. */
async function isPrivate(journals: string): Promise<boolean> {
  const found = await lstat(journals).catch((error: unknown) => {
    if (isAbsent(error)) return undefined;
    throw explain(error, journals);
  });
  if (!found) return false;
  if (!found.isDirectory()) throw new UsageError(`The journal ${journals} is no folder.`);
  if (found.uid !== process.geteuid?.())
    throw new UsageError(`The journal ${journals} belongs to another user; name a folder of your own.`);
  if ((found.mode & 0o077) === 0) return true;
  const mode = (found.mode & 0o777).toString(8).padStart(4, '0');
  throw new UsageError(
    `The journal ${journals} has mode ${mode}, so others may use it; run "chmod 700 ${journals}".`,
  );
}

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
