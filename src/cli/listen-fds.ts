import { UsageError } from '../errors/usage.ts';
import { type HandedSockets, SOCKET_NAMES, type SocketName } from '../serve/handed.ts';

/** The first descriptor that is handed over (SD_LISTEN_FDS_START). */
const FIRST = 3;
/** More than any unit of ours has; a number that is no mistake is below it. */
const MOST = 256;

/**
 * The sockets that whoever started this process had opened for it, by their names: sd_listen_fds_with_names(3), without
 * its library. Where a socket was opened for somebody, it is never left aside in silence: clients would wait at it.
 *
 * @param pid of this process.
 * @throws UsageError
 */
export function listenFds(env: NodeJS.ProcessEnv, pid: number): HandedSockets {
  const { LISTEN_FDS: count, LISTEN_PID: owner, LISTEN_FDNAMES: names } = env;
  if (count === undefined) return new Map();
  if (!/^(0|[1-9][0-9]{0,2})$/.test(count) || Number(count) > MOST)
    throw new UsageError(`LISTEN_FDS is ${JSON.stringify(count)}, which is no number of sockets.`);
  if (count === '0') return new Map();
  if (owner !== String(pid))
    throw new UsageError(
      `LISTEN_FDS tells of sockets for the process ${owner ?? '(LISTEN_PID is not set)'}, and this is ${pid}: start it directly, or with "exec", or unset LISTEN_FDS.`,
    );
  const given = names === undefined ? [] : names.split(':');
  if (given.length !== Number(count))
    throw new UsageError(
      `LISTEN_FDS tells of ${count} sockets, and LISTEN_FDNAMES names ${given.length}: each needs FileDescriptorName= in its socket unit.`,
    );
  const sockets = new Map<SocketName, number[]>();
  for (const [index, text] of given.entries()) {
    const name = SOCKET_NAMES.find((each) => each === text);
    if (name === undefined)
      throw new UsageError(
        `A socket was handed over with the name ${JSON.stringify(text)}; FileDescriptorName= is one of ${SOCKET_NAMES.join(', ')}.`,
      );
    sockets.set(name, [...(sockets.get(name) ?? []), FIRST + index]);
  }
  return sockets;
}
