import { UsageError } from '../../errors/usage.ts';
import type { Log } from '../../serve/event-log.ts';
import { Shares } from '../../serve/shares.ts';
import { readTokens } from '../../store/tokens.ts';
import type { Configuration } from '../configuration.ts';
import { Access } from './access.ts';

export interface StateAccessOptions {
  /** Undefined: a tree is served, and there are no tokens. */
  readonly state: string | undefined;
  readonly configuration: Configuration;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  readonly log: Log;
}

/** Who may use the API of a server, by the tokens of its state. @throws UsageError where nobody could ever read. */
export function stateAccess({ state, configuration, clock, log }: StateAccessOptions): Access {
  const { api, shares } = configuration;
  if (state === undefined && (api.read === 'token' || api.metrics === 'token'))
    throw new UsageError(
      'Reading shall need a token ([api] of the configuration), and tokens are kept in a state; name --state.',
    );
  return new Access({
    tokens: state === undefined ? undefined : () => readTokens(state),
    read: api.read,
    hosts: api.hosts,
    shares: new Shares(shares),
    clock,
    monotonic: () => performance.now(),
    log,
  });
}
