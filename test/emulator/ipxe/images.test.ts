// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is how iPXE writes a setting
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  bzImage,
  efiImage,
  KERNEL,
  memoryTransport,
  octets,
  type Played,
  play,
  type Scenario,
  SERVER,
} from './emulated.ts';

const FILES = {
  [`${SERVER}/vmlinuz`]: KERNEL,
  [`${SERVER}/initrd.img`]: 'initrd',
  [`${SERVER}/ucode.img`]: 'ucode',
};

/** What was handed over, in short; or how it ended instead. */
function handed({ outcome }: Played): string {
  if (outcome.kind !== 'boot') return `${outcome.kind}: ${outcome.reason}`;
  return [outcome.kernel.name, ...outcome.initrds.map(({ name }) => name), `[${outcome.cmdline}]`].join(' ');
}

interface Vector {
  readonly name: string;
  readonly script: string;
  readonly handed: string;
  readonly scenario?: Scenario;
}

const VECTORS: readonly Vector[] = [
  {
    name: 'kernel, initrds and boot',
    script: `kernel ${SERVER}/vmlinuz a=1 b\ninitrd ${SERVER}/ucode.img\ninitrd ${SERVER}/initrd.img\nboot`,
    handed: 'vmlinuz ucode.img initrd.img [a=1 b]',
  },
  {
    name: 'module and imgfetch are initrd, imgload and imgselect are kernel',
    script: `imgload ${SERVER}/vmlinuz\nmodule ${SERVER}/ucode.img\nimgfetch ${SERVER}/initrd.img\nboot`,
    handed: 'vmlinuz ucode.img initrd.img []',
  },
  {
    name: 'boot takes a name and arguments',
    script: `imgfetch --name k ${SERVER}/vmlinuz x\nboot k y z`,
    handed: 'k [y z]',
  },
  {
    name: 'boot takes a URI',
    script: `boot --name k ${SERVER}/vmlinuz quiet`,
    handed: 'k [quiet]',
  },
  {
    name: 'the last kernel is booted, and the first one is handed over as an initrd',
    script: `kernel --name one ${SERVER}/vmlinuz\nkernel --name two ${SERVER}/vmlinuz\nboot`,
    handed: 'two one []',
  },
  {
    name: 'imgargs replaces the arguments',
    script: `kernel ${SERVER}/vmlinuz old\nimgargs vmlinuz new one\nboot`,
    handed: 'vmlinuz [new one]',
  },
  {
    name: 'imgargs without arguments takes them away',
    script: `kernel ${SERVER}/vmlinuz old\nimgargs vmlinuz\nboot`,
    handed: 'vmlinuz []',
  },
  {
    name: 'kernel with no arguments keeps those that were there',
    script: `imgfetch ${SERVER}/vmlinuz old\nkernel vmlinuz\nboot`,
    handed: 'vmlinuz [old]',
  },
  {
    name: 'a setting with blanks becomes several words of the command line',
    script: `set x quiet init=/bin/sh\nkernel ${SERVER}/vmlinuz \${x}\nboot`,
    handed: 'vmlinuz [quiet init=/bin/sh]',
  },
  {
    name: 'imgfree without a name frees all',
    script: `initrd ${SERVER}/initrd.img\nimgfree\nkernel ${SERVER}/vmlinuz\nboot`,
    handed: 'vmlinuz []',
  },
  {
    name: 'without imgfree an image of an earlier try is handed over',
    script: `initrd ${SERVER}/initrd.img\nkernel ${SERVER}/vmlinuz\nboot`,
    handed: 'vmlinuz initrd.img []',
  },
  {
    name: 'imgfree frees by name',
    script: `initrd ${SERVER}/initrd.img\ninitrd ${SERVER}/ucode.img\nimgfree initrd.img\nboot ${SERVER}/vmlinuz`,
    handed: 'vmlinuz ucode.img []',
  },
  {
    name: 'imgfree of no image fails',
    script: 'imgfree nothing',
    handed: 'refused: No such file or directory',
  },
  {
    name: 'boot with nothing selected succeeds and does nothing',
    script: 'boot || poweroff\nreboot',
    handed: 'reboot: the script rebooted the machine',
  },
  {
    name: 'boot of a freed kernel succeeds and does nothing',
    script: `kernel ${SERVER}/vmlinuz\nimgfree vmlinuz\nboot || poweroff\nreboot`,
    handed: 'reboot: the script rebooted the machine',
  },
  {
    name: 'a file that is missing fails',
    script: `kernel ${SERVER}/none || poweroff`,
    handed: 'poweroff: the script powered the machine off',
  },
  {
    name: 'a large file that is no program cannot be selected, and stays registered',
    script: `kernel ${SERVER}/large ||\nboot ${SERVER}/vmlinuz`,
    scenario: { files: { ...FILES, [`${SERVER}/large`]: new Uint8Array(700_000) } },
    handed: 'vmlinuz large []',
  },
  {
    name: 'a BIOS takes any small file for a PXE boot program',
    script: `chain ${SERVER}/initrd.img`,
    handed: 'initrd.img []',
  },
  {
    name: 'a UEFI does not',
    script: `chain ${SERVER}/initrd.img`,
    scenario: { machine: { platform: 'efi' } },
    handed: 'refused: Exec format error',
  },
  {
    name: 'unless any kernel is taken',
    script: `chain ${SERVER}/initrd.img`,
    scenario: { machine: { platform: 'efi' }, features: { imgtrust: true, anyKernel: true } },
    handed: 'initrd.img [initrd.img]',
  },
  {
    name: 'a UEFI puts the name first on the command line',
    script: `kernel ${SERVER}/linux.efi initrd=initrd.img quiet\ninitrd ${SERVER}/initrd.img\nboot`,
    scenario: { machine: { platform: 'efi' }, files: { ...FILES, [`${SERVER}/linux.efi`]: efiImage('k') } },
    handed: 'linux.efi initrd.img [linux.efi initrd=initrd.img quiet]',
  },
  {
    name: 'a bzImage takes no more of the command line than it says',
    script: `boot ${SERVER}/small 0123456789`,
    scenario: { files: { [`${SERVER}/small`]: bzImage('k', 8) } },
    handed: 'small [0123456]',
  },
  {
    name: 'names come from the decoded path, without the query',
    script: `initrd ${SERVER}/a%20b/c%2Fd.img?x=/y\nboot ${SERVER}/vmlinuz`,
    scenario: { files: { ...FILES, [`${SERVER}/a%20b/c%2Fd.img?x=/y`]: 'x' } },
    handed: 'vmlinuz d.img []',
  },
  {
    name: 'a script is gone while it runs and an image again when it has run',
    script: `chain ${SERVER}/helper.ipxe\nboot ${SERVER}/vmlinuz`,
    scenario: { files: { ...FILES, [`${SERVER}/helper.ipxe`]: '#!ipxe\nimgstat\n' } },
    handed: 'vmlinuz helper.ipxe []',
  },
  {
    name: 'with --autofree it is gone for good',
    script: `chain --autofree ${SERVER}/helper.ipxe\nboot ${SERVER}/vmlinuz`,
    scenario: { files: { ...FILES, [`${SERVER}/helper.ipxe`]: '#!ipxe\n' } },
    handed: 'vmlinuz []',
  },
  {
    name: 'relative URIs resolve against the running script',
    script: `chain --autofree ${SERVER}/x/y/main.ipxe`,
    scenario: {
      files: {
        ...FILES,
        [`${SERVER}/x/y/main.ipxe`]: '#!ipxe\ninitrd /initrd.img\ninitrd ../near\nboot ../../vmlinuz',
        [`${SERVER}/x/near`]: 'near',
      },
    },
    handed: 'vmlinuz initrd.img near []',
  },
  {
    name: 'the working URI is restored after a script',
    script: `chain --autofree ${SERVER}/x/main.ipxe\necho <\${cwuri}>\ninitrd relative`,
    scenario: { files: { [`${SERVER}/x/main.ipxe`]: '#!ipxe\n' } },
    handed: 'refused: Operation not supported',
  },
  {
    name: 'a failure of a chained script is the failure of chain',
    script: `chain ${SERVER}/main.ipxe || poweroff`,
    scenario: { files: { [`${SERVER}/main.ipxe`]: '#!ipxe\nfrobnicate\n' } },
    handed: 'poweroff: the script powered the machine off',
  },
  {
    name: 'exit of a chained script returns to its caller',
    script: `chain ${SERVER}/main.ipxe\npoweroff`,
    scenario: { files: { [`${SERVER}/main.ipxe`]: '#!ipxe\nexit\nreboot' } },
    handed: 'poweroff: the script powered the machine off',
  },
  {
    name: 'exit with a status fails chain',
    script: `chain ${SERVER}/main.ipxe || poweroff`,
    scenario: { files: { [`${SERVER}/main.ipxe`]: '#!ipxe\nexit 7' } },
    handed: 'poweroff: the script powered the machine off',
  },
  {
    name: 'chain --replace does not come back',
    script: `chain --replace ${SERVER}/main.ipxe\npoweroff`,
    scenario: { files: { [`${SERVER}/main.ipxe`]: '#!ipxe\nexit 2' } },
    handed: 'exit: Exit status 2',
  },
  {
    name: 'chain --replace that fails to fetch goes on',
    script: `chain --replace ${SERVER}/none || poweroff`,
    handed: 'poweroff: the script powered the machine off',
  },
];

for (const { name, script, scenario, handed: expected } of VECTORS) {
  test(name, async () => {
    assert.equal(handed(await play(script, { files: FILES, ...scenario })), expected);
  });
}

test('an image is handed over with where it came from and its bytes', async () => {
  const { outcome } = await play(`initrd ${SERVER}/initrd.img /etc/x mode=755\nboot ${SERVER}/vmlinuz`, {
    files: FILES,
  });
  assert.ok(outcome.kind === 'boot');
  assert.equal(outcome.type, 'bzImage');
  assert.deepEqual(outcome.kernel.bytes, KERNEL);
  assert.deepEqual(outcome.initrds, [
    {
      name: 'initrd.img',
      url: `${SERVER}/initrd.img`,
      bytes: octets('initrd'),
      verified: false,
      signer: undefined,
      cmdline: '/etc/x mode=755',
    },
  ]);
});

test('downloads are printed without credentials and query', async () => {
  const run = await play(
    `initrd http://me:secret@10.0.0.1/x?token=1 ||\ninitrd ${SERVER}/initrd.img\ninitrd --quiet ${SERVER}/initrd.img`,
    { files: FILES },
  );
  assert.equal(run.console, `http://10.0.0.1/x... Not found\n${SERVER}/initrd.img... ok\n`);
});

test('a port in hexadecimal reaches the server in decimal', async () => {
  const run = await play('set port:uint16 8080\nimgfetch http://${next-server}:${port}/initrd.img', {
    files: FILES,
  });
  assert.deepEqual(run.asked, [`${SERVER}/initrd.img`]);
  assert.match(run.console, /http:\/\/10\.0\.0\.1:0x1f90\/initrd\.img\.\.\. ok/);
});

test('imgstat tells type, tags and arguments', async () => {
  const run = await play(
    `kernel --quiet ${SERVER}/vmlinuz a\ninitrd -q --autofree ${SERVER}/initrd.img\nimgstat\nimgstat none`,
    { files: FILES },
  );
  assert.equal(
    run.console,
    'vmlinuz : 1024 bytes [bzImage] [SELECTED] "a"\ninitrd.img : 6 bytes [PXE-NBP] [AUTOFREE]\n"none": no such image\n',
  );
});

test('an image larger than allowed is refused, announced or not', async () => {
  for (const announced of [true, false]) {
    const files = { [`${SERVER}/big`]: new Uint8Array(1000) };
    const inner = memoryTransport(files);
    const transport = {
      fetch: async (url: string) => ({
        ...(await inner.fetch(url)),
        ...(announced ? {} : { size: undefined }),
      }),
    };
    const run = await play(`initrd ${SERVER}/big || poweroff`, { transport, maxImageBytes: 999 });
    assert.equal(run.outcome.kind, 'poweroff');
    assert.equal(run.refusals[0]?.code, 'too-large');
    assert.match(run.console, /Not enough space/);
  }
});

test('many images together are bounded too', async () => {
  const run = await play(`:a\ninitrd ${SERVER}/initrd.img || poweroff\ngoto a`, {
    files: FILES,
    maxMemoryBytes: 60,
  });
  assert.equal(run.outcome.kind, 'poweroff');
  assert.equal(run.refusals[0]?.code, 'too-large');
  assert.equal(run.asked.length, 11);
});

test('a transfer that ends early is no image', async () => {
  const transport = {
    fetch: (url: string) =>
      Promise.resolve({
        url,
        size: 10,
        partial: false,
        body: (async function* () {
          yield octets('four');
        })(),
      }),
  };
  const run = await play(`initrd ${SERVER}/x ||\nimgstat\npoweroff`, { transport });
  assert.equal(run.refusals[0]?.code, 'unreachable');
  assert.doesNotMatch(run.console, /x :/);
});

test('a redirect changes where an image came from, not its name', async () => {
  const transport = {
    fetch: (url: string) =>
      Promise.resolve({
        url: url.endsWith('/stable') ? `${SERVER}/r/1/boot.ipxe` : url,
        size: undefined,
        partial: false,
        body: (async function* () {
          yield octets(url.endsWith('/stable') ? '#!ipxe\nimgfetch near\nimgstat\necho ${cwduri}' : 'x');
        })(),
      }),
  };
  const run = await play(`chain ${SERVER}/stable`, { transport });
  assert.deepEqual(
    run.events
      .filter(({ kind }) => kind === 'fetched')
      .map((event) => event.kind === 'fetched' && [event.url, event.name]),
    [
      [`${SERVER}/r/1/boot.ipxe`, 'stable'],
      [`${SERVER}/r/1/near`, 'near'],
    ],
  );
  assert.match(run.console, new RegExp(`${SERVER}/r/1/\n`));
});

test('what the machine cannot do is a failure, not a silence', async () => {
  for (const script of [
    'sanboot iscsi:10.0.0.1::::x',
    'sanhook http://h/x.iso',
    'imgfetch ftp://h/x',
    'imgfetch nowhere',
  ]) {
    const run = await play(`${script} || poweroff`);
    assert.equal(run.outcome.kind, 'poweroff', script);
    assert.match(run.console, /Operation not supported/, script);
  }
});
