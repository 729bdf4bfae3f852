// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is how iPXE writes a setting
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { play, type Scenario, SERVER } from './emulated.ts';

const VECTORS: readonly (readonly [name: string, script: string, console: string, scenario?: Scenario])[] = [
  ['set and expand', 'set a b c\necho <${a}>', '<b c>\n'],
  ['clear', 'set a b\nclear a\nisset ${a} || echo gone', 'gone\n'],
  ['set to nothing clears', 'set a b\nset a\nisset ${a} || echo gone', 'gone\n'],
  [
    'a type at set is remembered',
    'set p:uint16 8080\necho ${p} ${p:int16} ${p:hexhyp}',
    '0x1f90 8080 1f-90\n',
  ],
  [
    'a value that does not fit its type',
    'set p:uint8 x || echo no',
    'Could not store "p": Invalid argument\nno\n',
  ],
  ['a type that does not exist', 'set p:float 1 || echo no', '"p:float": invalid setting\nno\n'],
  ['a type that does not exist expands to nothing', 'echo <${ip:float}>', '<>\n'],
  ['a block that does not exist expands to nothing', 'echo <${net7/ip}>', '<>\n'],
  ['a block may be made', 'set menu/x 1\necho ${menu/x}', '1\n'],
  [
    'what is set hides what DHCP said',
    'echo ${next-server}\nset next-server 9.9.9.9\necho ${next-server} ${net0/next-server}',
    '10.0.0.1\n9.9.9.9 10.0.0.1\n',
  ],
  [
    'what was cleared shows DHCP again',
    'set next-server 9.9.9.9\nclear next-server\necho ${next-server}',
    '10.0.0.1\n',
  ],
  ['the DHCP block by its name', 'echo ${net0.dhcp/ip} ${netX/ip}', '10.0.0.9 10.0.0.9\n'],
  [
    'an option by number',
    'echo ${175.3} ${175.3:hex} ${66:string}',
    '10.0.0.1 0a:00:00:01 tftp\n',
    { machine: { dhcp: { 'next-server': '10.0.0.1', 66: 'tftp' } } },
  ],
  [
    'the MAC address',
    'echo ${mac} ${net0/mac:hexhyp} ${net0/mac:hexraw}',
    '52:54:00:12:34:56 52-54-00-12-34-56 525400123456\n',
  ],
  [
    'the machine',
    'echo ${uuid} ${serial} ${manufacturer}',
    '4c4c4544-0051-3010-8052-b4c04f4a4e31 S-1 Maker\n',
  ],
  ['the build', 'echo ${buildarch} ${platform}', 'x86_64 pcbios\n'],
  ['an absent fact is nothing', 'isset ${product} || echo none', 'none\n'],
  [
    'facts of the machine cannot be set in their block',
    'set smbios/serial X || echo no\nset builtin/platform efi || echo no',
    'Could not store "serial": Operation not supported\nno\nCould not store "platform": Operation not supported\nno\n',
  ],
  ['but a script can hide them', 'set platform efi\necho ${platform} ${builtin/platform}', 'efi pcbios\n'],
  ['errno of the last failure', 'iseq a b ||\necho ${errno}', '0x46000000\n'],
  ['the clock', 'echo ${unixtime:int32}\nset unixtime 5\necho ${unixtime:int32}', '1795176000\n5\n'],
  ['inc begins at one', 'inc a\ninc a 5\necho ${a}', '6\n'],
  ['inc keeps the type', 'set a:uint8 255\ninc a\necho ${a}', '0x0\n'],
  [
    'inc of a string fails',
    'set a x\ninc a || echo no',
    'Could not store "a": Operation not supported\nno\n',
  ],
  [
    'show',
    'set a:hex 01:02\nshow a\nshow ip\nshow --quiet ip',
    'a:hex = 01:02\nnet0.dhcp/ip:ipv4 = 10.0.0.9\n10.0.0.9\n',
  ],
  ['show of nothing', 'show nothing || echo no', 'Could not find "nothing": No such file or directory\nno\n'],
  [
    'expansion within expansion',
    'set arch x86_64\nset kernel-x86_64 vmlinuz\necho ${kernel-${arch}}',
    'vmlinuz\n',
  ],
  [
    'what DHCP says is expanded as well',
    'echo ${filename}',
    'serial S-1\n',
    { machine: { dhcp: { filename: 'serial ${serial}' } } },
  ],
  [
    'cwuri and cwduri',
    `chain --quiet ${SERVER}/x/a.ipxe?q`,
    `${SERVER}/x/a.ipxe?q ${SERVER}/x/\n`,
    { files: { [`${SERVER}/x/a.ipxe?q`]: '#!ipxe\necho ${cwuri} ${cwduri}' } },
  ],
  [
    'imgset takes an image for a value',
    `imgset --quiet p:hexraw ${SERVER}/v\necho ${'${p}'}\nimgstat`,
    '6162\n',
    { files: { [`${SERVER}/v`]: 'ab' } },
  ],
  ['read', 'read name\necho ${name}', 'typed\n', { answers: { read: () => 'typed' } }],
  [
    'login',
    'login\necho ${username} ${password}',
    'u p\n',
    { answers: { login: () => ({ username: 'u', password: 'p' }) } },
  ],
];

for (const [name, script, console, scenario] of VECTORS) {
  test(name, async () => {
    const run = await play(script, scenario);
    assert.equal(run.console, console);
    assert.equal(run.outcome.kind, 'exit');
  });
}

test('DHCP cannot carry what has no option number', async () => {
  await assert.rejects(play('echo', { machine: { dhcp: { 'bootseal-port': '1' } } }), /no DHCP option/);
});
