import { RECORD, SEAL } from '../../formats/records/seal-names.ts';
import { type Attack, expects, misses, must } from './attack.ts';
import type { TamperSite } from './site.ts';

/** More bytes than anybody can want. */

const MIB = 1024 * 1024;

export function sizeAttacks(site: TamperSite): Attack[] {
  const { manifest, asked } = site;
  const tooLarge = must('too-large');
  const long = (name: string, path: (at: TamperSite) => string, expect: Attack['expect']): Attack => ({
    name: `${name} of 2 MiB`,
    tuf: 'endless data',
    expect,
    async stage(at) {
      await at.copy.write(path(at), Buffer.alloc(2 * MIB));
      return {};
    },
  });
  const endless = (name: string, path: (at: TamperSite) => string, expect: Attack['expect']): Attack => ({
    name: `${name} without end`,
    tuf: 'endless data',
    expect,
    stage: async (at) => ({ endless: path(at) }),
  });
  const { tree: _, ...overTheNetwork } = expects({});
  const root = manifest.files.some(({ role }) => role === 'rootfs');
  const early = asked.verify ? { archiso: tooLarge, manifest: tooLarge } : {};
  return [
    long(
      'boot.ipxe',
      () => RECORD.bootIpxe,
      expects({
        ipxe: must('bad-signature'),
        manifest: must('bad-signature'),
        tree: tooLarge,
      }),
    ),
    long('manifest', () => RECORD.manifest, expects({ manifest: tooLarge, tree: tooLarge })),
    long(
      'CMS seal of the kernel',
      (at) => at.kernel.path + SEAL.ipxe,
      expects({
        ipxe: must('malformed'),
        manifest: must('malformed'),
        tree: tooLarge,
      }),
    ),
    long(
      'OpenPGP seal of the kernel',
      (at) => at.kernel.path + SEAL.openpgp,
      expects({
        grub: tooLarge,
        manifest: tooLarge,
        tree: tooLarge,
      }),
    ),
    ...(root
      ? [
          long(
            'OpenPGP seal of the root image',
            (at) => at.rootfs.path + SEAL.openpgp,
            expects({
              ...early,
              tree: tooLarge,
            }),
          ),
          endless('root image', (at) => at.rootfs.path, {
            ...overTheNetwork,
            archiso: misses('archiso takes what arrives, until its memory ends'),
            manifest: tooLarge,
          }),
          endless('OpenPGP seal of the root image', (at) => at.rootfs.path + SEAL.openpgp, {
            ...overTheNetwork,
            ...early,
          }),
        ]
      : []),
    endless('manifest', () => RECORD.manifest, { ...overTheNetwork, manifest: tooLarge }),
    endless('OpenPGP seal of grub.cfg', () => RECORD.grubCfg + SEAL.openpgp, {
      ...overTheNetwork,
      grub: tooLarge,
      manifest: tooLarge,
    }),
  ];
}
