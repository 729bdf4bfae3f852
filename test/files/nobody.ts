import { chmodSync } from 'node:fs';

/** The id that owns nothing. */
const NOBODY = 65534;

/**
 * Runs `act` without root's right to read everything; anybody else lacks it anyway.
 *
 * @param folder the test's own, which nobody else may enter otherwise.
 */
export async function asNobody<T>(folder: string, act: () => Promise<T>): Promise<T> {
  if (process.geteuid?.() !== 0) return act();
  chmodSync(folder, 0o755);
  process.seteuid?.(NOBODY);
  try {
    return await act();
  } finally {
    process.seteuid?.(0);
  }
}
