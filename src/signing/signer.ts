import type { KeyObject } from 'node:crypto';
import type { SignerInfo } from '../formats/cms.ts';
import { signRsaDigest } from '../formats/pkcs1.ts';
import type { Certificate } from '../formats/x509.ts';
import type { Answer, Question } from '../release/measurer.ts';
import type { CertifiedKey } from './key-folder.ts';

/**
 * Signs content of which only answers are known. What a key must be told about the content is its
 * `question`; RSA asks for a digest, ECDSA (in Node 20) for the whole content.
 */
export interface CmsSigner {
  readonly certificate: Certificate;
  /** Certificates to put into the CMS. */
  readonly chain: readonly Uint8Array[];
  readonly question: Question;
  sign(answer: Answer): Promise<SignerInfo>;
}

/** A signer over a key at hand, with SHA-256. */
export function keySigner(key: CertifiedKey, chain: readonly Uint8Array[]): CmsSigner {
  const { certificate, privateKey } = key;
  const rsa = privateKey.asymmetricKeyType === 'rsa';
  return {
    certificate,
    chain,
    question: rsa
      ? { kind: 'digest', hash: 'sha256' }
      : { kind: 'ecdsa-sign', hash: 'sha256', privateKey: pem(privateKey) },
    async sign(answer) {
      const octets = answer as Uint8Array;
      return {
        issuer: certificate.issuer,
        serialNumber: certificate.serialNumber,
        hash: 'sha256',
        key: rsa ? 'rsa' : 'ec',
        signature: rsa ? signRsaDigest(privateKey, 'sha256', octets) : octets,
      };
    },
  };
}

function pem(key: KeyObject): string {
  return key.export({ format: 'pem', type: 'pkcs8' }).toString();
}
