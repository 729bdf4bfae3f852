import type { ServerEvent } from '../../src/release/server-event.ts';
import type { Emit } from '../../src/serve/emit.ts';

type Kind = ServerEvent['kind'];
type Of<K extends Kind> = Extract<ServerEvent, { kind: K }>;

/** Everything that a server told. */
export interface Told {
  /** In order. */
  readonly events: readonly ServerEvent[];
  /** What was ours to repair: nothing, unless the test broke something on purpose. */
  readonly errors: readonly unknown[];
  /** The first event of a kind that fits, awaited if it has not happened yet. */
  event<K extends Kind>(kind: K, fits?: (event: Of<K>) => boolean): Promise<Of<K>>;
}

/** Takes down what a server tells. */
export function takeDown(): { readonly told: Told; readonly emit: Emit } {
  const events: ServerEvent[] = [];
  const errors: unknown[] = [];
  let waiting: {
    readonly fits: (event: ServerEvent) => boolean;
    readonly resolve: (event: ServerEvent) => void;
  }[] = [];
  return {
    emit(event) {
      events.push(event);
      if (event.kind === 'failed' || event.kind === 'fault') errors.push(event.error);
      const answered = waiting.filter(({ fits }) => fits(event));
      waiting = waiting.filter((each) => !answered.includes(each));
      for (const { resolve } of answered) resolve(event);
    },
    told: {
      events,
      errors,
      async event(kind, wanted = () => true) {
        const fits = (event: ServerEvent): boolean => event.kind === kind && wanted(event as never);
        const event = events.find(fits) ?? (await new Promise((resolve) => waiting.push({ fits, resolve })));
        return event as never;
      },
    },
  };
}
