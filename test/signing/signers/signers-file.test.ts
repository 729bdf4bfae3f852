import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import type { RefusalCode } from '../../../src/errors/refusal.ts';
import { demandSignature, keySigner } from '../../../src/signing/signers/digest-signer.ts';
import { readSigners } from '../../../src/signing/signers/signers-file.ts';
import { misused } from '../../fixtures/failed.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { makeTlsFiles, signdServer } from '../../fixtures/signd-server.ts';
import { digestOf, opensslVerifies, writeKey } from '../../fixtures/signing-keys.ts';
import { makeToken, PIN, SOFTHSM } from '../../fixtures/softhsm.ts';
import { refused } from '../../trust/judge.ts';

const root = await temporaryFolder();
const rsa = writeKey(root, 'codesign', 'rsa');
const ec = writeKey(root, 'boot', 'ec');
makeToken(root, 'site', [{ path: rsa.path, label: 'ca', id: '01' }]);
const tls = makeTlsFiles(join(root, 'tls'));
const publicKeys = { ca: rsa.publicKey, codesign: rsa.publicKey, boot: ec.publicKey, openpgp: rsa.publicKey };

let folders = 0;
function folderWith(text: string | undefined, mode = 0o600): string {
  const folder = join(root, `keys-${++folders}`);
  mkdirSync(folder, { mode: 0o700 });
  if (text !== undefined) writeFileSync(join(folder, 'signers.toml'), text);
  if (text !== undefined) chmodSync(join(folder, 'signers.toml'), mode);
  return folder;
}

it('without that file every key is at hand', async () => {
  assert.deepEqual(await readSigners(folderWith(undefined), publicKeys), {});
  assert.deepEqual(await readSigners(folderWith(''), publicKeys), {});
});

it('each kind of signer signs with the key that its table names', async () => {
  const keys = { 'rsa@obs': { path: rsa.path, kind: 'rsa' } } as const;
  const server = await signdServer({ keys, tls: { ...tls.server, ca: tls.ca } });
  const folder = folderWith(`
    [ca]
    pkcs11 = "pkcs11:token=site;object=ca"
    pin_file = "ca.pin"
    module = "${SOFTHSM}"
    timeout = 5

    [boot]
    command = ["sh", "-c", "exec openssl pkeyutl -sign -inkey ${root}/$BOOTSEAL_KEY.pem -pkeyopt digest:$BOOTSEAL_HASH"]

    [openpgp]
    signd = "localhost:${server.port}"
    user = "rsa@obs"
    tls_ca = "tls_ca.crt"
    tls_cert = "client.crt"
    tls_key = "client.key"
    framing = "old"
  `);
  writeFileSync(join(folder, 'ca.pin'), PIN, { mode: 0o600 });
  writeFileSync(join(folder, 'tls_ca.crt'), tls.ca);
  writeFileSync(join(folder, 'client.crt'), tls.client.cert);
  writeFileSync(join(folder, 'client.key'), tls.client.key, { mode: 0o600 });
  const asked: number[] = [];
  const after = (milliseconds: number) => {
    asked.push(milliseconds);
    return new AbortController().signal;
  };
  const signers = await readSigners(folder, publicKeys, { after });
  assert.deepEqual(Object.keys(signers), ['ca', 'boot', 'openpgp']);
  assert.deepEqual(asked, [], 'nobody is asked yet');
  const own = keySigner(rsa.privateKey, 'x');
  for (const [name, key] of [
    ['ca', rsa],
    ['boot', ec],
    ['openpgp', rsa],
  ] as const) {
    const signer = signers[name];
    assert.ok(signer);
    const signature = await demandSignature(signer, 'sha512', digestOf('sha512'));
    assert.ok(opensslVerifies(root, key, 'sha512', signature), name);
    if (key === rsa)
      assert.ok(Buffer.from(signature).equals(await own.sign('sha512', digestOf('sha512'))), name);
  }
  assert.deepEqual(asked, [5000, 60_000, 60_000]);
  assert.match(server.requests[0]?.toString('latin1') ?? '', /^\0\x07\0\x92rsa@obsSHA512:/);
});

it('a key whose public half nobody gave has no signer', async () => {
  const folder = folderWith('[ca]\ncommand = ["a"]\n[boot]\ncommand = ["b"]\n');
  assert.deepEqual(Object.keys(await readSigners(folder, { boot: ec.publicKey })), ['boot']);
});

const addresses: readonly [string, string][] = [
  ['obs.example', 'signd at obs.example:5167 (key k)'],
  ['obs.example:1', 'signd at obs.example:1 (key k)'],
  ['[::1]', 'signd at [::1]:5167 (key k)'],
  ['[2001:db8::1]:65535', 'signd at [2001:db8::1]:65535 (key k)'],
  ['192.0.2.1:80', 'signd at 192.0.2.1:80 (key k)'],
];
for (const [address, name] of addresses) {
  it(`signd = "${address}" is ${name}`, async () => {
    const folder = folderWith(`[codesign]\nsignd = "${address}"\nuser = "k"\n`);
    assert.equal((await readSigners(folder, publicKeys)).codesign?.name, name);
  });
}

it('an agent is named by its home or its socket, both below the folder unless absolute', async () => {
  const folder = folderWith(
    '[ca]\ngpg_agent = true\n[codesign]\ngpg_agent = true\ngnupghome = "g"\n' +
      '[boot]\ngpg_agent = "S.a"\n[openpgp]\ngpg_agent = "/run/S.a"\n',
  );
  const names = Object.values(await readSigners(folder, publicKeys)).map(({ name }) => name);
  const grip = '[0-9A-F]{40}';
  for (const [index, wanted] of [
    `^The gpg-agent \\(key ca, keygrip ${grip}\\)$`,
    `^The gpg-agent at ${folder}/g \\(key codesign, keygrip ${grip}\\)$`,
    `^The gpg-agent at ${folder}/S\\.a \\(key boot, keygrip ${grip}\\)$`,
    `^The gpg-agent at /run/S\\.a \\(key openpgp, keygrip ${grip}\\)$`,
  ].entries()) {
    assert.match(names[index] ?? '', new RegExp(wanted));
  }
});

const bad: readonly [string, RegExp][] = [
  ['[codesing]\ncommand = ["a"]', /: "codesing" is no key that is known\./],
  ['[release]\ncommand = ["a"]', /is no key that is known/],
  ['[boot]', /boot: write one of pkcs11, signd, gpg_agent and command/],
  ['[boot]\nfile = "a"', /boot: "file" is no key that is known/],
  ['[boot]\ntimeout = 5', /write one of/],
  ['[boot]\ncommand = ["a"]\nsignd = "a"\nuser = "k"', /write one of/],
  ['[boot]\ncommand = []', /boot\.command/],
  ['[boot]\ncommand = "a b"', /boot\.command/],
  ['[boot]\ncommand = ["./a"]', /an absolute path, or a name on PATH/],
  ['[boot]\ncommand = ["a", "b\\u0000"]', /holds no NUL/],
  ['[boot]\ncommand = ["a"]\nuser = "k"', /user does not go with command/],
  ['[boot]\ncommand = ["a"]\ntimeout = 0', /boot\.timeout/],
  ['[boot]\ncommand = ["a"]\ntimeout = 3601', /boot\.timeout/],
  ['[boot]\ncommand = ["a"]\ntimeout = "5"', /boot\.timeout/],
  ['[boot]\npkcs11 = "pkcs11:token=a;object=b"', /pkcs11 needs a pin_file/],
  [
    '[boot]\npkcs11 = "pkcs11:token=a;object=b"\npin_file = "p"\nmodule = "m.so"',
    /module: write an absolute path/,
  ],
  ['[boot]\npkcs11 = "pkcs11:token=a;object=b?pin-value=1234"\npin_file = "p"', /says pin-value/],
  ['[boot]\npkcs11 = "pkcs11:object=b"\npin_file = "p"', /does not say which token/],
  ['[boot]\nsignd = "a"', /signd needs a user/],
  ['[boot]\nsignd = "a"\nuser = "../k"', /boot\.user: write the name of a key/],
  ['[boot]\nsignd = "a:0"\nuser = "k"', /write HOST:PORT/],
  ['[boot]\nsignd = "a:65536"\nuser = "k"', /write HOST:PORT/],
  ['[boot]\nsignd = "http://a"\nuser = "k"', /write HOST:PORT/],
  ['[boot]\nsignd = "::1"\nuser = "k"', /write HOST:PORT/],
  ['[boot]\nsignd = "a"\nuser = "k"\nframing = "other"', /boot\.framing/],
  ['[boot]\nsignd = "a"\nuser = "k"\ntls_ca = "c"\ntls_cert = "c"', /go together/],
  ['[boot]\nsignd = "a"\nuser = "k"\ntls_cert = "c"\ntls_key = "c"', /tls_cert needs a tls_ca/],
  ['[boot]\ngpg_agent = false', /boot\.gpg_agent: write true, or the path of a socket/],
  ['[boot]\ngpg_agent = ""', /boot\.gpg_agent: write a path/],
  ['[boot]\ngpg_agent = "~/.gnupg/S.gpg-agent"', /boot\.gpg_agent: write the path without "~"/],
  ['[boot]\ngpg_agent = true\ngnupghome = "~/.gnupg"', /boot\.gnupghome: write the path without "~"/],
  ['[boot]\ngpg_agent = "S.gpg-agent"\ngnupghome = "g"', /gnupghome goes with gpg_agent = true/],
  ['[boot]\ngpg_agent = true\nkeygrip = "0x12"', /boot\.keygrip: write 40 hex digits/],
  ['[boot]\ngpg_agent = true\nuser = "k"', /user does not go with gpg_agent/],
  ['[boot]\nkeygrip = "0123456789012345678901234567890123456789"', /write one of/],
  [
    '[boot]\ngpg_agent = true\nkeygrip = "0123456789012345678901234567890123456789"',
    /The keygrip 0123\S+ in signers\.toml is not that of the key boot/,
  ],
  ['[boot', /signers\.toml, line 1: it is not TOML from column \d+ on\.$/],
];
for (const [text, fact] of bad) {
  it(`${JSON.stringify(text)} cannot be meant`, async () => {
    await assert.rejects(readSigners(folderWith(text), publicKeys), misused(fact));
  });
}

const SAFE = '[boot]\ncommand = ["a"]\n';
const unsafe: readonly [string, () => string, RefusalCode, RegExp][] = [
  ['its group may write', () => folderWith(SAFE, 0o620), 'unsafe-keys', /run "chmod go-w .*signers\.toml"/],
  ['all may write', () => folderWith(SAFE, 0o602), 'unsafe-keys', /names programs to run/],
  ['lies where all may write', openFolder, 'unsafe-keys', /may write .*keys-\d+, and signers/],
  ['is a symbolic link', linked, 'unsafe-keys', /symbolic link/],
];
function openFolder(): string {
  const folder = folderWith(SAFE);
  chmodSync(folder, 0o777);
  return folder;
}
function linked(): string {
  const folder = folderWith(undefined);
  symlinkSync(join(folderWith(SAFE), 'signers.toml'), join(folder, 'signers.toml'));
  return folder;
}
for (const [what, make, code, fact] of unsafe) {
  it(`a file that ${what} is refused as ${code}`, async () => {
    await assert.rejects(readSigners(make(), publicKeys), refused(code, fact));
  });
}

it('a file that others may only read is taken', async () => {
  assert.ok((await readSigners(folderWith(SAFE, 0o644), publicKeys)).boot);
});

it('a TLS key that others may read is refused, and a file that is missing is named', async () => {
  const text = '[boot]\nsignd = "a"\nuser = "k"\ntls_ca = "c"\ntls_cert = "c"\ntls_key = "k"\n';
  const folder = folderWith(text);
  await assert.rejects(readSigners(folder, publicKeys), refused('absent', /\/[ck] does not exist\./));
  writeFileSync(join(folder, 'c'), tls.ca);
  writeFileSync(join(folder, 'k'), tls.client.key, { mode: 0o644 });
  await assert.rejects(readSigners(folder, publicKeys), refused('unsafe-keys', /run "chmod 600 .*\/k"/));
});

// Only root can give a file away; for anybody else the rule holds by itself.
if (process.geteuid?.() === 0) {
  it('a file of another user is refused', async () => {
    const folder = folderWith(SAFE);
    chownSync(join(folder, 'signers.toml'), 65534, 65534);
    await assert.rejects(readSigners(folder, publicKeys), refused('unsafe-keys', /belongs to another user/));
  });
}
