import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { UsageError } from '../../src/errors/usage.ts';
import { serverAddress } from '../../src/scripts/server-address.ts';

describe('the address of seal --url', () => {
  it('is a host and perhaps a port', () => {
    assert.deepEqual(serverAddress('http://10.0.0.1:8080/').script, {
      kind: 'literal',
      url: 'http://10.0.0.1:8080',
    });
    assert.deepEqual(serverAddress('http://boot.example').grub, {
      kind: 'literal',
      host: 'boot.example',
      port: 80,
    });
    assert.deepEqual(serverAddress(undefined).script, { kind: 'typed' });
  });

  it('is none of IPv6, and says why', () => {
    for (const url of ['http://[fd00::1]:8080', 'http://[::1]', 'https://[fd00::1]'])
      assert.throws(
        () => serverAddress(url),
        (error) => error instanceof UsageError && /IPv6.* IPv4 alone .*\.$/.test(error.message),
      );
  });

  for (const url of [
    '',
    '10.0.0.1',
    'https://10.0.0.1',
    'http://10.0.0.1:0',
    'http://10.0.0.1:65536',
    'http://a/b',
    'http://u@a',
  ])
    it(`is not ${JSON.stringify(url)}`, () => {
      assert.throws(() => serverAddress(url), /is no address of a server/);
    });
});
