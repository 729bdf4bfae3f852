import { once } from 'node:events';
import { connect } from 'node:net';

/** QEMU's arguments for a control socket at `path`. */
export function qmpArguments(path: string): readonly string[] {
  return ['-qmp', `unix:${path},server=on,wait=off`];
}

/** Presses keys of the machine behind a control socket, by QEMU's names for them (`esc`, `ret`, `c`). */
export async function pressKeys(path: string, names: readonly string[]): Promise<void> {
  const socket = connect(path);
  await once(socket, 'connect');
  let answers = '';
  socket.setEncoding('utf8').on('data', (piece: string) => {
    answers += piece;
  });
  const commands = [
    { execute: 'qmp_capabilities' },
    ...names.map((data) => ({
      execute: 'send-key',
      arguments: { keys: [{ type: 'qcode', data }] },
    })),
  ];
  for (const command of commands) socket.write(`${JSON.stringify(command)}\n`);
  const answered = () => answers.match(/"return":|"error":/g)?.length ?? 0;
  while (answered() < commands.length) await once(socket, 'data');
  socket.destroy();
  if (answers.includes('"error":')) throw new Error(`QEMU pressed no key: ${answers}`);
}
