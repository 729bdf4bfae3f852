// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is how iPXE and GRUB write what they expand
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { compileAutoexec, compileEmbedded } from '../../src/scripts/compile.ts';
import { lintGrubConfig } from '../../src/scripts/grub-lint.ts';
import { type LintOptions, type LintRule, lintScript } from '../../src/scripts/lint.ts';
import { compileGrubLocalDisk, compileLocalDisk } from '../../src/scripts/local-disk.ts';
import { commandsOf, grubParses } from './scripts.ts';

const MACHINES = [{ macs: ['52:54:00:12:34:56'] }];
const DISK: LintOptions = { permits: ['own-disk'] };

/** The rules that these lines break. */
function rules(lines: readonly string[], options: LintOptions = DISK): LintRule[] {
  return lintScript(Buffer.from(`${lines.join('\n')}\n`), options).map(({ rule }) => rule);
}

const BEFORE = ['#!ipxe', 'imgfree', 'imgtrust --permanent || goto refuse'];
const TO_DISK = [
  'set bootseal-next local',
  'iseq ${platform} pcbios && sanboot --no-describe --drive 0x80 ||',
  'exit 0',
];
const AFTER = [':refuse', 'reboot ||', 'exit 1'];

describe('a machine’s own disk, iPXE', () => {
  it('the script verifies nothing and fetches nothing: it demands trust, names the disk, and ends well', () => {
    assert.deepEqual(commandsOf(compileLocalDisk()), [
      'imgfree',
      'set bootseal-step make this loader demand signatures: it cannot verify, or its trust was switched off',
      'imgtrust --permanent || goto refuse',
      'echo Verified: this machine starts from its own disk. What stands on it is not verified here.',
      ...TO_DISK,
      ':refuse',
      'imgfree',
      'echo',
      'echo REFUSED: could not ${bootseal-step}.',
      'echo Nothing was started. This machine restarts in 30 seconds.',
      'sleep 30 ||',
      'reboot ||',
      'poweroff ||',
      'exit 1',
    ]);
  });

  it('may be for certain machines: the comparison comes before the disk', () => {
    const commands = commandsOf(compileLocalDisk({ machines: MACHINES }));
    const mine = commands.indexOf('iseq ${netX/mac} 52:54:00:12:34:56 && goto bootseal-mine ||');
    assert.ok(mine > 0 && mine < commands.indexOf('set bootseal-next local'));
    assert.equal(commands[mine + 1], 'goto refuse');
  });

  it('is no script of a release: without the permit each line of it is found', () => {
    const lines = [...BEFORE, ...TO_DISK, ...AFTER];
    assert.deepEqual(rules(lines), []);
    assert.deepEqual(rules(lines, {}), ['disk', 'unknown', 'end']);
    assert.deepEqual(rules(lines, { permits: ['menu'] }), ['disk', 'unknown', 'end']);
  });

  const attacks: Readonly<Record<string, readonly [lines: readonly string[], rule: LintRule]>> = {
    'a disk after a kernel that could not be fetched': [
      [
        ...BEFORE,
        'kernel http://10.1.2.3/k || goto local',
        'imgverify --signer a/1 k http://10.1.2.3/k.sig || goto refuse',
        'boot || goto refuse',
        'goto refuse',
        ':local',
        ...TO_DISK,
        ...AFTER,
      ],
      'disk',
    ],
    'a disk after a seal that did not fit': [
      [
        ...BEFORE,
        'kernel http://10.1.2.3/k || goto refuse',
        'imgverify --signer a/1 k http://10.1.2.3/k.sig || goto local',
        'boot || goto refuse',
        'goto refuse',
        ':local',
        ...TO_DISK,
        ...AFTER,
      ],
      'disk',
    ],
    'a disk where the loader may not demand signatures': [
      ['#!ipxe', 'imgfree', 'imgtrust --permanent || goto local', ':local', ...TO_DISK],
      'disk',
    ],
    'an end that names no disk': [[...BEFORE, 'exit 0', ...AFTER], 'disk'],
    'a disk that is named on some ways only': [
      [
        ...BEFORE,
        'iseq ${platform} efi && goto end ||',
        'set bootseal-next local',
        ':end',
        'exit 0',
        ...AFTER,
      ],
      'disk',
    ],
    'another drive': [
      [...BEFORE, TO_DISK[0] ?? '', 'sanboot --no-describe --drive 0x81 || goto refuse', ...AFTER],
      'disk',
    ],
    'a disk over the network': [
      [
        ...BEFORE,
        TO_DISK[0] ?? '',
        'iseq ${platform} pcbios && sanboot --no-describe --drive 0x80 http://10.1.2.3/d ||',
        ...AFTER,
      ],
      'disk',
    ],
    'a disk that DHCP names': [
      [...BEFORE, TO_DISK[0] ?? '', 'iseq ${platform} pcbios && sanboot ${root-path} ||', ...AFTER],
      'disk',
    ],
    'a file on a disk': [
      [
        ...BEFORE,
        TO_DISK[0] ?? '',
        'iseq ${platform} efi && sanboot --no-describe --drive 0x80 --filename x.efi ||',
        ...AFTER,
      ],
      'disk',
    ],
    'a SAN that stays': [
      [...BEFORE, 'sanhook http://10.1.2.3/d || goto refuse', ...TO_DISK, ...AFTER],
      'unknown',
    ],
    'another word for what comes next': [
      [...BEFORE, 'set bootseal-next ${filename}', ...TO_DISK.slice(1), ...AFTER],
      'disk',
    ],
    'the same under a type': [
      [...BEFORE, 'set bootseal-next:string local', ...TO_DISK.slice(1), ...AFTER],
      'disk',
    ],
    'an end without a status': [[...BEFORE, ...TO_DISK.slice(0, 2), 'exit', ...AFTER], 'end'],
    'an end that a number hides': [
      [...BEFORE, ...TO_DISK.slice(0, 2), 'exit 4294967296', ...AFTER],
      'number',
    ],
  };
  for (const [what, [lines, rule]] of Object.entries(attacks)) {
    it(`refuses ${what}`, () => {
      const found = rules(lines);
      assert.ok(found.includes(rule), `${found.join(' ')} has no ${rule}`);
    });
  }
});

describe('a loader’s first script', () => {
  const SERVER = { kind: 'literal', url: 'http://10.1.2.3' } as const;
  const scripts = {
    embedded: compileEmbedded({ base: SERVER.url, anchorId: '0123456789abcdef', bootSigner: 'boot.site' }),
    autoexec: compileAutoexec({ allowUnverified: false, bootSigner: 'boot.site', server: SERVER }),
  };
  for (const [name, script] of Object.entries(scripts)) {
    it(`${name}: gives up for the disk only where a script that it verified came back well and named it`, () => {
      const commands = commandsOf(script);
      const at = commands.indexOf('chain boot.ipxe || goto refuse');
      assert.equal(commands[at - 2], 'imgverify --signer boot.site boot.ipxe bootseal.seal || goto refuse');
      assert.equal(commands[at + 1], 'iseq ${bootseal-next} local && exit 1 ||');
      assert.ok(commands[at + 2] === ':refuse' || commands[at + 2] === 'goto refuse');
    });
    it(`${name}: names no disk itself, and never ends well`, () => {
      const named = script.replace('\nchain boot.ipxe', '\nset bootseal-next local\nchain boot.ipxe');
      assert.deepEqual(rules(named.trimEnd().split('\n'), {}), ['disk']);
      const well = script.replace('local && exit 1 ||', 'local && exit 0 ||');
      assert.deepEqual(rules(well.trimEnd().split('\n'), {}), ['end']);
      assert.deepEqual(rules(well.trimEnd().split('\n')), ['end', 'disk', 'disk']);
    });
  }
});

describe('a machine’s own disk, GRUB', () => {
  const config = compileGrubLocalDisk({ pause: 7 });
  const found = (text: string, kind: 'own-disk' | 'release' | 'hold' | 'menu' = 'own-disk') =>
    lintGrubConfig(Buffer.from(text), kind).map(({ rule }) => rule);

  it('ends GRUB, and starts nothing', () => {
    grubParses(config);
    assert.deepEqual(found(config), []);
    const commands = commandsOf(config);
    assert.deepEqual(
      commands.slice(commands.indexOf('if [ a = b ]; then bootseal_refuse "this GRUB cannot compare."; fi')),
      [
        'if [ a = b ]; then bootseal_refuse "this GRUB cannot compare."; fi',
        'if [ "$check_signatures" != enforce ]; then',
        'bootseal_refuse "this GRUB does not enforce signatures."',
        'fi',
        'echo "Verified: this machine starts from its own disk. What stands on it is not verified here."',
        'exit',
        'bootseal_refuse "this loader cannot hand the machine on; it has to be built anew."',
      ],
    );
    assert.match(config, /^ {2}sleep 7$/m);
  });

  it('may be for certain machines', () => {
    const own = compileGrubLocalDisk({ machines: MACHINES });
    grubParses(own);
    assert.ok(own.indexOf("= '52:54:00:12:34:56'") < own.indexOf('\nexit\n'));
  });

  it('is nothing that a release, a menu or a held machine may be', () => {
    for (const kind of ['release', 'hold', 'menu'] as const)
      assert.ok(found(config, kind).includes('unknown'), kind);
  });

  const attacks: Readonly<Record<string, readonly [text: string, rule: string]>> = {
    'a kernel beside it': [config.replace('\nexit\n', '\nlinux "(http,10.0.0.1)/k"\nexit\n'), 'trust'],
    'the switch of keys': [config.replace('\nexit\n', '\nbootseal_trust_payload\nexit\n'), 'trust'],
    'a second configuration': [
      config.replace('\nexit\n', '\nconfigfile "(http,10.0.0.1)/x"\nexit\n'),
      'unknown',
    ],
    'an exit within a condition': [config.replace('\nexit\n', '\nif [ a = a ]; then\n  exit\nfi\n'), 'disk'],
    'an exit within a function': [
      config
        .replace('\nexit\n', '\nbootseal_leave\n')
        .replace('if [ a = b ]', 'function bootseal_leave {\n  exit\n}\nif [ a = b ]'),
      'trust',
    ],
    'nothing after it, where a loader has no exit': [
      config.replace(/\nexit\nbootseal_refuse .*\n$/, '\nexit\n'),
      'disk',
    ],
    'a status': [config.replace('\nexit\n', '\nexit 1\n'), 'option'],
  };
  for (const [what, [text, rule]] of Object.entries(attacks)) {
    it(`refuses ${what}`, () => {
      assert.notEqual(text, config);
      assert.ok(found(text).includes(rule as LintRule), found(text).join(' '));
    });
  }
});
