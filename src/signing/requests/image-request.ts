import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import { Malformed } from '../../errors/malformed.ts';
import { Refusal } from '../../errors/refusal.ts';
import { decodePem, encodePem } from '../../formats/asn1/armor.ts';
import type { Certificate } from '../../formats/asn1/x509.ts';
import { decodePe, type PeImage, peSection } from '../../formats/efi/pe.ts';
import { peSignatures } from '../../formats/efi/pe-write.ts';
import {
  encodePcrSignatures,
  PCR_PHASES,
  pcrPolicy,
  pcrValue,
  ukiTitle,
  withPcrSignatures,
} from '../../formats/efi/uki.ts';
import {
  decodeImageRequest,
  encodeImageRequest,
  type ImageQuestion,
  type ImageRequest,
  isImageRequest,
} from '../../formats/records/image-request.ts';
import { decodeBundle, encodeBundle } from '../../formats/records/request-bundle.ts';
import { signatureNumber } from '../../formats/records/signing-request.ts';
import { attachAuthenticode, draftAuthenticode, imageDigest } from '../authenticode.ts';
import { type DigestSigner, demandSignature, isSignature } from '../signers/digest-signer.ts';
import { decodeOrRefuse, oneCertificate } from './open-request.ts';
import { INDEX } from './request-files.ts';

/**
 * Requests about an image: the digest that db's key signs, or those over PCR values. The image stays where it is, and
 * a signature is attached to it without another byte changing.
 */

const DB_CERTIFICATE = 'certificates/db.crt';
const PCR_KEY = 'certificates/pcr.pub';

/** Whose signature is asked for. */
export type ImageSignatory =
  | { readonly key: 'db'; readonly certificate: Certificate }
  | { readonly key: 'pcr'; readonly publicKey: KeyObject };

export interface OpenedImageRequest {
  readonly request: ImageRequest;
  /** The index, byte for byte. */
  readonly index: Uint8Array;
  readonly signatory: ImageSignatory;
  readonly bundle: ReadonlyMap<string, Uint8Array>;
}

const questionName = ({ number, key }: ImageQuestion) => `digests/${signatureNumber(number)}.${key}`;
const answerName = (question: ImageQuestion) => `${questionName(question)}.sig`;

/** Writes down what an image lacks to be signed by db's key. Throws a `Refusal`. */
export function requestAuthenticode(name: string, bytes: Uint8Array, certificate: Certificate): Uint8Array {
  const { facts } = open(name, bytes);
  const { digest } = draftAuthenticode(Buffer.from(facts.imageDigest, 'hex'), certificate, facts.title);
  const question = { number: 1, key: 'db', keySha256: sha256(certificate.raw), digest: hex(digest) } as const;
  const pem = Buffer.from(encodePem('CERTIFICATE', certificate.raw));
  return bundleOf({ ...facts, questions: [question] }, DB_CERTIFICATE, pem);
}

/** Writes down what the key in an image's `.pcrpkey` must sign, a signature for each phase. Throws a `Refusal`. */
export function requestPcrSignatures(name: string, bytes: Uint8Array): Uint8Array {
  const { facts, image } = open(name, bytes);
  const refuse = (why: string) => new Refusal('malformed', `${name} ${why}.`, { path: name });
  const pem = peSection(bytes, image, '.pcrpkey');
  if (!pem) throw refuse('has no .pcrpkey; make it with "bootseal uki --pcr DIR"');
  if (peSection(bytes, image, '.pcrsig')) throw refuse('has PCR signatures already');
  if (image.certificateTable) throw refuse('is signed already, and PCR signatures come first');
  const publicKey = rsaPublicKey(name, pem);
  const questions = pcrQuestions(bytes, image, publicKey);
  return bundleOf({ ...facts, questions }, PCR_KEY, pem);
}

function pcrQuestions(bytes: Uint8Array, image: PeImage, publicKey: KeyObject): ImageQuestion[] {
  return PCR_PHASES.map((phase, index) => {
    const value = pcrValue(bytes, image, phase);
    return {
      number: index + 1,
      key: 'pcr',
      keySha256: fingerprint(publicKey),
      digest: pcrDigest(value),
      pcr: { value: hex(value), phase },
    };
  });
}

function open(name: string, bytes: Uint8Array): { facts: Omit<ImageRequest, 'questions'>; image: PeImage } {
  return decodeOrRefuse(name, () => {
    const image = decodePe(bytes);
    const cmdline = Buffer.from(peSection(bytes, image, '.cmdline') ?? []).toString('latin1');
    if (!/^[!-~]([ -~]*[!-~])?$/.test(cmdline)) throw new Malformed('PE', 'no .cmdline that can be shown');
    const digest = hex(imageDigest(bytes));
    return {
      facts: { title: ukiTitle(bytes, image), cmdline, size: contentSize(bytes, image), imageDigest: digest },
      image,
    };
  });
}

/** Bytes of the image, its signatures apart. */
function contentSize(bytes: Uint8Array, image: PeImage): number {
  return image.certificateTable?.offset ?? bytes.length;
}

function bundleOf(request: ImageRequest, keyName: string, key: Uint8Array): Uint8Array {
  return encodeBundle(
    new Map([
      [INDEX, encodeImageRequest(request)],
      [keyName, key],
      ...request.questions.map((one) => [questionName(one), Buffer.from(one.digest, 'hex')] as const),
    ]),
  );
}

/** Whether a bundle is about an image, and not about a tree. */
export function isAboutImage(bytes: Uint8Array): boolean {
  try {
    return isImageRequest(decodeBundle(bytes).files.get(INDEX) ?? new Uint8Array());
  } catch (error) {
    if (error instanceof Malformed) return false;
    throw error;
  }
}

/**
 * Reads a request and holds it against itself: the key is the one that the index names, and each digest is that of an
 * Authenticode signature over the named image, or of the policy over the named value. A key that answers signs that
 * and nothing else.
 *
 * @throws Refusal `malformed`, `absent`.
 */
export function openImageRequest(name: string, bytes: Uint8Array): OpenedImageRequest {
  const bundle = decodeOrRefuse(name, () => decodeBundle(bytes).files);
  const file = (path: string) => {
    const found = bundle.get(path);
    if (found) return found;
    throw new Refusal('absent', `${name} holds no ${path}, so it is no whole request.`, { path });
  };
  const index = file(INDEX);
  const request = decodeOrRefuse(name, () => decodeImageRequest(index));
  const differs = (path: string) =>
    new Refusal(
      'malformed',
      `${path} in ${name} is not what its index names: it was changed after the request was made.`,
      { path },
    );
  const db = request.questions[0]?.key === 'db';
  const keyName = db ? DB_CERTIFICATE : PCR_KEY;
  const signatory: ImageSignatory = db
    ? { key: 'db', certificate: decodeOrRefuse(name, () => oneCertificate(file(DB_CERTIFICATE))) }
    : { key: 'pcr', publicKey: rsaPublicKey(name, file(PCR_KEY)) };
  const keySha256 =
    signatory.key === 'db' ? sha256(signatory.certificate.raw) : fingerprint(signatory.publicKey);
  const named = new Set([INDEX, keyName]);
  for (const question of request.questions) {
    if (question.keySha256 !== keySha256) throw differs(keyName);
    const wanted =
      signatory.key === 'db'
        ? hex(
            draftAuthenticode(Buffer.from(request.imageDigest, 'hex'), signatory.certificate, request.title)
              .digest,
          )
        : pcrDigest(Buffer.from(question.pcr?.value ?? '', 'hex'));
    if (question.digest !== wanted) throw differs(`the digest of ${questionName(question)}`);
    if (hex(file(questionName(question))) !== wanted) throw differs(questionName(question));
    named.add(questionName(question)).add(answerName(question));
  }
  for (const path of bundle.keys()) {
    if (named.has(path)) continue;
    throw new Refusal('malformed', `${name} holds ${path}, which its index does not name.`, { path });
  }
  return { request, index, signatory, bundle };
}

/**
 * That a request is about this image, and says of it what it is: command line, name, digest.
 *
 * @throws Refusal `mixed-releases` for another image, `malformed` for a request that says what is not so.
 */
export function demandImageOf({ request }: OpenedImageRequest, name: string, bytes: Uint8Array): void {
  const { facts } = open(name, bytes);
  if (facts.imageDigest !== request.imageDigest || facts.size !== request.size)
    throw new Refusal('mixed-releases', `${name} is not the image that the request is about.`, {
      path: name,
    });
  if (facts.cmdline === request.cmdline && facts.title === request.title) return;
  throw new Refusal(
    'malformed',
    `The request says that ${name} is ${request.title} with the command line ${JSON.stringify(request.cmdline)}, and it is ${facts.title} with ${JSON.stringify(facts.cmdline)}.`,
    { path: name },
  );
}

/** Answers all that is asked: the request with the answers in it. Throws what the signer throws. */
export async function answerImageRequest(
  { request, bundle }: OpenedImageRequest,
  signer: DigestSigner,
): Promise<Uint8Array> {
  const answers = new Map(bundle);
  for (const question of request.questions) {
    const digest = Buffer.from(question.digest, 'hex');
    answers.set(answerName(question), await demandSignature(signer, 'sha256', digest));
  }
  return encodeBundle(answers);
}

/**
 * The image with the signatures that were made elsewhere. Nothing is answered unless all of it holds; the same answer
 * once more changes nothing.
 *
 * @throws Refusal `absent` for a missing answer, `bad-signature`, `mixed-releases` for an answer to another request,
 *   `drifted` where the image is not what the request was made of.
 */
export function attachImageAnswers(
  name: string,
  bytes: Uint8Array,
  responses: readonly { readonly name: string; readonly bytes: Uint8Array }[],
): Uint8Array {
  const opened = responses.map((one) => ({ name: one.name, ...openImageRequest(one.name, one.bytes) }));
  const [first] = opened;
  if (!first) throw new Refusal('absent', 'There is no answer to attach.', {});
  for (const other of opened) {
    if (Buffer.compare(other.index, first.index) === 0) continue;
    throw new Refusal('mixed-releases', `${other.name} answers another request than ${first.name}.`, {
      path: other.name,
    });
  }
  const { request, signatory } = first;
  const { facts, image } = open(name, bytes);
  if (facts.imageDigest !== request.imageDigest || facts.size !== request.size) {
    throw new Refusal(
      'drifted',
      `${name} is no longer what the request was made of; make a new request of it.`,
      {
        path: name,
      },
    );
  }
  const publicKey = signatory.key === 'db' ? signatory.certificate.key.object : signatory.publicKey;
  const signatures = request.questions.map((question) => {
    const answer = opened
      .map(({ bundle }) => bundle.get(answerName(question)))
      .find((one) => one !== undefined);
    if (!answer)
      throw new Refusal('absent', `The answer ${answerName(question)} is missing; nothing was attached.`, {});
    if (isSignature(publicKey, 'sha256', Buffer.from(question.digest, 'hex'), answer)) return answer;
    throw new Refusal(
      'bad-signature',
      `${answerName(question)} is no signature over what was asked, by ${question.key}.`,
      {
        path: answerName(question),
      },
    );
  });
  if (signatory.key === 'db') {
    const draft = draftAuthenticode(
      Buffer.from(facts.imageDigest, 'hex'),
      signatory.certificate,
      facts.title,
    );
    return attachAuthenticode(bytes, draft.complete(signatures[0] as Uint8Array));
  }
  const wanted = pcrQuestions(bytes, image, signatory.publicKey);
  if (wanted.some(({ digest }, index) => digest !== request.questions[index]?.digest)) {
    throw new Refusal(
      'malformed',
      'The request asks for values that PCR 11 will not have with this image.',
      {},
    );
  }
  return decodeOrRefuse(name, () =>
    withPcrSignatures(bytes, pcrsigOf(signatory.publicKey, request.questions, signatures)),
  );
}

function pcrsigOf(
  publicKey: KeyObject,
  questions: readonly ImageQuestion[],
  signatures: readonly Uint8Array[],
): Uint8Array {
  return encodePcrSignatures(
    fingerprint(publicKey),
    questions.map(({ pcr }, index) => ({
      policy: pcrPolicy(Buffer.from(pcr?.value ?? '', 'hex')),
      signature: signatures[index] as Uint8Array,
    })),
  );
}

/** Signs an image with a key at hand: the very bytes that the way through a request gives. */
export async function signImage(
  name: string,
  bytes: Uint8Array,
  by: { readonly certificate: Certificate; readonly signer: DigestSigner },
): Promise<Uint8Array> {
  const asked = openImageRequest(name, requestAuthenticode(name, bytes, by.certificate));
  const answered = await answerImageRequest(asked, by.signer);
  return attachImageAnswers(name, bytes, [{ name, bytes: answered }]);
}

/** The same for PCR values, which come before. */
export async function signPcrValues(
  name: string,
  bytes: Uint8Array,
  signer: DigestSigner,
): Promise<Uint8Array> {
  const asked = openImageRequest(name, requestPcrSignatures(name, bytes));
  return attachImageAnswers(name, bytes, [{ name, bytes: await answerImageRequest(asked, signer) }]);
}

/** How many signatures an image has. */
export function signatureCount(bytes: Uint8Array): number {
  return peSignatures(bytes, decodePe(bytes)).length;
}

function rsaPublicKey(name: string, pem: Uint8Array): KeyObject {
  return decodeOrRefuse(name, () => {
    const [block, ...more] = decodePem(Buffer.from(pem).toString('latin1'));
    if (block?.label !== 'PUBLIC KEY' || more.length > 0) throw new Malformed('PEM', 'not one PUBLIC KEY');
    try {
      const key = createPublicKey({ key: Buffer.from(block.bytes), format: 'der', type: 'spki' });
      if (key.asymmetricKeyType === 'rsa') return key;
    } catch {
      // Said below.
    }
    throw new Malformed('PEM', 'no RSA public key');
  });
}

/** As systemd counts it: SHA-256 of the key as PKCS #1. */
function fingerprint(publicKey: KeyObject): string {
  return sha256(publicKey.export({ format: 'der', type: 'pkcs1' }));
}

/** What a key signs: the policy is the message. */
function pcrDigest(value: Uint8Array): string {
  return sha256(pcrPolicy(value));
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
