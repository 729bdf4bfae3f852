import type { Lan } from './lan.ts';
import { waitForOutput } from './output.ts';
import { type RunningServer, running } from './servers.ts';

/**
 * A port of a switch that carries one VLAN with its tag (IEEE 802.1Q), for a machine's card; the LAN is that VLAN, and
 * sees no tag. Frames without the tag, or with another, go nowhere. In perl, which can open a tap: the machine that runs
 * the tests may know neither VLANs nor bridges that filter them.
 */
const SWITCH = String.raw`
use strict;
use Fcntl;
use Socket;
my ($tap, $vlan, $here, $there) = @ARGV;
sysopen(my $lan, '/dev/net/tun', O_RDWR) or die $!;
# TUNSETIFF: IFF_TAP, IFF_NO_PI.
my $request = pack('a16 S x22', $tap, 0x1002);
ioctl($lan, 0x400454ca, $request) or die $!;
socket(my $port, PF_INET, SOCK_DGRAM, 0) or die $!;
bind($port, sockaddr_in($here, INADDR_LOOPBACK)) or die $!;
my $card = sockaddr_in($there, INADDR_LOOPBACK);
$| = 1;
print "switching\n";
for (;;) {
  my $ready = '';
  vec($ready, fileno($_), 1) = 1 for $lan, $port;
  select($ready, undef, undef, undef);
  if (vec($ready, fileno($lan), 1)) {
    sysread($lan, my $frame, 65536);
    substr($frame, 12, 0) = pack('nn', 0x8100, $vlan);
    send($port, $frame, 0, $card);
  }
  if (vec($ready, fileno($port), 1)) {
    recv($port, my $frame, 65536, 0);
    my ($type, $tag) = unpack('x12 nn', $frame);
    next if $type != 0x8100 || ($tag & 0xfff) != $vlan;
    substr($frame, 12, 4) = '';
    syswrite($lan, $frame);
  }
}
`;

const HERE = 10_801;
const THERE = 10_802;

export interface VlanPort extends RunningServer {
  /** QEMU's arguments for a card at that port. */
  readonly card: readonly string[];
}

/** One at a time on a LAN. */
export async function startVlanPort(lan: Lan, vlan: number): Promise<VlanPort> {
  const tap = await lan.addTap();
  const child = lan.spawn('perl', ['-e', SWITCH, tap, String(vlan), String(HERE), String(THERE)]);
  await waitForOutput(child, 'stdout', /^switching/m);
  const network = `socket,id=trunk,udp=127.0.0.1:${HERE},localaddr=127.0.0.1:${THERE}`;
  return {
    ...running(child, 'SIGKILL'),
    card: ['-netdev', network, '-device', 'virtio-net-pci,netdev=trunk,mac=52:54:00:77:00:aa'],
  };
}
