// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is how iPXE writes a setting
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type LintRule, lintScript } from '../../src/scripts/lint.ts';
import { bzImage, play, SERVER, seal } from '../emulator/ipxe/emulated.ts';

/**
 * Scripts that try to boot something unverified, or with other words than the signer's, behind the linter's
 * back. Each is also played, to prove that iPXE would do it.
 */

const SIGNER = 'rel/1';
const KERNEL = bzImage('kernel', 4096);
const FILES = {
  [`${SERVER}/k`]: KERNEL,
  [`${SERVER}/k.sig`]: seal(KERNEL, SIGNER),
  [`${SERVER}/evil`]: 'EVIL',
  [`${SERVER}/next.ipxe`]: `#!ipxe\nimgfetch ${SERVER}/evil\n`,
  [`${SERVER}/next.sig`]: seal(`#!ipxe\nimgfetch ${SERVER}/evil\n`, SIGNER),
};

const HEAD = ['#!ipxe', 'imgfree', 'imgtrust --permanent || goto refuse'];
const TAIL = [':refuse', 'imgfree', 'reboot ||', 'exit 1'];
const get = (command: string, name: string, path: string, words = ''): string =>
  `${command} --name ${name} ${SERVER}/${path} ${words} || goto refuse`;
const verify = (name: string, path: string): string =>
  `imgverify --signer ${SIGNER} ${name} ${SERVER}/${path} || goto refuse`;
const BOOT = 'boot || goto refuse';
const good = (name: string): string[] => [get('kernel', name, 'k', 'verify=y'), verify(name, 'k.sig')];
const script = (body: readonly string[]): string => [...HEAD, ...body, ...TAIL, ''].join('\n');
const rulesOf = (body: readonly string[]): LintRule[] => [
  ...new Set(lintScript(Buffer.from(script(body)), { signers: [SIGNER] }).map(({ rule }) => rule)),
];
/** The script as one that was fetched and verified, where the DHCP server sends 255 bytes as option 43. */
const run = (body: readonly string[], platform: 'pcbios' | 'efi' = 'pcbios') =>
  play('', {
    files: FILES,
    script: { bytes: Buffer.from(script(body)), url: `${SERVER}/boot.ipxe`, trusted: true },
    features: { imgtrust: true, anyKernel: true },
    machine: {
      platform,
      dhcp: { ip: '10.0.0.9', 'next-server': '10.0.0.1', '43': 'Z'.repeat(255) },
    },
  });

interface Escape {
  readonly name: string;
  readonly body: readonly string[];
  readonly rules: readonly LintRule[];
}

const UNVERIFIED_INITRD: readonly Escape[] = [
  {
    name: 'imgfree stops at a name that is missing',
    body: [...good('k'), get('initrd', 'evil', 'evil'), 'imgfree nosuch evil ||', BOOT],
    rules: ['unverified'],
  },
  {
    name: 'imgfree stops at a name that is there on some ways only',
    body: [
      ...good('k'),
      get('initrd', 'evil', 'evil'),
      'iseq ${platform} pcbios && goto join ||',
      get('initrd', 'some', 'evil'),
      ':join',
      'imgfree some evil ||',
      BOOT,
    ],
    rules: ['unverified'],
  },
  {
    name: 'imgfree finds a name once',
    body: [...good('k'), get('initrd', 'b', 'evil'), get('initrd', 'c', 'evil'), 'imgfree b b c ||', BOOT],
    rules: ['unverified'],
  },
  {
    name: 'imgselect --name gives an unverified image the name of a verified one',
    body: [
      ...good('g'),
      get('initrd', 'e', 'evil'),
      'imgselect --name e g || goto refuse',
      verify('e', 'k.sig'),
      BOOT,
    ],
    rules: ['name'],
  },
  {
    name: 'imgselect downloads what is there on some ways only',
    body: [
      'iseq ${platform} pcbios && goto join ||',
      get('initrd', 'evil', 'evil'),
      verify('evil', 'k.sig'),
      ':join',
      'imgselect evil ||',
      ...good('k'),
      BOOT,
    ],
    rules: ['unverified', 'name'],
  },
  {
    name: 'imgfree finds what only a script that ran can have left behind',
    body: [
      get('imgfetch', 'next', 'next.ipxe'),
      verify('next', 'next.sig'),
      'chain next || goto refuse',
      ...good('k'),
      get('initrd', 'more', 'evil'),
      'imgfree evil && goto go || goto refuse',
      ':go',
      BOOT,
    ],
    rules: ['unverified'],
  },
  {
    name: 'a script that ran leaves an image behind',
    body: [
      get('imgfetch', 'next', 'next.ipxe'),
      verify('next', 'next.sig'),
      'chain next || goto refuse',
      ...good('k'),
      BOOT,
    ],
    rules: ['unverified'],
  },
];

describe('an unverified initrd', () => {
  for (const { name, body, rules } of UNVERIFIED_INITRD) {
    it(`is found: ${name}`, async () => {
      assert.deepEqual(rulesOf(body).sort(), rules.toSorted());
      const played = await run(body);
      assert.equal(played.outcome.kind, 'boot');
      const initrds = played.outcome.kind === 'boot' ? played.outcome.initrds : [];
      assert.ok(
        initrds.some(({ verified }) => !verified),
        'iPXE does it',
      );
    });
  }

  it('is not suspected where every name that is freed is certainly there', () => {
    assert.deepEqual(
      rulesOf([
        ...good('k'),
        get('initrd', 'a', 'evil'),
        get('initrd', 'b', 'evil'),
        'imgfree a b || goto refuse',
        BOOT,
      ]),
      [],
    );
  });

  it('is not suspected after imgfree frees what a script left behind', () => {
    const chain = [
      get('imgfetch', 'next', 'next.ipxe'),
      verify('next', 'next.sig'),
      'chain next || goto refuse',
    ];
    assert.deepEqual(rulesOf([...chain, 'imgfree', ...good('k'), BOOT]), []);
  });
});

describe('which image is meant', () => {
  it('is not told by --name on a command that executes', () => {
    for (const line of ['boot --name x k', 'boot --name x', 'chain --name x k', 'imgexec --name x k']) {
      assert.deepEqual(rulesOf([...good('k'), `${line} || goto refuse`]), ['name'], line);
    }
  });

  it('is unsure once a setting has named what to free', () => {
    const rules = rulesOf([
      ...good('k'),
      'imgfree ${netX/mac:hexhyp} ||',
      'imgselect k || goto refuse',
      BOOT,
    ]);
    assert.ok(rules.includes('name') && rules.includes('unverified'), `${rules}`);
  });

  it('is unsure after imgselect of a name that nothing fetched', () => {
    assert.ok(rulesOf(['imgselect k || goto refuse', verify('k', 'k.sig'), BOOT]).includes('name'));
  });

  it('is nothing that is selected once the selected image is freed', () => {
    assert.deepEqual(rulesOf([...good('k'), 'imgfree k || goto refuse', BOOT]), ['chain']);
  });
});

describe('a word beyond what the kernel reads', () => {
  const kernel = (words: string): string[] => [get('kernel', 'k', 'k', words), verify('k', 'k.sig'), BOOT];
  const cut = async (body: readonly string[], platform?: 'pcbios' | 'efi'): Promise<boolean> => {
    const { outcome } = await run(body, platform);
    assert.equal(outcome.kind, 'boot');
    return outcome.kind === 'boot' && !outcome.cmdline.slice(0, 2047).split(' ').includes('verify=y');
  };

  for (const setting of ['${43:hexraw}', '${43:hex}', '${43:hexhyp}']) {
    it(`is found: pushed there by ${setting}`, async () => {
      const body = kernel(`a=${setting}${setting}${setting}${setting} verify=y`);
      assert.deepEqual(rulesOf(body), ['setting']);
      assert.ok(await cut(body), 'iPXE does it');
    });
  }

  it('is found: pushed there by many settings of a fixed size', () => {
    const ips = (count: number): string[] => kernel(`${'a=${ip} '.repeat(count)}verify=y`);
    // 18 bytes each, "verify=y", "k " and nothing more.
    assert.deepEqual(rulesOf(ips(113)), []);
    assert.deepEqual(rulesOf(ips(114)), ['command-line']);
  });

  it('is found: pushed there by the name that UEFI puts first', async () => {
    const body = (length: number): string[] => kernel(`a=${'b'.repeat(length)} verify=y`);
    const fits = 2047 - 'k a= verify=y'.length;
    assert.deepEqual(rulesOf(body(fits)), []);
    assert.deepEqual(rulesOf(body(fits + 1)), ['command-line']);
    assert.equal(await cut(body(fits), 'efi'), false);
    assert.equal(await cut(body(fits + 1), 'efi'), true, 'iPXE does it');
    assert.equal(await cut(body(fits + 1)), false, 'a BIOS has no name there');
  });

  it('is found on every command that gives words to an image', () => {
    for (const line of ['imgselect k', 'boot k', 'imgexec k', 'chain k']) {
      const rules = rulesOf([...good('k'), `${line} a=\${43:hex} || goto refuse`, BOOT]);
      assert.ok(rules.includes('setting'), line);
    }
  });

  it('is not suspected where the card, and not DHCP, says how long a setting is', () => {
    for (const setting of ['${netX/mac:hexhyp}', '${net0/mac}', '${net1/hwaddr:hexraw}', '${uuid}']) {
      assert.deepEqual(rulesOf(kernel(`a=${setting} verify=y`)), [], setting);
    }
    for (const setting of ['${mac:hexhyp}', '${net0.dhcp/mac:hex}', '${net0/43:hex}', '${static-routes}']) {
      assert.deepEqual(rulesOf(kernel(`a=${setting} verify=y`)), ['setting'], setting);
    }
  });

  it('is nobody’s concern in an address', () => {
    assert.deepEqual(rulesOf([get('kernel', 'k', '${43:hexraw}/k'), verify('k', 'k.sig'), BOOT]), []);
  });
});
