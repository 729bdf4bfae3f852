import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { addOverlay } from '../lab/overlay.ts';
import { labRelease } from '../lab/release.ts';

it('the harness of docs/examples runs as it stands there', async () => {
  const release = await labRelease({
    free: ['ip dhcp', 'BOOTIF mac', 'archiso_http_srv url', 'bootseal.nbd-port port'],
    prepare: (tree, keys) => addOverlay(tree, keys, 'verity'),
  });
  try {
    const example = fileURLToPath(new URL('../../docs/examples/harness.mjs', import.meta.url));
    const { stdout } = await promisify(execFile)(process.execPath, [example, release.tree, release.keys]);
    assert.equal(
      stdout,
      [
        '52:54:00:00:00:01: verified, arch/2026.11.01, by way of ipxe',
        '52:54:00:00:00:02: verified, arch/2026.11.01, root by verity',
        '',
      ].join('\n'),
    );
  } finally {
    await release.remove();
  }
});
