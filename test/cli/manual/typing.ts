import { spawn } from 'node:child_process';

/** A shell on a terminal, and somebody who types. */
export interface Typing {
  /** Types keys (a tab completes) and Return; the words that `bootseal` was then called with. */
  words(keys: string): Promise<readonly string[]>;
  end(): Promise<void>;
}

/**
 * Starts a shell as people have it, where `bootseal` is a function that tells its words: what the shell made of the
 * keys is what it calls.
 *
 * @param command of the shell, for `sh -c`.
 * @param setup what is typed first.
 */
export async function startTyping(command: string, setup: readonly string[], cwd: string): Promise<Typing> {
  const child = spawn('script', ['-qefc', command, '/dev/null'], {
    cwd,
    env: { PATH: process.env.PATH, HOME: cwd, TERM: 'dumb', LC_ALL: 'C.UTF-8' },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let shown = '';
  let look = () => {};
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    shown += text;
    look();
  });
  const ended = new Promise<void>((resolve) => child.on('close', () => resolve()));
  const until = (pattern: RegExp) =>
    new Promise<RegExpExecArray>((resolve, reject) => {
      look = () => {
        const match = pattern.exec(shown);
        if (match === null) return;
        shown = '';
        resolve(match);
      };
      void ended.then(() => reject(new Error(`the shell ended before it said ${pattern}:\n${shown}`)));
      look();
    });
  // What is typed is shown, too: the quotes keep it from being taken for what is printed.
  for (const line of [...setup, `bootseal() { printf '{''{%s}}' "$@"; echo '{''{.}''}'; }`, 'bootseal ready'])
    child.stdin.write(`${line}\n`);
  await until(/\{\{ready\}\}\{\{\.\}\}/);
  return {
    async words(keys) {
      child.stdin.write(`${keys}\n`);
      const [, all = ''] = await until(/((?:\{\{[^{}]*\}\})*)\{\{\.\}\}/);
      return [...all.matchAll(/\{\{([^{}]*)\}\}/g)].map(([, word = '']) => word);
    },
    async end() {
      child.stdin.end('exit\n');
      await ended;
    },
  };
}
