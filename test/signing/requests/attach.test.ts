import assert from 'node:assert/strict';
import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { verify } from '../../../src/conformance/verify.ts';
import { attach, type SigningRequestOptions } from '../../../src/operations/request.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { makeKeys, NOW } from '../../fixtures/keys.ts';
import { KERNEL, sealFixture } from '../../fixtures/release.ts';
import {
  answer,
  Bundle,
  makeRequest,
  questionOf,
  someKeys,
  WHOLE_TREE_SEALS,
  wholeTree,
} from '../../fixtures/signing-request.ts';
import { changed, look, type Seen, stockToolTakes } from '../judges.ts';
import { smallTree } from '../trees.ts';

const DAY = 86_400_000;
const folder = await temporaryFolder();
let names = 0;
const fresh = (name: string) => join(folder, `${name}-${names++}`);

async function copyOf(tree: string): Promise<string> {
  const copy = fresh('tree');
  await cp(tree, copy, { recursive: true, preserveTimestamps: true });
  return copy;
}

async function verified(tree: string, anchors: string, otherAnchors: readonly string[] = []): Promise<void> {
  const { refusal } = await verify({ tree, anchors: [anchors, ...otherAnchors], now: NOW });
  assert.equal(refusal?.message, undefined);
}

/** Files whose bytes, time or inode differ. */
function touched(before: ReadonlyMap<string, Seen>, after: ReadonlyMap<string, Seen>): string[] {
  const same = (a: Seen | undefined, b: Seen | undefined) =>
    a && b && a.ino === b.ino && a.mtimeNs === b.mtimeNs;
  const all = new Set([...before.keys(), ...after.keys()]);
  return [...all].filter((name) => !same(before.get(name), after.get(name))).concat(changed(before, after));
}

/** A tree, its request, and the tree once it was answered and attached. */
async function signedApart(
  bare: string,
  keys: string,
  options: Partial<SigningRequestOptions> = {},
  also: readonly string[] = [],
) {
  const tree = await copyOf(bare);
  const request = await makeRequest(tree, keys, fresh('request'), options);
  // With the hash tree, which is payload and written when it is asked for.
  const requested = await copyOf(tree);
  const response = fresh('response');
  const signed = await answer(request, [keys, ...also], response);
  const attached = await attach({ tree, responses: [response] });
  return { tree, requested, request, response, signed, attached };
}

const sites = await Promise.all(
  (['rsa', 'p256'] as const).map(async (kind) => {
    const keys = await makeKeys(join(folder, `keys-${kind}`), { kind });
    const bare = await wholeTree(join(folder, `bare-${kind}`));
    return { kind, keys, bare, ...(await signedApart(bare, keys)) };
  }),
);
const [rsa] = sites;
assert.ok(rsa);
const { keys, bare, requested, request, response } = rsa;

for (const site of sites) {
  const { kind } = site;
  describe(`a tree that was signed apart, ${kind}`, () => {
    it('has every seal, and nothing else that sealing would not write', async () => {
      const online = await copyOf(site.bare);
      await sealFixture(online, site.keys);
      assert.deepEqual([...look(site.tree).keys()], [...look(online).keys()]);
      assert.deepEqual(site.signed.left, []);
      assert.deepEqual([...site.signed.answered].sort(), WHOLE_TREE_SEALS);
      await verified(site.tree, site.keys);
    });

    for (const seal of WHOLE_TREE_SEALS.filter((name) => name.endsWith('.sig'))) {
      it(`has a ${seal} that the stock tool takes`, () => {
        assert.ok(stockToolTakes(site.tree, site.keys, seal, NOW));
      });
    }

    it('is, byte for byte, what sealing with the keys at hand makes, by the same leaf', async () => {
      const online = await copyOf(site.bare);
      for (const name of look(site.tree).keys()) {
        // The one thing that sealing cannot make twice: its leaf's key is thrown away.
        if (/^arch\/.*\.ipxe\.sig$/.test(name)) await cp(join(site.tree, name), join(online, name));
      }
      await sealFixture(online, site.keys);
      assert.deepEqual(changed(look(site.tree), look(online)), []);
    });

    it('is kept as it is by sealing it again', async () => {
      const before = look(site.tree);
      const { files } = await sealFixture(site.tree, site.keys, { now: NOW + DAY });
      assert.deepEqual(
        files.filter(({ outcome }) => outcome !== 'kept'),
        [],
      );
      assert.deepEqual(touched(before, look(site.tree)), []);
    });

    it('is kept as it is by attaching again', async () => {
      const before = look(site.tree);
      const { files } = await attach({ tree: site.tree, responses: [site.response] });
      assert.deepEqual(
        files.filter(({ outcome }) => outcome !== 'kept'),
        [],
      );
      assert.deepEqual(touched(before, look(site.tree)), []);
    });

    it('says what it is: release, manifest, files', () => {
      const { attached } = site;
      assert.equal(attached.request.release, 'arch/2026.11.01');
      assert.equal(attached.manifest.issued, NOW);
      const of = (outcome: string) => attached.files.filter((file) => file.outcome === outcome).length;
      // Seals, three scripts and manifest, checksum and root hash, and the sums of four folders.
      assert.deepEqual([of('written'), of('kept')], [WHOLE_TREE_SEALS.length + 5 + 4, 0]);
    });
  });
}

describe('answers', () => {
  const parts = async (): Promise<string[]> => {
    const holders = [
      ['openpgp', 'openpgp-script'],
      ['codesign', 'boot'],
      ['ca', 'manifest', 'openpgp-manifest'],
    ] as const;
    return Promise.all(
      holders.map(async (names) => {
        const part = fresh('part');
        await answer(request, [await someKeys(fresh('keys'), keys, names)], part);
        return part;
      }),
    );
  };
  const whole = look(rsa.tree);

  it('come from several holders of keys, in any order, and each signs what is its own', async () => {
    const made = await parts();
    const orders = [made, [...made].reverse(), [made[1], made[2], made[0]].map((part) => part ?? '')];
    for (const responses of orders) {
      const tree = await copyOf(requested);
      await attach({ tree, responses });
      await verified(tree, keys);
      // All but the leaf's: another leaf each time.
      assert.deepEqual(
        changed(whole, look(tree)).filter((name) => !/^arch\/.*\.ipxe\.sig$/.test(name)),
        [],
      );
    }
  });

  it('name what is left for others, and whose it is', async () => {
    const part = await someKeys(fresh('keys'), keys, ['openpgp', 'boot']);
    const { answered, left } = await answer(request, [part], fresh('part'));
    assert.deepEqual([...answered, ...left.map(({ path }) => path)].sort(), WHOLE_TREE_SEALS);
    assert.deepEqual(
      new Set(left.map(({ key }) => key)),
      new Set(['codesign', 'leaf', 'manifest', 'openpgp-script', 'openpgp-manifest']),
    );
    assert.deepEqual(
      answered.filter((path) => !/^(boot\.ipxe|arch\/[^.]*(\.[a-z]{3})?)\.sig$/.test(path)),
      [],
    );
  });

  it('may be made one after the other: each holder answers what the one before left', async () => {
    let passed = request;
    for (const names of [
      ['ca'],
      ['codesign'],
      ['manifest'],
      ['boot'],
      ['openpgp'],
      ['openpgp-script'],
      ['openpgp-manifest'],
    ] as const) {
      const next = fresh('passed');
      await answer(passed, [await someKeys(fresh('keys'), keys, names)], next);
      passed = next;
    }
    const tree = await copyOf(requested);
    await attach({ tree, responses: [passed] });
    await verified(tree, keys);
  });

  it('may come without the request, where that is given beside them', async () => {
    const bundle = await Bundle.read(response);
    const answers = await bundle.having(/(\.sig|SUMS\.gpg)$|leaf\.crt$/).write(fresh('answers'));
    for (const responses of [
      [request, answers],
      [answers, request],
    ]) {
      const tree = await copyOf(requested);
      await attach({ tree, responses });
      assert.deepEqual(changed(whole, look(tree)), []);
    }
  });

  it('may come one in a file', async () => {
    const bundle = await Bundle.read(response);
    const files = [...bundle.files.keys()].filter((name) => /(\.sig|SUMS\.gpg)$|leaf\.crt$/.test(name));
    const responses = await Promise.all(
      files.map((name) => new Bundle(new Map([[name, bundle.file(name)]])).write(fresh('answer'))),
    );
    assert.equal(responses.length, WHOLE_TREE_SEALS.length + 1);
    const tree = await copyOf(requested);
    await attach({ tree, responses: [...responses, request] });
    assert.deepEqual(changed(whole, look(tree)), []);
  });

  it('complete a tree that was cleaned of its seals since, or holds seals of another site', async () => {
    const cleaned = await copyOf(rsa.tree);
    for (const seal of WHOLE_TREE_SEALS) await rm(join(cleaned, seal));
    await attach({ tree: cleaned, responses: [response] });
    assert.deepEqual(changed(whole, look(cleaned)), []);
    const theirs = await copyOf(requested);
    await sealFixture(theirs, await makeKeys(fresh('keys'), { site: 'elsewhere' }));
    await attach({ tree: theirs, responses: [response] });
    assert.deepEqual(changed(whole, look(theirs)), []);
  });

  it('to a request of a tree that lacked some seals complete it, and keep the others', async () => {
    const tree = await copyOf(rsa.tree);
    for (const seal of [`${KERNEL}.ipxe.sig`, 'boot.ipxe.sig', `${KERNEL}.sig`, 'grub.cfg'])
      await rm(join(tree, seal));
    const before = look(tree);
    const part = await makeRequest(tree, keys, fresh('request'));
    const answered = fresh('response');
    await answer(part, [keys], answered);
    const { files } = await attach({ tree, responses: [answered] });
    const written = files.filter(({ outcome }) => outcome === 'written').map(({ path }) => path);
    assert.deepEqual(
      written.sort(),
      ['boot.ipxe.sig', 'grub.cfg', `${KERNEL}.ipxe.sig`, `${KERNEL}.sig`].sort(),
    );
    assert.deepEqual(changed(before, look(tree)), written);
    await verified(tree, keys);
  });

  it('to a request that asks for nothing are the request itself', async () => {
    const tree = await copyOf(rsa.tree);
    await rm(join(tree, 'boot.ipxe'));
    const nothing = await makeRequest(tree, keys, fresh('request'));
    await attach({ tree, responses: [nothing] });
    assert.deepEqual(changed(whole, look(tree)), []);
  });

  it('are the same whoever makes them, but for the leaf', async () => {
    const again = fresh('response');
    await answer(request, [keys], again);
    const [one, two] = [await Bundle.read(response), await Bundle.read(again)];
    const leaf = new Set(
      one.index.signatures.filter(({ key }) => key === 'leaf').map((asked) => `${questionOf(asked)}.sig`),
    );
    const differ = [...one.files].filter(([name, bytes]) => Buffer.compare(bytes, two.file(name)) !== 0);
    assert.deepEqual(new Set(differ.map(([name]) => name)), new Set([...leaf, 'certificates/leaf.crt']));
  });

  it('complete a tree whose image is large, and ends within a block', async () => {
    const odd = await smallTree(fresh('odd'));
    const { tree } = await signedApart(odd, keys);
    await verified(tree, keys);
  });
});

describe('a tree for loaders of two CAs', () => {
  it('is signed apart as it is sealed with both keys at hand, by holders of either', async () => {
    const theirs = await makeKeys(fresh('keys'), { site: 'elsewhere' });
    const { tree } = await signedApart(bare, keys, { alsoAnchors: [join(theirs, 'anchors')] }, [theirs]);
    await verified(tree, keys, [theirs]);
    const before = look(tree);
    const { files } = await sealFixture(tree, keys, { alsoKeys: [theirs] });
    assert.deepEqual(
      files.filter(({ outcome }) => outcome !== 'kept'),
      [],
    );
    assert.deepEqual(touched(before, look(tree)), []);

    const part = await makeRequest(requested, keys, fresh('request'), { alsoAnchors: [theirs] });
    const [own, other] = [fresh('own'), fresh('other')];
    const { left } = await answer(part, [keys], own);
    assert.deepEqual(
      new Set(left.map(({ key }) => key.replace(/-[0-9a-f]{16}$/, '-ID'))),
      new Set(['leaf-ID', 'boot-ID']),
    );
    await answer(part, [theirs], other);
    const again = await copyOf(requested);
    await attach({ tree: again, responses: [other, own] });
    await verified(again, keys, [theirs]);
  });
});
