// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is how iPXE and GRUB write what they expand
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { UsageError } from '../../src/errors/usage.ts';
import { lintGrubConfig } from '../../src/scripts/grub-lint.ts';
import { type LintOptions, type LintRule, lintScript } from '../../src/scripts/lint.ts';
import { compileGrubMenu, compileMenu, type MenuEntry, type MenuOptions } from '../../src/scripts/menu.ts';
import { commandsOf, grubParses } from './scripts.ts';

const ENTRIES: readonly MenuEntry[] = [
  { label: 'Arch, stable', kind: 'channel', name: 'stable' },
  { label: 'Arch 2026.11.01', kind: 'release', name: 'arch/2026.11.01' },
];
const MENU: MenuOptions = {
  title: 'What shall start?',
  entries: ENTRIES,
  default: 'stable',
  timeoutSeconds: 10,
};
const TITLED = { ...MENU, title: 'Bootseal' };
const SERVER = { kind: 'literal', url: 'http://10.0.0.1:8080' } as const;
const menu = (changes: Partial<MenuOptions> = {}) =>
  compileMenu({ ...TITLED, ...changes, server: SERVER, signer: 'boot.site' });
const grubMenu = (changes: Partial<MenuOptions> = {}) =>
  compileGrubMenu({ ...TITLED, ...changes, server: { kind: 'dhcp', httpPort: 80 } });

describe('a menu, iPXE', () => {
  const script = menu();
  const permits: LintOptions = { permits: ['menu', 'own-disk'], signers: ['boot.site'] };
  const found = (text: string, options = permits) =>
    lintScript(Buffer.from(text), options).map(({ rule }) => rule);

  it('offers its entries, and the disk last; each choice is one of its own labels, and verified before it runs', () => {
    const commands = commandsOf(script);
    assert.deepEqual(
      commands.slice(commands.indexOf('menu Bootseal || goto refuse'), commands.indexOf(':refuse')),
      [
        'menu Bootseal || goto refuse',
        'item entry-1 Arch, stable',
        'item entry-2 Arch 2026.11.01',
        'item local Start from the disk of this machine',
        'choose --default entry-1 --timeout 10000 bootseal-choice || goto unchosen',
        'iseq ${bootseal-choice} entry-1 && goto entry-1 ||',
        'iseq ${bootseal-choice} entry-2 && goto entry-2 ||',
        'iseq ${bootseal-choice} local && goto local ||',
        'goto unchosen',
        ...[
          ['entry-1', 'stable', 'channels/stable'],
          ['entry-2', 'arch/2026.11.01', 'releases/arch/2026.11.01'],
        ].flatMap(([label, name, folder]) => [
          `:${label}`,
          `set bootseal-step fetch the script of ${name}`,
          `imgfetch --name chosen.ipxe http://10.0.0.1:8080/${folder}/boot.ipxe || goto refuse`,
          `set bootseal-step fetch the seal of the script of ${name}`,
          `imgfetch --name bootseal.seal http://10.0.0.1:8080/${folder}/boot.ipxe.sig || goto refuse`,
          `set bootseal-step verify the script of ${name} as signed by boot.site`,
          'imgverify --signer boot.site chosen.ipxe bootseal.seal || goto refuse',
          `set bootseal-step boot ${name}: its script came back`,
          'chain chosen.ipxe || goto refuse',
          'goto refuse',
        ]),
        ':local',
        'echo Verified: this machine starts from its own disk. What stands on it is not verified here.',
        'set bootseal-next local',
        'iseq ${platform} pcbios && sanboot --no-describe --drive 0x80 ||',
        'exit 0',
        ':unchosen',
        'set bootseal-step start anything: nothing was chosen',
      ],
    );
    assert.deepEqual(found(script), []);
  });

  it('begins with the disk where no entry is named, and asks at the entry of an architecture', () => {
    assert.match(menu({ default: undefined as unknown as string }), /^choose --default local /m);
    const arm = menu({ arch: 'aarch64' });
    assert.match(arm, /:8080\/entries\/aarch64\/channels\/stable\/boot\.ipxe /);
    assert.match(arm, /:8080\/releases\/arch\/2026\.11\.01\/boot\.ipxe /);
  });

  it('is no script of a release: without the permit nothing of it passes', () => {
    assert.deepEqual(
      new Set(found(script, { signers: ['boot.site'] })),
      new Set(['shell', 'disk', 'unknown', 'end']),
    );
  });

  it('is at most 16 entries of plain lines that fit 80 columns, each once, with a time that ends', () => {
    const many = (count: number) =>
      Array.from(
        { length: count },
        (_, index): MenuEntry => ({ label: `E${index}`, kind: 'channel', name: `c${index}` }),
      );
    const bad: readonly Partial<MenuOptions>[] = [
      { entries: [] },
      { entries: many(17), default: 'c0' },
      { timeoutSeconds: 0 },
      { timeoutSeconds: 3601 },
      { timeoutSeconds: 1.5 },
      { default: 'elsewhere' },
      { title: 'a  b' },
      { entries: [...ENTRIES, { label: 'Arch, stable', kind: 'channel', name: 'other' }] },
      { entries: [...ENTRIES, { label: 'Again', kind: 'channel', name: 'stable' }] },
      { entries: [{ label: 'x', kind: 'channel', name: '../stable' }], default: '../stable' },
      { entries: [{ label: 'x', kind: 'release', name: 'stable' }] },
      ...[
        '',
        ' x',
        'x ',
        '--key x',
        'x || shell',
        '${filename}',
        "x'",
        'x"',
        '#x',
        'x\ny',
        'ü',
        'x'.repeat(61),
      ].map((label) => ({ entries: [{ label, kind: 'channel' as const, name: 'stable' }] })),
    ];
    for (const changes of bad) {
      assert.throws(() => menu(changes), UsageError, JSON.stringify(changes));
      assert.throws(() => grubMenu(changes), UsageError, JSON.stringify(changes));
    }
    assert.ok(menu({ entries: many(16), default: 'c15' }));
    assert.ok(grubMenu({ entries: many(16), default: 'c15' }));
    for (const text of [menu({ entries: [{ label: 'x'.repeat(60), kind: 'channel', name: 'stable' }] })])
      for (const line of text.split('\n').filter((one) => one.startsWith('item ')))
        assert.ok(line.length <= 80);
  });

  /** One change each; what it must break beside the shape of a menu, or that shape alone. */
  const attacks: Readonly<Record<string, readonly [change: (text: string) => string, rule?: LintRule]>> = {
    'a shell in the place of a refusal': [(text) => text.replace('|| goto unchosen', '|| shell')],
    'a shell among the items': [(text) => text.replace('item local', 'shell ||\nitem local')],
    'the configuration of iPXE as an item’s target': [
      (text) => text.replace(':entry-1\n', ':entry-1\nconfig ||\n'),
    ],
    'a key that chooses': [(text) => text.replace('item entry-2', 'item --key x entry-2')],
    'a hidden item': [(text) => text.replace('item entry-2', 'item --secret entry-2')],
    'an item of another menu': [(text) => text.replace('item entry-2', 'item --menu other entry-2')],
    'a gap': [(text) => text.replace('item entry-2 ', 'item --gap ')],
    'an item without a name': [(text) => text.replace('item entry-2 Arch 2026.11.01', 'item')],
    'an item that a setting names': [(text) => text.replace('item entry-2', 'item ${filename}')],
    'a text that a setting fills': [(text) => text.replace('Arch, stable', '${filename}')],
    'a title that a setting fills': [(text) => text.replace('menu Bootseal', 'menu ${filename}')],
    'a menu that is deleted': [(text) => text.replace('menu Bootseal', 'menu --delete Bootseal')],
    'a menu that stays': [(text) => text.replace('choose --default', 'choose --keep --default')],
    'no default': [(text) => text.replace('--default entry-1 ', '')],
    'a default that is no item': [(text) => text.replace('--default entry-1', '--default entry-9')],
    'a default that DHCP names': [(text) => text.replace('--default entry-1', '--default ${filename}')],
    'no end of time': [(text) => text.replace('--timeout 10000 ', '')],
    'a time of 0, which is none': [(text) => text.replace('--timeout 10000', '--timeout 0')],
    'a time that overflows to none': [(text) => text.replace('--timeout 10000', '--timeout 4194304000')],
    'a choice that goes into a setting of iPXE’s': [(text) => text.replaceAll('bootseal-choice', 'filename')],
    'Escape that is swallowed': [(text) => text.replace('|| goto unchosen', '||')],
    'Escape that ends the script': [(text) => text.replace(' || goto unchosen', '')],
    'Escape that takes an entry unasked': [(text) => text.replace('|| goto unchosen', '|| goto entry-2')],
    'a choice that is used as a label': [
      (text) =>
        text.replace('iseq ${bootseal-choice} entry-2 && goto entry-2 ||', 'goto ${bootseal-choice} ||'),
      'label',
    ],
    'a choice that is used as an address': [
      (text) => text.replace('/channels/stable/boot.ipxe ', '/channels/${bootseal-choice}/boot.ipxe '),
      'setting',
    ],
    'a choice that nothing answers': [
      (text) => text.replace('iseq ${bootseal-choice} entry-2 && goto entry-2 ||\n', ''),
    ],
    'a choice that is compared with another setting': [
      (text) => text.replace('iseq ${bootseal-choice} entry-2', 'iseq ${filename} entry-2'),
    ],
    'a choice that is no item': [
      (text) => text.replace('iseq ${bootseal-choice} entry-2', 'iseq ${bootseal-choice} other'),
    ],
    'what is left over falls into the first entry': [(text) => text.replace('||\ngoto unchosen\n', '||\n')],
    'a label within the menu': [(text) => text.replace('item local', ':again\nitem local')],
    'an item twice': [(text) => text.replace('item entry-2', 'item entry-1')],
    'a second menu': [(text) => text.replace(':unchosen\n', ':unchosen\nmenu Again || goto refuse\n')],
    'a prompt': [(text) => text.replace(':unchosen\n', ':unchosen\nprompt --key s Press s ||\n')],
    'a text that a person types': [(text) => text.replace(':entry-1\n', ':entry-1\nread bootseal-x ||\n')],
    'an entry that is not verified': [(text) => text.replace(/^imgverify .*\n/m, ''), 'unverified'],
    'an entry that another signs': [
      (text) => text.replace('--signer boot.site', '--signer boot.elsewhere'),
      'signer',
    ],
    'the disk where an entry could not be had': [
      (text) =>
        text.replace('/channels/stable/boot.ipxe || goto refuse', '/channels/stable/boot.ipxe || goto local'),
      'disk',
    ],
  };
  for (const [what, [change, rule = 'shell']] of Object.entries(attacks)) {
    it(`the linter refuses ${what}`, () => {
      const changed = change(script);
      assert.notEqual(changed, script);
      assert.ok(found(changed).includes(rule), found(changed).join(' ') || 'nothing was found');
    });
  }
});

describe('a menu, GRUB', () => {
  const config = grubMenu();
  const found = (text: string) => lintGrubConfig(Buffer.from(text), 'menu').map(({ rule }) => rule);

  it('offers its entries, and the disk last; each opens a configuration before the switch, and comes back to nothing', () => {
    grubParses(config);
    assert.deepEqual(found(config), []);
    const commands = commandsOf(config);
    assert.deepEqual(commands.slice(0, 2), ['set timeout=10', 'set default=entry-1']);
    assert.deepEqual(
      commands.slice(commands.indexOf("menuentry 'Arch, stable' --unrestricted --id entry-1 {")),
      [
        "menuentry 'Arch, stable' --unrestricted --id entry-1 {",
        'echo "Fetching and verifying grub.cfg of stable"',
        'configfile "$bootseal_device/channels/stable/grub.cfg"',
        'bootseal_refuse "grub.cfg of stable is missing, its OpenPGP signature does not fit, or it came back."',
        '}',
        "menuentry 'Arch 2026.11.01' --unrestricted --id entry-2 {",
        'echo "Fetching and verifying grub.cfg of arch/2026.11.01"',
        'configfile "$bootseal_device/releases/arch/2026.11.01/grub.cfg"',
        'bootseal_refuse "grub.cfg of arch/2026.11.01 is missing, its OpenPGP signature does not fit, or it came back."',
        '}',
        "menuentry 'Start from the disk of this machine' --unrestricted --id local {",
        'echo "Verified: this machine starts from its own disk. What stands on it is not verified here."',
        'exit',
        'bootseal_refuse "this loader cannot hand the machine on; it has to be built anew."',
        '}',
      ],
    );
    assert.match(grubMenu({ arch: 'aarch64' }), /_device\/entries\/aarch64\/channels\/stable\/grub\.cfg"/);
    grubParses(grubMenu({ machines: [{ macs: ['52:54:00:12:34:56'] }] }));
  });

  it('is no configuration of a release', () => {
    const rules = new Set(lintGrubConfig(Buffer.from(config)).map(({ rule }) => rule));
    for (const rule of ['unknown', 'trust'] as const) assert.ok(rules.has(rule), rule);
  });

  const attacks: Readonly<Record<string, readonly [change: (text: string) => string, rule?: LintRule]>> = {
    'an entry that a password would open': [
      (text) => text.replace(' --unrestricted --id entry-1', ' --users root --id entry-1'),
    ],
    'an entry with a key': [(text) => text.replace('--id entry-1', '--hotkey=x --id entry-1')],
    'an entry of a text that a variable fills': [
      (text) => text.replace("'Arch, stable'", '"$net_default_hostname"'),
    ],
    'an entry without a name': [(text) => text.replace(' --id entry-1', '')],
    'a name twice': [(text) => text.replace('--id entry-2', '--id entry-1')],
    'an entry that comes back': [
      (text) => text.replace(/^ {2}bootseal_refuse "grub\.cfg of stable.*\n/m, ''),
    ],
    'an entry that goes on behind the switch': [
      (text) =>
        text.replace(
          '  configfile "$bootseal_device/channels',
          '  bootseal_trust_payload\n  configfile "$bootseal_device/channels',
        ),
    ],
    'an entry that loads a kernel itself': [
      (text) =>
        text.replace(
          '  configfile "$bootseal_device/channels/stable/grub.cfg"',
          '  linux "$bootseal_device/k"',
        ),
    ],
    'an entry that opens something else': [
      (text) => text.replace('/channels/stable/grub.cfg', '/channels/stable/other.cfg'),
    ],
    'an entry that climbs': [(text) => text.replace('/channels/stable/grub.cfg', '/channels/../grub.cfg')],
    'an entry of a server that DHCP spells': [
      (text) => text.replace('$bootseal_device/channels', '$net_default_hostname/channels'),
    ],
    'an address without quotes': [
      (text) =>
        text.replace(
          '"$bootseal_device/channels/stable/grub.cfg"',
          '$bootseal_device/channels/stable/grub.cfg',
        ),
    ],
    'a device that nothing held to a form': [
      (text) =>
        text.replace(
          'set bootseal_device="(http,$bootseal_server)"',
          'set bootseal_device="$net_default_hostname"',
        ),
      'setting',
    ],
    'a switch before the menu': [
      (text) =>
        text.replace("\nmenuentry 'Arch, stable'", "\nbootseal_trust_payload\nmenuentry 'Arch, stable'"),
      'trust',
    ],
    'a submenu': [(text) => text.replace("menuentry 'Arch, stable'", "submenu 'Arch, stable'"), 'unknown'],
    'a command behind the entries': [(text) => `${text}set timeout=-1\n`],
    'no end of time': [(text) => text.replace('set timeout=10', 'set timeout=-1')],
    'no time at all': [(text) => text.replace('set timeout=10\n', '')],
    'a default that is no entry': [(text) => text.replace('set default=entry-1', 'set default=other')],
    'a second default': [
      (text) =>
        text.replace('set default=entry-1', 'set default=entry-1\nset default="$net_default_hostname"'),
    ],
    'other users': [(text) => text.replace('set timeout=10', 'set timeout=10\nset superusers='), 'setting'],
    'an exit that no entry asked for': [
      (text) => text.replace('set timeout=10', 'set timeout=10\nexit'),
      'unknown',
    ],
    'a configuration that no entry asked for': [
      (text) =>
        text.replace(
          "\nmenuentry 'Arch, stable'",
          '\nconfigfile "$bootseal_device/channels/stable/grub.cfg"\nmenuentry \'Arch, stable\'',
        ),
      'unknown',
    ],
  };
  for (const [what, [change, rule = 'shell']] of Object.entries(attacks)) {
    it(`the linter refuses ${what}`, () => {
      const changed = change(config);
      assert.notEqual(changed, config);
      assert.ok(found(changed).includes(rule), found(changed).join(' ') || 'nothing was found');
    });
  }
});
