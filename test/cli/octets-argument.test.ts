import assert from 'node:assert/strict';
import { it } from 'node:test';
import { octetsArgument } from '../../src/cli/octets-argument.ts';

it('bytes are read as they are written: powers of ten, of two with an i, and nothing else', () => {
  const good = {
    '512': 512,
    '500k': 500_000,
    '1.5M': 1_500_000,
    '32Ki': 32_768,
    '2G': 2e9,
    '1Ti': 1024 ** 4,
  };
  for (const [text, octets] of Object.entries(good)) assert.equal(octetsArgument(text), octets, text);
  for (const text of ['', '0', '-1', '1.5', 'k', '1K', '1g', '1kB', '1 k', '01', '1e3', '999999999999T'])
    assert.throws(() => octetsArgument(text), /Bytes are a number/, text);
});
