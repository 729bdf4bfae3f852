import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { demandOwnWords } from '../../src/release/own-words.ts';
import { failed } from '../fixtures/failed.ts';

/** The name of a layout decides which words open a shell, and it is the tree's author who writes the name. */

describe('a layout beside words of another system', () => {
  for (const [layout, words, other] of [
    ['systemd', 'debian-installer/allow_unauthenticated=true', 'debian-installer'],
    ['systemd', 'd-i:rescue/enable=true', 'debian-installer'],
    ['memtest', 'inst.sshd', 'anaconda'],
    ['coreos', 'live.updates=/x', 'dracut-live'],
    ['nixos', 'LTSP.debug_shell=1', 'ltsp'],
    ['ltsp', 'boot.shell_on_fail', 'nixos'],
    ['archiso', 'archisobasedir=arch boot=live', 'live-boot'],
    ['live-boot', 'boot=live modloop_verify=no', 'alpine'],
  ] as const) {
    it(`${layout}: ${words}`, () =>
      assert.throws(
        () => demandOwnWords('site/1', layout, words.split(' ')),
        failed('malformed', new RegExp(` is a word of ${other}; name the layout that it is, or plain\\.$`)),
      ));
  }

  for (const [layout, words] of [
    ['plain', 'inst.sshd boot=live ltsp.x=1'],
    ['anaconda', 'inst.ks=file:/ks.cfg rd.live.image root=live:/install.img'],
    ['live-boot', 'boot=live quiet splash console=ttyS0 ip=dhcp'],
    ['archiso', 'archisobasedir=arch script=x'],
  ] as const) {
    it(`${layout} has its own: ${words}`, () => demandOwnWords('site/1', layout, words.split(' ')));
  }
});
