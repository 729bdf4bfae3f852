import { decodeDetachedCms, type SignedData, type SignerInfo } from '../formats/cms.ts';
import { isRsaSignature } from '../formats/pkcs1.ts';
import type { Certificate } from '../formats/x509.ts';
import type { Answer, Question } from '../release/measurer.ts';
import { Refusal } from '../release/refusal.ts';
import { demandCodeSigning, nameOf, verifyChain } from './chain.ts';
import { type Check, decodeOr, prepare } from './check.ts';
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
  /** The common name that a signer must have; every other signer is then passed over. */
  readonly commonName?: string;
}

/** iPXE: 12.5 hours, for clocks in local time. */
const IPXE_MARGIN = 12.5 * 3_600_000;

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
  return { signers, roots: roots.length > 0 ? roots : signers, purpose: 'any', margin: 0 };
}

/** As our own verifiers: exactly the codesign leaf, for code, under its CA. */
export function codesignRules(signers: readonly Certificate[], roots: readonly Certificate[]): CmsRules {
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
    const candidates = data.signers.map((info) => ({
      info,
      certificate: findSigner(what, info, data, rules),
    }));
    const counted =
      rules.commonName === undefined
        ? candidates
        : candidates.filter(({ certificate }) => certificate.commonName === rules.commonName);
    const [first] = counted;
    if (!first) {
      const found = candidates.map(({ certificate }) => certificate.commonName).join(', ');
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
      questions: counted.map(({ info, certificate }) => question(info, certificate)),
      conclude(answers) {
        for (const [index, { info, certificate }] of counted.entries()) {
          // 4. Algorithm and key are good enough today.
          demandStrong(policy, what, info.hash, certificate.key);
          // 5. The signature is over this content. Before trust: tampering is worse news than a date.
          if (!holds(info, certificate, answers[index])) {
            throw new Refusal('bad-signature', `${what} does not match: the file or its seal was changed.`, {
              signer: certificate.commonName,
            });
          }
          // 6. The signer may sign code.
          if (rules.purpose === 'codeSigning') demandCodeSigning(certificate);
          // 7. The signer leads to an anchor, and every certificate on the way is valid now.
          verifyChain(certificate, {
            roots: rules.roots,
            intermediates: data.certificates,
            margin: rules.margin,
            now,
            policy,
          });
        }
        return { check: 'cms', signer: first.certificate.commonName, signed: true };
      },
    };
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
    serial: Buffer.from(info.serialNumber).toString('hex'),
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

function holds(info: SignerInfo, certificate: Certificate, answer: Answer | undefined): boolean {
  if (certificate.key.type !== info.key) {
    throw new Refusal(
      'bad-signature',
      `The signature is ${info.key}, and the key of ${nameOf(certificate)} is not.`,
      {},
    );
  }
  if (info.key === 'ec') return answer === true;
  return (
    answer instanceof Uint8Array && isRsaSignature(certificate.key.object, info.hash, answer, info.signature)
  );
}
