import assert from 'node:assert/strict';
import { it } from 'node:test';
import { readAssets } from '../../src/web/assets.ts';

it('style and script are small, named by their digests, and load nothing of anybody else', () => {
  const { paths, assets } = readAssets();
  assert.match(paths.style, /^\/assets\/bootseal-[0-9a-f]{12}\.css$/);
  assert.match(paths.script, /^\/assets\/bootseal-[0-9a-f]{12}\.js$/);
  assert.ok(assets.reduce((sum, { bytes }) => sum + bytes.length, 0) < 60_000);
  for (const { bytes, path } of assets) {
    const text = Buffer.from(bytes).toString('utf8');
    assert.doesNotMatch(text, /https?:|@import|url\(|\beval\(|new Function/, path);
  }
});
