import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { expectAbsent, expectMilestones } from '../lab/console.ts';
import { createLan, LAN_ADDRESS, type Lan } from '../lab/lan.ts';
import { addOverlay, bootDirect, consoleOf } from '../lab/overlay.ts';
import { type LabRelease, labRelease } from '../lab/release.ts';
import { REAL_ROOT_LINE } from '../lab/rootfs.ts';
import { type RunningServer, saidTo, startProduct } from '../lab/servers.ts';
import { publish } from '../src/index.ts';
import { armMachine, listArmed } from '../src/publish/arm.ts';

/**
 * A real machine that is armed for one boot: its overlay reports, goes on when that is consumed, and is refused when the
 * same script comes again. Kernel and initrds are started as the armed script would start them.
 */
const MAC = '52:54:00:0c:e0:01';
const RELEASE = 'arch/2026.11.01';
const HOUR = 3_600_000;
const VERIFIED = ['bootseal: network up', `bootseal: manifest verified, ${RELEASE}`];

describe('a machine that is armed for one boot', () => {
  let release: LabRelease;
  let state: string;
  let lan: Lan;
  let server: RunningServer;

  before(async () => {
    release = await labRelease({
      free: [
        'ip dhcp',
        'BOOTIF mac',
        'archiso_http_srv url',
        'bootseal.once hex 16',
        'bootseal.mode choice ram|verity',
      ],
      prepare: (tree, keys) => addOverlay(tree, keys, 'verity'),
    });
    state = join(release.folder, 'state');
    const { keys, tree } = release;
    const anchors = join(keys, 'anchors');
    const { refusal } = await publish({ tree, anchors, channel: 'stable', state, now: Date.now() });
    if (refusal) throw refusal;
    lan = await createLan();
    await lan.startDhcp({});
    server = await startProduct(lan, { keys, state }, { httpPort: 8080 });
  });
  after(async () => {
    await server?.stop();
    await lan?.close();
    await release?.remove();
  });

  it('reports, starts once it is told that this is consumed, and never by the same words again', async () => {
    const { arming } = await armMachine({
      state,
      mac: MAC,
      release: RELEASE,
      words: ['bootseal.mode=ram'],
      lasts: HOUR,
      afterwards: 'local',
      loader: 'ipxe',
      anchors: join(release.keys, 'anchors'),
      keys: release.keys,
      by: 'the lab',
      now: Date.now(),
    });
    assert.equal(arming.leaves, undefined, 'its overlay reports');
    const script = await offered();
    for (const word of arming.words) assert.ok(script.includes(` ${word} `), word);
    assert.match(script, new RegExp(`iseq \\$\\{netX/mac\\} ${MAC} `));

    const reported = saidTo(server, 'reported');
    const log = await boot(arming.words);
    expectMilestones(log, [
      ...VERIFIED,
      // The policy of its overlay says verity.
      'bootseal: root image verified',
      `bootseal: armed for one boot, ${arming.id}: asking the server to go on`,
      'bootseal: this boot is the one that was armed; the next one is another',
      'bootseal: starting /sbin/init',
      REAL_ROOT_LINE,
    ]);
    const [kept] = await listArmed(state);
    assert.equal(kept?.consumed?.how, 'report');
    assert.match(kept.consumed.address ?? '', /10\.77\.0\.\d+$/);
    const whose = { kind: 'reported', server: 'http', mac: MAC, once: arming.id } as const;
    const [{ remote = '' } = {}] = reported;
    assert.match(remote, /10\.77\.0\.\d+$/);
    assert.deepEqual(
      [...reported],
      [{ ...whose, remote, outcome: 'verified', release: RELEASE, root: 'ram', lines: [] }],
    );
    // From now on it is its own disk's.
    assert.match(await offered(), /^set bootseal-next local$/m);

    // A neighbour hands it the same script again, whose leaf has not ended.
    const again = await boot(arming.words);
    expectMilestones(again, [
      ...VERIFIED,
      `bootseal: armed for one boot, ${arming.id}`,
      'bootseal: REFUSED stale The server says that this machine is not armed for this boot, or not any more.',
      'bootseal: Nothing of this release was started. The machine is halted.',
    ]);
    expectAbsent(again, ['bootseal: starting', REAL_ROOT_LINE]);
    // The server hears of it what the console showed.
    assert.ok(reported[1]);
    const { lines, ...said } = reported[1];
    assert.deepEqual(said, {
      ...{ ...whose, remote: said.remote, outcome: 'refused', code: 'stale' },
      message: 'The server says that this machine is not armed for this boot, or not any more.',
      ...{ release: RELEASE, root: 'ram' },
    });
    assert.equal(reported.length, 2);
    assert.ok(lines.length <= 20);
    expectMilestones(lines.join('\n'), [
      'bootseal: network up',
      `bootseal: manifest verified, ${RELEASE}`,
      `bootseal: armed for one boot, ${arming.id}`,
      'bootseal: REFUSED stale The server says',
    ]);
    for (const line of lines) assert.ok(line.startsWith('bootseal: ') && line.length <= 128, line);
  });

  it('that nobody armed reports what it booted, and waits for nothing', async () => {
    const reported = saidTo(server, 'reported');
    const log = await boot([]);
    expectMilestones(log, [
      ...VERIFIED,
      'bootseal: dm-verity over NBD',
      'bootseal: starting /sbin/init',
      REAL_ROOT_LINE,
    ]);
    expectAbsent(log, ['bootseal: armed']);
    assert.deepEqual(
      reported.map(({ outcome, release: of, root, once }) => [outcome, of, root, once]),
      [['verified', RELEASE, 'verity', undefined]],
    );
  });

  async function offered(): Promise<string> {
    const url = `http://${LAN_ADDRESS}:8080/boot.ipxe?mac=${MAC}`;
    return (await lan.execute('curl', ['-s', url])).stdout;
  }

  async function boot(words: readonly string[]): Promise<string> {
    const bootif = `BOOTIF=01-${MAC.replaceAll(':', '-')}`;
    const machine = await bootDirect({
      lan,
      tree: release.tree,
      release: RELEASE,
      mac: MAC,
      commandLine: (line) => [line, bootif, ...words].join(' '),
    });
    return consoleOf(machine);
  }
});
