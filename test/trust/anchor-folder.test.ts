import assert from 'node:assert/strict';
import { chmod, cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { readAnchorFolder } from '../../src/trust/anchor-folder.ts';
import { asNobody } from '../files/nobody.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { openssl } from '../signing/judges.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'), { kind: 'p256' });
let copies = 0;

/** A copy of the public half. */
async function anchors(): Promise<string> {
  const path = join(folder, `anchors-${copies++}`);
  await cp(join(keys, 'anchors'), path, { recursive: true });
  return path;
}

it('anchors are read from the init folder and from its public half alone, the same', async () => {
  const [whole, half] = [await readAnchorFolder(keys), await readAnchorFolder(join(keys, 'anchors'))];
  assert.equal(whole.bootSigner, 'boot.lab');
  assert.deepEqual(
    [whole.ca, whole.codesign, whole.manifest, ...Object.values(whole.openpgp)].map(({ length }) => length),
    [1, 1, 1, 1, 1, 1],
  );
  const fingerprint = openssl(
    'x509',
    '-in',
    join(keys, 'anchors/ca.crt'),
    '-outform',
    'DER',
    '-fingerprint',
    '-sha256',
    '-noout',
  );
  assert.match(fingerprint.stdout, /Fingerprint=/);
  for (const part of ['ca', 'codesign', 'manifest'] as const) {
    assert.deepEqual(Buffer.from(half[part][0]?.raw ?? []), Buffer.from(whole[part][0]?.raw ?? []));
  }
  for (const purpose of ['payload', 'script', 'manifest'] as const)
    assert.equal(
      half.openpgp[purpose][0]?.primary.fingerprint,
      whole.openpgp[purpose][0]?.primary.fingerprint,
    );
});

it('what a folder lacks is none, and no other file is asked', async () => {
  const path = await anchors();
  for (const name of [
    ...['codesign.crt', 'boot.crt', 'manifest.crt', 'snapshot.crt'],
    ...['pubring.gpg', 'pubkey.asc', 'script.gpg', 'manifest.gpg'],
  ])
    await rm(join(path, name));
  const found = await readAnchorFolder(path);
  assert.deepEqual(
    [found.ca.length, found.codesign, found.manifest, found.bootSigner, found.openpgp],
    [1, [], [], undefined, { payload: [], script: [], manifest: [] }],
  );
});

const BAD: readonly (readonly [string, (path: string) => Promise<unknown>, string, RegExp])[] = [
  [
    'without ca.crt',
    (path) => rm(join(path, 'ca.crt')),
    'absent',
    /holds no ca\.crt, so it is no folder of anchors/,
  ],
  ['that does not exist', (path) => rm(path, { recursive: true }), 'absent', /holds no ca\.crt/],
  ['whose ca.crt is nonsense', (path) => writeFile(join(path, 'ca.crt'), 'x'), 'malformed', /^ca\.crt /],
  [
    'whose codesign.crt is nonsense',
    (path) => writeFile(join(path, 'codesign.crt'), 'x'),
    'malformed',
    /^codesign\.crt /,
  ],
  [
    'whose keyring is nonsense',
    (path) => writeFile(join(path, 'pubring.gpg'), 'x'),
    'malformed',
    /^pubring\.gpg /,
  ],
  [
    'whose keyring is empty',
    (path) => writeFile(join(path, 'pubring.gpg'), ''),
    'malformed',
    /^pubring\.gpg /,
  ],
  [
    'whose certificate is a private key',
    async (path) => writeFile(join(path, 'ca.crt'), await readFile(join(keys, 'private/ca.key'))),
    'malformed',
    /^ca\.crt /,
  ],
  [
    'whose ca.crt is a folder',
    async (path) => {
      await rm(join(path, 'ca.crt'));
      await mkdir(join(path, 'ca.crt'));
    },
    'EISDIR',
    /ca\.crt cannot be read: it is a folder/,
  ],
  [
    'whose keyring may not be read',
    (path) => chmod(join(path, 'pubring.gpg'), 0o000),
    'EACCES',
    /pubring\.gpg cannot be read: permission is denied/,
  ],
];

for (const [name, spoil, code, says] of BAD) {
  it(`a folder of anchors ${name} is refused`, async () => {
    const path = await anchors();
    await spoil(path);
    await asNobody(folder, () =>
      assert.rejects(readAnchorFolder(path), {
        name: code.startsWith('E') ? 'IoError' : 'Refusal',
        code,
        message: says,
      }),
    );
  });
}
