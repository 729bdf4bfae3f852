import { randomBytes } from 'node:crypto';
import { UsageError } from '../../errors/usage.ts';
import { EngineFault } from './fault.ts';

/** How an engine wants the ETag in `If-Match`: as RFC 9110 §13.1.1 has it, or bare. */
export type EtagForm = 'quoted' | 'bare';

/** No content of ours has it. */
const OTHER = 'f'.repeat(32);

export function etagInForm(etag: string, form: EtagForm): string {
  return form === 'quoted' ? `"${etag}"` : etag;
}

/** What is tried: a write with its conditions. Answers the new ETag, undefined where a condition did not hold. */
export type TryWrite = (
  key: string,
  bytes: Uint8Array,
  condition: { readonly absent: true } | { readonly ifMatch: string },
) => Promise<string | undefined>;

/**
 * Finds out whether an engine keeps its conditions, by a key that nobody else knows: a second `If-None-Match: *` must be
 * refused, an `If-Match` with the ETag must succeed, and one with another must not. What an engine documents is not asked.
 *
 * @param engine how it is called in the refusal, once it has answered.
 * @returns the form that it understands.
 * @throws UsageError for an engine without; EngineFault.
 */
export async function probeConditions(
  engine: () => Promise<string>,
  write: TryWrite,
  remove: (key: string) => Promise<void>,
): Promise<EtagForm> {
  const key = `probe-${randomBytes(16).toString('hex')}`;
  const lacks = async (what: string) =>
    new UsageError(
      `The engine at ${await engine()} ${what}, so two writers could both win: no state can be written there, only read.`,
    );
  const first = await write(key, Buffer.from('1'), { absent: true }).catch(async (error: unknown) => {
    throw error instanceof EngineFault && error.status === 501
      ? await lacks('does not know If-None-Match (501)')
      : error;
  });
  if (first === undefined) throw await lacks('refuses If-None-Match for a key that is not there');
  try {
    if ((await write(key, Buffer.from('2'), { absent: true })) !== undefined)
      throw await lacks('does not keep If-None-Match');
    for (const form of ['quoted', 'bare'] as const) {
      if ((await write(key, Buffer.from('3'), { ifMatch: etagInForm(OTHER, form) })) !== undefined)
        throw await lacks('does not keep If-Match');
      if ((await write(key, Buffer.from('4'), { ifMatch: etagInForm(first, form) })) !== undefined)
        return form;
    }
    throw await lacks('refuses If-Match also with the ETag that it gave');
  } finally {
    // Whoever may not delete leaves a key that says nothing, and that everybody passes over.
    await remove(key).catch(() => {});
  }
}
