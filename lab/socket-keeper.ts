import type { ChildProcess } from 'node:child_process';
import { waitForOutput } from './output.ts';

/*
 * What systemd does with sockets and a service over a restart: somebody opens them, keeps them, and hands them to one
 * process after the other. systemd-socket-activate hands them over and is gone.
 */

export interface KeptSocket {
  readonly kind: 'stream' | 'datagram';
  /** IPv4. */
  readonly address: string;
  readonly port: number;
  /** `FileDescriptorName=` */
  readonly name: string;
}

/** Whenever it is told a line it starts the command, and says when that has ended. */
const KEEPER = `
use strict; use Socket; $| = 1; $^F = 64;
my ($count, @rest) = @ARGV;
my (@kept, @names);
for (1 .. $count) {
  my ($kind, $address, $port, $name) = splice(@rest, 0, 4);
  socket(my $s, AF_INET, $kind eq "stream" ? SOCK_STREAM : SOCK_DGRAM, 0) or die "socket: $!";
  setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
  bind($s, pack_sockaddr_in($port, inet_aton($address))) or die "bind $address $port: $!";
  if ($kind eq "stream") { listen($s, 64) or die "listen: $!" }
  die "descriptor" unless fileno($s) == 2 + $_;
  push @kept, $s; push @names, $name;
}
print "kept\\n";
while (<STDIN>) {
  my $child = fork;
  unless ($child) {
    open(STDIN, "<", "/dev/null");
    @ENV{qw(LISTEN_FDS LISTEN_PID LISTEN_FDNAMES)} = ($count, $$, join(":", @names));
    exec @rest; die "exec: $!";
  }
  print "started $child\\n";
  waitpid($child, 0);
  print "ended $child with $?\\n";
}
`;

/** Words for `perl`. */
export function keeperWords(sockets: readonly KeptSocket[], command: readonly string[]): string[] {
  const each = sockets.flatMap(({ kind, address, port, name }) => [kind, address, String(port), name]);
  return ['-e', KEEPER, String(sockets.length), ...each, ...command];
}

/** Starts the command with the sockets; one at a time. @returns its process id. */
export async function startKept(keeper: ChildProcess): Promise<number> {
  const started = waitForOutput(keeper, 'stdout', /started (\d+)\n/);
  keeper.stdin?.write('\n');
  return Number((await started)[1]);
}

/** Tells it to end, and resolves with its wait status when it has. */
export async function stopKept(keeper: ChildProcess, pid: number): Promise<number> {
  const ended = waitForOutput(keeper, 'stdout', new RegExp(`ended ${pid} with (\\d+)\\n`));
  process.kill(pid, 'SIGTERM');
  return Number((await ended)[1]);
}
