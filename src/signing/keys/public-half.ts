import { join } from 'node:path';
import { UsageError } from '../../errors/usage.ts';
import { readWhole } from '../../files/reading.ts';
import type { Certificate } from '../../formats/asn1/x509.ts';
import type { OpenpgpKey } from '../../formats/openpgp/openpgp-key.ts';
import { readCertificatesFile } from '../../trust/certificates-file.ts';
import type { LoaderSignatories, Signatories } from '../signatories.ts';
import { demandSuitable, readSignatory } from './key-folder.ts';
import { choosePublic } from './openpgp-choice.ts';

/** The public halves in an `anchors/` folder: whose seals a tree shall get. Throws a `Refusal`. */
export async function readSignatories(anchors: string, now: number | undefined): Promise<Signatories> {
  const { ca, boot } = await readLoaderSignatories(anchors, now);
  return {
    ca,
    boot,
    codesign: await readSignatory(join(anchors, 'codesign.crt'), now, 'digitalSignature', ca),
    openpgp: await readOpenpgpPublic(join(anchors, 'pubring.gpg'), now),
  };
}

export async function readLoaderSignatories(
  anchors: string,
  now: number | undefined,
): Promise<LoaderSignatories> {
  const ca = await readSignatory(join(anchors, 'ca.crt'), now, 'keyCertSign');
  return { ca, boot: await readSignatory(join(anchors, 'boot.crt'), now, 'digitalSignature', ca) };
}

/** The same from files that are named one by one. The CA, `boot.SITE` and codesign tell themselves apart. */
export async function readNamedSignatories(
  certificates: readonly string[],
  openpgpKey: string,
  now: number,
): Promise<Signatories> {
  const found: Partial<Record<'ca' | 'boot' | 'codesign', { path: string; certificate: Certificate }>> = {};
  for (const path of certificates) {
    for (const certificate of await readCertificatesFile(path)) {
      const kind = certificate.basicConstraints?.ca
        ? 'ca'
        : certificate.commonName?.startsWith('boot.')
          ? 'boot'
          : 'codesign';
      const before = found[kind];
      if (before) {
        throw new UsageError(
          `${before.path} and ${path} both hold a certificate for ${kind}; name the one to sign with.`,
        );
      }
      found[kind] = { path, certificate };
    }
  }
  const { ca, boot, codesign } = found;
  if (!ca || !boot || !codesign) {
    const missing = (['ca', 'boot', 'codesign'] as const).filter((kind) => !found[kind]).join(', ');
    throw new UsageError(`No certificate for ${missing} is among those named.`);
  }
  demandSuitable(ca.path, ca.certificate, now, 'keyCertSign');
  demandSuitable(boot.path, boot.certificate, now, 'digitalSignature', ca.certificate);
  demandSuitable(codesign.path, codesign.certificate, now, 'digitalSignature', ca.certificate);
  return {
    ca: ca.certificate,
    boot: boot.certificate,
    codesign: codesign.certificate,
    openpgp: await readOpenpgpPublic(openpgpKey, now),
  };
}

/**
 * The RSA key of a keyring that signs, by `choosePublic`. Throws a `Refusal`.
 *
 * @param now undefined: whether it is in its time is not asked.
 */
export async function readOpenpgpPublic(path: string, now: number | undefined): Promise<OpenpgpKey> {
  return choosePublic({ path, bytes: await readWhole(path) }, now);
}
