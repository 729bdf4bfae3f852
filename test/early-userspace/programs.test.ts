import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { collectTools } from '../../src/build/overlay-tools.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { hostileEnvironment, ODD_NAMES } from '../fixtures/hostile-environment.ts';

/**
 * The programs of an overlay, as they are, in a folder in the place of `/bootseal`. In the place of each program that they
 * start is one that writes down its environment and does nothing: none may hold a word that is not ours.
 *
 * The shell that begins a program is busybox's, as on a machine. The one that begins it again is dash: busybox's would
 * take its own `ip`, `mount` and `halt`, and this machine is not to be configured.
 */

const SOURCE = fileURLToPath(new URL('../../../early-userspace/', import.meta.url));
const folder = await temporaryFolder();
const bootseal = join(folder, 'machine/bootseal');
const records = join(folder, 'records');
const PATH = `${bootseal}/bin:${bootseal}/applets`;
const CLEAN = ['LC_ALL=C', `PATH=${PATH}`];

/** A text of the overlay, with the folder for its places, and nothing of this machine's. */
function moved(text: string): string {
  return text
    .replace(/(?<![\w}])\/bootseal(?![\w-])/g, bootseal)
    .replace(/(?<![\w}])\/(etc|proc\/sys|dev\/console|dev\/kmsg)(?!\w)/g, `${folder}/machine/$1`);
}

/**
 * What each stand-in does first: its own environment is what the kernel was given with it, whatever its shell makes of
 * that. In one write, since several may run at once.
 */
const RECORD = `{ printf '== %s\\n' "\${0##*/} $*"; /bin/busybox cat /proc/$$/environ; echo; } >${records}.$$
/bin/busybox dd bs=1M if=${records}.$$ 2>/dev/null >>${records}`;

async function place(path: string, text: string): Promise<void> {
  const target = join(folder, 'machine', path);
  await mkdir(dirname(target), { recursive: true });
  await writeFile(target, text, { mode: 0o755 });
}

for (const name of await readdir(SOURCE)) {
  if (!name.startsWith('.'))
    await place(`bootseal/${name}`, moved(await readFile(join(SOURCE, name), 'utf8')));
}
await mkdir(join(folder, 'machine/etc'));
await mkdir(join(folder, 'machine/dev'));
await place('bootseal/run/verified-root', '1:1\n');
await place('bootseal/policy', 'bootseal-policy 1\nmin-serial 0\ngrace-days 0\n');
await place(
  'bootseal/bin/busybox',
  `#!/bin/busybox sh
${RECORD}
case $1 in
env) exec /bin/busybox "$@" ;;
# A program begins, by its first line or by clean-start's last.
sh) exec /bin/busybox "$@" ;;
# And begins again.
${bootseal}/bin/*) exec /bin/busybox sh "$@" ;;
${bootseal}/*) exec /usr/bin/dash "$@" ;;
# Loops without end end here, and init where it would install applets.
sleep)
	echo >>${records}.sleeps
	[ "$(/bin/busybox wc -l <${records}.sleeps)" -lt 3 ] || kill -9 $PPID
	;;
--install) kill -9 $PPID ;;
esac
exit 1
`,
);
for (const tool of ['ip', 'dmsetup', 'systemctl'])
  await place(`bootseal/bin/${tool}`, `#!/bin/busybox sh\n${RECORD}\n`);
await place('bootseal/bin/nbd-client', `#!/bin/busybox sh\n${RECORD}\nkill -9 $PPID\n`);

interface Started {
  /** The stand-in's name and its arguments. */
  readonly what: string;
  readonly environment: readonly string[];
}

const HOSTILE = { ...hostileEnvironment(folder), ...ODD_NAMES };

/** Everything that a program started, the program itself first. */
async function startedBy(
  name: string,
  args: readonly string[],
  more: NodeJS.ProcessEnv = {},
): Promise<Started[]> {
  for (const file of [records, `${records}.sleeps`]) await rm(file, { force: true });
  const { error } = spawnSync(join(bootseal, name), args, {
    env: { ...HOSTILE, ...more },
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  assert.equal(error, undefined);
  const [, ...all] = (await readFile(records, 'latin1')).split(/(?:^|\n)== /);
  return all.map((text) => {
    const [, what = '', words = ''] = /^([^\n]*)\n(.*)$/s.exec(text) ?? [];
    return { what: what.replaceAll(bootseal, ''), environment: words.split('\0').slice(0, -1).sort() };
  });
}

async function demandClean(
  name: string,
  args: readonly string[],
  more?: NodeJS.ProcessEnv,
): Promise<string[]> {
  const [first, second, ...rest] = await startedBy(name, args, more);
  assert.ok(first && second && rest.length > 2);
  // It was what it was to withstand.
  assert.ok(first.what.startsWith(`busybox sh /${name}`), first.what);
  assert.ok(first.environment.length >= Object.keys(HOSTILE).length);
  assert.match(second.what, /^busybox env -i LC_ALL=C PATH=/);
  // ash keeps the name exported; what it says is ours, and ends there.
  assert.deepEqual(
    second.environment.filter((word) => word !== 'IFS= '),
    CLEAN,
  );
  for (const { what, environment } of rest) {
    // The shell between the two has made words of its own, anew.
    const shells = what.startsWith(`busybox /${name}`) ? [`PWD=${folder}`, /^SHLVL=[12]$/] : [];
    assert.deepEqual(
      environment.filter(
        (word) => !shells.some((one) => (typeof one === 'string' ? one === word : one.test(word))),
      ),
      CLEAN,
      what,
    );
  }
  return rest.map(({ what }) => what);
}

describe('whatever the kernel made of the command line', () => {
  for (const [name, args, wanted] of [
    ['init', [], ['busybox mount -t proc -o nosuid,nodev,noexec proc /proc', /^busybox --install /]],
    ['halt-machine', ['It', 'is over.'], ['busybox sync', 'busybox halt -f', 'busybox sleep 3600']],
    ['enter-root', ['-n', folder, '/sbin/init'], [/^busybox stat -c %d:%i /, 'busybox halt -f']],
    ['watch-root', ['1:1', '2:2', '0'], ['busybox sleep 1', 'busybox stat -L -c %d:%i /proc/1/root']],
    [
      'keep-nbd',
      ['192.0.2.1', '10809', 'arch/root', 'nbd0', 'nbd0', 'nbd2', '2048'],
      [
        'busybox sleep 1',
        'busybox cat /sys/block/nbd2/size',
        /^nbd-client 192\.0\.2\.1 10809 \/dev\/nbd2 -N arch\/root /,
      ],
    ],
  ] as readonly [string, readonly string[], readonly (string | RegExp)[]][]) {
    it(`${name} passes nothing of it on to what it starts`, async () => {
      const started = await demandClean(name, args);
      for (const one of wanted)
        assert.ok(
          started.some((what) => (typeof one === 'string' ? what === one : one.test(what))),
          `${one} of ${started.join('\n')}`,
        );
    });
  }

  it('dhcp-answer passes nothing of it on, nor of the answer, but as arguments', async () => {
    const answer = {
      interface: 'none0',
      ip: '192.0.2.7',
      mask: '24',
      router: '192.0.2.1 192.0.2.2',
      dns: '192.0.2.3',
    };
    const started = await demandClean('dhcp-answer', ['bound'], answer);
    assert.deepEqual(
      started.filter((what) => what.startsWith('ip ')),
      ['ip addr add 192.0.2.7/24 dev none0', 'ip route add default via 192.0.2.1 dev none0'],
    );
    assert.equal(await readFile(join(folder, 'machine/etc/resolv.conf'), 'utf8'), 'nameserver 192.0.2.3\n');
  });

  it('each tool of the overlay has its own loader, and nothing of it', async () => {
    const tools = ['openssl', 'gpg', 'dmsetup', 'nbd-client', 'curl', 'rdate'] as const;
    const { entries } = await collectTools('/', ['busybox', ...tools]);
    for (const tool of tools) {
      const wrapper = entries.find(({ name }) => name === `bootseal/bin/${tool}`);
      assert.ok(wrapper?.kind === 'file');
      const text = moved(Buffer.from(wrapper.data).toString());
      const [, loader = ''] = /\/lib\/(ld-\S+)/.exec(text) ?? [];
      await place(`bootseal/lib/${loader}`, `#!/bin/busybox sh\n${RECORD}\n`);
      await place(`bootseal/bin/${tool}`, text);
      const started = await startedBy(`bin/${tool}`, ['an argument']);
      const last = started.at(-1);
      assert.match(last?.what ?? '', new RegExp(`^ld-.* /libexec/${tool} an argument$`));
      const own = tool === 'openssl' || tool === 'curl' ? ['OPENSSL_CONF=/dev/null'] : [];
      assert.deepEqual(last?.environment, [...CLEAN, ...own].sort());
    }
  });
});
