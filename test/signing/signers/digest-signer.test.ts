import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync } from 'node:crypto';
import { it } from 'node:test';
import { demandSignature, keySigner } from '../../../src/signing/signers/digest-signer.ts';
import { refused } from '../../trust/judge.ts';

const MESSAGE = Buffer.from('a script\n');
const DIGEST = createHash('sha256').update(MESSAGE).digest();

it('a signature from a message is that from its digest, and one from another message is not given', async () => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const signer = keySigner(privateKey, 'a key');
  const signature = await demandSignature(signer, 'sha256', DIGEST);
  assert.deepEqual(await demandSignature(signer, 'sha256', DIGEST, MESSAGE), signature);
  // The digest is what whoever asks has looked at.
  await assert.rejects(
    demandSignature(signer, 'sha256', DIGEST, Buffer.from('another\n')),
    refused('bad-signature', /not a signature by its key/),
  );
  // Whoever signs digests alone is asked for the digest.
  const device = { publicKey: signer.publicKey, name: 'a device', sign: signer.sign };
  assert.deepEqual(await demandSignature(device, 'sha256', DIGEST, MESSAGE), signature);
});
