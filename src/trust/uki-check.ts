import { createHash } from 'node:crypto';
import { Refusal } from '../errors/refusal.ts';
import { decodePe, type PeImage, peSection } from '../formats/efi/pe.ts';
import type { Manifest } from '../formats/records/manifest.ts';
import { type Check, decodeOr, evidenceOf, prepare } from './check.ts';
import { demandCommandLine } from './command-line.ts';
import { type SecureBootAnchors, verifySecureBoot } from './secure-boot-check.ts';

export interface UkiOf {
  readonly manifest: Manifest;
  /** Lower-case hex. */
  readonly manifestSha256: string;
}

/**
 * A unified kernel image as firmware with Secure Boot judges it, and as the boot of this very release: firmware
 * asks only whether somebody in db signed, and every release ever signed is that.
 *
 * @param bytes of the image; the check holds for this content and no other.
 */
export function ukiCheck(what: string, bytes: Uint8Array, anchors: SecureBootAnchors, of: UkiOf): Check {
  return prepare('uefi', () => {
    const { by } = verifySecureBoot(what, bytes, anchors);
    demandUkiOf(what, bytes, of);
    const sha256 = createHash('sha256').update(bytes).digest();
    return {
      name: 'uefi',
      questions: [{ kind: 'digest', hash: 'sha256' }],
      conclude([digest]) {
        if (digest instanceof Uint8Array && Buffer.compare(digest, sha256) === 0)
          return evidenceOf('uefi', by, new Set());
        throw new Refusal('drifted', `${what} changed while it was being verified.`, { path: what });
      },
    };
  });
}

/**
 * Holds an image's sections against a manifest: its command line, its kernel, and the initrds, one behind the other,
 * each from a multiple of four bytes on.
 *
 * @throws Refusal `mixed-releases`, `wrong-command-line`, `malformed`.
 */
export function demandUkiOf(what: string, bytes: Uint8Array, { manifest, manifestSha256 }: UkiOf): void {
  if (manifest.moduleCmdline !== undefined) {
    throw new Refusal(
      'mixed-releases',
      `${what} holds one kernel and one command line, and ${manifest.release} starts a module with one of its own.`,
      { release: manifest.release },
    );
  }
  const image = decodeOr(what, () => decodePe(bytes));
  const section = (name: string): Uint8Array => {
    const found = decodeOr(what, () => peSection(bytes, image, name));
    if (found) return found;
    throw new Refusal('malformed', `${what} has no section ${name}, so it is no unified kernel image.`, {
      name,
    });
  };
  const other = (name: string, role: string) =>
    new Refusal('mixed-releases', `${what} holds another ${role} than ${manifest.release} lists.`, {
      section: name,
    });
  demandNothingElse(what, image);
  demandCommandLine(Buffer.from(section('.cmdline')).toString('latin1'), manifest, manifestSha256);
  const kernel = manifest.files.find(({ role }) => role === 'kernel');
  if (!kernel || sha256(section('.linux')) !== kernel.sha256) throw other('.linux', 'kernel');
  const listed = initrdFiles(manifest);
  // A release without initrds has an image without the section.
  const initrds =
    listed.length > 0
      ? section('.initrd')
      : (decodeOr(what, () => peSection(bytes, image, '.initrd')) ?? NOTHING);
  let at = 0;
  for (const { size, sha256: wanted, role } of listed) {
    if (sha256(initrds.subarray(at, at + size)) !== wanted) throw other('.initrd', role);
    const end = at + size;
    at = end + initrdPadding(end);
    if (initrds.subarray(end, at).some((octet) => octet !== 0)) throw other('.initrd', role);
  }
  if (at !== initrds.length) throw other('.initrd', 'initrd');
}

const NOTHING = new Uint8Array();

/** What stubs look for by name, and what this looks at. */
const LOOKED_AT = ['.osrel', '.cmdline', '.uname', '.sbat', '.pcrpkey', '.pcrsig', '.initrd', '.linux'];
/** What stubs hand to the kernel, or choose between, and no manifest lists. */
const NOT_LISTED = ['.dtb', '.dtbauto', '.ucode', '.profile', '.hwids', '.efifw', '.splash'];

/**
 * Whoever signs an image signs all of it; but a signer who was shown another one would have signed what runs unseen.
 * Older stubs find a section by how its name begins, and take the last one: `.linuxx` would run instead of `.linux`.
 */
function demandNothingElse(what: string, { sections }: PeImage): void {
  const odd = sections.find(
    ({ name }) =>
      NOT_LISTED.some((one) => name.startsWith(one)) ||
      LOOKED_AT.some((one) => name !== one && name.startsWith(one)),
  );
  if (!odd) return;
  throw new Refusal('mixed-releases', `${what} has a section ${odd.name}, which no manifest speaks of.`, {
    section: odd.name,
  });
}

/** What a machine is given, in this order: an overlay overrides files of the initrds before it. */
export function initrdFiles({ files }: Manifest): Manifest['files'] {
  return ['initrd', 'overlay'].flatMap((wanted) => files.filter(({ role }) => role === wanted));
}

/** Zeros behind an initrd that ends there: the kernel looks for the next one at multiples of four. */
export function initrdPadding(end: number): number {
  return -end & 3;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
