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
