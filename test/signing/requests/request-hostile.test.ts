import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { RefusalCode } from '../../../src/errors/refusal.ts';
import { encodePem } from '../../../src/formats/asn1/armor.ts';
import type { SigningRequest } from '../../../src/formats/records/signing-request.ts';
import { openRequest } from '../../../src/signing/requests/open-request.ts';
import { textName } from '../../../src/signing/requests/request-files.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { makeKeys, NOW } from '../../fixtures/keys.ts';
import { KERNEL, ROOTFS } from '../../fixtures/release.ts';
import { asked, Bundle, makeRequest, wholeTree } from '../../fixtures/signing-request.ts';
import { refused } from '../../trust/judge.ts';

const DAY = 86_400_000;
const YEAR = 365 * DAY;
const CHECKSUM = ROOTFS.replace('.sfs', '.sha512');
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const other = await makeKeys(join(folder, 'other'), { site: 'elsewhere' });
const fresh = await wholeTree(join(folder, 'fresh'));
const plain = await Bundle.read(await makeRequest(fresh, keys, join(folder, 'plain.cpio')));
const alsoAnchors = [join(other, 'anchors')];
const both = await Bundle.read(await makeRequest(fresh, keys, join(folder, 'both.cpio'), { alsoAnchors }));
const id = both.index.certificates.at(-1)?.key.slice('boot-'.length) ?? '';

const copyOf = ({ files }: Bundle) => new Bundle(files);
const open = (bundle: Bundle) => openRequest('request.cpio', bundle.bytes);

const CMS = `${KERNEL}.cms.sig`;
const foreign = await Bundle.read(await makeRequest(fresh, other, join(folder, 'foreign.cpio')));
const kernelCms = asked(plain, CMS);
const text = (bundle: Bundle, record: string) =>
  Buffer.from(bundle.file(textName(record))).toString('latin1');
const withLeaf = (change: Partial<SigningRequest['leaves'][number]>) => (bundle: Bundle) =>
  bundle.reindex(({ leaves }) => ({ leaves: leaves.map((leaf) => ({ ...leaf, ...change })) }));
const withKernelCms = (change: Partial<SigningRequest['signatures'][number]>) => (bundle: Bundle) =>
  bundle.reindex(({ signatures }) => ({
    signatures: signatures.map((one) => (one.path + one.suffix === CMS ? { ...one, ...change } : one)),
  }));
const replaceCertificate = (bundle: Bundle, key: string, raw: Uint8Array, sha256: string) =>
  bundle.set(`certificates/${key}.crt`, encodePem('CERTIFICATE', raw)).reindex(({ certificates }) => ({
    certificates: certificates.map((one) => (one.key === key ? { key, sha256 } : one)),
  }));
const theirs = open(foreign).signatories;
const shaOf = (key: string) => foreign.index.certificates.find((one) => one.key === key)?.sha256 ?? '';

const hostile: readonly (readonly [string, (bundle: Bundle) => Bundle, RefusalCode, RegExp])[] = [
  ['has no index', (b) => b.delete('index'), 'absent', /holds no index/],
  ['has an index of another kind', (b) => b.set('index', 'x\n'), 'malformed', /first line/],
  ['lacks a certificate', (b) => b.delete('certificates/boot.crt'), 'absent', /boot\.crt/],
  ['lacks the OpenPGP key', (b) => b.delete('certificates/openpgp.gpg'), 'absent', /openpgp\.gpg/],
  ['lacks a record', (b) => b.delete('records/release.manifest'), 'absent', /records\/release\.manifest/],
  ['lacks a script', (b) => b.delete('scripts/grub.cfg'), 'absent', /scripts\/grub\.cfg/],
  ['lacks a question', (b) => b.delete('digests/0001.leaf'), 'absent', /digests\/0001\.leaf/],
  [
    'has another certificate',
    (b) => b.set('certificates/boot.crt', b.file('certificates/codesign.crt')),
    'malformed',
    /boot\.crt/,
  ],
  [
    'has two certificates in a file',
    (b) =>
      b.set(
        'certificates/boot.crt',
        Buffer.concat([b.file('certificates/boot.crt'), b.file('certificates/ca.crt')]),
      ),
    'malformed',
    /not one CERTIFICATE/,
  ],
  ['has no certificate in the file', (b) => b.set('certificates/boot.crt', 'x'), 'malformed', /PEM/],
  [
    'has another OpenPGP key',
    (b) => b.set('certificates/openpgp.gpg', foreign.file('certificates/openpgp.gpg')),
    'malformed',
    /openpgp\.gpg/,
  ],
  [
    'has another record',
    (b) => b.set('scripts/grub.cfg', 'boot anything\n'),
    'malformed',
    /scripts\/grub\.cfg/,
  ],
  [
    'has another digest in a question',
    (b) => b.set('digests/0001.leaf', Buffer.alloc(32)),
    'malformed',
    /0001\.leaf/,
  ],
  [
    'is of another manifest',
    (b) => b.reindex(() => ({ manifestSha256: 'a'.repeat(64) })),
    'malformed',
    /release\.manifest/,
  ],
  [
    'is of another release',
    (b) => b.reindex(() => ({ release: 'arch/2026.12.01' })),
    'malformed',
    /release\.manifest/,
  ],
  [
    'brings a kernel as a record',
    (b) =>
      b.set(`records/${KERNEL}`, 'evil').reindex(({ records, manifestSha256 }) => ({
        records: [...records, { path: KERNEL, size: 4, sha256: manifestSha256 }],
      })),
    'malformed',
    /vmlinuz/,
  ],
  [
    'brings a seal as a record',
    (b) =>
      b.set(`records/${CMS}x`, text(b, 'grub.cfg')).reindex(({ records }) => ({
        records: [
          ...records,
          {
            ...(records.find(({ path }) => path === 'grub.cfg') as SigningRequest['records'][number]),
            path: `${CMS}x`,
          },
        ],
      })),
    'malformed',
    /no record of such a release/,
  ],
  [
    'brings a script for a CA that nobody named',
    (b) =>
      b.set(`scripts/boot.${id}.ipxe`, text(b, 'boot.ipxe')).reindex(({ records }) => ({
        records: [
          ...records,
          {
            ...(records.find(({ path }) => path === 'boot.ipxe') as SigningRequest['records'][number]),
            path: `boot.${id}.ipxe`,
          },
        ],
      })),
    'malformed',
    /no record of such a release/,
  ],
  [
    'brings no checksum',
    (b) => b.reindex(({ records }) => ({ records: records.filter(({ path }) => path !== CHECKSUM) })),
    'absent',
    /sha512/,
  ],
  [
    'has a checksum of something else',
    (b) =>
      b.forge(
        CHECKSUM,
        text(b, CHECKSUM).replace(/^./, (digit) => (digit === '0' ? '1' : '0')),
      ),
    'malformed',
    /sha512/,
  ],
  [
    'asks the codesign key to sign a kernel for iPXE',
    (b) =>
      b.reindex(({ signatures }) => ({
        signatures: signatures.map((one) =>
          one.path === KERNEL && one.key === 'leaf' ? { ...one, key: 'codesign' } : one,
        ),
      })),
    'wrong-purpose',
    /the key codesign for \S*\.ipxe\.sig, which is not its to sign/,
  ],
  [
    'asks for a seal that no such file has',
    withKernelCms({ suffix: `.${id}.ipxe.sig` }),
    'wrong-purpose',
    /ipxe/,
  ],
  [
    'asks for a seal of a checksum',
    withKernelCms({ path: CHECKSUM, size: plain.index.records[0]?.size ?? 0 }),
    'wrong-purpose',
    /sha512\.cms\.sig/,
  ],
  [
    'asks for a seal of a file that the release has not',
    withKernelCms({ path: 'etc/shadow' }),
    'wrong-purpose',
    /etc\/shadow/,
  ],
  [
    'asks for a seal under another file’s name',
    withKernelCms({ path: `${KERNEL}.cms`, suffix: '.sig' }),
    'wrong-purpose',
    /vmlinuz-linux\.cms\.sig/,
  ],
  [
    'asks for a digest that the manifest does not name',
    withKernelCms({ digest: 'e'.repeat(64) }),
    'malformed',
    /digest of arch\/boot/,
  ],
  [
    'asks for a size that the manifest does not name',
    withKernelCms({ size: kernelCms.size + 1 }),
    'malformed',
    /size of arch\/boot/,
  ],
  [
    'asks for ECDSA by an RSA key',
    withKernelCms({ algorithm: 'p256-sha256' }),
    'malformed',
    /codesign that it does not bring/,
  ],
  [
    'leaves a seal out',
    (b) =>
      b.reindex(({ signatures }) => ({
        signatures: signatures.filter((one) => one.path + one.suffix !== CMS),
      })),
    'absent',
    /vmlinuz-linux\.cms\.sig/,
  ],
  [
    'keeps what is no seal of the release',
    (b) => b.reindex(() => ({ kept: [{ path: 'etc/passwd', sha256: 'a'.repeat(64) }] })),
    'malformed',
    /etc\/passwd/,
  ],
  ['orders no leaf', (b) => b.reindex(() => ({ leaves: [] })), 'malformed', /a leaf that it does not bring/],
  ['orders a leaf for fifty years', withLeaf({ notAfter: NOW + 50 * YEAR }), 'malformed', /leaf/],
  ['orders a leaf from 1970 on', withLeaf({ notBefore: 0 }), 'malformed', /leaf/],
  ['orders a leaf that ends before the release', withLeaf({ notAfter: NOW + DAY }), 'malformed', /leaf/],
  ['orders a leaf that begins after the release', withLeaf({ notBefore: NOW + DAY }), 'malformed', /leaf/],
  ['orders a leaf that anybody can break', withLeaf({ bits: 512 }), 'weak-algorithm', /512/],
  ['orders a leaf that nobody can make', withLeaf({ bits: 1_000_000 }), 'malformed', /1000000/],
  [
    'orders a leaf that signs nothing',
    (b) =>
      b.reindex(({ leaves }) => ({
        leaves: [...leaves, { ...(leaves[0] as SigningRequest['leaves'][number]), key: `leaf-${id}` }],
      })),
    'malformed',
    /leaf-/,
  ],
  ['orders a leaf of another kind than its CA', withLeaf({ kind: 'p256', bits: 256 }), 'malformed', /leaf/],
  [
    'names a boot certificate by another CA',
    (b) => replaceCertificate(b, 'boot', theirs.boot.raw, shaOf('boot')),
    'untrusted-signer',
    /boot/,
  ],
  [
    'names a codesign certificate by another CA',
    (b) => replaceCertificate(b, 'codesign', theirs.codesign.raw, shaOf('codesign')),
    'untrusted-signer',
    /codesign/,
  ],
  [
    'names no CA',
    (b) => b.reindex(({ certificates }) => ({ certificates: certificates.slice(1) })),
    'absent',
    /ca/,
  ],
  [
    'names half of another CA',
    (b) =>
      b
        .set(`certificates/boot-${id}.crt`, both.file(`certificates/boot-${id}.crt`))
        .reindex(({ certificates }) => ({
          certificates: [...certificates, ...both.index.certificates.slice(-1)],
        })),
    'malformed',
    /boot-/,
  ],
  [
    'has another root hash than its manifest',
    (b) => b.forge(`${ROOTFS}.roothash`, 'f'.repeat(64)),
    'malformed',
    /roothash that is not of its manifest/,
  ],
  [
    'asks the codesign key to sign a hash tree, which nobody loads',
    withKernelCms({
      path: `${ROOTFS}.verity`,
      size: open(plain).manifest.files.find(({ role }) => role === 'hashtree')?.size ?? 0,
      digest: open(plain).manifest.files.find(({ role }) => role === 'hashtree')?.sha256 ?? '',
    }),
    'wrong-purpose',
    /verity\.cms\.sig, which is not its to sign/,
  ],
];

describe('a request is refused that', () => {
  for (const [what, change, code, fact] of hostile) {
    it(what, () => {
      assert.throws(() => open(change(copyOf(plain))), refused(code, fact));
    });
  }

  it('gives another CA an id that is not its own', () => {
    const wrong = 'f'.repeat(16);
    const rename = (text: string) =>
      text.replaceAll(`-${id}`, `-${wrong}`).replaceAll(`.${id}.`, `.${wrong}.`);
    const renamed = [...both.files].map(([name, content]): [string, Uint8Array] => [
      rename(name),
      name === 'index' ? Buffer.from(rename(Buffer.from(content).toString('latin1')), 'latin1') : content,
    ]);
    assert.throws(() => open(new Bundle(new Map(renamed))), refused('malformed', /another CA than it says/));
  });

  it('has bytes behind its end', () => {
    assert.throws(
      () => openRequest('r', Buffer.concat([plain.bytes, Buffer.from('x')])),
      refused('malformed'),
    );
  });
});
