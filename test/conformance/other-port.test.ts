import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import { treeTransport } from '../../src/conformance/tree-transport.ts';
import { demandGrubBound } from '../../src/emulator/grub.ts';
import { Refusal } from '../../src/errors/refusal.ts';
import { readAnchorFolder } from '../../src/trust/anchor-folder.ts';
import { defaultPolicy } from '../../src/trust/policy.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { sampleTree, sealFixture } from '../fixtures/release.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const tree = await sampleTree(join(folder, 'tree'), keys);
await sealFixture(tree, keys);
const files = treeTransport(tree, 'arch/2026.11.01');

it('a server at another port than the sealed grub.cfg names is refused with both, and with what to do', async () => {
  const base = 'http://192.0.2.1:9090';
  const offer = {
    base,
    transport: {
      fetch(url: string) {
        if (url.startsWith(base)) return files.fetch(url);
        throw new Refusal('unreachable', 'Nobody is there.', {});
      },
    },
    anchors: await readAnchorFolder(join(keys, 'anchors')),
    policy: defaultPolicy(NOW),
    now: NOW,
  };
  await assert.rejects(demandGrubBound(offer), (error) => {
    assert.ok(error instanceof Refusal && error.code === 'unreachable');
    assert.match(
      error.message,
      /sealed grub\.cfg names http:\/\/192\.0\.2\.1:8080, and this server is .*:9090/,
    );
    assert.match(error.message, /Nobody is there\. .* seal with --url http:\/\/192\.0\.2\.1:9090\.$/);
    return true;
  });
  await demandGrubBound({ ...offer, base: 'http://192.0.2.1:8080', transport: files });
});
