import { type Command, InvalidArgumentError } from 'commander';
import { UsageError } from '../../errors/usage.ts';
import { isoSeconds } from '../../formats/records/lines.ts';
import { SCOPES, type Scope } from '../../store/token-scopes.ts';
import { act, folder, newCommand, stateAt, time } from '../context.ts';
import { EXIT } from '../exit.ts';
import { SUMMARIES } from '../summaries.ts';

interface Options {
  readonly state: string;
  readonly scope: readonly Scope[];
  readonly expires?: string;
  readonly snapshotKey?: string;
  readonly quiet?: boolean;
}

const EXAMPLE = 'bootseal token';
const STATE = 'where releases and channels live';
const SNAPSHOT_KEY = 'signs the log; default: the state’s own key';

export function tokenCommand(): Command {
  return newCommand(
    'token',
    SUMMARIES.token,
    `${EXAMPLE} add lab-ci --state /srv/bootseal --scope read --scope arm --expires 90d`,
  )
    .addCommand(addCommand())
    .addCommand(listCommand())
    .addCommand(revokeCommand());
}

function addCommand(): Command {
  return newCommand(
    'add',
    'make a token, and print it once: nobody can find it again',
    `${EXAMPLE} add lab-ci --state /srv/bootseal --scope read --scope arm --expires 90d`,
  )
    .argument('<name>', 'what you call it; log and answers name it so')
    .requiredOption('--state <dir>', STATE, stateAt)
    .requiredOption('--scope <scope>', `what it allows, once for each: ${SCOPES.join(', ')}`, scopes)
    .option('--expires <time>', 'its end: 90d, 12h, or a date; default: until it is revoked', end)
    .option('--snapshot-key <dir>', SNAPSHOT_KEY, folder)
    .action(
      act<Options>(async ({ terminal, now, json }, options, name = '') => {
        const { addToken } = await import('../../operations/tokens.ts');
        const { state, scope, expires, snapshotKey } = options;
        if (options.quiet && !json)
          throw new UsageError(
            'A token is printed once; with --quiet nobody would see it, unless --json prints it.',
          );
        const { secret, token } = await addToken({
          ...{ state, name, scopes: scope, now },
          ...(expires === undefined ? {} : { ends: endOf(expires, now) }),
          ...(snapshotKey === undefined ? {} : { snapshotKey }),
        });
        const { scopes, made, ends } = token;
        terminal.json({ name, token: secret, scopes, made, ends: ends ?? null });
        terminal.note(
          `${name} may ${scopes.join(', ')}, until ${ends ?? 'it is revoked'}. Keep this; it is shown once:`,
        );
        terminal.print(secret);
        return EXIT.ok;
      }),
    );
}

function listCommand(): Command {
  return newCommand(
    'list',
    'the tokens of a state; not what they are',
    `${EXAMPLE} list --state /srv/bootseal`,
  )
    .requiredOption('--state <dir>', STATE, stateAt)
    .action(
      act<Options>(async ({ terminal, now }, { state }) => {
        const { demandState } = await import('../../store/state.ts');
        const { isLive, readTokens } = await import('../../store/tokens.ts');
        await demandState(state);
        const tokens = await readTokens(state);
        terminal.json({
          tokens: tokens.map((token) => {
            const { name, scopes, made, ends } = token;
            return { name, scopes, made, ends: ends ?? null, ended: !isLive(token, now) };
          }),
        });
        if (tokens.length === 0)
          terminal.print('There are no tokens: nobody may change anything by the API.');
        else
          terminal.table(
            ['TOKEN', 'MAY', 'MADE', 'ENDS'],
            tokens.map((token) => [
              { text: token.name },
              { text: token.scopes.join(', ') },
              { text: token.made },
              isLive(token, now)
                ? { text: token.ends ?? 'when it is revoked' }
                : { text: `ended ${token.ends}`, style: 'bad' },
            ]),
          );
        return EXIT.ok;
      }),
    );
}

function revokeCommand(): Command {
  return newCommand(
    'revoke',
    'make a token good for nothing, at once, and end the sessions that it began',
    `${EXAMPLE} revoke lab-ci --state /srv/bootseal`,
  )
    .argument('<name>', 'as "bootseal token list" names it')
    .requiredOption('--state <dir>', STATE, stateAt)
    .option('--snapshot-key <dir>', SNAPSHOT_KEY, folder)
    .action(
      act<Options>(async ({ terminal, now }, { state, snapshotKey }, name = '') => {
        const { revokeToken } = await import('../../operations/tokens.ts');
        const given = snapshotKey === undefined ? {} : { snapshotKey };
        const unlogged = await revokeToken({ state, name, now, ...given });
        terminal.json({ name, revoked: isoSeconds(Math.floor(now / 1000) * 1000) });
        terminal.print(`${name} is revoked.`, 'good');
        if (unlogged !== undefined) throw unlogged;
        return EXIT.ok;
      }),
    );
}

function scopes(text: string, before: readonly Scope[] = []): readonly Scope[] {
  const scope = SCOPES.find((known) => known === text);
  if (scope === undefined) throw new InvalidArgumentError(`A scope is one of ${SCOPES.join(', ')}.`);
  return [...before, scope];
}

const SPAN = /^([1-9][0-9]{0,3})([dh])$/;

/** Looks whether it can be meant; what it means depends on the clock. */
function end(text: string): string {
  if (!SPAN.test(text)) time(text);
  return text;
}

/** @returns milliseconds since 1970. */
function endOf(text: string, now: number): number {
  const [, count, unit] = SPAN.exec(text) ?? [];
  if (count === undefined) return time(text);
  return now + Number(count) * (unit === 'd' ? 86_400_000 : 3_600_000);
}
