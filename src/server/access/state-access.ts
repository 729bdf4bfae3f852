import { UsageError } from '../../errors/usage.ts';
import type { Log } from '../../serve/event-log.ts';
import { Shares } from '../../serve/shares.ts';
import { isBucketState } from '../../store/s3/location.ts';
import { readTokens } from '../../store/tokens.ts';
import type { Configuration } from '../configuration.ts';
import { Access } from './access.ts';

export interface StateAccessOptions {
  /** Undefined: a tree is served, and there are no tokens; nor are there in a bucket. */
  readonly state: string | undefined;
  readonly configuration: Configuration;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  readonly log: Log;
}

/** Who may use the API of a server, by the tokens of its state. @throws UsageError where nobody could ever read. */
export function stateAccess({ state, configuration, clock, log }: StateAccessOptions): Access {
  const { api, shares } = configuration;
  // A bucket holds no tokens: whoever may read it could use them.
  const bucket = state !== undefined && isBucketState(state);
  if ((state === undefined || bucket) && (api.read === 'token' || api.metrics === 'token'))
    throw new UsageError(
      'Reading shall need a token ([api] of the configuration), and tokens are kept in the folder of a state; name one with --state.',
    );
  return new Access({
    tokens: state === undefined || bucket ? undefined : () => readTokens(state),
    ...(bucket
      ? {
          closed:
            'The state of this server is in a bucket, which holds no tokens; nothing can be changed by it.',
        }
      : {}),
    read: api.read,
    hosts: api.hosts,
    shares: new Shares(shares),
    clock,
    monotonic: () => performance.now(),
    log,
  });
}
