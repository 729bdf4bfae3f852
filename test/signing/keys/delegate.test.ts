import assert from 'node:assert/strict';
import { lstat, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { delegateBootLeaves } from '../../../src/signing/keys/delegate.ts';
import { certifiedKey, readAuthority, readLoaderKeys } from '../../../src/signing/keys/key-folder.ts';
import { sealRecord } from '../../../src/signing/seal-record.ts';
import { certifiedSigner, chainOf } from '../../../src/signing/signatories.ts';
import { readAnchorFolder } from '../../../src/trust/anchor-folder.ts';
import { cmsCheck, IPXE_MARGIN, imgverifyRules } from '../../../src/trust/cms-check.ts';
import { defaultPolicy } from '../../../src/trust/policy.ts';
import { misused } from '../../fixtures/failed.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { makeKeys, NOW } from '../../fixtures/keys.ts';
import { readyKeyPair } from '../../fixtures/ready-keys.ts';
import { judge } from '../../trust/judge.ts';
import { openssl } from '../judges.ts';

const DAY = 86_400_000;
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const out = join(folder, 'delegated');
const delegate = (more: Partial<Parameters<typeof delegateBootLeaves>[0]> = {}) =>
  delegateBootLeaves({
    keys,
    out,
    days: 3,
    from: NOW + DAY / 2,
    now: NOW,
    rsaBits: 2048,
    makeKeyPair: readyKeyPair,
    ...more,
  });
const first = await delegate();

describe('boot leaves for days ahead', () => {
  it('are one for each day, with a key of its own for the owner alone', async () => {
    assert.deepEqual(first, {
      commonName: 'boot.lab',
      made: ['2026-11-01', '2026-11-02', '2026-11-03'],
      kept: [],
    });
    const secrets = await Promise.all(
      first.made.map((day) => readFile(join(out, day, 'private/boot.key'), 'utf8')),
    );
    assert.equal(new Set(secrets).size, 3);
    for (const day of first.made) {
      assert.equal((await lstat(join(out, day, 'private/boot.key'))).mode & 0o777, 0o600);
      assert.deepEqual(await readdir(join(out, day, 'private')), ['boot.key']);
    }
  });

  it('are good from midnight to midnight, as openssl says', () => {
    const at = (time: number) =>
      openssl(
        ...['verify', '-x509_strict', '-purpose', 'any', '-attime', String(time / 1000)],
        ...['-CAfile', join(keys, 'anchors/ca.crt'), join(out, '2026-11-02', 'anchors/boot.crt')],
      ).status === 0;
    const begin = NOW + DAY;
    assert.deepEqual([begin - 1000, begin, begin + DAY - 1000, begin + DAY + 1000].map(at), [
      false,
      true,
      true,
      false,
    ]);
  });

  it('sign scripts that a loader takes on that day, and 12.5 hours around it', async () => {
    const day = join(out, '2026-11-02');
    // A part of a key folder: what signs with it brings the CA's certificate along.
    const authority = await readAuthority(join(day, 'anchors'), NOW + DAY);
    const key = await certifiedKey(day, 'boot', NOW + DAY, 'digitalSignature', authority.ca);
    const script = Buffer.from('#!ipxe\n');
    const chain = [key.certificate.raw, ...chainOf(authority)];
    const seal = await sealRecord(script, certifiedSigner('boot', key), chain);
    const { ca } = await readAnchorFolder(keys);
    const says = (now: number) =>
      judge(cmsCheck('boot.ipxe.sig', seal, imgverifyRules(ca, 'boot.lab'), defaultPolicy(now), now), script);
    const begin = NOW + DAY;
    assert.equal(await says(begin + DAY / 2), 'verified');
    assert.equal(await says(begin + DAY + IPXE_MARGIN), 'verified');
    assert.equal(await says(begin + DAY + IPXE_MARGIN + 1000), 'expired');
    assert.equal(await says(begin - IPXE_MARGIN - 1000), 'not-yet-valid');
  });

  it('that are there already stay as they are: a run that was cut short is done again', async () => {
    await rm(join(out, '2026-11-02'), { recursive: true });
    const before = await readFile(join(out, '2026-11-01/anchors/boot.crt'));
    const again = await delegate({ days: 4 });
    assert.deepEqual(again.made, ['2026-11-02', '2026-11-04']);
    assert.deepEqual(again.kept, ['2026-11-01', '2026-11-03']);
    assert.deepEqual(await readFile(join(out, '2026-11-01/anchors/boot.crt')), before);
  });

  it('need the CA, and end before it does', async () => {
    await assert.rejects(readLoaderKeys(join(out, '2026-11-01'), NOW));
    await assert.rejects(delegate({ out: join(folder, 'none'), days: 0 }), misused(/1 to 366 days/));
    const late = NOW + 3652 * DAY;
    await assert.rejects(
      delegate({ out: join(folder, 'late'), from: late }),
      misused(/The CA of .* ends before/),
    );
  });

  it('of another site in the folder are not taken for ours', async () => {
    const others = await makeKeys(join(folder, 'others'));
    await assert.rejects(
      delegate({ keys: others }),
      misused(
        /boot\.crt is not a leaf of boot\.lab by the CA of these keys for that day; name another folder/,
      ),
    );
  });

  it('do not begin before their CA', async () => {
    await assert.rejects(
      delegate({ from: Date.UTC(2020, 0, 1), out: join(folder, 'early') }),
      misused(/begins after 2020-01-01/),
    );
  });
});
