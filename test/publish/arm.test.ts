import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { decodeDetachedCms } from '../../src/formats/asn1/cms.ts';
import { listArmed } from '../../src/publish/arm.ts';
import { delegateBootLeaves } from '../../src/signing/keys/delegate.ts';
import { recordsOf } from '../../src/store/folder-backend.ts';
import { readScript } from '../../src/store/signed-scripts.ts';
import { armedSite, HOUR, MAC, OTHER_MAC, REPORTING, SILENT } from '../fixtures/armed-site.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';
import { readyKeyPair } from '../fixtures/ready-keys.ts';

const folder = await temporaryFolder();
const site = await armedSite(folder);
const { state, keys } = site;

const scriptOf = async (sha256: string, kind: 'ipxe' | 'grub' = 'ipxe') => {
  const { bytes, seal } = await readScript(recordsOf(state), kind, sha256);
  return { text: Buffer.from(bytes).toString('latin1'), seal };
};

describe('a machine is armed', () => {
  it('by a script for that card alone, whose leaf ends with the arming', async () => {
    const { arming } = await site.arm({ words: ['hostname=lab-1'] });
    const { text, seal } = await scriptOf(arming.script);
    assert.match(text, new RegExp(`^iseq \\$\\{netX/mac\\} ${MAC} && goto bootseal-mine \\|\\|$`, 'm'));
    assert.match(
      text,
      new RegExp(
        ` hostname=lab-1 .*bootseal\\.once=${arming.id} |bootseal\\.once=${arming.id} .*hostname=lab-1 `,
      ),
    );
    assert.doesNotMatch(text, /\/armed\//);
    const { certificates } = decodeDetachedCms(seal);
    const leaf = certificates.find(({ commonName }) => commonName === 'boot.lab');
    assert.equal(leaf?.notAfter, NOW + 4 * HOUR);
    assert.ok(certificates.length > 1, 'its CA is inside');
  });

  it('by files, where its release reports nothing: they are fetched where they are counted', async () => {
    const { arming } = await site.arm({ release: SILENT });
    const { text } = await scriptOf(arming.script);
    const fetched = [...text.matchAll(/^(?:kernel|initrd) .*?(http:\/\/\S+)/gm)].map(([, url = '']) => url);
    assert.deepEqual(
      fetched.map((url) => url.slice(url.indexOf('/releases/') + `/releases/${SILENT}/`.length)),
      arming.leaves,
    );
    for (const url of fetched)
      assert.ok(url.includes(`/armed/52-54-00-12-34-56/${arming.id}/releases/`), url);
    // What the system fetches later is not its start.
    assert.match(text, new RegExp(`archiso_http_srv=http://[^/]+/releases/${SILENT}/ `));
  });

  it('anew, and the arming before is taken back', async () => {
    const first = await site.arm({ mac: OTHER_MAC });
    const second = await site.arm({ mac: OTHER_MAC.replaceAll(':', '-').toUpperCase() });
    assert.notEqual(first.arming.id, second.arming.id);
    const kept = (await listArmed(state)).filter(({ arming }) => arming.mac === OTHER_MAC);
    assert.deepEqual(
      kept.map(({ arming, consumed }) => [arming.id, consumed]),
      [[second.arming.id, undefined]],
    );
  });

  it('by a leaf for the day, without the key of the CA', async () => {
    const out = join(folder, 'delegated');
    await delegateBootLeaves({
      keys,
      out,
      days: 1,
      from: NOW,
      now: NOW,
      rsaBits: 2048,
      makeKeyPair: readyKeyPair,
    });
    const { arming } = await site.arm({ keys: join(out, '2026-11-01'), lasts: HOUR });
    assert.equal((await scriptOf(arming.script)).seal.length > 0, true);
    await assert.rejects(site.arm({ keys: join(out, '2026-11-01'), now: NOW + 23 * HOUR, lasts: 2 * HOUR }), {
      name: 'UsageError',
      message: /ends at 2026-11-02T00:00:00Z, before what is to be armed/,
    });
    await assert.rejects(site.arm({ keys: join(out, '2026-11-01'), lasts: HOUR, afterwards: 'local' }), {
      name: 'UsageError',
      message: /arm it with --then usual/,
    });
  });
});

describe('a machine is not armed', () => {
  for (const [what, options, error] of [
    ['for longer than a day', { lasts: 25 * HOUR }, { name: 'UsageError', message: /at most 24 hours/ }],
    ['that has no address', { mac: 'lab-1' }, { name: 'UsageError', message: /no card's address/ }],
    ['with a release that is not there', { release: 'arch/2020.01.01' }, { name: 'UsageError' }],
    [
      'with a word that the release does not free',
      { words: ['init=/bin/sh'] },
      { code: 'wrong-command-line' },
    ],
    ['with a word of another type', { words: ['bootseal.mode=none'] }, { code: 'wrong-command-line' }],
    [
      'with an id of somebody’s choice',
      { words: ['bootseal.once=0123456789abcdef'] },
      { name: 'UsageError' },
    ],
    [
      'through GRUB, unless the policy lets it',
      { loader: 'grub' },
      { name: 'UsageError', message: /knows no dates/ },
    ],
    ['when its release has ended', { now: NOW + 200 * 24 * HOUR }, { code: 'stale' }],
  ] as const) {
    it(what, async () => {
      const before = await listArmed(state);
      await assert.rejects(site.arm(options), error);
      assert.deepEqual(await listArmed(state), before);
    });
  }

  it('by keys of another site', async () => {
    const { makeKeys } = await import('../fixtures/keys.ts');
    const stranger = await makeKeys(join(folder, 'stranger'));
    await assert.rejects(site.arm({ keys: stranger }), { name: 'Refusal' });
  });

  it('through GRUB with a release that reports nothing, whatever the policy says', async () => {
    await writeFile(join(state, 'policy.toml'), '[machines]\narmed_by_grub = true\n');
    await assert.rejects(site.arm({ loader: 'grub', release: SILENT }), {
      name: 'UsageError',
      message: /reports no boot/,
    });
    const { arming } = await site.arm({ loader: 'grub', release: REPORTING });
    assert.match((await scriptOf(arming.script, 'grub')).text, new RegExp(`bootseal\\.once=${arming.id}`));
  });
});
