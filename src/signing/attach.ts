import { createHash, type KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { OID } from '../formats/oids.ts';
import { signatureTrailer } from '../formats/openpgp-signature.ts';
import { decodeBundle } from '../formats/request-bundle.ts';
import { signatureNumber } from '../formats/signing-request.ts';
import type { Certificate } from '../formats/x509.ts';
import { type MeasuredFile, measureFile } from '../release/measure.ts';
import type { Question } from '../release/measurer.ts';
import { Refusal } from '../release/refusal.ts';
import { isSignature } from './digest-signer.ts';
import {
  answerName,
  certificateName,
  decodeOrRefuse,
  INDEX,
  type OpenedRequest,
  oneCertificate,
  openBundle,
} from './request.ts';
import type { KeyName } from './seal-keys.ts';
import { isIssuedBy } from './seal-plan.ts';
import type { LackingSeal } from './tree-draft.ts';
import { SealCertificates, type SealedFile, writeSeals } from './write-seals.ts';

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
 *   answer to another request, `untrusted-signer` and `wrong-purpose` for a leaf that does not suit, `drifted`
 *   where the tree is no longer what the request was made of. A `WriteError`.
 */
export async function attachAnswers(
  tree: string,
  answers: readonly AnswerFile[],
  options: { readonly onProgress?: (path: string, octets: number, size: number) => void } = {},
): Promise<Attached> {
  const { opened, given } = collect(answers);
  const leaves = leavesOf(opened, given);
  const signatures = signaturesOf(opened, given, leaves);
  const certificates = new SealCertificates(opened.signatories, opened.others, leaves);
  const measured = await remeasure(tree, opened, options.onProgress);
  await demandKept(tree, opened);
  const seals = new Map<string, Uint8Array>();
  for (const file of lackingOf(opened)) {
    seals.set(file.path, certificates.complete(file, signatures.get(file.path) as Uint8Array));
  }
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
    ...opened.request.signatures.map(answerName),
    ...opened.request.leaves.map(({ key }) => certificateName(key)),
  ]);
  const given = new Map<string, { bytes: Uint8Array; from: string }>();
  for (const { name, files } of bundles) {
    const index = files.get(INDEX);
    if (index && Buffer.compare(index, opened.index) !== 0)
      throw otherRequest(name, files, first.name, opened);
    for (const [path, bytes] of files) {
      if (!path.endsWith('.sig') && !/^certificates\/leaf/.test(path)) continue;
      // What is a record is called so, whatever its ending.
      if (path.startsWith('records/')) continue;
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
  const issued = (time: number) => new Date(time).toISOString().slice(0, 19);
  return new Refusal(
    'mixed-releases',
    `${name} answers another request than ${firstName}: ${about.request.release} issued ${issued(about.manifest.issued)}, not ${request.release} issued ${issued(manifest.issued)}.`,
    { path: name, release: about.request.release, wanted: request.release },
  );
}

/** The leaves that were issued for this release, each held against what was ordered. */
function leavesOf({ request, signatories, others, manifest }: OpenedRequest, given: Given) {
  const leaves = new Map<KeyName, Certificate>();
  for (const { key } of request.leaves) {
    const name = certificateName(key);
    const answer = given.get(name);
    if (!answer) continue;
    const leaf = decodeOrRefuse(`${name} in ${answer.from}`, () => oneCertificate(answer.bytes));
    const ca = others.find(({ id }) => key === `leaf-${id}`)?.signatories.ca ?? signatories.ca;
    const facts = { path: name, commonName: leaf.commonName };
    const fail = (code: 'untrusted-signer' | 'wrong-purpose' | 'expired' | 'not-yet-valid', why: string) =>
      new Refusal(code, `The release leaf in ${answer.from} ${why}.`, facts);
    if (!isIssuedBy(leaf, ca)) throw fail('untrusted-signer', `was not issued by ${ca.commonName}`);
    if (leaf.commonName !== request.release) {
      throw fail('wrong-purpose', `is for ${leaf.commonName}, and not for ${request.release}`);
    }
    if (leaf.basicConstraints?.ca || !leaf.extKeyUsage?.includes(OID.codeSigning)) {
      throw fail('wrong-purpose', 'may not sign code');
    }
    if (!leaf.keyUsage?.has('digitalSignature')) throw fail('wrong-purpose', 'may not sign');
    if (leaf.notBefore > manifest.issued) throw fail('not-yet-valid', 'begins after the release was issued');
    if (leaf.notAfter < Math.min(manifest.bestBefore, ca.notAfter)) {
      throw fail('expired', 'ends before the release does');
    }
    leaves.set(key as KeyName, leaf);
  }
  return leaves;
}

/** Every signature, by the path of its seal; each one holds. */
function signaturesOf(
  opened: OpenedRequest,
  given: Given,
  leaves: ReadonlyMap<KeyName, Certificate>,
): ReadonlyMap<string, Uint8Array> {
  const keys = publicKeys(opened, leaves);
  const signatures = new Map<string, Uint8Array>();
  const missing: string[] = [];
  for (const file of lackingOf(opened)) {
    const asked = opened.asked.get(file.path);
    const answer = asked && given.get(answerName(asked));
    const key = keys.get(file.by);
    if (!answer || !key) {
      missing.push(`${signatureNumber(asked?.number ?? 0)} ${file.path} (by ${file.by})`);
      continue;
    }
    if (!isSignature(key, file.seal.hash, file.seal.digest, answer.bytes)) {
      throw wrongAnswer(opened, file, answer, keys);
    }
    signatures.set(file.path, answer.bytes);
  }
  if (missing.length > 0) {
    const shown = missing.slice(0, 5).join(', ');
    const more = missing.length > 5 ? ` and ${missing.length - 5} more` : '';
    throw new Refusal('absent', `Answers are missing for ${shown}${more}; nothing was attached.`, {
      missing: missing.length,
    });
  }
  return signatures;
}

function publicKeys(
  { signatories, others }: OpenedRequest,
  leaves: ReadonlyMap<KeyName, Certificate>,
): ReadonlyMap<string, KeyObject> {
  const keys = new Map<string, KeyObject>([
    ['codesign', signatories.codesign.key.object],
    ['boot', signatories.boot.key.object],
  ]);
  if (signatories.openpgp.object) keys.set('openpgp', signatories.openpgp.object);
  for (const { id, signatories: of } of others) keys.set(`boot-${id}`, of.boot.key.object);
  for (const [key, leaf] of leaves) keys.set(key, leaf.key.object);
  return keys;
}

/** What is wrong with an answer, as far as can be told: one of another seal, or by another key, or none at all. */
function wrongAnswer(
  opened: OpenedRequest,
  file: LackingSeal,
  { bytes, from }: { readonly bytes: Uint8Array; readonly from: string },
  keys: ReadonlyMap<string, KeyObject>,
): Refusal {
  const fits = (key: KeyObject | undefined, { seal }: LackingSeal) =>
    key !== undefined && isSignature(key, seal.hash, seal.digest, bytes);
  const other = lackingOf(opened).find((candidate) => fits(keys.get(candidate.by), candidate));
  const otherKey = [...keys].find(([, key]) => fits(key, file))?.[0];
  const why = other
    ? `is the one for ${other.path}`
    : otherKey
      ? `is by the key ${otherKey}, not by ${file.by}`
      : `is no signature over what was asked, by ${file.by}`;
  return new Refusal('bad-signature', `The answer for ${file.path} in ${from} ${why}.`, {
    path: file.path,
    ...(other ? { swapped: other.path } : {}),
  });
}

/** The payload must be, octet for octet, what was signed: it is read once more, by every digest that was. */
async function remeasure(
  tree: string,
  opened: OpenedRequest,
  onProgress?: (path: string, octets: number, size: number) => void,
): Promise<{ path: string; file: MeasuredFile }[]> {
  const measured: { path: string; file: MeasuredFile }[] = [];
  const lacking = lackingOf(opened);
  for (const { path, size, sha256, sha512 } of opened.manifest.files) {
    const openpgp = lacking.find(({ of, by }) => of === path && by === 'openpgp')?.seal;
    const questions: Question[] = [
      { kind: 'digest', hash: 'sha256' },
      { kind: 'digest', hash: 'sha512' },
      ...(openpgp?.form === 'openpgp'
        ? [{ kind: 'digest', hash: 'sha512', suffix: signatureTrailer(openpgp.hashed) } as const]
        : []),
    ];
    const file = await measureFile(join(tree, path), questions, {
      onProgress: (octets) => onProgress?.(path, octets, size),
    });
    const [is256, is512, signed] = file.answers.map((answer) => Buffer.from(answer as Uint8Array));
    if (file.size !== size || is256?.toString('hex') !== sha256 || is512?.toString('hex') !== sha512) {
      throw drifted(path);
    }
    if (openpgp && signed?.compare(openpgp.digest) !== 0) {
      throw new Refusal(
        'malformed',
        `The request asks for an OpenPGP signature of ${path} over something else.`,
        {
          path,
        },
      );
    }
    measured.push({ path, file });
  }
  for (const { path, of, by, seal } of lacking) {
    const record = opened.files.find((file) => file.kind === 'record' && file.path === of);
    if (by !== 'openpgp' || seal.form !== 'openpgp' || record?.kind !== 'record') continue;
    const digest = createHash('sha512').update(record.bytes).update(signatureTrailer(seal.hashed)).digest();
    if (digest.compare(seal.digest) !== 0) {
      throw new Refusal('malformed', `The request asks for ${path} over something else than ${of}.`, {
        path,
      });
    }
  }
  return measured;
}

/** Seals that the request counted on, since they stood and held when it was made. */
async function demandKept(tree: string, { request }: OpenedRequest): Promise<void> {
  for (const { path, sha256 } of request.kept) {
    const bytes = await readFile(join(tree, path)).catch(() => undefined);
    if (!bytes || createHash('sha256').update(bytes).digest('hex') !== sha256) throw drifted(path);
  }
}

function drifted(path: string): Refusal {
  return new Refusal(
    'drifted',
    `${path} is no longer what the request was made of; make a new request of this tree.`,
    { path },
  );
}

function lackingOf({ files }: OpenedRequest): LackingSeal[] {
  return files.filter((file) => file.kind === 'lacking');
}
