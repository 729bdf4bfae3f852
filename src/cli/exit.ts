import { IoError } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { ListenError } from '../serve/listen.ts';
import { Interrupted } from './interrupt.ts';
import type { Terminal } from './terminal.ts';

/** 0 done or verified, 1 refused, 2 usage or configuration, 3 I/O or remote fault. */
export const EXIT = { ok: 0, refused: 1, usage: 2, fault: 3 } as const;

/** What a shell reports of a process that a signal ended: 128 and the signal's number. */
export const INTERRUPTED = { SIGINT: 130, SIGTERM: 143 } as const;

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
  const { code, message, path } = error as NodeJS.ErrnoException;
  if (typeof code === 'string' && /^E[A-Z]+$/.test(code)) {
    terminal.json({ error: message });
    terminal.error(`${path ?? 'The system'}: ${message}.`);
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

/** 1, or 3 where the reason is that the other side could not be asked. */
export function statusOf(refusal: Refusal): number {
  return refusal.code === 'unreachable' ? EXIT.fault : EXIT.refused;
}
