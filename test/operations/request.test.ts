import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmod, chown, cp, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { signRequest } from '../../src/operations/request.ts';
import { asNobody } from '../files/nobody.ts';
import { type Failure, failed, misused } from '../fixtures/failed.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { KERNEL } from '../fixtures/release.ts';
import {
  answer,
  Bundle,
  makeRequest,
  someKeys,
  WHOLE_TREE_SEALS,
  wholeTree,
} from '../fixtures/signing-request.ts';
import { changed, look } from '../signing/judges.ts';
import { refused } from '../trust/judge.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const folder = await temporaryFolder();
let names = 0;
const fresh = (name: string) => join(folder, `${name}-${names++}`);
const keys = await makeKeys(fresh('keys'));
const other = await makeKeys(fresh('keys'), { site: 'elsewhere' });
const tree = await wholeTree(fresh('tree'));
const request = await makeRequest(tree, keys, fresh('request'));
const plain = await readFile(request);
const alsoAnchors = [other];
const both = await makeRequest(tree, keys, fresh('request'), { alsoAnchors });

async function unreadable(): Promise<string> {
  const copy = fresh('keys');
  await cp(keys, copy, { recursive: true });
  await chmod(join(copy, 'private'), 0);
  return copy;
}

describe('whoever asks for signatures', () => {
  it('opens no private key, and does not look for one', async () => {
    const trace = fresh('trace');
    const out = fresh('out');
    const strace = ['-f', '-qq', '-s', '4096', '-e', 'trace=%file', '-o', trace];
    const words = ['request', tree, '--anchors', keys, '--also-anchors', other, '--out', out];
    const { status, stderr } = spawnSync(
      'strace',
      [...strace, process.execPath, MAIN, ...words, '--issued', '2026-11-01'],
      {
        encoding: 'utf8',
      },
    );
    assert.equal(status, 0, stderr);
    const calls = (await readFile(trace, 'utf8')).split('\n');
    // Were they not seen, none would be missed.
    for (const name of [
      'ca.crt',
      'codesign.crt',
      'boot.crt',
      'manifest.crt',
      'pubring.gpg',
      'script.gpg',
      'manifest.gpg',
    ])
      assert.ok(
        calls.some((call) => call.includes(join(keys, 'anchors', name)) && call.includes('O_RDONLY')),
        name,
      );
    // A program of ours may be called as what it reads.
    const touched = calls.filter((call) => /private\/|private"|\.key"|openpgp\.asc|signers\.toml/.test(call));
    assert.deepEqual(touched, []);
  });

  it('needs none to be there', async () => {
    const anchors = fresh('anchors');
    await cp(join(keys, 'anchors'), anchors, { recursive: true });
    assert.deepEqual(await readdir(anchors), await readdir(join(keys, 'anchors')));
    const made = await makeRequest(tree, keys, fresh('request'), { anchors });
    assert.deepEqual(await readFile(made), plain);
  });

  it('needs not be able to read any, and is refused what they are for', async () => {
    const locked = await unreadable();
    const place = fresh('place');
    await mkdir(place);
    await chmod(place, 0o777);
    await asNobody(folder, async () => {
      const made = await makeRequest(tree, keys, join(place, 'request'), {
        anchors: locked,
      });
      assert.deepEqual(await readFile(made), plain);
      await assert.rejects(answer(made, [locked], join(place, 'response')));
    });
    assert.deepEqual(await readdir(place), ['request']);
    await chmod(join(locked, 'private'), 0o700);
  });

  for (const [what, anchors, fact] of [
    ['no certificate of the boot key', 'boot.crt', /boot\.crt/],
    ['no certificate of the manifest key', 'manifest.crt', /manifest\.crt/],
    ['no OpenPGP key', 'pubring.gpg', /pubring\.gpg/],
    ['no OpenPGP key for scripts', 'script.gpg', /script\.gpg/],
  ] as const) {
    it(`is told of ${what}`, async () => {
      const part = fresh('anchors');
      await cp(join(keys, 'anchors'), part, { recursive: true });
      await rm(join(part, anchors));
      const out = fresh('out');
      await assert.rejects(makeRequest(tree, keys, out, { anchors: part }), misused(fact));
      await assert.rejects(readFile(out), { code: 'ENOENT' });
    });
  }

  it('is told of certificates that are not now, and of one of another CA', async () => {
    const out = fresh('out');
    const at = (now: number) => makeRequest(tree, keys, out, { now });
    await assert.rejects(at(NOW + 5 * 366 * 86_400_000), refused('expired', /codesign\.crt|boot\.crt/));
    await assert.rejects(at(NOW - 3 * 86_400_000), refused('not-yet-valid'));
    const mixed = fresh('anchors');
    await cp(join(keys, 'anchors'), mixed, { recursive: true });
    await cp(join(other, 'anchors', 'boot.crt'), join(mixed, 'boot.crt'));
    await assert.rejects(
      makeRequest(tree, keys, out, { anchors: mixed }),
      refused('untrusted-signer', /boot\.crt/),
    );
    await assert.rejects(readFile(out), { code: 'ENOENT' });
  });
});

describe('a request is not written', () => {
  it('into its own tree, by whatever name: it would stand in the place of a kernel', async () => {
    const link = fresh('link');
    await symlink(tree, link);
    const before = look(tree);
    for (const out of [
      join(tree, KERNEL),
      join(tree, 'request'),
      join(link, 'request'),
      join(folder, 'x', '..', tree.slice(folder.length), 'request'),
    ])
      await assert.rejects(makeRequest(tree, keys, out), misused(/is in the tree/));
    await assert.rejects(makeRequest(link, keys, join(tree, 'request')), misused(/is in the tree/));
    assert.deepEqual(changed(before, look(tree)), []);
  });
});

describe('whoever signs', () => {
  it('sees what is asked before any key is read, and may refuse', async () => {
    const out = fresh('out');
    const sign = signRequest({
      request,
      keys: [fresh('nowhere')],
      out,
      now: NOW,
      onRequest: ({ request: { signatures, texts }, manifest: { release, cmdline }, since }) => {
        assert.deepEqual(
          [release, signatures.length + texts.length],
          ['arch/2026.11.01', WHOLE_TREE_SEALS.length],
        );
        assert.ok(cmdline.includes('verify=y'));
        assert.equal(since, undefined);
        throw new Error('not this one');
      },
    });
    await assert.rejects(sign, /^Error: not this one$/);
    await assert.rejects(readFile(out), { code: 'ENOENT' });
  });

  const wrong: readonly (readonly [string, () => Promise<string>, Failure, RegExp])[] = [
    [
      'of another site',
      async () => other,
      'absent',
      /None of the keys here is asked for: .* of arch\/2026\.11\.01/,
    ],
    [
      'that holds no keys',
      async () => {
        const empty = fresh('keys');
        await mkdir(empty);
        return empty;
      },
      'usage',
      /neither private keys nor a signers\.toml/,
    ],
    [
      'that others may enter',
      async () => {
        const open = await someKeys(fresh('keys'), keys, ['codesign']);
        await chmod(join(open, 'private'), 0o755);
        return open;
      },
      'unsafe-keys',
      /0755/,
    ],
    [
      'with a key that others may read',
      async () => {
        const open = await someKeys(fresh('keys'), keys, ['codesign']);
        await chmod(join(open, 'private', 'codesign.key'), 0o644);
        return open;
      },
      'unsafe-keys',
      /codesign\.key/,
    ],
    [
      'with an OpenPGP key that others may read',
      async () => {
        const open = await someKeys(fresh('keys'), keys, ['openpgp']);
        await chmod(join(open, 'private', 'openpgp.asc'), 0o640);
        return open;
      },
      'unsafe-keys',
      /openpgp\.asc/,
    ],
    [
      'with a key that is none',
      async () => {
        const open = await someKeys(fresh('keys'), keys, ['boot']);
        await writeFile(join(open, 'private', 'boot.key'), 'x', { mode: 0o600 });
        return open;
      },
      'malformed',
      /boot\.key/,
    ],
  ];
  for (const [what, make, code, fact] of wrong) {
    it(`cannot with a folder ${what}; nothing is written`, async () => {
      const out = fresh('out');
      await assert.rejects(answer(request, [await make()], out), failed(code, fact));
      await assert.rejects(readFile(out), { code: 'ENOENT' });
    });
  }

  it('cannot when the certificates in the request have ended', async () => {
    const sign = signRequest({ request, keys: [keys], out: fresh('out'), now: NOW + 30 * 366 * 86_400_000 });
    await assert.rejects(sign, refused('expired', /of the request/));
  });

  it('signs by a program that is named for a key, in a folder that has no key of its own', async () => {
    const elsewhere = fresh('keys');
    await mkdir(elsewhere, { mode: 0o700 });
    await cp(join(keys, 'anchors'), join(elsewhere, 'anchors'), { recursive: true });
    const sign = `exec openssl pkeyutl -sign -inkey ${keys}/private/$BOOTSEAL_KEY.key -pkeyopt digest:$BOOTSEAL_HASH`;
    const table = (name: string) => `[${name}]\ncommand = ["sh", "-c", "${sign}"]\n`;
    await writeFile(
      join(elsewhere, 'signers.toml'),
      ['ca', 'codesign', 'manifest', 'boot'].map(table).join(''),
      {
        mode: 0o600,
      },
    );
    const out = fresh('out');
    const { left } = await answer(request, [elsewhere], out);
    assert.deepEqual(
      new Set(left.map(({ key }) => key)),
      new Set(['openpgp', 'openpgp-script', 'openpgp-manifest']),
    );
    const [made, own] = [await Bundle.read(out), fresh('own')];
    await answer(request, [keys], own);
    const online = await Bundle.read(own);
    for (const [name, bytes] of made.files) {
      if (/\.codesign\.sig$|boot\.ipxe\.sig$|\.cms\.sig$/.test(name))
        assert.deepEqual(bytes, online.file(name), name);
    }
  });

  it('may have several folders, of which one says who holds an OpenPGP key that nobody asked', async () => {
    const theirs = fresh('keys');
    await cp(other, theirs, { recursive: true });
    if (process.getuid?.() === 0) await chown(theirs, 0, 0);
    await rm(join(theirs, 'private', 'openpgp.asc'));
    await writeFile(join(theirs, 'signers.toml'), '[openpgp]\ncommand = ["false"]\n', { mode: 0o600 });
    const { left } = await answer(both, [keys, theirs], fresh('out'));
    assert.deepEqual(left, []);
  });

  it('of another CA alone signs what its loaders look at, and leaves the rest', async () => {
    const { left } = await answer(both, [other], fresh('out'));
    assert.deepEqual(left.map(({ path }) => path).sort(), WHOLE_TREE_SEALS);
  });
});
