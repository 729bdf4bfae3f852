// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is how iPXE writes a setting
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { IpxeAnswers } from '../../../src/emulator/ipxe/contract.ts';
import { KERNEL, play, type Scenario } from './emulated.ts';

const MENU = 'menu Title\nitem --gap Section\nitem one First\nitem --default two Second\nitem three Third\n';
const CHOOSE = 'choose --timeout 5000 x && echo got ${x} || echo none';
const answer = (answers: IpxeAnswers): Scenario => ({ answers });

const VECTORS: readonly (readonly [name: string, script: string, last: string, scenario?: Scenario])[] = [
  ['the default item when the time is out', MENU + CHOOSE, 'got two'],
  ['choose --default wins', `${MENU}choose --timeout 1 --default three x\necho got \${x}`, 'got three'],
  [
    'a default that does not exist is the first item',
    `${MENU}choose --timeout 1 --default no x\necho got \${x}`,
    'got one',
  ],
  [
    'the first item without a default',
    'menu\nitem --gap\nitem a A\nitem b B\nchoose -t 1 x\necho got ${x}',
    'got a',
  ],
  ['the answer', MENU + CHOOSE, 'got one', answer({ choose: () => ({ name: 'one' }) })],
  ['Escape', MENU + CHOOSE, 'none', answer({ choose: () => 'cancel' })],
  ['a menu is gone after choose', `${MENU}choose -t 1 x\nchoose -t 1 y || echo none`, 'none'],
  ['unless kept', `${MENU}choose --keep -t 1 x\nchoose -t 1 y && echo again`, 'again'],
  [
    'menus with names',
    'menu --name m T\nitem --menu m a A\nchoose --menu m -t 1 x && echo got ${x}',
    'got a',
  ],
  ['an item without a menu', 'item a A || echo none', 'none'],
  ['a menu of separators cannot be shown', 'menu T\nitem --gap G\nchoose -t 1 x || echo none', 'none'],
  ['prompt in time', 'prompt --key y --timeout 9 Sure? && echo yes', 'yes', answer({ prompt: () => 'y' })],
  [
    'prompt with another key',
    'prompt --key 0x79 --timeout 9 Sure? || echo no',
    'no',
    answer({ prompt: () => 'n' }),
  ],
  ['prompt too late', 'prompt --timeout 9 Sure? || echo late', 'late'],
  ['read too late', 'read --timeout 9 x || echo late', 'late'],
  ['ntp sets the clock', 'ntp 10.0.0.1\necho ${unixtime:int32}', '0', { ntp: () => new Date(0) }],
  ['ntp that does not answer', 'ntp 10.0.0.1 || echo none', 'none', { ntp: () => undefined }],
  ['a stock BIOS build has no ntp', 'ntp 10.0.0.1 || echo none', 'none', { features: { imgtrust: true } }],
  ['console', 'console --x 1024 --y 768 && echo ok', 'ok'],
  ['params', 'params\nparam mac ${mac} && echo ok', 'ok'],
  ['param without params', 'param a b || echo none', 'none'],
  ['the emulated machine sends no forms', 'params\nimgfetch http://10.0.0.1/x##params || echo none', 'none'],
  ['ifconf of no such interface', 'ifconf net1 || echo none', 'none'],
  ['ifconf of one of several', 'ifconf net1 net0 && echo ok', 'ok'],
  [
    'dhcp gives an address',
    'isset ${ip} || dhcp && echo ${ip}',
    '10.0.0.9',
    { machine: { dhcpCached: false } },
  ],
  ['dhcp without a server', 'dhcp || echo none', 'none', { noDhcp: true }],
  ['route', 'route', 'net0: 10.0.0.9/255.255.255.0 gw 10.0.0.254'],
  ['no network, no download', 'imgfetch http://10.0.0.1/x || echo ${errno}', '0x28000000', { noDhcp: true }],
  ['a closed interface', 'ifclose\nimgfetch http://10.0.0.1/x || echo ${errno}', '0x28000000'],
  ['ifopen, ifstat, iflinkwait', 'ifopen\nifstat\niflinkwait --timeout 1 && echo ok', 'ok'],
];

for (const [name, script, last, scenario] of VECTORS) {
  test(name, async () => {
    const run = await play(script, scenario);
    assert.equal(run.console.trimEnd().split('\n').at(-1), last, run.console);
    assert.equal(run.outcome.kind, 'exit');
  });
}

for (const script of ['menu\nitem a A\nchoose x', 'prompt Press', 'read x', 'login']) {
  test(`${script.split('\n').at(-1)} without a person and a timeout is refused`, async () => {
    const run = await play(`${script} || poweroff`);
    assert.equal(run.outcome.kind, 'refused');
    assert.equal(run.refusals[0]?.code, 'no-verdict');
  });
}

test('without a script, what DHCP names is booted', async () => {
  const dhcp = { ip: '10.0.0.9', 'next-server': '10.0.0.1', filename: 'pxe/vmlinuz' };
  const run = await play('', {
    autoboot: true,
    machine: { dhcp },
    files: { 'tftp://10.0.0.1/pxe/vmlinuz': KERNEL },
  });
  assert.ok(run.outcome.kind === 'boot');
  assert.equal(run.outcome.kernel.verified, false);
});

test('a file name that is a URL is used as it is, its settings expanded', async () => {
  const dhcp = { ip: '10.0.0.9', filename: 'http://10.0.0.1/${serial}.ipxe' };
  const run = await play('', {
    autoboot: true,
    machine: { dhcp },
    files: { 'http://10.0.0.1/S-1.ipxe': '#!ipxe\npoweroff' },
  });
  assert.equal(run.outcome.kind, 'poweroff');
});

test('nothing to boot', async () => {
  const run = await play('', { autoboot: true });
  assert.equal(run.outcome.kind, 'refused');
  assert.match(run.console, /Nothing to boot/);
});
