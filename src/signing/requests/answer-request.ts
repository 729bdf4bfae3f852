import { Refusal } from '../../errors/refusal.ts';
import { encodePem } from '../../formats/asn1/armor.ts';
import { encodeBundle } from '../../formats/records/request-bundle.ts';
import type { MakeKeyPair } from '../keys/key-pair.ts';
import { mintLeaf } from '../keys/release-leaf.ts';
import type { CertifiedSigner } from '../signatories.ts';
import { type DigestSigner, demandSignature, tryOut } from '../signers/digest-signer.ts';
import { answerName, certificateName, type OpenedRequest } from './request.ts';

/** The keys at hand where a request is answered; there may be some and not others. */
export interface AnsweringKeys {
  /** `codesign`, `openpgp`, `boot`, `boot-ID`. */
  readonly signers: ReadonlyMap<string, DigestSigner>;
  /** CAs, which issue release leaves: `leaf`, `leaf-ID`. */
  readonly issuers: ReadonlyMap<string, CertifiedSigner>;
}

export interface AnsweredRequest {
  /** The request with the answers in it. */
  readonly bundle: Uint8Array;
  /** Signatures made, by the path of the seal. */
  readonly answered: readonly string[];
  /** For somebody else to make. */
  readonly left: readonly { readonly path: string; readonly key: string }[];
}

/**
 * Signs what the keys at hand can sign. A release leaf is issued for each CA among them; its key signs, and is
 * gone when this returns.
 *
 * @throws Refusal `absent` where none of the keys is asked for; what a signer throws.
 */
export async function answerRequest(
  { request, bundle }: OpenedRequest,
  keys: AnsweringKeys,
  options: {
    readonly onSignature?: (done: number, of: number) => void;
    readonly makeKeyPair?: MakeKeyPair;
  } = {},
): Promise<AnsweredRequest> {
  const signers = new Map(keys.signers);
  const answers = new Map<string, Uint8Array>();
  const wanted = new Set(request.signatures.map(({ key }) => key));
  for (const [key, signer] of signers) {
    if (wanted.has(key)) await tryOut(signer, key === 'openpgp' ? 'sha512' : 'sha256');
  }
  for (const { key, kind, bits, notBefore, notAfter } of request.leaves) {
    const ca = keys.issuers.get(key);
    if (!ca) continue;
    const leaf = await mintLeaf(
      { commonName: request.release, notBefore, notAfter, kind, bits },
      ca,
      options.makeKeyPair,
    );
    signers.set(key, leaf.signer);
    answers.set(certificateName(key), Buffer.from(encodePem('CERTIFICATE', leaf.certificate.raw)));
  }
  const answered: string[] = [];
  const left: { path: string; key: string }[] = [];
  for (const asked of request.signatures) {
    const { key, algorithm, digest, path, suffix } = asked;
    const signer = signers.get(key);
    if (!signer) {
      left.push({ path: path + suffix, key });
      continue;
    }
    const hash = algorithm === 'rsa-sha512' ? 'sha512' : 'sha256';
    answers.set(answerName(asked), await demandSignature(signer, hash, Buffer.from(digest, 'hex')));
    answered.push(path + suffix);
    options.onSignature?.(answered.length, request.signatures.length);
  }
  if (answered.length === 0 && left.length > 0) {
    throw new Refusal(
      'absent',
      `None of the keys here is asked for: the request is for ${[...wanted].join(', ')} of ${request.release}.`,
      { release: request.release },
    );
  }
  return { bundle: encodeBundle(new Map([...bundle, ...answers])), answered, left };
}
