import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RefusalCode } from '../../../src/errors/refusal.ts';
import { KERNEL, type Played, play, type Scenario, SERVER, seal } from './emulated.ts';

const GOOD = '#!ipxe\necho good script\n';
const FILES = {
  [`${SERVER}/vmlinuz`]: KERNEL,
  [`${SERVER}/vmlinuz.sig`]: seal(KERNEL, 'r1'),
  [`${SERVER}/old.sig`]: seal(KERNEL, 'r0'),
  [`${SERVER}/initrd`]: 'initrd',
  [`${SERVER}/initrd.sig`]: seal('initrd', 'r1'),
  [`${SERVER}/evil`]: 'evil',
  [`${SERVER}/evil.sig`]: seal('initrd', 'r1'),
  [`${SERVER}/junk.sig`]: 'junk',
  [`${SERVER}/good.ipxe`]: GOOD,
  [`${SERVER}/good.ipxe.sig`]: seal(GOOD, 'boot'),
  [`${SERVER}/bad.ipxe`]: '#!ipxe\necho bad script\n',
  [`${SERVER}/allow.ipxe`]: '#!ipxe\nimgtrust --allow\n',
};

const STRICT = 'imgtrust --permanent\n';
const VERIFY = `imgverify vmlinuz ${SERVER}/vmlinuz.sig`;

function summary({ outcome }: Played): string {
  if (outcome.kind !== 'boot') return `${outcome.kind}: ${outcome.reason}`;
  const mark = ({ name, verified }: { name: string; verified: boolean }) => `${name}${verified ? '+' : '-'}`;
  return [outcome.kernel, ...outcome.initrds].map(mark).join(' ');
}

interface Vector {
  readonly name: string;
  readonly script: string;
  readonly summary: string;
  readonly console?: RegExp;
  readonly refusal?: RefusalCode;
  readonly scenario?: Scenario;
}

const VECTORS: readonly Vector[] = [
  {
    name: 'a kernel that verified boots',
    script: `${STRICT}kernel ${SERVER}/vmlinuz\n${VERIFY}\nboot`,
    summary: 'vmlinuz+',
  },
  {
    name: 'a kernel that was not verified does not',
    script: `${STRICT}kernel ${SERVER}/vmlinuz\nboot || poweroff`,
    summary: 'poweroff: the script powered the machine off',
    console: /Could not boot: Untrusted image/,
    refusal: 'no-verdict',
  },
  {
    name: 'without imgtrust it does',
    script: `kernel ${SERVER}/vmlinuz\nboot`,
    summary: 'vmlinuz-',
  },
  {
    name: 'a script that was not verified does not run',
    script: `${STRICT}chain ${SERVER}/bad.ipxe || poweroff`,
    summary: 'poweroff: the script powered the machine off',
    console: /^(?!.*bad script).*Untrusted image/s,
    refusal: 'no-verdict',
  },
  {
    name: 'a script that was verified runs',
    script: `${STRICT}imgfetch ${SERVER}/good.ipxe\nimgverify --signer boot good.ipxe ${SERVER}/good.ipxe.sig\nchain good.ipxe`,
    summary: 'exit: the script came to its end',
    console: /good script/,
  },
  {
    name: 'a replacement that was not verified ends in refusal, not in a return',
    script: `${STRICT}chain --replace ${SERVER}/bad.ipxe || poweroff`,
    summary: 'refused: Untrusted image',
    refusal: 'no-verdict',
  },
  {
    name: 'permanent means that a trusted script cannot allow again',
    script: `${STRICT}imgtrust --allow || echo kept\nchain ${SERVER}/bad.ipxe`,
    summary: 'refused: Untrusted image',
    console: /Could not set image trust requirement: Trust requirement is permanent\nkept/,
  },
  {
    name: 'permanent may be asked for again',
    script: `${STRICT}imgtrust && imgtrust --permanent && echo fine`,
    summary: 'exit: the script came to its end',
    console: /fine/,
  },
  {
    name: 'without --permanent a later script can allow again',
    script: `imgtrust\nimgtrust --allow\nchain ${SERVER}/bad.ipxe`,
    summary: 'exit: the script came to its end',
    console: /bad script/,
  },
  {
    name: 'permanent permission cannot be tightened',
    script: 'imgtrust --allow --permanent\nimgtrust || poweroff',
    summary: 'poweroff: the script powered the machine off',
  },
  {
    name: 'an initrd needs no trust to be handed over',
    script: `${STRICT}kernel ${SERVER}/vmlinuz\n${VERIFY}\ninitrd ${SERVER}/evil\nboot`,
    summary: 'vmlinuz+ evil-',
  },
  {
    name: 'an initrd that failed to verify stays registered and is handed over',
    script: `${STRICT}kernel ${SERVER}/vmlinuz\n${VERIFY}\ninitrd ${SERVER}/evil\nimgverify evil ${SERVER}/evil.sig ||\nboot`,
    summary: 'vmlinuz+ evil-',
    console: /Could not verify: RSA signature incorrect/,
    refusal: 'bad-signature',
  },
  {
    name: 'imgverify || goto refuse stops it',
    script: `${STRICT}kernel ${SERVER}/vmlinuz\n${VERIFY}\ninitrd ${SERVER}/evil\nimgverify evil ${SERVER}/evil.sig || goto refuse\nboot\n:refuse\npoweroff`,
    summary: 'poweroff: the script powered the machine off',
    refusal: 'bad-signature',
  },
  {
    name: 'the demanded signer must be the one that signed',
    script: `kernel ${SERVER}/vmlinuz\nimgverify --signer r1 vmlinuz ${SERVER}/old.sig || poweroff`,
    summary: 'poweroff: the script powered the machine off',
    console: /Could not verify: Incorrect certificate name/,
    refusal: 'mixed-releases',
  },
  {
    name: 'a signature that is missing fails',
    script: `kernel ${SERVER}/vmlinuz\nimgverify vmlinuz ${SERVER}/none.sig || poweroff`,
    summary: 'poweroff: the script powered the machine off',
    console: /none\.sig\.\.\. Not found/,
    refusal: 'absent',
  },
  {
    name: 'a failed check takes trust away',
    script: `${STRICT}kernel ${SERVER}/vmlinuz\n${VERIFY}\nimgverify vmlinuz ${SERVER}/evil.sig ||\nboot`,
    summary: 'refused: Untrusted image',
  },
  {
    name: 'bytes that are no CMS leave trust as it was',
    script: `${STRICT}kernel ${SERVER}/vmlinuz\n${VERIFY}\nimgverify vmlinuz ${SERVER}/junk.sig ||\nboot`,
    summary: 'vmlinuz+',
    console: /Could not verify: Invalid argument/,
  },
  {
    name: 'a signature is freed after use',
    script: `kernel ${SERVER}/vmlinuz\n${VERIFY}\nboot`,
    summary: 'vmlinuz+',
  },
  {
    name: 'a signature that failed is freed too',
    script: `kernel ${SERVER}/vmlinuz\nimgverify vmlinuz ${SERVER}/evil.sig ||\nboot`,
    summary: 'vmlinuz-',
  },
  {
    name: 'with --keep it stays, and is handed over',
    script: `kernel ${SERVER}/vmlinuz\nimgverify --keep vmlinuz ${SERVER}/vmlinuz.sig\nboot`,
    summary: 'vmlinuz+ vmlinuz.sig-',
  },
  {
    name: 'imgverify fetches the image when there is none of that name',
    script: `${STRICT}imgverify ${SERVER}/vmlinuz ${SERVER}/vmlinuz.sig\nboot vmlinuz`,
    summary: 'vmlinuz+',
  },
  {
    name: 'a second image of the same name is not the one that was verified',
    script: `${STRICT}imgfetch ${SERVER}/vmlinuz\n${VERIFY}\nkernel ${SERVER}/vmlinuz\nboot`,
    summary: 'refused: Untrusted image',
  },
  {
    name: 'of two images of one name the first is verified, and both are handed over',
    script: `imgfetch --name x ${SERVER}/initrd\nimgfetch --name x ${SERVER}/evil\nimgverify x ${SERVER}/initrd.sig\nboot ${SERVER}/vmlinuz`,
    summary: 'vmlinuz- x+ x-',
  },
  {
    name: 'trust stays with the bytes under a new name',
    script: `${STRICT}kernel ${SERVER}/vmlinuz\n${VERIFY}\nimgargs --name renamed vmlinuz x\nboot`,
    summary: 'renamed+',
  },
  {
    name: 'a stock iPXE lacks the commands',
    script: 'imgtrust --permanent || echo one\nimgverify a b || echo two',
    scenario: { features: { imgtrust: false } },
    summary: 'exit: the script came to its end',
    console: /imgtrust: command not found\none\nimgverify: command not found\ntwo/,
  },
];

for (const { name, script, scenario, summary: expected, console, refusal } of VECTORS) {
  test(name, async () => {
    const run = await play(script, { files: FILES, ...scenario });
    assert.equal(summary(run), expected, run.console);
    if (console !== undefined) assert.match(run.console, console);
    if (refusal !== undefined) assert.equal(run.refusals.at(-1)?.code, refusal);
    if (refusal !== undefined && run.outcome.kind !== 'boot')
      assert.equal(run.outcome.refusal?.code, refusal);
  });
}

test('every verification is reported, with who was demanded', async () => {
  const run = await play(
    `kernel ${SERVER}/vmlinuz\nimgverify --signer=r1 vmlinuz ${SERVER}/vmlinuz.sig\ninitrd ${SERVER}/evil\nimgverify -s r1 evil ${SERVER}/evil.sig ||\nboot`,
    { files: FILES },
  );
  assert.deepEqual(
    run.verifications.map(({ refusal, ...rest }) => ({ ...rest, refusal: refusal?.code })),
    [
      {
        image: 'vmlinuz',
        url: `${SERVER}/vmlinuz`,
        signatureUrl: `${SERVER}/vmlinuz.sig`,
        signer: 'r1',
        refusal: undefined,
      },
      {
        image: 'evil',
        url: `${SERVER}/evil`,
        signatureUrl: `${SERVER}/evil.sig`,
        signer: 'r1',
        refusal: 'bad-signature',
      },
    ],
  );
  assert.ok(run.outcome.kind === 'boot');
  assert.equal(run.outcome.kernel.signer, 'r1');
  assert.equal(run.outcome.initrds[0]?.signer, undefined);
});

test('the verifier is given the bytes, the signer and the clock', async () => {
  const calls: unknown[] = [];
  await play(`imgfetch ${SERVER}/initrd\nntp 10.0.0.1\nimgverify --signer r1 initrd ${SERVER}/initrd.sig`, {
    files: FILES,
    ntp: () => new Date('2027-01-01T00:00:00Z'),
    verify: (image, signature, signer, at) => {
      calls.push([
        Buffer.from(image).toString(),
        Buffer.from(signature).toString(),
        signer,
        at.toISOString(),
      ]);
      return Promise.resolve();
    },
  });
  assert.deepEqual(calls, [['initrd', seal('initrd', 'r1'), 'r1', '2027-01-01T00:00:00.000Z']]);
});

test('a verifier that breaks is no verdict: the run rejects', async () => {
  const broken = play(`kernel ${SERVER}/vmlinuz\n${VERIFY} ||\nboot`, {
    files: FILES,
    verify: () => Promise.reject(new TypeError('broken')),
  });
  await assert.rejects(broken, /broken/);
});

test('a script that was fetched and not said to be trusted is not', async () => {
  const bytes = new Uint8Array(Buffer.from('#!ipxe\nimgstat\nimgtrust\nchain bad.ipxe || poweroff'));
  const url = `${SERVER}/boot.ipxe`;
  const run = await play('', { script: { bytes, url }, files: FILES });
  assert.equal(run.outcome.kind, 'poweroff');
  assert.deepEqual(run.asked, [`${SERVER}/bad.ipxe`]);
});
