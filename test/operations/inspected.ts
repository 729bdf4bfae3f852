import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cpioEntries, encodeCpio } from '../../src/formats/archive/cpio.ts';
import { encodePem } from '../../src/formats/asn1/armor.ts';
import { encodeCountersignature } from '../../src/formats/records/countersignature.ts';
import { encodePolicyFloor } from '../../src/formats/records/policy-floor.ts';
import { decodeBundle } from '../../src/formats/records/request-bundle.ts';
import { encodeSuccessors } from '../../src/formats/records/successors.ts';
import type { InspectedKind } from '../../src/operations/inspect.ts';
import { publish } from '../../src/publish/publish.ts';
import { proveLog } from '../../src/store/log-reader.ts';
import { elf } from '../fixtures/kernels.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { smallPe } from '../fixtures/pe.ts';
import { KERNEL, ROOTFS, sampleTree, sealFixture } from '../fixtures/release.ts';
import { answer, makeRequest } from '../fixtures/signing-request.ts';

const HEX = (letter: string, length = 64): string => letter.repeat(length);

export const SUCCESSORS = encodeSuccessors({
  issued: NOW,
  steps: [{ kind: 'ca', from: HEX('a'), to: HEX('b') }],
});
export const COUNTERSIGNATURE = encodeCountersignature({
  time: NOW,
  release: 'arch/2026.11.01',
  manifest: HEX('c'),
  origin: 'https://mirror.example/arch/',
  originalSigners: [HEX('d', 40)],
});

export interface Samples {
  readonly keys: string;
  readonly tree: string;
  /** A file of each kind that `inspect` knows. */
  readonly files: ReadonlyMap<InspectedKind, Uint8Array>;
}

/** Keys, a release sealed with them, a request for another, a published state, and one file of each kind. */
export async function samples(folder: string): Promise<Samples> {
  const keys = await makeKeys(join(folder, 'keys'), { secureBoot: true });
  const anchors = join(keys, 'anchors');
  const tree = await sampleTree(join(folder, 'tree'), keys);
  const unsealed = await sampleTree(join(folder, 'unsealed'), keys);
  const request = await makeRequest(unsealed, keys, join(folder, 'request'));
  const response = join(folder, 'response');
  await answer(request, [keys], response);
  await sealFixture(tree, keys);
  const state = join(folder, 'state');
  const published = await publish({ tree, channel: 'stable', state, anchors, snapshotKey: keys, now: NOW });
  assert.equal(published.refusal, undefined);
  const proof = join(folder, 'proof');
  await proveLog({ state, release: 'arch/2026.11.01', out: proof, now: NOW });
  const proven = await readFile(proof, 'latin1');
  const [, entry = '', seals = ''] = proven.split('\n\n');

  const of = (path: string) => readFile(join(tree, path));
  const files = new Map<InspectedKind, Uint8Array>([
    ['cms', await of(`${KERNEL}.ipxe.sig`)],
    ['openpgp-signature', await of(`${KERNEL}.sig`)],
    ['openpgp-keys', await readFile(join(anchors, 'pubring.gpg'))],
    ['certificate', await readFile(join(anchors, 'ca.crt'))],
    ['manifest', await of('release.manifest')],
    ['snapshot', await readFile(join(state, 'channels/stable/1/snapshot'))],
    ['successors', SUCCESSORS],
    ['countersignature', COUNTERSIGNATURE],
    ['checkpoint', await readFile(join(state, 'log/checkpoint'))],
    ['log-entry', Buffer.from(`${entry}\n`)],
    ['log-proof', await readFile(proof)],
    ['seal-list', Buffer.from(`${seals}\n`)],
    ['request-index', decodeBundle(await readFile(request)).files.get('index') ?? new Uint8Array()],
    ['signing-request', await readFile(request)],
    ['signing-response', await readFile(response)],
    [
      'policy-floor',
      encodePolicyFloor({ name: 'arch', minSerial: 7, graceDays: 0, require: ['manifest', 'openpgp'] }),
    ],
    ['checksums', await of(ROOTFS.replace('.sfs', '.sha512'))],
    ['root-hash', await of(`${ROOTFS}.roothash`)],
    ['verity-superblock', await of(`${ROOTFS}.verity`)],
    ['ipxe-script', await of('boot.ipxe')],
    ['grub-configuration', await of('grub.cfg')],
    ['efi-image', smallPe()],
    ['kernel', elf(62)],
    ['initrd', encodeCpio(cpioEntries([{ kind: 'file', name: 'preseed.cfg', data: Buffer.from('d-i') }], 0))],
    ['efi-signatures', await readFile(join(keys, 'secure-boot', 'db.esl'))],
    ['efi-variable', await readFile(join(keys, 'secure-boot', 'db.auth'))],
  ]);
  return { keys, tree, files };
}

/** The same content in its other wrappings. */
export async function otherForms({ keys, tree }: Samples): Promise<readonly [InspectedKind, Uint8Array][]> {
  const cms = await readFile(join(tree, 'boot.ipxe.sig'));
  const certificate = await readFile(join(keys, 'anchors/ca.crt'), 'latin1');
  const base64 = certificate.replace(/-----[^\n]+\n/g, '');
  return [
    ['cms', Buffer.from(encodePem('CMS', cms))],
    ['cms', Buffer.from(encodePem('PKCS7', cms))],
    ['certificate', Buffer.from(base64, 'base64')],
    ['certificate', Buffer.from(`Certificate:\n    Data: …\n${certificate}${certificate}`)],
    ['openpgp-keys', await readFile(join(keys, 'anchors/pubkey.asc'))],
  ];
}
