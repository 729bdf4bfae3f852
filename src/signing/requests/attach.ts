import type { KeyObject } from 'node:crypto';
import { Refusal, type RefusalCode } from '../../errors/refusal.ts';
import { type HashName, OID, signatureByOid } from '../../formats/asn1/oids.ts';
import type { Certificate } from '../../formats/asn1/x509.ts';
import { isoSeconds } from '../../formats/records/lines.ts';
import { decodeBundle } from '../../formats/records/request-bundle.ts';
import { type RequestedLeaf, signatureNumber } from '../../formats/records/signing-request.ts';
import { remeasure } from '../remeasure.ts';
import type { KeyName } from '../seal-keys.ts';
import { isIssuedBy } from '../seal-plan.ts';
import { isSignature } from '../signers/digest-signer.ts';
import type { LackingSeal } from '../tree-draft.ts';
import { SealCertificates, type SealedFile, writeSeals } from '../write-seals.ts';
import {
  answerName,
  certificateName,
  decodeOrRefuse,
  INDEX,
  type OpenedRequest,
  oneCertificate,
  openBundle,
} from './request.ts';

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
  const signatures = signaturesOf(opened, given, leaves);
  const certificates = new SealCertificates(opened.signatories, opened.others, leaves);
  const measured = await remeasure(tree, opened, options.onProgress);
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
    const leaf = decodeOrRefuse(`${name} in ${answer.from}`, () => oneCertificate(answer.bytes));
    demandAsOrdered(opened, order, leaf, answer.from);
    leaves.set(order.key as KeyName, leaf);
  }
  return leaves;
}

/** Critical extensions that iPXE knows; it refuses a certificate with any other. */
const KNOWN_TO_IPXE: readonly string[] = [OID.basicConstraints, OID.keyUsage, OID.extKeyUsage];
const HASHES: readonly (string | undefined)[] = ['sha256', 'sha384', 'sha512'] satisfies HashName[];

/** Issued by hand, a leaf may be anything; what no loader takes is found here and not at a boot. */
function demandAsOrdered(
  { signatories, others, manifest: { release, issued, bestBefore } }: OpenedRequest,
  { key, kind, bits }: RequestedLeaf,
  leaf: Certificate,
  from: string,
): void {
  const ca = others.find(({ id }) => key === `leaf-${id}`)?.signatories.ca ?? signatories.ca;
  const fail = (code: RefusalCode, why: string) =>
    new Refusal(code, `The release leaf in ${from} ${why}.`, {
      path: certificateName(key),
      commonName: leaf.commonName,
    });
  if (!isIssuedBy(leaf, ca)) throw fail('untrusted-signer', `was not issued by ${ca.commonName}`);
  const hash = signatureByOid(leaf.signatureAlgorithm)?.hash;
  if (!HASHES.includes(hash)) throw fail('weak-algorithm', `was issued with ${hash}`);
  if (leaf.commonName !== release) {
    throw fail('wrong-purpose', `is for ${leaf.commonName}, and not for ${release}`);
  }
  if (leaf.basicConstraints?.ca || !leaf.extKeyUsage?.includes(OID.codeSigning)) {
    throw fail('wrong-purpose', 'may not sign code');
  }
  if (!leaf.keyUsage?.has('digitalSignature')) throw fail('wrong-purpose', 'may not sign');
  const unknown = leaf.extensions.find(({ critical, oid }) => critical && !KNOWN_TO_IPXE.includes(oid));
  if (unknown) throw fail('wrong-purpose', `has a critical extension ${unknown.oid}, which iPXE refuses`);
  if (leaf.key.type !== (kind === 'rsa' ? 'rsa' : 'ec')) {
    throw fail('malformed', `has a key of another kind than ${kind}, which was ordered`);
  }
  if (leaf.key.bits < bits)
    throw fail('weak-algorithm', `has a key of ${leaf.key.bits} bits, not of ${bits}`);
  if (leaf.notBefore > issued) throw fail('not-yet-valid', 'begins after the release was issued');
  if (leaf.notAfter < Math.min(bestBefore, ca.notAfter))
    throw fail('expired', 'ends before the release does');
}

/** Every signature, by the path of its seal; each one holds. */
function signaturesOf(
  opened: OpenedRequest,
  given: Given,
  leaves: ReadonlyMap<KeyName, Certificate>,
): ReadonlyMap<string, Uint8Array> {
  const keys = publicKeys(opened, leaves);
  const signatures = new Map<string, Uint8Array>();
  const missing = new Set<string>();
  for (const file of lackingOf(opened)) {
    const asked = opened.asked.get(file.path);
    const answer = asked && given.get(answerName(asked));
    const key = keys.get(file.by);
    if (!key) missing.add(certificateName(file.by));
    if (!answer) missing.add(`${signatureNumber(asked?.number ?? 0)} ${file.path} (by ${file.by})`);
    if (!answer || !key) continue;
    if (!isSignature(key, file.seal.hash, file.seal.digest, answer.bytes)) {
      throw wrongAnswer(opened, file, answer, keys);
    }
    signatures.set(file.path, answer.bytes);
  }
  if (missing.size > 0) {
    const shown = [...missing].slice(0, 5).join(', ');
    const more = missing.size > 5 ? ` and ${missing.size - 5} more` : '';
    throw new Refusal('absent', `Answers are missing: ${shown}${more}; nothing was attached.`, {
      missing: missing.size,
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

function lackingOf({ files }: OpenedRequest): LackingSeal[] {
  return files.filter((file) => file.kind === 'lacking');
}
