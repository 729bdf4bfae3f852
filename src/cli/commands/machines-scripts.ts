import { UsageError } from '../../errors/usage.ts';
import { assignmentText } from '../../machines/assignment.ts';
import type { CompiledScript } from '../../machines/compile-batch.ts';
import { signScriptsRequest } from '../../operations/machine-scripts.ts';
import { type AskPassphrase, accessOf } from '../../signing/keys/passphrase.ts';
import type { Context } from '../context.ts';
import { EXIT } from '../exit.ts';
import type { Terminal } from '../terminal.ts';

/** What scripts are for, before they are signed or carried: one line for each assignment and its machines. */
export function showScripts(terminal: Terminal, scripts: readonly CompiledScript[]): void {
  const rows = new Map<string, { one: CompiledScript; loaders: Set<string>; releases: Set<string> }>();
  for (const one of scripts) {
    const row = rows.get(one.key) ?? { one, loaders: new Set(), releases: new Set() };
    row.loaders.add(one.loader === 'ipxe' ? 'iPXE' : 'GRUB');
    if (one.release !== undefined) row.releases.add(one.release);
    rows.set(one.key, row);
  }
  terminal.table(
    ['for', 'gets', 'boots', 'loaders'],
    [...rows.values()].map(({ one: { planned }, loaders, releases }) => [
      { text: whose(planned.machines?.map(({ macs, uuid }) => macs[0] ?? uuid ?? '')) },
      { text: assignmentText(planned.assignment) },
      { text: [...releases].join(', ') || 'no release', style: 'dim' },
      { text: [...loaders].join(', '), style: 'dim' },
    ]),
  );
}

function whose(names: readonly string[] | undefined): string {
  if (names === undefined) return 'any machine';
  return names.length === 1 ? (names[0] ?? '') : `${names.length} machines, ${names[0]} …`;
}

export interface SignScriptsWords {
  readonly keys: readonly string[];
  readonly passphrase?: AskPassphrase;
  readonly out: string;
}

/** `sign-request` of a request for scripts: what is signed is compiled here, and shown. */
export async function signScriptsWords(
  { terminal, now }: Context,
  { keys, passphrase, out }: SignScriptsWords,
  request: string,
): Promise<number> {
  if (keys.length === 0) throw new UsageError('Scripts of machines are signed with --keys DIR.');
  let bar: ReturnType<Terminal['progress']> | undefined;
  const {
    signed,
    left,
    request: asked,
  } = await signScriptsRequest({
    request,
    keys,
    out,
    now,
    ...accessOf(passphrase ? { passphrase } : {}),
    onRequest: (seen) => showScripts(terminal, seen.scripts),
    onSignature: (done, of) => {
      bar ??= terminal.progress('signing', of);
      bar.update(done);
    },
  }).finally(() => bar?.stop());
  terminal.json({ channel: asked.channel, out, scripts: asked.scripts, signed, left });
  terminal.print();
  terminal.print(
    `${out}: ${signed} of ${signed + left} scripts for machines of ${asked.channel}.`,
    left > 0 ? undefined : 'good',
  );
  if (left > 0) terminal.print(`${left} are left for others to sign.`);
  return EXIT.ok;
}
