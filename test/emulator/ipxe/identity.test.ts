// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is how iPXE writes a setting
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Played } from './emulated.ts';
import { efiImage, play, SERVER } from './emulated.ts';

const classes = ({ events }: Played): string[] =>
  events.flatMap((event) => (event.kind === 'dhcp' ? [event.userClass] : []));

describe('what an emulated iPXE says that it is', () => {
  /** As a real one does: it sends an iPXE on to a loader, and our loader to a script. */
  const dhcp = (userClass: string) => ({
    ip: '10.0.0.9',
    'next-server': '10.0.0.1',
    filename: userClass === 'bootseal' ? `${SERVER}/boot.ipxe` : 'undionly.kpxe',
  });

  it('is iPXE unless a script says otherwise, and DHCP answers accordingly', async () => {
    const plain = await play('ifconf --configurator dhcp && echo ${filename}', { machine: { dhcp } });
    assert.deepEqual(classes(plain).slice(-1), ['iPXE']);
    assert.match(plain.console, /^undionly\.kpxe$/m);
    const ours = await play('set user-class bootseal\nifconf --configurator dhcp && echo ${filename}', {
      machine: { dhcp },
    });
    assert.deepEqual(classes(ours).slice(-1), ['bootseal']);
    assert.match(ours.console, /^http:\/\/10\.0\.0\.1:8080\/boot\.ipxe$/m);
  });

  it('gets nothing where DHCP does not know such a one', async () => {
    const run = await play('set user-class other\ndhcp || echo none', {
      machine: { dhcp: (userClass) => (userClass === 'other' ? undefined : { ip: '10.0.0.9' }) },
    });
    assert.match(run.console, /^none$/m);
  });
});

describe('firmware that enforces Secure Boot', () => {
  const asks = 'iseq ${efi/SecureBoot:int8} 1 && echo on || echo off';
  const last = ({ console }: Played) => console.trimEnd().split('\n').at(-1);

  it('says so in a variable that only a build for UEFI has', async () => {
    for (const [platform, secureBoot, said] of [
      ['efi', true, 'on'],
      ['efi', false, 'off'],
      ['efi', undefined, 'off'],
      ['pcbios', true, 'off'],
    ] as const) {
      const machine = { platform, ...(secureBoot === undefined ? {} : { secureBoot }) };
      assert.equal(last(await play(asks, { machine })), said, `${platform} ${secureBoot}`);
    }
  });

  it('cannot be overruled: neither a setting of that name nor a script puts anything there', async () => {
    const machine = { platform: 'efi', secureBoot: false } as const;
    for (const before of ['set SecureBoot 1', 'set efi/SecureBoot:int8 1 ||', 'set net0/SecureBoot:int8 1'])
      assert.equal(last(await play(`${before}\n${asks}`, { machine })), 'off', before);
  });

  it('starts no image that it was not asked about, and none that it refuses', async () => {
    const files = { [`${SERVER}/a.efi`]: efiImage('image') };
    const machine = { platform: 'efi', secureBoot: true } as const;
    const script = `chain ${SERVER}/a.efi || echo refused`;
    assert.equal(last(await play(script, { machine, files })), 'refused');
    const taken = await play(script, { machine, files, firmware: () => {} });
    assert.equal(taken.outcome.kind, 'boot');
    const open = await play(script, { machine: { ...machine, secureBoot: false }, files });
    assert.equal(open.outcome.kind, 'boot');
  });
});
