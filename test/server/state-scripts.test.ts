import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { Refusal } from '../../src/errors/refusal.ts';
import { compileHold } from '../../src/scripts/hold.ts';
import { StateScripts } from '../../src/server/state-scripts.ts';
import { readScriptKeys, sealScript } from '../../src/signing/keys/script-keys.ts';
import { keepScript } from '../../src/store/signed-scripts.ts';
import { fingerprint } from '../../src/trust/chain.ts';
import { defaultPolicy, type Policy } from '../../src/trust/policy.ts';
import { readTrustRoots } from '../../src/trust/trust-roots.ts';
import { Verifier } from '../../src/trust/verifier.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { MemoryBackend } from '../store/memory-backend.ts';

const folder = await makeKeys(join(await temporaryFolder(), 'keys'));
const keys = await readScriptKeys(folder, NOW);
const roots = await readTrustRoots(join(folder, 'anchors'));
const { boot } = keys.loader;

/** Asks for a script that a leaf signed which the site's policy may speak of, as often as there are times. */
async function asked(
  times: readonly number[],
  policyOf: (now: number) => Partial<Policy>,
): Promise<(string | undefined)[]> {
  const records = new MemoryBackend();
  const text = compileHold({
    server: { kind: 'literal', url: 'http://10.0.0.1:8080' },
    signer: boot.commonName ?? '',
  });
  const bytes = new TextEncoder().encode(text);
  const seal = (await sealScript(keys, 'ipxe', bytes, NOW)) ?? Buffer.alloc(0);
  const sha256 = await keepScript(records, 'ipxe', { bytes, seal });
  let now = NOW;
  const verifier = new Verifier(
    roots,
    { at: (asOf, clock) => ({ ...defaultPolicy(asOf, clock), ...policyOf(now) }) },
    () => now,
  );
  const scripts = new StateScripts(records);
  const script = {
    key: '0'.repeat(16),
    arch: undefined,
    loader: 'ipxe',
    sha256,
    release: undefined,
  } as const;
  const answers: (string | undefined)[] = [];
  for (const time of times) {
    now = time;
    const answer = await scripts.load(script, 'hold', undefined, verifier).catch((error: unknown) => error);
    if (!(answer instanceof Refusal)) assert.deepEqual((answer as { bytes: Uint8Array }).bytes, bytes);
    answers.push(answer instanceof Refusal ? answer.code : undefined);
  }
  return answers;
}

test('a script counts until its leaf ends, and no longer', async () => {
  const end = boot.notAfter + 12.5 * 3_600_000;
  assert.deepEqual(await asked([end - 1000, end - 500, end + 1], () => ({})), [
    undefined,
    undefined,
    'expired',
  ]);
});

test('and until the policy takes its leaf no more, at the very moment', async () => {
  const since = NOW + 30_000;
  const revoked = [{ id: fingerprint(boot), hard: false, since, reason: 'retired' }];
  assert.deepEqual(await asked([NOW, since - 1, since], () => ({ revoked })), [
    undefined,
    undefined,
    'revoked',
  ]);
});

test('or until it takes its key no more', async () => {
  const since = NOW + 30_000;
  const rsaBits = { minimum: 3072, since, before: 2048 };
  assert.deepEqual(await asked([NOW, since - 1, since], () => ({ rsaBits })), [
    undefined,
    undefined,
    'weak-algorithm',
  ]);
});
