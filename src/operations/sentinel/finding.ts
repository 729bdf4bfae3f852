/** Something in a store that is not what the state was given. */
export interface Finding {
  /** Relative to the state. */
  readonly path: string;
  /** Whose file it is; undefined: of no one release. */
  readonly release: string | undefined;
  readonly kind: 'changed' | 'missing' | 'extra';
  /** One sentence. */
  readonly why: string;
  /** Where the file is now, relative to the state; undefined: there is nothing to move, or it must stay where it is. */
  readonly movedTo: string | undefined;
  /** True: its release is marked as held. It stays in service with all else that it has. */
  readonly held: boolean;
}

/** Something that could not be looked at. It says nothing of what is there. */
export interface Fault {
  readonly path: string;
  readonly error: Error;
}
