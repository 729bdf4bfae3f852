import { RECORD, SEAL, SUMS, VERITY } from '../../formats/records/seal-names.ts';
import type { CertifiedKey } from '../../signing/keys/key-folder.ts';
import type { OpenpgpPurpose } from '../../trust/anchors.ts';
import { type Attack, type Expectations, expects, must } from './attack.ts';
import { sealCms, sealOpenpgp } from './forge.ts';
import type { TamperSite } from './site.ts';

/**
 * Seals that hold, by a key of this very site whose purpose is another: a payload that is the text of a manifest, a
 * script that somebody had signed as an initrd. A key signs payload, or scripts, or records, and no client takes one
 * for another.
 */

type OwnKey = 'codesign' | 'boot' | 'manifest';

const CALLED: Readonly<Record<OwnKey | OpenpgpPurpose, string>> = {
  codesign: 'codesign leaf',
  boot: 'boot leaf',
  manifest: 'manifest leaf',
  payload: 'OpenPGP payload key',
  script: 'OpenPGP script key',
};

/** A place for a seal, and who looks at it. */
interface Place {
  readonly what: string;
  readonly of: (site: TamperSite) => string;
  readonly suffix: string;
  readonly expectations: Expectations;
}

const unknown = must('untrusted-signer');

export function roleAttacks(site: TamperSite): Attack[] {
  const { asked, manifest } = site;
  const hasRoot = manifest.files.some(({ role }) => role === 'rootfs');
  const early = (isAsked: boolean) =>
    expects({ ...(isAsked ? { archiso: unknown, manifest: unknown } : {}), tree: unknown });
  const record: Omit<Place, 'suffix'> = {
    what: 'manifest',
    of: () => RECORD.manifest,
    expectations: expects({ manifest: unknown, tree: unknown }),
  };
  const loader = expects({ ipxe: unknown, manifest: unknown, tree: unknown });
  const kernel = { what: 'kernel', of: ({ kernel: { path } }: TamperSite) => path };
  const root = { what: 'root image', of: ({ rootfs: { path } }: TamperSite) => path };
  return [
    ...byLeaves({ ...kernel, suffix: SEAL.ipxe, expectations: loader }, ['manifest']),
    ...byLeaves(
      { what: 'boot.ipxe', of: () => RECORD.bootIpxe, suffix: SEAL.openpgp, expectations: loader },
      ['manifest'],
    ),
    ...byLeaves({ ...record, suffix: SEAL.cms }, ['codesign', 'boot']),
    ...byKeys({ ...record, suffix: SEAL.openpgp }, ['payload', 'script']),
    ...byKeys(
      {
        what: SUMS.name,
        of: () => SUMS.name,
        suffix: SUMS.seal,
        // No machine reads it; to systemd's downloaders the keyring of records knows no such key.
        expectations: expects({ tree: unknown }),
      },
      ['payload', 'script'],
    ),
    ...(hasRoot
      ? [
          ...byLeaves({ ...root, suffix: SEAL.cms, expectations: early(asked.cmsVerify) }, ['manifest']),
          ...byKeys({ ...root, suffix: SEAL.openpgp, expectations: early(asked.verify) }, [
            'script',
            'manifest',
          ]),
        ]
      : []),
    ...(site.hasHashTree
      ? byLeaves(
          {
            what: 'root hash',
            of: ({ rootfs: { path } }) => path + VERITY.rootHash,
            suffix: VERITY.seal,
            // Early userspace in mode ram does not look at it.
            expectations: expects({ tree: unknown }),
          },
          ['codesign', 'boot'],
        )
      : []),
  ];
}

function byLeaves(place: Place, keys: readonly OwnKey[]): Attack[] {
  return keys.map((name) =>
    attack(place, CALLED[name], async (site, path) => {
      const key: CertifiedKey = site.keys[name];
      // What loaders look at carries its chain; the rest is looked up.
      const chain = place.suffix === SEAL.ipxe || path === RECORD.bootIpxe ? site.chain(key) : [];
      return sealCms(site.content(path), key, chain);
    }),
  );
}

function byKeys(place: Place, purposes: readonly OpenpgpPurpose[]): Attack[] {
  return purposes.map((purpose) =>
    attack(place, purpose === 'manifest' ? 'OpenPGP manifest key' : CALLED[purpose], async (site, path) =>
      sealOpenpgp(site.content(path), site.keys.openpgp[purpose], site.now),
    ),
  );
}

function attack(
  { what, of, suffix, expectations }: Place,
  by: string,
  make: (site: TamperSite, path: string) => Promise<Uint8Array>,
): Attack {
  return {
    name: `${what} sealed by our own ${by}`,
    tuf: 'wrong software',
    expect: expectations,
    async stage(site) {
      const path = of(site);
      await site.copy.write(path + suffix, await make(site, path));
      return {};
    },
  };
}
