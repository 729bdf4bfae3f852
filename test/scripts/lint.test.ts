// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is how iPXE writes a setting
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  compileAutoexec,
  compileBootScript,
  compileEmbedded,
  DEFAULT_BASE,
} from '../../src/scripts/compile.ts';
import { type LintOptions, type LintRule, lintScript } from '../../src/scripts/lint.ts';
import { DIGEST, MANIFEST } from './scripts.ts';

const lint = (text: string, options: LintOptions = {}) => lintScript(Buffer.from(text, 'latin1'), options);

/** A script with nothing wrong: line 1 to 12. */
const CLEAN = [
  '#!ipxe',
  'imgfree',
  'imgtrust --permanent || goto refuse',
  'kernel --name vmlinuz http://10.1.2.3/k quiet BOOTIF=01-${netX/mac:hexhyp} || goto refuse',
  'imgverify --signer r/1 vmlinuz http://10.1.2.3/k.sig || goto refuse',
  'initrd http://10.1.2.3/root.img || goto refuse',
  'imgverify --signer r/1 root.img http://10.1.2.3/root.img.sig || goto refuse',
  'boot || goto refuse',
  ':refuse',
  'echo Refused.',
  'reboot ||',
  'exit 1',
];

/** Expects exactly these rules, each at its line. */
function breaks(lines: readonly string[], ...expected: readonly (readonly [LintRule, number])[]): void {
  const found = lint(`${lines.join('\n')}\n`);
  assert.deepEqual(
    found.map(({ rule, line }) => [rule, line]),
    expected,
    JSON.stringify(found, undefined, 1),
  );
}

/** CLEAN with the given lines (numbers from 1) replaced. */
function clean(replace: Readonly<Record<number, string>>): string[] {
  return CLEAN.map((line, index) => replace[index + 1] ?? line);
}

describe('our own scripts', () => {
  const boot = compileBootScript({ manifest: MANIFEST, manifestSha256: DIGEST, server: { kind: 'typed' } });
  const embedded = compileEmbedded({
    base: DEFAULT_BASE,
    anchorId: '0123456789abcdef',
    bootSigner: 'boot.example',
    ntp: 'time.example',
  });
  const autoexec = compileAutoexec({
    allowUnverified: false,
    bootSigner: 'boot.example',
    server: { kind: 'typed' },
  });

  it('are clean', () => {
    assert.deepEqual(lint(boot, { signers: ['arch/2026.11.01'] }), []);
    assert.deepEqual(lint(embedded, { signers: ['boot.example'] }), []);
    assert.deepEqual(lint(autoexec, { signers: ['boot.example'] }), []);
  });

  for (const [name, script] of Object.entries({ boot, embedded, autoexec })) {
    it(`${name}: without any one of its safety lines it is not`, () => {
      const lines = script.split('\n');
      let tried = 0;
      for (const [index, line] of lines.entries()) {
        if (!/^(imgtrust|imgverify|:refuse)/.test(line)) continue;
        tried += 1;
        assert.notDeepEqual(
          lint(lines.toSpliced(index, 1).join('\n')),
          [],
          `without line ${index + 1}: ${line}`,
        );
      }
      assert.ok(tried >= 3);
    });

    it(`${name}: with any failure swallowed it is not`, () => {
      const lines = script.split('\n');
      for (const [index, line] of lines.entries()) {
        if (!/^(imgtrust|imgverify|kernel|initrd|boot|chain).*\|\| goto /.test(line)) continue;
        const swallowed = lines.with(index, line.replace(/\|\| goto .*/, '||'));
        assert.notDeepEqual(lint(swallowed.join('\n')), [], `swallowed in line ${index + 1}: ${line}`);
      }
    });

    it(`${name}: a jump past any verification is found`, () => {
      const lines = script.split('\n');
      for (const [index, line] of lines.entries()) {
        if (!/^imgverify/.test(line)) continue;
        const jumped = lines.toSpliced(index, 1, 'iseq ${platform} efi && goto past ||', line, ':past');
        assert.notDeepEqual(lint(jumped.join('\n')), [], `around line ${index + 1}: ${line}`);
      }
    });
  }
});

/** What starts an image that firmware verifies: line 1 to 9. */
const IMAGE = [
  '#!ipxe',
  'imgfree',
  'iseq ${efi/SecureBoot:int8} 1 || goto refuse',
  'chain --autofree http://10.1.2.3/uki.efi || goto refuse',
  ':refuse',
  'imgfree',
  'echo Refused.',
  'reboot ||',
  'exit 1',
];

describe('the linter, of a script for firmware with Secure Boot', () => {
  const rules = (lines: readonly string[], secureBoot = true) =>
    lint(`${lines.join('\n')}\n`, { permits: secureBoot ? ['firmware'] : [] }).map(({ rule, line }) => [
      rule,
      line,
    ]);
  const image = (replace: Readonly<Record<number, string>>) =>
    IMAGE.map((line, index) => replace[index + 1] ?? line);

  it('has nothing against one image, where firmware was seen to enforce', () => {
    assert.deepEqual(rules(IMAGE), []);
    assert.deepEqual(
      rules(image({ 4: 'chain http://${next-server}:${bootseal-port:int32}/uki.efi || exit 1' })),
      [],
    );
  });

  it('allows it to no other script', () => {
    assert.deepEqual(new Set(rules(IMAGE, false).map(([rule]) => rule)), new Set(['trust', 'chain']));
  });

  it('firmware: the variable was not asked, or its answer changes nothing', () => {
    for (const guard of [
      'echo',
      'iseq ${efi/SecureBoot:int8} 1 ||',
      'iseq ${efi/SecureBoot:int8} 0 || goto refuse',
      'iseq ${efi/SecureBoot} 1 || goto refuse',
      'iseq ${SecureBoot:int8} 1 || goto refuse',
      'iseq ${net0/SecureBoot:int8} 1 || goto refuse',
      'iseq ${bootseal-x} 1 || goto refuse',
      'iseq ${platform} efi || goto refuse',
      'isset ${efi/SecureBoot:int8} || goto refuse',
      'iseq ${efi/SecureBoot:int8} 1 && goto refuse ||',
    ])
      assert.deepEqual(rules(image({ 3: guard })), [['firmware', 4]], guard);
    // A way around the question.
    assert.deepEqual(rules(IMAGE.toSpliced(2, 0, 'isset ${ip} && goto past ||').toSpliced(4, 0, ':past')), [
      ['firmware', 6],
    ]);
  });

  it('another image, a kernel, words or an image beside it are what they were', () => {
    const found = (line: string) => rules(image({ 4: line })).map(([rule]) => rule);
    assert.ok(found('chain http://10.1.2.3/other.efi || goto refuse').includes('chain'));
    assert.ok(found('chain http://10.1.2.3/vmlinuz || goto refuse').includes('trust'));
    assert.ok(found('kernel http://10.1.2.3/uki.efi || goto refuse').includes('trust'));
    assert.deepEqual(found('chain http://10.1.2.3/uki.efi init=/bin/sh || goto refuse'), ['firmware']);
    assert.deepEqual(found('chain --name k http://10.1.2.3/uki.efi || goto refuse'), ['name']);
    assert.deepEqual(found('chain http://10.1.2.3/uki.efi ||'), ['fatal']);
    assert.deepEqual(found('chain http://${filename}/uki.efi || goto refuse'), ['setting']);
    const beside = IMAGE.toSpliced(3, 0, 'initrd http://10.1.2.3/a.img || goto refuse');
    assert.ok(rules(beside).some(([rule, line]) => rule === 'unverified' && line === 4));
  });
});

describe('the linter', () => {
  it('has nothing against a plain verifying script', () => breaks(CLEAN));

  it('malformed: no script, other magic, a hidden character, a last line that is dropped', () => {
    assert.deepEqual(
      lint('echo hello\n').map(({ rule }) => rule),
      ['malformed'],
    );
    assert.deepEqual(
      lint('#!ipxe\necho \0\n').map(({ rule }) => rule),
      ['malformed'],
    );
    breaks(clean({ 1: '#!gpxe' }), ['malformed', 1]);
    breaks(clean({ 10: 'echo \x1b[2K' }), ['malformed', 10]);
    breaks(clean({ 12: 'exit 1 \\' }), ['end', 11], ['malformed', 12]);
    breaks([...CLEAN, ...Array.from({ length: 1000 }, () => 'echo')], ['malformed', 1]);
  });

  it('imgfree: an image from before would reach the kernel', () => {
    breaks(clean({ 2: 'echo' }), ['imgfree', 2]);
    breaks(clean({ 2: 'imgfree vmlinuz' }), ['imgfree', 2]);
    breaks(clean({ 2: '# imgfree' }), ['imgfree', 3]);
  });

  it('trust: before anything is fetched, permanent, never loosened', () => {
    breaks(clean({ 3: 'echo' }), ['trust', 4], ['trust', 6], ['trust', 8]);
    breaks(clean({ 3: 'imgtrust || goto refuse' }), ['trust', 3], ['trust', 4], ['trust', 6], ['trust', 8]);
    breaks(clean({ 10: 'imgtrust --allow || goto refuse' }), ['trust', 10]);
    breaks(
      clean({ 3: 'imgtrust --permanent --allow || goto refuse' }),
      ['trust', 3],
      ['trust', 4],
      ['trust', 6],
      ['trust', 8],
    );
  });

  it('setting: the user class is our own name, spelled out, and nothing else', () => {
    breaks(clean({ 10: 'set user-class bootseal' }));
    for (const line of [
      'set user-class iPXE',
      'set user-class bootseal x',
      'set user-class ${bootseal-x}',
      'set user-class',
      'set user-class:hex 62:6f',
      'set net0/user-class bootseal',
      'set 77 bootseal',
      'clear user-class',
      'inc user-class',
    ])
      breaks(clean({ 10: line }), ['setting', 10]);
  });

  it('fatal: a failure that is not answered, or swallowed', () => {
    breaks(clean({ 3: 'imgtrust --permanent' }), ['fatal', 3]);
    breaks(clean({ 3: 'imgtrust --permanent ||' }), ['fatal', 3], ['trust', 4], ['trust', 6], ['trust', 8]);
    breaks(clean({ 7: 'imgverify --signer r/1 root.img http://10.1.2.3/s' }), ['fatal', 7]);
    breaks(
      clean({ 7: 'imgverify --signer r/1 root.img http://10.1.2.3/s ||' }),
      ['unverified', 6],
      ['fatal', 7],
    );
    breaks(
      clean({ 7: 'imgverify --signer r/1 root.img http://10.1.2.3/s || echo Careful' }),
      ['unverified', 6],
      ['fatal', 7],
    );
    breaks(clean({ 7: 'imgverify --signer r/1 root.img http://10.1.2.3/s ; goto refuse' }), ['fatal', 7]);
    breaks(
      clean({ 7: 'imgverify --signer r/1 root.img http://10.1.2.3/s || exit 0' }),
      ['fatal', 7],
      ['end', 7],
    );
    breaks(clean({ 6: 'initrd http://10.1.2.3/root.img' }), ['fatal', 6]);
    breaks(clean({ 8: 'boot' }), ['fatal', 8]);
  });

  it('fatal: an exit that iPXE does not take for one, and what comes behind it', () => {
    const verify = (rest: string) =>
      clean({ 7: `imgverify --signer r/1 root.img http://10.1.2.3/s ${rest}` });
    breaks(verify('|| exit 1'));
    breaks(verify('|| exit 2147483647'));
    breaks(verify('|| exit 1 2 ||'), ['unverified', 6], ['fatal', 7], ['option', 7]);
    breaks(verify('|| exit 0x1 ||'), ['unverified', 6], ['fatal', 7], ['number', 7]);
    breaks(verify('|| exit 08 ||'), ['unverified', 6], ['fatal', 7], ['number', 7]);
    breaks(
      verify('|| exit ${bootseal-x} ||'),
      ['unverified', 6],
      ['fatal', 7],
      ['number', 7],
      ['setting', 7],
    );
    breaks(verify('|| exit'), ['fatal', 7], ['end', 7]);
  });

  it('number: one that iPXE holds as another', () => {
    // 2^32 is 0 to an unsigned int: the script would end as if it had succeeded.
    for (const status of ['4294967296', '4294967297', '2147483648', '01', '0x1', '1x', '9'.repeat(17)]) {
      breaks(clean({ 12: `exit ${status}` }), ['number', 12]);
      breaks(clean({ 8: `boot || exit ${status}` }), ['fatal', 8], ['number', 8]);
    }
    breaks(clean({ 12: 'exit 0' }), ['end', 12]);
    breaks(clean({ 12: 'exit' }), ['end', 12]);
    breaks(clean({ 12: 'exit 2147483647' }));
    const timed = (ms: string) =>
      clean({ 6: `initrd --timeout ${ms} --name root.img http://10.1.2.3/i || goto refuse` });
    breaks(timed('4194303'));
    for (const ms of ['4194304', '4294967296', '0x10', '010', '${bootseal-x:int32}', '1s'])
      breaks(timed(ms), ['number', 6]);
    breaks(clean({ 10: 'sleep 4294967295' }));
    for (const seconds of ['4294967296', '030', '${bootseal-x:int32}', '30s'])
      breaks(clean({ 10: `sleep ${seconds}` }), ['number', 10]);
    breaks(clean({ 10: 'inc bootseal-n 4294967295' }));
    breaks(clean({ 10: 'inc bootseal-n 4294967296' }), ['number', 10]);
    for (const [type, most] of [
      ['int8', 127],
      ['uint8', 255],
      ['int16', 32_767],
      ['uint16', 65_535],
      ['int32', 2 ** 31 - 1],
      ['uint32', 2 ** 32 - 1],
    ] as const) {
      breaks(clean({ 10: `set bootseal-n:${type} ${most}` }));
      breaks(clean({ 10: `set bootseal-n:${type} ${most + 1}` }), ['number', 10]);
      breaks(clean({ 10: `set bootseal-n:${type} 010` }), ['number', 10]);
    }
    breaks(clean({ 10: 'set bootseal-n:int32 ${bootseal-m:int32}' }));
    const port = (text: string) =>
      clean({ 6: `initrd --name root.img http://10.1.2.3:${text}/i || goto refuse` });
    breaks(port('65535'));
    breaks(port('${bootseal-port:int32}'));
    // The last of these is 80 to TCP.
    for (const wrong of ['0', '080', '65536', '65616', '4294967376']) breaks(port(wrong), ['number', 6]);
    breaks(clean({ 7: 'imgverify --signer r/1 root.img http://[fd00::1]:65536/s || goto refuse' }), [
      'number',
      7,
    ]);
    breaks(clean({ 7: 'imgverify --signer r/1 root.img http://[fd00::1]/s || goto refuse' }));
  });

  it('unverified: an image that no imgverify covers, however it got there', () => {
    breaks(clean({ 5: 'echo' }), ['unverified', 4]);
    breaks(clean({ 7: 'echo' }), ['unverified', 6]);
    // Verified the other one twice.
    breaks(clean({ 7: 'imgverify --signer r/1 vmlinuz http://10.1.2.3/s || goto refuse' }), [
      'unverified',
      6,
    ]);
    // A comment eats the verification.
    breaks(clean({ 7: 'echo # imgverify --signer r/1 root.img http://10.1.2.3/s || goto refuse' }), [
      'unverified',
      6,
    ]);
    // Fetched again after it was verified.
    breaks(clean({ 8: 'imgfetch http://10.1.2.3/late || goto refuse\nboot || goto refuse' }), [
      'unverified',
      8,
    ]);
    breaks(clean({ 7: 'imgverify --keep --signer r/1 root.img http://10.1.2.3/s || goto refuse' }), [
      'unverified',
      7,
    ]);
    // A seal that was fetched but never used is an initrd.
    breaks(clean({ 8: 'imgfetch --name seal http://10.1.2.3/s || goto refuse\nboot || goto refuse' }), [
      'unverified',
      8,
    ]);
  });

  it('unverified: control that goes around a verification', () => {
    breaks(clean({ 6: `${CLEAN[5]}\nisset \${ip} && goto go ||`, 8: ':go boot || goto refuse' }), [
      'unverified',
      6,
    ]);
    // A `;` goes on whatever came before it.
    breaks(
      clean({ 7: CLEAN[6]?.replace('goto refuse', 'echo Bad ; echo') ?? '' }),
      ['unverified', 6],
      ['fatal', 7],
    );
    // A loop that fetches once more before it boots.
    breaks(
      [...CLEAN.slice(0, 3), ':again', ...CLEAN.slice(3, 7), 'isset ${ip} || goto again', ...CLEAN.slice(7)],
      ['name', 5],
      ['name', 7],
    );
    // A `kernel` that failed keeps its image.
    breaks(
      clean({ 4: 'kernel --name other http://10.1.2.3/o && goto refuse ||', 5: `${CLEAN[3]}\n${CLEAN[4]}` }),
      ['unverified', 4],
    );
  });

  it('signer: any certificate of the CA would do', () => {
    breaks(
      clean({ 7: 'imgverify root.img http://10.1.2.3/s || goto refuse' }),
      ['unverified', 6],
      ['signer', 7],
    );
    breaks(
      clean({ 7: 'imgverify --signer ${hostname} root.img http://10.1.2.3/s || goto refuse' }),
      ['setting', 7],
      ['signer', 7],
    );
    const other = lint(`${CLEAN.join('\n')}\n`, { signers: ['r/2'] });
    assert.deepEqual(
      other.map(({ rule, line }) => [rule, line]),
      [
        ['signer', 5],
        ['signer', 7],
      ],
    );
    assert.deepEqual(lint(`${CLEAN.join('\n')}\n`, { signers: ['r/1'] }), []);
  });

  it('shell: nobody takes over', () => {
    for (const command of ['shell', 'config', 'login', 'prompt', 'choose x']) {
      breaks(clean({ 10: command }), ['shell', 10]);
    }
    breaks(clean({ 8: 'boot || shell' }), ['fatal', 8], ['shell', 8]);
  });

  it('unknown: a command it does not know, or that a setting decides', () => {
    breaks(clean({ 10: 'sanboot http://10.1.2.3/disk' }), ['unknown', 10]);
    breaks(clean({ 10: 'imgextract vmlinuz' }), ['unknown', 10]);
    breaks(clean({ 10: '${filename}' }), ['unknown', 10]);
    breaks(clean({ 10: 'IMGFREE' }), ['unknown', 10]);
  });

  it('option: unknown, abbreviated, short, doubled, or without its argument', () => {
    for (const option of ['--sign x', '-s x', '--signer x --signer r/1', '--quiet=1']) {
      const found = lint(
        `${clean({ 7: `imgverify ${option} root.img http://10.1.2.3/s || goto refuse` }).join('\n')}\n`,
      );
      assert.ok(
        found.some(({ rule, line }) => rule === 'option' && line === 7),
        option,
      );
    }
    breaks(clean({ 10: 'goto --force refuse' }), ['label', 10], ['option', 10]);
  });

  it('setting: text that DHCP sends, in an address or on a command line', () => {
    const fetch = (url: string, words = ''): string => `kernel --name vmlinuz ${url} ${words} || goto refuse`;
    for (const setting of [
      '${filename}',
      '${cwduri}',
      '${17}',
      '${net0/hostname}',
      '${next-server:string}',
      '${x}',
    ]) {
      breaks(clean({ 4: fetch(`http://10.1.2.3/${setting}/k`) }), ['setting', 4]);
      breaks(clean({ 4: fetch('http://10.1.2.3/k', `a=${setting}`) }), ['setting', 4]);
    }
    breaks(clean({ 4: fetch('http://10.1.2.3/k', 'a=${serial}') }), ['setting', 4]);
    breaks(clean({ 4: fetch('http://10.1.2.3/k', 'a=${175.3:nosuchtype}') }), ['setting', 4]);
    // What this names depends on what DHCP sends.
    breaks(
      clean({ 4: fetch('http://10.1.2.3/k', 'a=${${hostname}:hex}') }),
      ['setting', 4],
      ['setting', 4],
      ['command-line', 4],
    );
    breaks(clean({ 8: 'boot vmlinuz ${root-path} || goto refuse' }), ['setting', 8]);
    breaks(clean({ 10: 'set trust ff' }), ['setting', 10]);
    breaks(clean({ 10: 'set net0/mac 00:11:22:33:44:55' }), ['setting', 10]);
    breaks(clean({ 10: 'set bootseal-${hostname} x' }), ['setting', 10], ['setting', 10]);
    for (const typed of [
      '${next-server}',
      '${175.3:ipv4}',
      '${net0/mac}',
      '${uuid}',
      '${bootseal-port:int32}',
      '${buildarch}',
    ]) {
      breaks(clean({ 4: fetch('http://10.1.2.3/k', `a=${typed}`) }));
    }
    breaks(clean({ 10: 'echo ${filename} ${hostname}' }));
  });

  it('url and command-line: what is not plain', () => {
    breaks(clean({ 6: 'initrd --name root.img file:/root.img || goto refuse' }), ['url', 6]);
    breaks(clean({ 6: 'initrd root.img || goto refuse' }), ['url', 6]);
    breaks(clean({ 6: 'initrd --name root.img http://10.1.2.3/a?b || goto refuse' }), ['url', 6]);
    breaks(clean({ 4: 'kernel --name vmlinuz http://10.1.2.3/k a="b" || goto refuse' }), ['command-line', 4]);
    breaks(clean({ 8: 'boot vmlinuz $(id) || goto refuse' }), ['command-line', 8]);
  });

  it('chain: executes what nothing fetched and verified', () => {
    breaks(clean({ 8: 'chain http://10.1.2.3/next.ipxe || goto refuse' }), ['chain', 8]);
    breaks(clean({ 8: 'boot other || goto refuse' }), ['chain', 8]);
    breaks([...CLEAN.slice(0, 3), ...CLEAN.slice(5)], ['chain', 6]);
    breaks(clean({ 8: 'imgfree\nboot || goto refuse' }), ['chain', 9]);
  });

  it('name: which image is meant cannot be told', () => {
    breaks(clean({ 6: 'initrd --name vmlinuz http://10.1.2.3/i || goto refuse', 7: CLEAN[4] ?? '' }), [
      'name',
      6,
    ]);
    breaks(
      clean({ 7: 'imgverify --signer r/1 other http://10.1.2.3/s || goto refuse' }),
      ['unverified', 6],
      ['name', 7],
    );
    breaks(clean({ 7: 'imgverify --signer r/1 root.img other.sig || goto refuse' }), ['name', 7]);
    breaks(clean({ 7: 'imgverify --signer r/1 root.img root.img || goto refuse' }), ['name', 7]);
    breaks(clean({ 6: 'initrd http://10.1.2.3/${uuid} || goto refuse', 7: 'echo' }), ['name', 6]);
  });

  it('label: missing, there twice, or decided by a setting', () => {
    breaks(clean({ 8: 'boot || goto nowhere' }), ['label', 8]);
    breaks(clean({ 8: 'boot || goto ${filename}' }), ['label', 8], ['setting', 8]);
    breaks([...CLEAN, ':refuse', 'exit 1'], ['label', 13]);
  });

  it('end: a script that ends well after booting nothing', () => {
    breaks(clean({ 12: 'echo' }), ['end', 12]);
    breaks([...CLEAN.slice(0, 9), 'echo', 'sleep 5'], ['end', 11]);
  });

  it('ends on scripts made to keep it busy', () => {
    const labels = Array.from({ length: 300 }, (_, n) => `:l${n} isset \${ip} && goto l${(n * 7) % 300} ||`);
    const fetches = Array.from({ length: 60 }, (_, n) => `imgfetch http://10.1.2.3/f${n} || goto l${n}`);
    assert.ok(lint(['#!ipxe', 'imgfree', ...fetches, ...labels].join('\n')).length > 60);
  });
});

describe('a script that says where it gave up', () => {
  const LINE =
    'imgfetch --name bootseal.said --timeout 5000 http://10.1.2.3:8080/api/v1/boots/gave-up?mac=${netX/mac:hexhyp}&step=${bootseal-step:hexraw}&errno=${bootseal-errno:hexraw} ||';
  const saying = (line: string, ...more: string[]) => [
    ...CLEAN.slice(0, 9),
    line,
    ...more,
    ...CLEAN.slice(9),
  ];

  const found = (lines: readonly string[]) =>
    new Set(lint(`${lines.join('\n')}\n`).map(({ rule, line }) => `${rule} ${line}`));

  it('says it by one line, word for word, and nothing else to that server', () => {
    breaks(saying(LINE));
    breaks(saying(LINE.replace('http://10.1.2.3:8080', 'http://${next-server}:${bootseal-port:int32}')));
    for (const [from, to] of [
      [' ||', ' || goto refuse'],
      ['imgfetch', 'imgfetch --quiet'],
      ['--timeout 5000 ', ''],
      ['5000', '50000'],
      ['bootseal.said', 'vmlinuz.said'],
      ['gave-up', 'nonce'],
      ['/api/v1/boots/gave-up', '/api/v1/machines'],
      ['/api/v1/boots/gave-up', '/x/../api/v1/boots'],
      ['/api/v1/boots/gave-up', '/api'],
      ['&errno', '&once=1&errno'],
      ['?mac=${netX/mac:hexhyp}', '?mac=52'],
      ['${bootseal-errno:hexraw}', '${serial:uristring}'],
    ] as const) {
      const line = LINE.replace(from, to);
      assert.notEqual(line, LINE);
      assert.ok(found(saying(line)).has('url 10'), line);
    }
    for (const command of ['kernel', 'initrd', 'chain', 'imgverify --signer r/1 x', 'imgload']) {
      const told = lint(`${saying(`${command} http://10.1.2.3/api/v1/boots || exit 1`).join('\n')}\n`);
      assert.ok(
        told.some(({ rule, message }) => rule === 'url' && /more than its files/.test(message)),
        command,
      );
    }
  });

  it('holds texts of its own as hex digits alone', () => {
    for (const value of ['${bootseal-step}', '${bootseal-step:uristring}', '${filename:uristring}'])
      assert.ok(found(saying(LINE.replace('${bootseal-step:hexraw}', value))).has('setting 10'), value);
  });

  it('has no way on from there to anything that could start what came', () => {
    assert.ok(found(saying(LINE, 'boot || exit 1')).has('unverified 10'));
    const again = [...CLEAN.slice(0, 3), ':again', ...CLEAN.slice(3, 9), LINE, 'sleep 5', 'goto again'];
    assert.ok(found(again).has('unverified 11'));
  });
});

describe('a query', () => {
  const asking = (line: string) => [
    '#!ipxe',
    'imgfree',
    'imgtrust --permanent || goto refuse',
    line,
    'imgfetch --name seal http://10.1.2.3/s.sig || goto refuse',
    'imgverify --signer boot.example s seal || goto refuse',
    'chain s || goto refuse',
    ':refuse',
    'exit 1',
  ];

  it('says which machine asks, where what comes is verified', () => {
    breaks(
      asking(
        'imgfetch --name s http://10.1.2.3/s?mac=${netX/mac:hexhyp}&serial=${serial:uristring}&at=${unixtime} || goto refuse',
      ),
    );
  });

  it('holds no text that DHCP could name, or that is not escaped', () => {
    for (const value of [
      '${serial}',
      '${hostname:uristring}',
      '${filename}',
      '${net0.dhcp/serial:uristring}',
    ])
      breaks(asking(`imgfetch --name s http://10.1.2.3/s?serial=${value} || goto refuse`), ['setting', 4]);
    const nested = 'imgfetch --name s http://10.1.2.3/s?serial=${ser${x}ial:uristring} || goto refuse';
    breaks(asking(nested), ['url', 4], ['setting', 4], ['setting', 4]);
  });

  it('is plain', () => {
    for (const query of ['?', '?a', '?a=b;c', '?a=b?c=d', '?a=b#c', '?A=b', '?a=%41'])
      breaks(asking(`imgfetch --name s http://10.1.2.3/s${query} || goto refuse`), ['url', 4]);
  });

  it('stands in no address of what a kernel gets, and on no kernel line', () => {
    breaks(
      clean({
        6: 'initrd --name root.img http://10.1.2.3/root.img?serial=${serial:uristring} || goto refuse',
      }),
      ['url', 6],
    );
    breaks(
      clean({ 4: 'kernel --name vmlinuz http://10.1.2.3/k?serial=${serial:uristring} || goto refuse' }),
      ['setting', 4],
      ['url', 4],
    );
    breaks(clean({ 4: 'kernel --name vmlinuz http://10.1.2.3/k a=${serial:uristring} || goto refuse' }), [
      'setting',
      4,
    ]);
  });
});
