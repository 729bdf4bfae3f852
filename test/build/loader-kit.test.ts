import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describe, it } from 'node:test';
import { embeddedScript, writeLoaderKit } from '../../src/build/loader-kit.ts';
import { UsageError } from '../../src/errors/usage.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys } from '../fixtures/keys.ts';

async function keysFolder(): Promise<string> {
  return makeKeys(join(await temporaryFolder(), 'keys'), { now: Date.now() });
}

describe('what a site builds into its own iPXE', () => {
  it('is the script, the CA in two forms that openssl reads alike, and what iPXE calls them', async () => {
    const keys = await keysFolder();
    const out = join(await temporaryFolder(), 'new', 'kit');
    const kit = await writeLoaderKit({ anchors: keys, out, ntp: 'ntp.example.org' });
    const [script = '', pem = '', der = '', readme = ''] = kit.files;
    const embedded = await readFile(script, 'latin1');
    assert.equal(embedded, await embeddedScript({ anchors: keys, ntp: 'ntp.example.org' }));
    assert.match(embedded, /^ntp ntp\.example\.org /m);
    const certificate = new X509Certificate(await readFile(join(keys, 'anchors', 'ca.crt')));
    assert.deepEqual(await readFile(der), certificate.raw);
    assert.equal(kit.fingerprint, createHash('sha256').update(certificate.raw).digest('hex'));
    for (const [file, form] of [
      [pem, 'PEM'],
      [der, 'DER'],
    ] as const) {
      // As iPXE's Makefile asks for it.
      const said = execFileSync('openssl', [
        ...['x509', '-in', file, '-inform', form, '-noout', '-sha256', '-fingerprint'],
      ]).toString();
      assert.equal(said.trim().split('=')[1]?.replaceAll(':', '').toLowerCase(), kit.fingerprint);
    }
    const text = await readFile(readme, 'utf8');
    for (const word of [
      'EMBED=embedded.ipxe',
      `TRUST=${basename(pem)}`,
      `CERT=${basename(pem)}`,
      'IMAGE_TRUST_CMD',
      'NTP_CMD',
      kit.fingerprint,
    ])
      assert.ok(text.includes(word), word);
    // Behind TRUST= iPXE's Makefile sees names alone: two CAs must never share one.
    assert.ok(basename(pem).includes(kit.fingerprint.slice(0, 16)));
  });

  it('needs the leaf whose scripts the loader shall take', async () => {
    const keys = await keysFolder();
    const bare = await temporaryFolder();
    execFileSync('cp', [join(keys, 'anchors', 'ca.crt'), bare]);
    await assert.rejects(writeLoaderKit({ anchors: bare, out: join(bare, 'kit') }), UsageError);
  });
});
