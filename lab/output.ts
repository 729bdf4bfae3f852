import type { ChildProcess } from 'node:child_process';

/**
 * Resolves with the match when a child has written something that matches. Rejects with its last words when it
 * ends before that.
 */
export function waitForOutput(
  child: ChildProcess,
  stream: 'stdout' | 'stderr',
  pattern: RegExp,
): Promise<RegExpExecArray> {
  return new Promise((resolve, reject) => {
    let said = '';
    const hear = (piece: Buffer) => {
      said += piece.toString('utf8');
      const match = pattern.exec(said);
      if (match === null) return;
      child.off('close', over);
      child[stream]?.off('data', hear);
      resolve(match);
    };
    const over = (status: number | null, signal: string | null) => {
      const program = child.spawnargs.join(' ');
      reject(new Error(`${program} ended (${status ?? signal}) before it was ready:\n${said.slice(-2000)}`));
    };
    child[stream]?.on('data', hear);
    child.once('error', reject);
    child.once('close', over);
  });
}
