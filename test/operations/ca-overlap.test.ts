import assert from 'node:assert/strict';
import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { verify } from '../../src/conformance/verify.ts';
import { boot } from '../../src/operations/boot.ts';
import { publish } from '../../src/publish/publish.ts';
import { serve } from '../../src/server/serve.ts';
import { misused } from '../fixtures/failed.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { INITRD, KERNEL, sampleTree, sealFixture } from '../fixtures/release.ts';
import { changed, look, openssl, opensslTakes } from '../signing/judges.ts';
import {
  anchors,
  bootOf,
  caSteps,
  copyOf,
  fresh,
  idOf,
  LATER,
  leaves,
  newCa,
  old,
  sealed,
} from './rotation.ts';

describe('a new CA', () => {
  it('brings new leaves along, has a name of its own, and shares no CMS anchor with the old one', () => {
    assert.deepEqual(
      caSteps.map(({ kind }) => kind),
      ['ca', 'codesign', 'boot', 'manifest'],
    );
    const subject = openssl('x509', '-in', anchors(newCa, 'ca.crt'), '-noout', '-subject').stdout;
    assert.match(subject, /CN = netboot CA lab 2$/m);
    for (const name of ['codesign.crt', 'boot.crt', 'manifest.crt']) {
      const at = ['-attime', String(LATER / 1000)];
      const chain = (ca: string) =>
        openssl('verify', '-CAfile', anchors(ca, 'ca.crt'), ...at, anchors(newCa, name));
      assert.equal(chain(newCa).status, 0);
      assert.notEqual(chain(old).status, 0);
    }
  });

  it('boots machines with old and with new loaders from one tree', async () => {
    for (const [inside, keys, also] of [
      [newCa, newCa, old],
      [old, old, newCa],
    ] as const) {
      const tree = await sealed(inside, keys, [also]);
      for (const loader of [old, newCa]) {
        const verdict = await bootOf(tree, [keys, also], loader);
        assert.ok(verdict.verified && verdict.bound, verdict.refusal?.message);
      }
    }
  });

  it('does not boot old loaders where nothing was sealed for them', async () => {
    const tree = await sealed(newCa, newCa);
    assert.equal((await bootOf(tree, [newCa], old)).verified, false);
    assert.equal((await bootOf(tree, [newCa], newCa)).verified, true);
  });

  it('gives each CA seals that lead to it alone, as openssl says', async () => {
    const tree = await sealed(newCa, newCa, [old]);
    const id = idOf(old);
    for (const [content, mine, others] of [
      [KERNEL, `${KERNEL}.ipxe.sig`, `${KERNEL}.${id}.ipxe.sig`],
      [INITRD, `${INITRD}.ipxe.sig`, `${INITRD}.${id}.ipxe.sig`],
    ] as const) {
      const takes = (seal: string, keys: string) =>
        opensslTakes(join(tree, content), join(tree, seal), ['-CAfile', anchors(keys, 'ca.crt')], LATER);
      assert.deepEqual([takes(mine, newCa), takes(mine, old)], [true, false]);
      assert.deepEqual([takes(others, newCa), takes(others, old)], [false, true]);
    }
    const script = join(tree, `boot.${id}.ipxe`);
    assert.ok(opensslTakes(script, `${script}.sig`, ['-CAfile', anchors(old, 'ca.crt')], LATER));
    assert.match(await readFile(script, 'latin1'), new RegExp(`vmlinuz-linux\\.${id}\\.ipxe\\.sig`));
  });

  it('is served by its address, and the entry is that of --keys', async () => {
    const tree = await sealed(newCa, newCa, [old]);
    const serving = await serve({
      tree,
      anchors: [newCa, old],
      clock: () => LATER,
      httpPort: 0,
      tftpPort: false,
      nbdPort: false,
    });
    try {
      const get = async (path: string) => Buffer.from(await (await fetch(serving.url + path)).arrayBuffer());
      for (const suffix of ['', '.sig']) {
        const own = await readFile(join(tree, `boot.ipxe${suffix}`));
        const others = await readFile(join(tree, `boot.${idOf(old)}.ipxe${suffix}`));
        assert.deepEqual(await get(`/boot.ipxe${suffix}`), own);
        assert.deepEqual(await get(`/anchors/${idOf(newCa)}/boot.ipxe${suffix}`), own);
        assert.deepEqual(await get(`/anchors/${idOf(old)}/boot.ipxe${suffix}`), others);
      }
      const seal = `/releases/arch/2026.11.01/${KERNEL}.${idOf(old)}.ipxe.sig`;
      assert.deepEqual(await get(seal), await readFile(join(tree, `${KERNEL}.${idOf(old)}.ipxe.sig`)));
    } finally {
      await serving.close(0);
    }
  });

  it('is not served for a CA whose anchors were not given, and the log says so', async () => {
    const tree = await sealed(newCa, newCa, [old]);
    const said: string[] = [];
    const warn = (facts: object, text: string) => said.push(`${JSON.stringify(facts)} ${text}`);
    const log = { info: () => {}, warn, error: () => {} };
    const serving = await serve({
      tree,
      anchors: newCa,
      clock: () => LATER,
      httpPort: 0,
      tftpPort: false,
      nbdPort: false,
      log,
    });
    try {
      const status = async (path: string) => (await fetch(serving.url + path)).status;
      assert.equal(await status(`/anchors/${idOf(old)}/boot.ipxe`), 404);
      assert.equal(await status(`/releases/arch/2026.11.01/boot.${idOf(old)}.ipxe`), 404);
      assert.match(said.join('\n'), new RegExp(`boot\\.${idOf(old)}\\.ipxe.*not served`));
    } finally {
      await serving.close(0);
    }
  });

  it('works between RSA and P-256', async () => {
    const curve = await makeKeys(fresh('keys'), { kind: 'p256' });
    for (const [keys, also] of [
      [old, curve],
      [curve, old],
    ] as const) {
      const tree = await sealed(keys, keys, [also]);
      const verdict = await verify({ tree, anchors: [keys, also], now: LATER });
      assert.equal(verdict.refusal, undefined);
      assert.ok((await bootOf(tree, [keys, also], also)).verified);
    }
  });

  it('keeps every seal of the overlap when the tree is sealed again', async () => {
    const tree = await copyOf(sealed(newCa, newCa, [old]));
    const before = look(tree);
    const { files } = await sealFixture(tree, newCa, { now: LATER, alsoKeys: [old] });
    assert.deepEqual(changed(before, look(tree)), []);
    assert.ok(files.every(({ outcome }) => outcome === 'kept'));
  });

  it('is not "also" the one that seals already', async () => {
    await assert.rejects(sealed(leaves, leaves, [old]), misused(/same CA .*; name each CA once/));
    await assert.rejects(sealed(newCa, newCa, [old, old]), misused(/same CA/));
  });
});

describe('a tree of the overlap is refused', () => {
  const id = idOf(old);
  for (const [name, path] of [
    ['the other boot script', `boot.${id}.ipxe`],
    ['its seal', `boot.${id}.ipxe.sig`],
    ['the other seal of the kernel', `${KERNEL}.${id}.ipxe.sig`],
    ['the other seal of an initrd', `${INITRD}.${id}.ipxe.sig`],
  ] as const) {
    it(`where ${name} was changed or is missing, and the loader of that CA refuses it too`, async () => {
      const tree = await copyOf(sealed(newCa, newCa, [old]));
      const judge = async () => (await verify({ tree, anchors: [newCa, old], now: LATER })).refusal;
      assert.equal(await judge(), undefined);
      const bytes = await readFile(join(tree, path));
      const at = bytes.length - 10;
      bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
      await writeFile(join(tree, path), bytes);
      assert.ok(['bad-signature', 'malformed'].includes((await judge())?.code ?? ''), (await judge())?.code);
      await rm(join(tree, path));
      assert.equal((await judge())?.code, 'absent');
    });
  }

  it('where the other script is of another sealing, and names another manifest', async () => {
    const [tree, other] = [await copyOf(sealed(newCa, newCa, [old])), await sealed(newCa, old)];
    for (const suffix of ['', '.sig'])
      await cp(join(other, `boot.ipxe${suffix}`), join(tree, `boot.${id}.ipxe${suffix}`));
    await sealFixture(tree, newCa, { now: LATER, issued: LATER + 1000 });
    const { refusal } = await verify({ tree, anchors: [newCa, old], now: LATER });
    assert.equal(refusal?.code, 'mixed-releases');
  });

  it('when nothing was sealed for a CA whose anchors are given, or one is given twice', async () => {
    const tree = await sealed(newCa, newCa);
    const { refusal } = await verify({ tree, anchors: [newCa, old], now: LATER });
    assert.equal(refusal?.code, 'absent');
    assert.match(refusal?.message ?? '', new RegExp(`${id}\\.ipxe`));
    await assert.rejects(verify({ tree, anchors: [newCa, newCa], now: LATER }), {
      name: 'UsageError',
    });
  });
});

describe('publish', () => {
  const request = { channel: 'stable', now: LATER, rsaBits: 2048 };

  it('asks the loaders of each CA, and refuses a tree with one that was not given', async () => {
    const tree = await sealed(newCa, newCa, [old]);
    const alone = await publish({ ...request, tree, state: fresh('state'), anchors: newCa });
    assert.equal(alone.refusal?.code, 'untrusted-signer');
    assert.match(alone.refusal?.message ?? '', /second --anchors/);
    const state = fresh('state');
    const { refusal, gates } = await publish({
      ...request,
      tree,
      state,
      anchors: [newCa, old],
    });
    assert.equal(refusal, undefined);
    const asked = gates.map(({ gate }) => gate).filter((gate) => gate.includes(idOf(old)));
    assert.deepEqual(
      asked.map((gate) => gate.replace(/,.*/, '')),
      ['client ipxe', 'client ipxe-efi', 'client archiso', 'client manifest'],
    );
    const stored = await readFile(join(state, 'releases/arch/2026.11.01', `boot.${idOf(old)}.ipxe`));
    assert.deepEqual(stored, await readFile(join(tree, `boot.${idOf(old)}.ipxe`)));
  });

  it('serves releases of before and of the overlap from one state', async () => {
    const state = fresh('state');
    await publish({ ...request, tree: await sealed(old, old), state, anchors: old, channel: 'before' });
    const tree = await sampleTree(fresh('tree'), newCa);
    await sealFixture(tree, newCa, { now: LATER, alsoKeys: [old], release: 'arch/2026.11.11' });
    const { refusal } = await publish({
      ...request,
      tree,
      state,
      anchors: [newCa, old],
      channel: 'now',
    });
    assert.equal(refusal, undefined);
    const listening = { clock: () => LATER, httpPort: 0, tftpPort: false, nbdPort: false } as const;
    for (const channel of ['before', 'now']) {
      const serving = await serve({ state, channel, anchors: [newCa, old], ...listening });
      try {
        const verdict = await boot({ url: `${serving.url}/boot.ipxe`, anchors: old, now: LATER });
        assert.ok(verdict.verified, verdict.refusal?.message);
        assert.equal(serving.release, channel === 'now' ? 'arch/2026.11.11' : 'arch/2026.11.01');
      } finally {
        await serving.close(0);
      }
    }
  });
});
