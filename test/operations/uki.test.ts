import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { cp, mkdtemp, readdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { verify } from '../../src/conformance/verify.ts';
import { Refusal, type RefusalCode } from '../../src/errors/refusal.ts';
import { decodePe, peSection } from '../../src/formats/efi/pe.ts';
import { addPeSections } from '../../src/formats/efi/pe-write.ts';
import { uki } from '../../src/operations/uki.ts';
import { misused } from '../fixtures/failed.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { AT, smallPe } from '../fixtures/pe.ts';
import { INITRD, KERNEL, sealFixture } from '../fixtures/release.ts';
import { makeUki, smallKernel, URL, ukiTree } from '../fixtures/uki.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'), { secureBoot: true });
const anchors = join(keys, 'anchors');
const tree = await ukiTree(join(folder, 'tree'), keys);
const out = join(folder, 'uki.efi');
const made = await makeUki(tree, keys, { out });
const STUB = '/usr/lib/systemd/boot/efi/linuxx64.efi.stub';

const refusing = (code: RefusalCode, words: RegExp) => (error: unknown) =>
  error instanceof Refusal && error.code === code && words.test(error.message);

async function copyOf(): Promise<string> {
  const copy = await mkdtemp(join(folder, 'copy-'));
  await cp(tree, copy, { recursive: true });
  return copy;
}

describe('a unified kernel image of a sealed tree', () => {
  const bytes = readFileSync(out);
  const image = decodePe(bytes);
  const text = (name: string) => Buffer.from(peSection(bytes, image, name) ?? []).toString('latin1');

  it('holds what the specification asks for, the kernel last', () => {
    const names = image.sections.map(({ name }) => name);
    const ours = ['.osrel', '.cmdline', '.uname', '.initrd', '.linux'];
    assert.deepEqual(names.slice(-ours.length), ours);
    assert.ok(names.includes('.sbat'));
    assert.equal(
      text('.osrel'),
      'ID=arch\nNAME="arch"\nVERSION_ID="2026.11.01"\nPRETTY_NAME="arch/2026.11.01"\n',
    );
    assert.equal(text('.uname'), '6.1.0-lab');
    assert.equal(text('.cmdline'), made.cmdline);
    assert.match(
      made.cmdline,
      /^archisobasedir=arch .* ip=dhcp archiso_http_srv=http:\/\/10\.0\.0\.1:8080\/releases\/arch\/2026\.11\.01\/ bootseal\.manifest=[0-9a-f]{64}$/,
    );
    assert.deepEqual(Buffer.from(peSection(bytes, image, '.linux') ?? []), smallKernel());
    assert.deepEqual(
      Buffer.from(peSection(bytes, image, '.initrd') ?? []).subarray(
        0,
        readFileSync(join(tree, INITRD)).length,
      ),
      readFileSync(join(tree, INITRD)),
    );
  });

  it('is equal in effect to what objcopy makes of the same parts', () => {
    const parts = ['.osrel', '.cmdline', '.uname', '.initrd', '.linux'];
    const args = parts.flatMap((name) => {
      const file = join(folder, name.slice(1));
      execFileSync('objcopy', ['-O', 'binary', `--only-section=${name}`, out, file]);
      const address = image.sections.find((one) => one.name === name)?.virtualAddress ?? 0;
      return [`--add-section=${name}=${file}`, `--change-section-vma=${name}=0x${address.toString(16)}`];
    });
    const theirs = join(folder, 'objcopy.efi');
    execFileSync('objcopy', [...args, STUB, theirs]);
    const other = readFileSync(theirs);
    const said = (path: string) =>
      execFileSync('objdump', ['-h', path], { encoding: 'utf8' })
        .split('\n')
        .flatMap((line) => /^ *\d+ (\.\w+) +(\w+) +(\w+)/.exec(line)?.slice(1).join(' ') ?? []);
    assert.deepEqual(said(out), said(theirs));
    for (const name of parts)
      assert.deepEqual(peSection(other, decodePe(other), name), peSection(bytes, image, name));
  });

  it('is the same, byte for byte, each time', async () => {
    await makeUki(tree, keys, { out: join(folder, 'again.efi') });
    assert.deepEqual(readFileSync(join(folder, 'again.efi')), bytes);
  });

  it('is taken by sbverify with the db certificate of init', () => {
    const { status, stderr } = spawnSync('sbverify', ['--cert', join(anchors, 'db.crt'), out], {
      encoding: 'utf8',
    });
    assert.equal(status, 0, stderr);
  });

  it('is signed with a key and a certificate that were made elsewhere, whatever their dates', async () => {
    const path = join(folder, 'elsewhere');
    const subject = ['-subj', '/CN=old', '-days', '1', '-keyout', `${path}.key`, '-out', `${path}.crt`];
    execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', ...subject], {
      stdio: 'ignore',
    });
    const signer = { key: `${path}.key`, certificate: `${path}.crt` };
    const { signer: by } = await makeUki(tree, keys, { out: `${path}.efi`, signer, now: NOW + 10 ** 11 });
    assert.equal(by, 'old');
    assert.equal(spawnSync('sbverify', ['--cert', `${path}.crt`, `${path}.efi`]).status, 0);
  });
});

describe('what cannot become an image is refused, and no output appears', () => {
  const stubs = {
    'of another architecture': () =>
      changedStub((stub) => stub.writeUInt16LE(0xaa64, decodePe(stub).at.coff)),
    'that is no stub': async () => smallPe(),
    'that is no program': async () => Buffer.from('#!/bin/sh\n'),
    'whose section overlaps another': () =>
      changedStub((stub) => stub.writeUInt32LE(0x400, decodePe(stub).at.sections + 40 + 20)),
    'with a section past its end': () =>
      changedStub((stub) => stub.writeUInt32LE(0x7fff_fe00, decodePe(stub).at.sections + 7 * 40 + 16)),
    'with an odd alignment': () =>
      changedStub((stub) => stub.writeUInt32LE(0x201, decodePe(stub).at.optional + 36)),
    'with more sections than there can be': () =>
      changedStub((stub) => stub.writeUInt16LE(0xffff, decodePe(stub).at.coff + 2)),
    'that has a kernel already': async () =>
      Buffer.from(addPeSections(readFileSync(STUB), [{ name: '.linux', data: smallKernel() }])),
  };
  for (const [what, make] of Object.entries(stubs)) {
    it(`a stub ${what}`, async () => {
      const place = await mkdtemp(join(folder, 'place-'));
      const stub = join(place, 'stub');
      await writeFile(stub, await make());
      await assert.rejects(makeUki(tree, keys, { stub, out: join(place, 'out.efi') }), (error) => {
        assert.ok(error instanceof Refusal, String(error));
        assert.equal(
          error.code,
          what.includes('architecture') ? 'wrong-machine' : 'malformed',
          error.message,
        );
        return true;
      });
      assert.deepEqual(await readdir(place), ['stub']);
    });
  }

  const trees: readonly [string, (copy: string) => Promise<unknown>, RefusalCode, RegExp][] = [
    ['initrds beyond 4 GiB', (copy) => truncate(join(copy, INITRD), 2 ** 32 + 1), 'too-large', /2 GiB/],
    [
      'another kernel than was sealed',
      (copy) => writeFile(join(copy, KERNEL), smallPe()),
      'drifted',
      /kernel/,
    ],
    [
      'a tree that is not sealed',
      (copy) => writeFile(join(copy, 'release.manifest'), ''),
      'malformed',
      /manifest/,
    ],
    [
      'a kernel that is no EFI program',
      async (copy) => {
        await writeFile(join(copy, KERNEL), 'a kernel\n\0');
        await sealFixture(copy, keys);
      },
      'malformed',
      /no EFI program/,
    ],
    [
      'a kernel for another machine',
      async (copy) => {
        await writeFile(join(copy, KERNEL), smallKernel({ machine: 0xaa64 }));
        await sealFixture(copy, keys);
      },
      'wrong-machine',
      /stub is for x86_64, and the kernel is for aarch64/,
    ],
  ];
  for (const [what, change, code, words] of trees) {
    it(what, async () => {
      const copy = await copyOf();
      await change(copy);
      await assert.rejects(makeUki(copy, keys), refusing(code, words));
      assert.equal(existsSync(join(copy, 'uki.efi')), false);
    });
  }

  it('a command line that the kernel would cut', async () => {
    const copy = await copyOf();
    await sealFixture(copy, keys, {
      cmdline: Array.from({ length: 85 }, (_, at) => `word${at}=aaaaaaaaaa`).join(' '),
    });
    await assert.rejects(
      makeUki(copy, keys, { url: `http://${'a'.repeat(60)}.${'b'.repeat(500)}.lan:8080` }),
      refusing('wrong-command-line', /the kernel cuts/),
    );
  });

  it('a release whose early userspace would not know where to fetch', async () => {
    await assert.rejects(uki({ tree, now: NOW, out }), misused(/--url/));
  });

  it('keys without a db key, or with another one', async () => {
    const plain = await makeKeys(join(folder, 'plain'));
    await assert.rejects(makeUki(tree, plain), misused(/init --secure-boot/));
    const certificate = join(anchors, 'KEK.crt');
    const key = join(keys, 'private', 'db.key');
    await assert.rejects(
      makeUki(tree, keys, { signer: { key, certificate } }),
      refusing('unsafe-keys', /not the key/),
    );
  });

  async function changedStub(change: (stub: Buffer) => unknown): Promise<Buffer> {
    const stub = readFileSync(STUB);
    change(stub);
    return stub;
  }
});

describe('verifying a tree with an image', () => {
  it('holds it against the manifest and the db certificate', async () => {
    const copy = await copyOf();
    await makeUki(copy, keys);
    const verdict = await verify({ tree: copy, anchors, now: NOW });
    assert.equal(verdict.refusal, undefined);
    const row = verdict.rows.find(({ path }) => path === 'uki.efi');
    assert.equal(row?.role, 'loader');
    assert.equal(row?.cells.uefi?.verified && row.cells.uefi.evidence.signer, 'Secure Boot db lab');
  });

  for (const [what, change, code] of [
    [
      'of an older manifest',
      (copy: string) => sealFixture(copy, keys, { issued: NOW + 1000 }),
      'mixed-releases',
    ],
    ['with a byte changed', (copy: string) => flip(copy), 'bad-signature'],
    ['that nobody signed', (copy: string) => uki({ tree: copy, url: URL, now: NOW }), 'absent'],
  ] as const) {
    it(`refuses one ${what}`, async () => {
      const copy = await copyOf();
      await makeUki(copy, keys);
      await change(copy);
      const verdict = await verify({ tree: copy, anchors, now: NOW + 2000 });
      assert.equal(verdict.refusal?.code, code, verdict.refusal?.message);
    });
  }

  for (const name of ['.linuxx', '.initrdx', '.unamex', '.ucode', '.dtb', '.profile']) {
    it(`refuses one, well signed, with a section ${name} that a stub might take and no manifest speaks of`, async () => {
      const copy = await copyOf();
      const stub = join(folder, `stub${name}`);
      await writeFile(stub, addPeSections(readFileSync(STUB), [{ name, data: Buffer.from('anything') }]));
      await makeUki(copy, keys, { stub });
      const verdict = await verify({ tree: copy, anchors, now: NOW });
      assert.equal(verdict.refusal?.code, 'mixed-releases', verdict.refusal?.message);
      assert.match(verdict.refusal?.message ?? '', /which no manifest speaks of/);
    });
  }

  it('says that it did not look at one without a db.crt', async () => {
    const copy = await copyOf();
    await makeUki(copy, keys);
    const others = await mkdtemp(join(folder, 'anchors-'));
    for (const name of await readdir(anchors))
      if (!/^(db|dbx)\./.test(name)) await cp(join(anchors, name), join(others, name));
    const verdict = await verify({ tree: copy, anchors: others, now: NOW });
    assert.deepEqual(verdict.unjudged, ['uki.efi']);
    assert.equal(
      verdict.rows.some(({ path }) => path === 'uki.efi'),
      false,
    );
  });

  async function flip(copy: string): Promise<void> {
    const path = join(copy, 'uki.efi');
    const bytes = readFileSync(path);
    bytes[AT.pe + 0x400] = (bytes[AT.pe + 0x400] ?? 0) ^ 1;
    await writeFile(path, bytes);
  }
});
