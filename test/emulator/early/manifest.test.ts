import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { runArchiso } from '../../../src/emulator/early/archiso.ts';
import { EarlyKeys } from '../../../src/emulator/early/keys.ts';
import { archisoParameters } from '../../../src/emulator/early/parameters.ts';
import { readInitramfs } from '../../../src/emulator/initramfs.ts';
import { Refusal } from '../../../src/errors/refusal.ts';
import { isOfType } from '../../../src/formats/script/cmdline.ts';
import { defaultPolicy } from '../../../src/trust/policy.ts';
import { answered, emulatedAnswer, machineInitrd } from '../../fixtures/emulated-verifier.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import {
  CMS_NAME,
  cmsSeal,
  expectedAnswer,
  type Files,
  type Machine,
  makeMachine,
  makeSites,
  OPENPGP_NAME,
  openpgpSeal,
  RECORD_NAME,
  ROOT_IMAGE,
  SERVER,
  sha256,
} from '../../fixtures/manifest-record.ts';
import { manifestVectors } from '../../fixtures/manifest-vectors.ts';

const folder = await temporaryFolder();
const sites = await makeSites(folder);
const imageSeals: Files = {
  [ROOT_IMAGE]: sites.rootImage,
  [`${ROOT_IMAGE}.sig`]: await openpgpSeal(sites.rootImage, sites.ours.openpgp.payload),
  [`${ROOT_IMAGE}.cms.sig`]: await cmsSeal(sites.rootImage, sites.ours.codesign),
};

const CHECKSUM = 'arch/x86_64/airootfs.sha512';
const checksum = (image: Uint8Array): Uint8Array =>
  Buffer.from(`${createHash('sha512').update(image).digest('hex')}  airootfs.sfs\n`);

/** All of early userspace, with a server that has the records and the root image. */
async function boot(machine: Machine, more: Files = imageSeals) {
  const asked: string[] = [];
  const files: Files = { ...more, ...machine.records };
  const verdict = await runArchiso({
    initramfs: await readInitramfs(
      [machineInitrd({ ...sites.payloadRoot, ...machine.root })],
      EarlyKeys.reading,
    ),
    cmdline: machine.cmdline,
    arch: machine.arch,
    policy: defaultPolicy(Date.UTC(2026, 10, 1)),
    now: machine.now * 1000,
    transport: {
      async fetch(url) {
        const path = url.slice(SERVER.length);
        asked.push(path);
        const bytes = files[path];
        if (bytes === undefined) throw new Refusal('absent', `There is no ${path}.`);
        const body = async function* () {
          yield bytes;
        };
        return { url, size: bytes.length, partial: false, body: body() };
      },
    },
  });
  return { ...verdict, asked };
}

describe('emulated early userspace, given a manifest', () => {
  for (const vector of manifestVectors) {
    it(`says ${vector.expect} to ${vector.name}`, async () => {
      const machine = await makeMachine(vector, sites);
      if (vector.expect === 'verified') {
        const wanted = answered(expectedAnswer(vector, sites));
        const said = await emulatedAnswer(machine);
        assert.deepEqual(said, wanted);
        return;
      }
      const refused = (error: unknown) => {
        assert.ok(error instanceof Refusal, String(error));
        assert.equal(error.code, vector.expect, error.message);
        assert.ok(error.message.includes(vector.about ?? ''), error.message);
        return true;
      };
      await assert.rejects(emulatedAnswer(machine), refused);
      // A server that archiso could not use is refused before the manifest is asked for.
      const server = archisoParameters(machine.cmdline, machine.arch).httpServer;
      if (server === undefined || !isOfType(server, 'url') || !server.startsWith(SERVER)) return;
      // Only an overlay asks a time server.
      if (machine.claim !== undefined) return;
      const verdict = await boot(machine);
      refused(verdict.refusal);
      assert.equal(verdict.verified, undefined);
      assert.deepEqual(
        verdict.asked.filter((path) => !path.startsWith('release.manifest')),
        [],
      );
    });
  }
});

describe('emulated early userspace, past the manifest', () => {
  const good = { name: 'a good manifest', expect: 'verified' } as const;
  const sealed = async (image: Uint8Array): Promise<Files> => ({
    ...imageSeals,
    [ROOT_IMAGE]: image,
    [`${ROOT_IMAGE}.sig`]: await openpgpSeal(image, sites.ours.openpgp.payload),
    [`${ROOT_IMAGE}.cms.sig`]: await cmsSeal(image, sites.ours.codesign),
    [CHECKSUM]: checksum(image),
  });

  it('boots the root image that the manifest lists', async () => {
    const verdict = await boot(await makeMachine(good, sites), await sealed(sites.rootImage));
    assert.equal(verdict.refusal, undefined);
    assert.equal(verdict.verified?.sha256, sha256(sites.rootImage));
    assert.deepEqual(verdict.asked.slice(0, 3), [RECORD_NAME, CMS_NAME, OPENPGP_NAME]);
    assert.deepEqual(
      verdict.findings.map(({ check, verified }) => [check, verified]),
      ['manifest', 'checksum', 'openpgp', 'cms'].map((check) => [check, true]),
    );
  });

  it('refuses another image of the same length, whose own seals hold', async () => {
    const other = Buffer.from(sites.rootImage);
    other[500] = 0;
    const verdict = await boot(await makeMachine(good, sites), await sealed(other));
    assert.equal(verdict.verified, undefined);
    assert.match(verdict.refusal?.message ?? '', /is not the file that the manifest lists/);
    assert.deepEqual(
      verdict.findings.map(({ verified }) => verified),
      [false, true, true, true],
    );
  });

  it('refuses an image of another length before it is hashed', async () => {
    const verdict = await boot(await makeMachine(good, sites), await sealed(sites.rootImage.subarray(1)));
    assert.equal(verdict.verified, undefined);
    assert.match(verdict.refusal?.message ?? '', /has 102399 bytes, and the manifest says 102400/);
    assert.deepEqual(verdict.findings, []);
  });

  it('refuses an image that the manifest does not list', async () => {
    const vector = { ...good, text: (text: string) => text.replaceAll(ROOT_IMAGE, 'arch/x86_64/other.sfs') };
    const verdict = await boot(await makeMachine(vector, sites), await sealed(sites.rootImage));
    assert.equal(verdict.refusal?.code, 'mixed-releases');
  });

  it('asks for no manifest where neither the command line nor the policy does', async () => {
    const vector = { ...good, policy: '', cmdline: (line: string) => line.replace(/ bootseal\..*/, '') };
    const machine = await makeMachine(vector, sites);
    assert.deepEqual(await emulatedAnswer(machine), ['not asked']);
    const verdict = await boot(machine, await sealed(sites.rootImage));
    assert.equal(verdict.refusal, undefined);
    assert.ok(!verdict.asked.includes(RECORD_NAME));
  });
});
