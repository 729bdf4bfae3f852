import { createHash } from 'node:crypto';
import { Malformed } from '../../errors/malformed.ts';
import { type Certificate, decodeCertificate } from '../asn1/x509.ts';
import { decodeAuthenticode } from '../efi/authenticode.ts';
import { decodePe, type PeImage, peMachine, peSection } from '../efi/pe.ts';
import { peSignatures } from '../efi/pe-write.ts';
import type { OpenpgpKey } from '../openpgp/openpgp-key.ts';
import { decodeGrubCore, openpgpKeysOf } from './grub-core.ts';
import { packedCode } from './packed-code.ts';

/** What a boot loader's own bytes tell of it: nothing of this was verified, and a hostile file can say anything. */
export interface LoaderImage {
  readonly kind: 'ipxe' | 'grub' | 'uki' | 'systemd-stub' | 'systemd-boot' | 'shim' | 'other';
  /** What starts it; an option ROM may hold programs for both. */
  readonly firmware: 'BIOS' | 'UEFI' | 'option ROM' | undefined;
  /** `uname -m` of the machines it is for; undefined where it does not say, as for a BIOS. */
  readonly arch: string | undefined;
  /** As the file spells it. */
  readonly version: string | undefined;
  readonly ipxe: IpxeFacts | undefined;
  readonly grub: GrubFacts | undefined;
  /** Common names of the certificates of its Authenticode signers, as Secure Boot firmware looks for them. */
  readonly signers: readonly string[];
}

export interface IpxeFacts {
  /** Whether it has the commands `imgverify` and `imgtrust`. */
  readonly imgverify: boolean;
  /** SHA-256 of roots that it trusts, as far as they are known: those asked for, and certificates built in with them. */
  readonly roots: readonly string[];
  /** Whether it trusts the root that iPXE's own makers hold, as every build without TRUST= does. */
  readonly ownRoot: boolean;
  /** CN that the script built into it demands of `boot.ipxe`; undefined where that is not ours. */
  readonly bootSigner: string | undefined;
  /** Whether a script is built in at all. */
  readonly embedded: boolean;
}

export interface GrubFacts {
  /** Its first lines demand a signature for every file. */
  readonly enforces: boolean;
  /** Keys trusted from the start. */
  readonly keys: readonly OpenpgpKey[];
  /** Of `payload.gpg` in its memory disk, which its script has it trust later. */
  readonly payloadKeys: readonly OpenpgpKey[];
  readonly prefix: string;
}

/** Of "iPXE root CA", which is in every build without TRUST= (iPXE `src/crypto/rootcert.c`). */
const IPXE_ROOT = '9faf717b7f8ca2f93c256c79f8ac5591895d66d1ff3bee6397a70d29c65eed1a';
/** `IMAGE_FILE_MACHINE_*` → `uname -m`. */
const ARCHES: ReadonlyMap<number, string> = new Map([
  [0x8664, 'x86_64'],
  [0xaa64, 'aarch64'],
  [0x14c, 'i386'],
  [0x1c2, 'armv7l'],
  [0x5064, 'riscv64'],
  [0x6264, 'loongarch64'],
]);
const MAX_CERTIFICATES = 64;

/**
 * Reads what a file says of itself; what is no loader that is known is `other`. Never throws.
 *
 * @param wanted SHA-256 digests (lower-case hex) of certificates that an iPXE may trust: it holds bare digests.
 */
export function readLoaderImage(bytes: Uint8Array, wanted: readonly string[] = []): LoaderImage {
  const machine = peMachine(bytes);
  const image = machine === undefined ? undefined : peOf(bytes);
  // A program for a BIOS has no form that it could be known by, only what it turns out to be.
  const code = machine === undefined ? packedCode(bytes) : bytes;
  const text = Buffer.from((code ?? bytes).buffer, (code ?? bytes).byteOffset, (code ?? bytes).length);
  const grub = grubFacts(text);
  const ipxe = grub ? undefined : ipxeFacts(text, wanted);
  const section = (name: string) => image && sectionText(bytes, image, name);
  const magic = section('.sdmagic') ?? '';
  const [, systemd, systemdVersion] = /LoaderInfo: (systemd-(?:stub|boot)) ([!-~]+)/.exec(magic) ?? [];
  const shim = /UEFI SHIM\n\$Version: ([!-~]+)/.exec(
    machine === undefined || grub || ipxe ? '' : text.toString('latin1', 0, Math.min(text.length, 8 << 20)),
  );
  const isRom = bytes[0] === 0x55 && bytes[1] === 0xaa;
  const isUki = section('.linux') !== undefined;
  const kind = grub
    ? 'grub'
    : ipxe
      ? 'ipxe'
      : isUki
        ? 'uki'
        : ((systemd as 'systemd-stub' | 'systemd-boot' | undefined) ?? (shim ? 'shim' : 'other'));
  return {
    kind,
    firmware: machine !== undefined ? 'UEFI' : isRom ? 'option ROM' : grub || ipxe ? 'BIOS' : undefined,
    arch: machine === undefined ? undefined : ARCHES.get(machine),
    version: grub ? grubVersion(text) : ipxe ? ipxeVersion(text) : (systemdVersion ?? shim?.[1]),
    ipxe,
    grub,
    signers: image ? signersOf(bytes, image) : [],
  };
}

/** What somebody put into an iPXE when it was built. */
export interface IpxeContents {
  /** Certificates (CERT=). */
  readonly certificates: readonly Certificate[];
  /** The script that is built in, as far as it is text. */
  readonly script: string | undefined;
}

/** Undefined for what is no iPXE. Never throws: of what cannot be read there is nothing. */
export function readIpxeContents(bytes: Uint8Array): IpxeContents | undefined {
  const code = (peMachine(bytes) === undefined ? packedCode(bytes) : undefined) ?? bytes;
  const text = Buffer.from(code.buffer, code.byteOffset, code.length);
  if (!ipxeFacts(text, [])) return undefined;
  return { certificates: certificatesIn(text), script: embeddedScript(text) };
}

function ipxeFacts(text: Buffer, wanted: readonly string[]): IpxeFacts | undefined {
  if (!text.includes('iPXE') || !text.includes('imgfetch\0')) return undefined;
  const holds = (sha256: string) => text.includes(Buffer.from(sha256, 'hex'));
  const built = certificatesIn(text).map(({ raw }) => createHash('sha256').update(raw).digest('hex'));
  const script = embeddedScript(text);
  return {
    imgverify: text.includes('imgverify\0') && text.includes('imgtrust\0'),
    roots: [...new Set([...wanted, ...built])].filter(holds),
    ownRoot: holds(IPXE_ROOT),
    bootSigner: /^imgverify --signer ([!-~]{1,64}) boot\.ipxe /m.exec(script ?? '')?.[1],
    embedded: script !== undefined,
  };
}

/** A script built into it, as far as it is text; its own examples and messages begin no line behind the magic. */
function embeddedScript(text: Buffer): string | undefined {
  const start = text.indexOf('#!ipxe\n');
  if (start < 0) return undefined;
  const [script] = /^[\t\n\r -~]*/.exec(text.toString('latin1', start, start + 65_536)) ?? [];
  return script;
}

/** Certificates that stand in the code, as CERT= builds them in. */
function certificatesIn(code: Buffer): Certificate[] {
  const found: Certificate[] = [];
  const begin = Buffer.from([0x30, 0x82]);
  for (let at = code.indexOf(begin); at >= 0; at = code.indexOf(begin, at + 1)) {
    if (at + 4 > code.length || found.length === MAX_CERTIFICATES) break;
    const end = at + 4 + code.readUInt16BE(at + 2);
    if (end > code.length || code.readUInt16BE(at + 4) !== 0x3082) continue;
    try {
      found.push(decodeCertificate(code.subarray(at, end)));
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
    }
  }
  return found;
}

/** Behind its name where it fetches by HTTP: `iPXE/2.0.0+ (g0ab22)`, and before that as a text of its own. */
function ipxeVersion(text: Buffer): string | undefined {
  return /([0-9]+\.[0-9]+\.[0-9]+(?:\+[!-~]*(?: \([0-9a-z+-]{4,40}\))?| \([0-9a-z+-]{4,40}\)))\0/.exec(
    text.toString('latin1'),
  )?.[1];
}

function grubFacts(text: Buffer): GrubFacts | undefined {
  const core = decodeGrubCore(text);
  if (!core) return undefined;
  return {
    enforces: /^set check_signatures=enforce$/m.test(core.config) && core.keys.length > 0,
    keys: core.keys,
    payloadKeys: openpgpKeysOf(core.files.get('payload.gpg') ?? new Uint8Array()),
    prefix: core.prefix,
  };
}

function grubVersion(text: Buffer): string | undefined {
  return /(?:GRUB |\ngrub(?:\.[a-z]+)?,[0-9]+,[^,\n]*,grub2?,)([0-9]\.[0-9]+[+~.:0-9A-Za-z-]*)/.exec(
    text.toString('latin1'),
  )?.[1];
}

function peOf(bytes: Uint8Array): PeImage | undefined {
  try {
    return decodePe(bytes);
  } catch (error) {
    if (error instanceof Malformed) return undefined;
    throw error;
  }
}

function sectionText(bytes: Uint8Array, image: PeImage, name: string): string | undefined {
  try {
    const content = peSection(bytes, image, name);
    return content && Buffer.from(content.subarray(0, 4096)).toString('latin1');
  } catch (error) {
    if (error instanceof Malformed) return undefined;
    throw error;
  }
}

function signersOf(bytes: Uint8Array, image: PeImage): readonly string[] {
  try {
    return peSignatures(bytes, image).flatMap((signature) => {
      const { signers, certificates } = decodeAuthenticode(signature);
      return signers.map(({ issuer, serialNumber }) => {
        const by = certificates.find(
          (one) =>
            Buffer.compare(one.issuer, issuer) === 0 && Buffer.compare(one.serialNumber, serialNumber) === 0,
        );
        return by?.commonName || 'a certificate that it does not bring';
      });
    });
  } catch (error) {
    if (error instanceof Malformed) return [];
    throw error;
  }
}
