import { codeOf, IoError, inWords } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { ListenError } from '../serve/listen.ts';
import { EXIT, INTERRUPTED, statusOf } from './exit.ts';
import { Interrupted } from './interrupt.ts';
import type { Terminal } from './terminal.ts';

/** Says in one sentence why a command failed, and what the exit status is. */
export function report(terminal: Terminal, error: unknown): number {
  if (error instanceof Refusal) {
    terminal.json({ refusal: error.toJSON() });
    terminal.error(`refused [${error.code}] ${error.message}`);
    return statusOf(error);
  }
  if (error instanceof IoError) {
    terminal.json({ error: error.message });
    terminal.error(error.message);
    // An address that no system could accept was never tried: the words are wrong, not the machine.
    return error instanceof ListenError && error.code === 'EINVAL' ? EXIT.usage : EXIT.fault;
  }
  if (error instanceof Interrupted) {
    terminal.json({ error: error.message });
    terminal.error(error.message);
    return error.signal === 'SIGTERM' ? INTERRUPTED.SIGTERM : INTERRUPTED.SIGINT;
  }
  const { message, path, syscall } = error as NodeJS.ErrnoException;
  if (codeOf(error) !== undefined) {
    const sentence = `${path ?? `The system's ${syscall ?? 'answer'}`}: ${inWords(error)}.`;
    terminal.json({ error: sentence });
    terminal.error(sentence);
    return EXIT.fault;
  }
  if (error instanceof UsageError) {
    terminal.json({ error: error.message });
    terminal.error(error.message);
    return EXIT.usage;
  }
  // A plain Error names what is missing on this machine; anything else is our mistake and keeps its trace.
  terminal.json({ error: message });
  const said = process.env.BOOTSEAL_DEBUG && error instanceof Error ? (error.stack ?? message) : message;
  for (const line of said.split('\n')) terminal.error(line);
  return EXIT.fault;
}
