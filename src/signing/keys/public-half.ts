import { join } from 'node:path';
import { Malformed } from '../../errors/malformed.ts';
import { Refusal } from '../../errors/refusal.ts';
import { UsageError } from '../../errors/usage.ts';
import { readWhole } from '../../files/reading.ts';
import type { Certificate } from '../../formats/asn1/x509.ts';
import { decodeOpenpgpKey, type OpenpgpKey } from '../../formats/openpgp/openpgp-key.ts';
import { decodePackets, PACKET } from '../../formats/openpgp/openpgp-packet.ts';
import { readCertificatesFile } from '../../trust/certificates-file.ts';
import type { LoaderSignatories, Signatories } from '../signatories.ts';
import { demandSuitable, readSignatory } from './key-folder.ts';

/** Packets of a keyring; more than any site has keys. */
const MAX_PACKETS = 10_000;

/** The public halves in an `anchors/` folder: whose seals a tree shall get. Throws a `Refusal`. */
export async function readSignatories(anchors: string, now: number | undefined): Promise<Signatories> {
  const { ca, boot } = await readLoaderSignatories(anchors, now);
  return {
    ca,
    boot,
    codesign: await readSignatory(join(anchors, 'codesign.crt'), now, 'digitalSignature', ca),
    openpgp: await readOpenpgpPublic(join(anchors, 'pubring.gpg')),
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
    openpgp: await readOpenpgpPublic(openpgpKey),
  };
}

/** The RSA key of a binary keyring whose primary signs; of several, the one made last. Throws a `Refusal`. */
export async function readOpenpgpPublic(path: string): Promise<OpenpgpKey> {
  const bytes = await readWhole(path);
  try {
    const keys = decodePackets(bytes, MAX_PACKETS)
      .filter(({ tag }) => tag === PACKET.publicKey)
      .map(({ body }) => decodeOpenpgpKey(body))
      .filter(({ type }) => type === 'rsa');
    const [first, ...more] = keys;
    if (!first) throw new Malformed('OpenPGP', 'no RSA key in it, and GRUB needs one');
    return more.reduce((last, key) => (key.created > last.created ? key : last), first);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw new Refusal('malformed', `${path} is no OpenPGP keyring: ${error.message}.`, { path });
  }
}
