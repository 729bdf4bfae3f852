import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { makeKeys } from '../fixtures/keys.ts';
import { sampleTree, sealFixture } from '../fixtures/release.ts';
import { runHere as run } from './here.ts';
import { cliSite } from './site.ts';

const { folder, anchors, tree, keys } = await cliSite();
const state = join(folder, 'state');
const given = ['--channel', 'stable', '--state', state, '--anchors', anchors, '--snapshot-key', keys];

describe('publish', () => {
  it('--dry-run prints the table of gates and changes nothing', async () => {
    const { code, out } = await run(['publish', tree, ...given, '--dry-run']);
    assert.equal(code, 0);
    assert.match(out, /^gate +answer +what was found$/m);
    assert.match(
      out,
      /^keys in initramfs +passed +codesign\.lab, manifest\.lab and OpenPGP [0-9a-f]{16}, [0-9a-f]{16}$/m,
    );
    assert.match(out, /^client archiso +passed/m);
    assert.match(out, /would be published to stable\.$/m);
    const shown = await run(['channel', 'show', 'stable', '--state', folder]);
    assert.deepEqual(
      [shown.code, shown.err],
      [
        2,
        `${folder} is not a state folder: it holds files and no "format", or an earlier Bootseal made it. Name another, or publish into an empty one.\n`,
      ],
    );
  });

  it('moves the channel, which show, renew and the next publish know', async () => {
    const first = await run(['publish', tree, ...given]);
    assert.equal(first.code, 0);
    assert.match(first.out, /^stable → arch\/2026\.11\.01, serial 2026110100: snapshot 1, until /m);
    const renewed = await run([
      'channel',
      'renew',
      'stable',
      '--state',
      state,
      '--snapshot-key',
      keys,
      '--json',
    ]);
    const { snapshot } = JSON.parse(renewed.out);
    assert.deepEqual([renewed.code, snapshot.counter], [0, 2]);
    const shown = await run(['channel', 'show', 'stable', '--state', state]);
    assert.equal(shown.code, 0);
    assert.match(shown.out, /^2 +x86_64 +arch\/2026\.11\.01 +2026110100/m);
    assert.match(shown.out, /^VERIFIED: stable → arch\/2026\.11\.01$/m);
  });

  it('a refusal is exit 1, and an operator’s mistake exit 2', async () => {
    const { code, out } = await run([
      'channel',
      'rollback',
      'stable',
      'arch/2026.10.01',
      '--state',
      state,
      '--anchors',
      anchors,
      '--snapshot-key',
      keys,
    ]);
    assert.deepEqual([code, out], [2, '']);
    const json = await run(['publish', folder, ...given, '--json']);
    assert.equal(json.code, 1);
    assert.equal(JSON.parse(json.out).published, false);
  });
});

describe('verify --as', () => {
  it('is one row a client, and its weaknesses in words', async () => {
    const { code, out } = await run(['verify', tree, '--anchors', anchors, '--as', 'grub,archiso']);
    assert.equal(code, 0);
    assert.deepEqual(
      out
        .split('\n')
        .slice(0, 3)
        .map((line) => line.trim()),
      ['client   verdict   why', 'grub     verified', 'archiso  verified'],
    );
    assert.match(out, /^archiso takes any certificate of the CA for CMS/m);
    assert.match(out, /^VERIFIED by grub, archiso\.$/m);
  });

  it('knows no other clients', async () => {
    const { code, err } = await run(['verify', tree, '--anchors', anchors, '--as', 'lilo']);
    assert.equal(code, 2);
    assert.match(err, /there is no client "lilo"; there are ipxe, ipxe-efi, grub, archiso, manifest\./);
  });
});

it('a release sealed "in 2022" verifies as of then and is refused now', async () => {
  const then = Date.UTC(2022, 5, 1);
  const oldKeys = await makeKeys(join(folder, 'old-keys'), { now: then });
  const oldTree = await sampleTree(join(folder, 'old-tree'), oldKeys);
  await sealFixture(oldTree, oldKeys, { now: then });
  const at = await run(['verify', oldTree, '--anchors', oldKeys, '--at', '2022-06-02']);
  assert.equal(at.code, 0, at.out);
  const now = await run(['verify', oldTree, '--anchors', oldKeys]);
  assert.equal(now.code, 1);
  assert.match(now.out, /^REFUSED: the certificate manifest\.lab ended on 2024-05-31\. \[expired\]$/m);
});
