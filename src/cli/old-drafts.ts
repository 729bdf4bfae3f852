import type { OldDrafts } from '../files/draft-folder.ts';
import type { Terminal } from './terminal.ts';

/** Says what became of unfinished key folders: nobody should have private keys lying about that he does not know of. */
export function noteOldDrafts(terminal: Terminal, { removed, left }: OldDrafts): void {
  for (const path of removed) terminal.note(`removed ${path}: unfinished keys of a command that was killed`);
  for (const path of left)
    terminal.note(
      `${path} holds unfinished keys; remove it unless another container is making them just now`,
    );
}
