import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { verify } from '../../src/conformance/verify.ts';
import { packTree } from '../../src/operations/pack-tree.ts';
import { attach, requestSignatures, signRequest } from '../../src/operations/request.ts';
import { PACK } from '../../src/release/packed.ts';
import { openRequest } from '../../src/signing/requests/open-request.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { sealFixture } from '../fixtures/release.ts';
import { wholeTree } from '../fixtures/signing-request.ts';
import { copier } from './copies.ts';
import { demandFaultless } from './suite.ts';

const folder = await temporaryFolder();
// Release leaves of this kind are made in no time.
const keys = await makeKeys(join(folder, 'keys'), { kind: 'p256' });
const anchors = join(keys, 'anchors');

/** A tree below a folder, and what is made of it beside it, step by step. */
async function site(name: string): Promise<{ whole: string; tree: string; paths: Paths }> {
  const whole = join(folder, name);
  await mkdir(whole);
  return { whole, tree: await wholeTree(join(whole, 'tree')), paths: pathsIn(whole) };
}
type Paths = ReturnType<typeof pathsIn>;
const pathsIn = (whole: string) => ({
  tree: join(whole, 'tree'),
  request: join(whole, 'request'),
  response: join(whole, 'response'),
  journal: join(whole, 'journal'),
});
const make = (whole: string) => {
  const { tree, request: out } = pathsIn(whole);
  return requestSignatures({ tree, out, anchors, now: NOW, rsaBits: 2048 });
};
const answer = (whole: string) => {
  const { request, response: out } = pathsIn(whole);
  return signRequest({ request, out, keys: [keys], now: NOW });
};
/** The same, and written down. */
const answerOn = (whole: string) => {
  const { request, response, journal } = pathsIn(whole);
  return signRequest({ request, out: response, keys: [keys], journal, now: NOW });
};
const demandSealed = async (whole: string) => {
  const { refusal } = await verify({ tree: pathsIn(whole).tree, anchors: keys, now: NOW });
  assert.equal(refusal, undefined);
};

const bare = await site('bare');
const sealed = await site('sealed');
await sealFixture(sealed.tree, keys);
const requested = await site('requested');
await make(requested.whole);
const answered = await site('answered');
await make(answered.whole);
await answer(answered.whole);

const packed = await site('packed');
const pack = async (whole: string) => {
  await packTree(pathsIn(whole).tree, PACK, [{ from: 'arch/boot', at: 'site' }]);
};
await pack(packed.whole);
const demandPacked = async (whole: string) => {
  const wanted = await readFile(join(packed.tree, PACK));
  assert.ok(wanted.equals(await readFile(join(pathsIn(whole).tree, PACK))));
};

await demandFaultless({
  'a pack, where there was none': {
    copy: copier(folder, bare.whole),
    run: pack,
    demandDone: demandPacked,
  },

  'a pack, where the same stands already': {
    copy: copier(folder, packed.whole),
    run: pack,
    demandDone: demandPacked,
  },

  'seal, of a tree that was never sealed': {
    copy: copier(folder, bare.whole),
    run: async (whole) => (await sealFixture(pathsIn(whole).tree, keys)).files,
    demandDone: demandSealed,
  },

  'seal, where every seal stands already': {
    copy: copier(folder, sealed.whole),
    run: async (whole) => (await sealFixture(pathsIn(whole).tree, keys)).files,
    demandDone: demandSealed,
  },

  request: {
    amongOthers: true,
    copy: copier(folder, bare.whole),
    run: async (whole) => (await make(whole)).request,
    demandDone: async (whole) => {
      const { request, tree } = pathsIn(whole);
      openRequest(request, await readFile(request));
      await readFile(join(tree, 'arch/x86_64/airootfs.sfs.verity'));
    },
  },

  'sign-request': {
    amongOthers: true,
    copy: copier(folder, requested.whole),
    run: async (whole) => (await answer(whole)).answered,
    demandDone: async (whole) => {
      const { tree, response } = pathsIn(whole);
      await attach({ tree, responses: [response] });
      await demandSealed(whole);
    },
  },

  'sign-request, with a journal': {
    amongOthers: true,
    copy: copier(folder, requested.whole),
    run: async (whole) => (await answerOn(whole)).answered,
    demandDone: async (whole) => {
      const { tree, response, journal } = pathsIn(whole);
      await attach({ tree, responses: [response] });
      await demandSealed(whole);
      const lines = (await readFile(join(journal, 'journal.jsonl'), 'utf8')).split('\n');
      assert.match(lines.at(-2) ?? '', /"act":"sign-request","release":"arch\/2026\.11\.01"/);
      assert.deepEqual(
        await readFile(join(journal, 'arch.manifest')),
        await readFile(join(tree, 'release.manifest')),
      );
    },
  },

  attach: {
    copy: copier(folder, answered.whole),
    run: async (whole) => {
      const { tree, response } = pathsIn(whole);
      return (await attach({ tree, responses: [response] })).manifestSha256;
    },
    demandDone: demandSealed,
  },
});
