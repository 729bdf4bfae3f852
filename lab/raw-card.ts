import type { Lan } from './lan.ts';
import { waitForOutput } from './output.ts';
import { type RunningServer, running } from './servers.ts';

/**
 * A network card as whoever owns the machine has it: every frame of ARP and UDP that comes by, and any frame sent, with
 * whatever addresses. In perl, which knows packet sockets (packet(7)); frames go through its pipes, each behind its
 * length in two bytes.
 */
const CARD = String.raw`
use strict;
use Socket;
my ($card) = @ARGV;
open(my $file, '<', "/sys/class/net/$card/ifindex") or die $!;
my $index = <$file> + 0;
# AF_PACKET, ETH_P_ALL.
socket(my $raw, 17, SOCK_RAW, unpack('S', pack('n', 3))) or die $!;
bind($raw, pack('S n i S C C a8', 17, 3, $index, 0, 0, 0, '')) or die $!;
# SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC: also what is for others.
setsockopt($raw, 263, 1, pack('i S S a8', $index, 1, 0, '')) or die $!;
binmode $_ for \*STDIN, \*STDOUT;
print STDERR "listening\n";
my $pending = '';
for (;;) {
  my $ready = '';
  vec($ready, fileno($_), 1) = 1 for $raw, \*STDIN;
  select($ready, undef, undef, undef);
  if (vec($ready, fileno($raw), 1)) {
    recv($raw, my $frame, 65535, 0);
    my $type = unpack('x12 n', $frame);
    my $udp = $type == 0x0800 && unpack('x23 C', $frame) == 17;
    if (($type == 0x0806 || $udp) && length($frame) < 2000) {
      my $piece = pack('n', length $frame) . $frame;
      while (length $piece) {
        my $done = syswrite(STDOUT, $piece) or exit;
        substr($piece, 0, $done) = '';
      }
    }
  }
  if (vec($ready, fileno(STDIN), 1)) {
    sysread(STDIN, $pending, 65536, length $pending) or exit;
    while (length $pending >= 2) {
      my $length = unpack('n', $pending);
      last if length $pending < 2 + $length;
      send($raw, substr($pending, 2, $length), 0);
      substr($pending, 0, 2 + $length) = '';
    }
  }
}
`;

export interface RawCard extends RunningServer {
  /** `52:54:00:00:00:01` */
  readonly mac: string;
  /** Calls `hear` for every frame from now on. @returns what ends it. */
  listen(hear: (frame: Buffer) => void): () => void;
  send(frame: Buffer): void;
}

export async function openRawCard(host: Lan, card: string): Promise<RawCard> {
  const { stdout: mac } = await host.execute('cat', [`/sys/class/net/${card}/address`]);
  const child = host.spawn('perl', ['-e', CARD, card], { stdio: ['pipe', 'pipe', 'pipe'] });
  await waitForOutput(child, 'stderr', /listening/);
  const hearing = new Set<(frame: Buffer) => void>();
  let pending: Buffer = Buffer.alloc(0);
  child.stdout?.on('data', (piece: Buffer) => {
    pending = pending.length === 0 ? piece : Buffer.concat([pending, piece]);
    let at = 0;
    while (pending.length - at >= 2) {
      const length = pending.readUInt16BE(at);
      if (pending.length - at < 2 + length) break;
      const frame = pending.subarray(at + 2, at + 2 + length);
      for (const hear of hearing) hear(frame);
      at += 2 + length;
    }
    pending = pending.subarray(at);
  });
  // It may be ended while something is still being said.
  child.stdin?.on('error', () => {});
  return {
    child,
    mac: mac.trim(),
    listen(hear) {
      hearing.add(hear);
      return () => void hearing.delete(hear);
    },
    send(frame) {
      const length = Buffer.alloc(2);
      length.writeUInt16BE(frame.length);
      child.stdin?.write(Buffer.concat([length, frame]));
    },
    stop: () => running(child, 'SIGKILL').stop(),
  };
}
