import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

export interface Said {
  /** Exit status; undefined where a signal ended it. */
  readonly code: number | undefined;
  readonly out: string;
  readonly err: string;
}

/** A command that still runs. */
export interface Running {
  readonly pid: number;
  /** What was said until now. */
  readonly said: { readonly out: string; readonly err: string };
  /** Ends when a stream holds what fits; rejects when the command ends before. */
  until(stream: 'out' | 'err', fits: RegExp): Promise<RegExpMatchArray>;
  signal(name: NodeJS.Signals): void;
  readonly ended: Promise<Said>;
}

export interface Setting {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Bytes of a terminal instead of two pipes; both streams then arrive in `out`. */
  readonly terminal?: boolean;
  /** Runs as this account, and as its group; only root can ask for that. */
  readonly uid?: number;
}

const children = new Set<ChildProcess>();
after(() => {
  for (const child of children) child.kill('SIGKILL');
});

/** Starts `bootseal` as a shell would: a process of its own, neither stream a terminal unless asked for. */
export function start(words: readonly string[], setting: Setting = {}): Running {
  const { NO_COLOR: _, FORCE_COLOR: __, SOURCE_DATE_EPOCH: ___, ...inherited } = process.env;
  const line = [process.execPath, MAIN, ...words];
  const [file, ...rest] = setting.terminal
    ? ['script', '-qefc', line.map((word) => `'${word}'`).join(' '), '/dev/null']
    : line;
  const child = spawn(file as string, rest, {
    cwd: setting.cwd,
    env: { ...inherited, TERM: 'xterm', ...setting.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(setting.uid === undefined ? {} : { uid: setting.uid, gid: setting.uid }),
  });
  children.add(child);
  const said = { out: '', err: '' };
  const listeners = new Set<() => void>();
  const hear = (stream: 'out' | 'err') => (text: string) => {
    said[stream] += text;
    for (const listener of listeners) listener();
  };
  child.stdout.setEncoding('utf8').on('data', hear('out'));
  child.stderr.setEncoding('utf8').on('data', hear('err'));
  const ended = once(child, 'close').then(([code]): Said => {
    children.delete(child);
    return { code: code ?? undefined, ...said };
  });
  return {
    pid: child.pid ?? 0,
    said,
    ended,
    signal: (name) => child.kill(name),
    async until(stream, fits) {
      const found = new Promise<RegExpMatchArray>((resolve) => {
        const look = () => {
          const match = said[stream].match(fits);
          if (!match) return;
          listeners.delete(look);
          resolve(match);
        };
        listeners.add(look);
        look();
      });
      const early = ended.then(({ code, out, err }) => {
        const match = said[stream].match(fits);
        if (match) return match;
        throw new Error(`ended with ${code} before it said ${fits}\n${out}\n${err}`);
      });
      return Promise.race([found, early]);
    },
  };
}

/** Runs a command to its end. */
export function run(words: readonly string[], setting: Setting = {}): Promise<Said> {
  return start(words, setting).ended;
}

/** A command that is told to end, at the latest, when the test does. */
export function serving(t: TestContext, words: readonly string[], setting: Setting = {}): Running {
  const running = start(words, setting);
  t.after(async () => {
    running.signal('SIGKILL');
    await running.ended;
  });
  return running;
}
