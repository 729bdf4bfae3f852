import { Malformed } from '../../errors/malformed.ts';
import { Refusal } from '../../errors/refusal.ts';
import { decodeArmor, decodePem } from '../../formats/asn1/armor.ts';
import { readArmored } from '../../formats/asn1/armor-in-text.ts';
import { beginsAsDer } from '../../formats/asn1/certificate-file.ts';
import { TAG } from '../../formats/asn1/der.ts';
import { type Certificate, decodeCertificate } from '../../formats/asn1/x509.ts';
import { isSignatureLists } from '../../formats/efi/efi-signature-list.ts';
import { isAuthenticatedVariable } from '../../formats/efi/efi-variable.ts';
import { kernelFacts } from '../../formats/efi/kernel-shape.ts';
import { isPe } from '../../formats/efi/pe.ts';
import { otherGnupgFile } from '../../formats/openpgp/gnupg-file.ts';
import { whyEmpty } from '../../formats/openpgp/keyring-file.ts';
import { PACKET } from '../../formats/openpgp/openpgp-packet.ts';
import { isImageRequest } from '../../formats/records/image-request.ts';
import { decodeKeyringFile } from '../../keyrings/keyring-files.ts';
import { decodeOr } from '../../trust/check.ts';
import { certificateFacts } from './certificates.ts';
import { inspectCms } from './cms.ts';
import type { Recognised } from './facts.ts';
import {
  imageRequestFacts,
  inspectImage,
  inspectKernel,
  inspectSignatureLists,
  inspectVariable,
} from './images.ts';
import { inspectInitrd, isBundle } from './initrd.ts';
import { inspectKeys, inspectSignatures } from './openpgp.ts';
import { holdsPrivateKey } from './private-keys.ts';
import { inspectChecksums, inspectRecord, inspectRootHash, inspectSuperblock } from './records.ts';
import { inspectBundle } from './requests.ts';
import { inspectScript } from './scripts.ts';

/** What was read of a file. */
export interface Read {
  readonly bytes: Uint8Array;
  /** Of the whole file, bytes: of a hash device only the beginning is read. */
  readonly size: number;
}

const VERITY = 'verity\0\0';
/** Bytes that tell what kind of kernel a file is. */
const KERNEL_HEAD = 64 * 1024;

/**
 * Says what bytes are, by their content alone, and what they say. Nothing is verified.
 *
 * @param name in refusals.
 * @param others certificates that may be those of signers.
 * @throws Refusal `malformed`, also for what is unknown; `unsafe-keys` for a private key.
 */
export function recognise(
  name: string,
  { bytes, size }: Read,
  others: readonly Certificate[] = [],
): Recognised {
  if (bytes.length === 0) throw new Refusal('malformed', `${name} is empty.`, { path: name });
  // First of all: no decoder may put a line of one into its message.
  // In an image are programs, whose words look like a key's; nothing of those is shown.
  if (!isPe(bytes) && holdsPrivateKey(bytes)) throw privateKey(name);
  const found = decodeOr(name, () => known(name, bytes, size, others));
  if (found) return found;
  const other = otherGnupgFile(bytes);
  if (other) throw new Refusal('malformed', `${name} is ${other}.`, { path: name });
  throw new Refusal('malformed', `${name} is not a seal, key, certificate, script or record of a release.`, {
    path: name,
  });
}

function known(
  name: string,
  bytes: Uint8Array,
  size: number,
  others: readonly Certificate[],
): Recognised | undefined {
  const start = Buffer.from(bytes.subarray(0, 160)).toString('latin1');
  const first = bytes[0] ?? 0;
  if (isPe(bytes)) return inspectImage(bytes);
  const kernel = kernelFacts(bytes.subarray(0, KERNEL_HEAD));
  if (kernel) return inspectKernel(kernel, bytes);
  if (isAuthenticatedVariable(bytes)) return inspectVariable(bytes);
  if (isSignatureLists(bytes)) return inspectSignatureLists(bytes);
  if (start.startsWith(VERITY)) return inspectSuperblock(bytes, size);
  // Before what begins with digits of its own. A root hash has no line end, and a checksum follows its digest with a name.
  if (/^[0-9a-f]{64}$/.test(start)) return inspectRootHash(start);
  const checksums = inspectChecksums(bytes);
  if (checksums) return checksums;
  if (start.startsWith('07070')) return isBundle(bytes) ? inspectBundle(bytes) : inspectInitrd(bytes);
  if (start.slice(8, 12) === 'KBXf') return inspectKeys(keysOf(name, bytes));
  if (beginsAsDer(bytes)) return inspectDer(bytes, others);
  if (first & 0x80) return inspectPackets(name, bytes);
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
  if (isImageRequest(bytes)) return { kind: 'request-index', facts: imageRequestFacts(bytes) };
  return (
    inspectRecord(bytes) ??
    (/^-----BEGIN /m.test(text) ? inspectArmor(name, bytes, text, others) : undefined) ??
    inspectScript(bytes)
  );
}

function inspectDer(bytes: Uint8Array, others: readonly Certificate[]): Recognised {
  const inner = bytes[2 + ((bytes[1] ?? 0) & 0x7f)];
  return inner === TAG.oid ? inspectCms(bytes, others) : inspectCertificates([decodeCertificate(bytes)]);
}

function inspectCertificates(certificates: readonly Certificate[]): Recognised {
  return {
    kind: 'certificate',
    facts: { certificates: certificates.map(certificateFacts) },
    certificates,
  };
}

/** Binary OpenPGP: the first packet tells what the file is. */
function inspectPackets(name: string, bytes: Uint8Array): Recognised {
  const header = bytes[0] ?? 0;
  const tag = header & 0x40 ? header & 0x3f : (header >> 2) & 0x0f;
  if (tag === PACKET.signature) return inspectSignatures(bytes);
  if (tag === PACKET.publicKey) return inspectKeys(keysOf(name, bytes));
  throw new Malformed('OpenPGP', `packet type ${tag} begins neither a signature nor a public key`);
}

function inspectArmor(
  name: string,
  bytes: Uint8Array,
  text: string,
  others: readonly Certificate[],
): Recognised {
  const label = /^-----BEGIN ([A-Z0-9 ]+)-----/m.exec(text)?.[1] ?? '';
  if (label === 'PGP PUBLIC KEY BLOCK') return inspectKeys(keysOf(name, bytes));
  if (label.startsWith('PGP ')) {
    // With text around it, as in a mail; what stands alone is held to its form, which shows where it was cut.
    const found = text.startsWith('-----BEGIN ') ? [decodeArmor(text)] : readArmored(bytes);
    const signatures = found.filter((block) => block.label === 'SIGNATURE');
    if (signatures.length > 0)
      return inspectSignatures(Buffer.concat(signatures.map((block) => block.bytes)));
    throw new Malformed('OpenPGP armor', `a ${label} is neither a signature nor a public key`);
  }
  const blocks = decodePem(text, { explanatoryText: true });
  const [block] = blocks;
  if (block && blocks.length === 1 && /^(CMS|PKCS7)$/.test(block.label))
    return inspectCms(block.bytes, others);
  return inspectCertificates(
    blocks.map((each) => {
      if (each.label !== 'CERTIFICATE') throw new Malformed('PEM', `inspect does not know a ${each.label}`);
      return decodeCertificate(each.bytes);
    }),
  );
}

/** Keys of a keyring, a keybox or an armored file; where one of them is secret, that is what is said. */
function keysOf(name: string, bytes: Uint8Array) {
  try {
    const keys = decodeKeyringFile(name, bytes);
    if (keys.length === 0) throw new Malformed('OpenPGP', whyEmpty(bytes) ?? 'no key in it');
    return keys;
  } catch (error) {
    if (error instanceof Refusal && / secret key /.test(error.message)) throw privateKey(name);
    throw error;
  }
}

function privateKey(name: string): Refusal {
  return new Refusal('unsafe-keys', `${name} is a private key; nothing of it is shown.`, { path: name });
}
