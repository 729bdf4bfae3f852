// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is how iPXE and GRUB write what they expand
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { UsageError } from '../../src/errors/usage.ts';
import { lintGrubConfig } from '../../src/scripts/grub-lint.ts';
import { compileGrubHold, compileHold } from '../../src/scripts/hold.ts';
import { type LintRule, lintScript } from '../../src/scripts/lint.ts';
import { commandsOf, grubParses } from './scripts.ts';

const SERVER = { kind: 'literal', url: 'http://10.0.0.1:8080' } as const;
const hold = (seconds?: number) =>
  compileHold({ server: SERVER, signer: 'boot.site', ...(seconds === undefined ? {} : { seconds }) });

describe('a machine that is held, iPXE', () => {
  it('names the machine, asks again with the same query, verifies, and lets what comes take its place', () => {
    const commands = commandsOf(hold(20)).map((line) =>
      line.replace(/\?mac=.*&network=\$\{bootseal-network:int32\}/, '?…'),
    );
    const start = commands.indexOf('echo HELD: this machine is not known here, and nothing was started.');
    assert.deepEqual(commands.slice(start, commands.indexOf(':refuse')), [
      'echo HELD: this machine is not known here, and nothing was started.',
      'echo   mac           ${netX/mac}',
      'echo   uuid          ${uuid}',
      'echo   serial        ${serial}',
      'echo   asset         ${asset}',
      'echo   manufacturer  ${manufacturer}',
      'echo   product       ${product}',
      'echo   firmware      ${platform}, ${buildarch}',
      'echo On the server: bootseal machines explain ${netX/mac} --state STATE',
      'echo Once it stands in STATE/machines and that is applied, it goes on by itself.',
      'echo It asks again every 20 seconds.',
      ':again',
      'sleep 20 ||',
      'inc bootseal-asked || goto restart',
      'iseq ${bootseal-asked:int32} 45 && goto restart ||',
      'imgfree',
      'imgfetch --name boot.ipxe http://10.0.0.1:8080/boot.ipxe?… || goto again',
      'imgfetch --name bootseal.seal http://10.0.0.1:8080/boot.ipxe.sig?… || goto again',
      'set bootseal-step verify boot.ipxe as signed by boot.site',
      'imgverify --signer boot.site boot.ipxe bootseal.seal || goto refuse',
      'set bootseal-step boot: boot.ipxe came back',
      'chain --replace boot.ipxe || goto refuse',
      'goto refuse',
      ':restart',
      'echo This machine restarts, to ask from the beginning.',
      'reboot ||',
      'poweroff ||',
      'exit 1',
    ]);
  });

  it('needs no permit of the linter: it may do nothing that a release may not', () => {
    assert.deepEqual(lintScript(Buffer.from(hold()), { signers: ['boot.site'] }), []);
  });

  it('asks at its architecture’s entry where the machine has one', () => {
    const script = compileHold({ server: SERVER, signer: 'boot.site', arch: 'aarch64' });
    assert.match(
      script,
      /^imgfetch --name boot\.ipxe http:\/\/10\.0\.0\.1:8080\/entries\/aarch64\/boot\.ipxe\?mac=/m,
    );
  });

  it('asks at most 60 times before it restarts, and no more often than every 5 seconds', () => {
    const rounds = (seconds: number) =>
      Number(/^iseq \$\{bootseal-asked:int32\} (\d+) /m.exec(hold(seconds))?.[1]);
    assert.deepEqual([5, 15, 30, 900, 3600].map(rounds), [60, 60, 30, 2, 2]);
    for (const seconds of [0, 4, 3601, 7.5, Number.NaN]) assert.throws(() => hold(seconds), UsageError);
  });

  it('the linter refuses it without any one of its safety lines', () => {
    const lines = hold().split('\n');
    for (const [index, line] of lines.entries()) {
      if (!/^(imgtrust|imgverify)/.test(line)) continue;
      assert.notDeepEqual(lintScript(Buffer.from(lines.toSpliced(index, 1).join('\n'))), [], line);
    }
    const unchecked = hold().replace(/^imgverify (.*) \|\| goto refuse$/m, 'imgverify $1 || goto again');
    assert.deepEqual(
      lintScript(Buffer.from(unchecked)),
      [],
      'asking again after a bad seal would be sound, too',
    );
    const swallowed = hold().replace(/^imgverify (.*) \|\| goto refuse$/m, 'imgverify $1 ||');
    assert.ok(lintScript(Buffer.from(swallowed)).some(({ rule }) => rule === 'unverified'));
  });
});

describe('a machine that is held, GRUB', () => {
  const config = compileGrubHold({ seconds: 20 });
  const found = (text: string) => lintGrubConfig(Buffer.from(text), 'hold').map(({ rule }) => rule);

  it('names the machine where that is plain text, and restarts to ask again', () => {
    grubParses(config);
    assert.deepEqual(found(config), []);
    const commands = commandsOf(config);
    assert.deepEqual(
      commands.filter((line) => /^smbios/.test(line)),
      [
        'smbios --type 1 --get-uuid 8 --set bootseal_uuid',
        'smbios --type 1 --get-string 7 --set bootseal_serial',
        'smbios --type 3 --get-string 8 --set bootseal_asset',
        'smbios --type 1 --get-string 4 --set bootseal_manufacturer',
        'smbios --type 1 --get-string 5 --set bootseal_product',
      ],
    );
    assert.deepEqual(commands.slice(-5), [
      `if regexp '^${Array(6).fill('([0-9a-f][0-9a-f])').join(':')}$' "$net_default_mac"; then`,
      'echo "  mac           $net_default_mac"',
      'echo "On the server: bootseal machines explain $net_default_mac --state STATE"',
      'fi',
      'bootseal_wait',
    ]);
    assert.match(config, /^ {2}sleep 20\n {2}reboot$/m);
  });

  const attacks: Readonly<Record<string, readonly [text: string, rule: LintRule]>> = {
    'a name that nothing has held to plain text': [
      config.replace(/if regexp '[^']*' "\$bootseal_serial"; then/, 'if true; then'),
      'setting',
    ],
    'a name that another pattern lets through': [
      config.replace(
        /if regexp '[^']*' "\$bootseal_serial"; then/,
        `if regexp '.*' "$bootseal_serial"; then`,
      ),
      'setting',
    ],
    'a name shown where the pattern did not fit': [
      config.replace(
        '  echo "  serial        $bootseal_serial"\n',
        '  true\nelse\n  echo "  serial        $bootseal_serial"\n',
      ),
      'setting',
    ],
    'another name than the one that was held': [
      config.replace('echo "  serial        $bootseal_serial"', 'echo "  serial        $bootseal_asset"'),
      'setting',
    ],
    'a name in no quotes': [
      config.replace('echo "  serial        $bootseal_serial"', 'echo $bootseal_serial'),
      'setting',
    ],
    'memory that smbios reads as it likes': [
      config.replace('--get-string 7 --set bootseal_serial', '--get-byte 7 --set check_signatures'),
      'option',
    ],
    'a kernel': [
      config.replace(/bootseal_wait\n$/, 'linux "(http,10.0.0.1)/k"\nboot\nbootseal_wait\n'),
      'trust',
    ],
    'the disk': [config.replace(/bootseal_wait\n$/, 'exit\nbootseal_wait\n'), 'unknown'],
    'a menu': [
      config.replace(/bootseal_wait\n$/, "menuentry 'x' --unrestricted --id x {\n  exit\n}\nbootseal_wait\n"),
      'unknown',
    ],
    'an end that comes back': [config.replace(/\nbootseal_wait\n$/, '\n'), 'end'],
  };
  for (const [what, [text, rule]] of Object.entries(attacks)) {
    it(`refuses ${what}`, () => {
      assert.notEqual(text, config);
      assert.ok(found(text).includes(rule), found(text).join(' '));
    });
  }
});
