import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runHere } from './here.ts';

describe('bootseal dhcp-config', () => {
  it('prints a configuration and nothing else, so that it can be written to a file', async () => {
    const { code, out, err } = await runHere(['dhcp-config', 'dnsmasq', '--server', '10.0.0.1']);
    assert.deepEqual([code, err], [0, '']);
    assert.match(out, /^# For a file in \/etc\/dnsmasq\.d\.\n/);
    for (const line of out.trimEnd().split('\n')) assert.match(line, /^(# |dhcp-[a-z-]+=)/);
  });

  it('says the rules and the lines as one object with --json', async () => {
    const { code, out } = await runHere([
      'dhcp-config',
      'kea',
      '--server',
      '10.0.0.1',
      '--http-port',
      '80',
      '--json',
    ]);
    const { dialect, server, rules, lines } = JSON.parse(out);
    assert.deepEqual([code, dialect, server], [0, 'kea', '10.0.0.1']);
    assert.deepEqual(
      rules.find(({ name }: { name: string }) => name === 'http-efi'),
      {
        name: 'http-efi',
        what: 'UEFI x64, HTTP Boot',
        match: { by: 'firmware', vendor: 'HTTPClient', architectures: [16] },
        server: '10.0.0.1',
        file: 'http://10.0.0.1/bootseal-grub.efi',
      },
    );
    assert.ok(lines.includes('"client-classes": ['));
  });

  for (const [what, words, reason] of [
    ['a server’s language that is not known', ['bind9', '--server', '10.0.0.1'], /it is one of dnsmasq, kea/],
    ['no address', ['dnsmasq'], /--server/],
    ['a name for an address', ['dnsmasq', '--server', 'boot.example'], /is no IPv4 address of a server/],
    ['a port that is none', ['kea', '--server', '10.0.0.1', '--http-port', '0'], /0 is no port/],
    ['a proxy that is none', ['kea', '--server', '10.0.0.1', '--proxy'], /--proxy goes with dnsmasq alone/],
    ['what an iPXE does not get', ['kea', '--server', '10.0.0.1', '--ipxe', 'both'], /script, loader/],
    ['a folder that is not there', ['kea', '--server', '10.0.0.1', '--loaders', 'nowhere'], /no such folder/],
  ] as const)
    it(`refuses ${what}, and prints nothing to write to a file`, async () => {
      const { code, out, err } = await runHere(['dhcp-config', ...words]);
      assert.deepEqual([code, out], [2, '']);
      assert.match(err, reason);
    });
});
