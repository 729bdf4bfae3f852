import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { Refusal } from '../../src/errors/refusal.ts';
import type { BatchScript } from '../../src/formats/records/script-batch.ts';
import { compileHold } from '../../src/scripts/hold.ts';
import { compileGrubLocalDisk, compileLocalDisk } from '../../src/scripts/local-disk.ts';
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
import { refused } from '../trust/judge.ts';

/**
 * How long a script that verified counts. What a verifier takes no more after the first look, without having said so before,
 * is the hash that its seal is made with: so it shows when a script is verified anew.
 */

const keys = await makeKeys(join(await temporaryFolder(), 'keys'));
const scriptKeys = await readScriptKeys(keys, NOW);
const roots = await readTrustRoots([join(keys, 'anchors')]);

for (const [loader, hash, text, bound] of [
  ['ipxe', 'sha256', compileLocalDisk(), 60_000],
  ['grub', 'sha512', compileGrubLocalDisk(), 1000],
] as const)
  describe(`a script for ${loader} that verified`, () => {
    async function kept() {
      const records = new MemoryBackend();
      const bytes = Buffer.from(text, 'latin1');
      const seal = await sealScript(scriptKeys, loader, bytes, NOW);
      assert.ok(seal);
      const sha256 = await keepScript(records, loader, { bytes, seal });
      const script: BatchScript = {
        key: '0'.repeat(16),
        arch: undefined,
        loader,
        sha256,
        release: undefined,
      };
      const scripts = new StateScripts(records);
      let now = NOW;
      const at = (asOf: number, clock = asOf) => ({
        ...defaultPolicy(asOf, clock),
        ...(now === NOW ? {} : { hashCutoff: { [hash]: NOW } }),
      });
      const verifier = () => new Verifier(roots, { at }, () => now);
      return {
        script,
        scripts,
        verifier,
        later: (ms: number) => {
          now = NOW + ms;
        },
      };
    }

    it(`counts for ${bound} ms, and not for one more`, async () => {
      const { script, scripts, verifier, later } = await kept();
      const by = verifier();
      assert.equal(scripts.known(script, undefined, by), undefined);
      const first = await scripts.load(script, 'local', undefined, by);
      assert.equal(Buffer.from(first.bytes).toString('latin1'), text);
      later(bound - 1);
      assert.equal(scripts.known(script, undefined, by), first);
      assert.equal(await scripts.load(script, 'local', undefined, by), first);
      later(bound);
      assert.equal(scripts.known(script, undefined, by), undefined);
      await assert.rejects(
        scripts.load(script, 'local', undefined, by),
        refused('weak-algorithm', /no longer|not accepted/),
      );
      // What was refused is not known since.
      assert.equal(scripts.known(script, undefined, by), undefined);
    });

    it('counts for nobody else, and not where the clock was set back', async () => {
      const { script, scripts, verifier, later } = await kept();
      const by = verifier();
      await scripts.load(script, 'local', undefined, by);
      later(1);
      // Another policy, or other anchors, come with another verifier.
      const other = verifier();
      assert.equal(scripts.known(script, undefined, other), undefined);
      await assert.rejects(
        scripts.load(script, 'local', undefined, other),
        refused('weak-algorithm', /no longer|not accepted/),
      );
      assert.notEqual(scripts.known(script, undefined, by), undefined);
      later(-1);
      assert.equal(scripts.known(script, undefined, by), undefined);
    });
  });

describe('a script for iPXE that verified', () => {
  const { boot } = scriptKeys.loader;

  /** The codes with which it is refused, asked at each of these times. */
  async function asked(times: readonly number[], policyOf: Partial<Policy>): Promise<(string | undefined)[]> {
    const records = new MemoryBackend();
    const server = { kind: 'literal', url: 'http://10.0.0.1:8080' } as const;
    const bytes = new TextEncoder().encode(compileHold({ server, signer: boot.commonName ?? '' }));
    const seal = await sealScript(scriptKeys, 'ipxe', bytes, NOW);
    assert.ok(seal);
    const sha256 = await keepScript(records, 'ipxe', { bytes, seal });
    const script: BatchScript = {
      key: '0'.repeat(16),
      arch: undefined,
      loader: 'ipxe',
      sha256,
      release: undefined,
    };
    let now = NOW;
    const at = (asOf: number, clock = asOf) => ({ ...defaultPolicy(asOf, clock), ...policyOf });
    const verifier = new Verifier(roots, { at }, () => now);
    const scripts = new StateScripts(records);
    const codes: (string | undefined)[] = [];
    for (const time of times) {
      now = time;
      const answer = await scripts.load(script, 'hold', undefined, verifier).catch((error: unknown) => error);
      if (!(answer instanceof Refusal)) assert.deepEqual((answer as { bytes: Uint8Array }).bytes, bytes);
      codes.push(answer instanceof Refusal ? answer.code : undefined);
    }
    return codes;
  }

  it('counts until its leaf ends, and no longer', async () => {
    // iPXE allows for clocks that are half a day off (X509_ERROR_MARGIN_TIME).
    const end = boot.notAfter + 12.5 * 3_600_000;
    assert.deepEqual(await asked([end - 1000, end - 500, end + 1], {}), [undefined, undefined, 'expired']);
  });

  it('and until the policy takes its leaf no more, at the very moment', async () => {
    const since = NOW + 30_000;
    const revoked = [{ id: fingerprint(boot), hard: false, since, reason: 'retired' }];
    assert.deepEqual(await asked([NOW, since - 1, since], { revoked }), [undefined, undefined, 'revoked']);
  });

  it('or until it takes its key no more', async () => {
    const since = NOW + 30_000;
    const rsaBits = { minimum: 3072, since, before: 2048 };
    assert.deepEqual(await asked([NOW, since - 1, since], { rsaBits }), [
      undefined,
      undefined,
      'weak-algorithm',
    ]);
  });
});
