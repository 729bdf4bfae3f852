// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is how GRUB writes a variable
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { GRUB_COMMANDS, lintGrubConfig } from '../../src/scripts/grub-lint.ts';

const folder = mkdtempSync(join(tmpdir(), 'bootseal-test-grub-lint-'));
after(() => rmSync(folder, { recursive: true }));

const REFUSE = `function bootseal_refuse {
  echo "REFUSED: $1"
  sleep 30
  reboot
  halt
  while true; do sleep 60; done
}
`;
const SWITCH = `bootseal_trust_payload
if [ "$bootseal_trusts" != payload ]; then bootseal_refuse "old"; fi
`;
const GUARD = `set bootseal_server="$net_default_server"
if regexp '^[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}$' "$bootseal_server"; then
  true
else
  bootseal_refuse "no address"
fi
`;
const LOAD = `if linux "(http,$bootseal_server)/k" 'quiet' a=$bootseal_server; then boot; fi
`;
const END = 'bootseal_refuse "no kernel"\n';
const CLEAN = REFUSE + SWITCH + GUARD + LOAD + END;

const HYPERVISOR = `set bootseal_device="(http,$bootseal_server)"
if multiboot2 "$bootseal_device/xen" 'console=com1'; then
  if module2 --nounzip "$bootseal_device/k" 'quiet' a=$bootseal_server; then
    if module2 --nounzip "$bootseal_device/i"; then
      echo "go"
      boot
      bootseal_refuse "not started"
    fi
    bootseal_refuse "no initrd"
  fi
  bootseal_refuse "no linux"
fi
`;
const XEN = REFUSE + SWITCH + GUARD + HYPERVISOR + END;

const found = (text: string) => [
  ...new Set(lintGrubConfig(Buffer.from(text, 'latin1')).map(({ rule }) => rule)),
];

describe('the linter of grub.cfg', () => {
  it('finds nothing in a clean one', () => {
    assert.deepEqual(lintGrubConfig(Buffer.from(CLEAN)), []);
    assert.deepEqual(lintGrubConfig(Buffer.from(XEN)), []);
    assert.deepEqual(
      lintGrubConfig(Buffer.from(XEN.replace('if module2 --nounzip "$bootseal_device/i"', 'if true'))),
      [],
    );
  });

  const cases: Readonly<Record<string, readonly [text: string, rule: string]>> = {
    'a loop whose second pass uses what the first left': [
      CLEAN.replace(
        LOAD,
        'set bootseal_x=\nwhile true; do\n  linux "(http,$bootseal_server)/k" "$bootseal_x"\n  set bootseal_x="$net_default_hostname"\n  boot\ndone\n',
      ),
      'setting',
    ],
    'a second configuration after the switch': [
      CLEAN.replace(LOAD, `configfile "(http,$bootseal_server)/x"\n${LOAD}`),
      'unknown',
    ],
    'a sourced script': [CLEAN.replace(LOAD, `source "(http,$bootseal_server)/x"\n${LOAD}`), 'unknown'],
    'the same under its short name': [
      CLEAN.replace(LOAD, `. "(http,$bootseal_server)/x"\n${LOAD}`),
      'unknown',
    ],
    'variables read from a file': [
      CLEAN.replace(LOAD, `load_env -f "(http,$bootseal_server)/x"\n${LOAD}`),
      'unknown',
    ],
    'a module from elsewhere': [
      CLEAN.replace(LOAD, `insmod "(http,$bootseal_server)/x"\n${LOAD}`),
      'unknown',
    ],
    'a key of its own': [CLEAN.replace(LOAD, `trust "(http,$bootseal_server)/x"\n${LOAD}`), 'unknown'],
    'a variable in the place of a command': [CLEAN.replace(LOAD, `$net_default_mac x\n${LOAD}`), 'unknown'],
    'a command in quotes': [CLEAN.replace(LOAD, `"con"figfile x\n${LOAD}`), 'unknown'],
    eval: [CLEAN.replace(LOAD, `eval "$1"\n${LOAD}`), 'unknown'],
    'signatures switched off': [CLEAN.replace(LOAD, `set check_signatures=no\n${LOAD}`), 'setting'],
    'signatures switched off by a match': [
      CLEAN.replace(LOAD, `if regexp --set=1:check_signatures '(no)' no; then true; fi\n${LOAD}`),
      'setting',
    ],
    'a prompt for everybody': [CLEAN.replace(LOAD, `set superusers=\n${LOAD}`), 'setting'],
    'a variable forgotten': [CLEAN.replace(LOAD, `unset check_signatures\n${LOAD}`), 'unknown'],
    'the proof forged': [CLEAN.replace(SWITCH, `set bootseal_trusts=payload\n${SWITCH}`), 'setting'],
    'no switch': [CLEAN.replace(SWITCH, ''), 'trust'],
    'a switch without a proof': [CLEAN.replace(SWITCH, 'bootseal_trust_payload\n'), 'trust'],
    'a proof that refuses nothing': [CLEAN.replace('bootseal_refuse "old"', 'echo old'), 'trust'],
    'a proof that a blank breaks': [CLEAN.replace('"$bootseal_trusts"', '$bootseal_trusts'), 'trust'],
    'a switch that may not be called': [CLEAN.replace(SWITCH, `if [ a = b ]; then\n${SWITCH}fi\n`), 'trust'],
    'a kernel before the switch': [CLEAN.replace(SWITCH, `linux /k\n${SWITCH}`), 'trust'],
    'a kernel in a function': [
      CLEAN.replace(SWITCH, `function bootseal_go {\n  linux /k\n}\nbootseal_go\n${SWITCH}`),
      'trust',
    ],
    'a refusal that goes on': [CLEAN.replace('  while true; do sleep 60; done\n', ''), 'trust'],
    'a refusal that may leave first': [
      CLEAN.replace('  sleep 30\n', '  if true; then return; fi\n'),
      'unknown',
    ],
    'the loader’s switch replaced': [`function bootseal_trust_payload {\n  true\n}\n${CLEAN}`, 'unknown'],
    'the loader’s refusal replaced': [`function bootseal_loader_refuse {\n  true\n}\n${CLEAN}`, 'unknown'],
    'a command replaced': [`function reboot {\n  true\n}\n${CLEAN}`, 'unknown'],
    'a function replaced': [
      CLEAN.replace(SWITCH, `function bootseal_refuse {\n  true\n}\n${SWITCH}`),
      'unknown',
    ],
    'a server of any name': [CLEAN.replace(GUARD, 'set bootseal_server="$net_default_server"\n'), 'setting'],
    'a server whose form is looked at and no more': [
      CLEAN.replace('bootseal_refuse "no address"', 'true'),
      'setting',
    ],
    'a server of any name after its form was looked at': [
      CLEAN.replace(LOAD, `set bootseal_server="$net_default_server"\n${LOAD}`),
      'setting',
    ],
    'a host name from DHCP on the command line': [
      CLEAN.replace('a=$bootseal_server', 'a="$net_default_hostname"'),
      'setting',
    ],
    'a host name from DHCP that GRUB splits': [
      CLEAN.replace(LOAD, `if [ $net_default_hostname = a ]; then true; fi\n${LOAD}`),
      'setting',
    ],
    'a host name from DHCP on the console': [
      CLEAN.replace(LOAD, `echo "$net_default_hostname"\n${LOAD}`),
      'setting',
    ],
    'a host name from DHCP for a function to show': [
      CLEAN.replace(END, 'bootseal_refuse "$net_default_hostname"\n'),
      'setting',
    ],
    'a host name from DHCP that a function shows': [
      CLEAN.replace('"REFUSED: $1"', '"$net_default_hostname"'),
      'setting',
    ],
    'a host name from DHCP by another name': [
      CLEAN.replace(LOAD, `set bootseal_x="a=${'${net_default_hostname}'}"\n${LOAD}`).replace(
        'a=$bootseal_server',
        '$bootseal_x',
      ),
      'setting',
    ],
    'a variable that nothing set': [CLEAN.replace('a=$bootseal_server', 'a=$bootseal_nothing'), 'setting'],
    'a part that any pattern took': [
      CLEAN.replace(
        LOAD,
        `if regexp --set=1:m1 '(.*)' "$net_default_hostname"; then true; fi\n${LOAD}`,
      ).replace('a=$bootseal_server', 'a=$m1'),
      'setting',
    ],
    'a hypervisor before the switch': [REFUSE + GUARD + HYPERVISOR + SWITCH + END, 'trust'],
    'a hypervisor that nobody asked': [
      XEN.replace('if multiboot2', 'multiboot2').replace(
        "'console=com1'; then",
        "'console=com1'\nif true; then",
      ),
      'fatal',
    ],
    'a hypervisor that starts although it failed': [XEN.replace('if multiboot2', 'if ! multiboot2'), 'fatal'],
    'a module that nobody asked': [
      XEN.replace(
        'if module2 --nounzip "$bootseal_device/i"; then',
        'module2 --nounzip "$bootseal_device/i"\nif true; then',
      ),
      'fatal',
    ],
    'a module that is asked behind the boot': [
      XEN.replace('      echo "go"\n', '').replace(
        'boot\n',
        'boot\n      if module2 --nounzip "$bootseal_device/j"; then true; fi\n',
      ),
      'fatal',
    ],
    'a module without a hypervisor': [CLEAN.replace('if linux', 'if module2 --nounzip'), 'fatal'],
    'a boot where the module failed': [XEN.replace('bootseal_refuse "no linux"', 'boot'), 'fatal'],
    'a boot behind it all': [XEN.replace(END, `boot\n${END}`), 'fatal'],
    'a boot in the other branch': [
      XEN.replace(
        '    bootseal_refuse "no initrd"',
        '    if true; then boot; fi\n    bootseal_refuse "no initrd"',
      ),
      'fatal',
    ],
    'two hypervisors': [XEN.replace(END, `${HYPERVISOR}${END}`), 'fatal'],
    'a kernel beside a hypervisor': [XEN.replace(END, `${LOAD}${END}`), 'name'],
    'a hypervisor without a module': [XEN.replace(/if module2 .*; then/g, 'if true; then'), 'name'],
    'an initrd of a hypervisor by another command': [
      XEN.replace('if module2 --nounzip "$bootseal_device/i"', 'if initrd "$bootseal_device/i"'),
      'fatal',
    ],
    'a module that GRUB unpacks': [XEN.replace('module2 --nounzip', 'module2'), 'name'],
    'an option for a hypervisor': [XEN.replace('multiboot2', 'multiboot2 --quirk-bad-kludge'), 'name'],
    'a hypervisor from elsewhere': [XEN.replace('"$bootseal_device/xen"', '"(hd0)/xen"'), 'name'],
    'words for the module among those of the hypervisor': [
      XEN.replace("'console=com1'", "'console=com1' '--' 'break'"),
      'command-line',
    ],
    'a hypervisor in a function': [
      XEN.replace(SWITCH, `function bootseal_go {\n  multiboot2 /x\n}\n${SWITCH}`),
      'trust',
    ],
    'a hypervisor of another name': [XEN.replaceAll('multiboot2', 'xen_hypervisor'), 'unknown'],
    'a menu': [CLEAN.replace(END, `menuentry x {\n  boot\n}\n${END}`), 'unknown'],
    'an end that comes back': [CLEAN.replace(END, ''), 'end'],
    'a pipe': [CLEAN.replace(LOAD, `echo a | echo b\n${LOAD}`), 'malformed'],
    'a line that is joined to the next': [CLEAN.replace(LOAD, `echo a \\\n${LOAD}`), 'malformed'],
    'a character that a terminal obeys': [CLEAN.replace(LOAD, `echo "\x1b[2J"\n${LOAD}`), 'malformed'],
    'a quote without its other': [CLEAN.replace(LOAD, `echo "a\n${LOAD.replaceAll('"', '')}`), 'malformed'],
  };
  for (const [what, [text, rule]] of Object.entries(cases)) {
    it(`finds ${what}`, () => {
      assert.ok(text !== CLEAN && text !== XEN);
      assert.ok(
        found(text).includes(rule as never),
        JSON.stringify(lintGrubConfig(Buffer.from(text, 'latin1'))),
      );
    });
  }

  it('takes what two ways set for the worse of them', () => {
    const both = `if [ a = b ]; then set bootseal_x="$net_default_hostname"; else set bootseal_x=plain; fi\n`;
    const text = CLEAN.replace(LOAD, both + LOAD).replace('a=$bootseal_server', 'a=$bootseal_x');
    assert.deepEqual(found(text), ['setting']);
  });

  it('has an answer for any text', () => {
    const pieces = [
      'if',
      ' ',
      ' then',
      '; ',
      '\n',
      '{',
      '}',
      'fi',
      '"',
      "'",
      '$a',
      '[ ',
      ' ]',
      'set a=',
      'function f',
      'linux',
      '\\',
    ];
    const text = fc.oneof(
      fc.array(fc.constantFrom(...pieces)).map((found) => found.join('')),
      fc.string(),
    );
    fc.assert(fc.property(text, (any) => found(any).length > 0));
  });

  it('bounds its work', () => {
    assert.ok(found('echo a\n'.repeat(3000)).includes('malformed'));
  });

  it('names commands that GRUB itself parses as such', () => {
    const path = join(folder, 'commands.cfg');
    writeFileSync(
      path,
      `${GRUB_COMMANDS.map((command) => (command === '[' ? '[ a = b ]' : command)).join('\n')}\n${CLEAN}`,
    );
    execFileSync('grub-script-check', [path]);
  });
});
