import { createHash } from 'node:crypto';
import { calledOf, serialText } from '../../formats/asn1/certificate-name.ts';
import { nameText } from '../../formats/asn1/distinguished-name.ts';
import type { Certificate } from '../../formats/asn1/x509.ts';
import { authenticodeDigest, decodeAuthenticode } from '../../formats/efi/authenticode.ts';
import { decodeSignatureLists, type EfiSignature } from '../../formats/efi/efi-signature-list.ts';
import { decodeAuthenticatedVariable } from '../../formats/efi/efi-variable.ts';
import { type KernelFacts, kernelFacts, kernelText } from '../../formats/efi/kernel-shape.ts';
import { decodePe, PE_MACHINE, peChecksum, peSection } from '../../formats/efi/pe.ts';
import { peSignatures } from '../../formats/efi/pe-write.ts';
import { stubVersion } from '../../formats/efi/uki.ts';
import { decodeImageRequest } from '../../formats/records/image-request.ts';
import { isoSeconds } from '../../formats/records/lines.ts';
import { certificateFacts, hex } from './certificates.ts';
import type { Facts, Recognised } from './facts.ts';

/** An EFI image: its sections, what they say where that is text, and whose signatures it holds. Throws `Malformed`. */
export function inspectImage(bytes: Uint8Array): Recognised {
  const image = decodePe(bytes);
  const { machine, sections, at } = image;
  const text = (name: string) => {
    const found = peSection(bytes, image, name);
    return found && found.length <= 65_536
      ? Buffer.from(found).toString('utf8').replace(/\n+$/, '')
      : undefined;
  };
  const signatures = peSignatures(bytes, image).map(decodeAuthenticode);
  const digest = authenticodeDigest(bytes, image, 'sha256');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const kernel = kernelFacts(bytes.subarray(0, 4096));
  return {
    kind: 'efi-image',
    certificates: signatures.flatMap(({ certificates }) => certificates),
    facts: {
      machine:
        Object.entries(PE_MACHINE).find(([, value]) => value === machine)?.[0] ?? `0x${machine.toString(16)}`,
      // Every image is an EFI program; that says nothing.
      kernel: kernel && kernel.shape !== 'EFI program' ? kernelText(kernel) : undefined,
      stub: stubVersion(bytes, image),
      imageDigest: hex(digest),
      checksum: view.getUint32(at.checksum, true) === peChecksum(bytes, image) ? 'holds' : 'does not hold',
      osrel: text('.osrel'),
      cmdline: text('.cmdline'),
      uname: text('.uname'),
      sections: sections.map(({ name, virtualSize, virtualAddress, rawOffset }) => ({
        name,
        size: virtualSize,
        address: virtualAddress,
        offset: rawOffset,
        sha256: createHash('sha256')
          .update(peSection(bytes, image, name) ?? bytes)
          .digest('hex'),
      })),
      signatures: signatures.flatMap(({ signers, certificates, hash, imageDigest: over }) =>
        signers.map(({ issuer, serialNumber, program }) => ({
          signer: signerOf(issuer, serialNumber, certificates),
          hash,
          program,
          over: hex(over),
        })),
      ),
      certificates: signatures.flatMap(({ certificates }) => certificates.map(certificateFacts)),
    },
  };
}

/** A kernel that is no EFI program: what loaders of other kinds take it for. */
export function inspectKernel(kernel: KernelFacts, bytes: Uint8Array): Recognised {
  return {
    kind: 'kernel',
    facts: {
      shape: kernel.shape,
      machine: kernel.machine,
      packed: kernel.packed,
      size: bytes.length,
      sha256: createHash('sha256').update(bytes).digest('hex'),
    },
  };
}

function signerOf(
  issuer: Uint8Array,
  serialNumber: Uint8Array,
  certificates: readonly Certificate[],
): string {
  const found = certificates.find(
    (one) => Buffer.compare(one.issuer, issuer) === 0 && Buffer.compare(one.serialNumber, serialNumber) === 0,
  );
  return found ? calledOf(found) : `${serialText(serialNumber)} of ${nameText(issuer)}`;
}

/** What firmware holds in PK, KEK, db or dbx. Throws `Malformed`. */
export function inspectSignatureLists(bytes: Uint8Array): Recognised {
  const entries = decodeSignatureLists(bytes);
  return { kind: 'efi-signatures', certificates: certificatesOf(entries), facts: listFacts(entries) };
}

/** An `.auth` file. Throws `Malformed`. */
export function inspectVariable(bytes: Uint8Array): Recognised {
  const { time, signature, content } = decodeAuthenticatedVariable(bytes);
  const entries = decodeSignatureLists(content);
  return {
    kind: 'efi-variable',
    certificates: [...signature.certificates, ...certificatesOf(entries)],
    facts: {
      time: isoSeconds(time),
      signers: signature.signers.map(({ issuer, serialNumber }) =>
        signerOf(issuer, serialNumber, signature.certificates),
      ),
      ...listFacts(entries),
    },
  };
}

function certificatesOf(entries: readonly EfiSignature[]): Certificate[] {
  return entries.flatMap((entry) => (entry.type === 'x509' ? [entry.certificate] : []));
}

function listFacts(entries: readonly EfiSignature[]): Facts {
  return {
    entries: entries.map((entry) =>
      entry.type === 'x509'
        ? { type: 'certificate', owner: entry.owner, ...certificateFacts(entry.certificate) }
        : entry.type === 'sha256'
          ? { type: 'image', owner: entry.owner, sha256: entry.digest }
          : {
              type: 'certificate hash',
              owner: entry.owner,
              hash: entry.hash,
              digest: entry.digest,
              revokedFrom: entry.revokedFrom === 0 ? undefined : isoSeconds(entry.revokedFrom),
            },
    ),
  };
}

/** A request about an image, with or without answers. Throws `Malformed`. */
export function imageRequestFacts(index: Uint8Array, files?: ReadonlyMap<string, Uint8Array>): Facts {
  const { title, cmdline, size, imageDigest, questions } = decodeImageRequest(index);
  return {
    title,
    cmdline,
    size,
    imageDigest,
    asked: questions.length,
    answered: files && [...files.keys()].filter((name) => name.endsWith('.sig')).length,
    questions: questions.map(({ key, keySha256, digest, pcr }) => ({
      key,
      keySha256,
      digest,
      phase: pcr?.phase,
      pcr11: pcr?.value,
    })),
  };
}
