import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { unreadable } from '../../errors/unreadable.ts';
import { isThere, lstatIfThere, namesIfThere } from '../../files/read-if-there.ts';
import { demandPrivate } from './key-folder.ts';
import { ENROLMENT, type KeyFolderDraft, LATER_ANCHORS } from './key-folder-draft.ts';

/** The key folder that a rotation follows: what of it stays is carried into the new one, octet for octet. */
export class OldKeyFolder {
  readonly #directory: string;
  readonly #draft: KeyFolderDraft;

  constructor(directory: string, draft: KeyFolderDraft) {
    this.#directory = directory;
    this.#draft = draft;
  }

  async keep(kind: string): Promise<void> {
    await this.keepKey(kind);
    await this.keepAnchor(`${kind}.crt`);
  }

  async keepKey(kind: string): Promise<void> {
    await this.#draft.secret(`${kind}.key`, await this.read('private', `${kind}.key`));
  }

  async keepAnchor(name: string): Promise<void> {
    await this.#draft.anchor(name, await this.read('anchors', name));
    await this.#draft.laterAnchor(name, await wholeFile(await this.lasting(name)));
  }

  /** What machines have enrolled stays theirs: nobody but their owner at the console can give them another. */
  async keepSecureBoot(): Promise<void> {
    for (const name of ['PK', 'KEK', 'db']) {
      if (!(await this.#hasAnchor(`${name}.crt`))) continue;
      await this.#draft.anchor(`${name}.crt`, await this.read('anchors', `${name}.crt`));
      await this.#draft.laterAnchor(`${name}.crt`, await this.read('anchors', `${name}.crt`));
      if (await this.hasKey(name))
        await this.#draft.secret(`${name}.key`, await this.read('private', `${name}.key`));
    }
    if (await this.#hasAnchor('dbx.esl'))
      await this.#draft.anchor('dbx.esl', await this.read('anchors', 'dbx.esl'));
    if (await this.#hasAnchor('pcr.pub')) {
      await this.#draft.anchor('pcr.pub', await this.read('anchors', 'pcr.pub'));
      if (await this.hasKey('pcr'))
        await this.#draft.secret('pcr.key', await this.read('private', 'pcr.key'));
    }
    for (const name of await namesIfThere(join(this.#directory, ENROLMENT)))
      await this.#draft.enrolment(name, await this.read(ENROLMENT, name));
  }

  /** Of what an earlier rotation already meant to leave behind, nothing is taken along. */
  async lasting(name: string): Promise<string> {
    const later = join(this.#directory, LATER_ANCHORS, name);
    return (await isThere(later)) ? later : join(this.#directory, 'anchors', name);
  }

  /** A link counts: a key that is one is refused, not left out. */
  async hasKey(name: string): Promise<boolean> {
    return (await lstatIfThere(join(this.#directory, 'private', `${name}.key`))) !== undefined;
  }

  #hasAnchor(name: string): Promise<boolean> {
    return isThere(join(this.#directory, 'anchors', name));
  }

  async read(folder: string, name: string): Promise<Buffer> {
    if (folder === 'private') await demandPrivate(this.#directory, `private/${name}`, 0o600);
    return wholeFile(join(this.#directory, folder, name));
  }
}

/** An absent file is a refusal, any other fault an `IoError`. */
export async function wholeFile(path: string): Promise<Buffer> {
  return readFile(path).catch((error: unknown) => {
    throw unreadable(path, error);
  });
}
