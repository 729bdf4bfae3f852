import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { decodeBootReport, encodeBootReport } from '../../../src/formats/records/boot-report.ts';
import type { PolicyFloor } from '../../../src/formats/records/policy-floor.ts';
import { clockVectors } from '../../fixtures/clock-vectors.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { makeKeys, NOW } from '../../fixtures/keys.ts';
import { overlayOf } from '../../fixtures/overlay.ts';
import { REPORT_MAC, REPORT_NONCE } from '../../fixtures/report-vectors.ts';
import { flipped, initrd, keyFiles, outcomes, ROOT, without } from './release.ts';
import { commandLine, earlyVerity, type Files, sealedAround } from './verity-machine.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const stranger = await makeKeys(join(folder, 'stranger'));
const overlay = await overlayOf(keys);
const image = Buffer.alloc(40_960, 'a root image of no file system ');
const files = await sealedAround(join(folder, 'tree'), keys, image, '2026.11.01', {
  'bootseal-overlay.img': overlay,
});
/** What another initramfs brings along: keys of its own, which are nobody's here. */
const initramfs = initrd(await keyFiles(stranger));

/** A machine with this overlay, or with one of this floor, behind a stranger's initramfs. */
function booted(setting: Partial<Parameters<typeof earlyVerity>[0]> & { overlay?: Uint8Array }) {
  const { overlay: last = overlay, ...rest } = setting;
  return earlyVerity({ files, initrds: [initramfs, last], ...rest });
}
const floored = (floor: Partial<PolicyFloor>, gpg = false) => overlayOf(keys, floor, gpg);
const changed = (path: string): Files => ({ ...files, [path]: flipped(files[path] as Uint8Array) });

describe('the init of an overlay', () => {
  it('is what the sealed command line of a tree with an overlay starts', () => {
    assert.match(commandLine(files), / rdinit=\/bootseal\/init /);
  });

  it('has its own keys, whatever the initramfs holds, and its own mode, whatever the machine would do', async () => {
    const ran = await booted({ mode: 'ram' });
    assert.deepEqual(outcomes(ran), { manifest: 'verified', cms: 'verified', verity: 'verified' });
    assert.deepEqual([ran.refusal, ran.mode, ran.path], [undefined, 'verity', ROOT]);
  });

  it('asks for no OpenPGP seal where it holds no gpg, and for one where it does', async () => {
    const asked = async (last: Uint8Array) =>
      (await booted({ overlay: last })).asked.includes('release.manifest.sig');
    assert.deepEqual([await asked(overlay), await asked(await floored({}, true))], [false, true]);
  });

  it('downloads the image once in mode ram, and holds it against the manifest alone', async () => {
    const ran = await booted({ overlay: await floored({ mode: 'ram' }), mode: 'verity' });
    assert.deepEqual([ran.refusal, ran.mode, outcomes(ran)], [undefined, 'ram', { manifest: 'verified' }]);
    assert.deepEqual(ran.asked, ['release.manifest', 'release.manifest.cms.sig', ROOT]);
  });

  it('looks at the seal of the image, too, where its policy says so', async () => {
    const last = await floored({ mode: 'ram', require: ['manifest', 'cms'] });
    assert.deepEqual(outcomes(await booted({ overlay: last })), { manifest: 'verified', cms: 'verified' });
    const ran = await booted({ overlay: last, files: without(files, `${ROOT}.cms.sig`) });
    assert.equal(ran.refusal?.code, 'absent');
  });

  const REFUSALS: Record<string, () => Promise<[Parameters<typeof booted>[0], string]>> = {
    'a changed image in mode ram': async () => [
      { overlay: await floored({ mode: 'ram' }), files: changed(ROOT) },
      'bad-signature',
    ],
    'a changed block in mode verity': async () => [{ files: changed(ROOT) }, 'bad-signature'],
    'a changed manifest': async () => [
      { files: changed('release.manifest'), cmdline: commandLine(files) },
      'mixed-releases',
    ],
    'a release of other keys': async () => [{ overlay: await overlayOf(stranger) }, 'untrusted-signer'],
    'a release below its minimum serial': async () => [
      { overlay: await floored({ minSerial: 2026110101 }) },
      'rolled-back',
    ],
    'a release of another name': async () => [
      { overlay: await floored({ name: 'school' }) },
      'mixed-releases',
    ],
    'a command line with a word that nobody signed': async () => [
      { cmdline: `${commandLine(files)} disablehooks=bootseal` },
      'wrong-command-line',
    ],
    'a command line that names no manifest': async () => [
      { cmdline: commandLine(files).replace(/ bootseal\.manifest=\S+/, '') },
      'wrong-command-line',
    ],
    'an OpenPGP seal that it must look at and cannot': async () => [
      { overlay: await floored({ require: ['manifest', 'openpgp'] }) },
      'absent',
    ],
    'the same in mode ram': async () => [
      { overlay: await floored({ mode: 'ram', require: ['manifest', 'openpgp'] }) },
      'absent',
    ],
  };
  for (const [what, setting] of Object.entries(REFUSALS)) {
    it(`refuses ${what}`, async () => {
      const [machine, code] = await setting();
      const ran = await booted(machine);
      assert.deepEqual([ran.refusal?.code, ran.verified], [code, undefined], ran.refusal?.message);
    });
  }

  it('tells the server of a root that was verified, and why of one that was not', async () => {
    const mac = REPORT_MAC;
    const whose = { mac, nonce: REPORT_NONCE };
    assert.deepEqual((await booted({ mac })).reported, [
      encodeBootReport({ ...whose, outcome: 'verified', release: 'arch/2026.11.01', root: 'verity' }),
    ]);
    for (const [what, setting] of Object.entries(REFUSALS)) {
      const { refusal, reported, console, mode } = await booted({ ...(await setting())[0], mac });
      assert.ok(refusal, what);
      const { code, message } = refusal;
      const [text = '', ...more] = reported;
      const said = decodeBootReport(Buffer.from(text));
      assert.ok(said.outcome === 'refused', what);
      assert.deepEqual([said.code, said.message, more], [code, message.slice(0, 512), []], what);
      // Where the manifest was good, it says of which release.
      const image = what.startsWith('a changed image') || what.startsWith('a changed block');
      assert.deepEqual([said.release, said.root], image ? ['arch/2026.11.01', mode] : [undefined, undefined]);
      const shown = console.slice(-20).map((line) => line.slice(0, 128));
      assert.deepEqual(said.lines, shown);
      assert.match(said.lines.at(-1) ?? '', /^ERROR: /);
    }
  });

  it('tells nobody of what it refuses before it has a network, nor without a card', async () => {
    const mac = REPORT_MAC;
    for (const setting of [
      { mac, cmdline: `${commandLine(files)} vlan=0` },
      { mac, cmdline: commandLine(files).replace(/archiso_http_srv=\S+/, 'archiso_http_srv=nowhere') },
      { files: changed(ROOT) },
    ]) {
      const { refusal, reported } = await booted(setting);
      assert.ok(refusal);
      assert.deepEqual(reported, []);
    }
  });

  it('starts nothing by an arming that is none, and tells of it as of any boot', async () => {
    const ran = await booted({ mac: REPORT_MAC, cmdline: `${commandLine(files)} bootseal.once=x` });
    assert.deepEqual([ran.refusal?.code, ran.verified], ['wrong-command-line', undefined]);
    assert.match(
      ran.reported[0] ?? '',
      /^\{"mac":"[^"]*","nonce":"a{32}","outcome":"refused","code":"wrong-/,
    );
  });

  it('refuses a VLAN that is none before it asks anybody, as its init does', async () => {
    for (const vlan of ['0', '4095', '010', 'eth0.10', '']) {
      const { refusal, asked } = await booted({ cmdline: `${commandLine(files)} vlan=${vlan}` });
      assert.equal(refusal?.message, 'vlan= names no VLAN: that is a number from 1 to 4094.', vlan);
      assert.deepEqual([refusal.code, asked], ['wrong-command-line', []]);
    }
    // One that is: the line is held against the manifest like any other.
    const { refusal } = await booted({ cmdline: `${commandLine(files)} vlan=10` });
    assert.match(refusal?.message ?? '', /"vlan=10" is on the command line, and nobody signed it/);
  });

  for (const vector of clockVectors) {
    it(`says of its clock what it must, given ${vector.name}`, async () => {
      const { now, issued, ntp, claim } = vector;
      const last = await floored({ ntp, issued: issued === undefined ? undefined : issued * 1000 });
      const hosts: string[] = [];
      const askTime = async (host: string) => {
        hosts.push(host);
        return claim === undefined ? undefined : claim * 1000;
      };
      const ran = await booted({ overlay: last, now: now * 1000, askTime });
      const until = ran.console.findIndex((line) =>
        /^(Manifest is OK|ERROR|The clock is set forward)/.test(line),
      );
      assert.deepEqual(
        ran.console.slice(0, until).map((line) => line.replace(/^WARNING: /, '')),
        vector.says,
      );
      assert.deepEqual(hosts, ntp === undefined ? [] : [ntp]);
      // What is judged is judged by that clock: a release of that day is fresh then.
      assert.equal(ran.refusal?.code, vector.clock === 0 ? 'not-yet-valid' : undefined, ran.refusal?.message);
    });
  }

  it('judges the seal of a root hash by the clock that was moved, too', async () => {
    const last = await floored({ ntp: 'time.example.org' });
    const ran = await booted({ overlay: last, now: 0, askTime: async () => NOW });
    assert.deepEqual([ran.refusal, ran.path], [undefined, ROOT]);
    assert.ok(
      ran.console.includes('The clock is set forward to 2026-11-01T00:00:00Z.'),
      ran.console.join('\n'),
    );
  });

  it('goes no further than best-before, and says so', async () => {
    const last = await floored({ ntp: 'time.example.org' });
    const ran = await booted({ overlay: last, askTime: async () => Date.UTC(2106, 0) });
    assert.equal(ran.refusal, undefined);
    const at = ran.console.indexOf('The clock is set forward to 2027-01-30T00:00:00Z.');
    assert.match(
      ran.console[at + 1] ?? '',
      /^WARNING: The time server's clock is past 2027-01-30, before which /,
    );
  });

  it('has nobody to ask where the machine has no time server', async () => {
    const ran = await booted({ overlay: await floored({ ntp: 'time.example.org' }) });
    assert.equal(ran.refusal, undefined);
    assert.match(ran.console[0] ?? '', /time\.example\.org is nobody that this machine could ask/);
  });

  it('is missed where the loader left the overlay out', async () => {
    const ran = await earlyVerity({ files, initrds: [initramfs] });
    assert.deepEqual([ran.refusal?.code, ran.asked], ['absent', []]);
    assert.match(ran.refusal?.message ?? '', /no initrd holds it/);
  });
});

it('a first program that is neither an initramfs’ own nor the overlay’s is refused before anything is fetched', async () => {
  const ran = await booted({ cmdline: `${commandLine(files)} rdinit=/bin/sh` });
  assert.deepEqual([ran.refusal?.code, ran.asked], ['wrong-command-line', []]);
});
