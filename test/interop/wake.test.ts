import assert from 'node:assert/strict';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { run } from '../../lab/command.ts';
import { createLan, LAN_ADDRESS, type Lan } from '../../lab/lan.ts';
import { waitForOutput } from '../../lab/output.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const MAC = '52:54:00:12:34:56';
const OTHER = '52:54:00:ab:cd:ef';
const PACKET = 'ff'.repeat(6) + '525400123456'.repeat(16);

/** A datagram as tcpdump saw it at the far end of the wire. */
interface Seen {
  readonly to: string;
  readonly payload: string;
}

describe('wake, seen by tcpdump at the other end of the wire', () => {
  let lan: Lan;
  let machine: string;
  before(async () => {
    lan = await createLan();
    machine = `${lan.name}-m`;
    await run('ip', ['netns', 'add', machine]);
    await run('ip', [
      '-n',
      lan.name,
      'link',
      'add',
      'veth0',
      'type',
      'veth',
      'peer',
      'name',
      'eth0',
      'netns',
      machine,
    ]);
    await run('ip', ['-n', lan.name, 'link', 'set', 'veth0', 'master', 'br0', 'up']);
    await run('ip', ['-n', machine, 'link', 'set', 'eth0', 'up']);
    // A second network of the same host, where nothing may be sent that is meant for the first.
    await run('ip', ['-n', lan.name, 'link', 'add', 'br1', 'type', 'bridge']);
    await run('ip', ['-n', lan.name, 'addr', 'add', '10.78.0.1/24', 'dev', 'br1']);
    await run('ip', ['-n', lan.name, 'link', 'set', 'br1', 'up']);
  });
  after(async () => {
    await run('ip', ['netns', 'delete', machine]).catch(() => {});
    await lan?.close();
  });

  /** What reaches the machine while a command runs: so many datagrams are waited for. */
  async function seen(count: number, act: () => Promise<unknown>): Promise<readonly Seen[]> {
    const args = ['-i', 'eth0', '-n', '-l', '-x', '-c', String(count), 'udp and dst port 9'];
    const child = lan.spawn('nsenter', [`--net=/run/netns/${machine}`, 'tcpdump', ...args]);
    let text = '';
    child.stdout?.on('data', (piece: Buffer) => {
      text += piece.toString('latin1');
    });
    const ended = new Promise((resolve) => child.once('close', resolve));
    await waitForOutput(child, 'stderr', /listening on eth0/);
    await act();
    await ended;
    return text.split(/^(?=\S)/m).map((packet) => {
      const octets = [...packet.matchAll(/^\t0x[0-9a-f]+: +(.*)$/gm)]
        .map(([, words = '']) => words.replaceAll(' ', ''))
        .join('');
      const bytes = Buffer.from(octets, 'hex');
      // An IPv4 header of 20 bytes and one of UDP of 8; its length counts its own header.
      const length = bytes.readUInt16BE(24) - 8;
      return {
        to: [...bytes.subarray(16, 20)].join('.'),
        payload: bytes.subarray(28, 28 + length).toString('hex'),
      };
    });
  }

  const wake = (...words: string[]) => lan.execute(process.execPath, [MAIN, 'wake', ...words]);

  it('sends what wakeonlan sends, and says what went where', async () => {
    const theirs = await seen(1, () =>
      run('ip', ['netns', 'exec', lan.name, 'wakeonlan', '-i', '10.77.0.255', MAC]),
    );
    let said = '';
    const ours = await seen(2, async () => {
      const { status, stdout } = await wake(MAC, OTHER, '--interface', 'br0');
      assert.equal(status, 0);
      said = stdout;
    });
    assert.deepEqual(theirs, [{ to: '10.77.0.255', payload: PACKET }]);
    assert.deepEqual(ours, [
      { to: '255.255.255.255', payload: PACKET },
      { to: '255.255.255.255', payload: PACKET.replaceAll('525400123456', '525400abcdef') },
    ]);
    assert.equal(
      said,
      [MAC, OTHER]
        .map((mac) => `${mac}: 102 bytes to 255.255.255.255 port 9 from br0. Nobody answers these.\n`)
        .join(''),
    );
  });

  it('sends from every card without a word, and to a network that is named', async () => {
    let sent: unknown;
    const [all] = await seen(1, async () => {
      sent = JSON.parse((await wake(MAC.toUpperCase().replaceAll(':', '-'), '--json')).stdout);
    });
    assert.deepEqual(all, { to: '255.255.255.255', payload: PACKET });
    const each = { mac: MAC, to: '255.255.255.255', port: 9, bytes: 102 };
    assert.deepEqual(sent, {
      sent: [
        { ...each, interface: 'br0', from: LAN_ADDRESS },
        { ...each, interface: 'br1', from: '10.78.0.1' },
      ],
    });
    const [directed] = await seen(1, () => wake(MAC, '--broadcast', '10.77.0.255'));
    assert.equal(directed?.to, '10.77.0.255');
  });

  it('ends with the password of a file, which is shown nowhere', async () => {
    const file = join(lan.workFolder, 'secure-on');
    await writeFile(file, '0a:1b:2c:3d:4e:5f\n');
    await chmod(file, 0o600);
    let said = '';
    const [packet] = await seen(1, async () => {
      const { stdout, stderr } = await wake(MAC, '--interface', 'br0', '--password-file', file);
      said = stdout + stderr;
    });
    assert.equal(packet?.payload, `${PACKET}0a1b2c3d4e5f`);
    assert.match(said, /108 bytes/);
    assert.doesNotMatch(said, /0a:1b/);
  });

  for (const [what, words, status, reason] of [
    ['no MAC address', ['52:54:00:12:34'], 2, /is no card’s address/],
    ['a group’s address', ['01:00:5e:00:00:01'], 2, /is no card’s address/],
    ['an interface that is not there', [MAC, '--interface', 'eth9'], 2, /There is no interface eth9 here/],
    ['a broadcast address that is none', [MAC, '--broadcast', 'lan'], 2, /is no IPv4 address/],
    [
      'a network without a way there',
      [MAC, '--broadcast', '192.0.2.255'],
      3,
      /Nothing was sent to 192\.0\.2\.255/,
    ],
    ['a password with no terminal to ask on', [MAC, '--ask-password'], 2, /no terminal/],
  ] as const)
    it(`refuses ${what}, in one sentence`, async () => {
      const { status: code, stdout, stderr } = await wake(...words);
      assert.equal(code, status);
      assert.equal(stdout, '');
      assert.match(stderr, reason);
    });

  it('does not repeat a password that is none', async () => {
    const file = join(lan.workFolder, 'no-password');
    await writeFile(file, 'hunter2\n');
    const { status, stderr } = await wake(MAC, '--password-file', file);
    assert.equal(status, 2);
    assert.match(stderr, /The SecureOn password is none/);
    assert.doesNotMatch(stderr, /hunter2/);
  });
});
