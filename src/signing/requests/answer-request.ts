import { Refusal } from '../../errors/refusal.ts';
import { encodePem } from '../../formats/asn1/armor.ts';
import type { Certificate } from '../../formats/asn1/x509.ts';
import { encodeBundle } from '../../formats/records/request-bundle.ts';
import type { MakeKeyPair } from '../keys/key-pair.ts';
import { mintLeaf } from '../keys/release-leaf.ts';
import { isLeaf, isOpenpgpKey, type KeyName } from '../seal-keys.ts';
import type { CertifiedSigner } from '../signatories.ts';
import { type DigestSigner, demandSignature, tryOut } from '../signers/digest-signer.ts';
import { SealCertificates } from '../write-seals.ts';
import { publicKeys, readAnswer } from './answers.ts';
import type { AskedSeal, OpenedRequest } from './open-request.ts';
import { orderedLeaf } from './ordered-leaf.ts';
import { certificateName } from './request-files.ts';

/** The keys at hand where a request is answered; there may be some and not others. */
export interface AnsweringKeys {
  /** By the names that requests use; `boot-ID` among them. */
  readonly signers: ReadonlyMap<string, DigestSigner>;
  /** CAs, which issue release leaves: `leaf`, `leaf-ID`. */
  readonly issuers: ReadonlyMap<string, CertifiedSigner>;
}

export interface AnsweredRequest {
  /** The request with the answers in it. */
  readonly bundle: Uint8Array;
  /** Seals that are answered, those of before among them, by their paths. */
  readonly answered: readonly string[];
  /** For somebody else to make. */
  readonly left: readonly { readonly path: string; readonly key: string }[];
}

export interface AnswerOptions {
  readonly onSignature?: (done: number, of: number) => void;
  readonly makeKeyPair?: MakeKeyPair;
  /**
   * Given, now and then, the request with what is answered so far, and how many signatures of it are new: a batch of an
   * hour need not begin again.
   */
  readonly onPart?: (bundle: Uint8Array, made: number) => Promise<void>;
}

/** Signatures between two parts: at one a second, a few minutes. */
const PART = 250;

/**
 * Signs what the keys at hand can sign, and keeps answers that are there already and hold. A release leaf is issued for
 * each CA among the keys; its key signs, and is gone when this returns.
 *
 * @throws Refusal `absent` where none of the keys is asked for; what a signer throws.
 */
export async function answerRequest(
  opened: OpenedRequest,
  keys: AnsweringKeys,
  options: AnswerOptions = {},
): Promise<AnsweredRequest> {
  const answering = new Answering(opened, keys, options);
  try {
    return await answering.run();
  } catch (error) {
    // What is signed is signed: the next run goes on from there.
    if (answering.made > 0) await options.onPart?.(answering.bundle(), answering.made);
    throw error;
  }
}

class Answering {
  readonly #opened: OpenedRequest;
  readonly #keys: AnsweringKeys;
  readonly #options: AnswerOptions;
  readonly #signers: Map<string, DigestSigner>;
  readonly #answers = new Map<string, Uint8Array>();
  readonly #leaves = new Map<KeyName, Certificate>();
  /** By key and digest: one text for many machines is signed once. */
  readonly #known = new Map<string, Uint8Array>();
  /** Signatures. */
  made = 0;

  constructor(opened: OpenedRequest, keys: AnsweringKeys, options: AnswerOptions) {
    this.#opened = opened;
    this.#keys = keys;
    this.#options = options;
    this.#signers = new Map(keys.signers);
  }

  async run(): Promise<AnsweredRequest> {
    const { lacking, request } = this.#opened;
    const standing = standingAnswers(this.#opened);
    const wanted = new Set<string>(lacking.filter(({ path }) => !standing.has(path)).map(({ by }) => by));
    for (const [key, signer] of this.#signers) {
      if (wanted.has(key)) await tryOut(signer, isOpenpgpKey(key) ? 'sha512' : 'sha256');
    }
    await this.#mintLeaves(standing);
    const answered: string[] = [];
    const left: { path: string; key: string }[] = [];
    for (const asked of inOrder(lacking)) {
      if (!standing.has(asked.path)) {
        const signer = this.#signers.get(asked.by);
        if (!signer) {
          left.push({ path: asked.path, key: asked.by });
          continue;
        }
        await this.#sign(asked, signer);
      }
      answered.push(asked.path);
      this.#options.onSignature?.(answered.length, lacking.length);
    }
    if (answered.length === 0 && left.length > 0) {
      throw new Refusal(
        'absent',
        `None of the keys here is asked for: the request is for ${[...wanted].join(', ')} of ${request.release}, and these are other keys; perhaps those of another site or another day.`,
        { release: request.release },
      );
    }
    return { bundle: this.bundle(), answered, left };
  }

  bundle(): Uint8Array {
    return encodeBundle(new Map([...this.#opened.bundle, ...this.#answers]));
  }

  async #mintLeaves(standing: ReadonlySet<string>): Promise<void> {
    const { request, lacking } = this.#opened;
    for (const { key, kind, bits, notBefore, notAfter } of request.leaves) {
      const ca = this.#keys.issuers.get(key);
      if (!ca || lacking.every(({ by, path }) => by !== key || standing.has(path))) continue;
      const leaf = await mintLeaf(
        { commonName: request.release, notBefore, notAfter, kind, bits },
        ca,
        this.#options.makeKeyPair,
      );
      this.#signers.set(key, leaf.signer);
      this.#leaves.set(key as KeyName, leaf.certificate);
      this.#answers.set(certificateName(key), Buffer.from(encodePem('CERTIFICATE', leaf.certificate.raw)));
    }
  }

  async #sign(asked: AskedSeal, signer: DigestSigner): Promise<void> {
    const { seal } = asked;
    const id = `${asked.by} ${Buffer.from(seal.digest).toString('hex')}`;
    const signature = this.#known.get(id) ?? (await demandSignature(signer, seal.hash, seal.digest));
    this.#known.set(id, signature);
    const { signatories, others } = this.#opened;
    const certificates = new SealCertificates(signatories, others, this.#leaves);
    this.#answers.set(
      asked.answer,
      asked.text === undefined ? signature : certificates.complete(asked, signature),
    );
    this.made += 1;
    if (this.made % PART === 0) await this.#options.onPart?.(this.bundle(), this.made);
  }
}

/** Leaves first: what they signed counts only whole. */
function inOrder(lacking: readonly AskedSeal[]): AskedSeal[] {
  const ofLeaf = lacking.filter(({ by }) => isLeaf(by));
  return [...ofLeaf, ...lacking.filter(({ by }) => !isLeaf(by))];
}

/**
 * Paths of seals whose answers are there already and hold. Those by a leaf hold together or not at all: its key is
 * gone.
 */
export function standingAnswers(opened: OpenedRequest): ReadonlySet<string> {
  const { lacking, bundle } = opened;
  const leaves = issuedLeaves(opened);
  const keys = publicKeys(opened, leaves);
  const holds = (asked: AskedSeal) => {
    const [bytes, key] = [bundle.get(asked.answer), keys.get(asked.by)];
    return bytes && key && typeof readAnswer(opened, asked, bytes, key) !== 'string';
  };
  const standing = new Set(lacking.filter(holds).map(({ path }) => path));
  for (const leaf of leaves.keys()) {
    const its = lacking.filter(({ by }) => by === leaf);
    if (!its.every(({ path }) => standing.has(path))) for (const { path } of its) standing.delete(path);
  }
  return standing;
}

/** Leaves that were issued before, as they were ordered. */
function issuedLeaves(opened: OpenedRequest): ReadonlyMap<KeyName, Certificate> {
  const leaves = new Map<KeyName, Certificate>();
  for (const order of opened.request.leaves) {
    const pem = opened.bundle.get(certificateName(order.key));
    if (!pem) continue;
    try {
      leaves.set(order.key as KeyName, orderedLeaf(opened, order, pem, 'the request'));
    } catch (error) {
      // Another one is issued in its place.
      if (!(error instanceof Refusal)) throw error;
    }
  }
  return leaves;
}
