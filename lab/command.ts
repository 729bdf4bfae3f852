import { type SpawnOptions, spawn } from 'node:child_process';

export interface CommandResult {
  /** Exit status; undefined where a signal ended the command. */
  readonly status: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Written to standard input, which is then closed. */
  readonly input?: Uint8Array | string;
}

/** Runs a foreign tool to its end and answers whatever it said. Rejects only when it cannot be started. */
export function execute(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const spawnOptions: SpawnOptions = {
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.env === undefined ? {} : { env: options.env }),
    };
    const child = spawn(command, args, spawnOptions);
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout?.on('data', (piece: Buffer) => stdout.push(piece));
    child.stderr?.on('data', (piece: Buffer) => stderr.push(piece));
    child.on('error', reject);
    child.on('close', (status) =>
      resolve({
        status: status ?? undefined,
        stdout: Buffer.concat(stdout).toString('utf8'),
        stderr: Buffer.concat(stderr).toString('utf8'),
      }),
    );
    // A tool that ends without reading its input breaks the pipe; its exit status says what happened.
    child.stdin?.on('error', () => {});
    child.stdin?.end(options.input);
  });
}

/** As `execute`, but any status other than 0 is an Error that quotes the tool's last words. */
export async function run(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const result = await execute(command, args, options);
  if (result.status === 0) return result;
  const said = `${result.stdout}\n${result.stderr}`.trim().split('\n').slice(-12).join('\n');
  const how = result.status === undefined ? 'was ended by a signal' : `exited with ${result.status}`;
  throw new Error(`${command} ${args.join(' ')} ${how}:\n${said}`);
}
