import type { RefusalCode } from '../../errors/refusal.ts';
import type { ManifestFile } from '../../formats/records/manifest.ts';
import { checksumPath, RECORD, SCRIPT_SEAL, SEAL, SUMS, VERITY } from '../../formats/records/seal-names.ts';
import { sumsPaths } from '../../formats/records/sums.ts';
import { type Attack, type Expectation, type Expectations, expects, misses, must } from './attack.ts';
import type { TamperSite } from './site.ts';

/** Bytes that nobody signed: each file of a release, changed in every plain way. */

type Way = (typeof WAYS)[number]['way'];

const WAYS = [
  { way: 'first byte flipped', change: flipAt(() => 0) },
  { way: 'middle byte flipped', change: flipAt((size) => size >> 1) },
  { way: 'last byte flipped', change: flipAt((size) => size - 1) },
  {
    way: 'cut off in the middle',
    change: (site: TamperSite, path: string) =>
      site.copy.edit(path, (file, size) => file.truncate(size >> 1)),
  },
  {
    way: 'one byte longer',
    change: (site: TamperSite, path: string) =>
      site.copy.edit(path, (file, size) => file.write(Uint8Array.of(0), 0, 1, size)),
  },
  { way: 'empty', change: (site: TamperSite, path: string) => site.copy.write(path, new Uint8Array()) },
  { way: 'missing', change: (site: TamperSite, path: string) => site.copy.remove(path) },
] as const;

function flipAt(position: (size: number) => number) {
  return (site: TamperSite, path: string) =>
    site.copy.edit(path, async (file, size) => {
      const at = position(size);
      const octet = new Uint8Array(1);
      await file.read(octet, 0, 1, at);
      await file.write(
        octet.map((value) => value ^ 1),
        0,
        1,
        at,
      );
    });
}

/** A file of the release, and which code each of its readers gives for each way. */
interface Target {
  readonly path: string;
  readonly expect: (way: Way) => Expectations;
}

export function byteAttacks(site: TamperSite): Attack[] {
  return targets(site).flatMap(({ path, expect }) =>
    WAYS.map(
      ({ way, change }): Attack => ({
        name: `${path}: ${way}`,
        tuf: 'arbitrary software',
        expect: expect(way),
        stage: async (at) => {
          await change(at, path);
          return {};
        },
      }),
    ),
  );
}

function targets(site: TamperSite): Target[] {
  const root = site.manifest.files.find(({ role }) => role === 'rootfs');
  const loaded = site.manifest.files.filter(({ role }) =>
    ['kernel', 'module', 'initrd', 'overlay'].includes(role),
  );

  return [
    { path: RECORD.bootIpxe, expect: (way) => readBy(['ipxe', 'manifest', 'tree'], content(way)) },
    { path: RECORD.bootIpxe + SCRIPT_SEAL, expect: (way) => readByIpxe(way) },
    { path: RECORD.grubCfg, expect: (way) => readBy(['grub', 'manifest', 'tree'], content(way)) },
    { path: RECORD.grubCfg + SEAL.openpgp, expect: (way) => readBy(['grub', 'manifest', 'tree'], seal(way)) },
    ...loaded.flatMap(loadedTargets),
    ...(root ? rootTargets(site, root) : []),
    ...(root && site.hasHashTree ? hashTreeTargets(root) : []),
    {
      path: RECORD.manifest,
      expect: (way) =>
        expects({
          // The command line's digest is compared before any signature is looked at.
          manifest: way === 'missing' ? must('absent') : must('mixed-releases'),
          tree: content(way),
        }),
    },
    ...[SEAL.cms, SEAL.openpgp].map(
      (suffix): Target => ({
        path: RECORD.manifest + suffix,
        expect: (way) => readBy(['manifest', 'tree'], seal(way)),
      }),
    ),
    // Machines read the manifest; these are for sha256sum and systemd, which nobody emulates.
    ...sumsPaths(site.manifest).flatMap((path): Target[] => [
      { path, expect: (way) => readBy(['tree'], content(way)) },
      sealOnlyRead(path + SUMS.seal),
    ]),
  ];
}

/** iPXE looks what kind of program it has before it looks for a seal. */
const NO_PROGRAM = must('malformed');
const EMPTY_KERNEL = { ipxe: NO_PROGRAM, 'ipxe-efi': NO_PROGRAM, manifest: NO_PROGRAM };

const BENEATH = 'the initrd is archiso itself: whoever changes it changes what checks';

function loadedTargets({ path, role }: ManifestFile): Target[] {
  // What cannot be unpacked does not start; what can be is the attacker's own early userspace.
  const archiso = (way: Way): Partial<Record<'archiso', Expectation>> =>
    role === 'kernel' || role === 'module'
      ? {}
      : { archiso: way === 'missing' ? must('absent') : misses(BENEATH, 'malformed', 'absent') };
  return [
    {
      path,
      expect: (way) => ({
        ...readBy(['ipxe', 'grub', 'manifest', 'tree'], content(way)),
        ...(role === 'kernel' && way === 'empty' ? EMPTY_KERNEL : {}),
        ...archiso(way),
      }),
    },
    { path: path + SEAL.ipxe, expect: (way) => readByIpxe(way) },
    { path: path + SEAL.openpgp, expect: (way) => readBy(['grub', 'manifest', 'tree'], seal(way)) },
    sealOnlyRead(path + SEAL.cms),
  ];
}

function rootTargets({ asked }: TamperSite, { path }: ManifestFile): Target[] {
  const early = ['archiso', 'manifest', 'tree'] as const;
  const readers = (isAsked: boolean) => (isAsked ? early : (['tree'] as const));
  return [
    { path, expect: (way) => readBy(early, content(way)) },
    { path: checksumPath(path), expect: (way) => readBy(readers(asked.checksum), checksum(way)) },
    { path: path + SEAL.openpgp, expect: (way) => earlySeal(asked.verify, way) },
    { path: path + SEAL.cms, expect: (way) => earlySeal(asked.cmsVerify, way) },
    sealOnlyRead(path + SEAL.ipxe),
  ];

  function earlySeal(isAsked: boolean, way: Way): Expectations {
    const all = readBy(readers(isAsked), seal(way));
    return isAsked && way === 'one byte longer' ? { ...all, archiso: misses(BEHIND) } : all;
  }
}

const BEHIND = 'openssl and gpg stop at the end of the seal, and pass what comes behind it';

/**
 * A hash tree has no seals: the manifest lists it, and its root hash has a seal of its own. No client of the matrix
 * starts a machine in mode verity, which reads them.
 */
function hashTreeTargets({ path }: ManifestFile): Target[] {
  const rootHash = path + VERITY.rootHash;
  return [
    { path: path + VERITY.tree, expect: (way) => readBy(['tree'], content(way)) },
    { path: rootHash, expect: (way) => readBy(['tree'], hexadecimal(way)) },
    sealOnlyRead(rootHash + VERITY.seal),
  ];
}

/** A root hash is 64 hexadecimal digits: another byte may be one, and then it is the root of another tree. */
function hexadecimal(way: Way): Expectation {
  if (way === 'missing') return must('absent');
  return way.endsWith('flipped') ? must('mixed-releases', 'malformed') : must('malformed');
}

/** A seal that no machine asks for: `verify`, `publish` and `serve` do. */
function sealOnlyRead(path: string): Target {
  return { path, expect: (way) => readBy(['tree'], seal(way)) };
}

function readBy(
  readers: readonly ('ipxe' | 'grub' | 'archiso' | 'manifest' | 'tree')[],
  expectation: Expectation,
): Expectations {
  return expects(Object.fromEntries(readers.map((reader) => [reader, expectation])));
}

function content(way: Way): Expectation {
  return way === 'missing' ? must('absent') : must('bad-signature');
}

/** Bytes of a seal may be of its form, its names or its numbers; where they stand decides what is said. */
const ANYWHERE: readonly RefusalCode[] = ['malformed', 'bad-signature', 'untrusted-signer'];

function seal(way: Way): Expectation {
  if (way === 'missing') return must('absent');
  if (way === 'middle byte flipped') return must(...ANYWHERE);
  // A signature stands at the end of its seal.
  return way === 'last byte flipped' ? must('bad-signature') : must('malformed');
}

/**
 * iPXE's seals carry their chain. Of the CA's own copy in there nothing depends for a loader that has the CA
 * built in whole, and a byte in the middle may be one of it; one with a fingerprint alone refuses.
 */
function ipxeSeal(way: Way): Expectation {
  return way === 'middle byte flipped' ? misses(COPY_OF_CA, ...ANYWHERE) : seal(way);
}

const COPY_OF_CA =
  'the byte is one of the copy of the CA in the seal, which a loader with that CA built in does not need';

function readByIpxe(way: Way): Expectations {
  return { ...readBy(['ipxe', 'manifest'], ipxeSeal(way)), tree: seal(way) };
}

function checksum(way: Way): Expectation {
  if (way === 'missing') return must('absent');
  return must('malformed', 'bad-signature', 'absent');
}
