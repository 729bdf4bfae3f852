import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { it } from 'node:test';
import { Refusal } from '../../src/errors/refusal.ts';
import { releaseBooter } from '../../src/machines/release-booter.ts';
import { booterContract } from './booter-contract.ts';

const sealOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest();
const scripts = ['boot.ipxe', 'grub.cfg', 'boot.1111111111111111.ipxe'].map(
  (name) => [name, Buffer.from(`script ${name}`)] as const,
);
const records = new Map<string, Uint8Array>(
  scripts.flatMap(([name, bytes]) => [
    [name, bytes],
    [`${name}.sig`, sealOf(bytes)],
  ]),
);
const release = { release: 'arch/2026.11.01', records, anchorId: 'aaaaaaaaaaaaaaaa' };

booterContract(
  'one release for all',
  releaseBooter(() => ({ release, refusal: undefined })),
  sealOf,
);

it('a loader of each CA gets the script that was sealed for it', async () => {
  const booter = releaseBooter(() => ({ release, refusal: undefined }));
  const text = async (anchor: string) => {
    const answer = await booter.boot({ loader: 'ipxe', anchor });
    return answer instanceof Refusal ? answer.code : Buffer.from(answer.bytes).toString();
  };
  assert.equal(await text('aaaaaaaaaaaaaaaa'), 'script boot.ipxe');
  assert.equal(await text('1111111111111111'), 'script boot.1111111111111111.ipxe');
});

it('a release that has ended is refused to everybody, with its reason', async () => {
  const refusal = new Refusal('stale', 'arch/2026.11.01 was best before 2027-01-30.', {});
  const booter = releaseBooter(() => ({ release, refusal }));
  for (const loader of ['ipxe', 'grub'] as const) assert.equal(await booter.boot({ loader }), refusal);
});

it('what is booted is asked for anew each time', async () => {
  let refusal: Refusal | undefined;
  const booter = releaseBooter(() => ({ release, refusal }));
  assert.ok(!((await booter.boot({ loader: 'grub' })) instanceof Refusal));
  refusal = new Refusal('stale', 'over', {});
  assert.equal(await booter.boot({ loader: 'grub' }), refusal);
});
