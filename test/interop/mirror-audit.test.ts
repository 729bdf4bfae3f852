import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import { freePorts, startNginx } from '../../lab/nginx.ts';
import { audit } from '../../src/mirrors/audit/audit.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { copyState, flipByte, mirrorSite, NEW, OLD } from '../fixtures/mirror-site.ts';
import { ROOTFS } from '../fixtures/release.ts';

const folder = await temporaryFolder();
const site = await mirrorSite(folder, true);
const honest = await copyState(site.fresh, join(folder, 'honest'));
const tampering = await copyState(site.fresh, join(folder, 'tampering'));
const image = `releases/${NEW}/${ROOTFS}`;
/** In block 4321 of 8192. */
await flipByte(join(tampering, image), 4321 * 4096 + 77);
const [honestPort = 0, stalePort = 0, tamperingPort = 0, nobody = 0] = await freePorts(4);
const nginx = await startNginx(join(folder, 'nginx'), [
  { root: honest, port: honestPort },
  { root: site.stale, port: stalePort },
  { root: tampering, port: tamperingPort },
]);
const url = (port: number) => `http://127.0.0.1:${port}/`;
const mirrors = [honestPort, stalePort, tamperingPort, nobody].map(url);
const given = { mirrors, channel: 'stable', anchors: site.anchors, now: site.now };

it('tells honest, stale, tampering and absent mirrors apart, the last by every byte', async (t) => {
  t.after(() => nginx.stop());
  const { rows, newest } = await audit({ ...given, depth: 'complete' });
  assert.equal(newest, 2);
  assert.deepEqual(
    rows.map(({ url, verdict, counter, behindDays }) => [url, verdict, counter, behindDays]),
    [
      [url(honestPort), 'verified', 2, 0],
      [url(stalePort), 'stale', 1, 3],
      [url(tamperingPort), 'drifted', 2, 0],
      [url(nobody), 'unreachable', undefined, 0],
    ],
  );
  const [good, stale, bad] = rows;
  assert.deepEqual(
    bad?.drifted.map(({ path, block }) => [path, block]),
    [[image, 4321]],
  );
  assert.deepEqual([good?.drifted, stale?.drifted], [[], []]);
  assert.deepEqual([stale?.releases[0]?.release, good?.releases[0]?.release], [OLD, NEW]);
  assert.ok((good?.bytes ?? 0) > 32 * 1024 * 1024);
});
