import assert from 'node:assert/strict';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { ask } from '../serve/http/harness.ts';
import { run, serving } from './command.ts';

const state = await temporaryFolder();
// The demo keeps what is there: keys of its own would be 4096 bits long.
await makeKeys(join(state, 'keys'), { site: 'demo', now: Date.now() });
const WORDS = ['demo', '--state', state, '--http-port', '0'];

describe('demo', () => {
  it('boots a sample, shows the verdict and the lines for dnsmasq, and serves until SIGINT', async (t) => {
    const running = serving(t, WORDS);
    const [, port] = await running.until('out', /^Serving on http:\/\/127\.0\.0\.1:(\d+) until Ctrl-C\.$/m);
    const { out, err } = running.said;
    assert.match(out, /^artifact +role +loader \(iPXE CMS\) .*checksum +OpenPGP +CMS$/m);
    assert.match(out, /^arch\/x86_64\/airootfs\.sfs +rootfs +–( +verified){3,4}$/m);
    assert.match(out, /^VERIFIED: script, kernel, every initrd and the root image\b.*\.$/m);
    assert.match(out, /^ {2}dhcp-boot=tag:bootseal-bios,bootseal-grub\.0,,ADDRESS$/m);
    assert.match(out, /^ {2}dhcp-match=set:bootseal-efi,option:client-arch,7$/m);
    assert.doesNotMatch(out + err, /\u001b|making the ca key|"level"/);
    assert.equal((await ask(Number(port), '/healthz')).status, 200);

    // What it tells people to try does work while it serves.
    const tried = [...out.matchAll(/^ {2}bootseal ((boot|verify) .*)$/gm)].map(([, words]) => words ?? '');
    assert.equal(tried.length, 3);
    const codes: (number | undefined)[] = [];
    for (const words of tried) codes.push((await run(words.replace(/ {2,}\(.*/, '').split(' '))).code);
    assert.deepEqual(codes, [0, 0, 1]);

    running.signal('SIGINT');
    assert.equal((await running.ended).code, 0);
  });

  it('says one object with --json, and ends after the boot with --once', async () => {
    const { code, out } = await run([...WORDS, '--json', '--once']);
    const said = JSON.parse(out);
    assert.deepEqual([code, said.verified, said.keys], [0, true, join(state, 'keys')]);
  });

  it('says nothing with --quiet', async () => {
    assert.deepEqual(await run([...WORDS, '--quiet', '--once']), { code: 0, out: '', err: '' });
  });

  it('makes keys of its own where there are none, and keeps them', async () => {
    const own = join(state, 'own');
    const first = await run(['demo', '--state', own, '--http-port', '0', '--once']);
    assert.equal(first.code, 0);
    assert.match(first.err, /^Making development keys in /m);
    assert.equal((await stat(own)).mode & 0o777, 0o700);
    const ca = () => readFile(join(own, 'keys', 'anchors', 'ca.crt'), 'utf8');
    const made = await ca();
    const second = await run(['demo', '--state', own, '--http-port', '0', '--once']);
    assert.equal(second.code, 0);
    assert.doesNotMatch(second.err, /Making/);
    assert.equal(await ca(), made);
  });
});
