import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, cp, mkdir, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { IoError } from '../../../src/errors/io.ts';
import { rotateKeyFolder } from '../../../src/signing/keys/rotate.ts';
import { readLoaderSealingKeys, readSealingKeys } from '../../../src/signing/keys/sealing-keys.ts';
import {
  readDbSigner,
  readPcrPublicKey,
  readPcrSigner,
} from '../../../src/signing/keys/secure-boot-signers.ts';
import { readSnapshotKey } from '../../../src/signing/keys/snapshot-key.ts';
import { readSigners } from '../../../src/signing/signers/signers-file.ts';
import { asNobody } from '../../files/nobody.ts';
import { failed, misused } from '../../fixtures/failed.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { makeKeys, NOW } from '../../fixtures/keys.ts';

/** Keys that are there and may not be read: whoever calls them missing has somebody make a new CA. */

const folder = await temporaryFolder();
const whole = await makeKeys(join(folder, 'whole'), { kind: 'p256', secureBoot: true });
/** Where anybody may write. */
const open = join(folder, 'open');
await mkdir(open);
await chmod(open, 0o777);
let count = 0;

async function copy(): Promise<string> {
  const keys = join(folder, `keys-${count++}`);
  await cp(whole, keys, { recursive: true });
  return keys;
}

type Act = (keys: string) => Promise<unknown>;
const seal: Act = (keys) => readSealingKeys(keys, NOW);
const loaders: Act = (keys) => readLoaderSealingKeys(keys, NOW);
const rotate: Act = (keys) => rotateKeyFolder(keys, join(open, 'never'), { now: NOW });

const LOCKED: readonly (readonly [what: string, locked: string, act: Act])[] = [
  ['the folder of private keys, to seal', 'private', seal],
  ['the folder of private keys, for other loaders', 'private', loaders],
  ['the folder of private keys, for a successor', 'private', rotate],
  ['the folder of private keys, for a channel', 'private', readSnapshotKey],
  ['the folder of private keys, for an image', 'private', (keys) => readDbSigner({ keys }, NOW)],
  ['the folder of private keys, for PCR values', 'private', readPcrSigner],
  ['a key', 'private/codesign.key', seal],
  ['the OpenPGP key', 'private/openpgp.asc', seal],
  ['a snapshot key', 'private/snapshot.key', readSnapshotKey],
  ['a db key', 'private/db.key', (keys) => readDbSigner({ keys }, NOW)],
  ['a PCR key', 'private/pcr.key', readPcrSigner],
  ['a key that a successor keeps', 'private/PK.key', rotate],
  ['the folder of certificates', 'anchors', seal],
  ['a certificate', 'anchors/boot.crt', seal],
  ['the db certificate', 'anchors/db.crt', (keys) => readDbSigner({ keys }, NOW)],
  ['the PCR public key', 'anchors/pcr.pub', readPcrPublicKey],
  ['files of Secure Boot that a successor keeps', 'secure-boot', rotate],
  ['the folder itself', '.', seal],
  ['the folder itself, where signers may be elsewhere', '.', (keys) => readSigners(keys, {})],
];

/** Each of them is nobody's as well, whose reading is tried where root would read everything. */
async function demandUnreadable(keys: string, act: Act): Promise<void> {
  await asNobody(folder, () =>
    assert.rejects(act(keys), (error) => {
      assert.ok(error instanceof IoError, String(error));
      assert.equal(error.code, 'EACCES');
      assert.match(error.message, /^\S+ cannot be read: permission is denied \(EACCES\)\.$/);
      return true;
    }),
  );
}

describe('what may not be read is an I/O error that names it, and nobody is told to make new keys', () => {
  for (const [what, locked, act] of LOCKED) {
    it(what, async () => {
      const keys = await copy();
      await own(keys);
      await chmod(join(keys, locked), 0o000);
      try {
        await demandUnreadable(keys, act);
      } finally {
        await chmod(join(keys, locked), 0o700);
      }
    });
  }
});

/** All but what is locked belongs to whoever reads: so only the lock is in the way. */
async function own(keys: string): Promise<void> {
  if (process.geteuid?.() !== 0) return;
  execFileSync('chown', ['-R', '65534:65534', keys]);
}

it('only where there is no key folder at all is one to be made', async () => {
  await assert.rejects(seal(join(folder, 'nowhere')), misused(/"bootseal init DIR" makes a key folder/));
  const keys = await copy();
  await rm(join(keys, 'private', 'boot.key'));
  await assert.rejects(seal(keys), (error: Error) => {
    assert.doesNotMatch(error.message, /bootseal init/);
    return misused(/boot\.key is missing/)(error);
  });
});

it('a signers.toml that is a link to nothing is not the absence of one', async () => {
  const keys = await copy();
  await symlink('nowhere', join(keys, 'signers.toml'));
  for (const act of [seal, loaders, (from: string) => readDbSigner({ keys: from }, NOW)])
    await assert.rejects(act(keys), failed('unsafe-keys', /signers\.toml is a symbolic link, or no file/));
});
