import { type Dirent, type FSWatcher, watch } from 'node:fs';
import { join } from 'node:path';
import { codeOf, IoError, inWords, isAbsent } from '../../errors/io.ts';
import { entriesIfThere } from '../../files/read-if-there.ts';

/** What the kernel says when it watches no more (inotify(7)): too many folders of this user, or too many files open. */
const FULL = ['ENOSPC', 'EMFILE', 'ENFILE', 'ENOMEM'];

/** What says something of one folder, which is looked at all the same, and nothing of the kernel. */
const OF_ONE = ['EACCES', 'EPERM', 'ENAMETOOLONG', 'ELOOP'];

/**
 * Watches folders of a state by the kernel's word (inotify), each by itself. Where it takes no more of them that is said
 * once, and whoever polls finds out all the same, later.
 */
export class FolderWatch {
  readonly #state: string;
  readonly #onChange: (folder: string) => void;
  readonly #onFull: (why: string) => void;
  readonly #watchers = new Map<string, FSWatcher>();
  #full = false;

  /**
   * @param onChange told the folder, relative to the state, in which something changed.
   * @param onFull told once, in words, when the kernel watches no more.
   */
  constructor(state: string, onChange: (folder: string) => void, onFull: (why: string) => void) {
    this.#state = state;
    this.#onChange = onChange;
    this.#onFull = onFull;
  }

  /** False where something is not watched. */
  get complete(): boolean {
    return !this.#full;
  }

  /** Watches every folder below some that is not watched yet, and lets go of those that are gone. */
  async cover(tops: readonly string[]): Promise<void> {
    const there = new Set<string>();
    const walk = async (folder: string): Promise<void> => {
      there.add(folder);
      this.#add(folder);
      for (const entry of await this.#entries(folder))
        if (entry.isDirectory()) await walk(`${folder}/${entry.name}`);
    };
    for (const top of tops) await walk(top);
    for (const [folder, watcher] of this.#watchers) {
      if (there.has(folder)) continue;
      watcher.close();
      this.#watchers.delete(folder);
    }
  }

  end(): void {
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  /** What cannot be read, or lies too deep, is for a look to judge: it keeps no other folder from being watched. */
  async #entries(folder: string): Promise<readonly Dirent[]> {
    try {
      return await entriesIfThere(join(this.#state, folder));
    } catch (error) {
      if (error instanceof IoError) return [];
      throw error;
    }
  }

  #add(folder: string): void {
    if (this.#watchers.has(folder) || this.#full) return;
    try {
      const watcher = watch(join(this.#state, folder), { persistent: false });
      watcher.on('change', (_, name) => {
        // The folder itself was moved or removed: its watch goes on where it is now, and that is no place of ours.
        if (name === null || name === folder.slice(folder.lastIndexOf('/') + 1)) this.#drop(folder);
        this.#onChange(folder);
      });
      watcher.on('error', () => this.#drop(folder));
      this.#watchers.set(folder, watcher);
    } catch (error) {
      if (isAbsent(error) || OF_ONE.includes(codeOf(error) ?? '')) return;
      this.#full = true;
      const why = FULL.includes(codeOf(error) ?? '')
        ? `it watches no more folders than ${this.#watchers.size} (fs.inotify.max_user_watches, max_user_instances)`
        : inWords(error);
      this.#onFull(why);
    }
  }

  #drop(folder: string): void {
    this.#watchers.get(folder)?.close();
    this.#watchers.delete(folder);
  }
}
