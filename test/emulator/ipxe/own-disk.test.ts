import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Played, play, type Scenario, SERVER, seal } from './emulated.ts';

const SANBOOT = 'sanboot --no-describe --drive 0x80 ||\n';
const NEXT = 'set bootseal-next local\n';
const TO_DISK = `#!ipxe\n${NEXT}${SANBOOT}exit 0\n`;
const FILES = {
  [`${SERVER}/disk.ipxe`]: TO_DISK,
  [`${SERVER}/disk.ipxe.sig`]: seal(TO_DISK, 'boot'),
  [`${SERVER}/step.ipxe`]: `#!ipxe\nchain ${SERVER}/disk.ipxe ||\nexit 0\n`,
};
const VERIFIED = `imgfetch ${SERVER}/disk.ipxe\nimgverify --signer boot disk.ipxe ${SERVER}/disk.ipxe.sig\nchain disk.ipxe\n`;

function ended({ outcome }: Played): string {
  return outcome.kind === 'own-disk' ? `own-disk ${outcome.verified ? '+' : '-'}` : outcome.kind;
}

const DISK: Scenario = { machine: { disk: true } };

describe('the disk of an emulated machine', () => {
  const cases: readonly (readonly [
    what: string,
    script: string,
    scenario: Scenario,
    ends: string,
    says?: RegExp,
  ])[] = [
    ['a BIOS starts it at once', `${SANBOOT}exit 1\n`, DISK, 'own-disk -'],
    ['no disk, nothing named', `${SANBOOT}exit 1\n`, {}, 'exit', /Boot from SAN device 0x80 failed/],
    ['another drive', 'sanboot --drive 0x81 ||\nexit 1\n', DISK, 'exit', /0x81 failed/],
    [
      'a disk over the network',
      `sanboot ${SERVER}/disk ||\nexit 1\n`,
      DISK,
      'exit',
      /Could not open SAN device/,
    ],
    [
      'UEFI starts none by its number',
      `${SANBOOT}exit 1\n`,
      { machine: { disk: true, platform: 'efi' } },
      'exit',
    ],
    ['the end names it', `${NEXT}exit 0\n`, {}, 'own-disk -'],
    ['the loader gives up behind that', `${NEXT}exit 1\n`, {}, 'own-disk -'],
    ['the loader restarts instead', `${NEXT}reboot\n`, {}, 'reboot'],
    ['the end names something else', 'set bootseal-next elsewhere\nexit 0\n', {}, 'exit'],
    ['a verified script says so', VERIFIED, {}, 'own-disk +'],
    ['a verified script starts it', VERIFIED, DISK, 'own-disk +'],
    ['a script that nobody verified says so', `chain ${SERVER}/disk.ipxe\n`, {}, 'own-disk -'],
    ['a verified one behind one that was not', `chain ${SERVER}/step.ipxe ||\n${VERIFIED}`, {}, 'own-disk -'],
  ];
  for (const [what, script, scenario, ends, says] of cases) {
    it(what, async () => {
      const played = await play(script, { files: FILES, ...scenario });
      assert.equal(ended(played), ends);
      if (says) assert.match(played.console, says);
    });
  }
});
