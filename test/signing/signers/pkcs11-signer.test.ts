import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createPublicKey } from 'node:crypto';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import type { Refusal, RefusalCode } from '../../../src/errors/refusal.ts';
import { demandSignature, keySigner } from '../../../src/signing/signers/digest-signer.ts';
import { type Pkcs11SignerOptions, pkcs11Signer } from '../../../src/signing/signers/pkcs11-signer.ts';
import { type Failure, failed, misused } from '../../fixtures/failed.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { digestOf, opensslVerifies, writeKey } from '../../fixtures/signing-keys.ts';
import { makeToken, PIN, SOFTHSM } from '../../fixtures/softhsm.ts';
import { refused } from '../../trust/judge.ts';

const folder = await temporaryFolder();
const rsa = writeKey(folder, 'codesign', 'rsa');
const ec = writeKey(folder, 'boot', 'ec');
const TOKEN = 'a site; & its keys';
makeToken(folder, TOKEN, [
  { path: rsa.path, label: 'codesign', id: 'a1' },
  { path: ec.path, label: 'boot', id: '00b2' },
]);
makeToken(folder, 'twin', []);
makeToken(folder, 'twin', []);
const token = `token=${encodeURIComponent(TOKEN)}`;
const pinFile = join(folder, 'pin');
writeFileSync(pinFile, `${PIN}\n`, { mode: 0o600 });
const DIGEST = digestOf('sha256');

const signerOf = (uri: string, more: Partial<Pkcs11SignerOptions> = {}, key = rsa) =>
  pkcs11Signer(key.publicKey, { uri, pinFile, module: SOFTHSM, ...more });

for (const hash of ['sha256', 'sha512'] as const) {
  it(`a token signs ${hash} with RSA, byte for byte as the key at hand does`, async () => {
    const signature = await demandSignature(
      signerOf(`pkcs11:${token};object=codesign`),
      hash,
      digestOf(hash),
    );
    assert.ok(opensslVerifies(folder, rsa, hash, signature));
    const own = await keySigner(rsa.privateKey, 'x').sign(hash, digestOf(hash));
    assert.ok(Buffer.from(signature).equals(own));
  });

  it(`a token signs ${hash} with P-256, and openssl takes it`, async () => {
    const signer = signerOf(`pkcs11:${token};id=%00%b2;type=private`, {}, ec);
    assert.ok(opensslVerifies(folder, ec, hash, await demandSignature(signer, hash, digestOf(hash))));
  });
}

it('a key that pkcs11-tool made inside the token signs, and its public half verifies', async () => {
  const tool = (...args: string[]) =>
    execFileSync(
      'pkcs11-tool',
      ['--module', SOFTHSM, '--token-label', TOKEN, '--login', '--pin', PIN, ...args],
      {
        stdio: 'pipe',
      },
    );
  tool('--keypairgen', '--key-type', 'rsa:2048', '--label', 'made inside', '--id', 'c3');
  const out = join(folder, 'inside.der');
  tool('--read-object', '--type', 'pubkey', '--id', 'c3', '--output-file', out);
  const publicKey = createPublicKey({ key: readFileSync(out), format: 'der', type: 'spki' });
  const key = { ...rsa, publicKey };
  const signer = signerOf(`pkcs11:${token};object=made%20inside`, {}, key);
  assert.ok(opensslVerifies(folder, key, 'sha256', await demandSignature(signer, 'sha256', DIGEST)));
});

it('the name shown is the URI, without what it hides', () => {
  const { name } = signerOf(`PKCS11:object=codesign;${token}`);
  assert.equal(name, 'pkcs11:token=a%20site%3B%20%26%20its%20keys;object=codesign');
});

const uris: readonly [string, RegExp][] = [
  [
    `pkcs11:${token};object=codesign?pin-value=${PIN}`,
    /says pin-value; put the PIN into a file of mode 0600/,
  ],
  [`pkcs11:${token};object=codesign?pin-source=file:/x`, /says pin-source; put the PIN into a file/],
  [
    `pkcs11:${token};object=codesign?module-path=/x.so`,
    /says module-path; name the token's library with module/,
  ],
  [`pkcs11:${token};object=codesign;slot-id=1`, /says slot-id, by which/],
  ['pkcs11:object=codesign', /does not say which token/],
  [`pkcs11:${token}`, /does not say which key/],
  [`pkcs11:${token};object=codesign;type=cert`, /does not name a private key/],
  ['/etc/codesign.key', /is malformed: PKCS#11 URI: does not begin/],
];
for (const [uri, fact] of uris) {
  it(`${uri.replace(PIN, 'PIN')} is refused before anybody is asked`, () => {
    assert.throws(
      () => signerOf(uri),
      (error: unknown) => misused(fact)(error) && !String(error).includes(PIN),
    );
  });
}

it('kinds of keys that no token is asked for are refused', async () => {
  const ed = writeKey(folder, 'ed', 'ed25519');
  const uri = `pkcs11:${token};object=codesign`;
  assert.throws(() => signerOf(uri, {}, ed), refused('unsafe-keys', /neither RSA nor/));
  await assert.rejects(signerOf(uri).sign('sha1', DIGEST), refused('weak-algorithm'));
});

let files = 0;
function pinOf(content: string, mode = 0o600): string {
  const path = join(folder, `pin-${++files}`);
  writeFileSync(path, content, { mode });
  return path;
}
symlinkSync(pinFile, join(folder, 'link'));
mkdirSync(join(folder, 'folder'), { mode: 0o700 });

it('a PIN file may end with any newline, or none', async () => {
  for (const content of [PIN, `${PIN}\n`, `${PIN}\r\n`]) {
    const signer = signerOf(`pkcs11:${token};object=codesign`, { pinFile: pinOf(content) });
    assert.equal((await demandSignature(signer, 'sha256', DIGEST)).length, 256);
  }
});

const pins: readonly [string, string, Failure, RegExp][] = [
  ['is missing', join(folder, 'nowhere'), 'absent', /The PIN file .* does not exist\./],
  ['others may read', pinOf(PIN, 0o640), 'unsafe-keys', /run "chmod 600 .*", and change the PIN/],
  ['is a symbolic link', join(folder, 'link'), 'unsafe-keys', /symbolic link/],
  ['is a folder', join(folder, 'folder'), 'unsafe-keys', /is no file/],
  ['is empty', pinOf('\n'), 'usage', /4 to 32 bytes/],
  ['has two lines', pinOf(`${PIN.slice(0, 8)}\n${PIN.slice(8, 16)}\n`), 'usage', /one line/],
  ['is too long', pinOf('1'.repeat(33)), 'usage', /4 to 32 bytes/],
  ['is much too long', pinOf('1'.repeat(4000)), 'usage', /4 to 32 bytes/],
];
for (const [what, path, code, fact] of pins) {
  it(`a PIN file that ${what} is refused as ${code}`, async () => {
    const signer = signerOf(`pkcs11:${token};object=codesign`, { pinFile: path });
    await assert.rejects(demandSignature(signer, 'sha256', DIGEST), failed(code, fact));
  });
}

const failures: readonly [string, string, Partial<Pkcs11SignerOptions>, RefusalCode, RegExp][] = [
  ['without that key', `pkcs11:${token};object=nobody`, {}, 'unreachable', /object not found/],
  [
    'that is not plugged in',
    'pkcs11:token=nowhere;object=codesign',
    {},
    'unreachable',
    /No matching .*token/,
  ],
  ['that has a twin', 'pkcs11:token=twin;object=codesign', {}, 'unreachable', /Multiple matching slots/],
  [
    'with another PIN',
    `pkcs11:${token};object=codesign`,
    { pinFile: pinOf('0000-wrong') },
    'unreachable',
    /PIN incorrect|Login failed/,
  ],
  [
    'whose library is missing',
    `pkcs11:${token};object=codesign`,
    { module: '/nowhere/lib.so' },
    'unreachable',
    /Unable to load module|unable to load/i,
  ],
  [
    'with another key of that name',
    `pkcs11:${token};object=boot`,
    {},
    'malformed',
    /an RSA signature by its key/,
  ],
];
for (const [what, uri, more, code, fact] of failures) {
  it(`a token ${what} is refused as ${code}, and no PIN is told`, async () => {
    const error = await demandSignature(signerOf(uri, more), 'sha256', DIGEST).catch((reason) => reason);
    assert.ok(refused(code, fact)(error));
    assert.doesNotMatch(JSON.stringify(error) + (error as Refusal).stack, /not-to-be-seen|0000-wrong/);
  });
}

it('a token with another RSA key under that name is found out', async () => {
  const other = writeKey(folder, 'other', 'rsa');
  const signer = signerOf(`pkcs11:${token};object=codesign`, {}, other);
  await assert.rejects(demandSignature(signer, 'sha256', DIGEST), refused('bad-signature', /another key/));
});

it('a token that is late is unreachable', async () => {
  const controller = new AbortController();
  controller.abort();
  const timeLimit = { seconds: 9, after: () => controller.signal };
  const signer = signerOf(`pkcs11:${token};object=codesign`, { timeLimit });
  await assert.rejects(signer.sign('sha256', DIGEST), refused('unreachable', /within 9 s/));
});

it('the PIN is in no argument and no environment of any process', () => {
  const trace = join(folder, 'trace');
  const uri = `pkcs11:${token};object=codesign`;
  const url = (path: string) => JSON.stringify(new URL(path, import.meta.url).href);
  const program = `
    import { createPublicKey } from 'node:crypto';
    import { readFileSync } from 'node:fs';
    import { pkcs11Signer } from ${url('../../../src/signing/signers/pkcs11-signer.js')};
    const publicKey = createPublicKey(readFileSync(${JSON.stringify(rsa.path)}));
    const signer = pkcs11Signer(publicKey, ${JSON.stringify({ uri, pinFile, module: SOFTHSM })});
    const signature = await signer.sign('sha256', Buffer.alloc(32));
    console.log(signature.length);`;
  const strace = ['-f', '-v', '-s', '65536', '-e', 'trace=execve', '-o', trace];
  const { stdout, stderr } = spawnSync(
    'strace',
    [...strace, process.execPath, '--input-type=module', '--eval', program],
    { encoding: 'utf8' },
  );
  assert.equal(stdout, '256\n', stderr);
  const calls = readFileSync(trace, 'utf8');
  assert.match(calls, /execve\("[^"]*openssl", \["openssl", "pkeyutl",.*"-passin", "fd:3", "-sign"/);
  assert.match(calls, /"PKCS11_MODULE_PATH=/);
  assert.ok(!`${calls}${stdout}${stderr}`.includes(PIN));
});
