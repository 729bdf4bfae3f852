import type { Answer, Question } from '../../files/measurer.ts';
import type { Tree, TreeFile } from '../../files/tree.ts';
import type { Manifest, ManifestFile } from '../../formats/records/manifest.ts';

/**
 * What a verified manifest says of a file, in the place of reading it: so that the seals beside a file can be judged that is
 * not read whole. What needs the content itself (an OpenPGP signature hashes more than the content, and ECDSA is not asked
 * by a digest) has no answer here that fits, and is said to be unjudged.
 */
export class SignedFile implements TreeFile {
  readonly size: number;
  readonly place = undefined;
  readonly #file: ManifestFile;
  readonly #manifest: Manifest;
  /** Kinds of seals that nothing can be said of. */
  readonly unjudged = new Set<'openpgp' | 'cms'>();

  constructor(file: ManifestFile, manifest: Manifest) {
    this.size = file.size;
    this.#file = file;
    this.#manifest = manifest;
  }

  async measure(questions: readonly Question[]) {
    return { size: this.size, answers: questions.map((question) => this.#answer(question)) };
  }

  async close(): Promise<void> {}

  #answer(question: Question): Answer {
    const { path, size, sha256, sha512 } = this.#file;
    if (question.kind === 'digest' && question.suffix === undefined) {
      if (question.hash === 'sha256') return Buffer.from(sha256, 'hex');
      if (question.hash === 'sha512') return Buffer.from(sha512, 'hex');
    }
    if (question.kind === 'verity') {
      const tree = this.#manifest.verity.find((line) => line.path === path);
      const { digest = '' } = this.#manifest.fsverity.find((line) => line.path === path) ?? {};
      const root = Buffer.from(tree?.rootHash ?? '', 'hex');
      const fsVerity = { root, digest: Buffer.from(digest, 'hex') };
      if (!tree) return { size, fsVerity };
      return { size, fsVerity, dmVerity: { rootHash: root, dataBlocks: tree.dataBlocks, hashDevice: [] } };
    }
    this.unjudged.add(question.kind === 'digest' && question.suffix !== undefined ? 'openpgp' : 'cms');
    return question.kind === 'digest' ? new Uint8Array() : false;
  }
}

/** A tree one of whose files is not read. */
export function treeWith(tree: Tree, path: string, file: TreeFile): Tree {
  return {
    name: tree.name,
    list: (folder) => tree.list(folder),
    read: (asked, limit) => tree.read(asked, limit),
    open: async (asked) => (asked === path ? file : tree.open(asked)),
  };
}
