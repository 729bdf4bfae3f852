import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import { openBeneath } from '../files/beneath.ts';
import type { FileIdentity } from '../files/file-identity.ts';
import { reading } from '../files/reading.ts';
import { decodeDetachedCms } from '../formats/asn1/cms.ts';
import { decodeCertificate } from '../formats/asn1/x509.ts';
import { type KernelFacts, kernelFacts } from '../formats/efi/kernel-shape.ts';
import { decodeDetachedOpenpgp } from '../formats/openpgp/openpgp-signature.ts';
import { decodeChecksums } from '../formats/records/checksums.ts';
import type { Role } from '../formats/records/manifest.ts';
import { grubKernelLines } from '../formats/script/kernel-lines.ts';
import { machineOfOverlay } from './payload-machine.ts';
import { unlikeItsRole } from './payload-shape.ts';

/**
 * A seal of payload says nothing of what its content is: over a text of ours it would be the seal of that text, and
 * whoever writes the tree would have his own manifest or script signed. So what is signed is looked at, and refused
 * where it is known to be something else. An unknown binary is payload.
 */

/** Bytes that are looked at. Records and the scripts that anybody signs are shorter. */
const LOOKED_AT = 64 * 1024;

export interface LookedAt {
  /** Which file it was, so that what is hashed can be held against it. */
  readonly identity: FileIdentity;
  /** What it is not, where it has no shape that such a payload is known to have. */
  readonly unlike: string | undefined;
  /** Of a kernel, where its kind is known. */
  readonly kernel: KernelFacts | undefined;
  /** Of an overlay: which machine its programs are for, as `uname -m` says it there. */
  readonly programs: string | undefined;
}

/**
 * Looks at a payload of a tree.
 *
 * @param startsModule the release has a module, which its kernel starts.
 * @throws Refusal `wrong-purpose`; what reading throws.
 */
export async function demandPayload(
  tree: string,
  { path, role }: { readonly path: string; readonly role: Role },
  startsModule = false,
): Promise<LookedAt> {
  const { handle, identity } = await openBeneath(tree, path);
  return reading(path, handle, async () => {
    const head = Buffer.alloc(Math.min(Number(identity.size), LOOKED_AT));
    let length = 0;
    while (length < head.length) {
      const { bytesRead } = await handle.read(head, length, head.length - length, length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    const what = otherThanPayload(head.subarray(0, length), role);
    if (what !== undefined) {
      throw new Refusal(
        'wrong-purpose',
        `${path} is to be sealed as ${role} and holds ${what}; a seal of payload would be a seal of that.`,
        { path, role, content: what },
      );
    }
    const seen = head.subarray(0, length);
    return {
      identity,
      unlike: unlikeItsRole(seen, role, startsModule),
      kernel: role === 'kernel' || role === 'module' ? kernelFacts(seen) : undefined,
      programs: role === 'overlay' ? machineOfOverlay(seen) : undefined,
    };
  });
}

/**
 * What a content is where that is no payload of this role; undefined where it may be.
 *
 * @param head the content's first 64 KiB, or all of it.
 */
export function otherThanPayload(head: Uint8Array, role: Role): string | undefined {
  const text = Buffer.from(head.buffer, head.byteOffset, head.length).toString('latin1');
  // Loaders and readers pass over a byte order mark, and blanks before a first word.
  const start = text.replace(/^(?:\xef\xbb\xbf|\s)+/, '').slice(0, 512);
  const [, record] = /^bootseal-([a-z-]+) /.exec(start) ?? [];
  if (record !== undefined) return `a record of Bootseal's own (${record})`;
  if (start.startsWith('#!ipxe')) return 'a script';
  if (/^[0-9a-f]{64}\s*$/.test(text)) return 'a root hash';
  if (role !== 'hashtree' && start.startsWith('verity\0\0')) return 'a hash tree';
  if (decodes(() => decodeDetachedCms(head))) return 'a CMS seal';
  if (decodes(() => decodeDetachedOpenpgp(head))) return 'an OpenPGP seal';
  if (/^07070[\s\S]{105}index\0+bootseal-/.test(text)) return 'a signing request';
  if (isText(text) && decodes(() => decodeChecksums(head))) return 'checksums';
  if (isText(text) && grubKernelLines(head)?.length) return 'a GRUB configuration';
  // What a system fetches later may be anything that is no text of ours.
  return role === 'file' ? undefined : otherThanImage(text, start, head, role);
}

function otherThanImage(text: string, start: string, head: Uint8Array, role: Role): string | undefined {
  if (start.startsWith('#!')) return 'a script';
  if (/^(?:<!--[\s\S]*?-->\s*|<\?xml[^>]*>\s*)*<(?:!doctype\s+html|html|head|body)\b/i.test(start))
    return 'HTML';
  if (decodes(() => decodeCertificate(head))) return 'a certificate';
  if (!isText(text)) return undefined;
  if (/^-----BEGIN [A-Z0-9 ]+-----/m.test(text)) return 'a key, certificate or seal in armor';
  return ['kernel', 'module', 'initrd', 'overlay'].includes(role) ? 'text' : undefined;
}

/** Nothing but characters: no program and no archive is that. */
function isText(text: string): boolean {
  return !/[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]/.test(text);
}

function decodes(decode: () => unknown): boolean {
  try {
    decode();
    return true;
  } catch (error) {
    if (error instanceof Malformed || error instanceof Refusal) return false;
    throw error;
  }
}
