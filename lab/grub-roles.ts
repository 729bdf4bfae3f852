import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { expectAbsent, expectMilestones } from './console.ts';
import { type GrubLab, INSIDE, KERNEL_BANNER } from './grub.ts';
import type { GrubSite } from './grub-site.ts';
import { flip, KERNEL } from './release.ts';

/** Files of one role offered in the place of the other's, to a GRUB that trusts both keys, each in its time. */

/** Signed by the payload key: nothing of it may ever run. */
const PLANTED = 'echo "PLANTED RAN"\n';
const RAN = 'PLANTED RAN';
/** GRUB prints the id of a signature's key byte by byte the wrong way round. */
const NOT_TRUSTED = /public key [0-9a-f]{1,16} not found/;
const KERNEL_PATH = `/${INSIDE}/${KERNEL}`;

/** A TFTP server that offers what GRUB would run if it ever tried a second source with the wrong key trusted. */
async function plantSecondSource(site: GrubSite): Promise<void> {
  await site.put('tftp/grub.cfg', PLANTED, 'payload');
}

/** A script of the site's own that tries what a thief of one key would, and then comes back. */
function tries(steps: readonly (readonly [name: string, command: string])[]): string {
  const tried = steps.map(
    ([name, command]) =>
      `echo "trying ${name}"\nif ${command}; then echo "TAKEN ${name}"; else echo "refused ${name}"; fi\n`,
  );
  return [
    'bootseal_trust_payload\n',
    'if [ "$bootseal_trusts" != payload ]; then echo "NOT SWITCHED"; fi\n',
    'set site="(http,10.77.0.1:8080)"\n',
    ...tried,
    'echo "the script ends here"\n',
  ].join('');
}

export function describeRoles(lab: GrubLab): void {
  it('runs nothing of a text that the payload key signed, from no source', async () => {
    const { log } = await lab.attack(async (site) => {
      await site.put('grub.cfg', PLANTED, 'payload');
      await plantSecondSource(site);
    });
    expectMilestones(log, [
      'Fetching and verifying (http,10.77.0.1:8080)/grub.cfg',
      NOT_TRUSTED,
      'Fetching and verifying (tftp,10.77.0.1)/grub.cfg',
      NOT_TRUSTED,
      'REFUSED: no grub.cfg with a good OpenPGP signature',
    ]);
    expectAbsent(log, [RAN, 'Release arch', ...KERNEL_BANNER]);
  });

  it('takes nothing that the script key signed as kernel or initrd, then or when it is opened again', async () => {
    const { log, requests } = await lab.attack(async (site) => {
      await site.put('as-kernel', PLANTED, 'script');
      await site.put('as-initrd', PLANTED, 'script');
      await site.put('turns', 'an initrd', 'payload');
      await site.put('second/turns', PLANTED, 'script');
      await site.put('flipped', 'an initrd', 'payload');
      await flip(join(site.folder, 'flipped.sig'), -1);
      await site.put('unsealed', 'an initrd', 'payload');
      await rm(join(site.folder, 'unsealed.sig'));
      await site.copy(`${INSIDE}/${KERNEL}`, 'turning-kernel');
      await site.put('second/turning-kernel', PLANTED, 'script');
      await site.put(
        'grub.cfg',
        tries([
          ['a script as kernel', 'linux "$site/as-kernel"'],
          ['its own configuration as kernel', 'linux "$site/grub.cfg"'],
          ['the kernel', 'linux "$site/turning-kernel"'],
          ['the kernel once more, and it is a script', 'linux "$site/turning-kernel"'],
          ['another kernel', `linux "$site${KERNEL_PATH}" console=ttyS0`],
          ['a script as initrd', 'initrd "$site/as-initrd"'],
          ['an initrd with one bit of its seal flipped', 'initrd "$site/flipped"'],
          ['an initrd without a seal', 'initrd "$site/unsealed"'],
          ['an initrd', 'initrd "$site/turns"'],
          ['the initrd once more, and it is a script', 'initrd "$site/turns"'],
        ]),
        'script',
      );
      await plantSecondSource(site);
    });
    expectMilestones(log, [
      // Both of them: the image is of a day on which one takes the other's place.
      'From here on the script key',
      'From here on the script key',
      'trying a script as kernel',
      NOT_TRUSTED,
      'refused a script as kernel',
      'refused its own configuration as kernel',
      'TAKEN the kernel',
      'refused the kernel once more',
      'TAKEN another kernel',
      'refused a script as initrd',
      'bad signature',
      'refused an initrd with one bit of its seal flipped',
      'refused an initrd without a seal',
      'TAKEN an initrd',
      'refused the initrd once more',
      'the script ends here',
      // It came back: a machine that went on would now run what the payload key signed.
      'REFUSED: grub.cfg came back, and nothing else is tried.',
    ]);
    expectAbsent(log, [
      RAN,
      'NOT SWITCHED',
      'TAKEN a script',
      'TAKEN its own',
      'TAKEN the kernel once more',
      'TAKEN the initrd once more',
      'TAKEN an initrd with',
      '(tftp,',
      ...KERNEL_BANNER,
    ]);
    // Each open is one request for the file and one for its seal: there is no second answer to check and not use.
    for (const path of [KERNEL_PATH, `${KERNEL_PATH}.sig`]) {
      assert.equal(requests.filter((line) => line === `200 GET ${path}`).length, 1, path);
    }
  });

  it('runs nothing of what the payload key signed when grub.cfg is opened for the second time', async () => {
    const { log } = await lab.attack(async (site) => {
      await site.put('second/grub.cfg', PLANTED, 'payload');
      await plantSecondSource(site);
    });
    expectMilestones(log, [
      'Fetching and verifying (http,10.77.0.1:8080)/grub.cfg',
      'REFUSED: grub.cfg came back, and nothing else is tried.',
    ]);
    expectAbsent(log, [RAN, 'Release arch', '(tftp,', ...KERNEL_BANNER]);
  });
}

/** What a site's own script could do wrong, and what somebody at the keyboard can. */
export function describeScripts(lab: GrubLab): void {
  it('finds a script key that is trusted twice, and goes no further', async () => {
    const { log } = await lab.attack(async (site) => {
      await site.put('script.gpg', await site.anchor('script.gpg'), 'script');
      await site.put('grub.cfg', `trust (http,10.77.0.1:8080)/script.gpg\n${tries([])}`, 'script');
    });
    expectMilestones(log, [/REFUSED: the script key [0-9a-f]{16} is still trusted\./, 'Nothing was started']);
    expectAbsent(log, ['the script ends here']);
  });

  it('finds out that the loader has no such switch, where a missing command is as good as done', async () => {
    const { log } = await lab.attack((site) =>
      site.edit('grub.cfg', 'script', (text) =>
        text.replace(/^bootseal_trust_payload$/m, 'bootseal_nothing'),
      ),
    );
    expectMilestones(log, ['REFUSED: this loader does not tell scripts from payload']);
    expectAbsent(log, ['Release arch/2026.11.01: fetching', ...KERNEL_BANNER]);
  });

  it('a menu goes back to nothing: neither to a prompt nor to another source', async () => {
    const { log } = await lab.attack(
      async (site) => {
        await site.put('as-kernel', PLANTED, 'script');
        const entry = `menuentry "an entry" --unrestricted {\n  linux (http,10.77.0.1:8080)/as-kernel\n}\n`;
        await site.put('grub.cfg', `${tries([])}set timeout=-1\n${entry}`, 'script');
        await plantSecondSource(site);
      },
      async (machine, press) => {
        await machine.waitFor(['an entry']);
        await press('ret');
        await machine.waitFor([NOT_TRUSTED, 'Press any key']);
        await press('ret');
        await machine.waitFor(['an entry']);
        for (const key of ['esc', 'c', 'e']) {
          await press(key);
          await machine.waitFor(['Enter username']);
          await press('n', 'o', 'b', 'o', 'd', 'y', 'ret');
          await machine.waitFor(['Enter password']);
          await press('ret');
          await machine.waitFor(['an entry']);
        }
      },
    );
    expectAbsent(log, [RAN, 'grub>', '(tftp,', ...KERNEL_BANNER]);
  });
}
