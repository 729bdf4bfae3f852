import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { cp, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { Refusal, type RefusalCode } from '../../../src/errors/refusal.ts';
import { decodeImageRequest, encodeImageRequest } from '../../../src/formats/records/image-request.ts';
import { decodeBundle, encodeBundle } from '../../../src/formats/records/request-bundle.ts';
import {
  attachImage,
  requestImageSignature,
  signImageRequest,
} from '../../../src/operations/image-request.ts';
import { uki } from '../../../src/operations/uki.ts';
import { imageDigest } from '../../../src/signing/authenticode.ts';
import { readPcrPublicKey, readPcrSigner } from '../../../src/signing/keys/secure-boot-signers.ts';
import { misused } from '../../fixtures/failed.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { makeKeys, NOW } from '../../fixtures/keys.ts';
import { makeUki, URL, ukiTree } from '../../fixtures/uki.ts';
import { demandFlipsHandled, malformed } from '../../formats/strict.ts';

const folder = await temporaryFolder();
const at = (name: string) => join(folder, name);
const keys = await makeKeys(at('keys'), { secureBoot: true });
const other = await makeKeys(at('other'), { secureBoot: true });
const anchors = at('anchors');
await cp(join(keys, 'anchors'), anchors, { recursive: true });
const tree = await ukiTree(at('tree'), keys);
const pcrPublicKey = (await readPcrPublicKey(keys)) ?? new Uint8Array();

let count = 0;
async function unsigned(options: { pcr?: boolean } = {}): Promise<string> {
  const out = at(`unsigned-${count++}.efi`);
  await uki({ tree, url: URL, out, now: NOW, ...(options.pcr ? { pcrPublicKey } : {}) });
  return out;
}

async function ask(image: string, by: 'pcr' | { anchors: string } = { anchors }): Promise<string> {
  const out = at(`request-${count++}`);
  await requestImageSignature({ image, by, out, now: NOW });
  return out;
}

async function answer(request: string, image: string, from = keys): Promise<string> {
  const out = at(`response-${count++}`);
  await signImageRequest({ request, keys: [from], image, out, now: NOW });
  return out;
}

const refusing = (code: RefusalCode, words: RegExp) => (error: unknown) =>
  error instanceof Refusal && error.code === code && words.test(error.message);

describe('an image that is signed elsewhere', () => {
  it('is the one that is signed with the key at hand, byte for byte', async () => {
    const online = at('online.efi');
    await makeUki(tree, keys, { out: online });
    const image = await unsigned();
    const digest = imageDigest(readFileSync(image));
    const attached = await attachImage({ image, responses: [await answer(await ask(image), image)] });
    assert.equal(attached.outcome, 'written');
    assert.deepEqual(readFileSync(image), readFileSync(online));
    assert.deepEqual(imageDigest(readFileSync(image)), digest);
  });

  it('is so with PCR signatures, in two rounds', async () => {
    const online = at('online-pcr.efi');
    const pcrSigner = await readPcrSigner(keys);
    assert.ok(pcrSigner);
    await makeUki(tree, keys, { out: online, pcrPublicKey, pcrSigner });
    const image = await unsigned({ pcr: true });
    await attachImage({ image, responses: [await answer(await ask(image, 'pcr'), image)] });
    await attachImage({ image, responses: [await answer(await ask(image), image)] });
    assert.deepEqual(readFileSync(image), readFileSync(online));
  });

  it('needs no private key where it is asked for, and holds none of the image', async () => {
    const image = await unsigned();
    const request = await ask(image);
    assert.ok(readFileSync(request).length < 8192);
    const { files } = decodeBundle(readFileSync(request));
    assert.deepEqual([...files.keys()], ['index', 'certificates/db.crt', 'digests/0001.db']);
    assert.match(
      Buffer.from(files.get('index') ?? []).toString(),
      /^bootseal-image-request 1\ntitle arch\/2026\.11\.01\ncmdline .* bootseal\.manifest=\w+\nimage \d+ \w{64}\nsign 0001 db \w{64} \w{64}\n$/,
    );
  });

  it('is signed with openssl as well', async () => {
    const image = await unsigned();
    const bundle = new Map(decodeBundle(readFileSync(await ask(image))).files);
    await writeFile(at('digest'), bundle.get('digests/0001.db') ?? '');
    const args = [
      '-sign',
      '-inkey',
      join(keys, 'private', 'db.key'),
      '-pkeyopt',
      'digest:sha256',
      '-in',
      at('digest'),
    ];
    bundle.set('digests/0001.db.sig', execFileSync('openssl', ['pkeyutl', ...args]));
    await writeFile(at('by-openssl'), encodeBundle(bundle));
    await attachImage({ image, responses: [at('by-openssl')] });
    assert.equal(
      execFileSync('sbverify', ['--cert', join(anchors, 'db.crt'), image], { encoding: 'utf8' }).trim(),
      'Signature verification OK',
    );
  });

  it('is not changed by the same answer once more', async () => {
    const image = await unsigned();
    const response = await answer(await ask(image), image);
    await attachImage({ image, responses: [response] });
    const before = readFileSync(image);
    assert.equal((await attachImage({ image, responses: [response] })).outcome, 'kept');
    assert.deepEqual(readFileSync(image), before);
  });

  for (const [what, make, code, words] of [
    [
      'a request without its answer',
      async () => ({ image: await unsigned(), response: (image: string) => ask(image) }),
      'absent',
      /digests\/0001\.db\.sig is missing/,
    ],
    [
      'an answer about another image',
      async () => {
        const another = await unsigned({ pcr: true });
        const elsewhere = await answer(await ask(another), another);
        return { image: await unsigned(), response: async () => elsewhere };
      },
      'drifted',
      /no longer what the request was made of/,
    ],
    [
      'an answer by another key',
      async () => ({
        image: await unsigned(),
        response: async (image: string) => {
          const bundle = new Map(decodeBundle(readFileSync(await ask(image))).files);
          bundle.set('digests/0001.db.sig', Buffer.alloc(256, 1));
          await writeFile(at('wrong'), encodeBundle(bundle));
          return at('wrong');
        },
      }),
      'bad-signature',
      /is no signature over what was asked/,
    ],
  ] as readonly [
    string,
    () => Promise<{ image: string; response: (image: string) => Promise<string> }>,
    RefusalCode,
    RegExp,
  ][]) {
    it(`is not changed by ${what}`, async () => {
      const { image, response } = await make();
      const before = readFileSync(image);
      await assert.rejects(attachImage({ image, responses: [await response(image)] }), refusing(code, words));
      assert.deepEqual(readFileSync(image), before);
    });
  }
});

describe('a request about an image', () => {
  it('is answered by nobody but the key that it names', async () => {
    const place = at('place');
    await mkdir(place);
    const image = await unsigned();
    const request = await ask(image);
    await assert.rejects(
      signImageRequest({ request, keys: [other], image, out: join(place, 'out'), now: NOW }),
      misused(/None of the keys here is the db key/),
    );
    assert.deepEqual(await readdir(place), []);
  });

  it('for PCR signatures is refused once the image is signed, or has no key for them', async () => {
    await assert.rejects(ask(await unsigned(), 'pcr'), refusing('malformed', /no \.pcrpkey/));
    const image = await unsigned({ pcr: true });
    await attachImage({ image, responses: [await answer(await ask(image), image)] });
    await assert.rejects(ask(image, 'pcr'), refusing('malformed', /PCR signatures come first/));
  });

  it('by db’s key is not answered without the image, nor blindly without a journal that says so', async () => {
    const image = await unsigned();
    const request = await ask(image);
    const [out, journal] = [at(`out-${count++}`), at(`journal-${count++}`)];
    const sign = { request, keys: [keys], out, now: NOW };
    await assert.rejects(signImageRequest(sign), misused(/give the image with --image FILE, or .* --blind/));
    await assert.rejects(signImageRequest({ ...sign, journal }), misused(/--image FILE/));
    await assert.rejects(
      signImageRequest({ ...sign, blind: true }),
      misused(/--blind goes with --journal DIR/),
    );
    assert.deepEqual([existsSync(out), existsSync(journal)], [false, false]);

    const entry = async (more: object) => {
      const folder = at(`journal-${count++}`);
      await signImageRequest({ ...sign, journal: folder, ...more });
      return JSON.parse(readFileSync(join(folder, 'journal.jsonl'), 'utf8'));
    };
    const seen = {
      time: '2026-11-01T00:00:00Z',
      act: 'sign-image',
      image: Buffer.from(imageDigest(readFileSync(image))).toString('hex'),
      keys: ['db'],
      signatures: 1,
    };
    assert.deepEqual(await entry({ image }), seen);
    assert.deepEqual(await entry({ blind: true }), { ...seen, blind: true });
    // Whoever gives the image has seen it.
    assert.deepEqual(await entry({ image, blind: true }), seen);
    await attachImage({ image, responses: [out] });
  });

  it('has its entry in the journal before the key is asked', async () => {
    const image = await unsigned();
    const [out, journal] = [at(`out-${count++}`), at(`journal-${count++}`)];
    const dies = signImageRequest({
      request: await ask(image),
      keys: [],
      signerCommand: ['false'],
      image,
      journal,
      out,
      now: NOW,
    });
    await assert.rejects(dies, refusing('unreachable', /./));
    assert.match(readFileSync(join(journal, 'journal.jsonl'), 'utf8'), /"act":"sign-image"/);
    assert.equal(existsSync(out), false);
  });

  it('is held against the image that is given: another one, and words that it has not, are refused', async () => {
    const [image, another] = [await unsigned(), await unsigned({ pcr: true })];
    const out = at(`out-${count++}`);
    const request = await ask(image);
    const sign = { keys: [keys], out, now: NOW };
    await assert.rejects(
      signImageRequest({ ...sign, request, image: another }),
      refusing('mixed-releases', /is not the image that the request is about/),
    );
    const lie = new Map(decodeBundle(readFileSync(request)).files);
    const index = decodeImageRequest(lie.get('index') ?? new Uint8Array());
    lie.set('index', encodeImageRequest({ ...index, cmdline: 'quiet' }));
    await writeFile(at('lie'), encodeBundle(lie));
    await assert.rejects(
      signImageRequest({ ...sign, request: at('lie'), image }),
      refusing('malformed', /with the command line "quiet", and it is/),
    );
    assert.equal(existsSync(out), false);
  });

  for (const [what, name, change] of [
    ['another digest to sign', 'digests/0001.db', () => Buffer.alloc(32)],
    ['another certificate', 'certificates/db.crt', () => readFileSync(join(other, 'anchors', 'db.crt'))],
    [
      'another image in its index',
      'index',
      (bytes: Uint8Array) => {
        const request = decodeImageRequest(bytes);
        return encodeImageRequest({ ...request, imageDigest: 'ab'.repeat(32) });
      },
    ],
    ['a file that nobody named', 'digests/0002.db', () => Buffer.alloc(32)],
  ] as const) {
    it(`that holds ${what} is refused where the key is`, async () => {
      const image = await unsigned();
      const bundle = new Map(decodeBundle(readFileSync(await ask(image))).files);
      bundle.set(name, change(bundle.get(name) ?? new Uint8Array()));
      const request = at(`changed-${count++}`);
      await writeFile(request, encodeBundle(bundle));
      const out = at(`out-${count++}`);
      await assert.rejects(
        signImageRequest({ request, keys: [keys], image, out, now: NOW }),
        refusing('malformed', /./),
      );
      assert.equal(existsSync(out), false);
    });
  }
});

describe('the index of a request about an image', () => {
  const common = { title: 'arch/1', cmdline: 'quiet', size: 1024, imageDigest: 'aa'.repeat(32) };
  const hash = 'bb'.repeat(32);
  const pcr = (number: number, phase: string) =>
    ({ number, key: 'pcr', keySha256: hash, digest: hash, pcr: { value: hash, phase } }) as const;
  const request = { ...common, questions: [pcr(1, 'enter-initrd'), pcr(2, 'enter-initrd:leave-initrd')] };

  it('says back what was written', () => {
    assert.deepEqual(decodeImageRequest(encodeImageRequest(request)), request);
  });

  it('is refused with both kinds of signature, which cannot be asked for at once', () => {
    const both = {
      ...common,
      questions: [pcr(1, 'enter-initrd'), { number: 2, key: 'db', keySha256: hash, digest: hash } as const],
    };
    assert.throws(() => encodeImageRequest(both), malformed(/one signature by db, or/));
  });

  it('gives no other error than that it is malformed, whatever byte is changed', () => {
    assert.ok(demandFlipsHandled(decodeImageRequest, Buffer.from(encodeImageRequest(request))) > 100);
  });

  it('is refused for a text that would break its line', () => {
    assert.throws(
      () => encodeImageRequest({ ...request, title: 'a\nimage 1 2' }),
      malformed(/breaks its line/),
    );
  });
});
