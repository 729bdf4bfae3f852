import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import type { RefusalCode } from '../../../src/errors/refusal.ts';
import type { SigningRequest } from '../../../src/formats/records/signing-request.ts';
import { attach } from '../../../src/operations/request.ts';
import { readKeyFolder } from '../../../src/signing/keys/key-folder.ts';
import { signersOf } from '../../../src/signing/signatories.ts';
import { NOW } from '../../fixtures/keys.ts';
import { KERNEL } from '../../fixtures/release.ts';
import {
  answerOf as answerIn,
  asked,
  Bundle,
  makeRequest,
  wholeTree,
} from '../../fixtures/signing-request.ts';
import { look } from '../judges.ts';
import { MICROCODE } from '../trees.ts';
import { copyOf, demandRefused, fresh, keys, other, response, whole } from './attach-site.ts';

const signers = signersOf(await readKeyFolder(keys, NOW));
const CMS = `${KERNEL}.cms.sig`;
const MICROCODE_CMS = `${MICROCODE}.cms.sig`;
const answerOf = (seal: string) => answerIn(whole, seal);
const signed = (seal: string, key: 'codesign' | 'boot' | 'ca' | 'openpgp', by = signers) => {
  const { signer } = key === 'openpgp' ? by.openpgp.payload : by[key];
  return signer.sign(key === 'openpgp' ? 'sha512' : 'sha256', Buffer.from(asked(whole, seal).digest, 'hex'));
};
/** Other bytes that mean the same: the linter takes them, and nobody signed them. */
const scriptOf = (b: Bundle, name: string) => Buffer.from(b.file(`scripts/${name}`)).toString('latin1');
const commented = (b: Bundle, name: string) => `${scriptOf(b, name)}# another\n`;
const paused = (b: Bundle) => scriptOf(b, 'grub.cfg').replace(/\b30\b(?= seconds|$)/gm, '31');
const theirs = signersOf(await readKeyFolder(other, NOW));

describe('attach refuses, and names', () => {
  const wrong: readonly (readonly [
    string,
    (bundle: Bundle) => Bundle | Promise<Bundle>,
    RefusalCode,
    RegExp,
  ])[] = [
    [
      'an answer that is no signature',
      (b) => b.set(answerOf(CMS), Buffer.alloc(256, 1)),
      'bad-signature',
      /answer for \S*vmlinuz-linux\.cms\.sig in .* is no signature over what was asked, by codesign/,
    ],
    ['an empty answer', (b) => b.set(answerOf(CMS), ''), 'bad-signature', /vmlinuz-linux\.cms\.sig/],
    [
      'an answer cut short',
      (b) => b.set(answerOf(CMS), b.file(answerOf(CMS)).subarray(0, 255)),
      'bad-signature',
      /vmlinuz-linux\.cms\.sig/,
    ],
    [
      'an answer with a byte more',
      (b) => b.set(answerOf(CMS), Buffer.concat([b.file(answerOf(CMS)), Buffer.of(0)])),
      'bad-signature',
      /vmlinuz-linux\.cms\.sig/,
    ],
    [
      'an OpenPGP answer that is no signature',
      (b) => b.set(answerOf(`${KERNEL}.sig`), Buffer.alloc(256, 1)),
      'bad-signature',
      /vmlinuz-linux\.sig .* by openpgp/,
    ],
    [
      'two answers that were swapped',
      (b) => {
        const [one, two] = [b.file(answerOf(CMS)), b.file(answerOf(MICROCODE_CMS))];
        return b.set(answerOf(CMS), two).set(answerOf(MICROCODE_CMS), one);
      },
      'bad-signature',
      /vmlinuz-linux\.cms\.sig in .* is the one for arch\/boot\/amd-ucode\.img\.cms\.sig/,
    ],
    [
      'an answer by another key of the site',
      async (b) => b.set(answerOf(CMS), await signed(CMS, 'boot')),
      'bad-signature',
      /is by the key boot, not by codesign/,
    ],
    [
      'an answer by the CA itself',
      async (b) => b.set(answerOf(CMS), await signed(CMS, 'ca')),
      'bad-signature',
      /is no signature/,
    ],
    [
      'an answer by another site',
      async (b) => b.set(answerOf(CMS), await signed(CMS, 'codesign', theirs)),
      'bad-signature',
      /is no signature/,
    ],
    [
      'one missing answer',
      (b) => b.delete(answerOf(CMS)),
      'absent',
      /missing: digests\/0002\.codesign\.sig \(for \S*vmlinuz-linux\.cms\.sig, by codesign\); nothing was attached/,
    ],
    [
      'missing answers, and how many more',
      (b) => b.having(/^(?!digests\/....\.(codesign|openpgp)\.sig)/),
      'absent',
      /Answers are missing: digests\/0002.* and 3 more; nothing was attached/,
    ],
    ['a missing leaf', (b) => b.delete('certificates/leaf.crt'), 'absent', /certificates\/leaf\.crt/],
    [
      'no answer at all',
      (b) => b.having(/^(?!.*(\.sig|SUMS\.gpg)$)(?!certificates\/leaf)/),
      'absent',
      /missing/,
    ],
    [
      'an answer nobody asked',
      (b) => b.set('digests/0999.codesign.sig', 'x'),
      'malformed',
      /0999\.codesign\.sig, which its index does not name/,
    ],
    [
      'an answer under another key’s name',
      (b) => b.set(answerOf(CMS).replace('codesign', 'leaf'), 'x'),
      'malformed',
      /its index does not name/,
    ],
    [
      'an answer under the name of a key that answers no digests',
      (b) => b.set(answerOf(CMS).replace('codesign', 'boot'), 'x'),
      'malformed',
      /"digests\/0002\.boot\.sig" belongs to no request/,
    ],
    [
      'a leaf nobody asked',
      (b) => b.set(`certificates/leaf-${'0'.repeat(16)}.crt`, b.file('certificates/leaf.crt')),
      'malformed',
      /its index does not name/,
    ],
    [
      'a changed index',
      (b) => b.set('index', Buffer.concat([b.file('index'), Buffer.from('x')])),
      'malformed',
      /signing request/,
    ],
    [
      'a changed record',
      (b) => b.set('records/release.manifest', '#!ipxe\nshell\n'),
      'malformed',
      /records\/release\.manifest/,
    ],
    [
      'a changed script',
      (b) => b.set('scripts/boot.ipxe', '#!ipxe\nshell\n'),
      'malformed',
      /scripts\/boot\.ipxe/,
    ],
    [
      'a script that was changed with all that names it',
      (b) => b.forge('boot.ipxe', commented(b, 'boot.ipxe')),
      'bad-signature',
      /answer for boot\.ipxe\.sig .* is no signature of boot\.ipxe by boot/,
    ],
    [
      'a configuration that was changed with all that names it',
      (b) => b.forge('grub.cfg', paused(b)),
      'bad-signature',
      /answer for grub\.cfg\.sig .* is no signature of grub\.cfg by openpgp-script/,
    ],
    [
      'a script that starts a shell, with all that names it',
      (b) => b.forge('boot.ipxe', '#!ipxe\nshell\n'),
      'unsafe-script',
      /boot\.ipxe to be signed, and its line 2 is not safe/,
    ],
    [
      'a configuration that boots nothing, with all that names it',
      (b) => b.forge('grub.cfg', 'boot\n'),
      'unsafe-script',
      /grub\.cfg to be signed, and its line 1 is not safe: nothing calls bootseal_trust_payload/,
    ],
    [
      'a record that its index does not name',
      (b) => b.set(`records/${KERNEL}`, 'evil'),
      'malformed',
      /records\/\S*vmlinuz-linux, which its index does not name/,
    ],
    [
      'a certificate that its index does not name',
      (b) => b.set(`certificates/boot-${'0'.repeat(16)}.crt`, 'x'),
      'malformed',
      /its index does not name/,
    ],
    [
      'a question that its index does not name',
      (b) => b.set('digests/0999.codesign', Buffer.alloc(32)),
      'malformed',
      /its index does not name/,
    ],
    [
      'another request’s manifest',
      (b) =>
        b.set(
          'records/release.manifest',
          Buffer.from(b.file('records/release.manifest'))
            .toString()
            .replace('serial 2026110100', 'serial 2026110199'),
        ),
      'malformed',
      /release\.manifest/,
    ],
    [
      'an OpenPGP digest of something else, though the key signed it',
      async (b) => {
        const path = `${KERNEL}.sig`;
        const digest = 'e'.repeat(128);
        const change = (one: SigningRequest['signatures'][number]) =>
          one.path + one.suffix === path ? { ...one, digest } : one;
        b.reindex(({ signatures }) => ({ signatures: signatures.map(change) }));
        return b.set(
          answerOf(path),
          await signers.openpgp.payload.signer.sign('sha512', Buffer.from(digest, 'hex')),
        );
      },
      'malformed',
      /OpenPGP signature of \S*vmlinuz-linux over something else/,
    ],
    [
      'a seal that is said to stand, and does not',
      (b) =>
        b.reindex(({ signatures, kept }) => ({
          kept: [...kept, { path: CMS, sha256: 'a'.repeat(64) }],
          signatures: signatures.filter(({ path, suffix }) => path + suffix !== CMS),
        })),
      'drifted',
      /vmlinuz-linux\.cms\.sig/,
    ],
  ];
  for (const [what, change, code, fact] of wrong) {
    it(what, async () => {
      const changed = await (await change(new Bundle(whole.files))).write(fresh('changed'));
      await demandRefused(await copyOf(), [changed], code, fact);
    });
  }

  it('answers that are there twice, in two files or in one given twice', async () => {
    const one = await whole.having(/0002\.codesign\.sig$/).write(fresh('one'));
    await demandRefused(
      await copyOf(),
      [response, one],
      'malformed',
      /response-\d+ and \S*one-\d+ both answer digests\/0002/,
    );
    await demandRefused(await copyOf(), [response, response], 'malformed', /both answer/);
  });

  it('an answer in a file of its own that nobody asked', async () => {
    for (const name of [
      'digests/0999.codesign.sig',
      'digests/0002.leaf.sig',
      'records/arch/SHA256SUMS.gpg',
      'scripts/boot.ipxe.cms.sig',
      `certificates/leaf-${'0'.repeat(16)}.crt`,
    ]) {
      const stray = await new Bundle(new Map([[name, Buffer.from('x')]])).write(fresh('stray'));
      await demandRefused(
        await copyOf(),
        [response, stray],
        'malformed',
        /answers .*, which \S*response-\d+ does not ask/,
      );
    }
  });

  it('answers without their request', async () => {
    const answers = await whole.having(/(\.sig|SUMS\.gpg)$|leaf\.crt$/).write(fresh('answers'));
    await demandRefused(await copyOf(), [answers], 'absent', /No request is in .*; give the request beside/);
  });

  it('a response to an older request of the same release, and to one of another release', async () => {
    const later = await wholeTree(fresh('later'), 'two');
    const again = await makeRequest(later, keys, fresh('again'));
    await demandRefused(
      later,
      [again, response],
      'mixed-releases',
      /answers another request than \S+: one of the same release, made of another state of its tree/,
    );
    await demandRefused(
      later,
      [response],
      'drifted',
      /vmlinuz-linux is no longer what the request was made of/,
    );
    const next = await wholeTree(fresh('next'), 'one', '2026.12.01');
    const ofNext = await makeRequest(next, keys, fresh('of-next'));
    await demandRefused(
      next,
      [ofNext, response],
      'mixed-releases',
      /arch\/2026\.11\.01 issued .* not of arch\/2026\.12\.01/,
    );
    // Without the index nothing says what they were for; the signatures do.
    const answers = await whole.having(/(\.sig|SUMS\.gpg)$|leaf\.crt$/).write(fresh('answers'));
    await demandRefused(later, [again, answers], 'bad-signature', /./);
    await demandRefused(
      next,
      [ofNext, answers],
      'wrong-purpose',
      /is for arch\/2026\.11\.01, and not for arch\/2026\.12\.01/,
    );
  });

  it('a response cut at some lengths', async () => {
    const bytes = await readFile(response);
    const tree = await copyOf();
    for (const length of [
      0,
      1,
      109,
      110,
      111,
      1000,
      Math.floor(bytes.length / 2),
      bytes.length - 130,
      bytes.length - 5,
    ]) {
      const cut = fresh('cut');
      writeFileSync(cut, bytes.subarray(0, length));
      await demandRefused(tree, [cut], 'malformed', /cut-\d+ cannot be read/);
    }
  });
});

it('nothing of these tests is refused for another reason: the answers as they are complete the tree', async () => {
  const tree = await copyOf();
  await attach({ tree, responses: [response] });
  assert.ok(look(tree).has('release.manifest.sig'));
});
