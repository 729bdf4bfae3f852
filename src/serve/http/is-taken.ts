import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/**
 * Whether the kernel has taken all of a response. Node says so, and calls back without an error, of one that was cut off as
 * well: nothing of it waits in the socket any more, since a socket that is destroyed forgets what it had to send.
 */
export function isTaken({ writableFinished }: ServerResponse, socket: Socket): boolean {
  return writableFinished && socket.errored === null && (!socket.destroyed || socket.writableFinished);
}
