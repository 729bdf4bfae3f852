import assert from 'node:assert/strict';
import { rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { execute } from '../../lab/command.ts';
import { UsageError } from '../../src/errors/usage.ts';
import type { Machine } from '../../src/machines/booter.ts';
import { parseMachineRules, readMachineRules } from '../../src/machines/machine-files.ts';
import type { KnownMachine, MachineGroup } from '../../src/machines/machine-rules.ts';
import { Matcher, membersOf } from '../../src/machines/match.ts';
import { ScriptPlan } from '../../src/machines/script-plan.ts';
import { temporaryFolder } from '../fixtures/folder.ts';

const A = '52:54:00:00:00:0a';
const B = '52:54:00:00:00:0b';
const C = '52:54:00:00:00:0c';
const STRANGER = '02:00:00:00:00:01';
const UUID = '11223344-5566-7788-99aa-bbccddeeff00';

const rulesOf = (text: string) => parseMachineRules([{ path: 'm.toml', text }]);
const ask = (machine: Omit<Machine, 'loader'>): Machine => ({ loader: 'ipxe', ...machine });

const RULES = rulesOf(`
[[machine]]
name = "a"
mac = "${A}"
uuid = "${UUID}"
labels = ["reading-room"]
product = "OptiPlex 7010"

[[machine]]
name = "b"
mac = ["${B.replaceAll(':', '-').toUpperCase()}"]
labels = "reading-room"

[[machine]]
name = "c"
mac = "${C}"
gets = { boot = "local" }

[[machine]]
name = "till"
serial = "T-1"
labels = "tills"

[[group]]
name = "old ones"
labels = "reading-room"
product = "optiplex*"
gets = { channel = "old", words = ["hostname=x"] }

[[group]]
name = "reading room"
labels = "reading-room"
gets = { channel = "stable" }

[[group]]
name = "tills"
labels = "tills"
gets = { channel = "tills", mode = "verity" }

[[group]]
name = "lab"
mac = "52:54:00:*"
firmware = "efi"
gets = { channel = "testing" }

[unknown]
gets = { boot = "hold" }
`);
const matcher = new Matcher(RULES);
const channelOf = (machine: Omit<Machine, 'loader'>) => matcher.find(ask(machine)).gets.channel;

describe('which machine this is, and what it gets', () => {
  it('goes by the first group that fits', () => {
    assert.equal(channelOf({ mac: A }), 'old');
    assert.equal(channelOf({ mac: B }), 'stable');
    // What was written down counts; what was not, the machine may say.
    assert.equal(channelOf({ mac: A, product: 'Latitude' }), 'old');
    assert.equal(channelOf({ mac: B, product: 'OptiPlex 390' }), 'old');
    assert.equal(channelOf({ mac: '52:54:00:99:00:01', firmware: 'efi' }), 'testing');
    assert.equal(matcher.find(ask({ mac: '52:54:00:99:00:01' })).gets.boot, 'hold');
    assert.equal(matcher.find(ask({ mac: C })).gets.boot, 'local');
    assert.equal(matcher.find(ask({})).gets.boot, 'hold');
  });

  it('finds a machine by its UUID, either way round, and by its serial number where it has nothing else', () => {
    assert.equal(matcher.find(ask({ mac: STRANGER, uuid: UUID })).known?.name, 'a');
    const turned = '44332211-6655-8877-99aa-bbccddeeff00';
    assert.equal(matcher.find(ask({ uuid: turned })).known?.name, 'a');
    assert.deepEqual(
      [matcher.find(ask({ serial: 'T-1' })).known?.name, matcher.find(ask({ serial: 'T-1' })).by],
      ['till', 'serial'],
    );
  });

  it('does not take whoever sits in a dock for the dock’s owner', () => {
    const other = '99999999-5566-7788-99aa-bbccddeeff00';
    const found = matcher.find(ask({ mac: A, uuid: other }));
    assert.equal(found.known, undefined);
    assert.equal(found.gets.boot, 'hold');
  });

  it('says what decided, and why the groups before it did not fit', () => {
    const { rule, passedOver } = matcher.find(ask({ mac: B, product: 'Latitude' }));
    assert.equal(rule.kind === 'group' && rule.group.name, 'reading room');
    assert.deepEqual(passedOver, [{ group: 'old ones', why: 'its product is not optiplex*' }]);
  });
});

describe('groups that are found by a table', () => {
  const few = (...all: readonly string[]) => fc.uniqueArray(fc.constantFrom(...all), { minLength: 1 });
  const machine = (name: string) =>
    fc.record(
      { name: fc.constant(name), mac: fc.constant([`52:54:00:00:00:0${name}`]), labels: few('x', 'y', 'z') },
      { requiredKeys: ['name'] },
    ) as fc.Arbitrary<KnownMachine>;
  const group = fc.record(
    {
      ...{ name: fc.constant('g'), gets: fc.constant({ boot: 'local', words: [] }) },
      ...{ machines: few('1', '2', '3'), labels: few('x', 'y', 'z') },
      mac: few('52:54:00:*', '52:54:00:00:00:01', '52:54:00:00:00:02'),
    },
    { requiredKeys: ['name', 'gets'] },
  ) as fc.Arbitrary<MachineGroup>;
  const anyRules = fc.record({
    machines: fc.tuple(machine('1'), machine('2'), machine('3'), machine('4')),
    groups: fc.array(group, { maxLength: 8 }),
    unknown: fc.constant(undefined),
    menu: fc.constant(undefined),
  });

  it('are the ones that all would be found to be, and every machine is a member of the one that it gets', () => {
    fc.assert(
      fc.property(anyRules, (rules) => {
        const found = new Matcher(rules);
        const members = membersOf(rules);
        for (const known of [...rules.machines, undefined]) {
          const mac = known?.mac?.[0];
          const { rule, passedOver, ...match } = found.find(ask(mac === undefined ? {} : { mac }));
          assert.ok(
            passedOver.every(({ why }) => why !== ''),
            'a group that fits was passed over',
          );
          assert.equal(passedOver.length, rule.kind === 'group' ? rule.index : rules.groups.length);
          if (rule.kind !== 'group' || !match.known) continue;
          const its = members[rule.index];
          assert.ok(its === undefined || its.includes(match.known), 'a machine without a script');
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('the scripts that rules want', () => {
  const plan = new ScriptPlan(RULES);
  const scriptOf = (machine: Omit<Machine, 'loader'>) =>
    plan.scriptOf(ask(machine), matcher.find(ask(machine)));
  const macsOf = (machine: Omit<Machine, 'loader'>) => {
    const found = scriptOf(machine);
    return found === undefined || found === 'own' ? found : found.machines?.flatMap(({ macs }) => macs);
  };

  it('are for the machines that can get them, where those can be named', () => {
    assert.deepEqual(macsOf({ mac: A }), [A, B], 'b may say that it is an OptiPlex');
    assert.deepEqual(macsOf({ mac: B }), [B], 'a is an OptiPlex: it is written down');
    assert.deepEqual(macsOf({ mac: C }), [C]);
  });

  it('are for any machine, or the release’s own, where they cannot', () => {
    assert.equal(scriptOf({ mac: '52:54:00:99:00:01', firmware: 'efi' }), 'own');
    const till = scriptOf({ serial: 'T-1', mac: STRANGER });
    assert.ok(till !== undefined && till !== 'own' && till.machines === undefined);
    const hold = scriptOf({});
    assert.ok(hold !== undefined && hold !== 'own' && hold.machines === undefined);
  });

  it('are one for each assignment, and split at 256 machines', () => {
    const mac = (at: number) =>
      `52:54:01:00:${(at >> 8).toString(16).padStart(2, '0')}:${(at & 255).toString(16).padStart(2, '0')}`;
    const machines = Array.from(
      { length: 10_000 },
      (_, at) => `[[machine]]\nname = "m${at}"\nmac = "${mac(at)}"\nlabels = "g${at % 40}"\n`,
    );
    const groups = Array.from(
      { length: 40 },
      (_, at) =>
        `[[group]]\nname = "g${at}"\nlabels = "g${at}"\ngets = { channel = "c${at}", words = ["hostname=g${at}"] }\n`,
    );
    const many = rulesOf([...machines, ...groups].join('\n'));
    assert.equal(new ScriptPlan(many).scripts.length, 40);
    const all = rulesOf(
      [...machines, '[[group]]\nname = "all"\nlabels = ["g0", "g1"]\ngets = { words = ["a=b"] }'].join('\n'),
    );
    assert.deepEqual(
      new ScriptPlan(all).scripts.map((script) => script.machines?.length),
      [256, 244],
    );
  });

  it('are the same whoever plans them', () => {
    const again = new ScriptPlan(rulesOf(`${'\n'.repeat(3)}[unknown]\ngets = { boot = "hold" }`));
    assert.deepEqual(
      again.scripts.map(({ key }) => key),
      plan.scripts.filter(({ assignment }) => assignment.boot === 'hold').map(({ key }) => key),
    );
  });
});

describe('a pattern', () => {
  const fits = (pattern: string, serial: string) => {
    const rules = rulesOf(`[[group]]\nname = "x"\nserial = "${pattern}"\ngets = { boot = "local" }\n`);
    return new Matcher(rules).find(ask({ serial })).gets.boot === 'local';
  };

  it('has stars for any text, in one pass over whatever a machine says', () => {
    for (const [pattern, serial] of [
      ['a', 'A'],
      ['*', 'x'],
      ['a*', 'a'],
      ['*b', 'ab'],
      ['a*b*c', 'aXbbYc'],
      ['a**b', 'ab'],
      ['(a.c)', '(a.c)'],
    ] as const)
      assert.equal(fits(pattern, serial), true, `${pattern} ${serial}`);
    for (const [pattern, serial] of [
      ['a', 'ab'],
      ['a*a', 'a'],
      ['ab*bc', 'abc'],
      ['a*b*c', 'acb'],
      ['a.c', 'abc'],
      [`${'*-'.repeat(31)}X`, '-'.repeat(64)],
    ] as const)
      assert.equal(fits(pattern, serial), false, `${pattern} ${serial}`);
  });
});

describe('a file of machines with a fault', () => {
  const faults: readonly (readonly [string, string, RegExp])[] = [
    ['no TOML', 'a = 1\n[[machine]\n', /m\.toml, line 2: it is not TOML/],
    ['an unknown key', `[[machine]]\nname = "a"\nmac = "${A}"\ncolour = "red"\n`, /line 4: machine.*colour/],
    [
      'a second of its kind',
      `[[machine]]\nname = "a"\nmac = "${A}"\n\n[[machine]]\nname = "b"\nmac = "zz"\n`,
      /line 7: .*zz is no MAC/,
    ],
    [
      'an address twice',
      `[[machine]]\nname = "a"\nmac = "${A}"\n[[machine]]\nname = "b"\nmac = "${A}"\n`,
      /line 4: the address .* is another machine.s already, in m\.toml, line 1/,
    ],
    [
      'a name twice',
      `[[machine]]\nname = "a"\nmac = "${A}"\n[[machine]]\nname = "a"\nmac = "${B}"\n`,
      /line 4: the name a /,
    ],
    ['nothing to find it by', '[[machine]]\nname = "a"\n', /line 1: .*none of mac, uuid and serial/],
    [
      'a group’s address of a card',
      `[[machine]]\nname = "a"\nmac = "ff:ff:ff:ff:ff:ff"\n`,
      /is no MAC address/,
    ],
    ['what it boots', '[unknown]\ngets = { boot = "template" }\n', /line 2: unknown\.gets\.boot/],
    [
      'a key that is half a pattern',
      `[[machine]]\nname = "a"\nmac = "${A}"\n"(" = 1\n`,
      /line 4: machine: .*\(/,
    ],
    ['a menu’s title', '[menu]\ntitle = "What?"\n', /line 2: menu\.title: cannot stand in a menu/],
    [
      'a menu’s default',
      '[menu]\nentries = ["a", { name = "b", label = "B" }]\ndefault = "c"\n',
      /line 3: menu\.default: is none of the entries/,
    ],
    ['a word', '[unknown]\ngets = { words = ["a b"] }\n', /line 2: .*is no word/],
    ['a release of the menu', '[unknown]\ngets = { boot = "menu", release = "a/1" }\n', /boots no release/],
    [
      'a label that nobody has',
      '[[group]]\nname = "x"\nlabels = "y"\ngets = {}\n',
      /line 2: the group x finds nothing: no machine has the label y/,
    ],
    [
      'a machine that is not there',
      '[[group]]\nname = "x"\nmachines = "y"\ngets = {}\n',
      /there is no machine y/,
    ],
  ];
  for (const [name, text, message] of faults)
    it(`is told with its line: ${name}`, () => {
      assert.throws(
        () => rulesOf(text),
        (error) =>
          error instanceof UsageError && message.test(error.message) && /^[^\n]+\.$/.test(error.message),
        String(
          (() => {
            try {
              rulesOf(text);
              return 'taken';
            } catch (error) {
              return error;
            }
          })(),
        ),
      );
    });

  it('is one that is no file: whoever may write there makes nobody wait', async () => {
    const folder = await temporaryFolder();
    await execute('mkfifo', [join(folder, 'pipe.toml')]);
    await assert.rejects(readMachineRules(folder), /^UsageError: .*pipe\.toml is not read: [^\n]+\.$/);
    await rm(join(folder, 'pipe.toml'));
    await symlink('/etc/hostname', join(folder, 'link.toml'));
    await assert.rejects(readMachineRules(folder), /^UsageError: .*link\.toml is not read: [^\n]+\.$/);
  });

  it('is told for [unknown] in two files', () => {
    const unknown = '[unknown]\ngets = { boot = "hold" }\n';
    assert.throws(
      () =>
        parseMachineRules([
          { path: '1.toml', text: unknown },
          { path: '2.toml', text: `\n${unknown}` },
        ]),
      /^UsageError: 2\.toml, line 2: \[unknown\] is in another file already\.$/,
    );
  });
});
