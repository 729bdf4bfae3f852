import type { KeyObject } from 'node:crypto';
import { Refusal } from '../../errors/refusal.ts';
import type { Certificate } from '../../formats/asn1/x509.ts';
import { isoSeconds } from '../../formats/records/lines.ts';
import { decodeBundle } from '../../formats/records/request-bundle.ts';
import { isSealName } from '../../formats/records/seal-names.ts';
import { remeasure } from '../remeasure.ts';
import type { KeyName } from '../seal-keys.ts';
import { SealCertificates, type SealedFile, writeSeals } from '../write-seals.ts';
import { type GoodAnswer, publicKeys, readAnswer } from './answers.ts';
import { type AskedSeal, decodeOrRefuse, type OpenedRequest, openBundle } from './open-request.ts';
import { orderedLeaf } from './ordered-leaf.ts';
import { certificateName, INDEX, textName } from './request-files.ts';

/** A file of answers: the request with answers in it, or answers alone. */
export interface AnswerFile {
  /** For messages. */
  readonly name: string;
  readonly bytes: Uint8Array;
}

export interface Attached {
  readonly opened: OpenedRequest;
  readonly files: readonly SealedFile[];
}

/**
 * Completes a tree with signatures that were made elsewhere. Answers come in any order and in parts; each is held
 * against its question and its certificate, and the payload is read once more: it must be what was signed.
 * Nothing is written unless all of it holds. The same answers once more change nothing.
 *
 * @throws Refusal that names the seal: `absent` for an answer or file that is missing, `malformed` for one that
 *   nobody asked for or that is there twice, `bad-signature` for a wrong or swapped one, `mixed-releases` for an
 *   answer to another request, `untrusted-signer`, `wrong-purpose` and the like
 *   for a leaf that does not suit, `drifted`
 *   where the tree is no longer what the request was made of. An `IoError`.
 */
export async function attachAnswers(
  tree: string,
  answers: readonly AnswerFile[],
  options: { readonly onProgress?: (path: string, octets: number, size: number) => void } = {},
): Promise<Attached> {
  const { opened, given } = collect(answers);
  const leaves = leavesOf(opened, given);
  const good = goodAnswers(opened, given, leaves);
  const certificates = new SealCertificates(opened.signatories, opened.others, leaves);
  const measured = await remeasure(tree, opened, options.onProgress);
  const seals = new Map<string, Uint8Array>();
  for (const [asked, { seal, signature }] of good)
    seals.set(asked.path, certificates.complete({ by: asked.by, seal }, signature));
  return { opened, files: await writeSeals(tree, opened.files, seals, measured) };
}

type Given = ReadonlyMap<string, { readonly bytes: Uint8Array; readonly from: string }>;

/** One request, and every answer that the files hold to it. */
function collect(answers: readonly AnswerFile[]): { opened: OpenedRequest; given: Given } {
  const bundles = answers.map(({ name, bytes }) => ({
    name,
    files: decodeOrRefuse(name, () => decodeBundle(bytes)).files,
  }));
  const first = bundles.find(({ files }) => files.has(INDEX));
  if (!first) {
    const names = answers.map(({ name }) => name).join(', ');
    throw new Refusal('absent', `No request is in ${names}; give the request beside its answers.`, {});
  }
  const opened = openBundle(first.name, first.files);
  const asked = new Set([
    ...opened.lacking.map(({ answer }) => answer),
    ...opened.request.leaves.map(({ key }) => certificateName(key)),
  ]);
  const texts = new Set(opened.request.records.map(({ path }) => textName(path)));
  const given = new Map<string, { bytes: Uint8Array; from: string }>();
  for (const { name, files } of bundles) {
    const index = files.get(INDEX);
    if (index && Buffer.compare(index, opened.index) !== 0)
      throw otherRequest(name, files, first.name, opened);
    for (const [path, bytes] of files) {
      // What is a record is called so, whatever its ending.
      if (texts.has(path) || !(isSealName(path) || path.startsWith('certificates/leaf'))) continue;
      if (!asked.has(path)) {
        throw new Refusal('malformed', `${name} answers ${path}, which ${first.name} does not ask.`, {
          path,
        });
      }
      const before = given.get(path);
      if (before) {
        const both = before.from === name ? name : `${before.from} and ${name}`;
        throw new Refusal('malformed', `${both} both answer ${path}; give each answer once.`, { path });
      }
      given.set(path, { bytes, from: name });
    }
  }
  return { opened, given };
}

/** Stale, or of another release: said with what either is about. */
function otherRequest(
  name: string,
  files: ReadonlyMap<string, Uint8Array>,
  firstName: string,
  { request, manifest }: OpenedRequest,
): Refusal {
  const about = openBundle(name, files);
  const [its, ours] = [about.manifest, manifest].map(
    ({ release, issued: at }) => `${release} issued ${isoSeconds(at)}`,
  );
  const what =
    its === ours
      ? 'one of the same release, made of another state of its tree'
      : `one of ${its}, not of ${ours}`;
  return new Refusal('mixed-releases', `${name} answers another request than ${firstName}: ${what}.`, {
    path: name,
    release: about.request.release,
    wanted: request.release,
  });
}

/** The leaves that were issued for this release, each held against what was ordered. */
function leavesOf(opened: OpenedRequest, given: Given): ReadonlyMap<KeyName, Certificate> {
  const leaves = new Map<KeyName, Certificate>();
  for (const order of opened.request.leaves) {
    const name = certificateName(order.key);
    const answer = given.get(name);
    if (!answer) continue;
    const leaf = orderedLeaf(opened, order, answer.bytes, answer.from);
    leaves.set(order.key as KeyName, leaf);
  }
  return leaves;
}

/** Every answer, each one holds. */
function goodAnswers(
  opened: OpenedRequest,
  given: Given,
  leaves: ReadonlyMap<KeyName, Certificate>,
): ReadonlyMap<AskedSeal, GoodAnswer> {
  const keys = publicKeys(opened, leaves);
  const good = new Map<AskedSeal, GoodAnswer>();
  const missing = new Set<string>();
  for (const asked of opened.lacking) {
    const answer = given.get(asked.answer);
    const key = keys.get(asked.by);
    if (!key) missing.add(certificateName(asked.by));
    if (!answer) missing.add(`${asked.answer} (for ${asked.path}, by ${asked.by})`);
    if (!answer || !key) continue;
    const read = readAnswer(opened, asked, answer.bytes, key);
    if (typeof read === 'string') throw wrongAnswer(opened, asked, { ...answer, why: read }, keys);
    good.set(asked, read);
  }
  if (missing.size > 0) {
    const shown = [...missing].slice(0, 5).join(', ');
    const more = missing.size > 5 ? ` and ${missing.size - 5} more` : '';
    throw new Refusal('absent', `Answers are missing: ${shown}${more}; nothing was attached.`, {
      missing: missing.size,
    });
  }
  return good;
}

/** What is wrong with an answer, as far as can be told: one of another seal, or by another key, or none at all. */
function wrongAnswer(
  opened: OpenedRequest,
  asked: AskedSeal,
  { bytes, from, why }: { readonly bytes: Uint8Array; readonly from: string; readonly why: string },
  keys: ReadonlyMap<string, KeyObject>,
): Refusal {
  const fits = (key: KeyObject | undefined, candidate: AskedSeal) =>
    key !== undefined && typeof readAnswer(opened, candidate, bytes, key) !== 'string';
  const sameKind = opened.lacking.filter(({ text }) => (text === undefined) === (asked.text === undefined));
  const other = sameKind.find((candidate) => fits(keys.get(candidate.by), candidate));
  const otherKey = [...keys].find(([, key]) => fits(key, asked))?.[0];
  const said = other
    ? `is the one for ${other.path}`
    : otherKey
      ? `is by the key ${otherKey}, not by ${asked.by}`
      : why;
  return new Refusal('bad-signature', `The answer for ${asked.path} in ${from} ${said}.`, {
    path: asked.path,
    ...(other ? { swapped: other.path } : {}),
  });
}
