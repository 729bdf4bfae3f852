import { createHash, type KeyObject, randomBytes, randomUUID } from 'node:crypto';
import { encodePem } from '../../formats/asn1/armor.ts';
import { signRsaDigest } from '../../formats/asn1/pkcs1.ts';
import { type Certificate, decodeCertificate } from '../../formats/asn1/x509.ts';
import { encodeCertificateLists } from '../../formats/efi/efi-signature-list.ts';
import {
  encodeAuthenticatedVariable,
  type SecureBootVariable,
  variableToSign,
} from '../../formats/efi/efi-variable.ts';
import { issueCertificate } from './certificate.ts';
import type { CertifiedKey } from './key-folder.ts';
import type { KeyFolderDraft } from './key-folder-draft.ts';
import { type MakeKeyPair, newKeyPair } from './key-pair.ts';
import { readProfile } from './profiles.ts';

const DAY = 86_400_000;

/** Who signs each variable when it is enrolled (UEFI 2.10 §32.3): the platform key itself, too. */
const SIGNED_BY = { PK: 'PK', KEK: 'PK', db: 'KEK' } as const;

/**
 * Keys for Secure Boot: PK, KEK and db, each self-signed, the files that enrol them, and a key for PCR signatures.
 *
 * @param issued milliseconds since 1970, whole seconds: firmware later takes no older change of a variable.
 */
export async function addSecureBootKeys(
  draft: Pick<KeyFolderDraft, 'anchor' | 'secret' | 'enrolment'>,
  {
    site,
    onStep,
    makeKeyPair = newKeyPair,
  }: {
    readonly site: string;
    readonly onStep?: (what: string) => void;
    readonly makeKeyPair?: MakeKeyPair;
  },
  issued: number,
): Promise<void> {
  const keys = new Map<SecureBootVariable, CertifiedKey>();
  for (const name of ['PK', 'KEK', 'db'] as const) {
    onStep?.(`Secure Boot ${name} key`);
    const profile = readProfile(name.toLowerCase() as 'pk');
    const { publicKey, privateKey } = await makeKeyPair('rsa', profile.rsa_bits);
    const raw = issueCertificate({
      profile,
      commonName: profile.common_name.replace('{site}', site),
      publicKey,
      notBefore: issued - DAY,
      notAfter: issued + profile.days * DAY,
      serial: randomBytes(16),
      issuerKey: privateKey,
    });
    keys.set(name, { certificate: decodeCertificate(raw), privateKey });
    await draft.anchor(`${name}.crt`, Buffer.from(encodePem('CERTIFICATE', raw)));
    await draft.secret(`${name}.key`, pem(privateKey));
  }
  const owner = randomUUID();
  for (const [name, { certificate }] of keys) {
    const list = encodeCertificateLists([certificate], owner);
    const signer = keys.get(SIGNED_BY[name as 'db']) as CertifiedKey;
    await draft.enrolment(`${name}.cer`, certificate.raw);
    await draft.enrolment(`${name}.esl`, list);
    await draft.enrolment(`${name}.auth`, signVariable(name, issued, list, signer));
  }
  // An empty platform key, signed by the old one, is how firmware is given back; it wants a later time than the last.
  const noKey = signVariable('PK', issued + 1000, new Uint8Array(), keys.get('PK') as CertifiedKey);
  await draft.enrolment('no-PK.auth', noKey);
  onStep?.('PCR key');
  const pcr = await makeKeyPair('rsa', 2048);
  await draft.anchor('pcr.pub', Buffer.from(pcr.publicKey.export({ format: 'pem', type: 'spki' })));
  await draft.secret('pcr.key', pem(pcr.privateKey));
}

/** An `.auth` file: a variable's new content, signed with SHA-256 by an RSA key. */
export function signVariable(
  name: SecureBootVariable,
  time: number,
  content: Uint8Array,
  { certificate, privateKey }: { readonly certificate: Certificate; readonly privateKey: KeyObject },
): Uint8Array {
  const digest = createHash('sha256')
    .update(variableToSign(name, time, content))
    .digest();
  const { issuer, serialNumber, raw } = certificate;
  const signature = signRsaDigest(privateKey, 'sha256', digest);
  return encodeAuthenticatedVariable(
    time,
    content,
    { issuer, serialNumber, hash: 'sha256', key: 'rsa', signature },
    raw,
  );
}

function pem(key: KeyObject): Uint8Array {
  return Buffer.from(key.export({ format: 'pem', type: 'pkcs8' }));
}
