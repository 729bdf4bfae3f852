import type { Log } from '../../src/serve/event-log.ts';

/** A log that tells when something was said in it, so that a test need not sleep. */
export function hearing(): { readonly log: Log; readonly heard: (message: string) => Promise<void> } {
  const said: string[] = [];
  const waiting = new Map<string, () => void>();
  const hear = (_facts: object, message: string) => {
    said.push(message);
    waiting.get(message)?.();
  };
  return {
    log: { info: hear, warn: hear, error: hear },
    heard: (message) =>
      said.includes(message) ? Promise.resolve() : new Promise((resolve) => waiting.set(message, resolve)),
  };
}
