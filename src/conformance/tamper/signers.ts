import { RECORD, SCRIPT_SEAL, SEAL } from '../../formats/records/seal-names.ts';
import type { CertifiedKey } from '../../signing/keys/key-folder.ts';
import type { OpenpgpPurpose } from '../../trust/anchors.ts';
import { fingerprint } from '../../trust/chain.ts';
import { defaultPolicy } from '../../trust/policy.ts';
import { type Attack, type Expectations, expects, misses, must, type Staged } from './attack.ts';
import { asTlsServer, sealCms, sealOpenpgp } from './forge.ts';
import type { TamperSite } from './site.ts';

/** Seals that hold, by somebody who may not make them. */

const DAY = 86_400_000;

/** A seal for the kernel that iPXE would look at, by the key that `key` gives. */
function kernelSeal(
  name: string,
  tuf: Attack['tuf'],
  expectations: Expectations,
  key: (site: TamperSite) => Promise<{ key: CertifiedKey; ca: CertifiedKey; staged?: Staged }>,
): Attack {
  return {
    name: `kernel sealed by ${name}`,
    tuf,
    expect: expectations,
    async stage(site) {
      const { path } = site.kernel;
      const { key: signer, ca, staged = {} } = await key(site);
      const chain = ca === site.keys.ca ? site.chain(signer) : [signer.certificate, ca.certificate];
      await site.copy.write(path + SEAL.ipxe, await sealCms(site.content(path), signer, chain));
      return staged;
    },
  };
}

/** By the loader, by early userspace behind it, and by whoever judges the tree. */
function loaderRefuses(...codes: Parameters<typeof must>): Expectations {
  return expects({ ipxe: must(...codes), manifest: must(...codes), tree: must(...codes) });
}

const NO_LISTS = 'no loader holds a list of revoked keys: verify and publish do, by the policy file';

export function signerAttacks(site: TamperSite): Attack[] {
  return [
    ...kernelSigners(),
    ...scriptSigners(),
    ...(site.manifest.files.some(({ role }) => role === 'rootfs') ? rootSigners(site) : []),
    ...strangers(),
  ];
}

function kernelSigners(): Attack[] {
  const ours = (key: CertifiedKey, site: TamperSite) => ({ key, ca: site.keys.ca });
  return [
    kernelSeal('the boot leaf', 'key compromise', loaderRefuses('untrusted-signer'), async (site) =>
      ours(site.keys.boot, site),
    ),
    kernelSeal('the codesign leaf', 'key compromise', loaderRefuses('untrusted-signer'), async (site) =>
      ours(site.keys.codesign, site),
    ),
    kernelSeal(
      'a leaf of this release that ended',
      'key compromise',
      loaderRefuses('expired'),
      async (site) => ours(await site.leaf(site.release, site.keys.ca, -9 * DAY, -2 * DAY), site),
    ),
    kernelSeal(
      'a leaf of this release that has not begun',
      'key compromise',
      loaderRefuses('not-yet-valid'),
      async (site) => ours(await site.leaf(site.release, site.keys.ca, 2 * DAY, 9 * DAY), site),
    ),
    kernelSeal(
      'a TLS server’s certificate in the release’s name',
      'key compromise',
      loaderRefuses('wrong-purpose'),
      async (site) => ours(asTlsServer(await site.leaf(site.release), site.keys.ca), site),
    ),
    kernelSeal(
      'a leaf of this release that the policy struck off',
      'key compromise',
      expects({ ipxe: misses(NO_LISTS), manifest: misses(NO_LISTS), tree: must('revoked') }),
      async (site) => {
        const key = await site.leaf(site.release);
        return { ...ours(key, site), staged: { treePolicy: struckOff(site, fingerprint(key.certificate)) } };
      },
    ),
    {
      name: 'OpenPGP key struck off by the policy',
      tuf: 'key compromise',
      expect: expects({ tree: must('revoked') }),
      stage: async (site) => ({ treePolicy: struckOff(site, site.keys.openpgp.payload.key.fingerprint) }),
    },
  ];
}

function struckOff({ now }: TamperSite, id: string) {
  const entry = { id, hard: true, since: now - DAY, reason: 'stolen' };
  return { ...defaultPolicy(now), revoked: [entry] };
}

function scriptSigners(): Attack[] {
  const script = (
    name: string,
    expectations: Expectations,
    key: (site: TamperSite) => Promise<CertifiedKey>,
  ): Attack => ({
    name: `boot.ipxe sealed by ${name}`,
    tuf: 'key compromise',
    expect: expectations,
    async stage(site) {
      const signer = await key(site);
      const seal = await sealCms(site.content(RECORD.bootIpxe), signer, site.chain(signer));
      await site.copy.write(RECORD.bootIpxe + SCRIPT_SEAL, seal);
      return {};
    },
  });
  return [
    script('the codesign leaf', loaderRefuses('untrusted-signer'), async ({ keys }) => keys.codesign),
    script('a leaf of the release', loaderRefuses('untrusted-signer'), (site) => site.leaf(site.release)),
    script('a boot leaf that ended', loaderRefuses('expired'), (site) =>
      site.leaf(site.anchors.bootSigner ?? '', site.keys.ca, -9 * DAY, -2 * DAY),
    ),
  ];
}

/** `-nointern`: archiso looks at no certificate but the one in its initramfs. */
function rootSigners({ asked }: TamperSite): Attack[] {
  const early = must('untrusted-signer');
  const expectations = expects({
    ...(asked.cmsVerify ? { archiso: early, manifest: early } : {}),
    tree: early,
  });
  const root = (name: string, key: (site: TamperSite) => Promise<CertifiedKey>): Attack => ({
    name: `root image sealed by ${name}`,
    tuf: 'key compromise',
    expect: expectations,
    async stage(site) {
      const { path } = site.rootfs;
      await site.copy.write(path + SEAL.cms, await sealCms(site.content(path), await key(site)));
      return {};
    },
  });
  return [
    root('the boot leaf', async ({ keys }) => keys.boot),
    root('a TLS server’s certificate of our CA', async (site) =>
      asTlsServer(await site.leaf(site.anchors.codesign[0]?.commonName ?? ''), site.keys.ca),
    ),
  ];
}

function strangers(): Attack[] {
  const openpgp = (
    what: string,
    purpose: OpenpgpPurpose,
    path: (site: TamperSite) => string,
    expectations: Expectations,
  ): Attack => ({
    name: `${what} sealed by a stranger’s OpenPGP key of our name`,
    tuf: 'arbitrary software',
    expect: expectations,
    async stage(site) {
      const { [purpose]: key } = (await site.stranger()).openpgp;
      const file = path(site);
      await site.copy.write(file + SEAL.openpgp, await sealOpenpgp(site.content(file), key, site.now));
      return {};
    },
  });
  const unknown = must('untrusted-signer');
  return [
    kernelSeal(
      'a stranger’s CA of our name',
      'arbitrary software',
      loaderRefuses('untrusted-signer'),
      async (site) => {
        const { ca } = await site.stranger();
        return { key: await site.leaf(site.release, ca), ca };
      },
    ),
    {
      name: 'boot.ipxe sealed by a stranger’s CA of our name',
      tuf: 'arbitrary software',
      expect: loaderRefuses('untrusted-signer'),
      async stage(site) {
        const { ca } = await site.stranger();
        const key = await site.leaf(site.anchors.bootSigner ?? '', ca);
        const seal = await sealCms(site.content(RECORD.bootIpxe), key, [key.certificate, ca.certificate]);
        await site.copy.write(RECORD.bootIpxe + SCRIPT_SEAL, seal);
        return {};
      },
    },
    {
      name: 'manifest sealed by a stranger’s manifest leaf of our name',
      tuf: 'arbitrary software',
      expect: expects({ manifest: unknown, tree: unknown }),
      async stage(site) {
        const { manifest } = await site.stranger();
        const seal = await sealCms(site.content(RECORD.manifest), manifest);
        await site.copy.write(RECORD.manifest + SEAL.cms, seal);
        return {};
      },
    },
    {
      name: 'manifest sealed by a stranger under our manifest leaf’s serial number',
      tuf: 'arbitrary software',
      expect: expects({ manifest: must('bad-signature'), tree: must('bad-signature') }),
      async stage(site) {
        const { privateKey } = (await site.stranger()).manifest;
        const { certificate } = site.keys.manifest;
        const seal = await sealCms(site.content(RECORD.manifest), { certificate, privateKey });
        await site.copy.write(RECORD.manifest + SEAL.cms, seal);
        return {};
      },
    },
    openpgp(
      'kernel',
      'payload',
      ({ kernel }) => kernel.path,
      expects({ grub: unknown, manifest: unknown, tree: unknown }),
    ),
    openpgp(
      'grub.cfg',
      'script',
      () => RECORD.grubCfg,
      expects({ grub: unknown, manifest: unknown, tree: unknown }),
    ),
    openpgp('manifest', 'manifest', () => RECORD.manifest, expects({ manifest: unknown, tree: unknown })),
  ];
}
