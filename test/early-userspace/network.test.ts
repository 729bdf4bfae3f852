import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { isVlan } from '../../src/formats/script/cmdline.ts';
import { temporaryFolder } from '../fixtures/folder.ts';

/**
 * The overlay's search for its card, under busybox, with a folder in the place of /sys/class/net and stand-ins for what
 * would configure this machine. Each of those writes down what it was asked; a udhcpc answers on the links it is told.
 */
const SOURCE = fileURLToPath(new URL('../../../early-userspace/network', import.meta.url));
const folder = await temporaryFolder();
let made = 0;

interface Card {
  readonly mac?: string;
  /** Rounds of waiting after which it has a link; absent: never. */
  readonly linkAfter?: number;
  /** No device behind it: a bridge. */
  readonly virtual?: boolean;
}

interface Found {
  readonly said: string;
  readonly asked: readonly string[];
  readonly status: number | null;
}

/** @param answers links on which DHCP is answered. */
async function search(
  cards: Readonly<Record<string, Card>>,
  answers: readonly string[],
  [bootif, vlan]: readonly [string, string] = ['', ''],
): Promise<Found> {
  const place = join(folder, String(++made));
  await mkdir(join(place, 'net'), { recursive: true });
  for (const [name, { mac = '52:54:00:00:00:01', linkAfter, virtual }] of Object.entries(cards)) {
    const at = join(place, 'net', name);
    await mkdir(virtual ? at : join(at, 'device'), { recursive: true });
    await writeFile(join(at, 'address'), `${mac}\n`);
    await writeFile(join(at, 'carrier'), linkAfter === 0 ? '1\n' : '0\n');
    if (linkAfter) await writeFile(join(at, 'link-after'), `${linkAfter}\n`);
  }
  const text = (await readFile(SOURCE, 'utf8')).replaceAll('/sys/class/net', join(place, 'net'));
  const program = `set -f -u
bootseal=/bootseal link=
say() { echo "bootseal: $*"; }
refuse() { say "REFUSED $*"; exit 1; }
ip() { case $* in '-4 '*) echo 'inet 192.0.2.7/24' ;; 'link add'*) echo "$*" >>${place}/asked ;; esac; }
timeout() { shift 2; shift; echo "asked $1" >>${place}/asked; case ' ${answers.join(' ')} ' in *" $1 "*) return 0 ;; esac; return 1; }
waited=0
sleep() {
	waited=$((waited + 1))
	set +f
	for file in ${place}/net/*/link-after; do
		[ -e "$file" ] || continue
		read -r after <"$file"
		[ "$after" -gt "$waited" ] || echo 1 >"\${file%link-after}carrier"
	done
	set -f
}
${text}
start_network "$1" "$2"
`;
  const file = join(place, 'program');
  await writeFile(file, program);
  await writeFile(join(place, 'asked'), '');
  const { stdout, status } = spawnSync('busybox', ['sh', file, bootif, vlan], { encoding: 'utf8' });
  const asked = (await readFile(join(place, 'asked'), 'utf8')).split('\n').filter(Boolean);
  return { said: stdout.trim(), asked, status };
}

const UP = 'bootseal: network up on';

describe('the card that early userspace takes', () => {
  it('is the one that the firmware booted from', async () => {
    const cards = {
      eth0: { mac: '52:54:00:00:00:01', linkAfter: 0 },
      eth1: { mac: '52:54:00:00:00:ab', linkAfter: 0 },
    };
    const { said, asked } = await search(cards, ['eth0', 'eth1'], ['01-52-54-00-00-00-AB', '']);
    assert.equal(said, `${UP} eth1, 192.0.2.7`);
    assert.deepEqual(asked, ['asked eth1']);
  });

  it('is the one that has a link, where nobody says which', async () => {
    const cards = { br0: { linkAfter: 0, virtual: true }, eth0: {}, eth1: { linkAfter: 0 } };
    const { said, asked } = await search(cards, ['br0', 'eth0', 'eth1']);
    assert.equal(said, `${UP} eth1, 192.0.2.7`);
    assert.deepEqual(asked, ['asked eth1']);
  });

  it('is waited for, while no card has a link', async () => {
    const { said } = await search({ eth0: {}, eth1: { linkAfter: 7 } }, ['eth1']);
    assert.equal(said, `${UP} eth1, 192.0.2.7`);
  });

  it('is, of several with a link, the first that is answered', async () => {
    const cards = { eth0: { linkAfter: 0 }, eth1: { linkAfter: 0 }, eth2: { linkAfter: 0 } };
    const { said, asked } = await search(cards, ['eth1', 'eth2']);
    assert.equal(said, `${UP} eth1, 192.0.2.7`);
    assert.deepEqual(asked, ['asked eth0', 'asked eth1']);
  });

  it('is asked on its VLAN, where one is named', async () => {
    const { said, asked } = await search({ eth0: { linkAfter: 0 } }, ['vlan10'], ['', '10']);
    assert.equal(said, `${UP} eth0, VLAN 10, 192.0.2.7`);
    assert.deepEqual(asked, ['link add link eth0 name vlan10 type vlan id 10', 'asked vlan10']);
  });

  for (const [what, cards, bootif, reason] of [
    ['no card', {}, '', 'No network card was found; is its driver in the overlay?'],
    [
      'no card with that address',
      { eth0: { linkAfter: 0 } },
      '01-52-54-00-00-00-99',
      'No network card has the address that BOOTIF=01-52-54-00-00-00-99 names; is its driver in the overlay?',
    ],
    ['no link', { eth0: {}, eth1: {} }, '', 'No link on eth0 eth1; is the cable in?'],
    [
      'no answer',
      { eth0: { linkAfter: 0 }, eth1: { linkAfter: 0 } },
      '',
      'No DHCP answer on eth0 eth1 that holds.',
    ],
  ] as const)
    it(`ends with a reason where there is ${what}`, async () => {
      const { said, status } = await search(cards, [], [bootif, '']);
      assert.equal(said, `bootseal: REFUSED unreachable ${reason}`);
      assert.equal(status, 1);
    });
});

it('a VLAN is a number from 1 to 4094, in the shell as in the emulated early userspace', () => {
  const near = fc.string({ unit: fc.constantFrom(...'0123456789 +-x.'), maxLength: 6 });
  const texts = [
    ...[
      '',
      '0',
      '1',
      '01',
      '4094',
      '4095',
      '4096',
      '10000',
      '65546',
      '-1',
      '+1',
      '1 ',
      ' 1',
      '1\n',
      '0x10',
      '*',
      '10*',
    ],
    ...fc.sample(fc.oneof(near, fc.nat(5000).map(String)), { numRuns: 300, seed: 15 }),
  ];
  const program = `. "$0"; for text; do if is_vlan "$text"; then echo yes; else echo no; fi; done`;
  const { stdout } = spawnSync('busybox', ['sh', '-c', program, SOURCE, ...texts], { encoding: 'utf8' });
  assert.deepEqual(
    stdout.trim().split('\n'),
    texts.map((text) => (isVlan(text) ? 'yes' : 'no')),
  );
});
