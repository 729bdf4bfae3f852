import type { ServerEvent } from '../release/server-event.ts';

/** Where servers tell what happens. Never throws, never waits. */
export type Emit = (event: ServerEvent) => void;

/**
 * Tells every listener. One that throws stops neither the others nor a server.
 *
 * @param onThrow is told what was thrown.
 */
export function emitTo(
  listeners: readonly Emit[],
  onThrow: (error: unknown, event: ServerEvent) => void,
): Emit {
  return (event) => {
    for (const listener of listeners) {
      try {
        listener(event);
      } catch (error) {
        onThrow(error, event);
      }
    }
  };
}
