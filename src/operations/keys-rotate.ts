import { UsageError } from '../errors/usage.ts';
import { SUCCESSION_KINDS, type SuccessionKind } from '../formats/records/successors.ts';
import { type Rotated, type RotateOptions, rotateKeyFolder } from '../signing/keys/rotate.ts';

export interface RotateKeysOptions extends RotateOptions {
  /** An `init` folder; it stays as it is. */
  readonly keys: string;
  /** A folder that does not exist yet. */
  readonly out: string;
}

/** Makes a key folder that takes the place of another, with an overlap. Throws a `Refusal` or an `IoError`. */
export async function rotateKeys({ keys, out, ...options }: RotateKeysOptions): Promise<Rotated> {
  return rotateKeyFolder(keys, out, options);
}

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
