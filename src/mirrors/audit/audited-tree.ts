import { Refusal } from '../../errors/refusal.ts';
import type { Measured } from '../../files/measure.ts';
import { Measurer } from '../../files/measurer.ts';
import type { Tree, TreeFile } from '../../files/tree.ts';
import type { Manifest } from '../../formats/records/manifest.ts';
import type { DmVerity, VerityTrees } from '../../formats/verity/verity-sink.ts';
import type { MirrorLink } from './mirror-link.ts';

/** A release as a mirror has it. A web server lists nothing: what may be there follows from the manifest. */
export class AuditedTree implements Tree {
  readonly name: string;
  /** Once it is verified: how long its files are, where a server does not say it. */
  manifest: Manifest | undefined;
  /** Of images that were read whole: the tree over what came. */
  readonly trees = new Map<string, DmVerity>();
  readonly #link: MirrorLink;
  readonly #folder: string;

  /** @param release `NAME/VERSION`. */
  constructor(link: MirrorLink, release: string) {
    this.#link = link;
    this.#folder = `releases/${release}/`;
    this.name = link.base + this.#folder;
  }

  /** The path of a file below the mirror. */
  below(path: string): string {
    return this.#folder + path;
  }

  async list(): Promise<readonly string[]> {
    return [];
  }

  read(path: string, limit: number): Promise<Uint8Array> {
    return this.#link.small(this.below(path), limit);
  }

  async open(path: string): Promise<TreeFile> {
    const { body, size: said } = await this.#link.get(this.below(path));
    const listed = this.manifest?.files.find((file) => file.path === path)?.size;
    const size = said ?? listed;
    const hasTree = this.manifest?.verity.some((line) => line.path === path);
    if (size === undefined) {
      await body.return();
      throw new Refusal('malformed', `${path} comes from a server that does not say how long it is.`, {
        path,
      });
    }
    return {
      size,
      place: undefined,
      measure: async (questions): Promise<Measured> => {
        const asked = hasTree ? [...questions, { kind: 'verity' } as const] : questions;
        const measurer = new Measurer(asked);
        let octets = 0;
        for await (const piece of body) {
          octets += piece.length;
          // Before it is hashed: data without an end is cut where the file should have ended.
          if (octets > size)
            throw new Refusal('too-large', `${path} is longer than ${size} bytes.`, { path });
          measurer.update(piece);
        }
        const answers = measurer.answers();
        const { dmVerity } = hasTree ? (answers.at(-1) as VerityTrees) : {};
        if (dmVerity) this.trees.set(path, dmVerity);
        return { size: octets, answers: answers.slice(0, questions.length) };
      },
      close: async () => {
        await body.return();
      },
    };
  }
}
