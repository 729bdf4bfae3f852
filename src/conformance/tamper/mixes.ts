import { join } from 'node:path';
import type { ManifestFile } from '../../formats/records/manifest.ts';
import { checksumPath, RECORD, SCRIPT_SEAL, SEAL, SUMS, VERITY } from '../../formats/records/seal-names.ts';
import { type Attack, type Expectations, expects, misses, must, type Staged } from './attack.ts';
import { snapshotOf } from './channels.ts';
import type { TamperSite } from './site.ts';

/** Files of two releases under one roof, each well sealed, and a whole older release. */

const ANY_OF_THE_KEY = 'GRUB knows no releases: whatever the key of that role ever signed fits';
const ANY_OF_THE_SITE = 'archiso’s seals say by whom, not of which release';
const REMEMBERS_NOTHING =
  'a stateless machine cannot tell a whole older release from the newest, until its certificates end';
const ITSELF = 'the initrd is archiso itself: another release’s is another archiso';
const TREE_ONLY =
  'as a tree it is whole and in its time; that a channel has moved on, only its snapshot says';

export function mixAttacks(site: TamperSite): Attack[] {
  const { files } = site.manifest;
  const has = (role: string) => files.some((file) => file.role === role);
  const unknown = must('untrusted-signer');
  return [
    mixed(
      'kernel of an older release, with its seals',
      expects({ ipxe: unknown, grub: misses(ANY_OF_THE_KEY), manifest: unknown, tree: unknown }),
      (at) => sealed(at.kernel),
    ),
    mixed(
      'CMS seal of an older release beside the kernel',
      expects({ ipxe: unknown, manifest: unknown, tree: unknown }),
      (at) => [at.kernel.path + SEAL.ipxe],
    ),
    mixed(
      'OpenPGP seal of an older release beside the kernel',
      expects({ grub: must('bad-signature'), manifest: must('bad-signature'), tree: must('bad-signature') }),
      (at) => [at.kernel.path + SEAL.openpgp],
    ),
    ...(has('initrd')
      ? [
          mixed(
            'initrd of an older release, with its seals',
            expects({
              ipxe: unknown,
              grub: misses(ANY_OF_THE_KEY),
              archiso: misses(ITSELF),
              manifest: unknown,
              tree: unknown,
            }),
            (at) => sealed(at.initrd),
          ),
        ]
      : []),
    ...(has('rootfs')
      ? [
          mixed(
            'root image of an older release, with its seals',
            expects({ archiso: misses(ANY_OF_THE_SITE), manifest: must('bad-signature'), tree: unknown }),
            (at) => [...sealed(at.rootfs), checksumPath(at.rootfs.path)],
          ),
        ]
      : []),
    ...(site.hasHashTree
      ? [
          mixed(
            'hash tree of an older release, with its root hash',
            expects({ tree: must('mixed-releases') }),
            (at) => hashTreeOf(at.rootfs),
          ),
          mixed(
            'seal of an older release beside the root hash',
            expects({ tree: must('bad-signature') }),
            (at) => [at.rootfs.path + VERITY.rootHash + VERITY.seal],
          ),
        ]
      : []),
    mixed(
      'boot.ipxe of an older release, with its seal',
      expects({ ipxe: unknown, manifest: unknown, tree: must('mixed-releases') }),
      () => [RECORD.bootIpxe, RECORD.bootIpxe + SCRIPT_SEAL],
    ),
    mixed(
      'grub.cfg of an older release, with its seal',
      expects({
        grub: misses(ANY_OF_THE_KEY),
        manifest: must('mixed-releases'),
        tree: must('mixed-releases'),
      }),
      () => [RECORD.grubCfg, RECORD.grubCfg + SEAL.openpgp],
    ),
    mixed(
      'SHA256SUMS of an older release, with its signature',
      expects({ tree: must('mixed-releases') }),
      () => [SUMS.name, SUMS.name + SUMS.seal],
    ),
    mixed('signature of an older release beside SHA256SUMS', expects({ tree: must('bad-signature') }), () => [
      SUMS.name + SUMS.seal,
    ]),
    {
      name: 'whole older release replayed, with the snapshot of its day',
      tuf: 'rollback',
      expect: {
        ...expects({
          ipxe: misses(REMEMBERS_NOTHING),
          grub: misses(REMEMBERS_NOTHING),
          archiso: misses(REMEMBERS_NOTHING),
          manifest: misses(REMEMBERS_NOTHING),
          tree: misses(TREE_ONLY),
        }),
        snapshot: must('rolled-back'),
      },
      async stage(at) {
        const { folder, manifest } = await at.older();
        const snapshot = await snapshotOf(at, {
          counter: 6,
          release: manifest.release,
          serial: manifest.serial,
        });
        return {
          tree: folder,
          keep: true,
          release: manifest.release,
          snapshot: { ...snapshot, known: { counter: 7, sha256: '0'.repeat(64) } },
        };
      },
    },
  ];
}

function mixed(name: string, expect: Expectations, paths: (site: TamperSite) => readonly string[]): Attack {
  return {
    name,
    tuf: 'mix-and-match',
    expect,
    async stage(site): Promise<Staged> {
      const { folder, manifest } = await site.older();
      for (const path of paths(site)) await site.copy.take(path, join(folder, path));
      // Older scripts name the older release: a server offers what it has under whatever name is asked for.
      return { also: [manifest.release] };
    },
  };
}

function hashTreeOf({ path }: ManifestFile): string[] {
  const rootHash = path + VERITY.rootHash;
  return [path + VERITY.tree, rootHash, rootHash + VERITY.seal];
}

function sealed({ path }: ManifestFile): string[] {
  return [path, ...Object.values(SEAL).map((suffix) => path + suffix)];
}
