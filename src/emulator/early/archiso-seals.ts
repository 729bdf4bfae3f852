import { createHash, verify as verifySignature } from 'node:crypto';
import { Refusal } from '../../errors/refusal.ts';
import type { Answer, Question } from '../../files/measurer.ts';
import { isArmored, readArmored } from '../../formats/asn1/armor-in-text.ts';
import { canonicalName } from '../../formats/asn1/distinguished-name.ts';
import { isRsaSignature } from '../../formats/asn1/pkcs1.ts';
import { type AnySigner, decodeAnySignedData } from '../../formats/asn1/signed-data.ts';
import type { Certificate } from '../../formats/asn1/x509.ts';
import { leadingSignatures } from '../../formats/openpgp/openpgp-signature.ts';
import { verifyChain } from '../../trust/chain.ts';
import {
  type Check,
  decodeOr,
  evidenceOf,
  lost,
  pinnedContent,
  pinQuestions,
  prepare,
} from '../../trust/check.ts';
import { archisoRules } from '../../trust/cms-check.ts';
import type { OpenpgpCertificate } from '../../trust/openpgp-certificate.ts';
import { openpgpCheck } from '../../trust/openpgp-check.ts';
import { demandStrong, type Policy } from '../../trust/policy.ts';

/**
 * How archiso's own tools accept a seal. They take forms that Bootseal neither makes nor takes elsewhere; what they
 * let pass here says what a machine does, and makes nothing verified.
 */

/**
 * As `openssl cms -verify -binary -nointern -purpose any -certfile /codesign.crt -CAfile /codesign_CA.crt`: signed
 * attributes, signers named by key identifier, BER, and bytes behind all pass. Content inside counts for nothing,
 * since `-content` names the file.
 *
 * @param what names the seal in refusals.
 */
export function archisoCmsCheck(
  what: string,
  bytes: Uint8Array,
  keys: { readonly signers: readonly Certificate[]; readonly roots: readonly Certificate[] },
  policy: Policy,
  now: number,
): Check {
  return prepare('cms', () => {
    const { certificates, signers } = decodeOr(what, () => decodeAnySignedData(bytes));
    if (signers.length === 0) throw new Refusal('bad-signature', `${what} holds no signature.`, {});
    const signed = signers.map((info) => ({ info, certificate: findSigner(what, info, keys.signers) }));
    const { roots } = archisoRules(keys.signers, keys.roots);
    return {
      name: 'cms',
      questions: [...signed.map(question), ...pinQuestions(policy)],
      conclude(answers) {
        const content = pinnedContent(answers[signed.length]);
        const remarks = new Set<string>();
        for (const [index, { info, certificate }] of signed.entries()) {
          const remark = demandStrong(policy, what, info.hash, certificate.key, content);
          if (remark !== undefined) remarks.add(remark);
          if (!holds(info, certificate, answers[index])) {
            throw new Refusal('bad-signature', `${what} does not match: the file or its seal was changed.`, {
              signer: certificate.commonName,
            });
          }
          verifyChain(certificate, {
            roots,
            intermediates: [...certificates, ...keys.signers],
            isNamed: isOneToOpenssl,
            margin: 0,
            now,
            policy,
            ...(content === undefined ? {} : { content }),
            onRemark: (said) => remarks.add(said),
          });
        }
        return evidenceOf('cms', signed[0]?.certificate.commonName ?? '', remarks);
      },
    };
  });
}

function findSigner(what: string, { name }: AnySigner, pool: readonly Certificate[]): Certificate {
  const same = (a: Uint8Array, b: Uint8Array | undefined) => b !== undefined && Buffer.compare(a, b) === 0;
  const found = pool.find((certificate) =>
    'issuer' in name
      ? same(name.issuer, certificate.issuer) && same(name.serialNumber, certificate.serialNumber)
      : same(name.subjectKeyIdentifier, certificate.subjectKeyIdentifier),
  );
  if (found) return found;
  throw new Refusal(
    'untrusted-signer',
    `${what}: its signer's certificate is none that this client holds; these may be the anchors of another site.`,
    {},
  );
}

/** OpenSSL finds an issuer whose name is written in another kind of string. */
function isOneToOpenssl(subject: Uint8Array, issuer: Uint8Array): boolean {
  return (
    Buffer.compare(subject, issuer) === 0 ||
    decodeOr('A name in a certificate', () => canonicalName(subject) === canonicalName(issuer))
  );
}

interface Signed {
  readonly info: AnySigner;
  readonly certificate: Certificate;
}

function question({ info, certificate: { key } }: Signed): Question {
  if (info.attributes || key.type !== 'ec') return { kind: 'digest', hash: info.hash };
  return {
    kind: 'ecdsa-verify',
    hash: info.hash,
    publicKey: key.object.export({ format: 'pem', type: 'spki' }).toString(),
    signature: info.signature,
  };
}

function holds(info: AnySigner, { key }: Certificate, answer: Answer | undefined): boolean {
  const { hash, attributes, signature } = info;
  if (key.type !== 'ec' && !(key.type === 'rsa' && info.namesRsa)) return false;
  if (!attributes) {
    if (key.type === 'ec') return answer === true;
    return answer instanceof Uint8Array && isRsaSignature(key.object, hash, answer, signature);
  }
  // RFC 5652 §5.6: the attributes say what the content is, and the signature is over them.
  const { signed, messageDigest } = attributes;
  if (!(answer instanceof Uint8Array) || Buffer.compare(answer, messageDigest) !== 0) return false;
  if (key.type === 'ec') return verifySignature(hash, signed, key.object, signature);
  return isRsaSignature(key.object, hash, createHash(hash).update(signed).digest(), signature);
}

/**
 * As `gpg --verify FILE.sig` with a line `GOODSIG` looked for: binary or armored, with text around; of several
 * signatures one suffices, and what follows them stops nothing.
 *
 * A message that brings its own content along is not taken, where gpg verifies that content and never looks at the
 * file.
 */
export function archisoOpenpgpCheck(
  what: string,
  bytes: Uint8Array,
  certificates: readonly OpenpgpCertificate[],
  policy: Policy,
  now: number,
): Check {
  return prepare('openpgp', () => {
    const signatures = decodeOr(what, () =>
      (isArmored(bytes) ? readArmored(bytes).map((block) => block.bytes) : [bytes]).flatMap(
        leadingSignatures,
      ),
    );
    return anyOf(signatures.map((one) => openpgpCheck(what, one, certificates, policy, now)));
  });
}

/** Several seals of one content, of which one must hold. `checks` must not be empty. */
function anyOf(checks: readonly Check[]): Check {
  const broken = checks.map((check) => check.lost);
  const [first] = broken;
  if (first && !broken.includes(undefined)) return lost('openpgp', first);
  return {
    name: 'openpgp',
    questions: checks.flatMap(({ questions }) => questions),
    conclude(answers, measured) {
      const rest = [...answers];
      let refusal: Refusal | undefined;
      for (const check of checks) {
        const own = rest.splice(0, check.questions.length);
        try {
          return check.conclude(own, measured);
        } catch (error) {
          if (!(error instanceof Refusal)) throw error;
          // What is said of a known signer tells more than that another is not known.
          if (!refusal || refusal.code === 'untrusted-signer') refusal = error;
        }
      }
      throw refusal ?? new Refusal('no-verdict', 'There is no seal to verify.', {});
    },
  };
}
