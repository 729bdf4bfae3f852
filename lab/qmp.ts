import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout } from 'node:timers/promises';

/** QEMU's arguments for a control socket at `path`. */
export function qmpArguments(path: string): readonly string[] {
  return ['-qmp', `unix:${path},server=on,wait=off`];
}

/** One command of QMP. */
interface Command {
  readonly execute: string;
  readonly arguments?: object;
}

/** Presses keys of the machine behind a control socket, by QEMU's names for them (`esc`, `ret`, `c`). */
export function pressKeys(path: string, names: readonly string[]): Promise<void> {
  return tell(
    path,
    names.map((data) => ({ execute: 'send-key', arguments: { keys: [{ type: 'qcode', data }] } })),
  );
}

/**
 * Lets a machine that was started with `-S` go, with the cable of one card pulled out.
 *
 * @param card the name of its netdev.
 */
export function startWithoutLink(path: string, card: string): Promise<void> {
  return tell(path, [{ execute: 'set_link', arguments: { name: card, up: false } }, { execute: 'cont' }]);
}

async function tell(path: string, said: readonly Command[]): Promise<void> {
  const socket = await reach(path);
  let answers = '';
  socket.setEncoding('utf8').on('data', (piece: string) => {
    answers += piece;
  });
  const commands = [{ execute: 'qmp_capabilities' }, ...said];
  for (const command of commands) socket.write(`${JSON.stringify(command)}\n`);
  const answered = () => answers.match(/"return":|"error":/g)?.length ?? 0;
  while (answered() < commands.length) await once(socket, 'data');
  socket.destroy();
  if (answers.includes('"error":')) throw new Error(`QEMU did not obey: ${answers}`);
}

/** QEMU makes its socket some moments after it was started. */
async function reach(path: string): Promise<Socket> {
  for (;;) {
    const socket = connect(path);
    try {
      await once(socket, 'connect');
      return socket;
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code !== 'ENOENT' && code !== 'ECONNREFUSED') throw error;
      await setTimeout(50);
    }
  }
}
