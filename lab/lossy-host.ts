import { run } from './command.ts';
import { CARD } from './host.ts';
import { createLan, type Lan } from './lan.ts';
import { waitForOutput } from './output.ts';

/**
 * A cable that loses frames. In perl, which can open a tap at either end: not every kernel has the queue that `tc … netem`
 * asks for, and a tap hands over what a wire would carry, in pieces of its size and with their checksums.
 */
const CABLE = String.raw`
use strict;
use Fcntl;
my ($card, $port, $there, $loss, $setns) = @ARGV;
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
for (;;) {
  my $ready = '';
  vec($ready, fileno($_), 1) = 1 for $here, $far;
  select($ready, undef, undef, undef);
  for ([$here, $far], [$far, $here]) {
    my ($from, $to) = @$_;
    next unless vec($ready, fileno($from), 1);
    sysread($from, my $frame, 65536) or next;
    syswrite($to, $frame) if rand() >= $loss;
  }
}
`;
/** The system call's number (setns(2)). */
const SETNS: Readonly<Record<string, number>> = { x64: 308, arm64: 268 };

let cables = 0;

/**
 * Another machine on a LAN, as `createHost` makes one without an address, behind a cable that loses a part of the frames
 * either way.
 *
 * @param loss 0.01: one in a hundred.
 */
export async function createLossyHost(lan: Lan, loss: number): Promise<Lan> {
  const setns = SETNS[process.arch];
  if (setns === undefined) throw new Error(`the number of setns is not known on ${process.arch}`);
  const host = await createLan();
  try {
    await run('ip', ['-n', host.name, 'link', 'delete', 'br0']);
    const port = `cable${++cables}`;
    const words = [CARD, port, `/run/netns/${lan.name}`, String(loss), String(setns)];
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
