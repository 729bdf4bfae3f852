import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { before, describe, it } from 'node:test';
import { type OverlayOptions, overlay } from '../../src/build/overlay.ts';
import { decodeCpio } from '../../src/formats/archive/cpio.ts';
import { decodePolicyFloor } from '../../src/formats/records/policy-floor.ts';
import { misused } from '../fixtures/failed.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { elf } from '../fixtures/kernels.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { refused } from '../trust/judge.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const DAY = 86_400_000;

let count = 0;
const fresh = (): string => join(folder, `overlay-${++count}.img`);

async function built(out: string, options: Partial<OverlayOptions> = {}) {
  const { floor = {}, ...rest } = options;
  const made = await overlay({
    anchors: join(keys, 'anchors'),
    out,
    now: NOW,
    floor: { mode: 'ram', ...floor },
    ...rest,
  });
  const bytes = await readFile(out);
  const policy = decodeCpio(bytes).find(({ name }) => name === 'bootseal/policy');
  assert.ok(policy);
  const sealed = decodePolicyFloor(policy.data);
  assert.deepEqual(sealed, { ...made.floor, name: undefined });
  return { bytes, made, floor: sealed };
}

describe('the date of issue of an overlay', () => {
  it('is that of its building, in whole seconds', async () => {
    const { floor } = await built(fresh(), { now: NOW + 999 });
    assert.equal(floor.issued, NOW);
  });

  it('is the one that was named, before that of a policy file', async () => {
    const policy = join(folder, 'policy');
    await writeFile(policy, 'bootseal-policy 1\nmin-serial 0\ngrace-days 0\nissued 2026-10-01T00:00:00Z\n');
    const issued = Date.UTC(2026, 9, 2);
    assert.equal((await built(fresh(), { policy })).floor.issued, Date.UTC(2026, 9, 1));
    assert.equal((await built(fresh(), { policy, floor: { issued } })).floor.issued, issued);
  });

  it('stays where the same overlay is built again, which is then the same, byte for byte', async () => {
    const out = fresh();
    const first = await built(out);
    const again = await built(out, { now: NOW + DAY });
    assert.equal(again.floor.issued, NOW);
    assert.equal(Buffer.compare(first.bytes, again.bytes), 0);
  });

  it('is a new one where anything else is', async () => {
    const out = fresh();
    await built(out);
    const { floor } = await built(out, { now: NOW + DAY, floor: { minSerial: 7 } });
    assert.equal(floor.issued, NOW + DAY);
  });

  for (const [what, before] of [
    ['no overlay', 'a file of somebody else\n'],
    ['empty', ''],
  ] as const) {
    it(`is of now where what is there is ${what}`, async () => {
      const out = fresh();
      await writeFile(out, before);
      assert.equal((await built(out, { now: NOW + DAY })).floor.issued, NOW + DAY);
    });
  }
});

it('an overlay whose modules are for other machines than its tools is refused, naming both', async () => {
  const root = await mkdtemp(join(folder, 'root-'));
  const modules = join(root, 'lib/modules/6.1.0-50-arm64');
  await mkdir(modules, { recursive: true });
  await writeFile(join(modules, 'modules.dep'), 'loop.ko:\n');
  const AARCH64 = 183;
  await writeFile(join(modules, 'loop.ko'), elf(AARCH64));
  const out = fresh();
  await assert.rejects(
    built(out, { modules: root }),
    refused(
      'wrong-machine',
      /modules of 6\.1\.0-50-arm64 are for aarch64, and the tools are for x86_64; .* --tools\.$/,
    ),
  );
  assert.equal(existsSync(out), false);
});

describe('an overlay that asks a time server', () => {
  const floor = { ntp: 'time.example.org' };
  let busyboxWithNtpd: Buffer;
  before(async () => {
    // A table of names is what it is known by; one of four letters gives its place.
    busyboxWithNtpd = await readFile('/bin/busybox');
    const at = busyboxWithNtpd.indexOf('\0nuke\0');
    assert.ok(at > 0);
    busyboxWithNtpd.write('ntpd', at + 1, 'latin1');
  });

  /** A folder with nothing but files: busybox, openssl, and what openssl needs. */
  async function toolsWith(busybox: Uint8Array): Promise<string> {
    const tools = await mkdtemp(join(folder, 'tools-'));
    await writeFile(join(tools, 'busybox'), busybox);
    const told = execFileSync('ldd', ['/usr/bin/openssl'], { encoding: 'utf8' });
    const libraries = [...told.matchAll(/(\/\S+)/g)].map(([path]) => path);
    for (const path of ['/usr/bin/openssl', ...libraries])
      await cp(path, join(tools, basename(path)), { dereference: true });
    return tools;
  }

  it('carries rdate where its busybox has no ntpd', async () => {
    const { made, bytes } = await built(fresh(), { floor });
    assert.ok(made.tools.includes('rdate'));
    assert.ok(decodeCpio(bytes).some(({ name }) => name === 'bootseal/libexec/rdate'));
    assert.equal(made.floor.ntp, 'time.example.org');
  });

  it('carries none where it has', async () => {
    const tools = await toolsWith(busyboxWithNtpd);
    const { made } = await built(fresh(), { floor, tools });
    assert.deepEqual(made.tools, ['busybox', 'openssl']);
  });

  it('is refused where neither is there', async () => {
    const tools = await toolsWith(await readFile('/bin/busybox'));
    await assert.rejects(
      built(fresh(), { floor, tools }),
      misused(/no program rdate below .*; a busybox that has ntpd needs none/),
    );
  });
});
