import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { run } from './command.ts';
import { runHere } from './here.ts';
import { cliSite } from './site.ts';

const site = await cliSite();
const out = join(site.folder, 'overlay.img');
const words = ['overlay', '--anchors', join(site.keys, 'anchors'), '--out', out, '--mode', 'ram'];

async function sealedPolicy(): Promise<string> {
  const text = await readFile(out, 'latin1');
  return text.slice(text.indexOf('bootseal-policy 1\n')).split('\0')[0] ?? '';
}

describe('bootseal overlay', () => {
  it('seals the time server into the policy, and says so', async () => {
    const {
      code,
      out: said,
      err,
    } = await runHere([...words, '--ntp', 'time.example.org', '--issued', '2026-10-01T00:00:00Z']);
    assert.equal(code, 0, err);
    assert.match(
      said,
      /mode ram, asks time\.example\.org for the time, issued 2026-10-01T00:00:00Z, minimum serial 0/,
    );
    assert.equal(
      await sealedPolicy(),
      'bootseal-policy 1\nmin-serial 0\ngrace-days 0\nissued 2026-10-01T00:00:00Z\nntp time.example.org\nrequire manifest\nmode ram\n',
    );
  });

  it('takes its date of issue from SOURCE_DATE_EPOCH, and --issued before it', async () => {
    const env = { SOURCE_DATE_EPOCH: '1790000000' };
    await run(words, { env });
    assert.match(await sealedPolicy(), /^issued 2026-09-21T14:13:20Z$/m);
    const { out: json } = await run([...words, '--json', '--issued', '@1790000060'], { env });
    assert.equal(JSON.parse(json).floor.issued, '2026-09-21T14:14:20Z');
  });

  for (const [what, more, says] of [
    ['a date that has not come', ['--issued', '2199-01-01T00:00:00Z'], /more than 24 hours ahead/],
    [
      'a time server with a port',
      ['--ntp', 'time.example.org:123'],
      /--ntp time\.example\.org:123 is no host/,
    ],
    ['a time server that is an option', ['--ntp=-l'], /--ntp -l is no host/],
    ['an IPv6 address that is none', ['--ntp', '1:2:3'], /--ntp 1:2:3 is no host/],
  ] as const) {
    it(`refuses ${what}`, async () => {
      const { code, err } = await runHere([...words, ...more]);
      assert.equal(code, 2);
      assert.match(err, says);
    });
  }
});
