import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomically } from '../../files/atomic-file.ts';

/** A key folder in the making. */
export class KeyFolderDraft {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  anchor(name: string, bytes: Uint8Array): Promise<void> {
    return this.#write('anchors', name, bytes, 0o644);
  }

  /** What `anchors/` is to be when the keys that were replaced are no longer needed. */
  async laterAnchor(name: string, bytes: Uint8Array): Promise<void> {
    await mkdir(join(this.#folder, LATER_ANCHORS), { recursive: true, mode: 0o755 });
    await this.#write(LATER_ANCHORS, name, bytes, 0o644);
  }

  /** What firmware is given, to hold from then on. */
  async enrolment(name: string, bytes: Uint8Array): Promise<void> {
    await mkdir(join(this.#folder, ENROLMENT), { recursive: true, mode: 0o755 });
    await this.#write(ENROLMENT, name, bytes, 0o644);
  }

  secret(name: string, bytes: Uint8Array): Promise<void> {
    return this.#write('private', name, bytes, 0o600);
  }

  #write(folder: string, name: string, bytes: Uint8Array, mode: number): Promise<void> {
    return writeFileAtomically(join(this.#folder, folder, name), bytes, { mode });
  }
}

/** Beside `anchors/`, in a folder that `keys rotate` made. */
export const LATER_ANCHORS = 'anchors-after';

/** Beside `anchors/`, where `init` was asked for keys of Secure Boot. */
export const ENROLMENT = 'secure-boot';
