import { Refusal } from '../errors/refusal.ts';
import type { Answer, Question } from '../files/measurer.ts';
import { calledOf, serialText } from '../formats/asn1/certificate-name.ts';
import { decodeDetachedCms, type SignedData, type SignerInfo } from '../formats/asn1/cms.ts';
import { isRsaSignature } from '../formats/asn1/pkcs1.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { demandCodeSigning, nameOf, verifyChain } from './chain.ts';
import { type Check, decodeOr, evidenceOf, pinnedContent, pinQuestions, prepare } from './check.ts';
import { answersToIpxe } from './ipxe-name.ts';
import { demandStrong, type Policy } from './policy.ts';

/** How a client accepts CMS. Its two dialects are `imgverifyRules` and `archisoRules`. */
export interface CmsRules {
  /** Where the signer's certificate must come from. */
  readonly signers: 'inside the CMS' | readonly Certificate[];
  readonly roots: readonly Certificate[];
  /** `any`: OpenSSL's `-purpose any`, which accepts every certificate of the CA. */
  readonly purpose: 'codeSigning' | 'any';
  /** Milliseconds. */
  readonly margin: number;
  /** The whole chain must be inside: an iPXE whose roots were given as TRUST= alone has no other copy. */
  readonly complete?: boolean;
  /** The name that a signer must have, by iPXE's comparison; of every other signer only the chain must hold. */
  readonly commonName?: string;
  /** The signer's common name must be that very name, to the letter. */
  readonly exactName?: boolean;
}

/** iPXE: 12.5 hours, for clocks in local time. */
export const IPXE_MARGIN = 12.5 * 3_600_000;

/** As iPXE's `imgverify [--signer NAME]`, built with `roots` as TRUST=. */
export function imgverifyRules(roots: readonly Certificate[], commonName?: string): CmsRules {
  return {
    signers: 'inside the CMS',
    roots,
    purpose: 'codeSigning',
    margin: IPXE_MARGIN,
    ...(commonName === undefined ? {} : { commonName }),
  };
}

/** As archiso's `openssl cms -verify -nointern -purpose any -certfile /codesign.crt -CAfile /codesign_CA.crt`. */
export function archisoRules(signers: readonly Certificate[], roots: readonly Certificate[]): CmsRules {
  // Without -partial_chain OpenSSL trusts self-signed certificates only: a leaf is no CA file for itself.
  const anchors = (roots.length > 0 ? roots : signers).filter(
    ({ issuer, subject }) => Buffer.compare(issuer, subject) === 0,
  );
  return { signers, roots: anchors, purpose: 'any', margin: 0 };
}

/** As our own verifiers: exactly the leaf that is held for this purpose, for code, under its CA. */
export function leafRules(signers: readonly Certificate[], roots: readonly Certificate[]): CmsRules {
  return { signers, roots, purpose: 'codeSigning', margin: 0 };
}

/**
 * A detached CMS seal.
 *
 * @param what names the seal in refusals: `vmlinuz-linux.ipxe.sig`.
 */
export function cmsCheck(
  what: string,
  bytes: Uint8Array,
  rules: CmsRules,
  policy: Policy,
  now: number,
): Check {
  return prepare('cms', () => {
    // 1. The seal follows its format: detached, no attributes, nothing after it.
    const data = decodeOr(what, () => decodeDetachedCms(bytes));
    // 2. Somebody signed. An empty set of signers verifies "all of them", and nothing.
    if (data.signers.length === 0) throw new Refusal('bad-signature', `${what} holds no signature.`, {});
    demandDistinct(what, data.signers);
    // 3. Every signer counts, or the one that was asked for by name.
    const candidates = data.signers.map((info) => {
      const certificate = findSigner(what, info, data, rules);
      demandSameKind(info, certificate);
      return { info, certificate };
    });
    const counted =
      rules.commonName === undefined
        ? candidates
        : candidates.filter(({ certificate }) => answersToIpxe(certificate, rules.commonName ?? ''));
    const [first] = counted;
    // One that iPXE takes for the wanted one, and that has another name, is never passed over.
    const other = counted.some(({ certificate }) => certificate.commonName !== rules.commonName);
    if (!first || (rules.exactName && rules.commonName !== undefined && other)) {
      const found = candidates.map(({ certificate }) => calledOf(certificate)).join(', ');
      throw new Refusal(
        'untrusted-signer',
        `${what} is by ${found}, and ${rules.commonName} was asked for.`,
        {
          wanted: rules.commonName,
          found,
        },
      );
    }
    return {
      name: 'cms',
      questions: [
        ...counted.map(({ info, certificate }) => question(info, certificate)),
        ...pinQuestions(policy),
      ],
      beforehand(sha256) {
        judge(undefined, sha256);
      },
      conclude(answers) {
        const remarks = new Set<string>();
        judge(answers, pinnedContent(answers[counted.length]), remarks);
        return evidenceOf('cms', calledOf(first.certificate), remarks);
      },
    };

    /**
     * @param answers undefined: the content is not here, and step 5 is left for when it is.
     * @param content SHA-256, where a pin may speak for it.
     */
    function judge(
      answers: readonly Answer[] | undefined,
      content: string | undefined,
      remarks = new Set<string>(),
    ): void {
      const demandChain = (certificate: Certificate) =>
        verifyChain(certificate, {
          roots: rules.roots,
          intermediates: data.certificates,
          ...(rules.complete === undefined ? {} : { complete: rules.complete }),
          margin: rules.margin,
          now,
          policy,
          ...(content === undefined ? {} : { content }),
          onRemark: (said) => remarks.add(said),
        });
      for (const [index, { info, certificate }] of counted.entries()) {
        // 4. Algorithm and key are good enough today.
        const remark = demandStrong(policy, what, info.hash, certificate.key, content);
        if (remark !== undefined) remarks.add(remark);
        // 5. The signature is over this content. Before trust: tampering is worse news than a date.
        if (answers && !holds(info, certificate, answers[index])) {
          throw new Refusal('bad-signature', `${what} does not match: the file or its seal was changed.`, {
            signer: calledOf(certificate),
          });
        }
        // 6. The signer may sign code.
        if (rules.purpose === 'codeSigning') demandCodeSigning(certificate);
        // 7. The signer leads to an anchor, and every certificate on the way is valid now.
        demandChain(certificate);
      }
      // 8. So does everyone else who signed: iPXE completes each chain before it asks for names.
      for (const candidate of candidates)
        if (!counted.includes(candidate)) demandChain(candidate.certificate);
    }
  });
}

function findSigner(what: string, info: SignerInfo, data: SignedData, rules: CmsRules): Certificate {
  const pool = rules.signers === 'inside the CMS' ? data.certificates : rules.signers;
  const found = pool.find(
    (certificate) =>
      Buffer.compare(certificate.issuer, info.issuer) === 0 &&
      Buffer.compare(certificate.serialNumber, info.serialNumber) === 0,
  );
  if (found) return found;
  const where = rules.signers === 'inside the CMS' ? 'not inside it' : 'not the one this client holds';
  throw new Refusal('untrusted-signer', `${what}: the signer's certificate is ${where}.`, {
    serial: serialText(info.serialNumber),
  });
}

/** Two infos of one signer would count twice towards "every signer verified". */
function demandDistinct(what: string, signers: readonly SignerInfo[]): void {
  const names = signers.map(({ issuer, serialNumber }) =>
    Buffer.concat([issuer, serialNumber]).toString('hex'),
  );
  if (new Set(names).size !== names.length) {
    throw new Refusal('malformed', `${what} names one signer twice.`, {});
  }
}

function question(info: SignerInfo, certificate: Certificate): Question {
  return info.key === 'rsa'
    ? { kind: 'digest', hash: info.hash }
    : {
        kind: 'ecdsa-verify',
        hash: info.hash,
        publicKey: certificate.key.object.export({ format: 'pem', type: 'spki' }).toString(),
        signature: info.signature,
      };
}

/** Before any question is put: node:crypto throws where a key cannot do what a signature claims it did. */
function demandSameKind(info: SignerInfo, certificate: Certificate): void {
  if (certificate.key.type !== info.key) {
    throw new Refusal(
      'bad-signature',
      `The signature is ${info.key}, and the key of ${nameOf(certificate)} is not.`,
      {},
    );
  }
}

function holds(info: SignerInfo, certificate: Certificate, answer: Answer | undefined): boolean {
  if (info.key === 'ec') return answer === true;
  return (
    answer instanceof Uint8Array && isRsaSignature(certificate.key.object, info.hash, answer, info.signature)
  );
}
