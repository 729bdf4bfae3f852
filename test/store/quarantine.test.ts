import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { IoError } from '../../src/errors/io.ts';
import { readCountersignatures } from '../../src/store/provenance.ts';
import { quarantinedReleases, readQuarantined, storedReleases } from '../../src/store/quarantine.ts';
import { openState } from '../../src/store/state.ts';
import { asNobody } from '../files/nobody.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { refused } from '../trust/judge.ts';
import { bringBack, copyOf, putAway, releaseOf, store } from './states.ts';

const folder = await temporaryFolder();
const ORIGINAL = join(folder, 'original');
await (await openState(ORIGINAL)).release();
for (const number of [1, 2]) await store(ORIGINAL, releaseOf(number));
await putAway(ORIGINAL, releaseOf(1));
await putAway(ORIGINAL, releaseOf(2), true);

let copies = 0;
const copy = () => copyOf(ORIGINAL, join(folder, `copy-${++copies}`));

it('tells what was moved from what is held', async () => {
  assert.deepEqual(await storedReleases(ORIGINAL), [releaseOf(2)]);
  assert.deepEqual(await quarantinedReleases(ORIGINAL), [releaseOf(1), releaseOf(2)]);
  assert.equal((await readQuarantined(ORIGINAL, releaseOf(1)))?.held, false);
  assert.equal((await readQuarantined(ORIGINAL, releaseOf(2)))?.held, true);
  assert.equal(await readQuarantined(ORIGINAL, releaseOf(3)), undefined);
});

it('what lies there without its reason is not "in service"', async () => {
  const state = copy();
  rmSync(join(state, 'quarantine', releaseOf(1), 'reason.json'));
  await assert.rejects(readQuarantined(state, releaseOf(1)), refused('drifted', /its reason\.json is gone/));
  assert.deepEqual(await quarantinedReleases(state), [releaseOf(1), releaseOf(2)]);
});

it('a reason that cannot be read is an I/O fault; one that somebody wrote into is refused', async () => {
  const state = copy();
  const reason = join(state, 'quarantine', releaseOf(2), 'reason.json');
  await chmod(reason, 0);
  await asNobody(folder, () => assert.rejects(readQuarantined(state, releaseOf(2)), IoError));
  await chmod(reason, 0o644);
  await writeFile(reason, `${readFileSync(reason, 'utf8')} `);
  await assert.rejects(
    readQuarantined(state, releaseOf(2)),
    refused('malformed', /reason\.json is not as it was/),
  );
  await chmod(join(state, 'quarantine', 'arch'), 0);
  await asNobody(folder, () => assert.rejects(quarantinedReleases(state), IoError));
});

it('another of the same name steps aside whole, and both reasons are kept', async () => {
  const state = copy();
  await store(state, releaseOf(1), 'another kernel');
  await putAway(state, releaseOf(1));
  const aside = join(state, 'provenance', releaseOf(1), 'quarantined/before-1');
  assert.deepEqual(readdirSync(aside).sort(), ['reason.json', 'release']);
  assert.match(readFileSync(join(aside, 'release/boot/vmlinuz'), 'utf8'), /^kernel of /);
  await bringBack(state, releaseOf(1));
  assert.equal(readFileSync(join(state, 'releases', releaseOf(1), 'boot/vmlinuz'), 'utf8'), 'another kernel');
  assert.deepEqual(readdirSync(join(state, 'provenance', releaseOf(1), 'quarantined')).length, 2);
});

it('a countersignature that lost a seal is not "none"', async () => {
  const state = copy();
  const place = join(state, 'provenance', releaseOf(1), 'countersignatures/0123');
  await mkdir(place, { recursive: true });
  assert.deepEqual(await readCountersignatures(state, releaseOf(1)), []);
  await writeFile(join(place, 'countersignature'), 'record');
  await writeFile(join(place, 'countersignature.cms.sig'), 'seal');
  await assert.rejects(
    readCountersignatures(state, releaseOf(1)),
    refused('drifted', /countersignature\.sig is missing/),
  );
});
