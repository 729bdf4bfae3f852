import { run } from './command.ts';
import { CARD } from './host.ts';
import { createLan, type Lan } from './lan.ts';
import { waitForOutput } from './output.ts';

/**
 * A cable that loses or delays frames. In perl, which can open a tap at either end: not every kernel has the queue that `tc … netem`
 * asks for, and a tap hands over what a wire would carry, in pieces of its size and with their checksums.
 */
const CABLE = String.raw`
use strict;
use Fcntl;
my ($card, $port, $there, $loss, $delay, $setns, $clock) = @ARGV;
# Time::HiRes is not in perl-base. CLOCK_MONOTONIC.
sub now {
  my $at = pack('q2', 0, 0);
  syscall($clock, 1, $at) == 0 or die $!;
  my ($seconds, $nanos) = unpack('q2', $at);
  return $seconds + $nanos / 1e9;
}
sub tap {
  sysopen(my $tap, '/dev/net/tun', O_RDWR) or die $!;
  # TUNSETIFF: IFF_TAP, IFF_NO_PI.
  my $request = pack('a16 S x22', $_[0], 0x1002);
  ioctl($tap, 0x400454ca, $request) or die $!;
  return $tap;
}
my $here = tap($card);
open(my $other, '<', $there) or die $!;
# CLONE_NEWNET
syscall($setns, fileno($other), 0x40000000) == 0 or die $!;
my $far = tap($port);
$| = 1;
print "plugged in\n";
# Frames on their way, in the order in which they arrive.
my @flying;
for (;;) {
  my $ready = '';
  vec($ready, fileno($_), 1) = 1 for $here, $far;
  my $wait = @flying ? $flying[0][0] - now() : undef;
  select($ready, undef, undef, defined $wait && $wait < 0 ? 0 : $wait);
  while (@flying && $flying[0][0] <= now()) {
    my (undef, $to, $frame) = @{shift @flying};
    syswrite($to, $frame);
  }
  for ([$here, $far], [$far, $here]) {
    my ($from, $to) = @$_;
    next unless vec($ready, fileno($from), 1);
    sysread($from, my $frame, 65536) or next;
    next if rand() < $loss;
    if ($delay > 0) { push @flying, [now() + $delay, $to, $frame] } else { syswrite($to, $frame) }
  }
}
`;
/** Numbers of the system calls setns(2) and clock_gettime(2). */
const CALLS: Readonly<Record<string, readonly [number, number]>> = { x64: [308, 228], arm64: [268, 113] };

let cables = 0;

/**
 * Another machine on a LAN, as `createHost` makes one without an address, behind a cable that loses a part of the frames
 * either way.
 *
 * @param loss 0.01: one in a hundred. @param delay how long each frame takes, either way, in seconds.
 */
export async function createLossyHost(lan: Lan, loss: number, delay = 0): Promise<Lan> {
  const calls = CALLS[process.arch];
  if (calls === undefined) throw new Error(`the numbers of system calls are not known on ${process.arch}`);
  const host = await createLan();
  try {
    await run('ip', ['-n', host.name, 'link', 'delete', 'br0']);
    const port = `cable${++cables}`;
    const words = [CARD, port, `/run/netns/${lan.name}`, ...[loss, delay, ...calls].map(String)];
    const child = host.spawn('perl', ['-e', CABLE, ...words]);
    await waitForOutput(child, 'stdout', /plugged in/);
    await run('ip', ['-n', lan.name, 'link', 'set', port, 'master', 'br0', 'up']);
    await run('ip', ['-n', host.name, 'link', 'set', CARD, 'up']);
    // What is sent to all goes by this card, too.
    await run('ip', ['-n', host.name, 'route', 'add', '255.255.255.255/32', 'dev', CARD]);
    return host;
  } catch (error) {
    await host.close();
    throw error;
  }
}
