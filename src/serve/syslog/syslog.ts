import type { RemoteInfo } from 'node:dgram';
import { Malformed } from '../../errors/malformed.ts';
import { decodeSyslog, MAX_SYSLOG } from '../../formats/net/syslog.ts';
import type { Emit } from '../emit.ts';
import { LineLimiter } from '../line-limiter.ts';
import { type Bind, type Bound, boundAddresses, checkListenTarget, isIpv6Only } from '../listen.ts';
import type { Shares } from '../shares.ts';
import { closing, type Door, handedDoor, openDoor } from '../tftp/tftp-socket.ts';

export interface SyslogOptions {
  /** IP addresses. */
  readonly bind: Bind;
  /** UDP; 0: an ephemeral one. iPXE sends to 514 and nowhere else. */
  readonly port: number;
  /** Descriptors of sockets that were handed over (`HandedSockets`): where there are any, the two above say nothing. */
  readonly sockets?: readonly number[] | undefined;
  readonly shares: Shares;
  readonly emit: Emit;
  /** Milliseconds of a monotonic clock. Default: the process's own. */
  readonly now?: () => number;
  /** Told of each datagram of those who send more than is heard. */
  readonly onLeftOut?: () => void;
}

export interface SyslogReceiver {
  readonly address: string;
  readonly port: number;
  readonly bound: readonly [Bound, ...Bound[]];
  close(): Promise<void>;
}

/**
 * Hears what loaders write on their consoles (`SyslogLine`), and tells it as it came: hints, since anybody can send them.
 * It answers nobody, keeps nothing, and hears each share as often as the log has lines for it.
 *
 * @throws ListenError, UsageError for a descriptor that is no such socket: then nothing listens.
 */
export async function startSyslog(options: SyslogOptions): Promise<SyslogReceiver> {
  const { bind, port, sockets = [], shares, emit, now = () => performance.now(), onLeftOut } = options;
  const lines = new LineLimiter(now);
  const receive = (bytes: Buffer, { address: remote }: RemoteInfo): void => {
    // Before anything is read: a flood costs its sender's share, whatever it is of.
    if (!lines.mayWrite(shares.of(remote))) {
      onLeftOut?.();
      return;
    }
    if (bytes.length > MAX_SYSLOG) return;
    try {
      const { text, mac } = decodeSyslog(bytes);
      if (text.trim() === '') return;
      emit({ kind: 'console', server: 'syslog', remote, ...(mac === undefined ? {} : { mac }), text });
    } catch (error) {
      // Whatever else is sent to this port is nobody's line.
      if (!(error instanceof Malformed)) throw error;
    }
  };
  const doors: Door[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(
      doors.splice(0).map(({ socket }) => {
        const closed = closing(socket);
        socket.close();
        return closed;
      }),
    );
  };
  const add = (door: Door): void => {
    doors.push(door);
    door.socket.on('message', receive);
    door.socket.on('error', (error) =>
      emit({ kind: 'fault', server: 'syslog', error, what: 'hear the lines of loaders' }),
    );
  };
  try {
    for (const fd of sockets) add(handedDoor('syslog', fd));
    const addresses = sockets.length > 0 ? [] : boundAddresses('syslog', bind, port);
    for (const address of addresses) checkListenTarget({ what: 'syslog', address, port });
    for (const address of addresses) {
      // A port that was chosen for the first is the others', too.
      const target = { what: 'syslog', address, port: doors[0]?.port ?? port };
      add(await openDoor(target, isIpv6Only(address, addresses)));
    }
  } catch (error) {
    await close();
    throw error;
  }
  const [first, ...rest] = doors.map(({ address, port: at }): Bound => ({ address, port: at }));
  if (first === undefined) throw new TypeError('an address was asked for');
  return { ...first, bound: [first, ...rest], close };
}
