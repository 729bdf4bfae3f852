import { UsageError } from '../../errors/usage.ts';
import { SUCCESSION_KINDS, type SuccessionKind } from '../../formats/records/successors.ts';
import { OPENPGP_KEY_NAMES } from '../../signing/seal-keys.ts';

/** What is replaced unless told: everything that loaders with a built-in CA need not know of. */
export const DEFAULT_ROTATION = [
  'codesign',
  'boot',
  'manifest',
  ...OPENPGP_KEY_NAMES,
  'snapshot',
] as const satisfies readonly SuccessionKind[];

/** Splits `--only` at its commas. Throws a `Refusal` (`malformed`) for what there is not. */
export function rotationKinds(text: string): SuccessionKind[] {
  return text.split(',').map((word) => {
    const kind = SUCCESSION_KINDS.find((candidate) => candidate === word);
    if (kind !== undefined) return kind;
    throw new UsageError(
      `There is no key ${JSON.stringify(word)}; there are ${SUCCESSION_KINDS.join(', ')}.`,
    );
  });
}
