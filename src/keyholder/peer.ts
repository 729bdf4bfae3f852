import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { codeOf, IoError, inWords } from '../errors/io.ts';
import { UsageError } from '../errors/usage.ts';

/**
 * Who is at the other end of a unix socket, by the word of the kernel: SO_PEERCRED of the connection itself, as it was
 * when the other side connected. Node cannot ask for it, so perl does (Debian's perl-base, which every Debian has): it
 * is given the connection as its descriptor 3, asks, and reads nothing from it.
 *
 * `ss -xe` was tried and left: iproute2 6.1 said no uid at all, where it does it is of who *made* the socket and not of
 * who connected it, and it prints the names that others gave to their sockets, line ends included, so that any account
 * can write lines into it.
 */
export interface Peer {
  readonly uid: number;
  readonly pid: number;
}

/** The kernel's uid for whoever has none here: another user namespace's, or nobody's. */
export const OVERFLOW_UID = 65_534;

const PERL = [
  '-e',
  'use strict; use Socket; open(my $s, "+<&=", 3) or exit 4; my $c = getsockopt($s, SOL_SOCKET, SO_PEERCRED);' +
    ' exit 5 unless defined $c && length $c == 12; printf "%d %u\\n", unpack("lL", $c);',
];
/** Bytes of its answer. */
const MAX_ANSWER = 32;
/** Milliseconds; it takes ten. */
const PATIENCE = 10_000;

/** Whose connection this is. Nothing was read from it yet. @throws IoError where that cannot be told. */
export function peerOf(connection: Socket): Promise<Peer> {
  return ask(connection);
}

/**
 * Asks for ourselves, before anybody is let in: a keyholder that cannot tell who asks must not start.
 *
 * @throws UsageError that says what is missing.
 */
export async function demandPeers(): Promise<void> {
  const how = 'a keyholder must know who asks it';
  try {
    // What Node makes here is a unix socket, whose other end is ours.
    const { uid, pid } = await ask('pipe');
    if (uid === process.geteuid?.() && pid === process.pid) return;
    throw new UsageError(`This system says that uid ${uid} is at our own end of a socket; ${how}.`);
  } catch (error) {
    if (!(error instanceof IoError)) throw error;
    throw new UsageError(`${error.message.replace(/\.$/, '')}; ${how}.`, { cause: error });
  }
}

async function ask(connection: Socket | 'pipe'): Promise<Peer> {
  const fail = (why: string, error?: unknown) =>
    new IoError(`Who asks cannot be told: ${why}.`, 'perl', codeOf(error), { cause: error });
  const child = start(connection, fail);
  const said = await new Promise<string>((resolve, reject) => {
    let text = '';
    const late = setTimeout(() => {
      child.kill('SIGKILL');
      reject(fail('perl gave no answer'));
    }, PATIENCE);
    (child.stdout as Readable).setEncoding('latin1').on('data', (piece: string) => {
      text = (text + piece).slice(0, MAX_ANSWER);
    });
    child.on('error', (error) => {
      clearTimeout(late);
      const none = codeOf(error) === 'ENOENT' ? 'there is no "perl"; install perl-base' : inWords(error);
      reject(fail(none, error));
    });
    child.on('close', (status, signal) => {
      clearTimeout(late);
      if (status === 0) resolve(text);
      else reject(fail(`perl ended with ${signal ?? status}`));
    });
  });
  const [, pid, uid] = /^(\d{1,10}) (\d{1,10})\n$/.exec(said) ?? [];
  if (pid === undefined || uid === undefined) throw fail('perl gave another answer');
  return { uid: Number(uid), pid: Number(pid) };
}

function start(connection: Socket | 'pipe', fail: (why: string, error?: unknown) => IoError): ChildProcess {
  try {
    return spawn('perl', PERL, {
      cwd: '/',
      // PERL5OPT and PERL5LIB would be programs of somebody else's.
      env: { PATH: process.env.PATH ?? '/usr/bin:/bin' },
      stdio: ['ignore', 'pipe', 'ignore', connection],
    });
  } catch (error) {
    // Also where the other side is gone, and its descriptor with it.
    throw fail(error instanceof Error ? error.message.replace(/\.$/, '') : String(error), error);
  }
}
