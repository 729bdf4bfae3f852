import { open } from 'node:fs/promises';
import { Malformed } from '../../errors/malformed.ts';
import { Refusal } from '../../errors/refusal.ts';
import { statIfThere } from '../../files/read-if-there.ts';
import { readInto, reading } from '../../files/reading.ts';
import { decodeRedirection, REDIRECTION_LIMIT } from '../../formats/net/assuan.ts';
import { runProgram } from './run-program.ts';
import type { TimeLimit } from './time-limit.ts';

/** Where GnuPG's agent listens; where nothing is said, where that of the current user does. */
export interface AgentPlace {
  /** A path: that of a socket, or of a file that names one. Such an agent is not started here. */
  readonly socket?: string;
  /** An absolute path of a GnuPG home. */
  readonly home?: string;
}

/** Bytes. */
const LONGEST_PATH = 4096;

/**
 * The path to connect to. GnuPG says it: where a home's path is long, or the user has a folder in /run, the socket lies
 * elsewhere. Whether anybody listens is not asked.
 *
 * @throws Refusal `unreachable`, `malformed`
 */
export async function findAgent(
  name: string,
  { socket, home }: AgentPlace,
  timeLimit: TimeLimit,
): Promise<string> {
  return redirected(name, socket ?? (await askGnupg(name, home, timeLimit)));
}

async function askGnupg(name: string, home: string | undefined, timeLimit: TimeLimit): Promise<string> {
  const answer = await runProgram({
    name,
    argv: ['gpgconf', ...homedir(home), '--list-dirs', 'agent-socket'],
    env: {},
    input: new Uint8Array(0),
    limit: LONGEST_PATH,
    timeLimit,
  });
  const [, path] = /^(\/[^\0\n]+)\n$/.exec(Buffer.from(answer).toString('utf8')) ?? [];
  if (path !== undefined) return path;
  throw new Refusal('malformed', `${name} is not found: gpgconf says no path of its socket.`, {
    signer: name,
  });
}

/** Starts the agent of a home, as gpg would; one that runs is left alone. Its windows are its own, and never on our terminal. */
export async function startAgent(name: string, { home }: AgentPlace, timeLimit: TimeLimit): Promise<void> {
  await runProgram({
    name,
    argv: ['env', '-u', 'GPG_TTY', 'gpg-connect-agent', ...homedir(home), 'GETINFO pid', '/bye'],
    env: {},
    input: new Uint8Array(0),
    limit: LONGEST_PATH,
    timeLimit,
  });
}

function homedir(home: string | undefined): string[] {
  return home === undefined ? [] : ['--homedir', home];
}

async function redirected(name: string, path: string): Promise<string> {
  if (!(await statIfThere(path))?.isFile()) return path;
  const file = await reading(path, undefined, () => open(path));
  try {
    return await reading(path, file, async () => {
      const room = Buffer.alloc(REDIRECTION_LIMIT + 1);
      const octets = await readInto(file, room, 0);
      return decodeRedirection(room.subarray(0, octets), (variable) => process.env[variable]);
    });
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw new Refusal('malformed', `${name} is not found: ${path} is ${error.message}.`, { signer: name });
  }
}
