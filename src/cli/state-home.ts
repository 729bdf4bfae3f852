import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';

/** Where a user's programs keep what must outlive them (XDG Base Directory Specification): Bootseal's folder there. */
export function stateHome({ XDG_STATE_HOME: home }: NodeJS.ProcessEnv): string {
  // The specification says of a relative path that it is to be ignored.
  const base = home !== undefined && isAbsolute(home) ? home : join(homedir(), '.local', 'state');
  return join(base, 'bootseal');
}
