import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { FreeType } from '../../src/formats/script/cmdline.ts';
import { wrongVlan } from '../../src/release/vlan-words.ts';

const free = (...types: FreeType[]) => types.map((type) => ({ name: 'vlan', type }));

describe('a VLAN among the words of a release with an overlay', () => {
  for (const [what, cmdline, types] of [
    ['none at all', ['quiet'], []],
    ['a fixed one', ['quiet', 'vlan=4094'], []],
    ['some of which a machine is given one', [], ['choice 10|20']],
    ['any', [], ['port']],
  ] as const)
    it(`may be ${what}`, () => {
      assert.equal(wrongVlan(cmdline, free(...types)), undefined);
    });

  for (const [cmdline, types, reason] of [
    [['vlan=4095'], [], /^vlan=4095 names no VLAN/],
    [['vlan=eth0.10:eth0'], [], /^vlan=eth0\.10:eth0 names no VLAN/],
    [[], ['choice 10|010'], /^vlan=010 names no VLAN/],
    [[], ['name'], /^"vlan name" is not what a VLAN is written as/],
    [[], ['hex 2'], /^"vlan hex 2" is not what/],
  ] as const)
    it(`may not be ${[...cmdline, ...types].join(' ')}`, () => {
      assert.match(wrongVlan(cmdline, free(...types)) ?? '', reason);
    });

  it('is nobody’s business here under another name', () => {
    assert.equal(wrongVlan(['myvlan=x'], [{ name: 'vlan-name', type: 'name' }]), undefined);
  });
});
