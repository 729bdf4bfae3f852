import { bytesContent } from '../../files/measure.ts';
import { RECORD, SEAL } from '../../formats/records/seal-names.ts';
import { type Attack, type Expectation, expects, misses, must, UNTOUCHED } from './attack.ts';
import { encodeAnyCms, opaqueMessage, sealOpenpgp, sealSha1Cms, signerInfo } from './forge.ts';
import type { TamperSite } from './site.ts';

/** Seals of a form that must not count, and seals that belong to something else. */

export function formAttacks(site: TamperSite): Attack[] {
  const root = site.manifest.files.some(({ role }) => role === 'rootfs');
  return [...kernelForms(), ...(root ? rootForms(site) : []), ...exchanges(site)];
}

/** Another content than the file beside it, well signed. */
const OTHER = Buffer.from('what was really signed\n');
const BESIDE = 'openssl looks at the file that -content names, whatever else is inside';
const ONE_OF_SEVERAL = 'archiso looks for one line GOODSIG, whatever gpg says of other signatures';
const SHA1 = 'iPXE, GRUB, gpg and openssl take SHA-1: verify, publish and serve do not';

function kernelForms(): Attack[] {
  const loader = (expectation: Expectation) =>
    expects({ ipxe: expectation, manifest: expectation, tree: expectation });
  const grub = (expectation: Expectation) =>
    expects({ grub: expectation, manifest: expectation, tree: expectation });
  const ipxe = (
    name: string,
    make: (site: TamperSite, path: string) => Promise<Uint8Array>,
  ): Omit<Attack, 'expect'> => ({
    name: `kernel: ${name}`,
    tuf: 'arbitrary software',
    async stage(site) {
      const { path } = site.kernel;
      await site.copy.write(path + SEAL.ipxe, await make(site, path));
      return {};
    },
  });
  const openpgp = (
    name: string,
    make: (site: TamperSite, path: string) => Promise<Uint8Array>,
  ): Omit<Attack, 'expect'> => ({
    name: `kernel: ${name}`,
    tuf: 'arbitrary software',
    async stage(site) {
      const { path } = site.kernel;
      await site.copy.write(path + SEAL.openpgp, await make(site, path));
      return {};
    },
  });
  return [
    {
      ...ipxe('CMS with its content inside', async (site, path) => {
        const key = await site.leaf(site.release);
        return encodeAnyCms([await signerInfo(site.content(path), key)], site.chain(key), OTHER);
      }),
      expect: loader(must('malformed')),
    },
    {
      ...ipxe('CMS without a signer', async (site) =>
        encodeAnyCms([], site.chain(await site.leaf(site.release))),
      ),
      expect: loader(must('bad-signature')),
    },
    {
      ...ipxe('CMS with a stranger as second signer', async (site, path) => {
        const { ca } = await site.stranger();
        const keys = [await site.leaf(site.release), await site.leaf(site.release, ca)];
        const infos = await Promise.all(keys.map((key) => signerInfo(site.content(path), key)));
        const certificates = [
          ...keys.map(({ certificate }) => certificate),
          site.keys.ca.certificate,
          ca.certificate,
        ];
        return encodeAnyCms(infos, certificates);
      }),
      expect: loader(must('untrusted-signer')),
    },
    {
      ...ipxe('CMS with SHA-1', async (site, path) => {
        const key = await site.leaf(site.release);
        return sealSha1Cms(site.content(path), key, site.chain(key));
      }),
      expect: expects({ ipxe: misses(SHA1), manifest: misses(SHA1), tree: must('weak-algorithm') }),
    },
    {
      ...openpgp('OpenPGP message with its content inside', async ({ keys, now }) => {
        return opaqueMessage(
          OTHER,
          await sealOpenpgp(bytesContent(OTHER), keys.openpgp.payload, now),
          keys.openpgp.payload,
        );
      }),
      expect: grub(must('malformed')),
    },
    {
      ...openpgp('OpenPGP with a stranger as second signer', async (site, path) => {
        const { payload: stranger } = (await site.stranger()).openpgp;
        const own = await site.copy.read(path + SEAL.openpgp);
        return Buffer.concat([own, await sealOpenpgp(site.content(path), stranger, site.now)]);
      }),
      expect: grub(must('untrusted-signer')),
    },
    {
      ...openpgp('OpenPGP with SHA-1', async (site, path) =>
        sealOpenpgp(site.content(path), site.keys.openpgp.payload, site.now, 'sha1'),
      ),
      expect: expects({ grub: misses(SHA1), manifest: misses(SHA1), tree: must('weak-algorithm') }),
    },
  ];
}

function rootForms({ asked, keys }: TamperSite): Attack[] {
  const early = (isAsked: boolean, machine: Expectation, tree = machine, archiso = machine) =>
    expects({ archiso: isAsked ? archiso : UNTOUCHED, manifest: isAsked ? machine : UNTOUCHED, tree });
  const form = (
    name: string,
    suffix: string,
    expect: Attack['expect'],
    make: (site: TamperSite, path: string) => Promise<Uint8Array>,
  ): Attack => ({
    name: `root image: ${name}`,
    tuf: 'arbitrary software',
    expect,
    async stage(site) {
      const { path } = site.rootfs;
      await site.copy.write(path + suffix, await make(site, path));
      return {};
    },
  });
  // ECDSA with SHA-1 is no form that anything here can write.
  const rsa = keys.codesign.privateKey.asymmetricKeyType === 'rsa';
  return [
    form(
      'CMS with its content inside',
      SEAL.cms,
      early(asked.cmsVerify, must('malformed'), must('malformed'), misses(BESIDE)),
      async (site, path) =>
        encodeAnyCms([await signerInfo(site.content(path), site.keys.codesign)], [], OTHER),
    ),
    form(
      'CMS with a stranger as second signer',
      SEAL.cms,
      early(asked.cmsVerify, must('untrusted-signer')),
      async (site, path) => {
        const signers = [site.keys.codesign, (await site.stranger()).codesign];
        return encodeAnyCms(await Promise.all(signers.map((key) => signerInfo(site.content(path), key))), []);
      },
    ),
    ...(rsa
      ? [
          form(
            'CMS with SHA-1',
            SEAL.cms,
            early(asked.cmsVerify, misses(SHA1), must('weak-algorithm')),
            async (site, path) => sealSha1Cms(site.content(path), site.keys.codesign),
          ),
        ]
      : []),
    form(
      'OpenPGP message with its content inside',
      SEAL.openpgp,
      early(asked.verify, must('malformed')),
      async (site, path) => {
        const own = await sealOpenpgp(site.content(path), site.keys.openpgp.payload, site.now);
        return opaqueMessage(OTHER, own, site.keys.openpgp.payload);
      },
    ),
    form(
      'OpenPGP with a stranger as second signer',
      SEAL.openpgp,
      early(asked.verify, must('untrusted-signer'), must('untrusted-signer'), misses(ONE_OF_SEVERAL)),
      async (site, path) => {
        const { openpgp } = await site.stranger();
        const own = await site.copy.read(path + SEAL.openpgp);
        return Buffer.concat([own, await sealOpenpgp(site.content(path), openpgp.payload, site.now)]);
      },
    ),
    form(
      'OpenPGP with SHA-1',
      SEAL.openpgp,
      early(asked.verify, misses(SHA1), must('weak-algorithm')),
      async (site, path) => sealOpenpgp(site.content(path), site.keys.openpgp.payload, site.now, 'sha1'),
    ),
  ];
}

/** Good seals, beside the wrong file. */
function exchanges({ manifest, asked }: TamperSite): Attack[] {
  const wrong = must('bad-signature');
  // Keys for records sign no payload: whose seal it is tells before what it is over.
  const other = must('untrusted-signer');
  const hasInitrd = manifest.files.some(({ role }) => role === 'initrd');
  const hasRoot = manifest.files.some(({ role }) => role === 'rootfs');
  const beside = (
    name: string,
    expect: Attack['expect'],
    files: (site: TamperSite) => readonly (readonly [to: string, from: string])[],
  ): Attack => ({
    name,
    tuf: 'mix-and-match',
    expect,
    async stage(site) {
      const read = await Promise.all(
        files(site).map(async ([to, from]) => [to, await site.copy.read(from)] as const),
      );
      for (const [to, bytes] of read) await site.copy.write(to, bytes);
      return {};
    },
  });
  const exchanged = (suffix: string) => (site: TamperSite) =>
    [
      [site.kernel.path + suffix, site.initrd.path + suffix],
      [site.initrd.path + suffix, site.kernel.path + suffix],
    ] as const;
  return [
    ...(hasInitrd
      ? [
          beside(
            'kernel and initrd: CMS seals exchanged',
            expects({ ipxe: wrong, manifest: wrong, tree: wrong }),
            exchanged(SEAL.ipxe),
          ),
          beside(
            'kernel and initrd: OpenPGP seals exchanged',
            expects({ grub: wrong, manifest: wrong, tree: wrong }),
            exchanged(SEAL.openpgp),
          ),
          beside(
            'kernel served as the initrd, with the kernel’s seals',
            expects({
              ipxe: misses(NO_NAMES),
              grub: misses(NO_NAMES),
              archiso: misses(NO_KEYS, 'malformed', 'absent'),
              manifest: must('malformed', 'absent'),
              tree: wrong,
            }),
            ({ kernel, initrd }) =>
              ['', SEAL.ipxe, SEAL.openpgp, SEAL.cms].map((suffix) => [
                initrd.path + suffix,
                kernel.path + suffix,
              ]),
          ),
        ]
      : []),
    ...(hasRoot
      ? [
          beside(
            'root image: seals of the manifest beside it',
            expects({
              ...(asked.verify || asked.cmsVerify ? { archiso: other, manifest: other } : {}),
              tree: other,
            }),
            ({ rootfs }) =>
              [SEAL.cms, SEAL.openpgp].map((suffix) => [rootfs.path + suffix, RECORD.manifest + suffix]),
          ),
          beside(
            'manifest served as the root image, with its seals',
            expects({
              // Every check of archiso's holds but the checksum, which anybody can write anew.
              archiso: asked.checksum ? wrong : misses(NO_NAMES),
              manifest: wrong,
              tree: must('bad-signature', 'absent'),
            }),
            ({ rootfs }) =>
              ['', SEAL.cms, SEAL.openpgp].map((suffix) => [rootfs.path + suffix, RECORD.manifest + suffix]),
          ),
        ]
      : []),
  ];
}

const NO_NAMES = 'a seal says who signed which bytes, not what they are called or what they are for';
const NO_KEYS = 'the initrd is archiso itself: what has no archiso in it checks nothing';
